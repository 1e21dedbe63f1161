"""Fits that go on with what a hand corrected: what is taken for sure, what steps see of it, and
that it is learnt, kept, and the same every time."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import dinotrack
from dinotrack.config import TeachingConfig, override
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted
from dinotrack.queries import Corrections, Queries, Trajectories
from dinotrack.training.lessons import Lesson, lesson_of
from dinotrack.training.sampling import TrainingData
from dinotrack.training.teaching import REPEATS, draw_taught_batch, labels_in
from tests.training_clip import (
    HEIGHT,
    LENGTH,
    SHIFT,
    TINY_FAST,
    WIDTH,
    seeded,
    training_data,
    without_chains,
)

NARROW = override(TINY_FAST, {"training.window": 0.5})
STARTS = torch.tensor(((10.0, 12.0), (30.0, 20.0), (45.0, 33.0)))


def true_places(starts: Float[Tensor, "N 2"]) -> Float[Tensor, "N T 2"]:
    return starts[:, None] + torch.arange(LENGTH)[None, :, None] * torch.tensor(SHIFT)


def some_lesson() -> Lesson:
    """Three points of the clip, of which half of the frames are known."""
    weight = torch.tensor(((3, 0, 1, 0, 3, 0), (0, 3, 0, 0, 1, 0), (3, 1, 1, 1, 1, 3))).float()
    return Lesson(true_places(STARTS), weight)


# --- what is taken for sure


def test_a_lesson_holds_what_is_sure_of_points_that_are_known_twice() -> None:
    config = TeachingConfig()
    xy = true_places(STARTS)
    confidence = torch.full((3, LENGTH), 0.9)
    confidence[0, 1] = config.sure - 0.01
    visible = torch.ones(3, LENGTH, dtype=torch.bool)
    visible[0, 2] = False
    hidden = torch.zeros(3, LENGTH, dtype=torch.bool)
    hidden[0, 3] = True
    visible[1, 1:] = False
    made = Corrections(
        torch.tensor((0, 1, 2, 2)),
        torch.tensor((5, 0, 4, 4)),
        torch.tensor(((7.0, 8.0), (9.0, 9.0), (1.0, 1.0), (2.0, 3.0))),
    )
    queries = Queries(torch.zeros(3, dtype=torch.long), STARTS, made)
    found = Trajectories(xy, visible, confidence)
    xy[2, 1] = torch.tensor((-3.0, 5.0))  # outside the picture
    lesson = lesson_of(queries, found, hidden, (HEIGHT, WIDTH), config)
    assert lesson.weight.tolist() == [[3, 0, 0, 0, 1, 3], [3, 0, 1, 1, 3, 1]]
    assert lesson.xy[0, 5].tolist() == [7, 8]
    assert lesson.xy[1, 4].tolist() == [2, 3]  # the last word holds
    torch.testing.assert_close(lesson.xy[0, 4], xy[0, 4])


@pytest.mark.parametrize("frame", [None, 0])
def test_what_is_known_in_one_frame_is_no_lesson(frame: int | None) -> None:
    """Without a correction, and with one in the query's own frame where nothing else is sure."""
    made = None
    if frame is not None:
        made = Corrections(torch.tensor((0,)), torch.tensor((frame,)), torch.tensor(((7.0, 8.0),)))
    queries = Queries(torch.zeros(1, dtype=torch.long), STARTS[:1], made)
    nowhere = torch.zeros(1, LENGTH, dtype=torch.bool)
    found = Trajectories(true_places(STARTS[:1]), nowhere, torch.zeros(1, LENGTH))
    assert lesson_of(queries, found, nowhere, (HEIGHT, WIDTH), TeachingConfig()) is None


# --- what a step sees


def test_labels_are_all_pairs_that_are_known() -> None:
    lesson = some_lesson()
    frames = torch.tensor((0, 1, 4))
    found = labels_in(lesson, frames)
    expected = [
        (n, i, j)
        for i, j in itertools.permutations((0, 1, 4), 2)
        for n in range(3)
        if lesson.weight[n, i] and lesson.weight[n, j]
    ]
    assert len(found.source) == len(expected)
    for row, (n, i, j) in enumerate(expected):
        assert (int(found.source_frame[row]), int(found.target_frame[row])) == (i, j)
        assert torch.equal(found.source[row], lesson.xy[n, i])
        assert torch.equal(found.target[row], lesson.xy[n, j])


