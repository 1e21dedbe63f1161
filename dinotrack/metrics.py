"""How good predicted tracks are: TAP-Vid (METHOD 7; Doersch et al., 2022) and BADJA (Biggs et al.,
2018).

Plain NumPy on plain arrays. Every share is a fraction in [0, 1]; NaN where nothing was there to be
judged.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mode = Literal["first", "strided"]

THRESHOLDS = (1, 2, 4, 8, 16)  # px at 256 x 256
HIDDEN_FOR = 3  # frames without sight after which a return counts as "after occlusion"
BADJA_SIZE = (320, 512)  # (H, W) to which BADJA scales its frames


def sample_queries(xy: Array, visible: Array, mode: Mode, stride: int = 5) -> tuple[Array, Array]:
    """The queries TAP-Vid asks of annotated tracks.

    xy [N, T, 2], visible [N, T] -> queries [M, 3] as (t, x, y), and int rows [M]: the track each
    query was taken from.
    "first": every track that is ever visible, at its first visible frame.
    "strided": at frames 0, stride, 2 stride, ..., every track visible there.
    """
    if mode == "first":
        rows = np.flatnonzero(visible.any(1))
        frames = visible[rows].argmax(1)
    else:
        index, rows = np.nonzero(visible[:, ::stride].T)
        frames = index * stride
    return np.concatenate((frames[:, None], xy[rows, frames]), axis=1), rows


def scale_to_256(xy: Array, size: tuple[int, int]) -> Array:
    """Positions [..., 2] of frames of size (H, W) in TAP-Vid's 256 x 256: x 256 / W, y 256 / H."""
    return np.asarray(xy, float) * (256 / size[1], 256 / size[0])


def evaluated_frames(queries: Array, frames: int, mode: Mode) -> Array:
    """Which frames count, bool [N, T]: those after the query's ("first") or all but the query's
    ("strided")."""
    now, asked = np.arange(frames)[None], np.rint(queries[:, :1])
    return np.asarray(now > asked if mode == "first" else now != asked)


def tapvid_metrics(
    queries: Array, true_xy: Array, true_visible: Array, xy: Array, visible: Array, mode: Mode
) -> dict[str, float]:
    """The official TAP-Vid metrics of one clip.

    queries [N, 3] (t, x, y); true_xy, xy [N, T, 2] at 256 x 256 (`scale_to_256`); true_visible,
    visible bool [N, T].
    Keys: occlusion_accuracy; pts_within_d and jaccard_d for d = 1, 2, 4, 8, 16, and their means
    average_pts_within_thresh and average_jaccard.
    """
    judged = evaluated_frames(queries, true_xy.shape[1], mode)
    seen, said = judged & true_visible, judged & visible
    error = np.linalg.norm(np.subtract(xy, true_xy, dtype=float), axis=-1)
    out = {"occlusion_accuracy": _share(visible == true_visible, judged)}
    for d in THRESHOLDS:
        close = error < d
        false_positive = said & ~(true_visible & close)
        out[f"pts_within_{d}"] = _share(close, seen)
        out[f"jaccard_{d}"] = _ratio((close & seen & said).sum(), seen.sum() + false_positive.sum())
    out["average_jaccard"] = float(np.mean([out[f"jaccard_{d}"] for d in THRESHOLDS]))
    out["average_pts_within_thresh"] = float(np.mean([out[f"pts_within_{d}"] for d in THRESHOLDS]))
    return out


def recall_mean(queries: Array, true_visible: Array, visible: Array, mode: Mode) -> float:
    """Mean of the share of visible and the share of hidden frames named rightly; 0.5 for a constant
    answer."""
    judged = evaluated_frames(queries, true_visible.shape[1], mode)
    return (_share(visible, judged & true_visible) + _share(~visible, judged & ~true_visible)) / 2


def came_back(queries: Array, true_visible: Array) -> Array:
    """Observations after an occlusion, bool [N, T]: visible, and hidden for 3 frames or more since
    the query."""
    after = np.arange(true_visible.shape[1])[None] > np.rint(queries[:, :1])
    hidden = after & ~true_visible
    run = hidden.copy()
    for lag in range(1, HIDDEN_FOR):
        run[:, lag:] &= hidden[:, :-lag]
        run[:, :lag] = False
    return np.asarray(after & true_visible & np.logical_or.accumulate(run, axis=1))


def after_occlusion(
    queries: Array, true_xy: Array, true_visible: Array, xy: Array
) -> tuple[float, int]:
    """Position accuracy (mean over the thresholds) of points that came back, and how many
    observations that is.

    Positions at 256 x 256, shapes as in `tapvid_metrics`.
    """
    back = came_back(queries, true_visible)
    error = np.linalg.norm(np.subtract(xy, true_xy, dtype=float), axis=-1)
    return float(np.mean([_share(error < d, back) for d in THRESHOLDS])), int(back.sum())


