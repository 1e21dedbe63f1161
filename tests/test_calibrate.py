"""The regression behind confidence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float

from dinotrack import Fitted, fit
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.calibrate import (
    WEIGHTS,
    Sample,
    describe,
    leave_one_out,
    named,
    observe,
    regress,
)
from dinotrack.benchmarks.datasets import generated_clip
from dinotrack.benchmarks.truth import PointTruth
from dinotrack.config import FAST, ConfidenceConfig, override
from dinotrack.tracking.evidence import Evidence

TINY = {
    "training.steps": 2,
    "training.batch": 16,
    "model.widths": "8,8",
    "model.dims": 8,
    "model.blocks": 0,
}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(weights: np.ndarray, count: int, seed: int) -> Sample:
    """Features (1, normal, ...) and truth drawn with the probability that the weights give."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((count, len(weights) - 1))
    features = np.column_stack((np.ones(count), normal)).astype(np.float32)
    return Sample(features, rng.random(count) < sigmoid(features @ weights))


def constant(count: int, true: int) -> Sample:
    """One feature that says nothing, and so many of the observations are true."""
    return Sample(np.ones((count, 1)), np.arange(count) < true)


def test_regress_recovers_the_weights_that_made_the_truth() -> None:
    weights = np.array([-0.5, 1.5, -1.0, 0.0])
    np.testing.assert_allclose(regress([drawn(weights, 20_000, 0)]), weights, atol=0.08)


@pytest.mark.parametrize(
    ("samples", "share"),
    [([constant(9000, 900), constant(10, 9)], 0.5), ([constant(9000, 900)] * 2, 0.1)],
)
def test_every_clip_weighs_the_same(samples: list[Sample], share: float) -> None:
    """A constant feature finds the log-odds of the clips' mean shares, whatever their lengths."""
    assert regress(samples)[0] == pytest.approx(np.log(share / (1 - share)), abs=0.01)


def test_regress_stays_finite_where_truth_is_separable() -> None:
    features = np.column_stack((np.ones(40), np.linspace(-1, 1, 40)))
    weights = regress([Sample(features, features[:, 1] > 0)])
    assert np.isfinite(weights).all()
    assert weights[1] > 5


def test_a_clip_left_out_is_judged_by_the_others() -> None:
    """Two clips that contradict each other are both judged wrongly."""
    features = np.column_stack((np.ones(40), np.linspace(-1, 1, 40)))
    positive = features[:, 1] > 0
    samples = [Sample(features, positive), Sample(features, ~positive)]
    scores = leave_one_out(samples)
    correct = np.concatenate([sample.correct for sample in samples])
    assert ((scores > 0) != correct).all()
    assert describe(scores, samples).startswith("AUROC 0.000")


def test_weights_have_the_names_of_their_evidence() -> None:
    nothing = torch.zeros(1, 2)
    evidence = Evidence(*[nothing] * 6)
    assert tuple(evidence.terms()) == WEIGHTS
    weights = named(np.arange(8) / 8)
    config = override(FAST, {f"inference.confidence.{k}": v for k, v in weights.items()})
    changed = config.inference.confidence
    assert [getattr(changed, name) for name in WEIGHTS] == list(weights.values())
    assert changed.visible == ConfidenceConfig().visible


def test_what_is_observed_is_what_is_judged() -> None:
    """The features make the confidence that tracks have, but for contrast."""
    arguments = {"size": (48, 64), "frames": 5, "seed": 1, "points": 12}
    clip = generated_clip("made", "made", arguments)
    (truth,) = clip.point_truths
    plain = {**TINY, "inference.confidence.contrast": 0.0}
    fitted = fit(clip.video, preset="fast", settings=plain, device="cpu")
    sample = observe(fitted, truth)
    certainty = truth.certainty(*_tracked(fitted, truth))
    weights = [getattr(fitted.config.inference.confidence, name) for name in WEIGHTS]
    np.testing.assert_allclose(sigmoid(sample.features @ weights), certainty.confidence, atol=1e-4)
    np.testing.assert_array_equal(sample.correct, certainty.correct)


def _tracked(
    fitted: Fitted, truth: PointTruth
) -> tuple[Float[np.ndarray, "N T 2"], Float[np.ndarray, "N T"]]:
    tracks = fitted.track(truth.queries)
    return tracks.xy, tracks.confidence


def test_one_truth_is_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "eval").mkdir()
    asked = ["calibrate", "--data", str(tmp_path), "--models", str(tmp_path)]
    assert main(asked) == 2
    assert "no truth files" in capsys.readouterr().err
