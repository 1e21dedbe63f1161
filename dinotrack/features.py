"""What a frozen ViT sees in a video: feature maps, and the cells that it sets apart as foreground.

The pipeline knows a ViT only as a `Backbone`, so that any network of frames can stand in for one.
timm's ViTs are in backbones.py, which is imported when one of them is wanted: a run without a ViT
need not wait for timm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinotrack.cache import Tensors
from dinotrack.chunks import VIT_FRAMES, VIT_LAYERS_HELD, fitting, in_chunks
from dinotrack.config import BackboneConfig
from dinotrack.foreground import pca_foreground
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.progress import Progress, silent
from dinotrack.run import Run

SHIPPED = "dinotrack_vit"
"""The ViT that comes with the project (dinotrack.pretraining). Its file says what it is made of."""

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

Frames = UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"]
"""RGB, in bytes or in [0, 1]."""


@runtime_checkable
class Backbone(Protocol):
    """A frozen network whose blocks turn frames into feature maps on one grid.

    Another family of networks is one class with these members, and one line in `MAKERS`.
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

    def __call__(self, frames: Frames, layers: Sequence[int]) -> list[Float[Tensor, "B C h w"]]:
        """The features that some blocks give, in the order asked for, from one pass."""
        ...


def shipped_vit(config: BackboneConfig, device: torch.device) -> Backbone:
    """The ViT that comes with the project."""
    from dinotrack.backbones import make_shipped

    return make_shipped(config, device)


MAKERS: dict[str, Callable[[BackboneConfig, torch.device], Backbone]] = {
    SHIPPED: shipped_vit,
}
"""What makes a backbone, by its name in the config. All other names are those of timm's ViTs."""


def make_backbone(
    config: BackboneConfig, device: torch.device, named: bool = False, offline: bool = False
) -> Backbone | None:
    """The frozen network that the config asks for, or None where the CNN is to see alone.

    The name "none" asks for no network. "auto" asks for the best DINOv2 that can be had, and
    settles for none with a DinotrackWarning, unless the preset was `named`. Random weights
    (config.pretrained off) are the same ones every time. offline: nothing is downloaded.

    Raises InputError for unknown names, for blocks that the network lacks, and for weights that
    can't be had.
    """
    if config.name == "none":
        return None
    if config.name in MAKERS:
        return MAKERS[config.name](config, device)
    from dinotrack.backbones import make_vit

    return make_vit(config, device, named, offline)


@dataclass(frozen=True)
class Features:
    """What a backbone sees in all frames of a video."""

    maps: FeatureMaps
    """The frozen features of the block that the config asks for."""
    foreground: Bool[Tensor, "T h w"] | None
    """The cells that the last block sets apart from the rest, where they were asked for."""


def video_features(
    frames: UInt8[Tensor, "T 3 H W"], backbone: Backbone, run: Run, foreground: bool
) -> Features:
    """The stage: frozen features of a video, and foreground cells if wanted, unless they are known.

    What the cache does not hold comes from one pass through the video. The features lie where the
    frames do.
    """
    wanted, last = backbone.layer, backbone.depth - 1
    key = _key(frames, backbone, run)
    threshold = run.config.foreground.threshold
    maps: dict[int, Float[Tensor, "T C h w"]] = {}

    def features(*others: int) -> None:
        """The wanted block's. If they take a pass, that pass gives the other blocks too."""

        def compute() -> Tensors:
            maps.update(_one_pass(frames, backbone, (wanted, *others), run, run.progress))
            return {"features": maps[wanted]}

        known = run.cache.remember("features", key, compute, run.progress)
        maps[wanted] = known["features"]

    def cells() -> Tensors:
        features(last)
        if last not in maps:
            maps.update(_one_pass(frames, backbone, (last,), run, silent))
        return {"cells": pca_foreground(maps[last], threshold)}

    found = None
    if foreground:
        found = run.cache.remember("foreground", key | {"threshold": threshold}, cells)["cells"]
    if wanted not in maps:
        features()
    grid = backbone.grid(int(frames.shape[-2]), int(frames.shape[-1]))
    return Features(FeatureMaps(maps[wanted], grid), found)


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
    progress: Progress,
) -> dict[int, Float[Tensor, "T C h w"]]:
    """What some blocks see, by their numbers, from one pass through the video.

    On CUDA the network computes in half precision where its features are kept in it too.
    """
    config = run.config.backbone
    half = backbone.device.type == "cuda" and config.precision == "float16"
    computed = torch.bfloat16 if half else torch.float32
    distinct = list(dict.fromkeys(layers))
    maps = extract_features(backbone, frames, distinct, config, computed, progress)
    return dict(zip(distinct, maps, strict=True))


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
