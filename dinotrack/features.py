"""The stage that looks at a video with a frozen ViT: feature maps, and what they say is foreground.

The pipeline knows a ViT only as a `Backbone` (backbones.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dinotrack.backbones import DESCRIBED, Backbone
from dinotrack.chunks import VIT_FRAMES, VIT_LAYERS_HELD, fitting, in_chunks
from dinotrack.config import BackboneConfig
from dinotrack.foreground import pca_foreground
from dinotrack.maps import FeatureMaps
from dinotrack.precision import multiplies_bfloat16
from dinotrack.progress import Meter, Progress, silent
from dinotrack.run import Run


def described_vit(config: BackboneConfig, device: torch.device) -> Backbone:
    """A ViT whose file says what it is, such as the one that comes with the project."""
    from dinotrack.vits import make_described

    return make_described(config, device)


MAKERS: dict[str, Callable[[BackboneConfig, torch.device], Backbone]] = {
    name: described_vit for name in DESCRIBED
}
"""What makes a backbone, by its name in the config. All other names are those of timm's ViTs."""


def make_backbone(config: BackboneConfig, device: torch.device) -> Backbone | None:
    """The frozen network that the config asks for, or None where the CNN is to see alone.

    The name "none" asks for no network, and "auto" for the best DINOv2 on this machine, which may
    be the one that comes with the project (`vits.best_name`). Random weights (config.pretrained
    off) are the same ones every time.

    Raises InputError for unknown names, for blocks that the network lacks, and for weights that
    can't be had.
    """
    name = resolve_name(config, device)
    config = replace(config, name=name)
    if name == "none":
        return None
    if name in MAKERS:
        return MAKERS[name](config, device)
    from dinotrack.vits import make_vit

    return make_vit(config, device)


def resolve_name(config: BackboneConfig, device: torch.device) -> str:
    """The name of the backbone that is meant: where the config says "auto", what that is here."""
    if config.name != "auto":
        return config.name
    from dinotrack.vits import best_name

    return best_name(config, device)


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

    The network sees every frame once: those that the components are taken from come first.
    """
    meter = Meter(progress, "features", len(frames))
    first, rest = _in_turn(len(frames), backbone, config)
    seen = list(_maps_in_parts(backbone, frames, first, layers, computed, meter))
    bases = _bases([maps for _, maps in seen], config)
    others = _maps_in_parts(backbone, frames, rest, layers, computed, meter)

    kept = torch.float16 if config.precision == "float16" else torch.float32
    results: list[Float[Tensor, "T K h w"]] = []
    for part, maps in itertools.chain(seen, others):
        if bases:
            pairs = zip(bases, maps, strict=True)
            maps = [torch.einsum("kc,bchw->bkhw", basis, values) for basis, values in pairs]
        if not results:
            shapes = [(len(frames), *values.shape[1:]) for values in maps]
            results = [torch.empty(shape, dtype=kept, device=frames.device) for shape in shapes]
        for result, values in zip(results, maps, strict=True):
            result[part.to(frames.device)] = values.to(frames.device, kept)
    meter.reach(len(frames))
    return results


def _in_turn(
    count: int, backbone: Backbone, config: BackboneConfig
) -> tuple[Int[Tensor, " F"], Int[Tensor, " R"]]:
    """The frames that components are taken from, spread evenly, and the rest; both ascending.

    Where features are kept whole, there are no components, and all frames are of the rest.
    """
    looked_at = torch.zeros(count, dtype=torch.bool)
    if 0 < config.components < backbone.dims:
        spread = torch.linspace(0, count - 1, min(config.pca_frames, count)).round().long()
        looked_at[spread] = True
    return looked_at.nonzero()[:, 0], (~looked_at).nonzero()[:, 0]


def _bases(
    seen: Sequence[Sequence[Float[Tensor, "_ C h w"]]], config: BackboneConfig
) -> list[Float[Tensor, "K C"]]:
    """The principal components of each block's features, of some parts of the video that were seen;
    none where nothing was."""
    sums: list[Float[Tensor, "C C"]] = []
    for maps in seen:
        moments = [second_moment(values) for values in maps]
        sums = [a + b for a, b in zip(sums, moments, strict=True)] if sums else moments
    return [principal_components(moment, config.components) for moment in sums]


def _maps_in_parts(
    backbone: Backbone,
    frames: UInt8[Tensor, "T 3 H W"],
    chosen: Int[Tensor, " F"],
    layers: Sequence[int],
    computed: torch.dtype,
    meter: Meter,
) -> Iterator[tuple[Int[Tensor, " B"], list[Float[Tensor, "B C h w"]]]]:
    """Float32 maps of some blocks on the backbone's device, for a part of the chosen frames at a
    time, with the numbers of these frames."""
    device = backbone.device
    tick = meter.ticker(1)

    def compute(part: slice) -> list[Float[Tensor, "B C h w"]]:
        some = frames[chosen[part].to(frames.device)]
        with torch.autocast(device.type, dtype=computed, enabled=computed != torch.float32):
            maps = backbone(some, layers)
        return [values.float() for values in maps]

    grid = backbone.grid(int(frames.shape[-2]), int(frames.shape[-1]))
    each = VIT_LAYERS_HELD * 4 * grid.rows * grid.cols * backbone.dims
    at_once = fitting(device, each, VIT_FRAMES)
    for part, maps in in_chunks(compute, len(chosen), at_once, "frames"):
        tick(part.stop - part.start)
        yield chosen[part], maps


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
