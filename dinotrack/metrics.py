"""How good predicted tracks are: TAP-Vid (Doersch et al. 2022) and BADJA (Biggs et al. 2018).

Plain NumPy on plain arrays (`docs/method.md` 7). Every share is a fraction in [0, 1]. A number is
NaN where nothing was there to be judged. Letters: N points, T frames, M samples, B bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Mode = Literal["first", "strided"]
"""How TAP-Vid asks: each point once, where it is first seen; or wherever it is seen in every fifth
frame."""
Scores = dict[str, int | float]
"""Numbers by the name of their metric. Counts are whole numbers."""

THRESHOLDS = (1, 2, 4, 8, 16)
"""Distances, in px at 256 x 256, within which a point counts as found."""
TAPVID_SIDE = 256
"""Px: the sides to which TAP-Vid scales its frames."""
STRIDE = 5
"""Frames from one in which "strided" asks to the next."""
OCCLUDED_FOR = 3
"""Frames that a point must be occluded for, so that its return counts as "after occlusion"."""
BADJA_SIZE = (320, 512)
"""(H, W) to which BADJA scales its frames."""
BADJA_REACH = 0.2
"""Of the square root of the animal's area: the distance within which a joint counts as found."""
BADJA_NEAR = 3.0
"""Px at 512 x 320: the other distance."""


@dataclass(frozen=True)
class Annotation:
    """The truth about N points in T frames, and what is asked about them."""

    queries: Float[np.ndarray, "N 3"]
    """(t, x, y)."""
    xy: Float[np.ndarray, "N T 2"]
    """In the px of the queries, and meaningless where a point is occluded."""
    visible: Bool[np.ndarray, "N T"]
    mode: Mode

    @property
    def judged(self) -> Bool[np.ndarray, "N T"]:
        """The observations that count.

        These are the frames after the query frame ("first"), or all frames but the query frame
        ("strided").
        """
        frames = np.arange(self.visible.shape[1])[None]
        if self.mode == "first":
            return np.asarray(frames > self._query_frame)
        return np.asarray(frames != self._query_frame)

    @property
    def seen(self) -> Bool[np.ndarray, "N T"]:
        """The judged observations in which the point is visible."""
        return np.asarray(self.judged & self.visible)

    @property
    def came_back(self) -> Bool[np.ndarray, "N T"]:
        """The observations after an occlusion.

        In these the point is visible, and it was occluded for 3 frames or more in a row since its
        query frame.
        """
        after = np.arange(self.visible.shape[1])[None] > self._query_frame
        occluded = after & ~self.visible
        run = occluded.copy()
        for lag in range(1, OCCLUDED_FOR):
            run[:, lag:] &= occluded[:, :-lag]
            run[:, :lag] = False
        was_occluded = np.logical_or.accumulate(run, axis=1)
        return np.asarray(after & self.visible & was_occluded)

    @property
    def _query_frame(self) -> Float[np.ndarray, "N 1"]:
        return np.asarray(np.rint(self.queries[:, :1]))

    def scaled(self, size: tuple[int, int]) -> "Annotation":
        """The same truth in frames of 256 x 256, where it now is in frames of `size` (H, W)."""
        asked = scale_to_256(self.queries[:, 1:], size)
        queries = np.concatenate((self.queries[:, :1], asked), axis=1)
        return Annotation(queries, scale_to_256(self.xy, size), self.visible, self.mode)

    def distance(self, xy: Float[np.ndarray, "N T 2"]) -> Float[np.ndarray, "N T"]:
        """How far off predicted positions are, in the px of the truth."""
        return _distance(xy, self.xy)


def sample_queries(
    xy: Float[np.ndarray, "N T 2"], visible: Bool[np.ndarray, "N T"], mode: Mode
) -> tuple[Float[np.ndarray, "M 3"], Int[np.ndarray, " M"]]:
    """The queries (t, x, y) that TAP-Vid asks about annotated tracks, and the track of each.

    "first": every track that is ever visible, at its first visible frame.
    "strided": at frames 0, 5, 10, ..., every track visible there.
    """
    if mode == "first":
        rows = np.flatnonzero(visible.any(1))
        frames = visible[rows].argmax(1)
    else:
        index, rows = np.nonzero(visible[:, ::STRIDE].T)
        frames = index * STRIDE
    return np.concatenate((frames[:, None], xy[rows, frames]), axis=1), rows


def scale_to_256(
    xy: Float[np.ndarray, "... 2"], size: tuple[int, int]
) -> Float[np.ndarray, "... 2"]:
    """Positions in frames of `size` (H, W), as float64 in TAP-Vid's frames of 256 x 256."""
    return np.asarray(xy, float) * (TAPVID_SIDE / size[1], TAPVID_SIDE / size[0])


def tapvid_metrics(
    truth: Annotation, xy: Float[np.ndarray, "N T 2"], visible: Bool[np.ndarray, "N T"]
) -> Scores:
    """The official TAP-Vid metrics of one clip. All positions are px at 256 x 256.

    Keys: occlusion_accuracy; pts_within_d and jaccard_d for d = 1, 2, 4, 8, 16, and their means
    average_pts_within_thresh and average_jaccard.
    """
    said = truth.judged & visible
    distance = truth.distance(xy)
    seen = truth.seen
    out: Scores = {"occlusion_accuracy": _share(visible == truth.visible, truth.judged)}
    for d in THRESHOLDS:
        close = distance < d
        true_positive = close & seen & said
        false_positive = said & ~(truth.visible & close)
        out[f"pts_within_{d}"] = _share(close, seen)
        out[f"jaccard_{d}"] = _ratio(true_positive.sum(), seen.sum() + false_positive.sum())
    out["average_jaccard"] = _over_thresholds(out, "jaccard")
    out["average_pts_within_thresh"] = _over_thresholds(out, "pts_within")
    return out


