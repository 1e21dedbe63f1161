"""The stage that looks at a video with a frozen ViT: feature maps, and what they say is foreground.

The pipeline knows a ViT only as a `Backbone` (backbones.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinotrack.backbones import DESCRIBED, Backbone
from dinotrack.chunks import VIT_FRAMES, VIT_LAYERS_HELD, fitting, in_chunks
from dinotrack.config import BackboneConfig
from dinotrack.foreground import pca_foreground
from dinotrack.maps import FeatureMaps
from dinotrack.progress import Progress, silent
from dinotrack.run import Run


def described_vit(config: BackboneConfig, device: torch.device) -> Backbone:
    """A ViT whose file says what it is, such as the one that comes with the project."""
    from dinotrack.vits import make_described

    return make_described(config, device)


MAKERS: dict[str, Callable[[BackboneConfig, torch.device], Backbone]] = {
    name: described_vit for name in DESCRIBED
}
"""What makes a backbone, by its name in the config. All other names are those of timm's ViTs."""


def make_backbone(
    config: BackboneConfig, device: torch.device, offline: bool = False
) -> Backbone | None:
    """The frozen network that the config asks for, or None where the CNN is to see alone.

    The name "none" asks for no network, and "auto" for the best DINOv2 on this machine, which may
    be the one that comes with the project (`vits.make_best`). Random weights (config.pretrained
    off) are the same ones every time. offline: nothing is downloaded.

    Raises InputError for unknown names, for blocks that the network lacks, and for weights that
    can't be had.
    """
    if config.name == "none":
        return None
    if config.name in MAKERS:
        return MAKERS[config.name](config, device)
    from dinotrack import vits

    if config.name == "auto":
        return vits.make_best(config, device)
    return vits.make_vit(config, device, offline)


def check_name(name: str) -> None:
    """Raises InputError for the name of a backbone that nobody knows."""
    if name not in ("none", "auto", *MAKERS):
        from dinotrack.vits import full_name

        full_name(name)


@dataclass(frozen=True)
class Features:
    """What a backbone sees in all frames of a video."""

    maps: FeatureMaps
    """The frozen features of the block that the config asks for."""
    foreground: Bool[Tensor, "T h w"] | None
    """The cells that the last block sets apart from the rest, where they were asked for."""


def video_features(
    frames: UInt8[Tensor, "T 3 H W"], backbone: Backbone | None, run: Run, finds_foreground: bool
) -> Features | None:
    """The stage: what a frozen ViT sees in a video; None without a ViT.

    finds_foreground: whether it is of use which cells are foreground. The ViT tells that where the
    config asks for it (foreground.method "pca").
    """
    if backbone is None:
        return None
    by_cells = finds_foreground and run.config.foreground.method == "pca"
    with run.stage("features"):
        return frozen_features(frames, backbone, run, by_cells)


def frozen_features(
    frames: UInt8[Tensor, "T 3 H W"], backbone: Backbone, run: Run, foreground: bool
) -> Features:
    """Frozen features of a video and, where they are wanted, the foreground cells they tell.

    What the cache does not hold comes from one pass through the video. The features lie where the
    frames do.
    """
    key = _key(frames, backbone, run)
    threshold = run.config.foreground.threshold
    cells_key = key | {"threshold": threshold}
    known = run.cache.find("features", key)
    known_cells = run.cache.find("foreground", cells_key) if foreground else None

    wanted = backbone.layer
    last = backbone.depth - 1
    missing = [] if known is not None else [wanted]
    if foreground and known_cells is None and last != wanted:
        missing.append(last)
    seen = _one_pass(frames, backbone, missing, run) if missing else {}
    if not missing:
        run.progress("features", 1, 1)

    if known is None:
        known = run.cache.keep("features", key, {"features": seen[wanted]})
    values = known["features"]
    if foreground and known_cells is None:
        found = pca_foreground(seen.get(last, values), threshold)
        known_cells = run.cache.keep("foreground", cells_key, {"cells": found})
    grid = backbone.grid(int(frames.shape[-2]), int(frames.shape[-1]))
    cells = None if known_cells is None else known_cells["cells"]
    return Features(FeatureMaps(values, grid), cells)


def _key(frames: UInt8[Tensor, "T 3 H W"], backbone: Backbone, run: Run) -> dict[str, Any]:
    """What makes other features of the same video."""
    config = run.config.backbone
    return {
        "backbone": backbone.identity,
        "components": config.components,
        "pca_frames": config.pca_frames,
        "precision": config.precision,
        "size": list(frames.shape[-2:]),
        "filter": run.config.video.filter,
    }


