"""What a fit said of a clip's queries, beside the truth, and where it went wrong.

Letters: N points, T frames that the truth knows, S >= T frames of the video.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dinotrack.benchmarks.truth import NEAR, PointTruth
from dinotrack.certainty import Certainty
from dinotrack.fitted import Fitted
from dinotrack.report.likeness import best_cells

WORST = 6
"""Points that are looked at."""


@dataclass(frozen=True)
class Case:
    """One fit and one truth."""

    name: str
    """Of the page."""
    fitted: Fitted
    truth: PointTruth
    xy: Float[np.ndarray, "N T 2"]
    """Px of the video."""
    visible: Bool[np.ndarray, "N T"]
    confidence: Float[np.ndarray, "N T"]
    error: Float[np.ndarray, "N T"]
    """Px at 256 x 256; 0 where the truth is hidden."""
    best: Float[np.ndarray, "N T 2"]
    """Px of the video: the cell whose feature is most similar to the query's."""

    @property
    def true_xy(self) -> Float[np.ndarray, "N T 2"]:
        """Px of the video."""
        return self.truth.points.xy

    @property
    def true_visible(self) -> Bool[np.ndarray, "N T"]:
        """Where the truth is not hidden."""
        return self.truth.points.visible

    @property
    def judged(self) -> Bool[np.ndarray, "N T"]:
        """What TAP-Vid looks at."""
        return self.truth.points.judged

    @property
    def seen(self) -> Bool[np.ndarray, "N T"]:
        """Judged and truly visible."""
        return self.truth.points.seen

    @property
    def query_frame(self) -> Int[np.ndarray, " N"]:
        """The frame of each query."""
        return np.asarray(np.rint(self.truth.queries[:, 0]).astype(int))

    @property
    def certainty(self) -> Certainty:
        """Confidence in the judged observations, and whether the point was visible and near."""
        return self.truth.certainty(self.xy, self.confidence)

    def wrong(self, said: bool) -> Bool[np.ndarray, "N T"]:
        """The judged observations whose visibility was `said`, wrongly."""
        mistaken = (self.visible == said) & (self.true_visible != said)
        return np.asarray(self.judged & mistaken)


@dataclass(frozen=True)
class Faults:
    """Whose fault large errors are.

    Where the best cell is right, the features knew and the path went wrong. Elsewhere the features
    prefer another place.
    """

    seen: int
    """Judged visible observations."""
    path: int
    """Those off by NEAR or more whose best cell is nearer than that."""
    features: int
    """Those off by NEAR or more whose best cell is off by as much."""


def compare(name: str, fitted: Fitted, truth: PointTruth) -> Case:
    """Look at a truth's queries and track them, and see how far off they are."""
    fitted = fitted.focus(truth.queries)
    tracks = fitted.track(truth.queries)
    part = np.s_[:, : truth.frames]
    error = np.where(truth.points.visible, truth.distance(tracks.xy), 0.0)
    return Case(
        name=name,
        fitted=fitted,
        truth=truth,
        xy=tracks.xy[part],
        visible=tracks.visible[part],
        confidence=tracks.confidence[part],
        error=error,
        best=best_cells(fitted, truth.queries)[part],
    )


def faults(case: Case) -> Faults:
    """How often the path and how often the features are to blame."""
    bad = case.seen & (case.error >= NEAR)
    knew = bad & (case.truth.distance(case.best) < NEAR)
    return Faults(int(case.seen.sum()), int(knew.sum()), int((bad & ~knew).sum()))


def worst_points(case: Case, count: int = WORST) -> list[int]:
    """The rows with the largest mean error, the worst first.

    Errors are capped at four times NEAR, so that one leap isn't all that counts.
    """
    seen = case.seen
    total = (case.error.clip(max=4 * NEAR) * seen).sum(axis=1)
    mean = total / seen.sum(axis=1).clip(min=1)
    order = np.argsort(-mean, kind="stable")[:count]
    return [int(n) for n in order if mean[n] > 0]


def mistakes(case: Case, said: bool) -> list[tuple[int, int]]:
    """(point, frame) of the surest mistakes where visibility was `said`, wrongly; one a point."""
    wrong = case.wrong(said)
    doubt = np.where(wrong, -case.confidence if said else case.confidence, np.inf)
    frame = doubt.argmin(axis=1)
    order = np.argsort(doubt.min(axis=1), kind="stable")[:WORST]
    return [(int(n), int(frame[n])) for n in order if wrong[n].any()]
