"""Tracking and visibility with the granularity of the method's reference implementation: an oracle,
and a yardstick.

One query at a time. Its trajectory is one batch of all frames, and its visibility one batch of all
frames for each anchor, of which none is left out. Whole correlation maps go through the refiner
(docs/method.md 6).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.config import MatchingConfig
from dinotrack.correlation import normalise
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker, soft_argmax
from dinotrack.queries import Queries


@torch.no_grad()
def track_point(
    tracker: Tracker, maps: FeatureMaps, query: Queries, config: MatchingConfig
) -> tuple[Float[Tensor, "T 2"], Bool[Tensor, " T"]]:
    """`tracking.matching.track_by_matching` of one query: its positions in working px, and where it
    is visible."""
    own = int(query.frame)
    asked = maps.at(own, query.xy)
    xy = _locate(tracker, asked.expand(len(maps), -1), maps)
    vectors = maps.along(xy[None])[0]
    cosine = F.cosine_similarity(vectors, vectors[own][None], dim=-1, eps=1e-8)
    anchors = cosine >= config.anchor_cosine
    anchors[own] = True
    distances = []
    for anchor in anchors.nonzero()[:, 0].tolist():
        found = _locate(tracker, vectors, maps[anchor : anchor + 1])
        distances.append(torch.linalg.vector_norm(found - xy[anchor], dim=-1))
    median = torch.stack(distances).median(dim=0).values  # torch's median is the lower one of two
    visible = (median <= median[anchors].max()) & (cosine >= config.visible_cosine)
    return xy, visible


def _locate(
    tracker: Tracker, vectors: Float[Tensor, "T C"], maps: FeatureMaps
) -> Float[Tensor, "T 2"]:
    """Where (px) vectors are found, each in its own map, or all in the only map."""
    unit = normalise(vectors, dim=-1)
    cells = normalise(maps.values, dim=1).flatten(2)
    cosine = unit @ cells[0] if len(cells) == 1 else (unit[:, None] @ cells)[:, 0]
    correlation = cosine.reshape(-1, maps.grid.rows, maps.grid.cols)
    correspondence = tracker.correspondence(correlation).exp()
    return soft_argmax(F.relu(correlation), correspondence, maps.grid, tracker.config)
