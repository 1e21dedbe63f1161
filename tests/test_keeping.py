"""What is kept of a fit, and when: however it ends, only whole steps, and nothing computed lost."""

import signal
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor

from dinotrack import interrupts
from dinotrack.config import Config, override
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.maps import FeatureMaps
from dinotrack.progress import Watch
from dinotrack.run import Run
from dinotrack.training import (
    State,
    Store,
    begin,
    checkpoint,
    fitting,
    keeping,
    loop,
    muon,
    train,
)
from dinotrack.training.checkpoint import FILE
from dinotrack.training.keeping import WORK_PER_SAVE, Keeper
from dinotrack.training.sampling import TrainingData
from dinotrack.training.stored import Identity, take_apart
from tests.training_clip import TINY_FAST, TINY_PAPER, training_data

CPU = torch.device("cpu")
known_of = cache(training_data)
FEW = {"training.steps": 4, "training.batch": 8, "model.start": "random"}
FAST = override(TINY_FAST, FEW)
PAPER = override(TINY_PAPER, FEW | {"model.downsample": "stride", "training.late": 1.0})
KINDS = [(FAST, 0), (PAPER, 6)]
"""A config, and the channels of frozen features. The second has batch norms."""


def run_of(config: Config, progress: Any = None) -> Run:
    return Run(config, CPU, watch=Watch() if progress is None else Watch(progress))


def identity_of(config: Config) -> Identity:
    return Identity(config, 0, "video")


def store_of(folder: Path | None, config: Config) -> Store:
    found = None if folder is None else checkpoint.find(folder, identity_of(config))
    return Store(identity_of(config), folder, found)


def go(
    folder: Path | None, config: Config = FAST, channels: int = 0, progress: Any = None
) -> State:
    """Fit, or go on with a fit."""
    known = known_of(channels)
    run = run_of(config, progress)
    store = store_of(folder, config)
    state = begin(known.features, run, store.stored)
    train(known, state, run, store)
    return state


def copied(state: State) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in take_apart(state).items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@cache
def by_step(config: Config, channels: int) -> list[dict[str, Tensor]]:
    """The whole states of a fit that nothing disturbs, after no step, one, two, ..."""
    known = known_of(channels)
    run = run_of(config)
    found: list[dict[str, Tensor]] = []
    state = begin(known.features, run)
    watched = run_of(config, lambda *report: found.append(copied(state)))
    train(known, state, watched, store_of(None, config))
    assert len(found) == config.training.steps + 1
    return found


# --- half a step


def interrupted_at(moment: int, work: Callable[[], object]) -> bool:
    """Ctrl-C when so many lines of training were run; False where the work has not as many."""
    traced = {str(module.__file__) for module in (loop, fitting, keeping, checkpoint, muon)}
    traced.add(str(interrupts.__file__))
    left = [moment]

    def in_line(frame: FrameType, event: str, argument: object) -> Any:
        left[0] -= event == "line"
        if left[0] == 0:
            left[0] = -1
            signal.raise_signal(signal.SIGINT)
        return in_line

    def in_call(frame: FrameType, event: str, argument: object) -> Any:
        return in_line if frame.f_code.co_filename in traced else None

    before = sys.gettrace()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.settrace(in_call)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        signal.signal(signal.SIGINT, handler)
    return False


@pytest.mark.parametrize(("config", "channels"), KINDS, ids=["fast", "paper"])
def test_ctrl_c_at_any_moment_leaves_whole_steps(
    config: Config, channels: int, tmp_path: Path
) -> None:
    """With the handler that Python has for it, as for users of the functions."""
    assert interrupt_everywhere(config, channels, tmp_path, every=211) > {None}


@pytest.mark.slow
@pytest.mark.parametrize(("config", "channels"), KINDS, ids=["fast", "paper"])
def test_ctrl_c_at_every_moment_leaves_whole_steps(
    config: Config, channels: int, tmp_path: Path
) -> None:
    assert interrupt_everywhere(config, channels, tmp_path, every=1) == {None, 1, 2}


