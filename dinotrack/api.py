"""The doors of the package: fit a tracker to a video, load one, track points, draw them.

Everything that the command line does, these functions do. They take what users have (paths, names,
arrays in px of the video) and give what users want; inside, the pipeline works on tensors in px of
the working frame.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, SupportsIndex

import numpy.typing as npt
import torch

from dinotrack import overlay, pipeline
from dinotrack.cache import open_cache
from dinotrack.config import Config, override
from dinotrack.errors import Argument, DinotrackWarning, InputError
from dinotrack.features import resolve_name
from dinotrack.fitted import Fitted
from dinotrack.focusing import focused
from dinotrack.masks import as_masks
from dinotrack.mishaps import enough_memory
from dinotrack.options import (
    choose_config,
    choose_device,
    choose_folder,
    choose_progress,
    choose_seed,
    with_default_steps,
)
from dinotrack.points import check_corrections, check_hidden, choose_names, choose_queries
from dinotrack.progress import Progress, Watch
from dinotrack.run import Run
from dinotrack.tracks import Tracks
from dinotrack.training import checkpoint
from dinotrack.training.stored import Identity, Stored
from dinotrack.video import Source, Video, content_hash, read_video


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
    preview: Callable[[Fitted], None] | None = None,
    queries: npt.ArrayLike | None = None,
) -> Fitted:
    """Fit a tracker to one video.

    video: a file, a folder of images, or RGB uint8 [T, H, W, 3].
    preset: "fast", "quality" or "paper"; by default "quality" on CUDA and "fast" elsewhere.
    settings: what differs from the preset, as in {"training.steps": 2000} (dinotrack/config).
    seed: a whole number from 0 to 2^32 - 1. The same seed, machine and threads give the same bytes.
    device: "auto" (as None), "cpu", "cuda" or "mps".
    foreground: bool [T, H, W] in px of the video, where you know better than we find what moves.
    progress: a function of (stage, done, total) that is told how far the fit is.
    folder: where the fit is kept. A finished fit of the same video, settings and seed in there is
    loaded, and an unfinished one goes on, with a DinotrackWarning that says from where. Whatever
    ends a fit early, Ctrl-C or an exception of `progress`, leaves it there.
    resume: it changes nothing, as an unfinished fit always goes on.
    preview: a function that is given the tracker at its start and ever more seldom after that.
    queries: points, as `track` takes them, which the last steps look at above all: `Fitted.focus`.

    Raises InputError for whatever the user can mend.
    """
    where = choose_device(device)
    config = choose_config(preset, settings, where)
    number = choose_seed(seed)
    kept = None if folder is None else choose_folder(folder)
    watch = Watch(choose_progress(progress))
    with watch.stage("read"):
        clip = read_video(video, watch.progress)
    config = _settled(config, settings, clip, where)
    asked = None if queries is None else choose_queries(clip, queries)
    masks = None if foreground is None else _masks(foreground, clip)
    fingerprint = content_hash(clip)
    identity = Identity(config, number, fingerprint, checkpoint.hash_masks(masks), clip.path)
    with checkpoint.opened(kept, identity) as store, enough_memory(config):
        run = Run(config, where, number, watch, open_cache(fingerprint), preset is not None)
        made = partial(Fitted.of, clip, identity, run, store.step)
        show = None if preview is None else (lambda learnt: preview(made(learnt)))
        fitted = made(pipeline.learn(clip, run, masks, store, show, asked is not None))
    return fitted if asked is None else focused(fitted, asked, kept)


def _settled(
    config: Config, settings: Mapping[str, Any] | None, video: Video, device: torch.device
) -> Config:
    """A config with as many steps as a video is to have, and with the ViT that is at hand."""
    if not settings or "training.steps" not in settings:
        config = with_default_steps(config, len(video.frames))
    return override(config, {"backbone.name": resolve_name(config.backbone, device)})


def _masks(foreground: npt.ArrayLike, video: Video) -> pipeline.Masks:
    """The user's foreground, checked."""
    return as_masks(foreground, (len(video.frames), *video.size), "foreground")


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
    corrections: npt.ArrayLike | None = None,
    hidden: npt.ArrayLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Tracks:
    """Fit a tracker to a video and track points through it.

    This is `fit` with these queries, which takes the further options, and `Fitted.track` in one.
    Queries, names and corrections are checked before the fit begins.
    """
    told = choose_progress(progress)
    clip = read_video(video, told)
    asked = choose_queries(clip, queries, grid=grid, query_frame=query_frame, mask=mask)
    called = choose_names(names, len(asked))
    made = check_corrections(corrections, clip, len(asked))
    stretches = check_hidden(hidden, clip, len(asked))
    fitted = fit(clip, queries=asked, progress=told, **options)
    return fitted.track(asked, names=called, corrections=made, hidden=stretches)


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
