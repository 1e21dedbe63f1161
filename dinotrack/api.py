"""The doors of the package: fit a tracker to a video, load one, track points, draw them.

Everything that the command line does, these functions do. They take what users have (paths, names,
arrays in px of the video) and give what users want; inside, the pipeline works on tensors in px of
the working frame.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack import overlay, pipeline
from dinotrack.cache import open_cache
from dinotrack.config import Config, override
from dinotrack.errors import Argument, DinotrackWarning, InputError
from dinotrack.features import resolve_name
from dinotrack.flow import VideoFlow
from dinotrack.maps import FeatureMaps
from dinotrack.masks import as_masks
from dinotrack.mishaps import astray, enough_memory
from dinotrack.options import (
    choose_config,
    choose_device,
    choose_folder,
    choose_progress,
    choose_seed,
    default_steps,
)
from dinotrack.pipeline import Learnt
from dinotrack.points import check_corrections, check_hidden, choose_names, choose_queries
from dinotrack.progress import Progress, Watch
from dinotrack.queries import Queries, Trajectories
from dinotrack.run import Run
from dinotrack.tracking import TrackedVideo
from dinotrack.tracks import Tracks
from dinotrack.training import State, checkpoint
from dinotrack.training.stored import Identity, Stored
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
        grid: SupportsIndex | None = None,
        query_frame: SupportsIndex | None = None,
        mask: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
        corrections: npt.ArrayLike | None = None,
        hidden: npt.ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """Track points through the video, forwards and backwards, without any training.

        queries: [N, 3] rows of (t, x, y): the frame, counted from 0, and the position in px of the
        video. Without queries, a grid of grid x grid points (16) of query_frame (0) is tracked, of
        which mask, bool [H, W], keeps those on its true pixels.
        names: what each point is called, in the order of the queries; files keep it.
        corrections: [M, 4] rows of (point, t, x, y): where points, by their number among the
        queries, are in further frames. Tracks pass through them, and between two of them a point
        is followed from both sides. Of several in one frame the last one holds, and each of them
        goes before the query.
        hidden: [K, 3] rows of (point, t, u): a point is not visible from frame t to frame u.
        progress: who is told how far tracking is; by default the one that `fit` was given.

        Raises InputError for queries outside the video, for queries together with what chooses a
        grid, for a mask of another size, and for another number of names than of points.
        """
        asked = choose_queries(self.video, queries, grid=grid, query_frame=query_frame, mask=mask)
        called = choose_names(names, len(asked))
        made = check_corrections(corrections, self.video, len(asked))
        stretches = check_hidden(hidden, self.video, len(asked))
        watch = self.run.watch
        if progress is not None:
            watch = replace(watch, progress=choose_progress(progress))
        with enough_memory(self.config):
            tracks = self._tracks(asked, replace(self.run, watch=watch), made)
        return replace(tracks.hidden_in(stretches), names=called)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fit into a folder, for `load`: weights, optimizer, step, settings, seed, and
        the hash of the video.

        Raises InputError where the folder can't be written, is in use, or holds the fit of another
        video or with other settings, which is never overwritten.
        """
        checkpoint.put(choose_folder(folder), self.state, self.identity)

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

    def _tracks(
        self, rows: Float[np.ndarray, "N 3"], run: Run, corrections: Float[np.ndarray, "M 4"]
    ) -> Tracks:
        """Tracks of checked queries. Positions are in working px only in here."""
        made = torch.from_numpy(corrections)
        asked = Queries.from_rows(torch.from_numpy(rows), made).to(self.maps.device)
        working = asked.rescaled(self.video.size, self.learnt.video.size)
        found = self.in_video(pipeline.track(self.learnt, working, run))
        if not (found.xy.isfinite().all() and found.confidence.isfinite().all()):
            raise astray("the tracks", self.config)
        found = found.seen_within(self.video.size)
        if self.config.inference.pin_query:
            found = asked.pinned(found)
        found = asked.corrected(found)
        return Tracks(
            xy=found.xy.float().cpu().numpy(),
            visible=found.visible.cpu().numpy(),
            confidence=found.confidence.float().cpu().numpy(),
            queries=rows,
            size=self.video.size,
            fps=self.video.fps,
            uneven_times=self.video.uneven_times,
        )


