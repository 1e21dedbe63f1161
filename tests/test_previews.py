"""A fit that shows itself while it is trained: when, and that it stays the fit that it was."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dinotrack import api
from dinotrack.errors import DinotrackWarning
from dinotrack.fitted import Fitted
from dinotrack.synthesis import generate
from dinotrack.training import previews
from dinotrack.training.checkpoint import FILE
from dinotrack.training.loop import State, train_steps
from dinotrack.training.previews import FIRST, WORK_PER_PREVIEW, Previews, snapshot
from dinotrack.training.stored import take_apart
from tests.training_clip import TINY_FAST, fresh, training_data

STEPS = 4
SETTINGS = {
    "backbone.name": "none",
    "training.steps": STEPS,
    "model.widths": "8,16",
    "model.dims": 16,
    "model.blocks": 1,
}


def test_previews_change_no_byte_of_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are tracked with, and kept, after every step."""
    monkeypatch.setattr(previews, "FIRST", 0.0)
    at_once = partial(Previews, clock=lambda: 0.0)
    monkeypatch.setattr("dinotrack.training.fitting.Previews", at_once)
    frames = generate((64, 96), 6, 2, seed=4, points=8).frames
    seen: list[tuple[int, bytes]] = []

    def look(fitted: Fitted) -> None:
        tracks = fitted.at_hand().track([[0, 20, 30], [3, 60, 40]])
        seen.append((fitted.steps, tracks.xy.tobytes()))
        fitted.save(tmp_path / f"preview-{fitted.steps}")

    plain = api.fit(frames, settings=SETTINGS, folder=tmp_path / "plain")
    shown = api.fit(frames, settings=SETTINGS, folder=tmp_path / "shown", preview=look)
    assert [step for step, _ in seen] == list(range(STEPS))
    assert len({tracks for _, tracks in seen}) == STEPS
    kept = [(tmp_path / name / FILE).read_bytes() for name in ("plain", "shown")]
    assert kept[0] == kept[1]
    assert torch.equal(plain.maps.values, shown.maps.values)
    # and each of them is a fit from which one can go on
    with pytest.warns(DinotrackWarning, match="goes on from step 2"):
        going_on = api.fit(frames, settings=SETTINGS, folder=tmp_path / "preview-2")
    assert going_on.steps_trained_now == STEPS - 2
    assert (tmp_path / "preview-2" / FILE).read_bytes() == kept[0]


def test_an_exception_of_a_preview_ends_a_fit_as_one_of_progress_does(tmp_path: Path) -> None:
    frames = generate((64, 96), 6, 2, seed=4, points=8).frames

    def stop(fitted: Fitted) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        api.fit(frames, settings=SETTINGS, folder=tmp_path, preview=stop)
    assert api.fit(frames, settings=SETTINGS, folder=tmp_path).steps_trained_now == STEPS


class Clock:
    """A clock of steps of a second, and of previews that take some."""

    def __init__(self, taken: float) -> None:
        self.now = 100.0
        self.taken = taken
        self.shown: list[float] = []

    def __call__(self) -> float:
        return self.now

    def show(self, state: State) -> None:
        self.shown.append(self.now)
        self.now += self.taken


@pytest.mark.parametrize("taken", [0.0, 1.0, 3.0])
def test_previews_come_ever_more_seldom_and_take_little_of_the_time(taken: float) -> None:
    config = TINY_FAST.training
    clock = Clock(taken)
    shows = Previews(clock.show, config, clock)
    state = fresh(TINY_FAST)
    for step in range(config.steps + 1):
        state.step = step
        shows.show_if_due(state)
        clock.now += 1.0
    first, *later = clock.shown
    assert first == 100.0
    assert later[0] >= 100.0 + taken + FIRST
    gaps = np.diff(clock.shown) - taken
    assert (gaps[1:] >= gaps[:-1]).all()
    assert taken * (len(later) - 1) <= config.steps / WORK_PER_PREVIEW
    assert len(later) == (3 if not taken else {1.0: 3, 3.0: 2}[taken])


def test_nobody_is_shown_the_last_step_or_anything_where_nobody_looks() -> None:
    clock = Clock(0.0)
    state = fresh(TINY_FAST)
    state.step = TINY_FAST.training.steps
    Previews(clock.show, TINY_FAST.training, clock).show_if_due(state)
    Previews(None, TINY_FAST.training, clock).show_if_due(fresh(TINY_FAST))
    assert clock.shown == []


def test_a_snapshot_is_a_state_of_its_own() -> None:
    state = fresh(TINY_FAST)
    data = training_data()
    train_steps(data, TINY_FAST, 0, state, lambda _: None, until=2)
    copy = snapshot(state, TINY_FAST.training)
    before = {name: values.clone() for name, values in take_apart(copy).items()}
    assert copy.losses == state.losses
    train_steps(data, TINY_FAST, 0, state, lambda _: None, until=4)
    assert copy.step == 2
    after = take_apart(copy)
    assert after.keys() == before.keys() == take_apart(state).keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    train_steps(data, TINY_FAST, 0, copy, lambda _: None, until=4)
    both = take_apart(copy), take_apart(state)
    assert all(torch.equal(both[0][name], both[1][name]) for name in before)
