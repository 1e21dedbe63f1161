"""Match: each query's best cell in its own map and, in the disc around it, the refined position
(METHOD 4).

The twin holds one map a query; the kernels hold, of each map, only the window around the best cell.
Features are of unit length, cosines are summed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dinotrack.kernels.tiles import (
    LINE,
    NOTHING,
    jit,
    pack,
    power_of_two,
    precision,
    splits,
    tile_product,
    tl,
    tuned,
    unpack_maxima,
)

Filters = tuple[Tensor, Tensor, Tensor, Tensor]
"""The refiner's two 3x3 convolutions as they are used: weights [K, 1, 3, 3], biases [K], weights
[1, K, 3, 3], [1]."""

QUERIES = 2**14
"""Matched at a time by the kernels where nothing has to be learned: their windows take up to 10 KiB
each."""
TAPS = 9
MARGIN = 2
"""Cells that two 3x3 convolutions look beyond the disc."""


# --- the twin
# -----------------------------------------------------------------------------------------------------


def correlate(vectors: Tensor, maps: Tensor, index: Tensor) -> Tensor:
    """Products of each query with each cell of the map it belongs to, of half precision too summed
    in float32.

    vectors [N, C], maps [B, C, h, w], index long [N] in 0 .. B - 1 -> float32 [N, h, w].
    Differentiable.
    """
    cells, shape = maps.float().flatten(2), (-1, *maps.shape[2:])
    if len(maps) == 1:
        return (vectors.float() @ cells[0]).float().view(shape)
    order, groups = _by_map(vectors, len(maps), index)
    products = torch.cat([group @ cells[b] for b, group in enumerate(groups)]).float()
    return products.index_select(0, order.argsort()).view(shape)


def best_cells_torch(
    vectors: Tensor, maps: Tensor, index: Tensor, pairs: int
) -> tuple[Tensor, Tensor]:
    """The cell of its map that is most similar to each query, the first of equals; `pairs` compared
    at a time.

    vectors [N, C], maps [B, C, h, w], index long [N] -> cells long [N] (row by row), cosines
    float32 [N].
    """
    cells = maps.detach().float().flatten(2)
    size = max(1, pairs // max(1, cells.shape[2]))
    order, groups = _by_map(vectors.detach(), len(maps), index)
    parts = [
        (some @ cells[b]).float().max(dim=1)
        for b, group in enumerate(groups)
        for some in group.split(size)
    ]
    back = order.argsort()
    return torch.cat([part.indices for part in parts])[back], torch.cat(
        [part.values for part in parts]
    )[back]


def _by_map(vectors: Tensor, count: int, index: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Queries [N, C] in float32, those of each of `count` maps together, and their order: long
    [N]."""
    order = index.argsort(stable=True)
    counts = index.bincount(minlength=count).tolist()
    groups: tuple[Tensor, ...] = vectors.float().index_select(0, order).split(counts)
    return order, groups


def match_torch(
    vectors: Tensor,
    maps: Tensor,
    index: Tensor,
    filters: Filters | None,
    temperature: float,
    reach: float,
    pairs: int,
) -> Tensor:
    """Where each query is found in its map: vectors [N, C], maps [B, C, h, w], index long [N] ->
    cells [N, 2] (x, y).

    As `locate_in_disc` of the correlation maps, of which no more than `pairs` cells are held where
    nothing has to be learned.
    """
    back, products = _products(vectors, maps, index, pairs)
    return torch.cat([locate_in_disc(part, filters, temperature, reach) for part in products])[back]


