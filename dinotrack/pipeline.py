"""The method, one stage after the other: video, flow and features, labels, fit, tracks.

This page is the README's table as code, each stage a function of its name. A stage takes values
and gives values. Its sizes, types and cache keys are decided in its own module, which knows nothing
of this one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from dinotrack.buddies import Buddies, video_buddies
from dinotrack.errors import DinotrackWarning
from dinotrack.features import Features, make_backbone, video_features
from dinotrack.flow import VideoEstimator, VideoFlow, make_estimator, video_flow
from dinotrack.foreground import find_foreground
from dinotrack.maps import FeatureMaps
from dinotrack.model import least_side
from dinotrack.queries import Queries, Trajectories
from dinotrack.refinement import refine_video
from dinotrack.run import Run
from dinotrack.tracking.joining import TrackedVideo, track_by_joining
from dinotrack.tracking.matching import track_by_matching
from dinotrack.training import loop
from dinotrack.training.beginning import begin
from dinotrack.training.checkpoint import Store
from dinotrack.training.loop import State
from dinotrack.training.sampling import TrainingData
from dinotrack.trajectories import Chains, flow_chains, in_foreground
from dinotrack.video import Video
from dinotrack.working import Resized, flow_frames, working_frames

Masks = Bool[np.ndarray, "T H W"]
"""The foreground of every frame, where the user knows it, in px of the video."""


@dataclass(frozen=True)
class Inputs:
    """What is seen in a video before anything is learnt."""

    frames: UInt8[Tensor, "T 3 H W"]
    """The working frames."""
    estimator: VideoEstimator
    """Computes flow between any two of the frames."""
    flow: VideoFlow
    """Between neighbouring frames."""
    features: FeatureMaps | None
    """Frozen features of a ViT; None without a ViT."""
    foreground: Bool[Tensor, "T h w"] | None
    """The cells that the ViT's last block sets apart, where the foreground is found by it."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the working frames."""
        return int(self.frames.shape[-2]), int(self.frames.shape[-1])


@dataclass(frozen=True)
class FlowLabels:
    """What flow says of a video."""

    chains: Chains
    foreground: Bool[Tensor, "T H W"]
    """Masks of the working frames."""


@dataclass(frozen=True)
class Learnt:
    """A tracker that was fitted to a video, and what it tracks with."""

    inputs: Inputs
    state: State
    maps: FeatureMaps
    """Refined features of all frames."""


def learn(video: Video, run: Run, masks: Masks | None, store: Store) -> Learnt:
    """Learn to track one video. This is the method as the paper's abstract tells it.

    A fit that was found in the store is continued, and a finished one is taken as it is.
    """
    unfinished = not store.holds_finished
    inputs = observe(video, run, finds_foreground=unfinished and masks is None)
    state = begin(inputs.features, run, store.stored)
    if unfinished:
        found = labels(inputs, masks, run)
        pairs = buddies(inputs, found, run)
        fit(inputs, found, pairs, state, run, store)
    return Learnt(inputs, state, refine(inputs, state, run))


def observe(video: Video, run: Run, finds_foreground: bool) -> Inputs:
    """What is seen before anything is learnt: working frames, flow, and frozen features.

    finds_foreground: whether the ViT may be asked which cells are foreground. Where the user gave
    masks, or nothing is to be learned, it need not be.
    """
    frames, seen_by_flow = read(video, run)
    estimator, between = flow(frames, seen_by_flow, run)
    frozen = features(frames, run, finds_foreground)
    if frozen is None:
        return Inputs(frames, estimator, between, None, None)
    return Inputs(frames, estimator, between, frozen.maps, frozen.foreground)


def read(
    video: Video, run: Run
) -> tuple[UInt8[Tensor, "T 3 H W"], UInt8[Tensor, "T 3 h w"] | Resized]:
    """The working frames, and the frames that flow is computed on."""
    config = run.config
    with run.watch.stage("read"):
        frames = working_frames(video, config.video, least_side(config.model))
        return frames, flow_frames(video, frames, config.video, config.flow.area)


