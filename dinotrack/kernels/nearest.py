"""The best cell of each query's map: the argmax of its correlation map (`docs/method.md` 4).

The twin holds the correlation maps of some queries at a time. The kernel holds none of them: a tile
of queries goes through the cells with a running maximum. Features are of unit length, and cosines
are summed in float32 whatever the precision of the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack import chunks
from dinotrack.kernels.tiles import (
    LINE,
    NOTHING,
    jit,
    launch,
    pack,
    power_of_two,
    precision,
    splits,
    tile_product,
    tl,
    tuned,
    unpack_maxima,
)

Best = tuple[Int[Tensor, " N"], Float[Tensor, " N"]]
"""The best cell of each query's map, counted row by row, and its cosine in float32."""


def check_queries(
    vectors: Float[Tensor, "N C"], maps: Float[Tensor, "B C h w"], index: Int[Tensor, " N"]
) -> None:
    """Assert that queries, their maps and the index of each query's map belong together."""
    shapes = f"vectors {[*vectors.shape]}, maps {[*maps.shape]}, index {[*index.shape]}"
    assert vectors.ndim == 2, f"vectors must be [N, C]: {shapes}"
    assert maps.ndim == 4, f"maps must be [B, C, h, w]: {shapes}"
    assert vectors.shape[1] == maps.shape[1], f"vectors and maps differ in channels: {shapes}"
    assert index.shape == vectors.shape[:1], f"the index must name one map a query: {shapes}"


# --- the twin


def correlate(
    vectors: Float[Tensor, "N C"], maps: Float[Tensor, "B C h w"], index: Int[Tensor, " N"]
) -> Float[Tensor, "N h w"]:
    """Products of each query with each cell of the map it belongs to, in float32.

    The index is in 0 .. B - 1. Differentiable.
    """
    check_queries(vectors, maps, index)
    cells = maps.float().flatten(2)
    shape = (-1, *maps.shape[2:])
    if len(maps) == 1:
        return (vectors.float() @ cells[0]).float().view(shape)
    order, groups = _by_map(vectors, len(maps), index)
    products = torch.cat([group @ cells[b] for b, group in enumerate(groups)]).float()
    return products.index_select(0, order.argsort()).view(shape)


