"""Locate: from queries and maps to positions (`docs/method.md` 4).

Each query has its best cell in its own map (`nearest`) and, in the disc around that cell, its
position (`disc`). The twin holds one correlation map a query. The kernels hold of each map only the
window around the best cell. Features are of unit length, and cosines are summed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from dinotrack import chunks
from dinotrack.kernels.cosines import map_gradient, vector_gradient, window_cosines
from dinotrack.kernels.disc import expectation, locate_in_disc, score_gradient, scores_to_cosines
from dinotrack.kernels.nearest import (
    Groups,
    check_queries,
    correlate_in_parts,
    group,
    packed_maxima,
)
from dinotrack.kernels.refiner import Filters, refiner_gradients, refiner_taps, width_of
from dinotrack.kernels.window import Window, Windows


def locate_torch(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    index: Int[Tensor, " N"],
    filters: Filters | None,
    temperature: float,
    reach: float,
) -> Float[Tensor, "N 2"]:
    """(column, row) of where each query is found in its map, as `locate_in_disc` of its cosines.

    Where nothing has to be learned, no more than chunks.COSINES of these are held at a time.
    """
    check_queries(vectors, maps, index)
    back, products = correlate_in_parts(vectors, maps, index)
    found = [locate_in_disc(part, filters, temperature, reach) for part in products]
    return torch.cat(found)[back]


def locate_triton(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    index: Int[Tensor, " N"],
    filters: Filters | None,
    temperature: float,
    reach: float,
) -> Float[Tensor, "N 2"]:
    """As `locate_torch`, without a correlation map.

    What is kept for the way back are windows of the disc's size, one a query.
    """
    check_queries(vectors, maps, index)
    weights = () if filters is None else tuple(weight.float().contiguous() for weight in filters)
    inputs = (vectors, maps, *weights)
    learned = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    size = max(1, len(vectors)) if learned else chunks.KERNEL_QUERIES
    disc = _Disc(temperature, reach, learned)
    parts = [
        _Locate.apply(some, maps, of_some, disc, *weights)
        for some, of_some in zip(vectors.split(size), index.split(size), strict=True)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class _Disc:
    """How positions are read from cosines."""

    temperature: float
    reach: float
    learned: bool
    """Whether the softmax is kept, because gradients will be wanted."""


class _Locate(torch.autograd.Function):
    """The kernels one after the other, and back. The choice of the best cell has no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Float[Tensor, "N C"],
        maps: Float[Tensor, "B C h w"],
        index: Int[Tensor, " N"],
        disc: _Disc,
        *filters: Float[Tensor, "_ ..."],
    ) -> Float[Tensor, "N 2"]:
        window = Window.around(maps, disc.reach)
        groups = group(index, len(maps))
        best, _ = packed_maxima(vectors, maps.flatten(2), groups)
        windows = window_cosines(vectors, maps, index, best, window, disc.temperature)
        taps = refiner_taps(windows, filters)
        found, weights = expectation(windows, taps, filters, disc.reach, disc.learned)
        grouping = groups.order, groups.offsets
        kept = windows.peaks, windows.values, weights, found
        ctx.save_for_backward(vectors, maps, index, *grouping, *kept, *filters)
        ctx.window = window
        ctx.temperature = disc.temperature
        return found

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, *gradients: Float[Tensor, "N 2"]
    ) -> tuple[Float[Tensor, "_ ..."] | None, ...]:
        vectors, maps, index, order, offsets, *kept = ctx.saved_tensors
        peaks, values, weights, found, *filters = kept
        rows, cols = maps.shape[2:]
        windows = Windows(ctx.window, (rows, cols), peaks, values)
        found_gradient = gradients[0].float().contiguous()
        along = score_gradient(windows, weights, found, found_gradient)
        taps, for_filters = refiner_gradients(windows, along, filters)
        scores_to_cosines(windows, taps, along, ctx.temperature, width_of(filters))
        for_vectors = vector_gradient(vectors, maps, index, windows, along)
        for_maps = map_gradient(vectors, maps, Groups(order, offsets), windows, along)
        return (for_vectors, for_maps, None, None, *for_filters)
