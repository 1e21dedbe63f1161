"""Random numbers: features that resemble one another, and a tracker that compares them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack.config import PAPER
from dinotrack.geometry import Grid, patch_grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.queries import Queries

GRID = patch_grid(98, 126, 14, 7, exact=False)


def draw(seed: int, *shape: int) -> Float[Tensor, "..."]:
    """Normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_tracker(whole_map: bool = True) -> Tracker:
    """A tracker for features of width 8.

    Its refiner has positive weights, as trained ones have, so that no slice's sum is near zero.
    """
    torch.manual_seed(0)
    tracker = Tracker(replace(PAPER.model, widths=(4, 4), whole_map=whole_map), 8).eval()
    for parameter in tracker.refiner.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)
    return tracker


def random_maps(frames: int, dims: int = 8, grid: Grid = GRID, seed: int = 0) -> FeatureMaps:
    """Random features that resemble one another a little less from frame to frame."""
    random = torch.Generator().manual_seed(seed)
    base = torch.randn(dims, grid.rows, grid.cols, generator=random)
    noise = torch.randn(frames, dims, grid.rows, grid.cols, generator=random)
    unlike = torch.linspace(0.1, 1.5, frames)[:, None, None, None]
    return FeatureMaps(base + noise * unlike, grid)


def random_queries(count: int, frames: int, seed: int = 0) -> Queries:
    """Points anywhere in a frame of 98 x 126 px."""
    random = torch.Generator().manual_seed(seed)
    t = torch.randint(0, frames, (count,), generator=random)
    xy = torch.rand(count, 2, generator=random) * torch.tensor([125.0, 97.0])
    return Queries(t, xy)