def _one_pass(
    frames: UInt8[Tensor, "T 3 H W"],
    backbone: Backbone,
    layers: Sequence[int],
    run: Run,
) -> dict[int, Float[Tensor, "T C h w"]]:
    """What some blocks see, by their numbers, from one pass through the video.

    The network computes in half precision where its features are kept in it too and the device has
    instructions for that.
    """
    config = run.config.backbone
    half = config.precision == "float16" and multiplies_bfloat16(backbone.device)
    computed = torch.bfloat16 if half else torch.float32
    maps = extract_features(backbone, frames, layers, config, computed, run.progress)
    return dict(zip(layers, maps, strict=True))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bfloat16: on CPUs half the time of a ViT.

    A CPU without them would take longer than in single precision.
    """
    if device.type == "cpu":
        known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in torch 2.11
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    return device.type == "cuda"


def extract_features(
    backbone: Backbone,
    frames: UInt8[Tensor, "T 3 H W"],
    layers: Sequence[int],
    config: BackboneConfig,
    computed: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> list[Float[Tensor, "T K h w"]]:
    """Features of a video from some blocks, in the precision of the config, where the frames lie.

    config.components: each block's features are projected onto that many of their own principal
    components, taken from config.pca_frames frames. With 0, or as many as there are channels, they
    are kept whole. computed: the precision of the network, by autocast where it is not float32.
    """
    bases = _bases(backbone, frames, layers, config, computed)
    kept = torch.float16 if config.precision == "float16" else torch.float32
    results: list[Float[Tensor, "T K h w"]] = []
    progress("features", 0, len(frames))
    for part, maps in _maps_in_parts(backbone, frames, layers, computed):
        if bases:
            pairs = zip(bases, maps, strict=True)
            maps = [torch.einsum("kc,bchw->bkhw", basis, values) for basis, values in pairs]
        if not results:
            shapes = [(len(frames), *values.shape[1:]) for values in maps]
            results = [torch.empty(shape, dtype=kept, device=frames.device) for shape in shapes]
        for result, values in zip(results, maps, strict=True):
            result[part] = values.to(frames.device, kept)
        progress("features", part.stop, len(frames))
    return results


def _bases(
    backbone: Backbone,
    frames: UInt8[Tensor, "T 3 H W"],
    layers: Sequence[int],
    config: BackboneConfig,
    computed: torch.dtype,
) -> list[Float[Tensor, "K C"]]:
    """The principal components of each block's features; none where they are kept whole."""
    if not 0 < config.components < backbone.dims:
        return []
    count = min(config.pca_frames, len(frames))
    spread = torch.linspace(0, len(frames) - 1, count).round().long()
    sums: list[Float[Tensor, "C C"]] = []
    for _, maps in _maps_in_parts(backbone, frames[spread], layers, computed):
        moments = [second_moment(values) for values in maps]
        sums = [a + b for a, b in zip(sums, moments, strict=True)] if sums else moments
    return [principal_components(moment, config.components) for moment in sums]


def _maps_in_parts(
    backbone: Backbone,
    frames: UInt8[Tensor, "F 3 H W"],
    layers: Sequence[int],
    computed: torch.dtype,
) -> Iterator[tuple[slice, list[Float[Tensor, "B C h w"]]]]:
    """Float32 maps of some blocks on the backbone's device, for a part of the frames at a time."""
    device = backbone.device

    def compute(part: slice) -> list[Float[Tensor, "B C h w"]]:
        with torch.autocast(device.type, dtype=computed, enabled=computed != torch.float32):
            maps = backbone(frames[part], layers)
        return [values.float() for values in maps]

    grid = backbone.grid(int(frames.shape[-2]), int(frames.shape[-1]))
    each = VIT_LAYERS_HELD * 4 * grid.rows * grid.cols * backbone.dims
    return in_chunks(compute, len(frames), fitting(device, each, VIT_FRAMES), "frames")


def second_moment(maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "C C"]:
    """The sum of z z^T over all tokens z of the maps, each made of unit length."""
    units = F.normalize(maps.float(), dim=1).transpose(0, 1).flatten(1)
    return units @ units.T


def principal_components(moment: Float[Tensor, "C C"], components: int) -> Float[Tensor, "K C"]:
    """The orthonormal directions that keep the cosines between tokens best (`docs/method.md` 8).

    moment: the tokens' `second_moment`. Its top eigenvectors are the answer: by Eckart and Young no
    other projection of that rank keeps the inner products of the tokens closer. Nothing is centred,
    as subtracting a mean would change the cosines.
    """
    exact = moment.cpu().double()  # MPS has no doubles
    vectors = torch.linalg.eigh(exact).eigenvectors
    directions: Float[Tensor, "K C"] = vectors[:, -components:].flip(1).T
    return directions.float().to(moment.device)