def fit(
    video: Source,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: SupportsIndex = 0,
    device: str | torch.device | None = "auto",
    foreground: npt.ArrayLike | None = None,
    progress: Progress | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Fitted:
    """Fit a tracker to one video.

    video: a file, a folder of images, or RGB uint8 [T, H, W, 3].
    preset: "fast", "quality" or "paper"; by default "quality" on CUDA and "fast" elsewhere.
    settings: what differs from the preset, as in {"training.steps": 2000}; the file
    the files of dinotrack/config explain each of them.
    seed: a whole number from 0 to 2^32 - 1. The same seed, machine and threads give the same bytes.
    device: "auto" (as None), "cpu", "cuda" or "mps".
    foreground: bool [T, H, W] in px of the video, where you know better than we find what moves.
    progress: a function of (stage, done, total) that is told how far the fit is.
    folder: where the fit is kept. A finished fit of the same video, settings and seed in there is
    loaded instead of trained, and an unfinished one goes on, with a DinotrackWarning that says from
    where. Whatever ends a fit early, Ctrl-C or an exception of `progress`, leaves it there.
    resume: it changes nothing, as an unfinished fit always goes on.

    Raises InputError for whatever the user can mend.
    """
    where = choose_device(device)
    config = choose_config(preset, settings, where)
    number = choose_seed(seed)
    kept = None if folder is None else choose_folder(folder)
    watch = Watch(choose_progress(progress))
    with watch.stage("read"):
        clip = read_video(video, watch.progress)
    if not settings or "training.steps" not in settings:
        steps = default_steps(config.training, len(clip.frames))
        config = override(config, {"training.steps": steps})
    config = override(config, {"backbone.name": resolve_name(config.backbone, where)})
    masks = None
    if foreground is not None:
        masks = as_masks(foreground, clip.frames.shape[:3], "foreground")
    fingerprint = content_hash(clip)
    identity = Identity(config, number, fingerprint, checkpoint.hash_masks(masks), clip.path)
    with checkpoint.opened(kept, identity) as store, enough_memory(config):
        cache = open_cache(fingerprint)
        run = Run(config, where, number, watch, cache, required=preset is not None)
        learnt = pipeline.learn(clip, run, masks, store)
    return Fitted(clip, identity, run, learnt, learnt.state.step - store.step)


def load(
    folder: str | os.PathLike[str],
    video: Source | None = None,
    device: str | torch.device | None = "auto",
    progress: Progress | None = None,
) -> Fitted:
    """A fit that was saved in a folder, ready to track.

    video: where the video lies now; by default where it lay when it was fitted.

    Raises InputError where the folder holds no fit, or the fit is of another video.
    """
    where = choose_device(device)
    path = choose_folder(folder)
    watch = Watch(choose_progress(progress))
    stored = checkpoint.read(path)
    identity = stored.identity
    with watch.stage("read"):
        clip = _fitted_video(path, stored, video, watch.progress)
    if content_hash(clip) != identity.video_hash:
        raise InputError(
            f"{path} was fitted to another video than {clip.name}; name that one, or fit this one"
        )
    steps = identity.config.training.steps
    if stored.step < steps:
        unfinished = f"{path} holds an unfinished fit, step {stored.step} of {steps}"
        advice = "tracks are better once fit goes on in that ", Argument("folder")
        warnings.warn(DinotrackWarning(f"{unfinished}; ", *advice), stacklevel=2)
    if identity.config.backbone.name == "auto":
        unsaid = f"{path} is older and does not say which ViT it saw; taking the best one at hand"
        warnings.warn(DinotrackWarning(unsaid), stacklevel=2)
    run = Run(identity.config, where, identity.seed, watch, open_cache(identity.video_hash))
    with enough_memory(identity.config):
        learnt = pipeline.recall(clip, run, stored)
    return Fitted(clip, identity, run, learnt, 0)


def _fitted_video(folder: Path, stored: Stored, video: Source | None, progress: Progress) -> Video:
    """The video that is given, or the one that a stored fit names."""
    if video is not None:
        return read_video(video, progress)
    path = stored.identity.video_path
    name_it = "name the ", Argument("video")
    if not path:
        raise InputError(f"{folder} does not say where its video lies; ", *name_it)
    try:
        return read_video(path, progress)
    except InputError as error:
        problem = f"the video of {folder} can't be read: "
        raise InputError(problem, *error.args, "; or ", *name_it) from error


def track(
    video: Source,
    queries: npt.ArrayLike | None = None,
    *,
    grid: SupportsIndex | None = None,
    query_frame: SupportsIndex | None = None,
    mask: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Tracks:
    """Fit a tracker to a video and track points through it.

    This is `fit`, which takes the further options, and `Fitted.track` in one. Queries and names are
    checked before the fit begins.
    """
    told = choose_progress(progress)
    clip = read_video(video, told)
    asked = choose_queries(clip, queries, grid=grid, query_frame=query_frame, mask=mask)
    called = choose_names(names, len(asked))
    return fit(clip, progress=told, **options).track(asked, names=called)


def render(
    video: Source,
    tracks: Tracks,
    path: str | os.PathLike[str],
    style: str = "trails",
    progress: Progress | None = None,
    *,
    trail: int | None = None,
    points: str | Iterable[int | str] | None = None,
    side_by_side: bool = False,
) -> None:
    """Write an H.264 video of the frames with the tracks drawn over them.

    The picture has the size and the rate of the video, and where that varies, each frame is shown
    when it was. Hidden points are hollow. What has no finite position is not drawn.

    path: an .mp4 file.
    style: "trails", "points", "rainbow", "heat" or "arrows"; README says what each draws.
    trail: how many frames of a point's way are drawn; by default as many as the style likes.
    points: the numbers or names of the points that are drawn; by default all.
    side_by_side: whether the video as it was stands on the left of the overlay.

    Raises InputError where tracks and video don't belong together, for a point that is not there,
    where `path` is the video itself, or where the file can't be written.
    """
    look = overlay.Look(style, trail, points, side_by_side)
    overlay.render(video, tracks, path, look, choose_progress(progress))
