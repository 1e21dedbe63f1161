"""Where the cells of overlapping patches lie, for ViTs that were trained on patches side by side.

Positions are learned ones, which are resampled, or rotary ones, which are computed anew
(`docs/method.md` "Conventions").
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import pos_embed_sincos
from torch import Tensor

from dinotrack.geometry import Grid


def resample_positions(
    positions: Float[Tensor, "1 tokens C"], native: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "1 resampled C"]:
    """Learned positions of a native grid (rows, columns) at another size (h, w).

    They are resampled bicubically, with half-pixel centres, the scale (n + 0.1) / native on each
    axis, and no antialiasing (`docs/method.md` "Conventions"). The entries of class and register
    tokens, which come first, stay. The native grid itself stays untouched, as in DINO's own code.
    """
    if size == native:
        return positions
    prefix = positions.shape[1] - native[0] * native[1]
    maps = positions[:, prefix:].transpose(1, 2).reshape(1, -1, *native)
    scale: Any = tuple((n + 0.1) / m for n, m in zip(size, native, strict=True))
    maps = F.interpolate(maps, scale_factor=scale, mode="bicubic", align_corners=False)
    assert maps.shape[-2:] == size, (maps.shape, size)
    return torch.cat((positions[:, :prefix], maps.flatten(2).transpose(1, 2)), dim=1)


def place_rotary(
    rope: Any, grid: Grid, patch: int, span: tuple[int, int] | None, offset: float
) -> None:
    """Set rotary positions to where overlapping patches lie.

    Cell i lies i stride / patch cells of the native grid along. span, offset: timm's
    `ref_feat_shape` and `grid_offset`, as the model was built with. Each kind of timm's counts
    positions in its own way.
    """
    kind: Any = type(rope)
    step = grid.stride / patch
    size = grid.rows, grid.cols
    extent = [1 + (n - 1) * step for n in size]  # in native cells
    if issubclass(kind, pos_embed_sincos.RotaryEmbeddingDinoV3):
        # The cells' centres, in [-1, 1] over the extent.
        axes = [
            (torch.arange(n) * step + 0.5) / e * 2 - 1 for n, e in zip(size, extent, strict=True)
        ]
        coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
        rope.pos_embed_cached = torch.cat(rope._get_pos_embed_from_coords(coordinates), dim=-1)
        return
    # So that timm builds the positions anew even where only the stride differs.
    rope.feat_shape = [0, 0]
    if issubclass(kind, pos_embed_sincos.RotaryEmbeddingCat):
        # (index + offset) / n * span
        rope.grid_offset = offset / step
        reference = zip(span or extent, size, extent, strict=True)
        rope.ref_feat_shape = [r * n * step / e for r, n, e in reference]
    rope.update_feat_shape(list(size))
    if issubclass(kind, pos_embed_sincos.RotaryEmbeddingMixed):
        # The index itself.
        rope.t_x = rope.t_x * step
        rope.t_y = rope.t_y * step
