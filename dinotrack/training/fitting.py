"""A fit from its beginning to its end, as runs take it: it is kept while it goes on, and continued.

`loop` takes the steps; here is what surrounds them: the networks before the first step, or as they
were kept, checkpoints, and what happens at Ctrl-C.
"""

import warnings

import torch

from dinotrack import state_dicts, weights
from dinotrack.delta_dino import DeltaDino, memory_format
from dinotrack.errors import DinotrackWarning, InputError, setting
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.run import Run
from dinotrack.training import checkpoint, loop
from dinotrack.training.checkpoint import Store, Stored
from dinotrack.training.loop import State
from dinotrack.training.sampling import TrainingData

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
    own_features = features is None or config.fusion == "beside"
    if stored is None and own_features and config.start != "random":
        fill_pretrained(tracker.delta_dino, required=config.start == "pretrained")
    tracker = tracker.to(run.device).to(memory_format=memory_format(run.device))
    state = loop.initial_state(tracker, run.config.training)
    if stored is not None:
        checkpoint.restore(stored, state)
    return state


def fill_pretrained(network: DeltaDino, required: bool) -> None:
    """Fill the CNN with our own pretrained weights (dinotrack.pretraining.start).

    Where they are `required`, weights that are missing, or are of another shape, are an
    InputError. Otherwise missing ones are a DinotrackWarning, and another shape is left as it is.
    """
    path = weights.find(START)
    if path is None:
        missing = f"the weights a fit starts from, {START.files[0]}, are missing; "
        if required:
            advice = "put them into ./weights, or take "
            raise InputError(missing, advice, setting("model.start", "random"))
        advice = "put them into ./weights; starting from random ones instead"
        warnings.warn(DinotrackWarning(missing, advice), stacklevel=2)
        return
    state = state_dicts.read(path)
    own = network.state_dict()
    fits = state.keys() == own.keys() and all(state[name].shape == own[name].shape for name in own)
    if fits:
        network.load_state_dict(state)
    elif required:
        raise InputError(
            f"{path} is for other model.* settings; leave those as in `fast`, or take ",
            setting("model.start", "random"),
        )


def train(data: TrainingData, state: State, run: Run, store: Store) -> None:
    """The stage: fit the networks, in place. Checkpoints are kept now and then, and at Ctrl-C.

    Where there is nothing to learn from, the fit counts as finished, with a DinotrackWarning.
    """
    training = run.config.training

    def on_step(state: State) -> None:
        if state.step % training.save_every == 0:
            store.save(state)
        run.progress("fit", state.step, training.steps)

    run.progress("fit", state.step, training.steps)
    try:
        with run.stage("fit"):
            loop.train_steps(data, run.config, run.seed, state, on_step)
    except KeyboardInterrupt:
        store.save(state)
        raise
    if not data.has_labels:
        state.step = training.steps
        run.progress("fit", state.step, training.steps)
        nothing = "no point could be followed from any frame to the next, so nothing was learnt"
        warnings.warn(DinotrackWarning(f"{nothing}; tracks are guesses"), stacklevel=2)
    store.save(state)
