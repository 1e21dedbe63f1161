"""The window of a vector: the part of its map around its best cell (`docs/method.md` 4).

A position is read in a disc around the best cell, so no more of the map is needed than the disc and
the cells that the refiner's convolutions look beyond it. The twin crops windows from whole
correlation maps. The kernels know a window by its shape and by the best cell that it lies around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.kernels.tiles import jit, power_of_two, tl

MARGIN = 2
"""Cells that two 3x3 convolutions look beyond the disc."""


# --- the twin


class Crops(NamedTuple):
    """Windows cut out of correlation maps."""

    values: Float[Tensor, "N k l"]
    cells: Float[Tensor, "N k l 2"]
    """(column, row) of each cell of the window in its map."""
    peak: Float[Tensor, "N 2"]
    """(column, row) of the cell that the window lies around."""


def crop(maps: Float[Tensor, "N h w"], reach: int, best: Int[Tensor, " N"]) -> Crops:
    """Windows of up to 2 reach + 1 cells around one cell of each map, counted row by row.

    A window that would leave the map is shifted into the map. Where the window then meets the
    border, zero padding is right for both.
    """
    assert maps.ndim == 3, f"maps must be [N, h, w]: maps {[*maps.shape]}"
    assert best.shape == maps.shape[:1], f"one cell a map: {[*best.shape]} for {[*maps.shape]}"
    rows, cols = maps.shape[1:]
    peak = torch.stack((best % cols, best // cols), dim=-1)
    col = _covering(peak[:, 0], reach, cols)[:, None]
    row = _covering(peak[:, 1], reach, rows)[:, :, None]
    index = row * cols + col
    values = maps.flatten(1).gather(1, index.flatten(1)).view_as(index)
    cells = torch.stack((col.expand_as(index), row.expand_as(index)), dim=-1)
    return Crops(values, cells.to(maps.dtype), peak.to(maps.dtype))


def _covering(centre: Int[Tensor, " N"], reach: int, size: int) -> Int[Tensor, "N k"]:
    """Indices that cover centre - reach .. centre + reach as far as 0 .. size - 1 has room."""
    width = min(2 * reach + 1, size)
    start = (centre - reach).clamp(0, size - width)
    return start[:, None] + torch.arange(width, device=centre.device)


# --- for the kernels


@dataclass(frozen=True)
class Window:
    """The shape of the part of a map that matters to a vector: the disc, with a margin."""

    rows: int
    cols: int
    margin: int
    """Cells from the first row to the middle one, where the map's border is far."""

    @staticmethod
    def around(maps: Float[Tensor, "B C h w"], reach: float) -> Window:
        """The window of a disc of `reach` cells, no larger than the map."""
        margin = int(reach) + MARGIN
        side = 2 * margin + 1
        return Window(min(side, maps.shape[2]), min(side, maps.shape[3]), margin)

    @property
    def cells(self) -> int:
        """Cells of one window."""
        return self.rows * self.cols

    def constants(self) -> dict[str, int]:
        """What all kernels of windows are told, but for the margin."""
        block = power_of_two(self.cells, 16)
        warps = max(4, min(8, block // 32))
        return {"ROWS": self.rows, "COLS": self.cols, "BLOCK": block, "num_warps": warps}

    def placed(self) -> dict[str, int]:
        """What kernels are told that know where in the map a window lies."""
        return {"MARGIN": self.margin, **self.constants()}


@dataclass(frozen=True)
class Windows:
    """The windows of all vectors."""

    shape: Window
    map_size: tuple[int, int]
    """(h, w) of the maps, in cells."""
    peaks: Int[Tensor, " N"]
    """int32: the cell that each window lies around, counted row by row."""
    values: Float[Tensor, "N cells"]
    """Cosines after the ReLU, divided by the temperature."""


# --- inside kernels


@jit
def corner(peak, size, extent, MARGIN: tl.constexpr):
    """The first row, or column, of a window of `extent` around `peak`, in a map of `size`."""
    return tl.maximum(tl.minimum(peak - MARGIN, size - extent), 0)


@jit
def cell_at(
    peak, place, map_rows, map_cols, MARGIN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """The map's cell, row by row, at each place of the window around `peak`."""
    row = corner(peak // map_cols, map_rows, ROWS, MARGIN) + place // COLS
    col = corner(peak % map_cols, map_cols, COLS, MARGIN) + place % COLS
    return row * map_cols + col


@jit
def value_at(window, row, col, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Values of a window at rows and columns of the window, 0 outside."""
    inside = (row >= 0) & (row < ROWS) & (col >= 0) & (col < COLS)
    return tl.load(window + row * COLS + col, mask=inside, other=0.0)
