"""How good predicted tracks are: TAP-Vid (Doersch et al. 2022), AJ_RD (Jung et al. 2026) and BADJA
(Biggs et al. 2018).

Plain NumPy on plain arrays (`docs/method.md` 7). Every share is a fraction in [0, 1]. A number is
NaN where nothing was there to be judged. Letters: N points, T frames, M queries.
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
ABSENCES = (1, 4, 16, 64, 256)
"""Frames that a point was occluded for at least: AJ_RD is a mean over these kinds of returns."""
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
    def absence(self) -> Int[np.ndarray, "N T"]:
        """For how many frames in a row a point was occluded, where it has just returned; 0
        elsewhere.

        A return counts where the occlusion was longer than all before it since the query frame.
        """
        frames = np.arange(self.visible.shape[1])[None]
        after = frames > self._query_frame
        last = np.maximum.accumulate(np.where(after & ~self.visible, 0, frames), axis=1)
        gap = np.zeros(self.visible.shape, int)
        gap[:, 1:] = frames[:, 1:] - 1 - last[:, :-1]  # since the last frame of no occlusion
        gap[~(after & self.visible)] = 0
        longest = np.maximum.accumulate(gap, axis=1)
        gap[:, 1:][gap[:, 1:] <= longest[:, :-1]] = 0
        return gap

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
        out[f"jaccard_{d}"] = ratio(true_positive.sum(), seen.sum() + false_positive.sum())
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


def redetection_jaccard(
    truth: Annotation, xy: Float[np.ndarray, "N T 2"], visible: Bool[np.ndarray, "N T"]
) -> float:
    """AJ_RD of TAPNext++: how well points that came back are held from there to the end.

    All positions are px at 256 x 256. NaN where no point came back.
    """
    absence = truth.absence
    points, starts = np.nonzero(absence)
    averages = [
        _jaccard_from_on(truth, truth.distance(xy) <= d, visible)[points, starts]
        for d in THRESHOLDS
    ]
    average = np.mean(averages, axis=0)
    long = [absence[points, starts] >= least for least in ABSENCES]
    kinds = [average[held].mean() for held in long if held.any()]
    return float(np.mean(kinds)) if kinds else float("nan")


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

    Keys: those of `tapvid_metrics`, recall_mean, after_occlusion with its count n_after,
    redetection_jaccard, and median_px.
    """
    scaled = truth.scaled(size)
    found = scale_to_256(xy, size)
    out = tapvid_metrics(scaled, found, visible)
    out["recall_mean"] = recall_mean(truth, visible)
    out["after_occlusion"], out["n_after"] = after_occlusion(scaled, found)
    out["redetection_jaccard"] = redetection_jaccard(scaled, found, visible)
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


def _jaccard_from_on(
    truth: Annotation, close: Bool[np.ndarray, "N T"], visible: Bool[np.ndarray, "N T"]
) -> Float[np.ndarray, "N T"]:
    """The Jaccard of each point over each frame and all later ones, 0 where that is of nothing."""
    found = truth.visible & close
    true_positive = _from_on(found & visible)
    whole = _from_on(truth.visible) + _from_on(visible & ~found)
    return np.asarray(true_positive / np.maximum(whole, 1))


def _from_on(counted: Bool[np.ndarray, "N T"]) -> Int[np.ndarray, "N T"]:
    """How many there are in each frame and all later ones."""
    return np.asarray(counted[:, ::-1].cumsum(axis=1)[:, ::-1])


def _over_thresholds(scores: Scores, metric: str) -> float:
    return float(np.mean([scores[f"{metric}_{d}"] for d in THRESHOLDS]))


def _share(true: Bool[np.ndarray, "N T"], where: Bool[np.ndarray, "N T"]) -> float:
    return ratio((true & where).sum(), where.sum())


def ratio(part: float | np.number[Any], whole: float | np.number[Any]) -> float:
    """One number by the other; NaN where that is 0."""
    return float(part / whole) if whole else float("nan")
