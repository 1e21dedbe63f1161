"""TAP-Vid, BADJA and confidence metrics: golden numbers, slow oracles, and the shared scorer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotrack import metrics
from dinotrack.benchmarks.truth import JointTruth, PointTruth, read_truth
from dinotrack.metrics import Annotation, Joints, Mode

Golden = Callable[[str], dict[str, np.ndarray]]
MODES: tuple[Mode, ...] = ("first", "strided")


def from_tyx(queries: np.ndarray) -> np.ndarray:
    return queries[:, [0, 2, 1]]


def agree(ours: dict[str, float], data: dict[str, np.ndarray], prefix: str) -> None:
    expected = {k.removeprefix(prefix): v.item() for k, v in data.items() if k.startswith(prefix)}
    assert len(expected) == 13
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_golden_metrics(golden: Golden, mode: Mode) -> None:
    data = golden(f"tapvid_metrics_{mode}")
    queries = from_tyx(data["query_points"][0])
    truth = Annotation(queries, data["gt_tracks"][0], ~data["gt_occluded"][0], mode)
    ours = metrics.tapvid_metrics(truth, data["pred_tracks"][0], ~data["pred_occluded"][0])
    agree(ours, data, "metrics/")


@pytest.mark.parametrize("mode", MODES)
def test_golden_queries(golden: Golden, mode: Mode) -> None:
    data = golden("tapvid_queries")
    queries, rows = metrics.sample_queries(data["points"], ~data["occluded"], mode)
    np.testing.assert_allclose(queries, from_tyx(data[f"{mode}/query_points"][0]), rtol=1e-6)
    np.testing.assert_array_equal(data["points"][rows], data[f"{mode}/target_points"][0])
    if mode == "strided":
        np.testing.assert_array_equal(rows, data["strided/trackgroup"][0])
    truth = Annotation(queries, data["points"][rows], ~data["occluded"][rows], mode)
    xy = data[f"{mode}/pred_tracks"][0]
    visible = ~data[f"{mode}/pred_occluded"][0]
    agree(metrics.tapvid_metrics(truth, xy, visible), data, f"{mode}/metrics/")


def test_scale_to_256() -> None:
    scaled = metrics.scale_to_256(np.array([[854.0, 240.0]]), (480, 854))
    np.testing.assert_allclose(scaled, [[256, 128]])


def test_a_scaled_annotation_asks_the_same() -> None:
    queries = np.array([[3, 854.0, 240]])
    truth = Annotation(queries, np.ones((1, 5, 2)), np.ones((1, 5), bool), "first")
    scaled = truth.scaled((480, 854))
    np.testing.assert_allclose(scaled.queries, [[3, 256, 128]])
    np.testing.assert_array_equal(scaled.judged, truth.judged)
    np.testing.assert_array_equal(scaled.visible, truth.visible)


@st.composite
def annotations(draw: st.DrawFn) -> Annotation:
    """Any few points in any few frames, each asked in any frame."""
    count, frames = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    visible = rng.random((count, frames)) < draw(st.floats(0, 1))
    queries = np.zeros((count, 3))
    queries[:, 0] = rng.integers(0, frames, count)
    return Annotation(queries, rng.uniform(0, 99, (count, frames, 2)), visible, "first")


def came_back_slowly(truth: Annotation) -> np.ndarray:
    out = np.zeros_like(truth.visible)
    for n, t in np.argwhere(truth.visible):
        start = int(truth.queries[n, 0])
        gaps = "".join("v" if v else "h" for v in truth.visible[n, start + 1 : t + 1])
        out[n, t] = t > start and "hhh" in gaps
    return out


@settings(deadline=None)
@given(annotations())
def test_came_back_against_a_plain_loop(truth: Annotation) -> None:
    np.testing.assert_array_equal(truth.came_back, came_back_slowly(truth))


def test_some_come_back() -> None:
    visible = np.array([[1, 0, 0, 0, 1, 0, 1], [1, 0, 0, 1, 1, 1, 1]], bool)
    truth = Annotation(np.zeros((2, 3)), np.zeros((2, 7, 2)), visible, "first")
    np.testing.assert_array_equal(np.argwhere(truth.came_back), [[0, 4], [0, 6]])


def redetected_slowly(truth: Annotation, xy: np.ndarray, visible: np.ndarray) -> float:
    """AJ_RD from its definition, return by return and frame by frame."""
    returns: list[tuple[int, float]] = []
    for n, (start, *_) in enumerate(truth.queries):
        gap = longest = 0
        for r in range(int(start) + 1, truth.visible.shape[1]):
            if truth.visible[n, r] and gap > longest:
                longest = gap
                jaccards = []
                for d in (1, 2, 4, 8, 16):
                    right = wrong = there = 0
                    for t in range(r, truth.visible.shape[1]):
                        near = bool(np.hypot(*(xy[n, t] - truth.xy[n, t])) <= d)
                        there += int(truth.visible[n, t])
                        right += int(truth.visible[n, t] and visible[n, t] and near)
                        wrong += int(visible[n, t] and not (truth.visible[n, t] and near))
                    jaccards.append(right / (there + wrong))
                returns.append((gap, sum(jaccards) / 5))
            gap = 0 if truth.visible[n, r] else gap + 1
    kinds = [[value for gap, value in returns if gap >= m] for m in (1, 4, 16, 64, 256)]
    means = [sum(values) / len(values) for values in kinds if values]
    return sum(means) / len(means) if means else float("nan")


@settings(deadline=None)
@given(annotations(), st.integers(0, 2**32 - 1))
def test_redetection_against_a_plain_loop(truth: Annotation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    xy = truth.xy + rng.normal(0, 5, truth.xy.shape)
    visible = truth.visible ^ (rng.random(truth.visible.shape) < 0.3)
    expected = redetected_slowly(truth, xy, visible)
    assert metrics.redetection_jaccard(truth, xy, visible) == pytest.approx(expected, nan_ok=True)


def test_redetection_of_returns_long_enough_for_several_kinds() -> None:
    """80 frames, so that returns after 1, 4, 16 and 64 hidden frames or more are there."""
    rng = np.random.default_rng(3)
    visible = rng.random((6, 80)) < np.array([[0.1], [0.2], [0.5], [0.9], [0.02], [0.02]])
    visible[4, 70], visible[:, 0] = True, True
    visible[4, 1:70] = False
    truth = Annotation(np.zeros((6, 3)), np.zeros((6, 80, 2)), visible, "first")
    assert {int(np.searchsorted(metrics.ABSENCES, g, "right")) for g in truth.absence.flat} == {
        0, 1, 2, 3, 4,
    }  # fmt: skip
    xy, said = rng.normal(0, 5, (6, 80, 2)), rng.random((6, 80)) < 0.5
    expected = redetected_slowly(truth, xy, said)
    assert metrics.redetection_jaccard(truth, xy, said) == pytest.approx(expected)


def one_return() -> tuple[Annotation, np.ndarray, np.ndarray]:
    """Hidden in frames 1 and 4, so that only its first return counts; the last frame is 3 px
    off."""
    visible = np.array([[1, 0, 1, 1, 0, 1]], bool)
    truth = Annotation(np.zeros((1, 3)), np.zeros((1, 6, 2)), visible, "first")
    xy = np.zeros((1, 6, 2))
    xy[0, 5, 0] = 3
    return truth, xy, visible


def test_redetection_by_hand() -> None:
    truth, xy, visible = one_return()
    np.testing.assert_array_equal(truth.absence, [[0, 0, 1, 0, 0, 0]])
    # of three frames, two are right within 1 and 2 px, where the third is also a false positive
    assert metrics.redetection_jaccard(truth, xy, visible) == pytest.approx((2 * 2 / 4 + 3) / 5)
    # said to be visible throughout: frame 4 is one more false positive
    expected = (2 * 2 / 5 + 3 * 3 / 4) / 5
    assert metrics.redetection_jaccard(truth, xy, visible | True) == pytest.approx(expected)
    # never found again
    assert metrics.redetection_jaccard(truth, xy, visible & False) == 0


def test_an_error_of_a_threshold_is_near_enough() -> None:
    truth, xy, visible = one_return()
    xy[0, 5, 0] = 2
    assert metrics.redetection_jaccard(truth, xy, visible) == pytest.approx((2 / 4 + 4) / 5)


def test_longer_absences_count_again() -> None:
    """A second point returns after 4 frames, found, and the first after 1 frame, lost."""
    visible = np.array([[1, 0, 1, 1, 1, 1], [1, 0, 0, 0, 0, 1]], bool)
    truth = Annotation(np.zeros((2, 3)), np.zeros((2, 6, 2)), visible, "first")
    said = visible & np.array([[False], [True]])
    # of returns after 1 frame or more half are found; after 4 or more, all
    assert metrics.redetection_jaccard(truth, truth.xy, said) == pytest.approx((0.5 + 1) / 2)


def test_what_was_hidden_before_the_query_is_not_found_again() -> None:
    visible = np.array([[0, 0, 1, 1, 0, 1]], bool)
    truth = Annotation(np.array([[2.0, 0, 0]]), np.zeros((1, 6, 2)), visible, "strided")
    np.testing.assert_array_equal(truth.absence, [[0, 0, 0, 0, 0, 1]])
    never = Annotation(np.array([[5.0, 0, 0]]), truth.xy, visible, "strided")
    assert np.isnan(metrics.redetection_jaccard(never, truth.xy, visible))


@settings(deadline=None)
@given(annotations())
def test_shares_are_shares_and_the_truth_is_perfect(truth: Annotation) -> None:
    """For any truth and prediction; NaN where nothing was judged."""
    counts = ("n_after", "median_px")
    perfect = metrics.track_metrics(truth, truth.xy, truth.visible, (100, 100))
    assert {v for k, v in perfect.items() if k not in counts and not np.isnan(v)} <= {1.0}
    rng = np.random.default_rng(0)
    xy = truth.xy + rng.normal(0, 4, truth.xy.shape)
    scores = metrics.track_metrics(truth, xy, rng.random(truth.visible.shape) < 0.5, (100, 100))
    assert all(0 <= v <= 1 or np.isnan(v) for k, v in scores.items() if k not in counts)
    assert scores["average_jaccard"] <= scores["average_pts_within_thresh"] or not truth.seen.any()


def seen_points() -> Annotation:
    rng = np.random.default_rng(1)
    xy, visible = rng.uniform(0, 100, (8, 20, 2)), rng.random((8, 20)) < 0.6
    queries, rows = metrics.sample_queries(xy, visible, "first")
    return Annotation(queries, xy[rows], visible[rows], "first")


def test_perfect() -> None:
    truth = seen_points()
    scores = metrics.track_metrics(truth, truth.xy, truth.visible, (100, 100))
    assert scores.pop("n_after") > 0
    assert scores.pop("median_px") == 0
    assert set(scores.values()) == {1.0}


def test_hopeless() -> None:
    truth = seen_points()
    scores = metrics.track_metrics(truth, truth.xy + 1000, ~truth.visible, (100, 100))
    assert scores.pop("n_after") > 0
    assert scores.pop("median_px") == pytest.approx(1000 * 2**0.5)
    assert set(scores.values()) == {0.0}


def test_a_constant_recalls_half() -> None:
    truth = seen_points()
    assert metrics.recall_mean(truth, np.ones_like(truth.visible)) == 0.5
    assert metrics.recall_mean(truth, np.zeros_like(truth.visible)) == 0.5


def test_what_was_never_judged_is_nan_and_leaves_means_alone() -> None:
    truth = Annotation(np.zeros((1, 3)), np.zeros((1, 4, 2)), np.ones((1, 4), bool), "first")
    row = metrics.track_metrics(truth, truth.xy, truth.visible, (9, 9))
    assert np.isnan(row["recall_mean"])
    assert np.isnan(row["after_occlusion"])
    assert row["n_after"] == 0
    other = row | {"recall_mean": 0.25, "after_occlusion": 0.5, "n_after": 3}
    third = row | {"after_occlusion": 1.0, "n_after": 1}
    mean = metrics.mean_metrics([row, other, third])
    assert mean["recall_mean"] == 0.25
    assert mean["after_occlusion"] == pytest.approx(0.625)  # pooled: (3 x 0.5 + 1 x 1) / 4
    assert mean["n_after"] == 4
    assert "after_occlusion" not in metrics.mean_metrics([row])


def test_badja_by_hand() -> None:
    visible = np.array([[True, True, True], [True, False, True]])
    area = np.array([400.0, 400.0, 400.0])  # reach: 0.2 x 20 = 4 px
    xy = np.array([[[9.0, 9.0], [2.9, 0.0], [3.9, 0.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 4.1]]])
    ours = metrics.badja_metrics(Joints(np.zeros((2, 3, 2)), visible, area, 0), xy, (320, 512))
    assert ours == {"pck": pytest.approx(2 / 3), "within_3": pytest.approx(1 / 3), "n": 3}


NAMES = {
    "OA": "occlusion_accuracy",
    "delta": "average_pts_within_thresh",
    "AJ": "average_jaccard",
    "PCK": "pck",
    "within3": "within_3",
}
"""The shared scorer's name of a metric -> ours."""


