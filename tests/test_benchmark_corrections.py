"""Corrections in simulation, of a tracker that goes astray where it is told to."""

import argparse
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dinotrack.benchmarks import accuracy, corrections
from dinotrack.benchmarks.corrections import corrected, first_strays, halves
from dinotrack.benchmarks.corrections_report import (
    ALL,
    CORRECTED,
    CORRECTED_HALF,
    OTHERS,
    CorrectionsReport,
    Outcome,
    markdown,
    mean_of,
    worst_clips,
)
from dinotrack.benchmarks.methods import Options
from dinotrack.benchmarks.records import read_json, to_json
from dinotrack.benchmarks.truth import AnnotatedClip, PointTruth
from dinotrack.errors import InputError
from dinotrack.metrics import Annotation
from dinotrack.tracks import Tracks

SIZE, FRAMES, POINTS = (256, 256), 9, 6
FAR = 40.0
"""Px that a lost track is away from the truth."""


def truth_of(seed: int = 0, mode: str = "strided") -> PointTruth:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(20, 200, (POINTS, FRAMES, 2))
    visible = rng.random((POINTS, FRAMES)) < 0.8
    asked = rng.integers(0, FRAMES, POINTS)
    visible[np.arange(POINTS), asked] = True
    queries = np.column_stack((asked, xy[np.arange(POINTS), asked]))
    return PointTruth("made", Annotation(queries, xy, visible, mode), SIZE)


@dataclasses.dataclass
class Stray:
    """Stands in for a fit: a point is lost from a frame on, forwards, until a correction; what was
    taught is lost nowhere. Half of the points are never lost."""

    truth: PointTruth
    lost_for: int = 2
    taught: bool = False
    lessons: list[Any] = dataclasses.field(default_factory=list)

    def track(self, queries: Any, *, corrections: Any = None) -> Tracks:
        xy = self.truth.points.xy.copy()
        made = {(int(p), int(t)) for p, t, *_ in (corrections if corrections is not None else ())}
        for n, t in itertools.product(range(POINTS), range(FRAMES)):
            known = [s for p, s in made if p == n] + [int(queries[n, 0])]
            away = min(abs(t - s) for s in known)
            if n % 3 != 2 and not self.taught and away >= self.lost_for:
                xy[n, t] += FAR
        shape = (POINTS, FRAMES)
        ones = np.ones(shape, np.float32)
        rows = np.asarray(queries, np.float32)
        return Tracks(xy.astype(np.float32), self.truth.points.visible, ones, rows, SIZE, 24.0)

    def focus(self, queries: Any) -> "Stray":
        return self

    def teach(self, corrections: Any, *, queries: Any) -> "Stray":
        self.lessons.append(np.asarray(corrections))
        return dataclasses.replace(self, taught=True)


def plain_strays(truth: PointTruth, xy: np.ndarray) -> list[list[float]]:
    """What `first_strays` finds, frame by frame."""
    found = []
    for n in range(len(truth.queries)):
        asked = int(truth.queries[n, 0])
        for t in sorted(range(FRAMES), key=lambda t, asked=asked: (abs(t - asked), t)):
            if t == asked or (truth.points.mode == "first" and t < asked):
                continue
            x, y = truth.points.xy[n, t]
            off = np.hypot(*(xy[n, t] - (x, y)) * (256 / SIZE[1], 256 / SIZE[0]))
            inside = -0.5 <= x <= SIZE[1] - 0.5 and -0.5 <= y <= SIZE[0] - 0.5
            if truth.points.visible[n, t] and off > 8 and inside:
                found.append([n, t, x, y])
                break
    return found


@given(seed=some.integers(0, 1000), mode=some.sampled_from(["strided", "first"]))
@settings(max_examples=60, deadline=None)
def test_the_first_frame_astray_is_the_nearest_one_to_the_query(seed: int, mode: str) -> None:
    truth = truth_of(seed, mode)
    rng = np.random.default_rng(seed)
    truth.points.xy[rng.random((POINTS, FRAMES)) < 0.1] += 300  # out of the picture
    off = rng.choice([0.0, 5.0, 8.5], (POINTS, FRAMES, 1), p=[0.5, 0.3, 0.2])
    xy = truth.points.xy + off * (1, 0)
    assert first_strays(truth, xy).tolist() == plain_strays(truth, xy)


def test_8_px_are_those_of_256_x_256() -> None:
    truth = truth_of()
    wide = PointTruth("made", truth.points, (256, 512))
    off = truth.points.xy + np.array((12.0, 0))
    assert len(first_strays(truth, off)) > 0
    assert len(first_strays(wide, off)) == 0


def test_rounds_correct_what_still_strays() -> None:
    truth = truth_of()
    rounds = corrected(Stray(truth), truth, 3)
    assert [len(done.made) for done in rounds] == sorted(len(done.made) for done in rounds)
    assert len(rounds[0].made) == 0
    for before, after in itertools.pairwise(rounds):
        assert after.made[: len(before.made)].tolist() == before.made.tolist()
        assert after.made[len(before.made) :].tolist() == plain_strays(truth, before.tracks.xy)
    frames = [tuple(row[:2]) for row in rounds[-1].made.tolist()]
    assert len(set(frames)) == len(frames), "no frame is corrected twice"
    assert {int(point) for point, _ in frames} <= {0, 1, 3, 4}


class Method:
    """Stands in for a preset."""

    def __init__(self, truth: PointTruth) -> None:
        self.stray = Stray(truth)

    def make(self, name: str, options: Options) -> "Method":
        return self

    def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
        raise AssertionError("a method that can be corrected is fitted")

    def fit(self, clip: str, video: Any, seed: int) -> Stray:
        return self.stray


