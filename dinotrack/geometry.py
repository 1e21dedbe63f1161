"""Pixels, cells of a feature grid, and the [-1, 1] scale of the losses. The only `grid_sample` of
the project.

One convention: (x, y) float pixels, (0, 0) the centre of the top-left pixel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A regular grid of cells over a frame: row i, column j is centred at (origin + stride j,
    origin + stride i) px.

    A ViT's patches, the map of a CNN and the pixels themselves (stride 1, origin 0) are all such
    grids.
    """

    rows: int
    cols: int
    stride: float
    origin: float

    def centres(self, device: torch.device | str = "cpu") -> Tensor:
        """Centres of all cells, row by row: float32 [rows * cols, 2] px."""
        y, x = torch.meshgrid(
            torch.arange(self.rows, device=device, dtype=torch.float32),
            torch.arange(self.cols, device=device, dtype=torch.float32),
            indexing="ij",
        )
        return self.to_pixels(torch.stack((x, y), dim=-1).reshape(-1, 2))

    def to_index(self, xy: Tensor) -> Tensor:
        """Pixels [..., 2] -> (column, row) as floats, unclamped."""
        return (xy - self.origin) / self.stride

    def to_pixels(self, index: Tensor) -> Tensor:
        """(column, row) [..., 2] -> pixels."""
        return index * self.stride + self.origin

    def sample(self, maps: Tensor, xy: Tensor) -> Tensor:
        """Bilinear values of maps [B, C, rows, cols] at xy [B, N, 2] px, clamped to the outer cells
        -> [B, N, C].

        Maps of half precision are sampled, and returned, in float32: bfloat16 would round positions
        to whole pixels.
        """
        assert maps.shape[-2:] == (self.rows, self.cols), (maps.shape, self)
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        x, y = xy.to(maps.dtype).unbind(-1)
        unit = torch.stack((self._to_span(x, self.cols), self._to_span(y, self.rows)), dim=-1)
        unit = unit.clamp(-1, 1)  # the same as border padding, and works on MPS
        values = F.grid_sample(
            maps, unit[:, None], mode="bilinear", padding_mode="border", align_corners=True
        )
        return values[:, :, 0].transpose(1, 2)

    def _to_span(self, pixels: Tensor, cells: int) -> Tensor:
        """Pixels along one axis -> -1 at its first cell, 1 at its last; 0 where it has but one.

        Numbers instead of small tensors: a GPU would wait for each of these.
        """
        if cells == 1:
            return torch.zeros_like(pixels)
        scale = 2 / (self.stride * (cells - 1))
        return pixels * scale - (self.origin * scale + 1)


def patch_grid(height: int, width: int, patch: int, stride: int, exact: bool = True) -> Grid:
    """The grid of a ViT with overlapping patches on a height x width frame (METHOD "Conventions").

    exact: centres where they are, (patch - 1) / 2 for the first; otherwise the reference's patch /
    2, half a pixel off.
    """
    origin = (patch - 1) / 2 if exact else patch / 2
    return Grid(1 + (height - patch) // stride, 1 + (width - patch) // stride, stride, origin)


def pixel_grid(height: int, width: int) -> Grid:
    """The pixels of a frame as a grid."""
    return Grid(height, width, 1.0, 0.0)


def to_unit(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels [..., 2] -> the losses' scale: 2 x / (W - 1) - 1, and y alike. size is (H, W)."""
    return torch.stack(
        [2 * v / max(n - 1, 1) - 1 for v, n in zip(xy.unbind(-1), size[::-1], strict=True)], dim=-1
    )


def from_unit(unit: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of `to_unit`."""
    return torch.stack(
        [(v + 1) / 2 * max(n - 1, 1) for v, n in zip(unit.unbind(-1), size[::-1], strict=True)],
        dim=-1,
    )


def rescale(xy: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Positions [..., 2] in a frame of size source (H, W) -> the same places in a frame of size
    target.

    Frames are resized as areas: the picture spans [-0.5, W - 0.5] before and after.
    """
    ratio = torch.tensor(
        (target[1] / source[1], target[0] / source[0]), dtype=xy.dtype, device=xy.device
    )
    return (xy + 0.5) * ratio - 0.5


def inside(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether positions [..., 2] lie in the frame: 0 <= x <= W - 1, 0 <= y <= H - 1. bool [...]."""
    height, width = size
    x, y = xy.unbind(-1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
