"""The method, one stage after the other: video, flow and features, labels, fit, tracks.

This page is the README's table as code. Each stage is one function of its own module, which takes
values and gives values. There it decides its sizes, types and cache keys, and notes what it took;
what is passed from one stage to the next is decided here, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from dinotrack.buddies import video_buddies
from dinotrack.features import make_backbone, video_features
from dinotrack.flow import FlowEstimator, VideoFlow, make_flow_estimator, video_flow
from dinotrack.labels import video_labels
from dinotrack.maps import FeatureMaps
from dinotrack.queries import Queries, Trajectories
from dinotrack.refinement import refined_features
from dinotrack.run import Run
from dinotrack.shots import Timeline, cut_flow, find_blank
from dinotrack.tracking import TrackedVideo, track_video, with_leaps
from dinotrack.training import (
    State,
    Store,
    Stored,
    TrainingData,
    begin,
    go_on,
    lesson_of,
    train,
)
from dinotrack.video import Video
from dinotrack.working import working_frames

Masks = Bool[np.ndarray, "T H W"]
"""The foreground of every frame, where the user knows it, in px of the video."""


@dataclass(frozen=True)
class Inputs:
    """What is seen in a video before anything is learnt."""

    timeline: Timeline
    """Which frames of the video show something. All that follows is of these frames alone."""
    frames: UInt8[Tensor, "T 3 H W"]
    """The working frames."""
    estimator: FlowEstimator
    """Computes flow between any two of the frames."""
    flow: VideoFlow
    """Between neighbouring frames, and over leaps."""
    features: FeatureMaps | None
    """Frozen features of a ViT; None without a ViT."""
    foreground: Bool[Tensor, "T h w"] | None
    """The cells that the ViT's last block sets apart, where the foreground is found by it."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the working frames."""
        return int(self.frames.shape[-2]), int(self.frames.shape[-1])


@dataclass(frozen=True)
class Prepared:
    """A fit before its first step."""

    inputs: Inputs
    state: State
    data: TrainingData


@dataclass(frozen=True)
class Learnt:
    """A tracker that was fitted to a video, and what it tracks with."""

    state: State
    timeline: Timeline
    """Which frames of the video show something."""
    video: TrackedVideo
    """These frames as points are tracked in them."""
    masks: Masks | None = None
    """The foreground, where the user gave it."""
    learned_from: tuple[Inputs, TrainingData] | None = None
    """Held where more is learned from it soon."""


@dataclass(frozen=True)
class Course:
    """Points that a tracker learns from, in rounds."""

    points: Queries
    """In working px."""
    hidden: Bool[Tensor, "N T"]
    """Where somebody says that a point is not seen."""
    name: str
    stage: str
    """What is told of how far it is."""


Preview = Callable[[Learnt], None]
"""Is shown a fit before its first step and now and then while it goes on."""


def learn(
    video: Video,
    run: Run,
    masks: Masks | None,
    store: Store,
    preview: Preview | None = None,
    goes_on: bool = False,
) -> Learnt:
    """Learn to track one video. This is the method as the paper's abstract tells it.

    A fit that was found in the store is continued, and a finished one is taken as it is. goes_on:
    whether more is learned soon, so that what was learned from is held.
    """
    if store.is_finished:
        return replace(recall(video, run, store.stored), masks=masks)
    inputs, state, data = _fitted(video, run, masks, store, preview)
    held = (inputs, data) if goes_on else None
    del data  # else it makes room for the refined features
    learnt = ready_to_track(inputs, state, run)
    return replace(learnt, masks=masks, learned_from=held)


def recall(video: Video, run: Run, stored: Stored | None) -> Learnt:
    """A fit as it was stored, finished or not. Nothing is learned."""
    inputs = observe(video, run, finds_foreground=False)
    state = begin(inputs.features, run, stored)
    return ready_to_track(inputs, state, run)


def prepare(
    video: Video, run: Run, masks: Masks | None = None, stored: Stored | None = None
) -> Prepared:
    """All that comes before the first step of a fit, or before it goes on."""
    inputs = observe(video, run, finds_foreground=masks is None)
    state = begin(inputs.features, run, stored)
    return Prepared(inputs, state, material(inputs, masks, run))


def material(inputs: Inputs, masks: Masks | None, run: Run) -> TrainingData:
    """What there is to learn from what is seen in a video."""
    given = None if masks is None else inputs.timeline.choose_masks(masks)
    labels = video_labels(inputs.flow, inputs.estimator, inputs.foreground, given, run)
    buddies = video_buddies(inputs.features, labels.chains, run)
    return TrainingData(inputs.frames, inputs.features, labels, buddies)


