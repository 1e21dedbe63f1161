"""Where each frame, looked at on its own, may show a query: its best few matches.

A match never drifts, however far away in time its frame is, but what looks alike may fool it. So
several places are kept, and `path` chooses among them with the help of flow. See docs/method.md 8
"Candidates".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.correlation import best_cell, correlations_in, normalise
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.progress import Tick, unheard
from dinotrack.tracking.anchors import Looks


@dataclass(frozen=True)
class Candidates:
    """K places in each of T frames where each of N queries may be."""

    xy: Float[Tensor, "N T K 2"]
    """Px."""
    cosine: Float[Tensor, "N T K"]
    """Similarity of the feature there to the one that is looked for; -inf for no candidate."""

    def with_first(self, xy: Float[Tensor, "N T 2"], cosine: Float[Tensor, "N T"]) -> Candidates:
        """One more place in each frame, put before the others."""
        return Candidates(
            torch.cat((xy[:, :, None], self.xy), dim=2),
            torch.cat((cosine[..., None], self.cosine), dim=2),
        )

    def chosen(self, place: Int[Tensor, "N T"]) -> Float[Tensor, "N T 2"]:
        """The position of one place in each frame."""
        index = place[..., None, None].expand(-1, -1, 1, 2)
        return self.xy.gather(2, index)[:, :, 0]

    def distinctness(self) -> Float[Tensor, "N T"]:
        """How much more similar the best place of each frame is than the second best."""
        best = self.cosine.topk(2, dim=2).values
        return best[..., 0] - best[..., 1]


def propose(
    tracker: Tracker,
    maps: FeatureMaps,
    looks: Looks,
    count: int,
    tick: Tick = unheard,
) -> Candidates:
    """The best matches of what points look like in every frame, the best first.

    Each is located to a fraction of a cell, and they lie at least the tracker's radius apart.
    """
    reach = int(tracker.config.radius // maps.grid.stride)
    xy = looks.all.new_zeros((len(looks.all), len(maps), count, 2))
    for t in range(len(maps)):
        correlation = correlations_in(looks.at(t), maps, t)
        for k in range(count):
            best = best_cell(correlation)
            xy[:, t, k] = tracker.locate_in_maps(correlation, maps.grid, best)
            _forget_around(best, correlation, maps.grid, reach)
        tick(1)
    cosine = [cosines_along(maps, xy[:, :, k], looks) for k in range(count)]
    return Candidates(xy, torch.stack(cosine, dim=2))


def _forget_around(
    cell: Int[Tensor, " N"], correlation: Float[Tensor, "N h w"], grid: Grid, reach: int
) -> None:
    """Sets the cosines in a square of `reach` cells around one cell of each map to the least.

    They are changed in place, because the maps are the largest thing there is.
    """
    around = torch.arange(-reach, reach + 1, device=cell.device)
    rows = (cell[:, None] // grid.cols + around).clamp(0, grid.rows - 1)
    cols = (cell[:, None] % grid.cols + around).clamp(0, grid.cols - 1)
    square = rows[:, :, None] * grid.cols + cols[:, None]
    correlation.flatten(1).scatter_(1, square.flatten(1), -1.0)


def cosines_along(
    maps: FeatureMaps, xy: Float[Tensor, "N T 2"], looks: Looks
) -> Float[Tensor, "N T"]:
    """Similarity of the features along tracks to what the points look like."""
    frames = range(len(maps))
    each = [(units_at(maps, t, xy[:, t]) * looks.at(t)).sum(dim=-1) for t in frames]
    return torch.stack(each, dim=1)


def units_at(maps: FeatureMaps, t: int, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Features at positions of one frame, of unit length.

    Those of all frames at once would be the largest thing there is.
    """
    # Norms are summed fastest, and always in the same order, over values that lie side by side.
    features = maps.at(t, xy).contiguous()
    return normalise(features, dim=-1)
