"""What the pipeline knows of a ViT: a `Backbone`, and the names that users may ask for.

timm's ViTs are in vits.py, which is imported when one of them is wanted: a run without a ViT need
not wait for timm. Any other network of frames can stand in for a ViT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack.geometry import Grid

SHIPPED = "dinov2_vits14_8bit"
"""The ViT that comes with the project: DINOv2's smallest, as far as its features are used."""
DESCRIBED: dict[str, str] = {
    SHIPPED: "python -m dinotrack.shrinking SOURCE",
    "dinotrack_vit": "python -m dinotrack.pretraining",
}
"""The ViTs whose files say what they are, and what makes the files."""

BACKBONES: dict[str, str] = {
    "dino_vits16": "vit_small_patch16_224.dino",
    "dino_vits8": "vit_small_patch8_224.dino",
    "dino_vitb16": "vit_base_patch16_224.dino",
    "dino_vitb8": "vit_base_patch8_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_vitb14": "vit_base_patch14_dinov2.lvd142m",
    "dinov2_vitl14": "vit_large_patch14_dinov2.lvd142m",
    "dinov2_vitg14": "vit_giant_patch14_dinov2.lvd142m",
    "dinov2_vits14_reg": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitb14_reg": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitl14_reg": "vit_large_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitg14_reg": "vit_giant_patch14_reg4_dinov2.lvd142m",
    "dinov3_vits16": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3_vits16plus": "vit_small_plus_patch16_dinov3.lvd1689m",
    "dinov3_vitb16": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3_vitl16": "vit_large_patch16_dinov3.lvd1689m",
    "mae_vitb16": "vit_base_patch16_224.mae",
    "mae_vitl16": "vit_large_patch16_224.mae",
    "clip_vitb16": "vit_base_patch16_clip_quickgelu_224.openai",
    "clip_vitl14": "vit_large_patch14_clip_quickgelu_224.openai",
    "deit3_vits16": "deit3_small_patch16_224.fb_in22k_ft_in1k",
}
"""Short names of timm's ViTs. Any other name of timm's, with or without tag, works as it is."""

FrameBatch = UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"]
"""RGB, in bytes or in [0, 1]."""


@runtime_checkable
class Backbone(Protocol):
    """A frozen network whose blocks turn frames into feature maps on one grid.

    Another family of networks is one class with these members, and one line in
    `features.MAKERS`.
    """

    identity: str
    """A text that tells apart what gives other features: the weights, `layer`, and the grid."""
    patch: int
    """The side of the square of pixels that a cell is made from, px."""
    dims: int
    """Channels of a feature."""
    depth: int
    """Blocks."""
    layer: int
    """The block that the config asks for, counted from 0."""

    @property
    def device(self) -> torch.device:
        """Where the network computes, and where features come out."""
        ...

    def grid(self, height: int, width: int) -> Grid:
        """The grid of the features of a frame of height x width px."""
        ...

    def __call__(self, frames: FrameBatch, layers: Sequence[int]) -> list[Float[Tensor, "B C h w"]]:
        """The features that some blocks give, in the order asked for, from one pass."""
        ...