def observe(video: Video, run: Run, finds_foreground: bool) -> Inputs:
    """What is seen before anything is learnt: working frames, flow, and frozen features.

    Blank frames are left out, and flow is cut where a new shot begins.

    finds_foreground: whether the ViT may be asked which cells are foreground. Where the user gave
    masks, or nothing is to be learned, it need not be.
    """
    every_frame = working_frames(video, run)
    timeline = find_blank(every_frame, run)
    frames = timeline.choose(every_frame)
    # the networks first, so that what is missing is told before anything takes long
    estimator = make_flow_estimator(video, frames, timeline.shown, run)
    backbone = make_backbone(run.config.backbone, run.device)
    run = timeline.known_to(run)
    flow = cut_flow(video_flow(estimator, run), frames, timeline, run)
    flow = with_leaps(flow, frames, estimator, run)
    features = video_features(frames, backbone, run, finds_foreground)
    if features is None:
        return Inputs(timeline, frames, estimator, flow, None, None)
    return Inputs(timeline, frames, estimator, flow, features.maps, features.foreground)


def track(learnt: Learnt, queries: Queries, run: Run) -> Trajectories:
    """Where queries in working px are in every frame, and where they are visible."""
    asked = learnt.timeline.queries(queries)
    found = track_video(learnt.video, asked, _as_taught(run, learnt.state))
    return learnt.timeline.tracks(found)


def teach(
    video: Video,
    learnt: Learnt,
    corrected: Queries,
    hidden: Bool[Tensor, "N T"],
    lesson: str,
    run: Run,
) -> Learnt:
    """A tracker that has learned, besides, from points which a hand corrected.

    hidden: where a hand says that a point is not seen. lesson: the name of what is taught. Where
    that leaves nothing to learn, it is the tracker as it was.
    """
    return _go_on(video, learnt, Course(corrected, hidden, lesson, "teach"), run)


def focus(video: Video, learnt: Learnt, queries: Queries, lesson: str, run: Run) -> Learnt:
    """A tracker that has learned, besides, from its own tracks of points, where they are sure.

    lesson: the name of what they teach. Where nothing is sure, it is the tracker as it was.
    """
    focus = run.config.focus
    run = run.with_settings(
        {
            "teaching.steps": run.config.focus_steps,
            "teaching.rounds": focus.rounds,
            "teaching.sure": focus.sure,
            # what is sure enough needs neither votes of points around it nor a second pass
            "inference.support.reach": 0.0,
            "inference.memory.weight": 0.0,
        }
    )
    nowhere = queries.frame.new_zeros((len(queries), len(video.frames))).bool()
    return _go_on(video, learnt, Course(queries, nowhere, lesson, "focus"), run)


def _go_on(video: Video, learnt: Learnt, course: Course, run: Run) -> Learnt:
    """A tracker that has learned from more, too, or as it was where there is nothing to learn.

    Each round tracks the points with what the round before learnt, and learns from the tracks
    where they are sure.
    """
    if learnt.learned_from is None:
        inputs = observe(video, run, finds_foreground=learnt.masks is None)
        data = material(inputs, learnt.masks, run)
    else:
        inputs, data = learnt.learned_from
    asked = learnt.timeline.queries(course.points)
    hidden = course.hidden[:, learnt.timeline.shown]
    teaching = run.config.teaching
    names = (*learnt.state.lessons, course.name)
    for number in range(teaching.rounds):
        ends = [teaching.steps * k // teaching.rounds for k in (number, number + 1)]
        with run.stage(course.stage):
            quiet = _as_taught(run, learnt.state).unwatched()
            found = track_video(learnt.video, asked, quiet)
            lesson = lesson_of(asked, found, hidden, inputs.size, teaching)
            if lesson is None:
                break
            taught = replace(data, lesson=lesson)
            state = go_on(taught, learnt.state, course.name, range(*ends), run, course.stage)
        ready = ready_to_track(inputs, replace(state, lessons=names), run)
        learnt = replace(ready, masks=learnt.masks)
    return learnt


def _as_taught(run: Run, state: State) -> Run:
    """The run as a fit is to be tracked in. What learned from its own tracks is surer of itself
    than it has reason to be, which is made up for."""
    if not state.lessons:
        return run
    confidence = run.config.inference.confidence
    return run.with_settings({"inference.confidence.bias": confidence.bias + confidence.taught})


def _fitted(
    video: Video, run: Run, masks: Masks | None, store: Store, preview: Preview | None
) -> tuple[Inputs, State, TrainingData]:
    """A fit after its last step."""
    fit = prepare(video, run, masks, store.stored)
    show = None if preview is None else _shown(fit.inputs, run.unwatched(), preview)
    train(fit.data, fit.state, run, store, show)
    return fit.inputs, fit.state, fit.data


def _shown(inputs: Inputs, run: Run, preview: Preview) -> Callable[[State], None]:
    """Shows a state of a fit as a tracker."""
    return lambda state: preview(ready_to_track(inputs, state, run))


def ready_to_track(inputs: Inputs, state: State, run: Run) -> Learnt:
    """A fit whose features of all frames are refined."""
    maps = refined_features(state.tracker, inputs.frames, inputs.features, run)
    video = TrackedVideo(state.tracker, maps, inputs.flow, inputs.frames)
    return Learnt(state, inputs.timeline, video)