def interrupt_everywhere(
    config: Config, channels: int, tmp_path: Path, every: int
) -> set[int | None]:
    """The steps that are kept of fits that were interrupted, each a little later."""
    config = override(config, {"training.steps": 2, "training.save_seconds": 0})
    whole = by_step(config, channels)
    steps: set[int | None] = set()
    for moment in range(1, 10_000, every):
        folder = tmp_path / str(moment)
        if not interrupted_at(moment, lambda into=folder: go(into, config, channels)):
            break
        if not (folder / FILE).exists():
            steps.add(None)
            continue
        stored = checkpoint.read(folder)
        assert equal(stored.tensors, whole[stored.step]), moment
        steps.add(stored.step)
    assert moment > 100
    return steps


@pytest.mark.parametrize(("config", "channels"), KINDS, ids=["fast", "paper"])
def test_an_error_while_a_batch_is_looked_at_undoes_what_norms_noted(
    config: Config, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = by_step(config, channels)
    calls = []

    def short_of_memory(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return kept(*arguments)

    kept = loop.weighted_losses
    monkeypatch.setattr(loop, "weighted_losses", short_of_memory)
    with pytest.raises(MemoryError):
        go(tmp_path, config, channels)
    stored = checkpoint.read(tmp_path)
    assert stored.step == 2
    assert equal(stored.tensors, whole[2])
    assert equal(copied(go(tmp_path, config, channels)), whole[-1])


def test_an_error_within_an_optimizer_s_step_keeps_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override(FAST, {"training.optimizer": "adam", "training.save_seconds": 0})
    whole = by_step(config, 0)
    step = torch.optim.Adam.step
    calls = []

    def broken(self: torch.optim.Adam, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            next(iter(self.param_groups[0]["params"])).data.add_(1)
            raise MemoryError
        return step(self, *arguments)

    monkeypatch.setattr(Keeper, "keep_if_due", lambda self, state: self.keep(state, ""))
    monkeypatch.setattr(torch.optim.Adam, "step", broken)
    with pytest.raises(MemoryError):
        go(tmp_path, config)
    stored = checkpoint.read(tmp_path)
    assert equal(stored.tensors, whole[2])


class Gone(Exception):
    """A callback's own."""


@pytest.mark.parametrize("error", [Gone, KeyboardInterrupt])
def test_a_callback_that_raises_leaves_what_was_learnt(error: type, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise error

    with pytest.raises(error):
        go(tmp_path, progress=stop)
    assert checkpoint.read(tmp_path).step == 3
    assert equal(copied(go(tmp_path)), by_step(FAST, 0)[-1])


def test_ctrl_c_in_the_last_save_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.save_tensors

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        write(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoint, "save_tensors", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path)
    signal.signal(signal.SIGINT, handler)
    assert checkpoint.read(tmp_path).step == FAST.training.steps


# --- by time


class Clock:
    """Seconds that pass only as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def kept_at(save_takes: float, seconds: float, steps: int) -> list[int]:
    """The steps after which a fit was written, whose steps take a second each."""
    clock = Clock()
    saved: list[int] = []
    state = begin(None, run_of(FAST))

    class Slow(Store):
        def save(self, state: State) -> None:
            clock.now += save_takes
            saved.append(state.step)

    keeper = Keeper(Slow(identity_of(FAST)), seconds, clock)
    for step in range(1, steps + 1):
        clock.now += 1
        state.step = step
        keeper.keep_if_due(state)
    return saved


def test_it_is_kept_by_time() -> None:
    assert kept_at(0.0, 10.0, 35) == [10, 20, 30]
    assert kept_at(0.0, 0.5, 3) == [1, 2, 3]


def test_saving_takes_a_small_share_of_the_time() -> None:
    assert WORK_PER_SAVE == 20
    assert kept_at(0.5, 2.0, 40) == [2, 12, 22, 32]


@pytest.mark.parametrize("save_takes", [1.0, 2.0, 60.0])
def test_however_slow_the_disk_at_most_20_seconds_of_work_are_lost(save_takes: float) -> None:
    kept = kept_at(save_takes, 10.0, 100)
    assert kept == [10, 25, 40, 55, 70, 85, 100]


def test_what_is_kept_anyway_is_not_kept_again(tmp_path: Path) -> None:
    state = go(tmp_path)
    (tmp_path / FILE).unlink()
    keeper = Keeper(store_of(tmp_path, FAST), 10.0)
    keeper.keep(state, "")
    (tmp_path / FILE).unlink()
    keeper.keep_what_is_whole(state)
    assert not (tmp_path / FILE).exists()


# --- no room


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = InputError("no room; ", "choose another folder")

    def fail(*arguments: Any) -> None:
        raise full

    monkeypatch.setattr(checkpoint, "save", fail)
    monkeypatch.setattr(Keeper, "keep_if_due", lambda self, state: self.keep(state, "meanwhile"))
    with pytest.warns(DinotrackWarning) as told:
        state = go(tmp_path)
    assert equal(copied(state), by_step(FAST, 0)[-1])
    assert [str(warning.message) for warning in told] == [
        "no room; choose another folder; meanwhile",
        "no room; choose another folder; the fit goes on to tracks, but it is not kept",
    ]


def test_room_for_the_last_save_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = checkpoint.save
    calls = []

    def fail_at_first(folder: Path, state: State, identity: Identity) -> None:
        calls.append(state.step)
        if state.step < 3:
            raise InputError("no room")
        write(folder, state, identity)

    monkeypatch.setattr(checkpoint, "save", fail_at_first)
    monkeypatch.setattr(Keeper, "keep_if_due", lambda self, state: self.keep(state, "meanwhile"))
    with pytest.warns(DinotrackWarning, match="no room; meanwhile"):
        go(tmp_path)
    assert calls == [1, 2, 3, 4, 4]
    assert checkpoint.read(tmp_path).step == 4


# --- numbers that are not finite


def test_a_fit_that_goes_astray_is_told_and_not_kept(tmp_path: Path) -> None:
    config = override(FAST, {"training.learning_rate": 1e30, "training.gradient_clip": 0})
    with pytest.raises(InputError, match=r"by step \d+ the numbers of the fit are not finite"):
        go(tmp_path, config)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("what", ["weights", "optimizer", "losses"])
def test_what_was_kept_before_stays(what: str, tmp_path: Path) -> None:
    state = go(None)
    state.step = 2
    state.curves = {name: curve[:2] for name, curve in state.curves.items()}
    keeper = Keeper(store_of(tmp_path, FAST), 10.0)
    keeper.keep(state, "")
    state.step = 3
    if what == "losses":
        state.curves["flow"][-1] = torch.tensor(torch.nan)
    else:
        name = next(name for name in take_apart(state) if name.startswith(what))
        take_apart(state)[name].view(-1)[0] = torch.inf
    with pytest.raises(InputError, match=r"by step 3 .* settings=\{'training.learning_rate': "):
        keeper.keep(state, "")
    keeper.keep_what_is_whole(state)
    assert checkpoint.read(tmp_path).step == 2


# --- the beginning


def test_a_seed_gives_the_numbers_that_torch_gives_for_it() -> None:
    for config, channels in KINDS:
        features = training_data(channels).features
        mine = copied(begin(features, Run(config, CPU, seed=5)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            for name, values in plain_convolutions(config, features).items():
                assert torch.equal(mine[f"weights.{name}"], values), name


def plain_convolutions(config: Config, features: FeatureMaps | None) -> dict[str, Tensor]:
    """The first weights as torch itself draws them, of all convolutions that stay as drawn."""
    network = begin(features, run_of(config)).tracker
    found: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            plain = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)
            found |= {f"{name}.{k}": v for k, v in plain.state_dict().items()}
    starts = [name for name, value in found.items() if not changed_after(name, network, config)]
    return {name: found[name] for name in starts}


def changed_after(name: str, network: torch.nn.Module, config: Config) -> bool:
    """Whether a convolution is made zero, or the identity, after it was drawn."""
    last = len(list(network.delta_dino.layers)) - 2
    zero = config.model.fusion == "sum" and name.startswith(f"delta_dino.layers.{last}.")
    return zero or (config.model.sharp_start and name.startswith("refiner"))


def test_beginning_leaves_the_random_numbers_of_others_alone() -> None:
    state = torch.random.get_rng_state()
    for config, channels in KINDS:
        begin(training_data(channels).features, Run(config, CPU, seed=5))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_frame_has_nothing_to_learn_and_that_is_no_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = training_data()
    one = TrainingData(known.frames[:1], None, known.supervision, {})
    monkeypatch.setattr(TrainingData, "has_labels", False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(one, begin(None, run_of(FAST)), run_of(FAST), store_of(None, FAST))
    assert [str(warning.message) for warning in told] == [
        "the video has one frame, so there was nothing to learn"
    ]
