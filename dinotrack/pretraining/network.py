"""The ViT that is pretrained, its heads, and the file it is shipped in."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save as pack
from torch import Tensor, nn

from dinotrack.features import load_vit
from dinotrack.files import replacing
from dinotrack.pretraining.recipes import PretrainConfig

ARCHITECTURE = "vit_tiny_patch16_224"  # timm's name; what differs from it are the facts below


def vit_facts(config: PretrainConfig) -> dict[str, Any]:
    """What makes timm's ARCHITECTURE the ViT of a config; arguments for `features.load_vit`."""
    return {
        "patch_size": config.patch,
        "embed_dim": config.dim,
        "depth": config.depth,
        "num_heads": config.heads,
        "img_size": config.native,
        "num_classes": 0,
    }


class Head(nn.Module):
    """Tokens [N, C] -> scores [N, K]: an MLP, then cosines with prototypes (DINO's projection
    head)."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.dim, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.bottleneck),
        )
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [N, C] -> cosines [N, K]."""
        return F.normalize(self.layers(tokens), dim=-1) @ F.normalize(self.prototypes, dim=-1).T


class Network(nn.Module):
    """A ViT, a token for masked cells, the heads of the DINO and the iBOT loss.

    Student and teacher are one each.
    """

    mean: Tensor
    std: Tensor

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
        self, images: Tensor, windows: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """images [B, 3, H, W] in [0, 1], windows [B, 4] (`views.windows`), masks bool [B, h w] ->
        tokens.

        Returns the class token after the final norm [B, C], and the last block's local tokens
        before it [B, h w, C], which are what `features.TimmBackbone` gives to the tracker.
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


def sinusoids(native: int, dim: int) -> Tensor:
    """Positions to start from, [native^2, dim]: sines and cosines of y and x, wavelengths of 4 to
    160 cells."""
    rate = 2 * torch.pi / 4 * (1 / 40) ** torch.linspace(0, 1, dim // 4)
    axis = torch.arange(native)[:, None] * rate
    waves = torch.cat((axis.sin(), axis.cos()), 1)  # [native, dim / 2]
    y, x = waves[:, None].expand(-1, native, -1), waves[None].expand(native, -1, -1)
    return torch.cat((y, x), -1).reshape(native * native, -1)


def window_positions(
    positions: Tensor, native: int, windows: Tensor, size: tuple[int, int]
) -> Tensor:
    """Positions [1, native^2, C] in windows [B, 4] of their grid, at h x w = size cells: [B, h w,
    C]."""
    y, x = ((torch.arange(n, device=windows.device) + 0.5) / n for n in size)
    rows = 2 * (windows[:, :1] + windows[:, 2:3] * y) - 1
    columns = 2 * (windows[:, 1:2] + windows[:, 3:] * x) - 1
    grid = torch.stack(
        (columns[:, None].expand(-1, size[0], -1), rows[..., None].expand(-1, -1, size[1])), -1
    )
    maps = positions.transpose(1, 2).reshape(1, -1, native, native).expand(len(windows), -1, -1, -1)
    values = F.grid_sample(
        maps, grid.to(maps.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return values.flatten(2).transpose(1, 2)


def export(network: Network, config: PretrainConfig, path: Path, **facts: Any) -> None:
    """Write the ViT, float16 safetensors in timm's layout; what it is and came from as JSON in the
    metadata."""
    state = {
        name: value.detach().cpu().half().contiguous()
        for name, value in network.vit.state_dict().items()
    }
    vit: Any = network.vit
    described = {
        "architecture": ARCHITECTURE,
        **vit_facts(config),
        "mean": vit.pretrained_cfg["mean"],
        "std": vit.pretrained_cfg["std"],
        **facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(
            pack(state, {name: json.dumps(value) for name, value in described.items()})
        )
