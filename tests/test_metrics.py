"""TAP-Vid, BADJA and confidence metrics: golden numbers, slow oracles, and the shared scorer."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotrack import metrics

Golden = Callable[[str], dict[str, np.ndarray]]


def from_tyx(queries: np.ndarray) -> np.ndarray:
    return queries[:, [0, 2, 1]]


def agree(ours: dict[str, float], data: dict[str, np.ndarray], prefix: str) -> None:
    expected = {k.removeprefix(prefix): v.item() for k, v in data.items() if k.startswith(prefix)}
    assert len(expected) == 13
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_golden_metrics(golden: Golden, mode: metrics.Mode) -> None:
    data = golden(f"tapvid_metrics_{mode}")
    arrays = [
        data[k][0]
        for k in ("query_points", "gt_tracks", "gt_occluded", "pred_tracks", "pred_occluded")
    ]
    queries, true_xy, true_hidden, xy, hidden = arrays
    ours = metrics.tapvid_metrics(from_tyx(queries), true_xy, ~true_hidden, xy, ~hidden, mode)
    agree(ours, data, "metrics/")


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_golden_queries(golden: Golden, mode: metrics.Mode) -> None:
    data = golden("tapvid_queries")
    queries, rows = metrics.sample_queries(data["points"], ~data["occluded"], mode)
    np.testing.assert_allclose(queries, from_tyx(data[f"{mode}/query_points"][0]), rtol=1e-6)
    np.testing.assert_array_equal(data["points"][rows], data[f"{mode}/target_points"][0])
    if mode == "strided":
        np.testing.assert_array_equal(rows, data["strided/trackgroup"][0])
    xy, visible = data[f"{mode}/pred_tracks"][0], ~data[f"{mode}/pred_occluded"][0]
    ours = metrics.tapvid_metrics(
        queries, data["points"][rows], ~data["occluded"][rows], xy, visible, mode
    )
    agree(ours, data, f"{mode}/metrics/")


def test_scale_to_256() -> None:
    np.testing.assert_allclose(
        metrics.scale_to_256(np.array([[854.0, 240.0]]), (480, 854)), [[256, 128]]
    )


def came_back_slowly(queries: np.ndarray, visible: np.ndarray) -> np.ndarray:
    out = np.zeros_like(visible)
    for n, t in np.argwhere(visible):
        start = int(queries[n, 0])
        gaps = "".join("v" if v else "h" for v in visible[n, start + 1 : t + 1])
        out[n, t] = t > start and "hhh" in gaps
    return out


def test_came_back_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    visible = rng.random((200, 25)) < 0.5
    queries = np.stack((rng.integers(0, 25, 200), np.zeros(200), np.zeros(200)), -1).astype(float)
    ours = metrics.came_back(queries, visible)
    np.testing.assert_array_equal(ours, came_back_slowly(queries, visible))
    assert ours.any()


def test_perfect_and_hopeless() -> None:
    rng = np.random.default_rng(1)
    xy, visible = rng.uniform(0, 100, (8, 20, 2)), rng.random((8, 20)) < 0.6
    queries, rows = metrics.sample_queries(xy, visible, "first")
    xy, visible = xy[rows], visible[rows]
    perfect = metrics.track_metrics(queries, xy, visible, xy, visible, (100, 100), "first")
    assert perfect.pop("n_after") > 0
    assert perfect.pop("median_px") == 0
    assert set(perfect.values()) == {1.0}
    hopeless = metrics.track_metrics(queries, xy, visible, xy + 1000, ~visible, (100, 100), "first")
    assert hopeless.pop("n_after") > 0
    assert hopeless.pop("median_px") == pytest.approx(1000 * 2**0.5)
    assert set(hopeless.values()) == {0.0}
    constant = metrics.track_metrics(
        queries, xy, visible, xy, np.ones_like(visible), (100, 100), "first"
    )
    assert constant["recall_mean"] == 0.5


def test_what_was_never_judged_is_nan_and_leaves_means_alone() -> None:
    xy, visible, queries = np.zeros((1, 4, 2)), np.ones((1, 4), bool), np.zeros((1, 3))
    row = metrics.track_metrics(queries, xy, visible, xy, visible, (9, 9), "first")
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
    true_xy = np.zeros((2, 3, 2))
    visible = np.array([[True, True, True], [True, False, True]])
    xy = np.array([[[9.0, 9.0], [2.9, 0.0], [3.9, 0.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 4.1]]])
    area = np.array([400.0, 400.0, 400.0])  # reach: 0.2 x 20 = 4 px
    ours = metrics.badja_metrics(true_xy, visible, area, 0, xy, (320, 512))
    assert ours == {"pck": pytest.approx(2 / 3), "within_3": pytest.approx(1 / 3), "n": 3}


NAMES = {
    "OA": "occlusion_accuracy",
    "delta": "average_pts_within_thresh",
    "AJ": "average_jaccard",
    "PCK": "pck",
}
NAMES |= {"within3": "within_3"}


def load_score(shared_data: Path) -> Any:
    """The module eval/score.py."""
    spec = importlib.util.spec_from_file_location("score", shared_data / "eval" / "score.py")
    assert spec is not None
    assert spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    return score


def test_agrees_with_the_shared_scorer(shared_data: Path) -> None:
    score = load_score(shared_data)
    rng, theirs, ours = np.random.default_rng(0), [], []
    truths = sorted((shared_data / "eval").glob("davis/*/*.npz")) + sorted(
        (shared_data / "eval").glob("*.npz")
    )
    for path in truths:
        with np.load(path) as file:
            truth = dict(file)
        size = tuple(truth["size"].tolist())
        true_xy = truth["tracks"] if "tracks" in truth else truth["keypoints"]
        xy = true_xy + rng.standard_normal(true_xy.shape) * rng.exponential(
            12, (*true_xy.shape[:2], 1)
        )
        visible = truth["visible"] ^ (rng.random(truth["visible"].shape) < 0.2)
        if "tracks" in truth:
            theirs.append(score.tapvid(truth, {"tracks": xy, "visible": visible}))
            mode = "strided" if "mode" in truth else "first"
            row = metrics.track_metrics(
                truth["query"], true_xy, truth["visible"], xy, visible, size, mode
            )
        else:
            theirs.append(score.keypoints(truth, {"tracks": xy, "visible": visible}))
            first = int(truth["annotated"][0])
            row = metrics.badja_metrics(true_xy, truth["visible"], truth["area"], first, xy, size)
        ours.append(row)
        assert {NAMES.get(k, k) for k in theirs[-1]} <= row.keys()
        for key, value in theirs[-1].items():
            assert row[NAMES.get(key, key)] == pytest.approx(
                float("nan") if value is None else value, nan_ok=True
            )
    assert len(truths) > 2
    mean = metrics.mean_metrics(ours)
    for key, value in score.mean(theirs).items():
        assert mean[NAMES.get(key, key)] == pytest.approx(value)


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_counts_pairs(levels: int) -> None:
    """Ties, many with few levels, count half."""
    rng = np.random.default_rng(levels)
    truth = rng.random(80) < 0.3
    score = np.round((rng.random(80) + 0.3 * truth) * levels) / levels
    above = (score[truth][:, None] > score[~truth]).mean() + 0.5 * (
        score[truth][:, None] == score[~truth]
    ).mean()
    assert metrics.auroc(score, truth) == pytest.approx(above)


def test_auroc_at_its_ends() -> None:
    score, truth = np.arange(6.0), np.arange(6) > 2
    assert metrics.auroc(score, truth) == 1.0
    assert metrics.auroc(-score, truth) == 0.0
    assert metrics.auroc(np.zeros(6), truth) == 0.5


def test_calibration_error_of_known_shifts() -> None:
    """Blocks of 100 samples with one probability each; that share of them is true."""
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    probability = levels.repeat(100)
    truth = np.concatenate([np.arange(100) < round(100 * level) for level in levels])
    assert metrics.calibration_error(probability, truth, bins=5) == pytest.approx(0.0, abs=1e-9)
    assert metrics.calibration_error(probability - 0.05, truth, bins=5) == pytest.approx(0.05)
    assert metrics.calibration_error(np.ones(500), truth, bins=5) >= 0.5 - 1e-9


@pytest.mark.parametrize("levels", [4, 1000])
def test_calibration_does_not_depend_on_order(levels: int) -> None:
    """Equal confidences, many with few levels, share a bin, so that their order doesn't matter."""
    rng = np.random.default_rng(levels)
    confidence = rng.integers(0, levels, 3000) / levels
    truth = rng.random(3000) < confidence
    sorted_by_truth = np.argsort(truth, kind="stable")
    expected = metrics.reliability(confidence, truth)
    for ours, other in zip(
        metrics.reliability(confidence[sorted_by_truth], truth[sorted_by_truth]),
        expected,
        strict=True,
    ):
        np.testing.assert_allclose(ours, other)
    assert metrics.calibration_error(confidence, truth) < 0.05
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
    mean, share, count = metrics.reliability(
        np.array([0.2, 0.9, 0.9]), np.array([False, True, False]), bins=15
    )
    np.testing.assert_allclose(np.stack((mean, share, count)), [[0.2, 0.9], [0, 0.5], [1, 2]])


def test_confidence_of_nothing_is_nan() -> None:
    assert np.isnan(metrics.calibration_error(np.zeros(0), np.zeros(0, bool)))
    assert np.isnan(metrics.auroc(np.arange(3.0), np.ones(3, bool)))
