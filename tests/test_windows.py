"""Steps that see frames through a window: what lies in it is what the whole frame shows there."""

import pytest
import torch

from dinotrack.config import TrainingConfig, override
from dinotrack.delta_dino import least_side
from dinotrack.training import windows
from dinotrack.training.loop import looks_through_windows, train_steps
from dinotrack.training.sampling import Batch, Labels, draw_batch
from dinotrack.training.terms import due
from dinotrack.training.view import view_step
from dinotrack.training.windows import (
    draw_corner,
    draw_windowed_batch,
    seen_through,
    taken,
    window_size,
)
from tests.training_clip import SHIFT, TINY_FAST, TINY_PAPER, fresh, seeded, training_data

CELL = 4
NARROW = override(TINY_FAST, {"training.window": 0.5})


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip of these tests is smaller than the least window of real ones."""
    monkeypatch.setattr("dinotrack.training.windows.LEAST_SIDE", 16)


def drawn(seed: int, channels: int = 0) -> Batch:
    batch = draw_windowed_batch(training_data(channels), NARROW, seeded(seed))
    assert batch is not None
    return batch


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("seed", range(8))
def test_a_window_shows_what_the_frame_shows_there(seed: int) -> None:
    known = training_data()
    batch = drawn(seed)
    assert batch.corner is not None
    height, width = window_size(known.size, 0.5, CELL, 16)
    x, y = (int(side) for side in batch.corner.tolist())
    assert x % CELL == y % CELL == 0
    part = known.frames[batch.frame_numbers][..., y : y + height, x : x + width]
    assert batch.frames.shape[-2:] == (height, width)
    assert torch.equal(batch.frames, part)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("seed", range(8))
def test_labels_of_a_window_are_labels_of_the_clip(seed: int) -> None:
    labels = drawn(seed).labels
    assert len(labels.source) == NARROW.training.batch
    steps = (labels.target_frame - labels.source_frame)[:, None] * torch.tensor(SHIFT)
    torch.testing.assert_close(labels.target, labels.source + steps)
    height, width = window_size(training_data().size, 0.5, CELL, 16)
    for ends in (labels.source, labels.target):
        assert (ends >= 0).all()
        assert (ends <= torch.tensor((width - 1.0, height - 1.0))).all()


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("seed", range(4))
def test_frozen_features_of_a_window_are_those_of_the_frame(seed: int) -> None:
    known = training_data(channels=6)
    batch = drawn(seed, channels=6)
    tracker = fresh(NARROW, 6).tracker
    through = view_step(batch, known, tracker, NARROW, seeded()).refined.maps
    assert batch.corner is not None
    whole = Batch(
        batch.frame_numbers, known.frames[batch.frame_numbers], batch.features, batch.labels
    )
    frame = view_step(whole, known, tracker, NARROW, seeded()).refined.maps
    column, row = (int(side) // CELL for side in batch.corner.tolist())
    rows, cols = through.values.shape[-2:]
    part = frame.values[:, :6, row : row + rows, column : column + cols]
    torch.testing.assert_close(through.values[:, :6], part, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [
        ((240, 432), 0.5, (120, 216)),
        ((243, 432), 0.5, (120, 216)),
        ((240, 432), 1.0, (240, 432)),
        ((90, 432), 0.5, (64, 216)),
        ((40, 60), 0.5, (40, 60)),
        ((66, 432), 1.0, (64, 432)),
    ],
)
def test_sizes(size: tuple[int, int], share: float, expected: tuple[int, int]) -> None:
    assert window_size(size, share, CELL, 64) == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_window_lies_in_the_frame_around_a_label(seed: int) -> None:
    ends = torch.rand(1, 2, generator=seeded(seed)) * torch.tensor((431.0, 239.0))
    frame = torch.zeros(1, dtype=torch.long)
    label = Labels(frame, ends, frame + 1, ends)
    corner = draw_corner(label, (240, 432), (120, 216), CELL, seeded())
    assert (corner >= 0).all()
    assert (corner <= torch.tensor((216.0, 120.0))).all()
    assert len(seen_through(label, corner, (120, 216)).source) == 1


def test_few_labels_are_taken_in_turn() -> None:
    three = Labels(*(part[:3] for part in draw_all()))
    more = taken(three, 8, seeded())
    counts = torch.bincount(
        (more.source[:, None] == three.source[None]).all(dim=-1).int().argmax(dim=1), minlength=3
    )
    assert sorted(counts.tolist()) == [2, 3, 3]


def draw_all() -> Labels:
    batch = draw_batch(training_data(), TrainingConfig(batch=9), seeded(2))
    assert batch is not None
    return batch.labels


@pytest.mark.usefixtures("small_windows")
def test_labels_that_fit_in_no_window_are_seen_in_whole_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = torch.arange(0)
    monkeypatch.setattr(windows, "seen_through", lambda labels, *window: labels.at(nothing))
    batch = drawn(1)
    assert batch.corner is None
    assert batch.frames.shape[-2:] == training_data().size
    assert len(batch.labels.source) == NARROW.training.batch


def test_a_clip_smaller_than_a_window_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LEAST_SIDE", 100)
    batch = drawn(0)
    assert batch.corner is None
    assert batch.frames.shape[-2:] == training_data().size
    assert len(batch.labels.source) == NARROW.training.batch


@pytest.mark.usefixtures("small_windows")
def test_a_window_is_no_smaller_than_the_cnn_takes() -> None:
    deep = override(NARROW, {"model.widths": (8, 8, 8, 8), "training.window": 0.05})
    batch = draw_windowed_batch(training_data(), deep, seeded())
    assert batch is not None
    assert min(batch.frames.shape[-2:]) >= least_side(deep.model)


def test_only_terms_that_look_at_labels_alone_allow_for_windows() -> None:
    assert looks_through_windows(NARROW, due(NARROW.training, 0))
    whole = override(NARROW, {"training.window": 1.0})
    assert not looks_through_windows(whole, due(whole.training, 0))
    cycles = override(NARROW, {"training.cycle_weight": 0.5})
    late = cycles.training.steps
    assert looks_through_windows(cycles, due(cycles.training, 0))
    assert not looks_through_windows(cycles, due(cycles.training, late))
    summed = override(TINY_PAPER, {"training.window": 0.5})
    assert not looks_through_windows(summed, due(summed.training, 0))


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("channels", [0, 5])
def test_a_fit_through_windows_learns_and_repeats_itself(channels: int) -> None:
    curves = []
    for _ in range(2):
        state = fresh(NARROW, channels)
        train_steps(training_data(channels), NARROW, 0, state, lambda state: None)
        curves.append(state.losses["heatmap"])
    first, again = curves
    assert first == again
    assert sum(first[-5:]) < sum(first[:5])
