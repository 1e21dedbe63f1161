"""The training loop: draw a batch, refine its frames, add up the terms, take a step
(docs/method.md 5; section 3.3 of the paper)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dinotrack.config import Config, TrainingConfig
from dinotrack.correlation import makes_maps
from dinotrack.interrupts import held
from dinotrack.losses import Scalar
from dinotrack.model import Tracker
from dinotrack.training.graphs import Recorded
from dinotrack.training.muon import Muon
from dinotrack.training.sampling import Batch, TrainingData, draw_batch
from dinotrack.training.teaching import draw_taught_batch
from dinotrack.training.terms import TERMS, due, weighted_losses
from dinotrack.training.view import view_step
from dinotrack.training.windows import draw_windowed_batch

SEED_STRIDE = 1_000_003
"""How far apart the random numbers of two neighbouring seeds begin. Step k of a fit with seed s
draws from a generator with the seed SEED_STRIDE * s + k. Fits with different seeds thus share no
random numbers unless they have more than a million steps. It is the first prime above a million."""


@dataclass
class State:
    """All that a fit changes; saved and continued as a whole. The one mutable thing of a fit."""

    tracker: Tracker
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Steps that were taken."""
    curves: dict[str, list[Scalar]] = field(default_factory=dict)
    """Each weighted term of the loss at the steps that had it, left where it was computed."""
    lessons: tuple[str, ...] = ()
    """What was taught since, by `fitted.lesson_name`, in order."""
    is_whole: bool = True
    """Whether this is the state after `step` whole steps, and not within one."""

    @property
    def losses(self) -> dict[str, list[float]]:
        """The curves as numbers. On a GPU this waits for the last step."""
        return {name: torch.stack(values).tolist() for name, values in self.curves.items()}


@dataclass(frozen=True)
class LossGradients:
    """The losses of one step, and the gradients of their sum."""

    losses: dict[str, Scalar] = field(default_factory=dict)
    gradients: Sequence[Float[Tensor, "..."] | None] = ()
    """One for each parameter of the tracker, None where no loss depends on it; empty without any
    loss."""


def initial_state(tracker: Tracker, config: TrainingConfig) -> State:
    """A state before the first step."""
    return State(tracker, OPTIMIZERS[config.optimizer](tracker, config))


def train_steps(
    data: TrainingData,
    config: Config,
    seed: int,
    state: State,
    on_step: Callable[[State], None],
    until: int | None = None,
) -> None:
    """Train a state in place up to config.training.steps, or up to step `until` if that is less.

    on_step is called after each step. Every step draws random numbers of its own, so a fit that is
    continued from any step is the fit that never stopped. Without a label there is nothing to
    learn, and the state stays as it is.
    """
    if not data.has_labels and data.lesson is None:
        return
    training = config.training
    last = training.steps if until is None else min(until, training.steps)
    device = next(state.tracker.parameters()).device
    compute = GradientMaker(state.tracker, data, config)
    state.tracker.train()
    while state.step < last:
        rng = torch.Generator().manual_seed(seed * SEED_STRIDE + state.step)
        batch = _draw(data, config, state.step, rng)
        found = LossGradients()
        if batch is not None:
            with undone_if_broken_off(state):
                found = compute(batch.to(device), state.step, rng)
        take_step(state, found, training)
        on_step(state)


def _draw(data: TrainingData, config: Config, step: int, rng: torch.Generator) -> Batch | None:
    """What a step looks at; None where no draw found labels."""
    windowed = looks_through_windows(config, due(config.training, step))
    if data.lesson is not None:
        return draw_taught_batch(data, data.lesson, config, rng, windowed=windowed)
    if windowed:
        return draw_windowed_batch(data, config, rng)
    return draw_batch(data, config.training, rng)


@contextmanager
def undone_if_broken_off(state: State) -> Iterator[None]:
    """Look at a batch. Where that fails or is interrupted, the networks are as they were before.

    Batch norms note what passes through them; nothing else of a state changes inside.
    """
    before = [(buffer, buffer.clone()) for buffer in state.tracker.buffers()]
    state.is_whole = not before
    try:
        yield
    except BaseException:
        with held():
            for buffer, old in before:
                buffer.copy_(old)
            state.is_whole = True
        raise


class GradientMaker:
    """Computes the gradients of a fit. Where steps can be recorded, each is a replay of another."""

    def __init__(self, tracker: Tracker, data: TrainingData, config: Config):
        self.tracker = tracker
        self.data = data
        self.config = config
        self._recorded: dict[tuple[str, ...], Recorded] = {}

    def __call__(self, batch: Batch, step: int, rng: torch.Generator) -> LossGradients:
        """The gradients at a step. The next call may overwrite it."""
        names = due(self.config.training, step)
        compute: Callable[[Batch], LossGradients] = partial(self._compute, names, rng)
        if can_be_recorded(names, self.config, next(self.tracker.parameters())):
            compute = self._recorded.setdefault(names, Recorded(compute))
        return compute(batch)

    def _compute(self, names: Sequence[str], rng: torch.Generator, batch: Batch) -> LossGradients:
        view = view_step(batch, self.data, self.tracker, self.config, rng)
        return loss_gradients(self.tracker, weighted_losses(view, names))


