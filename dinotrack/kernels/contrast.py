"""The contrast of InfoNCE: log-sum-exp of each vector's cosines with all cells, without the matrix
of these cosines (`docs/method.md` 5).

Forward, the kernel keeps a running maximum and a running sum. Backward, a kernel makes the softmax
anew, a strip of cells at a time, and plain matrix products, which nothing beats, do the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dinotrack import chunks
from dinotrack.kernels.tiles import (
    LARGEST_TILE,
    blocks,
    half_precision_scale,
    jit,
    precision,
    splits,
    tile_product,
    tl,
    tuned,
)


def log_sum_exp_torch(
    vectors: Float[Tensor, "N C"], cells: Float[Tensor, "P C"], temperature: float
) -> Float[Tensor, " N"]:
    """log of the sum over cells of exp(cosine / temperature), of features of unit length."""
    _check(vectors, cells)
    cosines = (vectors.float() @ cells.float().T).float()
    return torch.logsumexp(cosines / temperature, dim=-1)


def log_sum_exp_triton(
    vectors: Float[Tensor, "N C"], cells: Float[Tensor, "P C"], temperature: float
) -> Float[Tensor, " N"]:
    """As the twin, in float32, with gradients to vectors and cells."""
    _check(vectors, cells)
    result: Float[Tensor, " N"] = _LogSumExp.apply(vectors, cells, temperature)
    return result


def _check(vectors: Float[Tensor, "N C"], cells: Float[Tensor, "P C"]) -> None:
    shapes = f"vectors {[*vectors.shape]}, cells {[*cells.shape]}"
    assert vectors.ndim == cells.ndim == 2, f"features must be [N, C] and [P, C]: {shapes}"
    assert vectors.shape[1] == cells.shape[1], f"vectors and cells differ in channels: {shapes}"


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vectors: Float[Tensor, "N C"], cells: Float[Tensor, "P C"], temperature: float
    ) -> Float[Tensor, " N"]:
        parts = splits(max(1, len(vectors)), max(1, len(cells)), vectors.device, *LARGEST_TILE)
        partial = torch.full((parts, len(vectors)), -torch.inf, device=vectors.device)

        def programs(meta: Mapping[str, int]) -> tuple[int, int]:
            return blocks(len(vectors), meta["BLOCK_M"]), parts

        if len(vectors) and len(cells):
            with torch.cuda.device_of(vectors):
                LOG_SUM_EXP.of(vectors.dtype)[programs](
                    *(vectors, cells, partial, len(vectors), len(cells), parts, 1 / temperature),
                    *vectors.stride(),
                    *cells.stride(),
                    CHANNELS=vectors.shape[1],
                    PRECISION=precision(),
                )
        result = partial.logsumexp(dim=0)
        ctx.save_for_backward(vectors, cells, result)
        ctx.temperature = temperature
        return result

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, *gradients: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, "N C"], Float[Tensor, "P C"], None]:
        vectors, cells, result = ctx.saved_tensors
        along = gradients[0] / ctx.temperature
        scale = half_precision_scale(along)
        scaled = (vectors * (along / scale)[:, None]).to(vectors.dtype)
        for_vectors: list[Float[Tensor, "N C"]] = []
        for_cells = torch.empty_like(cells)
        size = max(1, chunks.SOFTMAX_ENTRIES // max(1, len(vectors)))
        for some, for_some in zip(cells.split(size), for_cells.split(size), strict=True):
            softmax = _softmax(vectors, some, result, ctx.temperature)
            for_vectors.append(softmax @ some)
            torch.mm(softmax.T, scaled, out=for_some).mul_(scale)
        total = torch.stack(for_vectors).sum(dim=0, dtype=torch.float32)
        return (total * along[:, None]).to(vectors.dtype), for_cells, None


def _softmax(
    vectors: Float[Tensor, "N C"],
    cells: Float[Tensor, "M C"],
    log_sum: Float[Tensor, " N"],
    temperature: float,
) -> Float[Tensor, "N M"]:
    """exp(cosine / temperature - log_sum) of vectors with some cells, of the vectors' type."""
    aligned = blocks(len(cells), 16) * 16
    softmax = vectors.new_empty((len(vectors), aligned))[:, : len(cells)]

    def programs(meta: Mapping[str, int]) -> tuple[int, int]:
        return blocks(len(vectors), meta["BLOCK_M"]), blocks(len(cells), meta["BLOCK_N"])

    if len(vectors) and len(cells):
        with torch.cuda.device_of(vectors):
            SOFTMAX.of(vectors.dtype)[programs](
                *(vectors, cells, log_sum, softmax, len(vectors), len(cells)),
                *(1 / temperature, aligned),
                *vectors.stride(),
                *cells.stride(),
                CHANNELS=vectors.shape[1],
                PRECISION=precision(),
            )
    return softmax


@jit
def log_sum_exp_fwd(
    vectors, cells, partial, rows, columns, parts, sharpness,
    vector_row, vector_channel, cell_row, cell_channel,
    CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """log-sum-exp of a tile of vectors over a part of the cells; sharpness is 1 / temperature."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    part = tl.program_id(1)
    left = vectors + tl.minimum(row, rows - 1).to(tl.int64)[:, None] * vector_row
    size = tl.cdiv(tl.cdiv(columns, BLOCK_N), parts) * BLOCK_N
    last = tl.minimum((part + 1) * size, columns)
    highest = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    for start in range(part * size, last, BLOCK_N):
        column = start + tl.arange(0, BLOCK_N)
        right = cells + tl.minimum(column, columns - 1).to(tl.int64)[None, :] * cell_row
        product = tile_product(
            left,
            right,
            vector_channel,
            cell_channel,
            CHANNELS,
            PRECISION,
            BLOCK_M,
            BLOCK_N,
            BLOCK_K,
        )
        product = tl.where((column < last)[None, :], product * sharpness, float("-inf"))
        higher = tl.maximum(highest, tl.max(product, 1))
        total = total * tl.exp(highest - higher) + tl.sum(tl.exp(product - higher[:, None]), 1)
        highest = higher
    result = highest + tl.log(tl.where(total > 0, total, 1.0))
    tl.store(partial + part.to(tl.int64) * rows + row, result, mask=row < rows)


@jit
def softmax_bwd(
    vectors, cells, log_sum, softmax, rows, columns, sharpness, softmax_row,
    vector_row, vector_channel, cell_row, cell_channel,
    CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of the softmax, made anew on the way back."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    left = vectors + tl.minimum(row, rows - 1).to(tl.int64)[:, None] * vector_row
    right = cells + tl.minimum(column, columns - 1).to(tl.int64)[None, :] * cell_row
    product = tile_product(
        left, right, vector_channel, cell_channel, CHANNELS, PRECISION, BLOCK_M, BLOCK_N, BLOCK_K
    )
    norm = tl.load(log_sum + row, mask=row < rows, other=float("inf"))
    weight = tl.exp(product * sharpness - norm[:, None])
    there = softmax + row.to(tl.int64)[:, None] * softmax_row + column[None, :]
    # beyond the cells the strip has room up to a multiple of 16, so that stores are wide
    known = (row < rows)[:, None] & (column < softmax_row)[None, :]
    tl.store(there, weight.to(softmax.dtype.element_ty), mask=known)


LOG_SUM_EXP = tuned(log_sum_exp_fwd)
SOFTMAX = tuned(softmax_bwd)