def correlate_in_parts(
    vectors: Float[Tensor, "N C"], maps: Float[Tensor, "B C h w"], index: Int[Tensor, " N"]
) -> tuple[Int[Tensor, " N"], Iterator[Float[Tensor, "_ h w"]]]:
    """The same products map by map, at most chunks.COSINES of them at a time.

    The first result says where each query stands among the rows of all parts.
    """
    order, groups = _by_map(vectors, len(maps), index)
    size = max(1, chunks.COSINES // max(1, maps.shape[2] * maps.shape[3]))
    parts = (
        (part @ cells.flatten(1)).float().unflatten(1, cells.shape[1:])
        for cells, group in zip(maps.float().unbind(), groups, strict=True)
        for part in group.split(size)
    )
    return order.argsort(), parts


def best_cells_torch(
    vectors: Float[Tensor, "N C"], maps: Float[Tensor, "B C h w"], index: Int[Tensor, " N"]
) -> Best:
    """The cell of its map that is most similar to each query, the first of equals."""
    check_queries(vectors, maps, index)
    back, products = correlate_in_parts(vectors.detach(), maps.detach(), index)
    best = [part.flatten(1).max(dim=1) for part in products]
    cells = torch.cat([part.indices for part in best])
    cosines = torch.cat([part.values for part in best])
    return cells[back], cosines[back]


def best_cell(correlation: Float[Tensor, "N h w"]) -> Int[Tensor, " N"]:
    """The best cell of each correlation map, counted row by row, the first of equals.

    Where no cosine is above 0 all are 0 after the ReLU, and the first cell is the best.
    """
    with torch.no_grad():
        flat = correlation.flatten(1)
        if flat.device.type == "cpu":  # numpy is five times as fast
            best = torch.from_numpy(flat.numpy().argmax(1))
        else:
            best = flat.argmax(1)
        positive = flat.gather(1, best[:, None])[:, 0] > 0
        return best * positive


def _by_map(
    vectors: Float[Tensor, "N C"], count: int, index: Int[Tensor, " N"]
) -> tuple[Int[Tensor, " N"], tuple[Float[Tensor, "_ C"], ...]]:
    """The queries' order by the map they belong to, and those of each of `count` maps in float32.

    The host waits for the sizes of these groups.
    """
    order = index.argsort(stable=True)
    counts = index.bincount(minlength=count).tolist()
    groups: tuple[Float[Tensor, "_ C"], ...] = vectors.float().index_select(0, order).split(counts)
    return order, groups


# --- the kernel


@dataclass(frozen=True)
class Groups:
    """Queries grouped by the map they belong to."""

    order: Int[Tensor, " N"]
    """The queries of map b are order[offsets[b] : offsets[b + 1]]."""
    offsets: Int[Tensor, " B+1"]


def group(index: Int[Tensor, " N"], count: int) -> Groups:
    """Queries grouped by their map, of `count` maps. The host does not wait for the result."""
    order = torch.arange(len(index), device=index.device)
    if count == 1:
        return Groups(order, torch.arange(2, device=index.device) * len(index))
    offsets = order.new_empty(count + 1)
    launch(group_fwd, (count,), index, order, offsets, len(index), count, BLOCK=LINE)
    return Groups(order, offsets)


def best_cells_triton(
    vectors: Float[Tensor, "N C"], maps: Float[Tensor, "B C h w"], index: Int[Tensor, " N"]
) -> Best:
    """As `best_cells_torch`, without a correlation map."""
    check_queries(vectors, maps, index)
    flat = maps.detach().flatten(2)
    best, _ = packed_maxima(vectors.detach(), flat, group(index, len(maps)))
    return unpack_maxima(best)


def packed_maxima(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C cells"],
    groups: Groups,
    both: bool = False,
) -> tuple[Int[Tensor, " N"], Int[Tensor, " columns"]]:
    """The packed maximum of each query's map and, if both, of each cell over all queries.

    Strides are free. `both` is for one map only; without it the second result is empty.
    """
    count = len(vectors)
    frames, channels, cells = maps.shape
    assert not both or frames == 1, f"best queries need one map: maps {[*maps.shape]}"
    for_queries = vectors.new_full((count,), NOTHING, dtype=torch.int64)
    for_cells = vectors.new_full((cells if both else 0,), NOTHING, dtype=torch.int64)
    if count == 0 or cells == 0:
        return for_queries, for_cells

    def programs(meta: Mapping[str, int]) -> tuple[int, int]:
        block_m, block_n = meta["BLOCK_M"], meta["BLOCK_N"]
        tiles = count // block_m + min(frames, count)
        return tiles, splits(count, cells, vectors.device, block_m, block_n)

    with torch.cuda.device_of(vectors):
        BEST_CELLS.of(vectors.dtype)[programs](
            *(vectors, maps, groups.order, groups.offsets, for_queries, for_cells, frames, cells),
            *vectors.stride(),
            *maps.stride(),
            CHANNELS=channels,
            FRAMES=power_of_two(frames),
            BOTH=both,
            PRECISION=precision(),
        )
    return for_queries, for_cells


@jit
def group_fwd(index, order, offsets, rows, frames, BLOCK: tl.constexpr):
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
def best_cells_fwd(
    vectors, maps, order, offsets, best_cell, best_query, frames, columns,
    vector_row, vector_channel, map_frame, map_channel, map_cell,
    CHANNELS: tl.constexpr, FRAMES: tl.constexpr, BOTH: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of queries of one frame against a part of its cells, with a running maximum.

    The grid has as many tiles as any grouping may need. Those that are left over have nothing to
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


BEST_CELLS = tuned(best_cells_fwd)
