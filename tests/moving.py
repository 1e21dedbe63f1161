"""A scene in which everything moves by the same shift from frame to frame, and what of it is known.

What flow, matches and patches should find is then known exactly.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.config import (
    ChainConfig,
    ConfidenceConfig,
    InferenceConfig,
    ModelConfig,
    PathConfig,
    SmoothingConfig,
)
from dinotrack.flow import Flow, VideoFlow
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.queries import Queries
from dinotrack.tracking.joining import TrackedVideo

HEIGHT, WIDTH, STRIDE, CHANNELS = 48, 64, 4, 16
GRID = Grid(HEIGHT // STRIDE, WIDTH // STRIDE, STRIDE, (STRIDE - 1) / 2)
SHIFT = (3.0, -1.5)
"""Px a frame."""
CONFIG = InferenceConfig(
    method="join",
    chain=ChainConfig(cycle_error=3.0),
    path=PathConfig(
        candidates=3,
        match_scale=0.1,
        step_scale=2.0,
        jump_cost=2.0,
        occluded_jump_cost=0.5,
        flow_error=2.0,
    ),
    smoothing=SmoothingConfig(
        flow_error=2.0, flow_noise=0.1, match_noise=3.0, match_reach=2.0, restart=8.0
    ),
    confidence=ConfidenceConfig(
        visible=0.5,
        bias=-3.4,
        cosine=6.3,
        cycle_error=-0.3,
        followed=1.0,
        distinctness=0.0,
        likeness=0.0,
        disagreement=0.0,
        neighbours=0.0,
        contrast=0.0,
    ),
)
"""The tests' own numbers: presets may change theirs."""


def peaked_tracker() -> Tracker:
    """One that reads a softmax of the cosines around their peak.

    Its refiner starts as almost the identity.
    """
    config = ModelConfig(
        widths=(4,), dims=CHANNELS, refiner_width=4, sharp_start=True, radius=8.0, temperature=0.05
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Tracker(config, None).eval()


def shifted_maps(frames: int, seed: int = 0) -> FeatureMaps:
    """One smooth random map that moves by SHIFT a frame."""
    rng = torch.Generator().manual_seed(seed)
    wide = torch.randn((1, CHANNELS, HEIGHT * 2, WIDTH * 2), generator=rng)
    wide = F.avg_pool2d(F.avg_pool2d(wide, 9, 1, 4), 9, 1, 4)
    plane = Grid(HEIGHT * 2, WIDTH * 2, 1.0, 0.0)
    start = torch.tensor((WIDTH / 2, HEIGHT / 2))
    maps = [
        plane.sample(wide, (GRID.centres() + start - t * torch.tensor(SHIFT))[None])[0]
        for t in range(frames)
    ]
    values = torch.stack([m.T.reshape(CHANNELS, GRID.rows, GRID.cols) for m in maps])
    return FeatureMaps(values, GRID)


def moving_frames(frames: int, hidden: Sequence[int] = ()) -> Tensor:
    """A smooth random picture that moves by SHIFT a frame; another picture in the hidden frames.

    Grey, uint8 [T, 3, H, W].
    """
    rng = torch.Generator().manual_seed(3)
    plane = Grid(HEIGHT * 2, WIDTH * 2, 1.0, 0.0)
    places = Grid(HEIGHT, WIDTH, 1.0, 0.0).centres() + torch.tensor((WIDTH / 2, HEIGHT / 2))
    wide, other = (
        F.avg_pool2d(torch.rand((1, 1, HEIGHT * 2, WIDTH * 2), generator=rng), 5, 1, 2)
        for _ in range(2)
    )
    shifted = [places - t * torch.tensor(SHIFT) for t in range(frames)]
    read = [
        plane.sample(other if t in hidden else wide, xy[None])[0] for t, xy in enumerate(shifted)
    ]
    grey = torch.stack([values.reshape(HEIGHT, WIDTH) for values in read])
    return (255 * grey).round().byte()[:, None].repeat(1, 3, 1, 1)


def blank_frames(frames: int) -> Tensor:
    """Pictures without any texture, in which no patch can be located: uint8 [T, 3, H, W]."""
    return torch.full((frames, 3, HEIGHT, WIDTH), 127, dtype=torch.uint8)


def constant_flow(frames: int) -> VideoFlow:
    """The flow of the scene."""
    forward = torch.tensor(SHIFT)[None, :, None, None].expand(frames - 1, 2, HEIGHT, WIDTH).clone()
    return VideoFlow(forward, -forward)


def random_flow(frames: int, size: float, seed: int) -> VideoFlow:
    """Smooth motion; the way back is nearly the way there."""
    rng = torch.Generator().manual_seed(seed)
    coarse = size * torch.randn((2, frames - 1, 2, 4, 5), generator=rng)
    forward, noise = (
        F.interpolate(c, (HEIGHT, WIDTH), mode="bilinear", align_corners=True) for c in coarse
    )
    return VideoFlow(forward, -forward + 0.3 * noise)


def blank_scene(tracker: Tracker, maps: FeatureMaps, flow: VideoFlow | None = None) -> TrackedVideo:
    """Moving as all do here, or as a given flow, without any texture."""
    flow = constant_flow(len(maps)) if flow is None else flow
    return TrackedVideo(tracker, maps, flow, blank_frames(len(maps)))


def queries_at(*rows: tuple[float, float, float]) -> Queries:
    """Queries from rows of (t, x, y)."""
    return Queries.from_rows(torch.tensor(rows, dtype=torch.float32))


def some_queries(frames: int, count: int = 12, seed: int = 0) -> Queries:
    """Random ones."""
    rng = torch.Generator().manual_seed(seed)
    t = torch.randint(frames, (count,), generator=rng)
    corner = torch.tensor((WIDTH - 1, HEIGHT - 1))
    return Queries(t, torch.rand((count, 2), generator=rng) * corner)


def given_in(frames: int, queries: Queries) -> Tensor:
    """Where points are known to be: bool [N, T]."""
    return queries.frame[:, None] == torch.arange(frames)


def truth(queries: Queries, frames: int) -> Tensor:
    """Where the queries really are: [N, T, 2] px, outside the frame too."""
    times = torch.arange(frames)[None, :, None] - queries.frame[:, None, None]
    return queries.xy[:, None] + times * torch.tensor(SHIFT)


def within(xy: Tensor, margin: float) -> Tensor:
    """Whether positions lie in the frame, at least a margin (px) from its border."""
    x, y = xy.unbind(-1)
    return (x >= margin) & (x <= WIDTH - 1 - margin) & (y >= margin) & (y <= HEIGHT - 1 - margin)


def plain_step(flow: VideoFlow, xy: Tensor, t: int, other: int) -> tuple[Tensor, float]:
    """One position [2] of frame t in its neighbour, and how far it misses itself on the way back.

    The oracle of `VideoFlow.step`: it does not share its code.
    """
    early = min(t, other)
    there, back = (flow.forward, flow.backward) if other > t else (flow.backward, flow.forward)
    moved = Flow(there[early]).move(xy[None])[0]
    return moved, float((Flow(back[early]).move(moved[None])[0] - xy).norm())
