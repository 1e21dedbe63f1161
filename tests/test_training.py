"""The training loop: that a fit learns, repeats, and can stop anywhere and go on."""

import copy
import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack.config import FAST, PAPER, QUALITY, Config, TrainingConfig, override
from dinotrack.model import Tracker
from dinotrack.training import loop
from dinotrack.training.loop import (
    OPTIMIZERS,
    SCHEDULES,
    State,
    can_be_recorded,
    initial_state,
    learning_rates,
    train_steps,
)
from dinotrack.training.sampling import TrainingData
from dinotrack.training.terms import due
from tests.same import same
from tests.training_clip import (
    TINY_FAST,
    TINY_PAPER,
    fresh,
    on_cuda,
    seen_once,
    training_data,
    without_chains,
)


def ignore(state: State) -> None:
    """Nothing to do after a step."""


def weights_of(state: State) -> dict[str, Tensor]:
    return state.tracker.state_dict()


def test_paper_s_learning_rates() -> None:
    for step in (0, 39, 40, 79, 80, 4001, 9999):
        assert learning_rates(PAPER.training, step) == (
            pytest.approx(1e-2 * 0.999 ** (step // 40)),
            1e-2,
        )


@pytest.mark.parametrize("steps", [1, 2, 7, 400])
def test_cosine_warms_up_then_falls(steps: int) -> None:
    config = TrainingConfig(steps=steps, schedule="cosine", learning_rate=2e-3)
    both = [learning_rates(config, step) for step in range(steps)]
    rates = [a for a, b in both if a == b]
    assert len(rates) == steps
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0
    assert max(rates) <= 2e-3
    if steps == 400:
        assert (peak, rates[40], rates[220]) == (40, 2e-3, pytest.approx(1e-3))
        assert rates[-1] < 1e-7


def test_warming_up_takes_its_share_of_the_steps() -> None:
    config = TrainingConfig(steps=400, schedule="cosine", warm_up=0.25)
    rates = [learning_rates(config, step)[0] for step in range(400)]
    assert rates.index(max(rates)) == 100


@pytest.mark.parametrize(("key", "choices"), [("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)])
def test_what_the_config_offers_is_there(key: str, choices: dict[str, object]) -> None:
    assert choices.keys() == set(get_args(TrainingConfig.kinds[key]))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_both_networks_learn_at_their_rates(optimizer: str, schedule: str) -> None:
    settings = {
        "training.optimizer": optimizer,
        "training.schedule": schedule,
        "training.steps": 1,
    }
    config = override(TINY_FAST, settings)
    state = fresh(config)
    before = copy.deepcopy(weights_of(state))
    train_steps(training_data(), config, 0, state, ignore)
    rates = [group["lr"] for group in state.optimizer.param_groups]
    assert rates == list(learning_rates(config.training, 0))
    for part in ("delta_dino", "refiner"):
        changed = [
            not torch.equal(value, before[name])
            for name, value in weights_of(state).items()
            if name.startswith(part)
        ]
        assert any(changed), part


@pytest.mark.parametrize("config", [QUALITY, PAPER, FAST], ids=lambda c: c.preset)
def test_both_networks_learn_under_every_preset(config: Config) -> None:
    settings = {"training.steps": 1, "training.batch": 8, "training.contrastive_points": 8}
    config = override(config, {"model.widths": (4, 4), "model.dims": 4, **settings})
    state = fresh(config)
    before = copy.deepcopy(state.tracker)
    train_steps(training_data(), config, 0, state, ignore)
    for part in ("delta_dino", "refiner"):
        old = getattr(before, part).parameters()
        new = getattr(state.tracker, part).parameters()
        assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True)), part


@pytest.mark.parametrize(
    ("config", "channels"), [(TINY_FAST, 0), (TINY_PAPER, 6)], ids=["fast", "paper"]
)
def test_a_continued_fit_is_the_one_that_never_stopped(config: Config, channels: int) -> None:
    config = override(config, {"training.steps": 6})
    known = training_data(channels)
    state = fresh(config, channels)
    kept: list[tuple[dict[str, Tensor], dict[str, object], dict[str, list[float]]]] = []

    def keep(now: State) -> None:
        if now.step == 2:
            kept.append(
                copy.deepcopy((now.tracker.state_dict(), now.optimizer.state_dict(), now.losses))
            )

    train_steps(known, config, 7, state, keep)
    continued = fresh(config, channels)
    torch.rand(5)  # nothing hangs on the global random numbers
    weights, optimizer, losses = kept[0]
    continued.tracker.load_state_dict(weights)
    continued.optimizer.load_state_dict(optimizer)
    continued.step = 2
    continued.curves = {name: list(torch.tensor(values)) for name, values in losses.items()}
    train_steps(known, config, 7, continued, ignore)
    assert (state.step, continued.step) == (6, 6)
    assert state.losses == continued.losses
    assert same(state.tracker, continued.tracker)


def test_a_fit_can_be_taken_in_parts() -> None:
    config = override(TINY_FAST, {"training.steps": 5})
    known = training_data()
    whole = fresh(config)
    parts = fresh(config)
    train_steps(known, config, 0, whole, ignore)
    for until, step in ((2, 2), (1, 2), (4, 4), (9, 5)):
        train_steps(known, config, 0, parts, ignore, until)
        assert parts.step == step
    assert whole.losses == parts.losses
    assert same(whole.tracker, parts.tracker)


def test_seeds_differ_and_repeat() -> None:
    config = override(TINY_FAST, {"training.steps": 2})
    runs = []
    for seed in (0, 0, 1):
        state = fresh(config)
        train_steps(training_data(), config, seed, state, ignore)
        runs.append(state.losses)
    assert runs[0] == runs[1] != runs[2]


def test_the_loss_falls() -> None:
    steps: list[int] = []
    state = fresh(TINY_FAST)
    train_steps(training_data(), TINY_FAST, 0, state, lambda now: steps.append(now.step))
    assert steps == list(range(1, 31))
    assert state.losses.keys() == {"flow", "heatmap"}
    for values in state.losses.values():
        assert len(values) == 30
        assert all(math.isfinite(v) for v in values)
        assert sum(values[-5:]) < 0.8 * sum(values[:5])


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    ("preset", "alike"), [(FAST, True), (QUALITY, True), (PAPER, False)], ids=lambda p: str(p)[:24]
)
def test_which_steps_are_recorded(
    preset: Config, alike: bool, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "makes_maps", lambda features: not kernels)

    def recorded(settings: dict[str, object], parameter: Float[Tensor, "1"] | None = None) -> bool:
        config = override(preset, settings)
        names = due(config.training, config.training.steps - 1)
        return can_be_recorded(names, config, on_cuda() if parameter is None else parameter)

    assert recorded({}) == (alike and kernels)
    assert recorded({"training.norm_weight": 1}) == (alike and kernels)
    assert not recorded({}, torch.zeros(1))
    for changed in (
        {"model.whole_map": True},
        {"training.recorded": False},
        {"training.buddy_weight": 1},
        {"training.refined_buddy_weight": 1},
        {"training.cycle_weight": 1},
    ):
        assert not recorded(changed)


def test_early_steps_are_recorded_where_late_ones_can_not_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "makes_maps", lambda features: False)
    config = override(FAST, {"training.cycle_weight": 1.0, "training.late": 0.5})
    early = due(config.training, 0)
    late = due(config.training, config.training.steps - 1)
    assert (early, late) == (("flow", "heatmap"), ("flow", "heatmap", "cycle"))
    assert can_be_recorded(early, config, on_cuda())
    assert not can_be_recorded(late, config, on_cuda())


@pytest.mark.parametrize("settings", [{}, {"training.norm_weight": 1.0, "training.late": 0.5}])
def test_steps_that_can_be_recorded_are_those_that_are_not(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded on CUDA, called plainly."""
    config = override(TINY_FAST, {"training.steps": 3, "model.fusion": "sum", **settings})
    recorded: list[object] = []

    def record(function: Callable[..., object]) -> Callable[..., object]:
        recorded.append(function)
        return function

    monkeypatch.setattr(loop, "Recorded", record)
    states = []
    for possible in (False, True):
        monkeypatch.setattr(loop, "can_be_recorded", lambda *_, possible=possible: possible)
        states.append(fresh(config, 6))
        train_steps(training_data(6), config, 0, states[-1], ignore)
        assert bool(recorded) == possible
    assert states[0].losses == states[1].losses
    one, other = states
    assert same(one.tracker, other.tracker)


@pytest.mark.gpu
def test_recorded_steps_are_plain_ones() -> None:
    """But for the order of sums, which CUDA does not keep."""
    settings = {"training.precision": "bfloat16", "training.steps": 10}
    config = override(TINY_FAST, settings)
    losses = []
    for recorded in (True, False):
        torch.manual_seed(3)
        state = initial_state(Tracker(config.model, None).to("cuda"), config.training)
        changed = override(config, {"training.recorded": recorded})
        train_steps(training_data(), changed, 0, state, ignore)
        losses.append(torch.tensor([state.losses[name] for name in ("flow", "heatmap")]))
    torch.testing.assert_close(*losses, rtol=0.05, atol=0)
    assert len(losses[0][0].unique()) == 10  # none is overwritten by the next


@pytest.mark.parametrize("emptied", [without_chains, seen_once])
def test_without_labels_there_is_nothing_to_fit(
    emptied: Callable[[TrainingData], TrainingData],
) -> None:
    state = fresh(TINY_FAST)
    before = copy.deepcopy(weights_of(state))
    known = emptied(training_data())
    train_steps(known, TINY_FAST, 0, state, lambda now: pytest.fail("a step without labels"))
    assert (state.step, state.losses) == (0, {})
    assert same(weights_of(state), before)


def test_a_finished_fit_stays_as_it_is() -> None:
    state = fresh(TINY_FAST)
    state.step = TINY_FAST.training.steps
    before = copy.deepcopy(weights_of(state))
    train_steps(training_data(), TINY_FAST, 0, state, lambda now: pytest.fail("a step too many"))
    assert (state.step, state.losses) == (TINY_FAST.training.steps, {})
    assert same(weights_of(state), before)


def test_steps_that_find_no_labels_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a long clip of few chains most draws of frames miss them; the fit goes on."""
    monkeypatch.setattr("dinotrack.training.sampling.DRAWS", 0)
    config = override(TINY_FAST, {"training.steps": 2})
    state = fresh(config)
    train_steps(training_data(), config, 0, state, ignore)
    assert (state.step, state.losses) == (2, {})
