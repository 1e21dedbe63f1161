"""Where things are: pixels, the cells of a grid, frames of another size, the scale of the losses.

There is one convention of coordinates: (x, y) in float pixels, and (0, 0) is the centre of the
top-left pixel (`docs/method.md` "Conventions"). Whatever reads a tensor between its cells does so
by `Grid.sample`, which holds the only `grid_sample` of the project.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A regular grid of cells over a frame.

    The cell in row i and column j is centred at (origin + stride j, origin + stride i) px. The
    patches of a ViT, the map of a CNN, and the pixels themselves (stride 1, origin 0) are all such
    grids.
    """

    rows: int
    cols: int
    stride: float
    origin: float

    def centres(self, device: torch.device | str = "cpu") -> Float[Tensor, "cells 2"]:
        """The centres of all cells, row by row: float32 px."""
        y, x = torch.meshgrid(
            torch.arange(self.rows, device=device, dtype=torch.float32),
            torch.arange(self.cols, device=device, dtype=torch.float32),
            indexing="ij",
        )
        index = torch.stack((x, y), dim=-1)
        return self.to_pixels(index.reshape(-1, 2))

    def to_index(self, xy: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
        """Where positions (px) are in cells, (column, row): not rounded, and not clamped."""
        return (xy - self.origin) / self.stride

    def to_pixels(self, index: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
        """The inverse of `to_index`."""
        return index * self.stride + self.origin

    def sample(
        self, maps: Float[Tensor, "B C h w"], xy: Float[Tensor, "B N 2"]
    ) -> Float[Tensor, "B N C"]:
        """Values of maps at positions (px), bilinear between cells, clamped to the outer cells.

        Maps of half precision are read, and returned, in float32, because bfloat16 would round the
        positions to whole pixels.
        """
        assert maps.shape[-2:] == (self.rows, self.cols), (maps.shape, self)
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        x, y = xy.to(maps.dtype).unbind(-1)
        span = torch.stack((self._to_span(x, self.cols), self._to_span(y, self.rows)), dim=-1)
        span = span.clamp(-1, 1)  # the same as border padding, which MPS lacks
        values = F.grid_sample(
            maps, span[:, None], mode="bilinear", padding_mode="border", align_corners=True
        )
        return values[:, :, 0].transpose(1, 2)

    def _to_span(self, pixels: Float[Tensor, "B N"], cells: int) -> Float[Tensor, "B N"]:
        """Pixels along one axis as torch reads them: -1 at the first cell's centre, 1 at the last.

        An axis of one cell gives 0. The scale is a number and no tensor, because a GPU would wait
        for every small tensor.
        """
        if cells == 1:
            return torch.zeros_like(pixels)
        scale = 2 / (self.stride * (cells - 1))
        return pixels * scale - (self.origin * scale + 1)


def patch_grid(height: int, width: int, patch: int, stride: int, exact: bool = True) -> Grid:
    """The grid of a ViT's overlapping patches on a frame of height x width px.

    exact: centres are where they are, with the first at (patch - 1) / 2. Otherwise they are half a
    pixel off, with the first at patch / 2, as in the reference (`docs/method.md` "Conventions").
    """
    rows = 1 + (height - patch) // stride
    cols = 1 + (width - patch) // stride
    origin = (patch - 1) / 2 if exact else patch / 2
    return Grid(rows, cols, stride, origin)


def pixel_grid(height: int, width: int) -> Grid:
    """The pixels of a frame as a grid."""
    return Grid(height, width, 1.0, 0.0)


def to_unit(xy: Float[Tensor, "... 2"], size: tuple[int, int]) -> Float[Tensor, "... 2"]:
    """Positions (px) of a frame of size (H, W) on the scale of the losses.

    On that scale the centres of the outer pixels are -1 and 1, so x becomes 2 x / (W - 1) - 1.
    """
    height, width = size
    x, y = xy.unbind(-1)
    u = 2 * x / max(width - 1, 1) - 1
    v = 2 * y / max(height - 1, 1) - 1
    return torch.stack((u, v), dim=-1)


def rescale(
    xy: Float[Tensor, "... 2"], before: tuple[int, int], after: tuple[int, int]
) -> Float[Tensor, "... 2"]:
    """The same places of a frame whose size changes from `before` (H, W) to `after`.

    Frames are resized as areas: the picture spans [-0.5, W - 0.5] at any size.
    """
    factors = after[1] / before[1], after[0] / before[0]
    ratio = torch.tensor(factors, dtype=xy.dtype, device=xy.device)
    return (xy + 0.5) * ratio - 0.5


def inside(xy: Float[Tensor, "... 2"], size: tuple[int, int]) -> Bool[Tensor, "..."]:
    """Whether positions (px) lie in a frame of size (H, W): 0 <= x <= W - 1, 0 <= y <= H - 1."""
    height, width = size
    x, y = xy.unbind(-1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def in_picture(xy: Float[Tensor, "... 2"], size: tuple[int, int]) -> Bool[Tensor, "..."]:
    """Whether positions (px) lie on a pixel of a picture of size (H, W), borders included.

    Pixels are areas, so the picture reaches half a pixel further than `inside` does.
    """
    height, width = size
    x, y = xy.unbind(-1)
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
