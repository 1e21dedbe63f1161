"""Calibration error, its bins, and AUROC: slow oracles, known shifts, and ties."""

import numpy as np
import pytest

from dinotrack import certainty


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_counts_pairs(levels: int) -> None:
    """Ties, many with few levels, count half."""
    rng = np.random.default_rng(levels)
    truth = rng.random(80) < 0.3
    score = np.round((rng.random(80) + 0.3 * truth) * levels) / levels
    above = score[truth][:, None] > score[~truth]
    equal = score[truth][:, None] == score[~truth]
    assert certainty.auroc(score, truth) == pytest.approx(above.mean() + 0.5 * equal.mean())


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, 0.0), (0, 0.5)])
def test_auroc_at_its_ends(sign: int, expected: float) -> None:
    assert certainty.auroc(sign * np.arange(6.0), np.arange(6) > 2) == expected


@pytest.mark.parametrize("shift", [0.0, -0.05])
def test_calibration_error_of_known_shifts(shift: float) -> None:
    """Blocks of 100 samples with one probability each; that share of them is true."""
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    truth = np.concatenate([np.arange(100) < round(100 * level) for level in levels])
    error = certainty.calibration_error(levels.repeat(100) + shift, truth, bins=5)
    assert error == pytest.approx(abs(shift), abs=1e-9)
    assert certainty.calibration_error(np.ones(500), truth, bins=5) >= 0.5 - 1e-9


@pytest.mark.parametrize("levels", [4, 1000])
def test_calibration_does_not_depend_on_order(levels: int) -> None:
    """Equal confidences, many with few levels, share a bin, so that their order doesn't matter."""
    rng = np.random.default_rng(levels)
    confidence = rng.integers(0, levels, 3000) / levels
    truth = rng.random(3000) < confidence
    order = np.argsort(truth, kind="stable")
    ours = certainty.reliability(confidence, truth)
    sorted_ = certainty.reliability(confidence[order], truth[order])
    for one, other in zip(ours, sorted_, strict=True):
        np.testing.assert_allclose(one, other)
    assert certainty.calibration_error(confidence, truth) < 0.05


def test_a_constant_that_is_right_is_calibrated() -> None:
    assert certainty.calibration_error(np.full(200, 0.5), np.arange(200) < 100) == 0


def test_bins_of_reliability_are_equally_full_and_right() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.random(600)
    truth = rng.random(600) < confidence**2
    mean, share, count = certainty.reliability(confidence, truth, bins=6)
    np.testing.assert_array_equal(count, [100] * 6)
    order = np.argsort(confidence).reshape(6, 100)
    np.testing.assert_allclose(mean, confidence[order].mean(axis=1))
    np.testing.assert_allclose(share, truth[order].mean(axis=1))


def test_equal_confidences_share_a_bin() -> None:
    confidence, truth = np.array([0.2, 0.9, 0.9]), np.array([False, True, False])
    found = certainty.reliability(confidence, truth, bins=15)
    np.testing.assert_allclose(np.stack(found), [[0.2, 0.9], [0, 0.5], [1, 2]])


def test_confidence_of_nothing_is_nan() -> None:
    assert np.isnan(certainty.calibration_error(np.zeros(0), np.zeros(0, bool)))
    assert np.isnan(certainty.auroc(np.arange(3.0), np.ones(3, bool)))


def test_certainty_is_pooled_over_its_parts() -> None:
    rng = np.random.default_rng(2)
    confidence, correct = rng.random(50), rng.random(50) < 0.5
    whole = certainty.Certainty(confidence, correct)
    halves = (np.s_[:20], np.s_[20:])
    parts = [certainty.Certainty(confidence[half], correct[half]) for half in halves]
    assert certainty.Certainty.pooled(parts).scores() == whole.scores()
    assert whole.scores() == {
        "ece": certainty.calibration_error(confidence, correct),
        "auroc": certainty.auroc(confidence, correct),
    }
