"""Making a large ViT small enough to come with the project (`weights/README.md`).

What is not used of it is left out, and its matrices are rounded to eight bits (`eight_bits`).
"""

import json
import re
from pathlib import Path
from typing import Any

import torch

from dinotrack import eight_bits
from dinotrack.errors import InputError
from dinotrack.tensor_files import AnyTensor, write_tensors


def shrunk(vit: torch.nn.Module, blocks: int) -> dict[str, AnyTensor]:
    """The tensors of a timm ViT's first blocks, the matrices of these in eight bits.

    All else (patch embedding, positions, norms, biases and LayerScale) is in half precision. Raises
    InputError for more blocks than there are.
    """
    whole: Any = vit
    if blocks > len(whole.blocks):
        raise InputError(f"this ViT has {len(whole.blocks)} blocks; give no more to --blocks")
    kept: dict[str, AnyTensor] = {}
    matrices: set[str] = set()
    for name, values in vit.state_dict().items():
        block = re.match(r"blocks\.(\d+)\.", name)
        if block is None:
            kept[name] = values
        elif int(block[1]) < blocks:
            kept[name] = values
            if values.ndim == 2:
                matrices.add(name)
    return eight_bits.packed(kept, matrices)


def export(vit: torch.nn.Module, blocks: int, path: Path, **facts: Any) -> None:
    """Write a timm ViT's first blocks, and what they are, as `vits.load_described` reads them.

    facts: JSON values that say where the ViT comes from. Raises what `shrunk` raises, and
    InputError where the file can't be written.
    """
    tensors = shrunk(vit, blocks)
    whole: Any = vit
    described = {
        "architecture": whole.pretrained_cfg["architecture"],
        "patch_size": whole.patch_embed.patch_size[0],
        "embed_dim": whole.embed_dim,
        "depth": blocks,
        "num_heads": whole.blocks[0].attn.num_heads,
        "img_size": whole.patch_embed.img_size[0],
        "num_classes": whole.num_classes,
        "mean": whole.pretrained_cfg["mean"],
        "std": whole.pretrained_cfg["std"],
        "licence": whole.pretrained_cfg.get("license"),
        **facts,
    }
    metadata = {name: json.dumps(value) for name, value in described.items()}
    write_tensors(path, tensors, metadata)
