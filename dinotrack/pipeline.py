"""The method, one stage after the other: video, flow and features, labels, fit, tracks.

This page is the README's table as code, each stage a function of its name. A stage takes values
and gives values. Its sizes, types and cache keys are decided in its own module, which knows nothing
of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from dinotrack.buddies import Buddies, video_buddies
from dinotrack.delta_dino import least_side
from dinotrack.features import Features, make_backbone, video_features
from dinotrack.flow import VideoEstimator, VideoFlow, make_estimator, video_flow
from dinotrack.labels import FlowLabels, video_labels
from dinotrack.maps import FeatureMaps
from dinotrack.queries import Queries, Trajectories
from dinotrack.refinement import refine_video
from dinotrack.run import Run
from dinotrack.tracking import TrackedVideo, track_video
from dinotrack.training import State, Store, TrainingData, begin, train
from dinotrack.video import Video
from dinotrack.working import working_frames

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
        data = TrainingData(inputs.frames, inputs.features, found, pairs)
        fit(data, state, run, store)
    return Learnt(inputs, state, refine(inputs, state, run))


def observe(video: Video, run: Run, finds_foreground: bool) -> Inputs:
    """What is seen before anything is learnt: working frames, flow, and frozen features.

    finds_foreground: whether the ViT may be asked which cells are foreground. Where the user gave
    masks, or nothing is to be learned, it need not be.
    """
    frames = read(video, run)
    estimator, between = flow(video, frames, run)
    frozen = features(frames, run, finds_foreground)
    if frozen is None:
        return Inputs(frames, estimator, between, None, None)
    return Inputs(frames, estimator, between, frozen.maps, frozen.foreground)


def read(video: Video, run: Run) -> UInt8[Tensor, "T 3 H W"]:
    """The working frames."""
    with run.watch.stage("read"):
        return working_frames(video, run.config.video, least_side(run.config.model))


def flow(
    video: Video, frames: UInt8[Tensor, "T 3 H W"], run: Run
) -> tuple[VideoEstimator, VideoFlow]:
    """Flow between neighbouring frames, and what computes it between any two."""
    with run.watch.stage("flow"):
        estimator = make_estimator(video, frames, run)
        return estimator, video_flow(estimator, run)


def features(frames: UInt8[Tensor, "T 3 H W"], run: Run, finds_foreground: bool) -> Features | None:
    """Frozen features of a ViT, and which cells it sets apart; None where no ViT is asked for."""
    backbone = make_backbone(run.config.backbone, run.device, run.named)
    if backbone is None:
        return None
    with run.watch.stage("features"):
        return video_features(frames, backbone, run, finds_foreground)


def labels(inputs: Inputs, masks: Masks | None, run: Run) -> FlowLabels:
    """Chains of flow, and which of them are of the foreground."""
    with run.watch.stage("labels"):
        return video_labels(inputs.flow, inputs.estimator, inputs.foreground, masks, run)


def buddies(inputs: Inputs, found: FlowLabels, run: Run) -> Mapping[tuple[int, int], Buddies]:
    """Best buddies of the frozen features where flow is blind, by ordered pairs of frames."""
    if inputs.features is None or not run.config.training.buddy_weight:
        return {}
    with run.watch.stage("buddies"):
        return video_buddies(inputs.features, found.chains, run)


def fit(data: TrainingData, state: State, run: Run, store: Store) -> None:
    """Fit the networks, in place."""
    with run.watch.stage("fit"):
        train(data, state, run, store)


def refine(inputs: Inputs, state: State, run: Run) -> FeatureMaps:
    """Refined features of all frames, from which points are tracked."""
    with run.watch.stage("refine"):
        maps = refine_video(state.tracker, inputs.frames, inputs.features, progress=run.progress)
    state.tracker.eval()
    return maps


def track(learnt: Learnt, queries: Queries, run: Run) -> Trajectories:
    """Where queries in working px are in every frame, and where they are visible."""
    inputs = learnt.inputs
    video = TrackedVideo(learnt.state.tracker, learnt.maps, inputs.flow, inputs.frames)
    with run.watch.stage("track"):
        return track_video(video, queries, run.config.inference, run.progress)