def median_error(
    queries: Array, true_xy: Array, true_visible: Array, xy: Array, mode: Mode
) -> float:
    """Median distance over the judged visible observations, in the unit of the positions."""
    seen = evaluated_frames(queries, true_xy.shape[1], mode) & true_visible
    error = np.linalg.norm(np.subtract(xy, true_xy, dtype=float), axis=-1)
    return float(np.median(error[seen])) if seen.any() else float("nan")


def track_metrics(
    queries: Array,
    true_xy: Array,
    true_visible: Array,
    xy: Array,
    visible: Array,
    size: tuple[int, int],
    mode: Mode,
) -> dict[str, float]:
    """Everything known about one clip: `tapvid_metrics` at 256 x 256, recall_mean, after_occlusion
    with its count n_after, and median_px. Positions in px of frames of `size` (H, W)."""
    truth, found = scale_to_256(true_xy, size), scale_to_256(xy, size)
    out = tapvid_metrics(queries, truth, true_visible, found, visible, mode)
    out["recall_mean"] = recall_mean(queries, true_visible, visible, mode)
    out["after_occlusion"], out["n_after"] = after_occlusion(queries, truth, true_visible, found)
    out["median_px"] = median_error(queries, true_xy, true_visible, xy, mode)
    return out


def badja_metrics(
    true_xy: Array, true_visible: Array, area: Array, first: int, xy: Array, size: tuple[int, int]
) -> dict[str, float]:
    """BADJA at 512 x 320, over the visible joints of frames after `first` (where the queries are).

    true_xy, xy [N, T, 2] px of frames of `size` (H, W), true_visible [N, T], area [T] mask pixels
    of each frame.
    Keys: pck, within 0.2 sqrt(area); within_3, within 3 px; n, how many joints were judged.
    """
    ratio = np.array((BADJA_SIZE[1] / size[1], BADJA_SIZE[0] / size[0]))
    error = np.linalg.norm(np.subtract(xy, true_xy, dtype=float) * ratio, axis=-1)
    judged = true_visible & (np.arange(true_xy.shape[1]) > first)
    reach = 0.2 * np.sqrt(area * ratio.prod())
    return {
        "pck": _share(error < reach, judged),
        "within_3": _share(error < 3, judged),
        "n": int(judged.sum()),
    }


def reliability(confidence: Array, truth: Array, bins: int = 15) -> tuple[Array, Array, Array]:
    """Whether confidence means what it says: mean confidence, share of truth and count of each bin,
    ascending.

    confidence [M], truth bool [M]. Bins hold equally many samples, as far as equal confidences,
    which share one, let them; empty ones are left out.
    """
    _, level, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # a level lies where the middle of its samples does
    label = np.floor(middle * bins / max(len(truth), 1)).astype(int)[level]
    count = np.bincount(label, minlength=bins)
    held = count > 0
    sums = (np.bincount(label, values, minlength=bins)[held] for values in (confidence, truth))
    mean, share = (total / count[held] for total in sums)
    return mean, share, count[held]


def calibration_error(confidence: Array, truth: Array, bins: int = 15) -> float:
    """Expected calibration error: how far confidence [M] lies from the share of truth bool [M],
    mean over `bins` bins of equal mass (`reliability`). NaN for no samples."""
    mean, share, count = reliability(confidence, truth, bins)
    return _ratio((count * np.abs(mean - share)).sum(), count.sum())


def auroc(score: Array, truth: Array) -> float:
    """Area under the ROC curve: the chance that a true sample scores above a false one; ties count
    half.

    score [M], truth bool [M]. NaN where all are true or all false.
    """
    _, level, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts + 1) / 2)[level]
    true = int(truth.sum())
    return _ratio(rank[truth].sum() - true * (true - 1) / 2, true * (len(truth) - true))


def mean_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over clips of every metric that some clip has (NaN skipped). after_occlusion is pooled
    over observations; counts (n, n_after) are summed."""
    out: dict[str, float] = {}
    for key in dict.fromkeys(k for row in rows for k in row):
        values = [row[key] for row in rows if key in row and not np.isnan(row[key])]
        if key in ("n", "n_after"):
            out[key] = int(sum(values))
        elif values:
            out[key] = float(np.mean(values))
    if out.get("n_after"):
        pooled = [row["after_occlusion"] * row["n_after"] for row in rows if row.get("n_after")]
        out["after_occlusion"] = float(sum(pooled) / out["n_after"])
    return out


def _share(true: Array, where: Array) -> float:
    return _ratio((true & where).sum(), where.sum())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
