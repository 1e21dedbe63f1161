"""The cosines of a vector with the cells of its window, and their gradients (`docs/method.md` 4).

The twin is `nearest.correlate`, whose whole correlation maps `window.crop` cuts down. The kernels
compute the windows' cosines alone, and carry the gradients of these back to vectors and maps.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.kernels.nearest import Groups
from dinotrack.kernels.tiles import (
    blocks,
    half_precision_scale,
    jit,
    launch,
    positive_index,
    precision,
    tl,
)
from dinotrack.kernels.window import Window, Windows, cell_at, corner


def window_cosines(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    index: Int[Tensor, " N"],
    best: Int[Tensor, " N"],
    window: Window,
    temperature: float,
) -> Windows:
    """The windows around the vectors' packed best cells: cosines after the ReLU, by temperature."""
    rows, cols = maps.shape[2:]
    flat = maps.flatten(2)
    peaks = vectors.new_empty(len(vectors), dtype=torch.int32)
    values = vectors.new_empty((len(vectors), window.cells), dtype=torch.float32)
    launch(
        window_cosines_fwd,
        (len(vectors),),
        *(vectors, flat, index, best, peaks, values, rows, cols, temperature),
        *vectors.stride(),
        *flat.stride(),
        CHANNELS=maps.shape[1],
        BLOCK_K=32,
        **window.placed(),
    )
    return Windows(window, (rows, cols), peaks, values)


def vector_gradient(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    index: Int[Tensor, " N"],
    windows: Windows,
    cosine_gradient: Float[Tensor, "N cells"],
) -> Float[Tensor, "N C"]:
    """The gradient of the vectors, from that of the cosines in their windows."""
    gradient = torch.empty_like(vectors)
    flat = maps.flatten(2)
    launch(
        vectors_bwd,
        (len(vectors),),
        *(flat, index, windows.peaks, cosine_gradient, gradient, *windows.map_size),
        *gradient.stride(),
        *flat.stride(),
        CHANNELS=maps.shape[1],
        BLOCK_K=32,
        **windows.shape.placed(),
    )
    return gradient


def map_gradient(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    groups: Groups,
    windows: Windows,
    cosine_gradient: Float[Tensor, "N cells"],
) -> Float[Tensor, "B C h w"]:
    """The gradient of the maps, from that of the cosines in the vectors' windows.

    Each cell gathers from all vectors of its map, so that no two programs write to the same place.
    """
    gradient = torch.empty_like(maps)
    flat = gradient.flatten(2)
    frames, channels, cells = flat.shape
    scale = half_precision_scale(cosine_gradient)
    sizes = _map_gradient_tiles(vectors.device)
    programs = (blocks(cells, sizes["BLOCK_N"]), blocks(channels, sizes["BLOCK_K"]), frames)
    launch(
        maps_bwd,
        programs,
        *(vectors, groups.order, groups.offsets, windows.peaks, cosine_gradient, scale, flat),
        *(*windows.map_size, cells),
        *vectors.stride(),
        *flat.stride(),
        CHANNELS=channels,
        MARGIN=windows.shape.margin,
        ROWS=windows.shape.rows,
        COLS=windows.shape.cols,
        PRECISION=precision(),
        num_warps=4,
        **sizes,
    )
    return gradient


def _map_gradient_tiles(device: torch.device) -> dict[str, Any]:
    """Tile sizes: cells, channels and vectors. The interpreter, on a CPU, tests many small ones."""
    n, k, q = (32, 16, 16) if device.type == "cpu" else (64, 128, 32)
    return {"BLOCK_N": n, "BLOCK_K": k, "BLOCK_Q": q}