def arguments(out: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    accuracy.add_arguments(parser)
    return parser.parse_args(["--device", "cpu", "--out", str(out / "c.json"), *more])


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Method:
    """A method, for the one clip that there is."""
    truth = truth_of()
    clip = AnnotatedClip("pony", np.zeros((FRAMES, *SIZE, 3), np.uint8), (truth,))
    monkeypatch.setattr(corrections.datasets, "open_datasets", lambda *asked: iter([clip]))
    return Method(truth)


def numbers_of(report: CorrectionsReport, points: str, key: str) -> list[float]:
    return [one.numbers[key] for one in report.outcomes if one.points == points]


def test_corrections_bring_what_the_tracker_makes_of_them(method: Method, tmp_path: Path) -> None:
    said: list[str] = []
    asked = arguments(tmp_path, "--corrections", "2", "--table", str(tmp_path / "c.md"))
    report = accuracy.run(asked, said.append, method.make)
    truth, stray = method.stray.truth, method.stray
    rounds = corrected(stray, truth, 2)
    scores = [truth.score(done.tracks.xy, done.tracks.visible) for done in rounds]
    expected = [score["average_jaccard"] for score in scores]
    assert numbers_of(report, ALL, "average_jaccard") == expected == sorted(expected)
    assert numbers_of(report, ALL, "made") == [len(done.made) for done in rounds]
    mended = np.unique(rounds[-1].made[:, 0]).astype(int)
    part = truth.some(mended)
    of_part = [part.score(d.tracks.xy[mended], d.tracks.visible[mended]) for d in rounds]
    mine = numbers_of(report, CORRECTED, "average_pts_within_thresh")
    assert mine == [score["average_pts_within_thresh"] for score in of_part]
    assert numbers_of(report, CORRECTED, "points") == [len(mended)] * 3
    assert not numbers_of(report, OTHERS, "points")
    assert len(said) == 6 + 1
    again = read_json(tmp_path / "c.json", CorrectionsReport, "accuracy")
    assert to_json(again) == to_json(report)
    assert (tmp_path / "c.md").read_text().startswith("# Corrections")
    json.loads((tmp_path / "c.json").read_text())


def test_half_of_the_points_teach_the_others(method: Method, tmp_path: Path) -> None:
    asked = arguments(tmp_path, "--corrections", "1", "--teach", "--table", str(tmp_path / "c.md"))
    report = accuracy.run(asked, print, method.make)
    everything, lesson = method.stray.lessons
    all_made = corrected(method.stray, method.stray.truth, 1)[-1].made
    assert everything.tolist() == all_made.tolist()
    whole = [one for one in report.outcomes if one.points == ALL and one.corrections == 1]
    assert [one.taught for one in whole] == [False, True]
    assert whole[1].numbers["average_jaccard"] == 1
    assert lesson.tolist() == [row for row in all_made.tolist() if row[0] % 2 == 0]
    assert halves(5).tolist() == [True, False, True, False, True]
    others = [one for one in report.outcomes if one.points == OTHERS]
    assert [(one.taught, one.numbers["made"]) for one in others] == [(False, 0), (True, 0)]
    before, after = numbers_of(report, OTHERS, "average_jaccard")
    assert before < after == 1
    assert [one.taught for one in report.outcomes if one.points == CORRECTED_HALF] == [False, True]
    page = (tmp_path / "c.md").read_text()
    assert (
        f"| others | pony | 3 | {100 * before:.1f} to 100.0 (+{100 * (1 - before):.1f}) |" in page
    )


def test_where_nothing_strays_there_is_nothing_to_teach(method: Method, tmp_path: Path) -> None:
    method.stray.lost_for = FRAMES
    report = accuracy.run(arguments(tmp_path, "--corrections", "1", "--teach"), print, method.make)
    assert method.stray.lessons == []
    assert {one.points for one in report.outcomes} == {ALL, OTHERS}
    assert set(numbers_of(report, OTHERS, "average_jaccard")) == {1.0}


def outcome(clip: str, jaccard: float, seed: int = 0, rounds: int = 0) -> Outcome:
    numbers = {"average_jaccard": jaccard, "points": 2, "made": rounds}
    return Outcome("fast", "made", clip, seed, ALL, rounds, False, numbers)


def test_the_worst_clips_are_those_before_corrections() -> None:
    before = [outcome(f"clip{n}", n / 10) for n in range(8)]
    after = [outcome(f"clip{n}", 1 - n / 10, rounds=1) for n in range(8)]
    twice = [outcome("clip0", 1.6, seed=1)]  # so its mean over seeds is 0.8
    assert worst_clips([*before, *after]) == [f"clip{n}" for n in range(5)]
    assert worst_clips([*before, *twice]) == [f"clip{n}" for n in range(1, 6)]
    assert mean_of(before[:2]) == {"average_jaccard": 0.05, "points": 4, "made": 0}
    page = markdown(CorrectionsReport((), (*before, *after)))
    assert "| the 5 worst clips | 0 | 5 | 20.0 |" in page
    assert "| the 5 worst clips | 1 | 5 | 80.0 |" in page


def test_reports_are_merged_and_the_last_word_holds(tmp_path: Path) -> None:
    first = CorrectionsReport((), (outcome("a", 0.1), outcome("b", 0.2)))
    second = CorrectionsReport((), (outcome("a", 0.3),))
    merged = CorrectionsReport.merged((first, second))
    assert [(one.clip, one.numbers["average_jaccard"]) for one in merged.outcomes] == [
        ("a", 0.3), ("b", 0.2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--teach",), "give --corrections K as well"),
        (("--corrections", "0"), "--corrections 0: give 1 or more"),
        (("--corrections", "1", "--methods", "still"), "still can't be corrected"),
    ],
)
def test_what_cannot_be_simulated(asked: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        accuracy.run(arguments(tmp_path, *asked), print)
