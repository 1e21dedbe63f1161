"""The regressions behind visibility and confidence."""

import numpy as np
import pytest

from dinotrack.benchmarks.calibrate import regress


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(weights: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (1, normal, ...) and truth drawn with the probability that the weights give."""
    rng = np.random.default_rng(seed)
    features = np.column_stack(
        (np.ones(count), rng.standard_normal((count, len(weights) - 1)))
    ).astype(np.float32)
    return features, rng.random(count) < sigmoid(features @ weights)


def test_regress_recovers_the_weights_that_made_the_truth() -> None:
    weights = np.array([-0.5, 1.5, -1.0, 0.0])
    np.testing.assert_allclose(regress([drawn(weights, 20_000, 0)]), weights, atol=0.08)


def test_every_clip_weighs_the_same() -> None:
    """A constant feature finds the log-odds of the clips' mean shares, whatever their lengths."""
    many, few = (np.ones((9000, 1)), np.arange(9000) < 900), (np.ones((10, 1)), np.arange(10) < 9)
    assert regress([many, few])[0] == pytest.approx(0.0, abs=1e-3)
    assert regress([many, many])[0] == pytest.approx(np.log(0.1 / 0.9), abs=0.01)


def test_regress_stays_finite_where_truth_is_separable() -> None:
    features = np.column_stack((np.ones(40), np.linspace(-1, 1, 40)))
    weights = regress([(features, features[:, 1] > 0)])
    assert np.isfinite(weights).all()
    assert weights[1] > 5