@jit
def window_cosines_fwd(
    vectors, maps, index, best, peaks, values, map_rows, map_cols, temperature,
    vector_row, vector_channel, map_frame, map_channel, map_cell,
    CHANNELS: tl.constexpr, MARGIN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A vector's best cell after the ReLU, and its window: cosines after the ReLU, by temperature.

    Where no cosine is above 0 all are 0 after the ReLU, and the first cell is the best.
    """
    vector = tl.program_id(0).to(tl.int64)
    peak = positive_index(tl.load(best + vector))
    tl.store(peaks + vector, peak)
    place = tl.arange(0, BLOCK)
    inside = place < ROWS * COLS
    cell = cell_at(peak, place, map_rows, map_cols, MARGIN, ROWS, COLS)
    cell = tl.where(inside, cell, 0).to(tl.int64)
    vectors += vector * vector_row
    maps += tl.load(index + vector).to(tl.int64) * map_frame
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, CHANNELS, BLOCK_K):
        channel = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        known = channel < CHANNELS
        loaded = tl.load(vectors + channel * vector_channel, mask=known, other=0.0).to(tl.float32)
        there = maps + cell[:, None] * map_cell + channel[None, :] * map_channel
        features = tl.load(there, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        total += tl.sum(features * loaded[None, :], 1)
    value = tl.maximum(total, 0.0) / temperature
    tl.store(values + vector * (ROWS * COLS) + place, value, mask=inside)


@jit
def vectors_bwd(
    maps, index, peaks, cosine_gradient, vector_gradient, map_rows, map_cols,
    vector_row, vector_channel, map_frame, map_channel, map_cell,
    CHANNELS: tl.constexpr, MARGIN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A vector's gradient: the features of its window, each by the gradient of its cosine."""
    vector = tl.program_id(0).to(tl.int64)
    peak = tl.load(peaks + vector)
    place = tl.arange(0, BLOCK)
    inside = place < ROWS * COLS
    cell = cell_at(peak, place, map_rows, map_cols, MARGIN, ROWS, COLS)
    cell = tl.where(inside, cell, 0).to(tl.int64)
    along = tl.load(cosine_gradient + vector * (ROWS * COLS) + place, mask=inside, other=0.0)
    maps += tl.load(index + vector).to(tl.int64) * map_frame
    vector_gradient += vector * vector_row
    for start in range(0, CHANNELS, BLOCK_K):
        channel = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        known = channel < CHANNELS
        there = maps + cell[:, None] * map_cell + channel[None, :] * map_channel
        features = tl.load(there, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        total = tl.sum(features * along[:, None], 0).to(vector_gradient.dtype.element_ty)
        tl.store(vector_gradient + channel * vector_channel, total, mask=known)


@jit
def maps_bwd(
    vectors, order, offsets, peaks, cosine_gradient, scale, map_gradient, map_rows, map_cols, cells,
    vector_row, vector_channel, map_frame, map_channel, map_cell,
    CHANNELS: tl.constexpr, MARGIN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """A tile of cells' gradient: the frame's vectors, each by the gradient of its cosine there.

    Most of these gradients are 0, as most cells lie outside a vector's window.
    """
    frame = tl.program_id(2).to(tl.int64)
    cell = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = cell // map_cols, cell % map_cols
    channel = (tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)).to(tl.int64)
    known = channel < CHANNELS
    amount = tl.load(scale)
    begin = tl.load(offsets + frame)
    end = tl.load(offsets + frame + 1)
    total = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    for start in range(begin, end, BLOCK_Q):
        place = start + tl.arange(0, BLOCK_Q)
        real = place < end
        vector = tl.load(order + place, mask=real, other=0).to(tl.int64)
        peak = tl.load(peaks + vector, mask=real, other=0)
        down = row[:, None] - corner(peak // map_cols, map_rows, ROWS, MARGIN)[None, :]
        across = col[:, None] - corner(peak % map_cols, map_cols, COLS, MARGIN)[None, :]
        inside = (down >= 0) & (down < ROWS) & (across >= 0) & (across < COLS) & real[None, :]
        there = cosine_gradient + vector[None, :] * (ROWS * COLS) + down * COLS + across
        along = tl.load(there, mask=inside, other=0.0)
        there = vectors + vector[:, None] * vector_row + channel[None, :] * vector_channel
        features = tl.load(there, mask=real[:, None] & known[None, :], other=0.0)
        shares = (along / amount).to(features.dtype)
        total = tl.dot(shares, features, total, input_precision=PRECISION)
    there = map_gradient + frame * map_frame + cell.to(tl.int64)[:, None] * map_cell
    there += channel[None, :] * map_channel
    result = (total * amount).to(map_gradient.dtype.element_ty)
    tl.store(there, result, mask=(cell < cells)[:, None] & known[None, :])
