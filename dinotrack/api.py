"""The doors of the package: fit a tracker to a video, load one, track points, draw them.

Everything that the command line does, these functions do. They take what users have (paths, names,
arrays in px of the video) and give what users want; inside, the pipeline works on tensors in px of
the working frame.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack import pipeline
from dinotrack.cache import open_cache
from dinotrack.config import Config, TrainingConfig, override
from dinotrack.config import preset as named_preset
from dinotrack.defaults import GRID, LARGEST_SEED
from dinotrack.errors import Argument, DinotrackWarning, InputError
from dinotrack.flow import VideoFlow
from dinotrack.maps import FeatureMaps
from dinotrack.overlay import render as render
from dinotrack.pipeline import Learnt
from dinotrack.points import as_masks, choose_queries
from dinotrack.progress import Progress, Watch, silent
from dinotrack.queries import Queries, Trajectories
from dinotrack.run import Run
from dinotrack.tracking import TrackedVideo
from dinotrack.tracks import Tracks
from dinotrack.training import State, Store, checkpoint
from dinotrack.training.checkpoint import Identity
from dinotrack.video import Source, Video, content_hash, read_video


@dataclass(frozen=True)
class Fitted:
    """A tracker that was fitted to one video. `fit` and `load` make it."""

    video: Video
    identity: Identity
    run: Run
    learnt: Learnt
    steps_trained_now: int
    """0 where a finished fit was loaded."""

    @property
    def config(self) -> Config:
        """Every number of the fit."""
        return self.identity.config

    @property
    def state(self) -> State:
        """The networks, the optimizer, and how far the fit is."""
        return self.learnt.state

    @property
    def maps(self) -> FeatureMaps:
        """Refined features of all frames."""
        return self.learnt.video.maps

    @property
    def steps(self) -> int:
        """Steps that were trained in all."""
        return self.state.step

    @property
    def frames(self) -> UInt8[Tensor, "T 3 H W"]:
        """The working frames."""
        return self.learnt.video.frames

    @property
    def flow(self) -> VideoFlow:
        """Flow between neighbouring frames, in working px."""
        return self.learnt.video.flow

    @property
    def record(self) -> dict[str, Any]:
        """What happened: seconds and peak memory by stage, steps, and losses by step."""
        return {
            "seconds": dict(self.run.watch.seconds),
            "peak_megabytes": dict(self.run.watch.peak_megabytes),
            "steps": self.steps,
            "steps_trained_now": self.steps_trained_now,
            "losses": self.state.losses,
        }

    def track(
        self,
        queries: npt.ArrayLike | None = None,
        *,
        grid: SupportsIndex = GRID,
        query_frame: SupportsIndex = 0,
        mask: npt.ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """Track points through the video, forwards and backwards, without any training.

        queries: [N, 3] rows of (t, x, y): the frame, counted from 0, and the position in px of the
        video. Without queries, a grid of grid x grid points of query_frame is tracked, of which
        mask, bool [H, W], keeps those on its true pixels.
        progress: who is told how far tracking is; by default the one that `fit` was given.

        Raises InputError for queries outside the video and for a mask of another size.
        """
        asked = choose_queries(self.video, queries, grid=grid, query_frame=query_frame, mask=mask)
        watch = self.run.watch if progress is None else replace(self.run.watch, progress=progress)
        return self._tracks(asked, replace(self.run, watch=watch))

    def save(self, folder: str | Path) -> None:
        """Write the fit into a folder, for `load`: weights, optimizer, step, settings, seed, and
        the hash of the video.

        Raises InputError where the folder can't be written, or holds the fit of another video or
        with other settings, which is never overwritten.
        """
        checkpoint.find(Path(folder), self.identity, resume=True)
        checkpoint.save(Path(folder), self.state, self.identity)

    def working_queries(self, rows: Float[np.ndarray, "N 3"]) -> Queries:
        """Rows of (t, x, y) px of the video, in working px and where points are tracked."""
        asked = Queries.from_rows(torch.from_numpy(rows)).to(self.maps.device)
        return asked.rescaled(self.video.size, self.learnt.video.size)

    def in_video(self, found: Trajectories) -> Trajectories:
        """Trajectories in working px, in px of the video."""
        return found.rescaled(self.learnt.video.size, self.video.size)

    @property
    def tracked(self) -> TrackedVideo:
        """The video as points are tracked in it, where the maps lie."""
        return self.learnt.video.to(self.maps.device)

    def _tracks(self, rows: Float[np.ndarray, "N 3"], run: Run) -> Tracks:
        """Tracks of checked queries. Positions are in working px only in here."""
        found = self.in_video(pipeline.track(self.learnt, self.working_queries(rows), run))
        found = found.seen_within(self.video.size)
        if self.config.inference.pin_query:
            found = Queries.from_rows(torch.from_numpy(rows)).to(self.maps.device).pinned(found)
        return Tracks(
            xy=found.xy.float().cpu().numpy(),
            visible=found.visible.cpu().numpy(),
            confidence=found.confidence.float().cpu().numpy(),
            queries=rows,
            size=self.video.size,
            fps=self.video.fps,
        )


def fit(
    video: Source,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: SupportsIndex = 0,
    device: str | torch.device = "auto",
    foreground: npt.ArrayLike | None = None,
    progress: Progress = silent,
    folder: str | Path | None = None,
    resume: bool = False,
) -> Fitted:
    """Fit a tracker to one video.

    video: a file, a folder of images, or RGB uint8 [T, H, W, 3].
    preset: "fast", "quality" or "paper"; by default "quality" on CUDA and "fast" elsewhere.
    settings: what differs from the preset, as in {"training.steps": 2000}; the file
    config/numbers.py explains each of them.
    seed: a whole number from 0 to 2^32 - 1. The same seed, machine and threads give the same bytes.
    device: "auto", "cpu", "cuda" or "mps".
    foreground: bool [T, H, W] in px of the video, where you know better than we find what moves.
    progress: a function of (stage, done, total) that is told how far the fit is.
    folder: where the fit is kept. A finished fit of the same video, settings and seed in there is
    loaded instead of trained, and an unfinished one is continued with `resume`. Ctrl-C leaves a
    checkpoint there.

    Raises InputError for whatever the user can mend.
    """
    where = choose_device(device)
    config = choose_config(preset, settings, where)
    number = _check_seed(seed)
    watch = Watch(progress)
    with watch.stage("read"):
        clip = read_video(video, progress)
    if not settings or "training.steps" not in settings:
        steps = default_steps(config.training, len(clip.frames))
        config = override(config, {"training.steps": steps})
    masks = None
    if foreground is not None:
        masks = as_masks(foreground, clip.frames.shape[:3], "foreground")
    fingerprint = content_hash(clip)
    identity = Identity(config, number, fingerprint, checkpoint.hash_masks(masks), clip.path)
    kept = Path(folder) if folder else None
    stored = None if kept is None else checkpoint.find(kept, identity, resume)
    cache = open_cache(fingerprint)
    run = Run(config, where, number, watch, cache, required=preset is not None)
    learnt = pipeline.learn(clip, run, masks, Store(identity, kept, stored))
    trained = learnt.state.step - (0 if stored is None else stored.step)
    return Fitted(clip, identity, run, learnt, trained)


def load(
    folder: str | Path,
    video: Source | None = None,
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> Fitted:
    """A fit that was saved in a folder, ready to track.

    video: where the video lies now; by default where it lay when it was fitted.

    Raises InputError where the folder holds no fit, or the fit is of another video.
    """
    where = choose_device(device)
    stored = checkpoint.read(Path(folder))
    identity = stored.identity
    if video is None and not identity.video_path:
        raise InputError(
            f"{folder} does not say where its video lies; name the ", Argument("video")
        )
    watch = Watch(progress)
    with watch.stage("read"):
        clip = read_video(identity.video_path if video is None else video, progress)
    if content_hash(clip) != identity.video_hash:
        raise InputError(
            f"{folder} was fitted to another video than {clip.name}; name that one, or fit this one"
        )
    steps = identity.config.training.steps
    if stored.step < steps:
        unfinished = f"{folder} holds an unfinished fit, step {stored.step} of {steps}"
        going_on = Argument("resume", True)
        warnings.warn(
            DinotrackWarning(f"{unfinished}; tracks are better once fit goes on with ", going_on),
            stacklevel=2,
        )
    run = Run(identity.config, where, identity.seed, watch, open_cache(identity.video_hash))
    return Fitted(clip, identity, run, pipeline.recall(clip, run, stored), 0)


def track(
    video: Source,
    queries: npt.ArrayLike | None = None,
    *,
    grid: SupportsIndex = GRID,
    query_frame: SupportsIndex = 0,
    mask: npt.ArrayLike | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Tracks:
    """Fit a tracker to a video and track points through it.

    This is `fit`, which takes the further options, and `Fitted.track` in one. Queries are checked
    before the fit begins.
    """
    clip = read_video(video, progress)
    asked = choose_queries(clip, queries, grid=grid, query_frame=query_frame, mask=mask)
    return fit(clip, progress=progress, **options).track(asked)


def choose_device(device: str | torch.device) -> torch.device:
    """The device that is meant: "auto" means CUDA where there is one, else the CPU.

    Raises InputError for a device that this machine lacks.
    """
    if isinstance(device, torch.device):
        return device
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(device, str):
        raise InputError(f"unknown device {device!r}; choose auto, {', '.join(counts)}")
    kind, _, number = device.partition(":")
    if kind not in counts or (number and not number.isdecimal()):
        raise InputError(f"unknown device {device!r}; choose auto, {', '.join(counts)}")
    if int(number or 0) >= counts[kind]:
        raise InputError(f"this machine has no {device}; take ", Argument("device", "cpu"))
    return torch.device(device)


def choose_config(
    preset: str | None, settings: Mapping[str, Any] | None, device: torch.device
) -> Config:
    """The preset, or the one that suits the device, with the settings that differ."""
    if settings is not None and not isinstance(settings, Mapping):
        example = "{'training.steps': 2000}"
        raise InputError(f"settings are given by their keys, as in {example}, not as {settings!r}")
    name = preset or ("quality" if device.type == "cuda" else "fast")
    return override(named_preset(name), settings or {})


def default_steps(config: TrainingConfig, frames: int) -> int:
    """Steps of a fit to a video of that many frames: longer videos take more than short ones."""
    return max(config.steps, round(config.steps_a_frame * frames))


def _check_seed(seed: SupportsIndex) -> int:
    """The seed as Python's own integer; every step's random numbers are counted on from it."""
    advice = f"give a whole number from 0 to {LARGEST_SEED}"
    try:
        number = operator.index(seed)
    except TypeError:
        raise InputError(f"seed {seed!r} is no whole number; {advice}") from None
    if not 0 <= number <= LARGEST_SEED:
        raise InputError(f"seed {number} is out of range; {advice}")
    return number
