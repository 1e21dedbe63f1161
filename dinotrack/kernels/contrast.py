"""The contrast of InfoNCE (METHOD 5): log-sum-exp of each vector's cosines with all cells, without
their matrix.

Forward, the kernel keeps a running maximum and sum. Backward, it makes the softmax anew, a strip of
cells at a time, and plain matrix products, which nothing beats, do the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dinotrack.kernels.tiles import LARGEST_TILE, jit, precision, splits, tile_product, tl, tuned

STRIP = 2**23
"""Entries of the softmax held at a time: 16 MiB in half precision."""


def log_sum_exp_torch(vectors: Tensor, cells: Tensor, temperature: float) -> Tensor:
    """vectors [N, C], cells [P, C], of unit length -> log of the sum over cells of exp(cosine /
    temperature): [N]."""
    return torch.logsumexp((vectors.float() @ cells.float().T).float() / temperature, dim=-1)


def log_sum_exp_triton(vectors: Tensor, cells: Tensor, temperature: float) -> Tensor:
    """As the twin, float32 [N]; gradients to vectors and cells."""
    result: Tensor = _LogSumExp.apply(vectors, cells, temperature)
    return result


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, cells: Tensor, temperature: float) -> Tensor:
        parts = splits(max(1, len(vectors)), max(1, len(cells)), vectors.device, *LARGEST_TILE)
        partial = torch.full((parts, len(vectors)), -torch.inf, device=vectors.device)
        kernel = _accumulate if vectors.dtype == torch.float32 else _accumulate_half
        if len(vectors) and len(cells):
            with torch.cuda.device_of(vectors):
                kernel[lambda meta: (-(-len(vectors) // meta["BLOCK_M"]), parts)](
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
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        vectors, cells, result = ctx.saved_tensors
        slope = gradients[0] / ctx.temperature
        scale = (
            slope.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
            if len(slope)
            else slope.sum()
        )
        scaled = (vectors * (slope / scale)[:, None]).to(
            vectors.dtype
        )  # small slopes would vanish in half precision
        for_vectors: list[Tensor] = []
        for_cells = torch.empty_like(cells)
        size = max(1, STRIP // max(1, len(vectors)))
        for some, gradient in zip(cells.split(size), for_cells.split(size), strict=True):
            softmax = _softmax(vectors, some, result, ctx.temperature)
            for_vectors.append(softmax @ some)
            torch.mm(softmax.T, scaled, out=gradient).mul_(scale)
        total = torch.stack(for_vectors).sum(dim=0, dtype=torch.float32)
        return (total * slope[:, None]).to(vectors.dtype), for_cells, None


def _softmax(vectors: Tensor, cells: Tensor, log_sum: Tensor, temperature: float) -> Tensor:
    """exp(cosine / temperature - log_sum [N]) of vectors [N, C] with some cells [M, C]: [N, M], of
    their type."""
    aligned = -(-len(cells) // 16) * 16
    softmax = vectors.new_empty((len(vectors), aligned))[:, : len(cells)]
    kernel = _normalised if vectors.dtype == torch.float32 else _normalised_half
    if len(vectors) and len(cells):
        with torch.cuda.device_of(vectors):
            kernel[
                lambda meta: (
                    -(-len(vectors) // meta["BLOCK_M"]),
                    -(-len(cells) // meta["BLOCK_N"]),
                )
            ](
                *(
                    vectors,
                    cells,
                    log_sum,
                    softmax,
                    len(vectors),
                    len(cells),
                    1 / temperature,
                    aligned,
                ),
                *vectors.stride(),
                *cells.stride(),
                CHANNELS=vectors.shape[1],
                PRECISION=precision(),
            )
    return softmax


@jit
def _accumulate_kernel(
    vectors,
    cells,
    partial,
    rows,
    columns,
    parts,
    sharpness,
    vector_row,
    vector_channel,
    cell_row,
    cell_channel,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """log-sum-exp of a tile of vectors over a part of the cells."""
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
    tl.store(
        partial + part.to(tl.int64) * rows + row,
        highest + tl.log(tl.where(total > 0, total, 1.0)),
        mask=row < rows,
    )


@jit
def _normalised_kernel(
    vectors,
    cells,
    log_sum,
    softmax,
    rows,
    columns,
    sharpness,
    softmax_row,
    vector_row,
    vector_channel,
    cell_row,
    cell_channel,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A tile of the softmax."""
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


_accumulate, _accumulate_half = (
    tuned(_accumulate_kernel, half=False),
    tuned(_accumulate_kernel, half=True),
)
_normalised, _normalised_half = (
    tuned(_normalised_kernel, half=False),
    tuned(_normalised_kernel, half=True),
)
