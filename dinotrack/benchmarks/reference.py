"""Tracking and visibility with the granularity of the method's reference implementation: an oracle,
and a yardstick.

One query at a time. Its trajectory is one batch of all frames; its visibility one batch of all
frames for each anchor, of which none is left out. Whole correlation maps are refined (METHOD 6, and
"What is slow in the reference").
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.config import InferenceConfig
from dinotrack.correlation import normalise
from dinotrack.geometry import Grid
from dinotrack.model import Tracker, soft_argmax


@torch.no_grad()
def track_points(
    tracker: Tracker, maps: Tensor, grid: Grid, queries: Tensor, config: InferenceConfig
) -> tuple[Tensor, Tensor]:
    """As `inference.track_by_matching`: maps [T, C, h, w], queries [N, 3] -> xy [N, T, 2] px,
    visible bool [N, T]."""
    tracks = [track_point(tracker, maps, grid, query, config) for query in queries]
    return torch.stack([xy for xy, _ in tracks]), torch.stack([visible for _, visible in tracks])


def track_point(
    tracker: Tracker, maps: Tensor, grid: Grid, query: Tensor, config: InferenceConfig
) -> tuple[Tensor, Tensor]:
    """One query (t, x, y) -> xy [T, 2] px, visible bool [T]."""
    own = int(query[0].round())
    asked = grid.sample(maps[own][None].float(), query[None, None, 1:])[0]
    xy = locate(tracker, asked.expand(len(maps), -1), maps, grid)
    vectors = grid.sample(maps.float(), xy[:, None])[:, 0]
    cosine = F.cosine_similarity(vectors, vectors[own][None], dim=-1, eps=1e-8)
    anchors = cosine >= config.anchor_cosine
    anchors[own] = True
    strayed = [
        torch.linalg.vector_norm(locate(tracker, vectors, maps[a : a + 1], grid) - xy[a], dim=-1)
        for a in anchors.nonzero()[:, 0].tolist()
    ]
    median = torch.stack(strayed).median(dim=0).values  # torch's median is the lower one of two
    return xy, (median <= median[anchors].max()) & (cosine >= config.visible_cosine)


def locate(tracker: Tracker, vectors: Tensor, maps: Tensor, grid: Grid) -> Tensor:
    """Vectors [T, C], each in its own of maps [T, C, h, w], or all in maps [1, C, h, w] -> [T, 2]
    px."""
    unit, cells = normalise(vectors, dim=-1), normalise(maps, dim=1).flatten(2)
    cosine = unit @ cells[0] if len(cells) == 1 else (unit[:, None] @ cells)[:, 0]
    cosine = cosine.reshape(-1, grid.rows, grid.cols)
    return soft_argmax(F.relu(cosine), tracker.heatmaps(cosine).exp(), grid, tracker.config.radius)
