"""The method, one stage after the other: video, flow and features, labels, fit, tracks.

This page is the README's figure as code. Each function is a stage or a few of them. A stage takes
values and gives values; its sizes, types and cache keys are decided in its own module, which knows
nothing of the others.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from dinotrack import weights
from dinotrack.buddies import video_buddies
from dinotrack.errors import DinotrackWarning, InputError, setting
from dinotrack.features import Features, make_backbone, video_features
from dinotrack.flow import VideoEstimator, VideoFlow, make_estimator, video_flow
from dinotrack.foreground import find_foreground
from dinotrack.maps import FeatureMaps
from dinotrack.model import DeltaDino, Tracker, least_side, memory_format
from dinotrack.queries import Queries, Trajectories
from dinotrack.refinement import refine_video
from dinotrack.run import Run
from dinotrack.tracking.joining import TrackedVideo, track_by_joining
from dinotrack.tracking.matching import track_by_matching
from dinotrack.training import checkpoint, loop
from dinotrack.training.checkpoint import Identity, Stored
from dinotrack.training.loop import State
from dinotrack.training.sampling import TrainingData
from dinotrack.trajectories import flow_chains, in_foreground
from dinotrack.video import Video
from dinotrack.working import flow_frames, working_frames

START = weights.Origin("the CNN a fit starts from", files=("dinotrack_cnn.safetensors",))


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
class Store:
    """Where a fit is kept, and what lay there before."""

    identity: Identity
    folder: Path | None = None
    """None: the fit is not kept."""
    stored: Stored | None = None
    """The same fit, finished or not, that was found in the folder."""

    def save(self, state: State) -> None:
        """Keep a fit as it is now."""
        if self.folder is not None:
            checkpoint.save(self.folder, state, self.identity)


def fit(
    video: Video, run: Run, masks: Bool[np.ndarray, "T H W"] | None, store: Store
) -> tuple[Inputs, State]:
    """Learn to track one video: what was seen in it, and the networks that were fitted to it.

    masks: the foreground, where the user knows it. A fit that was found in the store is continued,
    and a finished one is taken as it is.
    """
    inputs = observe(video, run, masks is None)
    state = begin(inputs, run, store.stored)
    if state.step < run.config.training.steps:
        data = learn_from(inputs, masks, run)
        train(data, state, run, store)
    return inputs, state


def observe(video: Video, run: Run, finds_foreground: bool) -> Inputs:
    """Working frames, flow, and the frozen features of a ViT if one is asked for.

    finds_foreground: False where the user gave masks, so that the ViT need not tell.
    """
    with run.watch.stage("flow"):
        config = run.config.video
        frames = working_frames(video, config, least_side(run.config.model))
        size = int(frames.shape[-2]), int(frames.shape[-1])
        seen_by_flow = flow_frames(video, frames, config, run.config.flow.area)
        estimator = make_estimator(seen_by_flow, size, run)
        flow = video_flow(estimator, run)
    backbone = make_backbone(run.config.backbone, run.device, run.named)
    if backbone is None:
        return Inputs(frames, estimator, flow, None, None)
    with run.watch.stage("features"):
        wanted = finds_foreground and run.config.foreground.method == "pca"
        features: Features = video_features(frames, backbone, run, wanted)
    return Inputs(frames, estimator, flow, features.maps, features.foreground)


def begin(inputs: Inputs, run: Run, stored: Stored | None = None) -> State:
    """Networks and optimizer before the first step, or as they were stored.

    The caller's random numbers are left alone.
    """
    config = run.config.model
    channels = None if inputs.features is None else inputs.features.channels
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed)
        tracker = Tracker(config, channels)
    learns = stored is None or stored.step < run.config.training.steps
    alone = inputs.features is None or config.fusion == "beside"
    if learns and alone and config.start != "random":
        start_pretrained(tracker.delta_dino, must=config.start == "pretrained")
    tracker = tracker.to(run.device).to(memory_format=memory_format(run.device))
    state = loop.start(tracker, run.config.training)
    if stored is not None:
        checkpoint.restore(stored, state)
    return state


def start_pretrained(network: DeltaDino, must: bool) -> None:
    """Fill the CNN with our own pretrained weights (dinotrack.pretraining.start).

    Raises InputError where they are not on this machine or are of another shape, unless they are
    no `must`: missing ones are then a DinotrackWarning, and another shape is left as it is.
    """
    path = weights.find(START)
    if path is None:
        missing = f"the weights a fit starts from, {START.files[0]}, are missing"
        if must:
            advice = "; put them into ./weights, or take "
            raise InputError(missing, advice, setting("model.start", "random"))
        advice = "put them into ./weights; starting from random ones instead"
        warnings.warn(f"{missing}; {advice}", DinotrackWarning, stacklevel=2)
        return
    state = weights.read(path)
    own = network.state_dict()
    fits = state.keys() == own.keys() and all(state[name].shape == own[name].shape for name in own)
    if fits:
        network.load_state_dict(state)
    elif must:
        raise InputError(
            f"{path} is for other model.* settings; leave those as in `fast`, or take ",
            setting("model.start", "random"),
        )


def learn_from(
    inputs: Inputs, masks: Bool[np.ndarray, "T H W"] | None, run: Run
) -> TrainingData:
    """Everything there is to learn from: chains of flow, the foreground, and best buddies."""
    config = run.config
    with run.watch.stage("labels"):
        direct = inputs.estimator.between if config.trajectories.direct_filter else None
        chains = flow_chains(inputs.flow, config.trajectories, direct, run.progress)
        foreground = find_foreground(inputs.flow, inputs.foreground, masks, config.foreground)
    with run.watch.stage("buddies"):
        buddies = video_buddies(inputs.features, chains, run)
    return TrainingData(
        inputs.frames,
        inputs.features,
        chains,
        in_foreground(chains, foreground),
        foreground,
        buddies,
    )


def train(data: TrainingData, state: State, run: Run, store: Store) -> None:
    """Fit the networks, in place. Checkpoints are kept now and then, and at Ctrl-C."""
    training = run.config.training

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
        if state.step < training.steps:
            state.step = training.steps
            run.progress("fit", state.step, training.steps)
            warnings.warn(
                "no point could be followed from any frame to the next, so nothing was learnt; "
                "tracks are guesses",
                DinotrackWarning,
                stacklevel=2,
            )
        store.save(state)


def refine(inputs: Inputs, state: State, run: Run) -> FeatureMaps:
    """Refined features of all frames, from which points are tracked."""
    with run.watch.stage("refine"):
        maps = refine_video(state.tracker, inputs.frames, inputs.features, progress=run.progress)
    state.tracker.eval()
    return maps


def track(
    inputs: Inputs, state: State, maps: FeatureMaps, queries: Queries, run: Run
) -> Trajectories:
    """Where queries in working px are in every frame, and where they are visible."""
    config = run.config.inference
    queries = queries.to(maps.device)
    with run.watch.stage("track"):
        if config.method == "match":
            return track_by_matching(state.tracker, maps, queries, config.matching, run.progress)
        flow, frames = inputs.flow.to(maps.device), inputs.frames.to(maps.device)
        seen = TrackedVideo(state.tracker, maps, flow, frames)
        return track_by_joining(seen, queries, config, run.progress)
