"""A tracker that was fitted to one video: what it tracks, what it learnt, and where it is kept.

`api.fit` and `api.load` make it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dinotrack import pipeline
from dinotrack.config import Config, flatten
from dinotrack.errors import InputError
from dinotrack.flow import VideoFlow
from dinotrack.maps import FeatureMaps
from dinotrack.mishaps import astray, enough_memory
from dinotrack.options import choose_folder, choose_progress
from dinotrack.pipeline import Learnt
from dinotrack.points import (
    check_corrections,
    check_hidden,
    choose_names,
    choose_queries,
    corrected_alone,
    coverage,
    whole_number,
)
from dinotrack.progress import Progress
from dinotrack.queries import Queries, Trajectories
from dinotrack.run import Run
from dinotrack.tracking import TrackedVideo
from dinotrack.tracks import Tracks, hidden_frames
from dinotrack.training import State, checkpoint
from dinotrack.training.lessons import FOCUS, is_focus
from dinotrack.training.stored import Identity
from dinotrack.video import Video

NOTHING_TAUGHT = (
    "there is nothing to teach, as no corrected point is known in two frames; correct a point in "
    "another frame than its query's, in which it is seen"
)
LEARNS_BY = ("focus.", "teaching.", "inference.")
"""What the keys of the settings begin with by which a finished fit learns from its own tracks."""


@dataclass(frozen=True)
class Fitted:
    """A tracker that was fitted to one video. `fit` and `load` make it."""

    video: Video
    identity: Identity
    run: Run
    learnt: Learnt
    steps_trained_now: int
    """0 where a finished fit was loaded."""

    @staticmethod
    def of(video: Video, identity: Identity, run: Run, first: int, learnt: Learnt) -> Fitted:
        """A fit that began, or went on, after its step `first`."""
        return Fitted(video, identity, run, learnt, learnt.state.step - first)

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
        """Flow between neighbouring frames, and over leaps, in working px."""
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
        with enough_memory(self.config):
            tracks = self._tracks(asked, self._told(progress), made)
        return replace(tracks.hidden_in(stretches), names=called)

    def teach(
        self,
        corrections: npt.ArrayLike,
        steps: SupportsIndex | None = None,
        *,
        queries: npt.ArrayLike,
        hidden: npt.ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> Fitted:
        """The same tracker, taught by corrections, so that it follows other points better too.

        The fit goes on for a few seconds. It learns from where the corrections say that points are,
        and from their tracks in the frames in which these are sure (docs/method.md 8 "Teaching").
        This tracker stays as it is; `save` keeps the one that was taught.

        corrections, queries, hidden: as `track` takes them. A point without corrections teaches
        nothing.
        steps: how many steps are taken, config.teaching.steps (100) by default.
        progress: who is told how far it is; by default the one that `fit` was given.

        The same corrections give the same bytes. Raises InputError as `track` does, and where no
        corrected point is known in two frames.
        """
        asked = choose_queries(self.video, queries)
        made = check_corrections(corrections, self.video, len(asked))
        stretches = check_hidden(hidden, self.video, len(asked))
        run = self._told(progress)
        usual = run.config.teaching.steps
        count = usual if steps is None else whole_number(steps, "steps", usual)
        run = run.with_settings({"teaching.steps": count})
        lesson = lesson_name(asked, made, stretches, count)
        asked, made, stretches = corrected_alone(asked, made, stretches)
        if not len(asked):
            raise InputError(NOTHING_TAUGHT)
        unseen = hidden_frames(stretches, len(asked), len(self.video.frames))
        points = self._asked(asked, made).rescaled(self.video.size, self.learnt.video.size)
        with enough_memory(run.config):
            learnt = pipeline.teach(
                self.video,
                self.learnt,
                points,
                torch.from_numpy(unseen).to(points.xy.device),
                lesson,
                run,
            )
        if learnt is self.learnt:
            raise InputError(NOTHING_TAUGHT)
        return replace(self, learnt=learnt)

    def focus(self, queries: npt.ArrayLike, *, progress: Progress | None = None) -> Fitted:
        """The same tracker, which looks at these points above all, and finds them better.

        The fit goes on for a few seconds. It learns from its own tracks of the points, in the
        frames in which these are sure (docs/method.md 8 "Focus"). This tracker stays as it is, and
        is what comes back where the points lie all over the picture (config.focus.spread), where
        nothing is sure, or where config.focus.share is 0.

        queries: as `track` takes them. Of more than config.focus.points, so many teach, evenly
        taken.
        progress: who is told how far it is; by default the one that `fit` was given.

        The same points give the same bytes. Raises InputError for queries outside the video.
        """
        asked = choose_queries(self.video, queries)
        lesson = self.focus_on(asked)
        if lesson is None or lesson == self.looks_at:
            return self
        run = self._told(progress)
        taken = np.linspace(0, len(asked) - 1, min(len(asked), self.config.focus.points))
        points = self.working_queries(asked[taken.round().astype(int)])
        with enough_memory(run.config):
            learnt = pipeline.focus(self.video, self.learnt, points, lesson, run)
        return self if learnt is self.learnt else replace(self, learnt=learnt)

    @property
    def looks_at(self) -> str | None:
        """The name of what the points taught that were looked at last; None where none were."""
        return next((name for name in reversed(self.state.lessons) if is_focus(name)), None)

    def focus_on(self, rows: Float[np.ndarray, "N 3"]) -> str | None:
        """The name of what points teach; None where no place of the picture is special.

        rows: checked queries, px of the video.
        """
        config = self.config
        if not config.focus_steps or coverage(rows, self.video.size) > config.focus.spread:
            return None
        return focus_name(rows, config)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fit into a folder, for `load`: weights, optimizer, step, settings, seed, and
        the hash of the video.

        Raises InputError where the folder can't be written, is in use, or holds the fit of another
        video or with other settings, which is never overwritten.
        """
        checkpoint.put(choose_folder(folder), self.state, self.identity)

    def at_hand(self) -> Fitted:
        """The same tracker, ready to be asked again and again: it answers sooner and takes more
        memory. No byte of an answer is another."""
        video = self.learnt.video.at_hand()
        return replace(self, learnt=replace(self.learnt, video=video))

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

    def _told(self, progress: Progress | None) -> Run:
        """The run of which somebody else is told how far it is, if anybody."""
        if progress is None:
            return self.run
        return replace(self.run, watch=replace(self.run.watch, progress=choose_progress(progress)))

    def _asked(
        self, rows: Float[np.ndarray, "N 3"], corrections: Float[np.ndarray, "M 4"]
    ) -> Queries:
        """Checked queries in px of the video, where points are tracked."""
        made = torch.from_numpy(corrections)
        return Queries.from_rows(torch.from_numpy(rows), made).to(self.maps.device)

    def _tracks(
        self, rows: Float[np.ndarray, "N 3"], run: Run, corrections: Float[np.ndarray, "M 4"]
    ) -> Tracks:
        """Tracks of checked queries. Positions are in working px only in here."""
        asked = self._asked(rows, corrections)
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


def lesson_name(
    queries: Float[np.ndarray, "N 3"],
    corrections: Float[np.ndarray, "M 4"],
    hidden: Int[np.ndarray, "K 3"],
    steps: int,
) -> str:
    """What tells a lesson from all others: a hash of what it teaches, and in how many steps."""
    digest = hashlib.sha256()
    for rows in (queries, corrections, hidden):
        digest.update(str(rows.shape).encode() + rows.astype("<f8").tobytes())
    return f"{digest.hexdigest()}-{steps}"


def focus_name(queries: Float[np.ndarray, "N 3"], config: Config) -> str:
    """What tells what points teach from all other lessons: a hash of them, and one of all settings
    by which a finished fit learns from them."""
    settings = {key: value for key, value in flatten(config).items() if key.startswith(LEARNS_BY)}
    points = hashlib.sha256(queries.astype("<f8").tobytes()).hexdigest()
    how = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return f"{FOCUS}{points}-{how}"
