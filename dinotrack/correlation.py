"""The one place where features are compared: cosines between feature vectors, without ever holding
all of them at once.

Features of any float type; comparisons are computed in float32 (or as autocast decides). On CUDA,
Triton kernels do what needs no map; elsewhere, and where DINOTRACK_KERNELS=torch asks for it, their
plain twins do the same. The kernels multiply features of half precision as they are, queries in the
precision of their maps, and sum in float32.
"""

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.errors import InputError
from dinotrack.kernels import tiles
from dinotrack.kernels.contrast import log_sum_exp_torch, log_sum_exp_triton
from dinotrack.kernels.match import Filters as Filters
from dinotrack.kernels.match import best_cell as best_cell
from dinotrack.kernels.match import correlate, match_torch, match_triton
from dinotrack.kernels.match import locate_in_disc as locate_in_disc
from dinotrack.kernels.match import refine as refine
from dinotrack.kernels.mutual import mutual_nearest_torch, mutual_nearest_triton

KERNELS_VARIABLE = "DINOTRACK_KERNELS"
MAX_PAIRS = 2**24
"""Pairs held at a time where only the best ones are wanted: 64 MiB of float32."""


def normalise(features: Tensor, dim: int) -> Tensor:
    """Features divided by their L2 norm along dim: float32, norm 1; zeros stay zeros."""
    return F.normalize(features.float(), dim=dim, eps=1e-8)


def correlation_maps(queries: Tensor, maps: Tensor, index: Tensor | None = None) -> Tensor:
    """Cosine between each query and each cell of the map it belongs to (METHOD 4, before the ReLU).

    queries [N, C], maps [B, C, h, w], index long [N] in 0 .. B - 1 (None: B = 1) -> float32 [N, h,
    w]. Differentiable.
    """
    if index is None:
        assert len(maps) == 1, maps.shape
        index = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return correlate(normalise(queries, dim=-1), normalise(maps, dim=1), index)


def match(
    vectors: Tensor,
    maps: Tensor,
    index: Tensor,
    filters: Filters | None,
    temperature: float,
    reach: float,
) -> Tensor:
    """Where each query is found in its map: the best cosine's cell, refined in the disc around it
    (METHOD 4).

    vectors [N, C], maps [B, C, h, w], index long [N] in 0 .. B - 1; filters: the refiner's, None
    for none; temperature: cosines are divided by it; reach: the disc's radius in cells. -> (column,
    row) float32 [N, 2]. Differentiable; the choice of the best cell has no gradient.
    """
    if on_triton(vectors):
        return match_triton(
            *_both_multiplied(vectors, maps, dim=1), index, filters, temperature, reach
        )
    units = normalise(vectors, dim=-1), normalise(maps, dim=1)
    return match_torch(*units, index, filters, temperature, reach, MAX_PAIRS)


def best_match(queries: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """The feature nearest to each query by cosine: queries [N, C], features [P, C] -> index long
    [N], cosine [N]."""
    index, cosine = best_matches(queries, features, 1)
    return index[:, 0], cosine[:, 0]


def best_matches(queries: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` features nearest to each query by cosine (all of them where there are fewer),
    best first.

    queries [N, C], features [P, C], P > 0 -> index long [N, count], cosine float32 [N, count].
    """
    cells = normalise(features, dim=-1)
    best = [
        (group @ cells.T).float().topk(min(count, len(cells)), dim=1)
        for group in _in_groups(normalise(queries, dim=-1), len(cells))
    ]
    return torch.cat([b.indices for b in best]), torch.cat([b.values for b in best])


def mutual_nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs that are each other's nearest neighbour by cosine (METHOD 3).

    a [P, C], b [Q, C] -> rows of a, ascending (long [K]), rows of b (long [K]), their cosines
    (float32 [K]).
    """
    if len(a) == 0 or len(b) == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=a.device)
        return nothing, nothing, torch.zeros(0, device=a.device)
    with torch.no_grad():
        if on_triton(a):
            return mutual_nearest_triton(*_both_multiplied(a, b, dim=-1))
        return mutual_nearest_torch(normalise(a, dim=-1), normalise(b, dim=-1), MAX_PAIRS)


def info_nce(source: Tensor, positive: Tensor, all_cells: Tensor, temperature: float) -> Tensor:
    """-log softmax of cosine / temperature over all cells of the other frame, at the positive
    (METHOD 5).

    source, positive [N, C], all_cells [P, C] -> [N]. The positive is not added to the cells: where
    it is none of them, as between cells, the value may fall below 0. Differentiable.
    """
    attraction = (normalise(source, dim=-1) * normalise(positive, dim=-1)).sum(dim=-1)
    return log_sum_exp(source, all_cells, temperature) - attraction / temperature


def log_sum_exp(queries: Tensor, cells: Tensor, temperature: float) -> Tensor:
    """log of the sum over cells of exp(cosine / temperature): queries [N, C], cells [P, C] -> [N].

    Differentiable.
    """
    if on_triton(queries):
        return log_sum_exp_triton(*_both_multiplied(queries, cells, dim=-1), temperature)
    return log_sum_exp_torch(normalise(queries, dim=-1), normalise(cells, dim=-1), temperature)


def on_triton(features: Tensor) -> bool:
    """Whether kernels, or their twins, compare features.

    Raises InputError for a choice that can't be had.
    """
    chosen = os.environ.get(KERNELS_VARIABLE, "")
    if chosen not in ("", "torch", "triton"):
        raise InputError(
            f"{KERNELS_VARIABLE}={chosen} is unknown; choose torch or triton, or leave it unset"
        )
    if chosen == "triton" and not (tiles.AVAILABLE and (features.is_cuda or tiles.INTERPRETED)):
        raise InputError(
            f"{KERNELS_VARIABLE}=triton needs Triton and CUDA, but features are on {features.device}; leave it unset, "
            "or set TRITON_INTERPRET=1 to run the kernels in Triton's interpreter"
        )
    return chosen == "triton" or (chosen == "" and features.is_cuda and tiles.AVAILABLE)


def _multiplied(features: Tensor, dim: int) -> Tensor:
    """Features of unit length as kernels multiply them: of the type given, or autocast's; maps
    channels-last."""
    device = features.device.type
    dtype = (
        torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    )
    half = dtype in (torch.float16, torch.bfloat16)
    unit = normalise(features, dim).to(dtype if half else torch.float32)
    return unit.contiguous(memory_format=torch.channels_last) if unit.ndim == 4 else unit


def _both_multiplied(queries: Tensor, others: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Queries [N, C] and what they are compared with, channels along dim, both in the precision of
    the latter."""
    there = _multiplied(others, dim)
    return _multiplied(queries, dim=-1).to(there.dtype), there


def _in_groups(rows: Tensor, others: int) -> Sequence[Tensor]:
    """Rows [N, ...] in groups small enough to be compared with `others` things each, MAX_PAIRS
    pairs at a time."""
    groups: Sequence[Tensor] = torch.split(rows, max(1, MAX_PAIRS // max(1, others)))
    return groups
