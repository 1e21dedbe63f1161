"""What was surely seen in other frames, remembered together with the query.

A query shows its point from one side and in one light only. After a first pass we know other views
of the point, some of them beyond doubt, and a second pass that looks for the query and for those
finds the point in more frames. See docs/method.md 8 "Memory".
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.config import MemoryConfig
from dinotrack.correlation import normalise


def remember(
    vectors: Float[Tensor, "N C"],
    seen: Iterable[Float[Tensor, "N C"]],
    confidence: Float[Tensor, "N T"],
    query_frame: Int[Tensor, " N"],
    config: MemoryConfig,
) -> Float[Tensor, "N C"]:
    """The queries' features, together with the mean of those that were surely seen elsewhere.

    vectors are the queries' features, and seen those along their tracks, one frame after the other.
    All of them, and the answer, have unit length.
    """
    sure = (confidence >= config.confidence).scatter(1, query_frame[:, None], False).float()
    shares = sure / sure.sum(dim=1, keepdim=True).clamp(min=1)
    mean = torch.zeros_like(vectors)
    for share, units in zip(shares.unbind(1), seen, strict=True):
        mean += share[:, None] * units
    return normalise(vectors + config.weight * mean, dim=1)
