"""The steps in a row: video -> flow and features -> labels -> fit -> tracks (the method's
figure)."""

import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dinotrack import checkpoint, training, weights
from dinotrack.buddies import find_buddies
from dinotrack.cache import Cache, open_cache
from dinotrack.config import Config, TrainingConfig, override
from dinotrack.config import preset as named_preset
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.features import TimmBackbone, extract_features, make_backbone
from dinotrack.flow import (
    ConsecutiveFlow,
    Estimator,
    Flow,
    consecutive_flow,
    make_flow,
    pair_flow,
    resolve_flow_name,
)
from dinotrack.foreground import mask_foreground, motion_foreground, pca_foreground
from dinotrack.formats import check_queries, grid_queries
from dinotrack.geometry import Grid, rescale
from dinotrack.inference import refine_video, track_by_matching
from dinotrack.joining import make_footage, track_by_joining
from dinotrack.model import DeltaDino, Tracker, least_side, memory_format
from dinotrack.progress import Progress, silent
from dinotrack.tracks import Tracks
from dinotrack.trajectories import flow_chains, in_foreground
from dinotrack.video import Resized, Source, Video, content_hash, read_video, resize, working_size

START = weights.Source("the CNN a fit starts from", files=("dinotrack_cnn.safetensors",))
NO_CACHE = Cache()
SAVE_EVERY = 250  # steps between checkpoints, for what not even Ctrl-C announces


@dataclass(frozen=True)
class Watch:
    """Watches stages: reports their progress, and notes the seconds and the peak resident memory of
    each."""

    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    peak_megabytes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        since = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - since
        self.peak_megabytes[name] = peak_memory() / 2**20


def peak_memory() -> int:
    """Most memory this process has held so far, in bytes; 0 on Windows, where Python can't tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@dataclass(frozen=True)
class Tools:
    """The networks that are not trained, and where they run."""

    backbone: TimmBackbone | None
    estimate_flow: Estimator
    flow_name: str
    """In flow.FLOWS."""
    device: torch.device


@dataclass(frozen=True)
class Sight:
    """What is seen in a video before anything is learnt."""

    frames: Tensor
    """uint8 [T, 3, H, W], the working frames."""
    flow_frames: Tensor | Resized
    """uint8 [T, 3, ., .], the frames flow is computed on; those of another size are made when they
    are asked for."""
    features: Tensor | None
    """[T, C, ., .], frozen, on `feature_grid`, float16 or float32; both None without a ViT."""
    feature_grid: Grid | None
    flow: ConsecutiveFlow

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the working frames."""
        return int(self.frames.shape[-2]), int(self.frames.shape[-1])


