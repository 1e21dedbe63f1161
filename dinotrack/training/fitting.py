"""A fit from its beginning to its end, as runs take it: it is kept while it goes on, and continued.

`loop` takes the steps; here is what surrounds them: the networks before the first step, or as they
were kept, and what is kept of them when (`keeping`).
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch

from dinotrack import state_dicts, weights
from dinotrack.config import FAST, Config
from dinotrack.delta_dino import DeltaDino, memory_format
from dinotrack.errors import DinotrackWarning, InputError, setting
from dinotrack.maps import FeatureMaps
from dinotrack.mishaps import astray
from dinotrack.model import Tracker
from dinotrack.run import Run
from dinotrack.training import loop
from dinotrack.training.checkpoint import Store
from dinotrack.training.keeping import Keeper
from dinotrack.training.lessons import seed_of
from dinotrack.training.loop import State
from dinotrack.training.previews import Previews
from dinotrack.training.sampling import TrainingData
from dinotrack.training.stored import Stored, check, is_finite, restore

START = weights.Origin("the CNN a fit starts from", files=("dinotrack_cnn.safetensors",))


def begin(features: FeatureMaps | None, run: Run, stored: Stored | None = None) -> State:
    """The state of a fit before its first step, or as it was stored.

    features: the frozen ones, which say how wide the networks are. All random numbers come from
    generators of the fit's own, so that fits in other threads do not change them.
    """
    config = run.config.model
    dims = None if features is None else features.channels
    if stored is not None:
        check(stored, _blank(run.config, dims))
    rng = torch.Generator().manual_seed(run.seed)
    tracker = Tracker(config, dims, rng)
    own_features = features is None or config.fusion == "beside"
    if stored is None and own_features and config.start != "random":
        fill_pretrained(tracker.delta_dino, required=config.start == "pretrained")
    tracker = tracker.to(run.device).to(memory_format=memory_format(run.device))
    state = loop.initial_state(tracker, run.config.training)
    if stored is not None:
        restore(stored, state)
    return state


def _blank(config: Config, dims: int | None) -> State:
    """A state that has shapes and no numbers: however large it is, it takes no memory."""
    with torch.device("meta"):
        return loop.initial_state(Tracker(config.model, dims), config.training)


def fill_pretrained(network: DeltaDino, required: bool) -> None:
    """Fill the CNN with our own pretrained weights (dinotrack.pretraining.start).

    Where they are `required`, a file that is missing or does not fit is an InputError. Otherwise
    the network stays random, with a DinotrackWarning, unless it is the network that is of another
    make than ours.
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
    problem = state_dicts.misfit(network, state)
    if not problem:
        network.load_state_dict(state)
    elif required:
        raise InputError(
            f"{path} is for other model.* settings ({problem}); leave those as in `fast`, or take ",
            setting("model.start", "random"),
        )
    elif _is_of_our_make(network):
        misfit = f"{path} is not what a fit starts from ({problem}); fetch the file again"
        warnings.warn(
            DinotrackWarning(f"{misfit}; starting from random ones instead"), stacklevel=2
        )


def _is_of_our_make(network: DeltaDino) -> bool:
    """Whether a network has the shape of the one that our weights are for."""
    with torch.device("meta"):
        ours = DeltaDino(FAST.model, FAST.model.dims)
    return not state_dicts.misfit(ours, network.state_dict())


def train(
    data: TrainingData,
    state: State,
    run: Run,
    store: Store,
    preview: Callable[[State], None] | None = None,
) -> None:
    """The stage: fit the networks, in place. The fit is kept now and then, and however it ends.

    Where there is nothing to learn from, the fit counts as finished, with a DinotrackWarning. A
    disk that is full costs no work: the fit goes on, with a DinotrackWarning.

    preview: is shown copies of the state, as `Previews` say when, and changes nothing.

    Raises InputError where the numbers of the fit are not finite. What was kept before stays.
    """
    training = run.config.training
    keeper = Keeper(store, training.save_seconds)
    previews = Previews(preview, training)

    def on_step(state: State) -> None:
        keeper.keep_if_due(state)
        previews.show_if_due(state)
        run.progress("fit", state.step, training.steps)

    run.progress("fit", state.step, training.steps)
    try:
        previews.show_if_due(state)
        with run.stage("fit"):
            loop.train_steps(data, run.config, run.seed, state, on_step)
        if not data.has_labels:
            state.step = training.steps
            run.progress("fit", state.step, training.steps)
            warnings.warn(_nothing_learnt(data), stacklevel=2)
        keeper.keep_last(state)
    except BaseException:  # Ctrl-C, a callback's exception, a lack of memory
        keeper.keep_what_is_whole(state)
        raise


def go_on(
    data: TrainingData, state: State, lesson: str, steps: range, run: Run, stage: str
) -> State:
    """A copy of a fit that has learned from data with a lesson. The fit stays as it was.

    lesson: its name, from which the random numbers follow. steps: which of the config's steps of
    teaching these are. Learning rates rise and fall once, as in a fit. stage: what is told of how
    far it is.

    Raises InputError where the numbers of the fit are not finite.
    """
    config = run.config
    rate = config.training.learning_rate * config.teaching.rate
    training = replace(config.training, steps=len(steps), learning_rate=rate)
    taught = loop.initial_state(copy.deepcopy(state.tracker), training)

    def on_step(taught: State) -> None:
        run.progress(stage, steps.start + taught.step, config.teaching.steps)

    seed = seed_of(lesson, run.seed)
    loop.train_steps(data, replace(config, training=training), seed, taught, on_step)
    taught = replace(state, tracker=taught.tracker, optimizer=taught.optimizer)
    if not is_finite(taught):
        raise astray("the numbers of the fit", config)
    return taught


def _nothing_learnt(data: TrainingData) -> DinotrackWarning:
    if len(data.frames) == 1:
        return DinotrackWarning("the video has one frame, so there was nothing to learn")
    nothing = "no point could be followed from any frame to the next, so nothing was learnt"
    return DinotrackWarning(f"{nothing}; tracks are guesses")
