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


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_counts_pairs(levels: int) -> None:
    """Ties, many with few levels, count half."""
    rng = np.random.default_rng(levels)
    truth = rng.random(80) < 0.3
    score = np.round((rng.random(80) + 0.3 * truth) * levels) / levels
    above = score[truth][:, None] > score[~truth]
    equal = score[truth][:, None] == score[~truth]
    assert metrics.auroc(score, truth) == pytest.approx(above.mean() + 0.5 * equal.mean())


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, 0.0), (0, 0.5)])
def test_auroc_at_its_ends(sign: int, expected: float) -> None:
    assert metrics.auroc(sign * np.arange(6.0), np.arange(6) > 2) == expected


@pytest.mark.parametrize("shift", [0.0, -0.05])
def test_calibration_error_of_known_shifts(shift: float) -> None:
    """Blocks of 100 samples with one probability each; that share of them is true."""
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    truth = np.concatenate([np.arange(100) < round(100 * level) for level in levels])
    error = metrics.calibration_error(levels.repeat(100) + shift, truth, bins=5)
    assert error == pytest.approx(abs(shift), abs=1e-9)
    assert metrics.calibration_error(np.ones(500), truth, bins=5) >= 0.5 - 1e-9


@pytest.mark.parametrize("levels", [4, 1000])
def test_calibration_does_not_depend_on_order(levels: int) -> None:
    """Equal confidences, many with few levels, share a bin, so that their order doesn't matter."""
    rng = np.random.default_rng(levels)
    confidence = rng.integers(0, levels, 3000) / levels
    truth = rng.random(3000) < confidence
    order = np.argsort(truth, kind="stable")
    ours = metrics.reliability(confidence, truth)
    sorted_ = metrics.reliability(confidence[order], truth[order])
    for one, other in zip(ours, sorted_, strict=True):
        np.testing.assert_allclose(one, other)
    assert metrics.calibration_error(confidence, truth) < 0.05


def test_a_constant_that_is_right_is_calibrated() -> None:
    assert metrics.calibration_error(np.full(200, 0.5), np.arange(200) < 100) == 0


def test_bins_of_reliability_are_equally_full_and_right() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.random(600)
    truth = rng.random(600) < confidence**2
    mean, share, count = metrics.reliability(confidence, truth, bins=6)
    np.testing.assert_array_equal(count, [100] * 6)
    order = np.argsort(confidence).reshape(6, 100)
    np.testing.assert_allclose(mean, confidence[order].mean(axis=1))
    np.testing.assert_allclose(share, truth[order].mean(axis=1))


def test_equal_confidences_share_a_bin() -> None:
    confidence, truth = np.array([0.2, 0.9, 0.9]), np.array([False, True, False])
    found = metrics.reliability(confidence, truth, bins=15)
    np.testing.assert_allclose(np.stack(found), [[0.2, 0.9], [0, 0.5], [1, 2]])


def test_confidence_of_nothing_is_nan() -> None:
    assert np.isnan(metrics.calibration_error(np.zeros(0), np.zeros(0, bool)))
    assert np.isnan(metrics.auroc(np.arange(3.0), np.ones(3, bool)))


def test_certainty_is_pooled_over_its_parts() -> None:
    rng = np.random.default_rng(2)
    confidence, correct = rng.random(50), rng.random(50) < 0.5
    whole = metrics.Certainty(confidence, correct)
    halves = (np.s_[:20], np.s_[20:])
    parts = [metrics.Certainty(confidence[half], correct[half]) for half in halves]
    assert metrics.Certainty.pooled(parts).scores() == whole.scores()
    assert whole.scores() == {
        "ece": metrics.calibration_error(confidence, correct),
        "auroc": metrics.auroc(confidence, correct),
    }