def looks_through_windows(config: Config, names: Sequence[str]) -> bool:
    """Whether steps with these terms see windows of the frames, as config.training.window asks.

    Each of the terms must allow it. Where the CNN's output is added to the ViT's features, cells
    are the ViT's, and frames are seen whole.
    """
    possible = config.model.fusion == "beside" and all(TERMS[name].windowed for name in names)
    return possible and config.training.window < 1


def can_be_recorded(names: Sequence[str], config: Config, parameter: Float[Tensor, "..."]) -> bool:
    """Whether steps with these terms can be recorded and replayed, as CUDA graphs.

    Each of the terms must allow it, and no correlation maps may be made: their sizes depend on how
    the frames share the labels, and the host waits for them.
    """
    possible = parameter.device.type == "cuda" and not makes_maps(parameter)
    wanted = config.training.recorded and not config.model.whole_map
    return possible and wanted and all(TERMS[name].recordable for name in names)


def loss_gradients(tracker: Tracker, losses: Mapping[str, Scalar]) -> LossGradients:
    """The gradients of the sum of some losses, with the losses detached from what made them."""
    if not losses:
        return LossGradients()
    total = torch.stack(list(losses.values())).sum()
    gradients = torch.autograd.grad(total, list(tracker.parameters()), allow_unused=True)
    return LossGradients({name: loss.detach() for name, loss in losses.items()}, gradients)


def take_step(state: State, found: LossGradients, config: TrainingConfig) -> None:
    """One step, in place, along the gradients. Without any, the step only counts.

    Signals that come meanwhile wait until the step is whole.
    """
    with held():
        state.is_whole = False
        _step(state, found, config)
        state.is_whole = True


def _step(state: State, found: LossGradients, config: TrainingConfig) -> None:
    rates = learning_rates(config, state.step)
    for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    if found.gradients:
        parameters = list(state.tracker.parameters())
        for parameter, gradient in zip(parameters, found.gradients, strict=True):
            parameter.grad = gradient
        if config.gradient_clip:
            nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    for name, loss in found.losses.items():
        state.curves.setdefault(name, []).append(loss.clone())


def learning_rates(config: TrainingConfig, step: int) -> tuple[float, float]:
    """The learning rates of Delta-DINO and of the refiner at a step."""
    return SCHEDULES[config.schedule](config, step)


def stepwise(config: TrainingConfig, step: int) -> tuple[float, float]:
    """The paper's: Delta-DINO's is multiplied by config.decay every config.decay_every steps."""
    decay = config.decay ** (step // config.decay_every)
    return config.learning_rate * decay, config.learning_rate


def cosine(config: TrainingConfig, step: int) -> tuple[float, float]:
    """Ours, the same for both networks (docs/method.md 8).

    It rises for the share config.warm_up of the steps, then falls to zero as half a cosine does.
    """
    warm = max(1.0, config.warm_up * config.steps)
    if step < warm:
        share = (step + 1) / (warm + 1)
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(config.steps - warm, 1)))
    return config.learning_rate * share, config.learning_rate * share


SCHEDULES: dict[str, Callable[[TrainingConfig, int], tuple[float, float]]] = {
    "step": stepwise,
    "cosine": cosine,
}
"""training.schedule -> the learning rates of Delta-DINO and of the refiner at a step."""


def _groups(tracker: Tracker, **of_cnn: float) -> list[dict[str, object]]:
    """The parameters of Delta-DINO, with options of their own, and those of the refiner."""
    cnn = {"params": tracker.delta_dino.parameters(), **of_cnn}
    return [cnn, {"params": tracker.refiner.parameters()}]


def _standard(
    kind: type[torch.optim.Adam], tracker: Tracker, config: TrainingConfig
) -> torch.optim.Optimizer:
    """One of torch's, which treats both networks alike."""
    return kind(_groups(tracker), lr=config.learning_rate, weight_decay=config.weight_decay)


def _muon(tracker: Tracker, config: TrainingConfig) -> torch.optim.Optimizer:
    groups = _groups(tracker, matrix_rate=config.matrix_rate)
    on_cuda = next(tracker.parameters()).device.type == "cuda"
    return Muon(groups, config, recorded=config.recorded and on_cuda)


OPTIMIZERS: dict[str, Callable[[Tracker, TrainingConfig], torch.optim.Optimizer]] = {
    "adam": partial(_standard, torch.optim.Adam),
    "adamw": partial(_standard, torch.optim.AdamW),
    "muon": _muon,
}
"""training.optimizer -> what makes it, with Delta-DINO's parameters in the first group."""
