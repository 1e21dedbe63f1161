"""Where a fit begins: networks and optimizer before the first step, or as they were kept."""

import warnings

import torch

from dinotrack import weights
from dinotrack.errors import DinotrackWarning, InputError, setting
from dinotrack.maps import FeatureMaps
from dinotrack.model import DeltaDino, Tracker, memory_format
from dinotrack.run import Run
from dinotrack.training import checkpoint, loop
from dinotrack.training.checkpoint import Stored
from dinotrack.training.loop import State

START = weights.Origin("the CNN a fit starts from", files=("dinotrack_cnn.safetensors",))


def begin(features: FeatureMaps | None, run: Run, stored: Stored | None = None) -> State:
    """The state of a fit before its first step, or as it was stored.

    features: the frozen ones, which say how wide the networks are. The caller's random numbers are
    left alone.
    """
    config = run.config.model
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed)
        tracker = Tracker(config, None if features is None else features.channels)
    learns = stored is None or stored.step < run.config.training.steps
    own_features = features is None or config.fusion == "beside"
    if learns and own_features and config.start != "random":
        fill_pretrained(tracker.delta_dino, must=config.start == "pretrained")
    tracker = tracker.to(run.device).to(memory_format=memory_format(run.device))
    state = loop.start(tracker, run.config.training)
    if stored is not None:
        checkpoint.restore(stored, state)
    return state


def fill_pretrained(network: DeltaDino, must: bool) -> None:
    """Fill the CNN with our own pretrained weights (dinotrack.pretraining.start).

    Where they `must` be there, weights that are missing, or are of another shape, are an
    InputError. Otherwise missing ones are a DinotrackWarning, and another shape is left as it is.
    """
    path = weights.find(START)
    if path is None:
        missing = f"the weights a fit starts from, {START.files[0]}, are missing; "
        if must:
            advice = "put them into ./weights, or take "
            raise InputError(missing, advice, setting("model.start", "random"))
        advice = "put them into ./weights; starting from random ones instead"
        warnings.warn(DinotrackWarning(missing, advice), stacklevel=2)
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
