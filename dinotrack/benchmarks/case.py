"""What a fit said of a clip's queries, beside the truth, and where it went wrong.

Letters: N points, T frames that the truth knows, S >= T frames of the video.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.api import Fitted
from dinotrack.benchmarks.truth import NEAR, PointTruth
from dinotrack.certainty import Certainty
from dinotrack.correlation import correlation_maps
from dinotrack.geometry import rescale

WORST = 6
"""Points that are looked at."""
MOMENTS = 5
"""Frames that are looked at of each."""
APART = 3
"""Frames between these, as neighbours look alike."""


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
    """Track a truth's queries, and see how far off they are."""
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


@torch.no_grad()
def correlations(
    fitted: Fitted, queries: Float[np.ndarray, "N 3"], t: int
) -> Float[Tensor, "N h w"]:
    """Cosines between the features at queries (t, x, y), px of the video, and all cells of a frame
    t."""
    working = fitted.working_queries(queries.astype(np.float32))
    vectors = fitted.maps.at_queries(working)
    return correlation_maps(vectors, fitted.maps[t : t + 1].values)


def best_cells(fitted: Fitted, queries: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N S 2"]:
    """Where in every frame the feature most similar to the query's lies: px of the video, a cell
    coarse."""
    centres = fitted.maps.grid.centres(fitted.maps.device)
    best = [
        correlations(fitted, queries, t).flatten(1).argmax(dim=1) for t in range(len(fitted.maps))
    ]
    xy = torch.stack([centres[cells] for cells in best], dim=1)
    return rescale(xy, fitted.flow.size, fitted.video.size).cpu().numpy()


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


def moments(
    error: Float[np.ndarray, " T"], where: Bool[np.ndarray, " T"], count: int = MOMENTS
) -> list[int]:
    """The frames of the largest errors, APART or more from each other, in time's order.

    where: the frames that may be chosen.
    """
    chosen: list[int] = []
    for t in np.argsort(-error, kind="stable").tolist():
        alone = all(abs(t - other) >= APART for other in chosen)
        if where[t] and alone and len(chosen) < count:
            chosen.append(t)
    return sorted(chosen)


def mistakes(case: Case, said: bool) -> list[tuple[int, int]]:
    """(point, frame) of the surest mistakes where visibility was `said`, wrongly; one a point."""
    wrong = case.wrong(said)
    doubt = np.where(wrong, -case.confidence if said else case.confidence, np.inf)
    frame = doubt.argmin(axis=1)
    order = np.argsort(doubt.min(axis=1), kind="stable")[:WORST]
    return [(int(n), int(frame[n])) for n in order if wrong[n].any()]