def moved(known: TrainingData) -> Lesson:
    """A lesson that says something else than flow, so that its labels can be told from others."""
    lesson = some_lesson()
    return replace(lesson, xy=lesson.xy + 0.25 * torch.arange(LENGTH)[None, :, None])


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_steps_see_a_share_of_the_lesson_and_flow_besides(
    seed: int, windowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinotrack.training.windows.LEAST_SIDE", 16)
    known = training_data()
    lesson = moved(known)
    batch = draw_taught_batch(known, lesson, NARROW, seeded(seed), windowed=windowed)
    labels = batch.labels
    assert len(labels.source) == NARROW.training.batch
    steps = (labels.target_frame - labels.source_frame)[:, None]
    of_flow = torch.isclose(
        labels.target - labels.source, steps * torch.tensor(SHIFT), atol=1e-4
    ).all(dim=1)
    taught = torch.isclose(
        labels.target - labels.source, steps * (torch.tensor(SHIFT) + 0.25), atol=1e-4
    ).all(dim=1)
    assert (of_flow ^ taught).all()
    assert 0 < taught.sum() <= round(NARROW.teaching.share * NARROW.training.batch)
    pairs = torch.cat((labels.source_frame[:, None], labels.source, labels.target), dim=1)[taught]
    assert int(pairs.unique(dim=0, return_counts=True)[1].max()) <= REPEATS
    corner = torch.zeros(2) if batch.corner is None else batch.corner
    x, y = (int(side) for side in corner.tolist())
    height, width = batch.frames.shape[-2:]
    whole = known.frames[batch.frame_numbers]
    assert torch.equal(batch.frames, whole[..., y : y + height, x : x + width])
    assert windowed or (height, width) == known.size


def test_a_lesson_is_enough_where_flow_saw_nothing() -> None:
    known = without_chains(training_data())
    batch = draw_taught_batch(known, some_lesson(), TINY_FAST, seeded(), windowed=False)
    assert len(batch.labels.source) == TINY_FAST.training.batch


# --- a tracker that was taught


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (80, 96, 3), dtype=np.uint8)
    video = np.stack([np.roll(still, (t, 2 * t), axis=(0, 1)) for t in range(6)])
    quick = {"training.steps": 2, "backbone.name": "none", "teaching.steps": 6}
    return dinotrack.fit(video, preset="fast", settings=quick, device="cpu")


QUERIES = [[0, 40, 30], [0, 60, 40], [1, 30, 20]]
CORRECTIONS = [[0, 5, 50, 35], [1, 3, 66, 43]]


def numbers(tracker: Fitted) -> list[Float[Tensor, "..."]]:
    return [values.clone() for values in tracker.state.tracker.state_dict().values()]


def test_teaching_makes_another_tracker_and_leaves_this_one(fitted: Fitted) -> None:
    before, plain = numbers(fitted), fitted.track(QUERIES)
    taught = fitted.teach(CORRECTIONS, queries=QUERIES)
    assert all(map(torch.equal, before, numbers(fitted)))
    assert fitted.track(QUERIES) == plain
    assert not all(map(torch.equal, before, numbers(taught)))
    assert (fitted.state.lessons, len(taught.state.lessons)) == ((), 1)
    assert taught.steps == fitted.steps


def test_the_same_lesson_gives_the_same_bytes(fitted: Fitted, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fitted.teach(CORRECTIONS, queries=QUERIES, hidden=[[0, 1, 1]]).save(tmp_path / name)
    one, two = (
        (tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("one", "two")
    )
    assert one == two
    other = fitted.teach(CORRECTIONS, queries=QUERIES)
    assert other.state.lessons != dinotrack.load(tmp_path / "one", fitted.video).state.lessons


def test_a_taught_tracker_is_kept_and_taught_further(fitted: Fitted, tmp_path: Path) -> None:
    taught = fitted.teach(CORRECTIONS, queries=QUERIES)
    taught.save(tmp_path)
    again = dinotrack.load(tmp_path, fitted.video)
    assert again.state.lessons == taught.state.lessons
    assert again.track(QUERIES) == taught.track(QUERIES)
    further = again.teach(CORRECTIONS, queries=QUERIES)
    assert further.state.lessons == (*taught.state.lessons, *taught.state.lessons)
    fitted.save(tmp_path)  # back to the one before
    assert dinotrack.load(tmp_path, fitted.video).track(QUERIES) == fitted.track(QUERIES)


def test_steps_are_those_that_are_asked_for(fitted: Fitted) -> None:
    told: list[tuple[str, int, int]] = []
    before = numbers(fitted)
    unchanged = fitted.teach(CORRECTIONS, 0, queries=QUERIES)
    assert all(map(torch.equal, before, numbers(unchanged)))
    fitted.teach(CORRECTIONS, 3, queries=QUERIES, progress=lambda *step: told.append(step))
    assert [step[1:] for step in told if step[0] == "teach"] == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(InputError, match="steps"):
        fitted.teach(CORRECTIONS, -1, queries=QUERIES)


@pytest.mark.parametrize(
    ("corrections", "said"),
    [
        ([], "nothing to teach"),
        ([[0, 0, 41, 30]], "nothing to teach"),
        ([[7, 1, 41, 30]], "point = 7"),
    ],
)
def test_what_cannot_be_taught_is_one_sentence(
    corrections: list[list[float]], said: str, fitted: Fitted
) -> None:
    unseen = [[0, 1, 5]]
    with pytest.raises(InputError, match=said) as caught:
        fitted.teach(corrections, queries=QUERIES, hidden=unseen)
    assert "\n" not in str(caught.value)


def test_what_was_taught_is_learnt() -> None:
    """Steps bring the tracker nearer to what a lesson says, though flow says nothing."""
    from dinotrack.run import Run
    from dinotrack.training.fitting import go_on
    from dinotrack.training.view import view_step
    from tests.training_clip import fresh

    known = replace(without_chains(training_data()), lesson=some_lesson())
    config = override(TINY_FAST, {"teaching.steps": 60, "training.window": 1.0})
    state = fresh(config)

    def error(tracker: torch.nn.Module) -> float:
        batch = draw_taught_batch(known, some_lesson(), config, seeded(1), windowed=False)
        with torch.no_grad():
            view = view_step(batch, known, tracker, config, seeded())
            found = tracker.locate_by(view.correlation)
        return float((found - batch.labels.target).norm(dim=1).mean())

    run = Run(config, torch.device("cpu"))
    taught = go_on(known, state, "0" * 64, range(60), run, "teach")
    assert error(taught.tracker) < 0.5 * error(state.tracker)