def flow(
    frames: UInt8[Tensor, "T 3 H W"], seen: UInt8[Tensor, "T 3 h w"] | Resized, run: Run
) -> tuple[VideoEstimator, VideoFlow]:
    """Flow between neighbouring frames, and what computes it between any two."""
    size = int(frames.shape[-2]), int(frames.shape[-1])
    with run.watch.stage("flow"):
        estimator = make_estimator(seen, size, run)
        return estimator, video_flow(estimator, run)


def features(frames: UInt8[Tensor, "T 3 H W"], run: Run, finds_foreground: bool) -> Features | None:
    """Frozen features of a ViT, and which cells it sets apart; None where no ViT is asked for."""
    backbone = make_backbone(run.config.backbone, run.device, run.named)
    if backbone is None:
        return None
    wanted = finds_foreground and run.config.foreground.method == "pca"
    with run.watch.stage("features"):
        return video_features(frames, backbone, run, wanted)


def labels(inputs: Inputs, masks: Masks | None, run: Run) -> FlowLabels:
    """Chains of flow, and the foreground."""
    config = run.config
    direct = inputs.estimator.between if config.trajectories.direct_filter else None
    with run.watch.stage("labels"):
        chains = flow_chains(inputs.flow, config.trajectories, direct, run.progress)
        found = find_foreground(inputs.flow, inputs.foreground, masks, config.foreground)
    return FlowLabels(chains, found)


def buddies(inputs: Inputs, found: FlowLabels, run: Run) -> Mapping[tuple[int, int], Buddies]:
    """Best buddies of the frozen features where flow is blind, by ordered pairs of frames."""
    if inputs.features is None or not run.config.training.buddy_weight:
        return {}
    with run.watch.stage("buddies"):
        return video_buddies(inputs.features, found.chains, run)


def fit(
    inputs: Inputs,
    found: FlowLabels,
    pairs: Mapping[tuple[int, int], Buddies],
    state: State,
    run: Run,
    store: Store,
) -> None:
    """Fit the networks, in place. Checkpoints are kept now and then, and at Ctrl-C."""
    training = run.config.training
    on_foreground = in_foreground(found.chains, found.foreground)
    data = TrainingData(
        inputs.frames, inputs.features, found.chains, on_foreground, found.foreground, pairs
    )

    def on_step(state: State) -> None:
        if state.step % training.save_every == 0:
            store.save(state)
        run.progress("fit", state.step, training.steps)

    run.progress("fit", state.step, training.steps)
    with run.watch.stage("fit"):
        try:
            loop.fit(data, run.config, run.seed, state, on_step)
        except KeyboardInterrupt:
            store.save(state)
            raise
        if not data.has_labels:
            state.step = training.steps
            run.progress("fit", state.step, training.steps)
            nothing = "no point could be followed from any frame to the next, so nothing was learnt"
            warnings.warn(DinotrackWarning(f"{nothing}; tracks are guesses"), stacklevel=2)
        store.save(state)


def refine(inputs: Inputs, state: State, run: Run) -> FeatureMaps:
    """Refined features of all frames, from which points are tracked."""
    with run.watch.stage("refine"):
        maps = refine_video(state.tracker, inputs.frames, inputs.features, progress=run.progress)
    state.tracker.eval()
    return maps


def track(learnt: Learnt, queries: Queries, run: Run) -> Trajectories:
    """Where queries in working px are in every frame, and where they are visible."""
    config = run.config.inference
    tracker, maps, inputs = learnt.state.tracker, learnt.maps, learnt.inputs
    queries = queries.to(maps.device)
    with run.watch.stage("track"):
        if config.method == "match":
            return track_by_matching(tracker, maps, queries, config.matching, run.progress)
        motion = inputs.flow.to(maps.device)
        frames = inputs.frames.to(maps.device)
        video = TrackedVideo(tracker, maps, motion, frames)
        return track_by_joining(video, queries, config, run.progress)
