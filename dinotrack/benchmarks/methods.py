"""Everything that can be measured, by name: our presets, these with one part taken out or changed,
and rivals."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from dinotrack.api import fit
from dinotrack.backbones import BACKBONES, SHIPPED
from dinotrack.benchmarks import rivals
from dinotrack.config import (
    PAPER,
    PRESETS,
    BackboneConfig,
    Config,
    FlowConfig,
    VideoConfig,
    difference,
    override,
    preset,
)
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted
from dinotrack.options import choose_device
from dinotrack.run import Run
from dinotrack.tracks import Tracks

FILES = "file:"
"""Stands before the folder of someone's predictions."""

Settings = Mapping[str, Any]
"""What differs from a preset: {"training.steps": 100}."""


@dataclass(frozen=True)
class Options:
    """How methods are to run."""

    settings: Settings = field(default_factory=dict)
    """What differs from a method's own; of no concern to methods without any."""
    device: str = "auto"
    models: Path | None = None
    """Fits are kept in models/CLIP-SEED, and used again from there."""


@runtime_checkable
class Method(Protocol):
    """Tracks points through a video."""

    def __call__(
        self,
        clip: str,
        video: Path | UInt8[np.ndarray, "T H W 3"],
        queries: Float[np.ndarray, "N 3"],
        seed: int,
    ) -> Tracks:
        """The tracks of queries (t, x, y), in their order and in px of the video.

        clip: the name of the video, under which fits are kept and predictions are found.
        """
        ...


@dataclass(frozen=True)
class Configuration:
    """Our tracker with a preset and settings, fitted to each video."""

    preset: str
    options: Options

    def fit(self, clip: str, video: Path | UInt8[np.ndarray, "T H W 3"], seed: int) -> Fitted:
        """The fit of a video, where it is kept or anew."""
        options = self.options
        folder = None if options.models is None else options.models / f"{clip}-{seed}"
        return fit(
            video,
            preset=self.preset,
            settings=options.settings,
            device=options.device,
            seed=seed,
            folder=folder,
            resume=True,
        )

    def __call__(
        self,
        clip: str,
        video: Path | UInt8[np.ndarray, "T H W 3"],
        queries: Float[np.ndarray, "N 3"],
        seed: int,
    ) -> Tracks:
        """Fit, look at the points, and track them."""
        return self.fit(clip, video, seed).focus(queries).track(queries)


def seconds_of_learning(fitted: Fitted) -> float:
    """How long a fit was trained in this process, with the steps that look at points."""
    seconds: dict[str, float] = fitted.record["seconds"]
    return sum(seconds.get(stage, 0.0) for stage in ("fit", "focus"))


def _configuration(options: Options, name: str, ablation: str | None = None) -> Configuration:
    """A preset with the settings asked for and, above these, the ablation's.

    An ablation that only tracks otherwise shares the preset's fit. The fits of others lie in a
    folder of their own, models/PRESET/ABLATION.
    """
    changes = {} if ablation is None else ABLATIONS[ablation]
    settings = {**options.settings, **changes}
    whole = override(preset(name), options.settings)
    config = override(preset(name), settings)
    folder = options.models
    if folder is not None and difference(whole, config):
        folder = folder / name / str(ablation)
    return Configuration(name, Options(settings, options.device, folder))


def _flow_chains(options: Options, name: str) -> Method:
    """Flow as its authors set it (DIS: OpenCV's medium preset), not as ours is."""
    medium = FlowConfig(name=name, finest_scale=1, coarsest_scale=0, smoothness=20.0)
    asked = {key: value for key, value in options.settings.items() if key.startswith("flow.")}
    config = override(Config("rival", flow=medium), {**asked, "flow.name": name})
    return rivals.FlowChains(config.flow, choose_device(options.device))


def _raw_features(options: Options) -> Method:
    """The paper's ViT and soft-argmax, on frames of the video's aspect."""
    frames = VideoConfig(area=476 * 854, multiple=7, min_side=56)
    backbone = BackboneConfig(name="dinov2_vits14", precision="float32")
    base = dataclasses.replace(PAPER, backbone=backbone, video=frames)
    config = override(base, options.settings)
    return rivals.RawFeatures(Run(config, choose_device(options.device)))


METHODS: dict[str, Callable[[Options], Method]] = {
    "fast": partial(_configuration, name="fast"),
    "quality": partial(_configuration, name="quality"),
    "paper": partial(_configuration, name="paper"),
    "still": lambda options: rivals.still,
    "lucas-kanade": lambda options: rivals.lucas_kanade,
    "dis": partial(_flow_chains, name="dis"),
    "raft": partial(_flow_chains, name="raft_large"),
    "vit": _raw_features,
}
"""Name -> method. Besides these, `make_method` knows PRESET/ABLATION and file:FOLDER."""

ABLATIONS: dict[str, Settings] = {
    "without-flow-loss": {"training.flow_weight": 0},
    "without-heatmap-loss": {"training.heatmap_weight": 0},
    "without-buddies": {"training.buddy_weight": 0},
    "without-refined-buddies": {"training.refined_buddy_weight": 0},
    "without-cycle": {"training.cycle_weight": 0},
    "without-norm": {"training.norm_weight": 0},
    "without-angle": {"training.angle_weight": 0},
    "without-vit": {"backbone.name": "none"},
    "random-vit": {"backbone.pretrained": False},
    "without-refiner": {"model.refiner": False},
    "without-direct-filter": {"trajectories.direct_filter": False},
    "without-foreground": {"foreground.method": "none"},
    "without-joining": {"inference.method": "match"},
    "without-memory": {"inference.memory.weight": 0},
    "without-support": {"inference.support.reach": 0},
    "without-focus": {"focus.share": 0},
    # layers are counted in blocks, so these name the ViT too: the one of `paper`, whose 24 blocks
    # end with 23
    "layer-first-third": {"backbone.name": "dinov2_vitl14", "backbone.layer": 7},
    "layer-last": {"backbone.name": "dinov2_vitl14", "backbone.layer": 23},
    **{name: {"backbone.name": name} for name in (SHIPPED, *BACKBONES)},
}
"""Name -> settings that differ from a preset. One that changes nothing, as it takes out what the
preset lacks anyway, measures the preset again."""


def make_method(name: str, options: Options) -> Method:
    """The method of that name: a key of METHODS, PRESET/ABLATION, or file:FOLDER.

    Raises InputError for an unknown name, settings that can't be, and weights that can't be had.
    """
    if name.startswith(FILES):
        return rivals.Files(Path(name.removeprefix(FILES)))
    if name in METHODS:
        return METHODS[name](options)
    base, _, ablation = name.partition("/")
    if base in PRESETS and ablation in ABLATIONS:
        return _configuration(options, base, ablation)
    raise InputError(
        f"unknown method {name!r}; choose one of {', '.join(METHODS)}, {FILES}FOLDER, or "
        f"{', '.join(PRESETS)} with an ablation, as in fast/without-joining: "
        f"{', '.join(ABLATIONS)}"
    )
