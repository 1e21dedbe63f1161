"""The ViT that is pretrained, its heads, and the file it is shipped in."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dinotrack.geometry import Grid
from dinotrack.pretraining.recipes import PretrainConfig
from dinotrack.tensor_files import write_tensors
from dinotrack.vits import load_vit

ARCHITECTURE = "vit_tiny_patch16_224"
"""timm's name of the ViT; `vit_facts` says what differs from it."""


def vit_facts(config: PretrainConfig) -> dict[str, Any]:
    """What makes timm's ARCHITECTURE the ViT of a config; arguments for `load_vit`."""
    return {
        "patch_size": config.patch,
        "embed_dim": config.dim,
        "depth": config.depth,
        "num_heads": config.heads,
        "img_size": config.native,
        "num_classes": 0,
    }


class Head(nn.Module):
    """An MLP, then cosines with K prototypes (DINO's projection head)."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.dim, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.bottleneck),
        )
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck))

    def forward(self, tokens: Float[Tensor, "N C"]) -> Float[Tensor, "N K"]:
        """The scores of tokens."""
        prototypes = F.normalize(self.prototypes, dim=-1)
        return F.normalize(self.layers(tokens), dim=-1) @ prototypes.T


class Network(nn.Module):
    """A ViT, a token for masked cells, the heads of the DINO and the iBOT loss.

    Student and teacher are one each.
    """

    mean: Float[Tensor, "3 1 1"]
    std: Float[Tensor, "3 1 1"]

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        vit: Any = load_vit(ARCHITECTURE, None, **vit_facts(config))
        self.vit = vit
        self.patch = config.patch
        self.native = config.native // config.patch
        with torch.no_grad():
            vit.pos_embed[:, 1:] = 0.05 * sinusoids(self.native, config.dim)
        self.mask_token = nn.Parameter(torch.zeros(config.dim))
        self.dino_head = Head(config)
        self.ibot_head = Head(config)
        facts = vit.pretrained_cfg
        self.register_buffer("mean", torch.tensor(facts["mean"])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(facts["std"])[:, None, None], persistent=False)

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        windows: Float[Tensor, "B 4"],
        masks: Bool[Tensor, "B cells"] | None = None,
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B cells C"]]:
        """The class token after the final norm, and the last block's local tokens before it.

        Local tokens before the norm are what the ViT gives to the tracker.

        images: RGB in [0, 1]. windows: the part of the grid of positions that each image spans
        (`views.windows`). masks: the cells that are not seen.
        """
        vit: Any = self.vit
        size = (images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        tokens = vit.patch_embed.proj((images - self.mean) / self.std).flatten(2).transpose(1, 2)
        if masks is not None:
            tokens = torch.where(masks[..., None], self.mask_token.to(tokens.dtype), tokens)
        tokens = tokens + window_positions(vit.pos_embed[:, 1:], self.native, windows, size)
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = vit.blocks(torch.cat((first.to(tokens.dtype), tokens), 1))
        return vit.norm(tokens[:, 0]), tokens[:, 1:]


def sinusoids(native: int, dim: int) -> Float[Tensor, "cells C"]:
    """Positions to start from, of native x native cells and dim channels.

    They are sines and cosines of y and x, with wavelengths of 4 to 160 cells.
    """
    rate = 2 * torch.pi / 4 * (1 / 40) ** torch.linspace(0, 1, dim // 4)
    axis = torch.arange(native)[:, None] * rate
    waves = torch.cat((axis.sin(), axis.cos()), 1)  # [native, dim / 2]
    y = waves[:, None].expand(-1, native, -1)
    x = waves[None].expand(native, -1, -1)
    return torch.cat((y, x), -1).reshape(native * native, -1)


def window_positions(
    positions: Float[Tensor, "1 cells C"],
    native: int,
    windows: Float[Tensor, "B 4"],
    size: tuple[int, int],
) -> Float[Tensor, "B window_cells C"]:
    """The positions at h x w = size cells of windows of their native x native grid.

    The windows are (y, x, height, width) as shares of the grid.
    """
    y, x = ((torch.arange(n, device=windows.device) + 0.5) / n for n in size)
    rows = native * (windows[:, :1] + windows[:, 2:3] * y) - 0.5
    columns = native * (windows[:, 1:2] + windows[:, 3:] * x) - 0.5
    across = columns[:, None].expand(-1, size[0], -1)
    down = rows[..., None].expand(-1, -1, size[1])
    places = torch.stack((across, down), -1).flatten(1, 2)
    whole = positions.transpose(1, 2).reshape(1, -1, native, native)
    maps = whole.expand(len(windows), -1, -1, -1)
    return Grid(native, native, 1.0, 0.0).sample(maps, places)


def export(network: Network, config: PretrainConfig, path: Path, **facts: Any) -> None:
    """Write the ViT as float16 safetensors in timm's layout.

    What the ViT is and where it came from (facts) stand as JSON in the metadata. Raises InputError
    where the file can't be written.
    """
    vit: Any = network.vit
    state = {name: value.half() for name, value in vit.state_dict().items()}
    described = {
        "architecture": ARCHITECTURE,
        **vit_facts(config),
        "mean": vit.pretrained_cfg["mean"],
        "std": vit.pretrained_cfg["std"],
        **facts,
    }
    metadata = {name: json.dumps(value) for name, value in described.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, state, metadata)
