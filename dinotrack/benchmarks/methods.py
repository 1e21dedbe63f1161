"""Everything that can be measured, by name: our presets, these with one part taken out or changed,
and rivals."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

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
from dinotrack.features import BACKBONES, SHIPPED
from dinotrack.pipeline import Fitted, choose_device, fit
from dinotrack.tracks import Tracks

FILES = "file:"  # before the folder of someone's predictions


@dataclass(frozen=True)
class Options:
    """How methods are to run.

    settings: what differs from a method's own, {"training.steps": 100}; of no concern to methods
    without any.
    models: fits are kept in models/CLIP-SEED (models/METHOD/CLIP-SEED for ablations that change the
    fit), and reused.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    models: Path | None = None


class Method(Protocol):
    """Tracks points through a video.

    clip: the video's name; video: file, folder or RGB uint8 [T, H, W, 3]; queries [N, 3] (t, x, y)
    px.
    Rows of the tracks are in the order of the queries.
    """

    def __call__(
        self, clip: str, video: Path | npt.NDArray[np.uint8], queries: npt.NDArray[Any], seed: int
    ) -> Tracks: ...


@dataclass(frozen=True)
class Configuration:
    """Our tracker with a preset and settings, fitted to each video. folder: where fits are kept as
    CLIP-SEED."""

    preset: str
    settings: Mapping[str, Any]
    device: str
    folder: Path | None

    def fit(self, clip: str, video: Path | npt.NDArray[np.uint8], seed: int) -> Fitted:
        """The fit of a video, where it is kept or anew."""
        folder = None if self.folder is None else self.folder / f"{clip}-{seed}"
        options: Any = {"preset": self.preset, "settings": self.settings, "device": self.device}
        return fit(video, **options, seed=seed, folder=folder, resume=True)

    def __call__(
        self, clip: str, video: Path | npt.NDArray[np.uint8], queries: npt.NDArray[Any], seed: int
    ) -> Tracks:
        """Fit, then track."""
        return self.fit(clip, video, seed).track(queries)


def _configuration(options: Options, name: str, ablation: str | None = None) -> Configuration:
    """A preset with the settings asked for and, above these, the ablation's."""
    settings = dict(options.settings) | dict(ABLATIONS[ablation] if ablation else {})
    whole, config = override(preset(name), options.settings), override(preset(name), settings)
    folder = options.models
    if folder is not None and difference(
        whole, config
    ):  # what only tracks otherwise shares the preset's fit
        folder = folder / name / str(ablation)
    return Configuration(name, settings, options.device, folder)


def _flow_chains(options: Options, name: str) -> Method:
    """Flow as its authors set it (DIS: OpenCV's medium preset), not as ours is."""
    medium = FlowConfig(name=name, finest_scale=1, coarsest_scale=0, smoothness=20.0)
    config = override(
        Config("rival", flow=medium), {**_section(options, "flow"), "flow.name": name}
    )
    return rivals.FlowChains(config.flow, choose_device(options.device))


def _raw_features(options: Options) -> Method:
    frames = VideoConfig(area=476 * 854, multiple=7, min_side=56)
    base = dataclasses.replace(PAPER, backbone=BackboneConfig(name="dinov2_vits14"), video=frames)
    return rivals.RawFeatures(override(base, options.settings), choose_device(options.device))


def _section(options: Options, section: str) -> dict[str, Any]:
    return {key: value for key, value in options.settings.items() if key.startswith(f"{section}.")}


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
"""name -> method. Besides these, `make_method` knows PRESET/ABLATION and file:FOLDER."""

ABLATIONS: dict[str, Mapping[str, Any]] = {
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
    "without-memory": {"inference.memory_weight": 0},
    "without-support": {"inference.support_reach": 0},
    # layers are counted in blocks, so these name the ViT too: the one of `paper`, whose 24 blocks
    # end with 23
    "layer-first-third": {"backbone.name": "dinov2_vitl14", "backbone.layer": 7},
    "layer-last": {"backbone.name": "dinov2_vitl14", "backbone.layer": 23},
    **{name: {"backbone.name": name} for name in (SHIPPED, *BACKBONES)},
}
"""name -> settings that differ from a preset. One that changes nothing, as what the preset lacks
anyway, measures the preset again."""


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
        f"unknown method {name!r}; choose one of {', '.join(METHODS)}, {FILES}FOLDER, or {', '.join(PRESETS)} with "
        f"an ablation, as in fast/without-joining: {', '.join(ABLATIONS)}"
    )