@dataclass(frozen=True)
class Fitted:
    """A tracker fitted to one video. Made by `fit` and `load`."""

    video: Video
    identity: checkpoint.Identity
    state: training.State
    maps: Tensor
    """Refined features [T, C, h, w] of all frames, on `grid`."""
    grid: Grid
    flow: ConsecutiveFlow
    """In working px."""
    frames: Tensor
    """uint8 [T, 3, H, W], the working frames."""
    watch: Watch
    steps_trained_now: int
    """0 where a finished fit was loaded."""

    @property
    def config(self) -> Config:
        """Every number of the fit."""
        return self.identity.config

    @property
    def steps(self) -> int:
        """Steps trained in all."""
        return self.state.step

    @property
    def record(self) -> dict[str, Any]:
        """What happened: seconds and peak memory by stage, steps, losses by step."""
        return {
            "seconds": dict(self.watch.seconds),
            "peak_megabytes": dict(self.watch.peak_megabytes),
            "steps": self.steps,
            "steps_trained_now": self.steps_trained_now,
            "losses": self.state.losses,
        }

    def track(
        self,
        queries: npt.ArrayLike | None = None,
        *,
        grid: int = 16,
        query_frame: int = 0,
        mask: npt.NDArray[np.bool_] | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """Where points are in every frame, and where they are visible.

        queries: [N, 3] (t, x, y) in px of the video; None: grid x grid points of query_frame,
        inside mask bool [H, W].
        progress: None: the one given to `fit`. Raises InputError for queries outside the video.
        """
        asked = choose_queries(self.video, queries, grid=grid, query_frame=query_frame, mask=mask)
        with self.watch.stage("track"):
            return _locate(self, asked, self.watch.progress if progress is None else progress)

    def save(self, folder: str | Path) -> None:
        """Write weights, optimizer, step, config, seed and the video's hash into a folder, for
        `load`."""
        checkpoint.save(Path(folder), self.state, self.identity)


def fit(
    video: Source,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    foreground: npt.NDArray[np.bool_] | None = None,
    progress: Progress = silent,
    folder: str | Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Fit a tracker to one video.

    video: a file, a folder of images, or RGB uint8 [T, H, W, 3].
    preset: fast, quality or paper; None: quality on CUDA, else fast. settings: what differs,
    {"training.steps": 2000}.
    foreground: bool [T, H, W] of the video, where it needn't be found.
    seed: from 0 to 2^32 - 1.
    folder: where the fit is kept. A finished fit of the same video, settings and seed there is
    loaded instead of trained; an unfinished one is continued with `resume`. Ctrl-C leaves a
    checkpoint there.
    Raises InputError for what the user can mend.
    """
    watch, where, seed = Watch(progress), choose_device(device), _check_seed(seed)
    config = choose_config(preset, settings, where)
    with watch.stage("read"):
        video = read_video(video, progress)
    if "training.steps" not in (settings or {}):
        config = override(
            config, {"training.steps": default_steps(config.training, len(video.frames))}
        )
    if foreground is not None:
        foreground = _as_masks(foreground, video.frames.shape[:3], "foreground")
    identity = checkpoint.Identity(
        config, seed, content_hash(video), checkpoint.hash_masks(foreground), video.path
    )
    stored = checkpoint.find(Path(folder), identity, resume) if folder else None
    tools = make_tools(config, where, named=preset is not None)
    cache = open_cache(identity.video_hash)
    sight = look(video, config, tools, watch, cache)
    state = begin(
        config, sight, seed, where, learns=stored is None or stored.step < config.training.steps
    )
    if stored is not None:
        checkpoint.restore(stored, state)
    before = state.step
    if before < config.training.steps:
        grid = state.tracker.grid(sight.size, sight.feature_grid)
        material = prepare(config, sight, tools, grid, seed, foreground, watch, cache)
        with watch.stage("fit"):
            _train(material, state, identity, Path(folder) if folder else None, progress)
        del material  # its chains make room for the refined maps
    return _finish(video, identity, sight, state, watch, state.step - before)


def load(
    folder: str | Path,
    video: Source | None = None,
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> Fitted:
    """A fit that was saved. video: where it lies now; None: where it lay.

    Raises InputError where the folder holds no fit, or the video is another one.
    """
    watch, where = Watch(progress), choose_device(device)
    stored = checkpoint.read(Path(folder))
    if video is None and not stored.identity.source:
        raise InputError(
            f"{folder} does not say where its video lies; name it, as in load(folder, video)"
        )
    with watch.stage("read"):
        video = read_video(stored.identity.source if video is None else video, progress)
    if content_hash(video) != stored.identity.video_hash:
        raise InputError(
            f"{folder} was fitted to another video than {video.name}; name that one, or fit this one"
        )
    tools = make_tools(stored.identity.config, where, named=False)
    sight = look(
        video, stored.identity.config, tools, watch, open_cache(stored.identity.video_hash)
    )
    state = begin(stored.identity.config, sight, stored.identity.seed, where, learns=False)
    checkpoint.restore(stored, state)
    return _finish(video, stored.identity, sight, state, watch, 0)


def track(
    video: Source,
    queries: npt.ArrayLike | None = None,
    *,
    grid: int = 16,
    query_frame: int = 0,
    mask: npt.NDArray[np.bool_] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Tracks:
    """Fit a tracker to a video and track points through it: `fit`, with its options, and
    `Fitted.track` in one."""
    known = read_video(video, progress)
    asked = choose_queries(
        known, queries, grid=grid, query_frame=query_frame, mask=mask
    )  # complain before the fit
    return fit(known, progress=progress, **options).track(asked)


def choose_device(device: str | torch.device) -> torch.device:
    """auto: CUDA where there is one, else the CPU.

    Raises InputError for a device this machine lacks.
    """
    if isinstance(device, torch.device):
        return device
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    kind = device.partition(":")[0]
    if kind not in there:
        raise InputError(f"unknown device {device!r}; choose auto, {', '.join(there)}")
    if not there[kind]:
        raise InputError(f"this machine has no {device}; leave --device out, or take --device cpu")
    return torch.device(device)


def choose_config(
    preset: str | None, settings: Mapping[str, Any] | None, device: torch.device
) -> Config:
    """The preset, or the device's default, with the settings that differ."""
    name = preset or ("quality" if device.type == "cuda" else "fast")
    return override(named_preset(name), settings or {})


def default_steps(config: TrainingConfig, frames: int) -> int:
    """Steps of a fit to a video of that many frames, where their number wasn't asked for: longer
    ones take more."""
    return max(config.steps, round(config.steps_a_frame * frames))


def choose_queries(
    video: Video,
    queries: npt.ArrayLike | None,
    *,
    grid: int = 16,
    query_frame: int = 0,
    mask: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """The queries asked for, checked, or a grid of them: float32 [N, 3] (t, x, y) px of the
    video."""
    if mask is not None:
        mask = _as_masks(mask, video.size, "mask")
    if queries is None:
        queries = grid_queries(grid, video.size, query_frame, mask)
    return check_queries(queries, len(video.frames), video.size)


def make_tools(config: Config, device: torch.device, named: bool) -> Tools:
    """The frozen networks. named: the user named the preset, so what it needs must be there, or
    InputError says how."""
    with warnings.catch_warnings():
        if named:
            warnings.simplefilter("error", DinotrackWarning)
        try:
            backbone, name = (
                make_backbone(config.backbone, device),
                resolve_flow_name(config.flow.name, device),
            )
            return Tools(backbone, make_flow(replace(config.flow, name=name), device), name, device)
        except DinotrackWarning as missing:
            reason = str(missing).partition("; using ")[0]
            raise InputError(
                f"{reason}; preset {config.preset} was named, so nothing else is taken"
            ) from None


def look(
    video: Video, config: Config, tools: Tools, watch: Watch, cache: Cache = NO_CACHE
) -> Sight:
    """Working frames, flow and frozen features of a video. cache: where flow and features are
    kept."""
    with watch.stage("flow"):
        size = _working_size(video, config)
        frames = resize(video.frames, size, config.video.filter)
        flow_frames = _flow_frames(video, config, frames)
        flow = _flow(flow_frames, size, config, tools, watch, cache)
    if tools.backbone is None:
        return Sight(frames, flow_frames, None, None, flow)
    with watch.stage("features"):
        features = _features(frames, tools.backbone, config, watch, cache)
    return Sight(frames, flow_frames, features, tools.backbone.grid(*size), flow)


def _flow_frames(video: Video, config: Config, frames: Tensor) -> Tensor | Resized:
    """What flow is computed on: the working frames, or larger ones."""
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    fixed = bool(config.video.height and config.video.width)
    flow_size = (
        size
        if fixed
        else working_size(video.size, replace(config.video, area=config.flow.area, multiple=1))
    )
    return frames if flow_size == size else Resized(video.frames, flow_size, config.video.filter)


def _flow(
    frames: Tensor | Resized,
    size: tuple[int, int],
    config: Config,
    tools: Tools,
    watch: Watch,
    cache: Cache,
) -> ConsecutiveFlow:
    """Flow between neighbours, computed unless it is known."""

    def compute() -> dict[str, Tensor]:
        flow = consecutive_flow(frames, tools.estimate_flow, size, watch.progress)
        return {"forward": flow.forward, "backward": flow.backward}

    settings = {
        **asdict(config.flow),
        "name": tools.flow_name,
        "size": size,
        "computed_at": list(frames[0].shape),
        "filter": config.video.filter,
    }
    return ConsecutiveFlow(**cache.remember("flow", settings, compute, watch.progress))


def _features(
    frames: Tensor, backbone: TimmBackbone, config: Config, watch: Watch, cache: Cache
) -> Tensor:
    """Frozen features on the ViT's grid, computed unless they are known."""

    def compute() -> dict[str, Tensor]:
        return {"features": _extract(frames, backbone, config, watch.progress)}

    settings = _feature_settings(frames, backbone, config)
    return cache.remember("features", settings, compute, watch.progress)["features"]


def _feature_settings(frames: Tensor, backbone: TimmBackbone, config: Config) -> dict[str, Any]:
    """What makes other features of the same video."""
    return {
        "backbone": backbone.identity,
        "components": config.backbone.components,
        "precision": config.backbone.precision,
        "size": list(frames.shape[-2:]),
        "filter": config.video.filter,
    }


def _extract(
    frames: Tensor, backbone: TimmBackbone, config: Config, progress: Progress = silent
) -> Tensor:
    """Features as config.backbone wants them: on CUDA computed in half precision too where they are
    kept in it."""
    kept = torch.float16 if config.backbone.precision == "float16" else torch.float32
    half = backbone.device.type == "cuda" and kept == torch.float16
    precision = torch.bfloat16 if half else torch.float32
    return extract_features(backbone, frames, config.backbone.components, precision, kept, progress)


def _working_size(video: Video, config: Config) -> tuple[int, int]:
    """(H, W) of the working frames. Raises InputError where the networks can't take them."""
    size, least = working_size(video.size, config.video), least_side(config.model)
    if min(size) < least:
        raise InputError(
            f"the networks need frames of {least} px a side, and these are {size[1]} x {size[0]}; take fewer "
            "model.widths, or a larger video.min_side (or video.height and video.width)"
        )
    return size


def begin(
    config: Config, sight: Sight, seed: int, device: torch.device, learns: bool
) -> training.State:
    """Networks and optimizer before the first step; the caller's random numbers are left alone.

    learns: False where a finished fit takes their place, which needs no pretrained start.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        tracker = Tracker(config.model, None if sight.features is None else sight.features.shape[1])
    if (
        learns
        and config.model.start != "random"
        and (sight.features is None or config.model.fusion == "beside")
    ):
        start_pretrained(tracker.delta_dino, must=config.model.start == "pretrained")
    return training.start(
        tracker.to(device).to(memory_format=memory_format(device)), config.training
    )


def start_pretrained(network: DeltaDino, must: bool) -> None:
    """Fill the CNN with our own pretrained weights (dinotrack.pretraining.start).

    Where they are not on this machine, or are of another shape: InputError, or, unless `must`, a
    DinotrackWarning that they are missing; another shape is left as it is.
    """
    path = weights.find(START)
    if path is None:
        missing = (
            f"the weights a fit starts from, {START.files[0]}, are missing; put them into ./weights"
        )
        if must:
            raise InputError(f"{missing}, or take --set model.start=random")
        warnings.warn(
            f"{missing}; starting from random ones instead", DinotrackWarning, stacklevel=2
        )
        return
    state, own = weights.read(path), network.state_dict()
    fits = state.keys() == own.keys() and all(state[name].shape == own[name].shape for name in own)
    if must and not fits:
        raise InputError(
            f"{path} is for other model.* settings; leave those as in `fast`, or take model.start=random"
        )
    if fits:
        network.load_state_dict(state)


def prepare(
    config: Config,
    sight: Sight,
    tools: Tools,
    grid: Grid,
    seed: int,
    foreground: npt.NDArray[np.bool_] | None,
    watch: Watch,
    cache: Cache = NO_CACHE,
) -> training.Material:
    """Everything there is to learn from: chains, which of them are foreground, and best buddies."""

    def direct(i: int, j: int) -> tuple[Flow, Flow]:
        return pair_flow(
            sight.flow_frames[i], sight.flow_frames[j], tools.estimate_flow, sight.size
        )

    with watch.stage("labels"):
        filtered = direct if config.trajectories.direct_filter else None
        chains = flow_chains(
            sight.flow.forward, sight.flow.backward, config.trajectories, filtered, watch.progress
        )
        masks = find_foreground(config, sight, tools, foreground, cache)
    buddies = {}
    if (
        config.training.buddy_weight
        and sight.features is not None
        and sight.feature_grid is not None
    ):
        with watch.stage("buddies"):
            near = sight.features.to(tools.device)
            buddies = find_buddies(
                near, sight.feature_grid, chains, config.buddies, seed, watch.progress
            )
    on_foreground = in_foreground(chains, masks)
    return training.Material(
        sight.frames,
        sight.features,
        sight.feature_grid,
        grid,
        chains,
        on_foreground,
        masks,
        buddies,
    )


def find_foreground(
    config: Config,
    sight: Sight,
    tools: Tools,
    given: npt.NDArray[np.bool_] | None,
    cache: Cache = NO_CACHE,
) -> Tensor:
    """Foreground masks bool [T, H, W] of the working frames: given, or found (METHOD 2)."""
    if given is not None:
        return mask_foreground(torch.from_numpy(np.ascontiguousarray(given)), sight.size)
    method = config.foreground.method
    if method == "none":
        return torch.zeros(len(sight.frames), *sight.size, dtype=torch.bool)
    if method == "pca" and tools.backbone is not None:
        return mask_foreground(_pca_cells(config, sight, tools.backbone, cache), sight.size)
    if method not in ("pca", "motion"):
        raise InputError(f"foreground.method={method} is unknown; choose pca, motion or none")
    return motion_foreground(
        sight.flow.forward, config.foreground.homography_error, config.foreground.share
    )


def _pca_cells(config: Config, sight: Sight, backbone: TimmBackbone, cache: Cache) -> Tensor:
    """Foreground cells bool [T, h, w] by the ViT's last block, computed unless they are known."""

    def compute() -> dict[str, Tensor]:
        deepest = make_backbone(replace(config.backbone, layer=backbone.depth - 1), backbone.device)
        assert deepest is not None
        return {
            "cells": pca_foreground(
                _extract(sight.frames, deepest, config), config.foreground.threshold
            )
        }

    settings = {
        **_feature_settings(sight.frames, backbone, config),
        "threshold": config.foreground.threshold,
    }
    return cache.remember("foreground", settings, compute)["cells"]


def _train(
    material: training.Material,
    state: training.State,
    identity: checkpoint.Identity,
    folder: Path | None,
    progress: Progress,
) -> None:
    """Fit, keeping checkpoints in the folder; Ctrl-C leaves one."""
    steps = identity.config.training.steps

    def on_step(state: training.State) -> None:
        if folder and state.step % SAVE_EVERY == 0:
            checkpoint.save(folder, state, identity)
        progress("fit", state.step, steps)

    progress("fit", state.step, steps)
    try:
        training.fit(material, identity.config, identity.seed, state, on_step)
    except KeyboardInterrupt:
        if folder:
            checkpoint.save(folder, state, identity)
        raise
    if state.step < steps:
        state.step = steps
        progress("fit", steps, steps)
        warnings.warn(
            "no point could be followed from any frame to the next, so nothing was learnt; tracks are guesses",
            DinotrackWarning,
            stacklevel=2,
        )
    if folder:
        checkpoint.save(folder, state, identity)


def _finish(
    video: Video,
    identity: checkpoint.Identity,
    sight: Sight,
    state: training.State,
    watch: Watch,
    trained: int,
) -> Fitted:
    """Refine all frames, so that tracking is ready to go."""
    grid = state.tracker.grid(sight.size, sight.feature_grid)
    with watch.stage("refine"):
        maps = refine_video(
            state.tracker,
            sight.frames,
            sight.features,
            sight.feature_grid,
            torch.float16,
            watch.progress,
        )
    state.tracker.eval()
    return Fitted(video, identity, state, maps, grid, sight.flow, sight.frames, watch, trained)


def _locate(fitted: Fitted, queries: npt.NDArray[np.float32], progress: Progress) -> Tracks:
    """Track checked queries, in working px inside, in px of the video outside."""
    config, video = fitted.config, fitted.video
    size = working_size(video.size, config.video)
    device = fitted.maps.device
    asked = torch.from_numpy(queries).to(device)
    inner = torch.cat((asked[:, :1], rescale(asked[:, 1:], video.size, size)), dim=1)
    tracker = fitted.state.tracker
    if config.inference.method == "match":
        found = track_by_matching(
            tracker, fitted.maps, fitted.grid, inner, config.inference, progress
        )
    elif config.inference.method == "join":
        footage = make_footage(tracker, fitted.maps, fitted.grid, fitted.flow, fitted.frames)
        found = track_by_joining(footage, inner, config.inference, progress)
    else:
        raise InputError(
            f"inference.method={config.inference.method} is unknown; choose match or join"
        )
    xy, visible, confidence = found[0].clone(), found[1].clone(), found[2].clone()
    xy = rescale(xy, size, video.size)
    if config.inference.pin_query:
        rows, own = torch.arange(len(asked), device=device), asked[:, 0].long()
        xy[rows, own], visible[rows, own], confidence[rows, own] = asked[:, 1:], True, 1.0
    arrays = xy.float().cpu().numpy(), visible.cpu().numpy(), confidence.float().cpu().numpy()
    return Tracks(*arrays, queries=queries, size=video.size, fps=video.fps)


def _check_seed(seed: int) -> int:
    """The seed as Python's own integer; every step's random numbers are counted on from it."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed} is out of range; give a whole number from 0 to {2**32 - 1}")
    return int(seed)


def _as_masks(masks: npt.ArrayLike, shape: tuple[int, ...], name: str) -> npt.NDArray[np.bool_]:
    """The user's masks as bool, true where they are not zero.

    Raises InputError for another shape.
    """
    values = np.asarray(masks)
    if values.shape != shape:
        raise InputError(
            f"the {name} has shape {values.shape}; give an array of the video's, {shape}"
        )
    return values.astype(np.bool_, copy=False)