def _products(
    vectors: Tensor, maps: Tensor, index: Tensor, pairs: int
) -> tuple[Tensor, Iterator[Tensor]]:
    """`correlate`, map by map and `pairs` at a time: [., h, w] each; and where the queries are
    among all of these."""
    order, groups = _by_map(vectors, len(maps), index)
    size = max(1, pairs // max(1, maps.shape[2] * maps.shape[3]))
    some = (
        (part @ cells.flatten(1)).float().unflatten(1, cells.shape[1:])
        for cells, group in zip(maps.float().unbind(), groups, strict=True)
        for part in group.split(size)
    )
    return order.argsort(), some


def best_cell(correlation: Tensor) -> Tensor:
    """The best of each map's cells, the first of equals, row by row: [N, h, w] -> long [N]; 0 where
    none is over 0."""
    with torch.no_grad():
        flat = correlation.flatten(1)
        # on a CPU numpy is five times as fast
        best = (
            flat.argmax(1)
            if flat.device.type != "cpu"
            else torch.from_numpy(flat.numpy().argmax(1))
        )
        return best * (flat.gather(1, best[:, None])[:, 0] > 0)


def locate_in_disc(
    correlation: Tensor,
    filters: Filters | None,
    temperature: float,
    reach: float,
    best: Tensor | None = None,
) -> Tensor:
    """The correspondence map's expectation in the disc of `reach` cells around the best
    correlation.

    correlation [N, h, w] before the ReLU; best: its `best_cell` where that is known -> (column,
    row) float [N, 2].
    Only the disc is refined: the softmax's normaliser cancels.
    """
    best = best_cell(correlation) if best is None else best
    values, cells, peak = _crop(correlation, int(reach) + MARGIN, best)
    crops = F.relu(values)
    scores = crops / temperature if filters is None else refine(crops / temperature, filters)
    far = (cells - peak[:, None, None]).square().sum(-1) > reach**2
    weights = scores.masked_fill(far, -torch.inf).flatten(1).softmax(1)
    return (weights[..., None] * cells.flatten(1, 2)).sum(1)


def refine(maps: Tensor, filters: Filters) -> Tensor:
    """Correlations after ReLU, divided by the temperature [N, h, w] -> unnormalised
    log-probabilities [N, h, w]."""
    first, first_bias, second, second_bias = filters
    hidden = F.relu(F.conv2d(maps[:, None], first, first_bias, padding=1))
    return F.conv2d(hidden, second, second_bias, padding=1)[:, 0]


def _crop(maps: Tensor, reach: int, best: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of up to 2 reach + 1 cells around one cell long [N] of each map [N, h, w].

    A window that would leave the map is shifted: where it meets the border, zero padding is then
    right for both.
    -> values [N, k, l], cells float [N, k, l, 2] (column, row), the middle cell float [N, 2].
    """
    rows, cols = maps.shape[1:]
    peak = torch.stack((best % cols, best // cols), dim=-1)
    col, row = (
        _window(peak[:, 0], reach, cols)[:, None],
        _window(peak[:, 1], reach, rows)[:, :, None],
    )
    index = row * cols + col
    values = maps.flatten(1).gather(1, index.flatten(1)).view_as(index)
    cells = torch.stack((col.expand_as(index), row.expand_as(index)), dim=-1)
    return values, cells.to(maps.dtype), peak.to(maps.dtype)


def _window(centre: Tensor, reach: int, size: int) -> Tensor:
    """Indices [N, k] that cover centre - reach .. centre + reach [N] as far as 0 .. size - 1 has
    room."""
    width = min(2 * reach + 1, size)
    start = (centre - reach).clamp(0, size - width)
    return start[:, None] + torch.arange(width, device=centre.device)


# --- calling the kernels
# ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """Queries grouped by the map they belong to: those of map b are order[offsets[b] : offsets[b +
    1]]."""

    order: Tensor
    """long [N]."""
    offsets: Tensor
    """long [B + 1]."""


def group(index: Tensor, count: int) -> Groups:
    """Queries of index long [N] by their map, of `count`; the host does not wait for it."""
    order = torch.arange(len(index), device=index.device)
    if count == 1:
        return Groups(order, torch.arange(2, device=index.device) * len(index))
    offsets = order.new_empty(count + 1)
    with torch.cuda.device_of(index):
        _group[(count,)](index, order, offsets, len(index), count, BLOCK=LINE)
    return Groups(order, offsets)


def packed_maxima(
    vectors: Tensor, maps: Tensor, groups: Groups, both: bool = False
) -> tuple[Tensor, Tensor]:
    """The best cell of each query's map and, if both, the best query of each cell: `pack`ed int64
    [N] and [cells].

    vectors [N, C], maps [B, C, cells], strided as you like. both: for one map only.
    """
    count, (frames, channels, cells) = len(vectors), maps.shape
    best_cell = torch.full((count,), NOTHING, dtype=torch.int64, device=vectors.device)
    best_query = torch.full(
        (cells if both else 0,), NOTHING, dtype=torch.int64, device=vectors.device
    )
    if count == 0 or cells == 0:
        return best_cell, best_query
    kernel = _nearest if vectors.dtype == torch.float32 else _nearest_half

    def programs(meta: Mapping[str, int]) -> tuple[int, int]:
        block = meta["BLOCK_M"], meta["BLOCK_N"]
        return count // block[0] + min(frames, count), splits(count, cells, vectors.device, *block)

    with torch.cuda.device_of(vectors):
        kernel[programs](
            *(vectors, maps, groups.order, groups.offsets, best_cell, best_query, frames, cells),
            *vectors.stride(),
            *maps.stride(),
            CHANNELS=channels,
            FRAMES=power_of_two(frames),
            BOTH=both,
            PRECISION=precision(),
        )
    return best_cell, best_query


def best_cells_triton(vectors: Tensor, maps: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """As `best_cells_torch`, without a map."""
    groups = group(index, len(maps))
    return unpack_maxima(packed_maxima(vectors.detach(), maps.detach().flatten(2), groups)[0])


def match_triton(
    vectors: Tensor,
    maps: Tensor,
    index: Tensor,
    filters: Filters | None,
    temperature: float,
    reach: float,
) -> Tensor:
    """As `match_torch`, without a map; what is kept for the way back are windows of the disc's
    size, one a query."""
    weights = () if filters is None else tuple(weight.float().contiguous() for weight in filters)
    learned = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (vectors, maps, *weights)
    )
    size = max(1, len(vectors)) if learned else QUERIES
    parts = [
        _Match.apply(some, maps, of, temperature, reach, learned, *weights)
        for some, of in zip(vectors.split(size), index.split(size), strict=True)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class _Window:
    """The part of a map that matters to a query: the disc, with a margin, shifted into the map."""

    rows: int
    cols: int
    margin: int
    """From its first row to its middle one, where the map's border is far."""

    @property
    def cells(self) -> int:
        return self.rows * self.cols

    def launch(self) -> dict[str, int]:
        """What all kernels of windows are told, but for the window's place."""
        block = power_of_two(self.cells, 16)
        return {
            "ROWS": self.rows,
            "COLS": self.cols,
            "BLOCK": block,
            "num_warps": max(4, min(8, block // 32)),
        }


def _window_of(maps: Tensor, reach: float) -> _Window:
    margin = int(reach) + MARGIN
    return _Window(min(2 * margin + 1, maps.shape[2]), min(2 * margin + 1, maps.shape[3]), margin)


class _Match(torch.autograd.Function):
    """The kernels, and their gradients to features and filters; the choice of the best cell has
    none."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        maps: Tensor,
        index: Tensor,
        temperature: float,
        reach: float,
        learned: bool,
        *filters: Tensor,
    ) -> Tensor:
        count, size, window = len(vectors), maps.shape[2:], _window_of(maps, reach)
        flat, groups = maps.flatten(2), group(index, len(maps))
        best, _ = packed_maxima(vectors, flat, groups)
        peak = torch.empty(count, dtype=torch.int32, device=vectors.device)
        values = torch.empty((count, window.cells), device=vectors.device)
        found = torch.empty((count, 2), device=vectors.device)
        weights = torch.empty_like(values) if learned else values
        around = {"MARGIN": window.margin, **window.launch()}
        if count:
            with torch.cuda.device_of(vectors):
                _look[(count,)](
                    *(vectors, flat, index, best, peak, values, *size, temperature),
                    *(*vectors.stride(), *flat.stride()),
                    CHANNELS=maps.shape[1],
                    BLOCK_K=32,
                    **around,
                )
                taps = _taps(values, filters, window)
                bias = filters[3] if filters else values
                _expect[(count,)](
                    *(values, taps, peak, weights, found, bias, *size, reach * reach),
                    KEEP=learned,
                    WIDTH=_width(filters),
                    **around,
                )
        ctx.save_for_backward(
            vectors,
            maps,
            index,
            groups.order,
            groups.offsets,
            peak,
            values,
            weights,
            found,
            *filters,
        )
        ctx.window, ctx.temperature = window, temperature
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        vectors, maps, index, order, offsets, peak, values, weights, found, *filters = (
            ctx.saved_tensors
        )
        window, slopes, along = (
            ctx.window,
            torch.empty_like(values),
            gradients[0].float().contiguous(),
        )
        if len(vectors) == 0:
            none = tuple(torch.zeros_like(weight) for weight in filters)
            return (
                torch.zeros_like(vectors),
                torch.zeros_like(maps),
                None,
                None,
                None,
                None,
                *none,
            )
        with torch.cuda.device_of(vectors):
            _score_slopes[(len(vectors),)](
                *(peak, weights, found, along, slopes, *maps.shape[2:]),
                MARGIN=window.margin,
                **window.launch(),
            )
            taps, for_filters = _filter_gradients(values, slopes, filters, window)
            _unlook[(len(vectors),)](
                *(values, taps, slopes, ctx.temperature), WIDTH=_width(filters), **window.launch()
            )
            for_vectors = _vector_gradient(vectors, maps, index, peak, slopes, window)
            for_maps = _map_gradient(vectors, maps, Groups(order, offsets), peak, slopes, window)
        return (for_vectors, for_maps, None, None, None, None, *for_filters)


def _width(filters: Sequence[Tensor]) -> int:
    """The refiner's channels, 0 without one."""
    return len(filters[0]) if filters else 0


def _taps(values: Tensor, filters: Sequence[Tensor], window: _Window) -> Tensor:
    """What each cell gives to the scores of the nine around it, float32 [N, 9, cells]; something
    without a refiner."""
    if not filters:
        return values
    taps = values.new_empty((len(values), TAPS, window.cells))
    width = _width(filters)
    _hide[(len(values),)](
        *(values, taps, *filters[:3]), WIDTH=width, HIDDEN=power_of_two(width), **window.launch()
    )
    return taps


def _filter_gradients(
    values: Tensor, slopes: Tensor, filters: Sequence[Tensor], window: _Window
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """From slopes along scores: what cells give to the slopes around them, as `_taps`, and
    gradients of the filters."""
    if not filters:
        return values, ()
    width, taps = _width(filters), values.new_empty((len(values), TAPS, window.cells))
    sums = values.new_empty((len(values), 2 * TAPS + 1, width))
    _unhide[(len(values),)](
        *(values, slopes, taps, sums, *filters[:3]),
        WIDTH=width,
        HIDDEN=power_of_two(width),
        **window.launch(),
    )
    first, bias, second = sums.sum(dim=0).split((TAPS, 1, TAPS))
    none = torch.zeros_like(filters[3])  # the softmax ignores the last bias
    return taps, (
        first.T.reshape(filters[0].shape),
        bias[0],
        second.T.reshape(filters[2].shape),
        none,
    )


def _vector_gradient(
    vectors: Tensor, maps: Tensor, index: Tensor, peak: Tensor, slope: Tensor, window: _Window
) -> Tensor:
    gradient, flat = torch.empty_like(vectors), maps.flatten(2)
    _to_vectors[(len(vectors),)](
        *(flat, index, peak, slope, gradient, *maps.shape[2:]),
        *(*gradient.stride(), *flat.stride()),
        CHANNELS=maps.shape[1],
        MARGIN=window.margin,
        BLOCK_K=32,
        **window.launch(),
    )
    return gradient


def _map_gradient(
    vectors: Tensor, maps: Tensor, groups: Groups, peak: Tensor, slope: Tensor, window: _Window
) -> Tensor:
    """Each cell gathers from all queries of its map, so that no two programs write to the same
    place."""
    gradient = torch.empty_like(maps)
    flat = gradient.flatten(2)
    frames, channels, cells = flat.shape
    scale = (
        slope.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    )  # small slopes would vanish in half precision
    small = vectors.device.type == "cpu"  # the interpreter: many tiles
    block_n, block_k, block_q = (32, 16, 16) if small else (64, 128, 32)
    _to_maps[(-(-cells // block_n), -(-channels // block_k), frames)](
        *(vectors, groups.order, groups.offsets, peak, slope, scale, flat, *maps.shape[2:], cells),
        *(*vectors.stride(), *flat.stride()),
        CHANNELS=channels,
        MARGIN=window.margin,
        ROWS=window.rows,
        COLS=window.cols,
        PRECISION=precision(),
        BLOCK_N=block_n,
        BLOCK_K=block_k,
        BLOCK_Q=block_q,
        num_warps=4,
    )
    return gradient


# --- the kernels
# --------------------------------------------------------------------------------------------------


@jit
def _group(index, order, offsets, rows, frames, BLOCK: tl.constexpr):
    """One map's queries, in their order, after those of the maps before it."""
    frame = tl.program_id(0)
    before = tl.zeros([BLOCK], dtype=tl.int64)
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK)
        before += tl.where(tl.load(index + row, mask=row < rows, other=frames) < frame, 1, 0)
    place = tl.sum(before, 0)
    tl.store(offsets + frame, place)
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK)
        mine = (tl.load(index + row, mask=row < rows, other=frames) == frame).to(tl.int64)
        tl.store(order + place + tl.cumsum(mine, 0) - 1, row.to(tl.int64), mask=mine > 0)
        place += tl.sum(mine, 0)
    if frame == frames - 1:
        tl.store(offsets + frames, place)


@jit
def _nearest_kernel(
    vectors,
    maps,
    order,
    offsets,
    best_cell,
    best_query,
    frames,
    columns,
    vector_row,
    vector_channel,
    map_frame,
    map_channel,
    map_cell,
    CHANNELS: tl.constexpr,
    FRAMES: tl.constexpr,
    BOTH: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A tile of queries of one frame against a part of its cells, with a running maximum.

    The grid has as many tiles as any grouping may need; those that are left over have nothing to
    do.
    """
    tile = tl.program_id(0)
    part, parts = tl.program_id(1), tl.num_programs(1)
    frame_of = tl.arange(0, FRAMES)
    known = frame_of < frames
    begins = tl.load(offsets + frame_of, mask=known, other=0)
    ends = tl.load(offsets + frame_of + 1, mask=known, other=0)
    tiles = ((ends - begins + BLOCK_M - 1) // BLOCK_M).to(tl.int32)
    frame = tl.sum((tl.cumsum(tiles, 0) <= tile).to(tl.int32), 0)
    if frame >= frames:
        return
    tile -= tl.sum(tl.where(frame_of < frame, tiles, 0), 0)
    end = tl.load(offsets + frame + 1)
    place = tl.load(offsets + frame) + tile * BLOCK_M + tl.arange(0, BLOCK_M)
    real = place < end
    row = tl.load(order + place, mask=real, other=0)
    left = vectors + row.to(tl.int64)[:, None] * vector_row
    maps += frame.to(tl.int64) * map_frame

    size = tl.cdiv(tl.cdiv(columns, BLOCK_N), parts) * BLOCK_N
    last = tl.minimum((part + 1) * size, columns)
    highest = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    at = tl.zeros([BLOCK_M], dtype=tl.int32)
    for start in range(part * size, last, BLOCK_N):
        cell = start + tl.arange(0, BLOCK_N)
        right = maps + tl.minimum(cell, columns - 1).to(tl.int64)[None, :] * map_cell
        product = tile_product(
            left, right, vector_channel, map_channel, CHANNELS, PRECISION, BLOCK_M, BLOCK_N, BLOCK_K
        )
        product = tl.where((cell < last)[None, :], product, float("-inf"))
        value, where = tl.max(product, 1, return_indices=True)
        better = value > highest
        highest = tl.where(better, value, highest)
        at = tl.where(better, start + where, at)
        if BOTH:
            product = tl.where(real[:, None], product, float("-inf"))
            value, where = tl.max(product, 0, return_indices=True)
            tl.atomic_max(best_query + cell, pack(value, tile * BLOCK_M + where), mask=cell < last)
    tl.atomic_max(best_cell + row, pack(highest, at), mask=real)


_nearest, _nearest_half = tuned(_nearest_kernel, half=False), tuned(_nearest_kernel, half=True)


@jit
def _corner(peak, size, extent, MARGIN: tl.constexpr):
    """The first row, or column, of a window of `extent` around `peak`, in a map of `size`."""
    return tl.maximum(tl.minimum(peak - MARGIN, size - extent), 0)


@jit
def _cell(
    peak, place, map_rows, map_cols, MARGIN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """The map's cell, row by row, at each place of the window around `peak`."""
    row = _corner(peak // map_cols, map_rows, ROWS, MARGIN) + place // COLS
    col = _corner(peak % map_cols, map_cols, COLS, MARGIN) + place % COLS
    return row * map_cols + col


@jit
def _look(
    vectors,
    maps,
    index,
    best,
    peaks,
    values,
    map_rows,
    map_cols,
    temperature,
    vector_row,
    vector_channel,
    map_frame,
    map_channel,
    map_cell,
    CHANNELS: tl.constexpr,
    MARGIN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A query's window: correlations after the ReLU, divided by the temperature.

    And its best cell after the ReLU.
    """
    query = tl.program_id(0).to(tl.int64)
    packed = tl.load(best + query)
    # where no cosine is above 0 all are 0 after the ReLU, and the first cell is the best
    peak = tl.where((packed >> 32) > 0, 0x7FFFFFFF - packed.to(tl.int32), 0)
    tl.store(peaks + query, peak)
    place = tl.arange(0, BLOCK)
    inside = place < ROWS * COLS
    cell = tl.where(inside, _cell(peak, place, map_rows, map_cols, MARGIN, ROWS, COLS), 0).to(
        tl.int64
    )
    vectors += query * vector_row
    maps += tl.load(index + query).to(tl.int64) * map_frame
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, CHANNELS, BLOCK_K):
        channel = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        known = channel < CHANNELS
        vector = tl.load(vectors + channel * vector_channel, mask=known, other=0.0).to(tl.float32)
        there = maps + cell[:, None] * map_cell + channel[None, :] * map_channel
        features = tl.load(there, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        total += tl.sum(features * vector[None, :], 1)
    tl.store(
        values + query * (ROWS * COLS) + place, tl.maximum(total, 0.0) / temperature, mask=inside
    )


@jit
def _shifted(window, row, col, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Values of a window at rows and columns of it, 0 outside."""
    inside = (row >= 0) & (row < ROWS) & (col >= 0) & (col < COLS)
    return tl.load(window + row * COLS + col, mask=inside, other=0.0)


@jit
def _before_relu(
    window,
    row,
    col,
    first,
    first_bias,
    WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The first convolution at rows and columns of a window: [BLOCK, HIDDEN]."""
    channel = tl.arange(0, HIDDEN)
    known = channel < WIDTH
    bias = tl.load(first_bias + channel, mask=known, other=0.0)
    total = tl.zeros([BLOCK, HIDDEN], dtype=tl.float32) + bias[None, :]
    for tap in range(9):
        value = _shifted(window, row + (tap // 3 - 1), col + (tap % 3 - 1), ROWS, COLS)
        weight = tl.load(first + channel * 9 + tap, mask=known, other=0.0)
        total += value[:, None] * weight[None, :]
    return total


@jit
def _hide(
    values,
    taps,
    first,
    first_bias,
    second,
    WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """What each cell of a query's window gives, through the refiner, to the scores of the nine
    cells around it.

    They are summed by the next kernel, as programs can't see what their neighbours' registers hold.
    """
    query = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    channel = tl.arange(0, HIDDEN)
    window = values + query * (ROWS * COLS)
    hidden = _before_relu(window, row, col, first, first_bias, WIDTH, HIDDEN, ROWS, COLS, BLOCK)
    hidden = tl.maximum(hidden, 0.0)
    for tap in range(9):
        weight = tl.load(second + channel * 9 + tap, mask=channel < WIDTH, other=0.0)
        there = taps + (query * 9 + tap) * (ROWS * COLS) + place
        tl.store(there, tl.sum(hidden * weight[None, :], 1), mask=row < ROWS)


@jit
def _expect(
    values,
    taps,
    peaks,
    weights,
    found,
    second_bias,
    map_rows,
    map_cols,
    reach_squared,
    MARGIN: tl.constexpr,
    KEEP: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A query's position: the softmax over the disc, which is stored if KEEP, and its
    expectation."""
    query = tl.program_id(0).to(tl.int64)
    peak = tl.load(peaks + query)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    if WIDTH == 0:
        score = _shifted(values + query * (ROWS * COLS), row, col, ROWS, COLS)
    else:
        score = tl.zeros([BLOCK], dtype=tl.float32) + tl.load(second_bias)
        for tap in range(9):
            given = taps + (query * 9 + tap) * (ROWS * COLS)
            score += _shifted(given, row + (tap // 3 - 1), col + (tap % 3 - 1), ROWS, COLS)
    x = (_corner(peak % map_cols, map_cols, COLS, MARGIN) + col).to(tl.float32)
    y = (_corner(peak // map_cols, map_rows, ROWS, MARGIN) + row).to(tl.float32)
    far_x, far_y = x - (peak % map_cols).to(tl.float32), y - (peak // map_cols).to(tl.float32)
    near = (far_x * far_x + far_y * far_y <= reach_squared) & (row < ROWS)
    score = tl.where(near, score, float("-inf"))
    weight = tl.exp(score - tl.max(score, 0))
    weight = weight / tl.sum(weight, 0)
    tl.store(found + 2 * query, tl.sum(weight * x, 0))
    tl.store(found + 2 * query + 1, tl.sum(weight * y, 0))
    if KEEP:
        tl.store(weights + query * (ROWS * COLS) + place, weight, mask=row < ROWS)


@jit
def _score_slopes(
    peaks,
    weights,
    found,
    gradient,
    slopes,
    map_rows,
    map_cols,
    MARGIN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Slopes of the loss along a query's scores."""
    query = tl.program_id(0).to(tl.int64)
    peak = tl.load(peaks + query)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    x = (_corner(peak % map_cols, map_cols, COLS, MARGIN) + col).to(tl.float32) - tl.load(
        found + 2 * query
    )
    y = (_corner(peak // map_cols, map_rows, ROWS, MARGIN) + row).to(tl.float32) - tl.load(
        found + 2 * query + 1
    )
    pull = tl.load(gradient + 2 * query) * x + tl.load(gradient + 2 * query + 1) * y
    weight = _shifted(weights + query * (ROWS * COLS), row, col, ROWS, COLS)
    tl.store(slopes + query * (ROWS * COLS) + place, weight * pull, mask=row < ROWS)


@jit
def _unhide(
    values,
    slopes,
    taps,
    sums,
    first,
    first_bias,
    second,
    WIDTH: tl.constexpr,
    HIDDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From the slopes along a query's scores: those along the filters (`sums`: nine taps, bias,
    nine taps, by WIDTH), and what each cell gives to the slopes along the nine values it has
    seen."""
    query = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    channel = tl.arange(0, HIDDEN)
    known = channel < WIDTH
    window = values + query * (ROWS * COLS)
    slopes += query * (ROWS * COLS)
    sums += query * (19 * WIDTH)
    hidden = _before_relu(window, row, col, first, first_bias, WIDTH, HIDDEN, ROWS, COLS, BLOCK)
    hidden = tl.where((row < ROWS)[:, None], tl.maximum(hidden, 0.0), 0.0)
    along = tl.zeros([BLOCK, HIDDEN], dtype=tl.float32)
    for tap in range(9):
        slope = _shifted(slopes, row - (tap // 3 - 1), col - (tap % 3 - 1), ROWS, COLS)
        weight = tl.load(second + channel * 9 + tap, mask=known, other=0.0)
        along += slope[:, None] * weight[None, :]
        tl.store(
            sums + (10 + tap) * WIDTH + channel, tl.sum(hidden * slope[:, None], 0), mask=known
        )
    along = tl.where(hidden > 0, along, 0.0)
    tl.store(sums + 9 * WIDTH + channel, tl.sum(along, 0), mask=known)
    for tap in range(9):
        value = _shifted(window, row + (tap // 3 - 1), col + (tap % 3 - 1), ROWS, COLS)
        weight = tl.load(first + channel * 9 + tap, mask=known, other=0.0)
        tl.store(sums + tap * WIDTH + channel, tl.sum(along * value[:, None], 0), mask=known)
        there = taps + (query * 9 + tap) * (ROWS * COLS) + place
        tl.store(there, tl.sum(along * weight[None, :], 1), mask=row < ROWS)


@jit
def _unlook(
    values,
    taps,
    slopes,
    temperature,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Slopes along a query's scores or, with a refiner, what `_unhide` gave -> slopes along its
    cosines, in place."""
    query = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    if WIDTH == 0:
        slope = _shifted(slopes + query * (ROWS * COLS), row, col, ROWS, COLS)
    else:
        slope = tl.zeros([BLOCK], dtype=tl.float32)
        for tap in range(9):
            given = taps + (query * 9 + tap) * (ROWS * COLS)
            slope += _shifted(given, row - (tap // 3 - 1), col - (tap % 3 - 1), ROWS, COLS)
    positive = _shifted(values + query * (ROWS * COLS), row, col, ROWS, COLS) > 0
    slope = tl.where(positive, slope / temperature, 0.0)
    tl.store(slopes + query * (ROWS * COLS) + place, slope, mask=row < ROWS)


@jit
def _to_vectors(
    maps,
    index,
    peaks,
    slopes,
    gradient,
    map_rows,
    map_cols,
    vector_row,
    vector_channel,
    map_frame,
    map_channel,
    map_cell,
    CHANNELS: tl.constexpr,
    MARGIN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A query's gradient: the features of its window, by their slopes."""
    query = tl.program_id(0).to(tl.int64)
    peak = tl.load(peaks + query)
    place = tl.arange(0, BLOCK)
    inside = place < ROWS * COLS
    cell = tl.where(inside, _cell(peak, place, map_rows, map_cols, MARGIN, ROWS, COLS), 0).to(
        tl.int64
    )
    slope = tl.load(slopes + query * (ROWS * COLS) + place, mask=inside, other=0.0)
    maps += tl.load(index + query).to(tl.int64) * map_frame
    gradient += query * vector_row
    for start in range(0, CHANNELS, BLOCK_K):
        channel = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        known = channel < CHANNELS
        there = maps + cell[:, None] * map_cell + channel[None, :] * map_channel
        features = tl.load(there, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        total = tl.sum(features * slope[:, None], 0)
        tl.store(
            gradient + channel * vector_channel, total.to(gradient.dtype.element_ty), mask=known
        )


@jit
def _to_maps(
    vectors,
    order,
    offsets,
    peaks,
    slopes,
    scale,
    gradient,
    map_rows,
    map_cols,
    cells,
    vector_row,
    vector_channel,
    map_frame,
    map_channel,
    map_cell,
    CHANNELS: tl.constexpr,
    MARGIN: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """A tile of cells' gradient: the frame's queries, by their slopes there, most of which are
    0."""
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
        query = tl.load(order + place, mask=real, other=0).to(tl.int64)
        peak = tl.load(peaks + query, mask=real, other=0)
        down = row[:, None] - _corner(peak // map_cols, map_rows, ROWS, MARGIN)[None, :]
        across = col[:, None] - _corner(peak % map_cols, map_cols, COLS, MARGIN)[None, :]
        inside = (down >= 0) & (down < ROWS) & (across >= 0) & (across < COLS) & real[None, :]
        slope = tl.load(
            slopes + query[None, :] * (ROWS * COLS) + down * COLS + across, mask=inside, other=0.0
        )
        there = vectors + query[:, None] * vector_row + channel[None, :] * vector_channel
        features = tl.load(there, mask=real[:, None] & known[None, :], other=0.0)
        total = tl.dot(
            (slope / amount).to(features.dtype), features, total, input_precision=PRECISION
        )
    there = (
        gradient
        + frame * map_frame
        + cell.to(tl.int64)[:, None] * map_cell
        + channel[None, :] * map_channel
    )
    result = (total * amount).to(gradient.dtype.element_ty)
    tl.store(there, result, mask=(cell < cells)[:, None] & known[None, :])