def recall_mean(truth: Annotation, visible: Bool[np.ndarray, "N T"]) -> float:
    """The mean of the shares of visible and of occluded observations that were named rightly.

    A constant answer scores 0.5.
    """
    occluded = truth.judged & ~truth.visible
    return (_share(visible, truth.seen) + _share(~visible, occluded)) / 2


def after_occlusion(truth: Annotation, xy: Float[np.ndarray, "N T 2"]) -> tuple[float, int]:
    """Position accuracy of points that came back, and how many observations that is.

    The accuracy is the mean over the thresholds. All positions are px at 256 x 256.
    """
    back = truth.came_back
    distance = truth.distance(xy)
    shares = [_share(distance < d, back) for d in THRESHOLDS]
    return float(np.mean(shares)), int(back.sum())


def median_error(truth: Annotation, xy: Float[np.ndarray, "N T 2"]) -> float:
    """The median distance over the judged visible observations, in the px of the positions."""
    seen = truth.seen
    return float(np.median(truth.distance(xy)[seen])) if seen.any() else float("nan")


def track_metrics(
    truth: Annotation,
    xy: Float[np.ndarray, "N T 2"],
    visible: Bool[np.ndarray, "N T"],
    size: tuple[int, int],
) -> Scores:
    """Everything known about one clip with frames of `size` (H, W), in whose px positions are.

    Keys: those of `tapvid_metrics`, recall_mean, after_occlusion with its count n_after, and
    median_px.
    """
    scaled = truth.scaled(size)
    found = scale_to_256(xy, size)
    out = tapvid_metrics(scaled, found, visible)
    out["recall_mean"] = recall_mean(truth, visible)
    out["after_occlusion"], out["n_after"] = after_occlusion(scaled, found)
    out["median_px"] = median_error(truth, xy)
    return out


@dataclass(frozen=True)
class Joints:
    """BADJA's truth about N joints of an animal in T frames, which are all asked in one frame."""

    xy: Float[np.ndarray, "N T 2"]
    visible: Bool[np.ndarray, "N T"]
    area: Float[np.ndarray, " T"]
    """Pixels of the animal's mask."""
    first: int
    """The query frame of all joints. Only later frames are judged."""


def badja_metrics(truth: Joints, xy: Float[np.ndarray, "N T 2"], size: tuple[int, int]) -> Scores:
    """BADJA's metrics, over the visible joints of the judged frames of `size` (H, W).

    Keys: pck, the share within 0.2 sqrt(area); within_3, the share within 3 px at 512 x 320; and n,
    how many joints were judged.
    """
    ratio = np.array((BADJA_SIZE[1] / size[1], BADJA_SIZE[0] / size[0]))
    distance = np.linalg.norm(np.subtract(xy, truth.xy, dtype=float) * ratio, axis=-1)
    judged = truth.visible & (np.arange(truth.xy.shape[1]) > truth.first)
    reach = BADJA_REACH * np.sqrt(truth.area * ratio.prod())
    return {
        "pck": _share(distance < reach, judged),
        "within_3": _share(distance < BADJA_NEAR, judged),
        "n": int(judged.sum()),
    }


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
    return _ratio((count * np.abs(mean - share)).sum(), count.sum())


def auroc(score: Float[np.ndarray, " M"], truth: Bool[np.ndarray, " M"]) -> float:
    """The area under the ROC curve: the chance that a true sample scores above a false one.

    Ties count half. NaN where all samples are true or all are false.
    """
    _, level, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts + 1) / 2)[level]
    true = int(truth.sum())
    above = rank[truth].sum() - true * (true - 1) / 2
    return _ratio(above, true * (len(truth) - true))


def mean_metrics(rows: Sequence[Scores]) -> Scores:
    """The mean over clips of every metric that some clip has. NaN is skipped.

    after_occlusion is pooled over observations, and the counts n and n_after are summed.
    """
    out: Scores = {}
    for key in dict.fromkeys(name for row in rows for name in row):
        values = [row[key] for row in rows if key in row and not np.isnan(row[key])]
        if key in ("n", "n_after"):
            out[key] = int(sum(values))
        elif values:
            out[key] = float(np.mean(values))
    if out.get("n_after"):
        pooled = [row["after_occlusion"] * row["n_after"] for row in rows if row.get("n_after")]
        out["after_occlusion"] = float(sum(pooled) / out["n_after"])
    return out


def _distance(
    a: Float[np.ndarray, "... 2"], b: Float[np.ndarray, "... 2"]
) -> Float[np.ndarray, "..."]:
    return np.asarray(np.linalg.norm(np.subtract(a, b, dtype=float), axis=-1))


def _over_thresholds(scores: Scores, metric: str) -> float:
    return float(np.mean([scores[f"{metric}_{d}"] for d in THRESHOLDS]))


def _share(true: Bool[np.ndarray, "N T"], where: Bool[np.ndarray, "N T"]) -> float:
    return _ratio((true & where).sum(), where.sum())


def _ratio(part: float | np.number[Any], whole: float | np.number[Any]) -> float:
    return float(part / whole) if whole else float("nan")