def predictions(data: Path) -> Iterator[tuple[Path, PointTruth | JointTruth, Any, Any]]:
    """Every truth of the shared folder, with noisy positions and visibility."""
    rng = np.random.default_rng(0)
    paths = [*sorted((data / "eval").glob("davis/*/*.npz")), *sorted((data / "eval").glob("*.npz"))]
    for path in paths:
        truth = read_truth("any", path)
        known = truth.points if isinstance(truth, PointTruth) else truth.joints
        far = rng.exponential(12, (*known.xy.shape[:2], 1))
        xy = known.xy + rng.standard_normal(known.xy.shape) * far
        yield path, truth, xy, known.visible ^ (rng.random(known.visible.shape) < 0.2)


def test_agrees_with_the_shared_scorer(shared_data: Path, shared_score: Any) -> None:
    theirs, ours = [], []
    for path, truth, xy, visible in predictions(shared_data):
        judge = shared_score.tapvid if isinstance(truth, PointTruth) else shared_score.keypoints
        with np.load(path) as arrays:
            theirs.append(judge(dict(arrays), {"tracks": xy, "visible": visible}))
        ours.append(truth.score(xy, visible))
        assert {NAMES.get(name, name) for name in theirs[-1]} <= ours[-1].keys()
        for name, value in theirs[-1].items():
            expected = float("nan") if value is None else value
            assert ours[-1][NAMES.get(name, name)] == pytest.approx(expected, nan_ok=True)
    assert len(ours) > 2
    mean = metrics.mean_metrics(ours)
    for name, value in shared_score.mean(theirs).items():
        assert mean[NAMES.get(name, name)] == pytest.approx(value)
