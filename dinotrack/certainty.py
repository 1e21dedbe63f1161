"""Whether confidence means what it says (`docs/method.md` 7).

Plain NumPy on plain arrays. Letters: M observations, B bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dinotrack.metrics import Scores, ratio


@dataclass(frozen=True)
class Certainty:
    """How sure a method was in M observations, and whether it was right."""

    confidence: Float[np.ndarray, " M"]
    """In [0, 1]."""
    correct: Bool[np.ndarray, " M"]

    @staticmethod
    def pooled(parts: Sequence["Certainty"]) -> "Certainty":
        """The observations of several."""
        return Certainty(
            np.concatenate([part.confidence for part in parts]),
            np.concatenate([part.correct for part in parts]),
        )

    def scores(self) -> Scores:
        """ece, the calibration error, and auroc."""
        return {
            "ece": calibration_error(self.confidence, self.correct),
            "auroc": auroc(self.confidence, self.correct),
        }


def reliability(
    confidence: Float[np.ndarray, " M"], truth: Bool[np.ndarray, " M"], bins: int = 15
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"], Int[np.ndarray, " B"]]:
    """Whether confidence means what it says, by bins of rising confidence.

    Of each bin: the mean confidence, the share of truth, and the count. Bins hold equally many
    samples, as far as equal confidences, which share a bin, let them. Empty bins are left out.
    """
    _, level, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # a level lies where the middle of its samples does
    label = np.floor(middle * bins / max(len(truth), 1)).astype(int)[level]
    count = np.bincount(label, minlength=bins)
    held = count > 0
    total = np.bincount(label, confidence, minlength=bins)
    true = np.bincount(label, truth, minlength=bins)
    return total[held] / count[held], true[held] / count[held], count[held]


def calibration_error(
    confidence: Float[np.ndarray, " M"], truth: Bool[np.ndarray, " M"], bins: int = 15
) -> float:
    """The expected calibration error: how far confidence lies from the share of truth.

    The mean over the samples of `reliability`'s bins; NaN without any.
    """
    mean, share, count = reliability(confidence, truth, bins)
    return ratio((count * np.abs(mean - share)).sum(), count.sum())


def auroc(score: Float[np.ndarray, " M"], truth: Bool[np.ndarray, " M"]) -> float:
    """The area under the ROC curve: the chance that a true sample scores above a false one.

    Ties count half. NaN where all samples are true or all are false.
    """
    _, level, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts + 1) / 2)[level]
    true = int(truth.sum())
    above = rank[truth].sum() - true * (true - 1) / 2
    return ratio(above, true * (len(truth) - true))
