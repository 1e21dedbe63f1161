"""Tracking with visibility against the reference's granularity (benchmarks.reference), in seconds
and, where there is a truth, in accuracy.

What is measured is what `Fitted.track` does, and matching with few anchors.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from dinotrack.benchmarks import reference
from dinotrack.benchmarks.machine import Spread, clock, spread
from dinotrack.benchmarks.report import MAIN_SHARES, Say, shares
from dinotrack.benchmarks.truth import PointTruth
from dinotrack.config import Config, override
from dinotrack.fitted import Fitted
from dinotrack.geometry import rescale
from dinotrack.metrics import Scores
from dinotrack.points import grid_queries
from dinotrack.tracks import Tracks


@dataclass(frozen=True)
class InferencePlan:
    """What is tracked, and how often."""

    points: int
    oracle_points: int
    """Of these, by the oracle. Its seconds are scaled up, as its queries don't depend on each
    other. All are scored on these."""
    anchors: int
    """The most that "match" uses."""
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Those of TAP-Vid's metrics that say most; None without a truth."""

    average_jaccard: float | None = None
    average_pts_within_thresh: float | None = None
    occlusion_accuracy: float | None = None

    @property
    def scores(self) -> dict[str, float | None]:
        """Metric -> share."""
        return {name: getattr(self, name) for name in MAIN_SHARES}


@dataclass(frozen=True, kw_only=True)
class Oracle(Scored):
    """What the oracle takes."""

    points: int
    """That it really tracked."""
    seconds: float
    """For all points."""
    seconds_a_point: Spread


@dataclass(frozen=True, kw_only=True)
class Way(Scored):
    """What a way to track takes."""

    method: str
    """match or join."""
    seconds: float
    """Median."""
    iqr: float


@dataclass(frozen=True)
class InferencePart:
    """All ways to track through one fit of one clip."""

    clip: str
    preset: str
    steps: int
    """Of the fit."""
    anchors: int
    points: int
    frames: int
    size: tuple[int, int]
    """(H, W) of the working frames."""
    reference: Oracle
    own: Way
    """As the fit's settings say."""
    match: Way
    """By matching with few anchors."""

    def ratio(self, way: Way) -> float:
        """How many times as long the oracle takes."""
        return self.reference.seconds / way.seconds


def compare(
    clip: str, fitted: Fitted, truth: PointTruth | None, plan: InferencePlan, say: Say
) -> InferencePart:
    """Seconds of tracking points through the whole video, by each way, and how many times the
    oracle's.

    The first queries are the truth's, and a grid's fill up.
    """
    queries = choose_queries(fitted, truth, plan.points)
    known = len(queries) if truth is None else min(len(queries), len(truth.queries))
    spaced = np.linspace(0, known - 1, min(plan.oracle_points, known))
    chosen = np.unique(spaced.round().astype(int))
    oracle = _measure_oracle(fitted, truth, queries, chosen)
    say(f"reference: {oracle.seconds:.2f} s, by {oracle.points} points{_scores(oracle)}")

    few = {"inference.method": "match", "inference.matching.max_anchors": plan.anchors}
    matching = with_config(fitted, override(fitted.config, few))
    own = _measure_way(fitted, truth, queries, chosen, plan.repeats)
    match = _measure_way(matching, truth, queries, chosen, plan.repeats)
    for name, way in (("own", own), ("match", match)):
        times = oracle.seconds / way.seconds
        say(f"{name}: {way.seconds:.2f} s, {times:.1f} x the reference{_scores(way)}")
    return InferencePart(
        clip=clip,
        preset=fitted.config.preset,
        steps=fitted.steps,
        anchors=plan.anchors,
        points=len(queries),
        frames=len(fitted.frames),
        size=fitted.flow.size,
        reference=oracle,
        own=own,
        match=match,
    )


def with_config(fitted: Fitted, config: Config) -> Fitted:
    """The same fit, tracked through as another config says."""
    identity = replace(fitted.identity, config=config)
    return replace(fitted, identity=identity, run=replace(fitted.run, config=config))


def choose_queries(
    fitted: Fitted, truth: PointTruth | None, points: int
) -> Float[np.ndarray, "N 3"]:
    """As many queries as `points`: the truth's, and after them a grid's of the first frame."""
    side = int(np.ceil(np.sqrt(points)))
    grid = grid_queries(side, fitted.video.size, 0)
    known = grid if truth is None else np.concatenate((truth.queries, grid))
    return np.asarray(known[:points].astype(np.float32))


def track_one_by_one(
    fitted: Fitted, queries: Float[np.ndarray, "N 3"]
) -> tuple[Float[np.ndarray, "N T 2"], Bool[np.ndarray, "N T"], list[float]]:
    """The oracle's tracks in px of the video, where they are visible, and the seconds of each."""
    maps = fitted.maps
    working = fitted.working_queries(queries)
    tracker = fitted.state.tracker
    config = fitted.config.inference.matching
    reference.track_point(tracker, maps, working[:1], config)  # the first one warms up
    tracks = []
    seconds = []
    for n in range(len(working)):
        start = clock(maps.device)
        tracks.append(reference.track_point(tracker, maps, working[n : n + 1], config))
        seconds.append(clock(maps.device) - start)
    found = torch.stack([xy for xy, _ in tracks])
    xy = rescale(found, fitted.flow.size, fitted.video.size)
    visible = torch.stack([visible for _, visible in tracks])
    return xy.cpu().numpy(), visible.cpu().numpy(), seconds


def time_tracking(
    fitted: Fitted, queries: Float[np.ndarray, "N 3"], repeats: int
) -> tuple[Tracks, Spread]:
    """The tracks of all queries together, and the seconds that each repeat takes.

    One query is tracked before, which doesn't count.
    """
    device = fitted.maps.device
    tracks = fitted.track(queries[:1])
    seconds = []
    for _ in range(repeats):
        start = clock(device)
        tracks = fitted.track(queries)
        seconds.append(clock(device) - start)
    return tracks, spread(seconds)


def score(
    truth: PointTruth | None,
    rows: Int[np.ndarray, " K"],
    xy: Float[np.ndarray, "K T 2"],
    visible: Bool[np.ndarray, "K T"],
) -> Scores:
    """TAP-Vid's main metrics of predictions for some rows of a truth; {} without one."""
    if truth is None:
        return {}
    scores = truth.some(rows).score(xy, visible)
    return {name: scores[name] for name in MAIN_SHARES}


def _measure_oracle(
    fitted: Fitted,
    truth: PointTruth | None,
    queries: Float[np.ndarray, "N 3"],
    chosen: Int[np.ndarray, " K"],
) -> Oracle:
    """The oracle on the chosen ones of the queries."""
    xy, visible, each = track_one_by_one(fitted, queries[chosen])
    return Oracle(
        points=len(chosen),
        seconds=len(queries) * float(np.mean(each)),
        seconds_a_point=spread(each),
        **score(truth, chosen, xy, visible),
    )


def _measure_way(
    fitted: Fitted,
    truth: PointTruth | None,
    queries: Float[np.ndarray, "N 3"],
    chosen: Int[np.ndarray, " K"],
    repeats: int,
) -> Way:
    """A way to track all queries, scored on the chosen ones."""
    tracks, seconds = time_tracking(fitted, queries, repeats)
    return Way(
        method=fitted.config.inference.method,
        seconds=seconds.median,
        iqr=seconds.iqr,
        **score(truth, chosen, tracks.xy[chosen], tracks.visible[chosen]),
    )


def _scores(way: Scored) -> str:
    known = shares(way.scores)
    return f", {known}" if known else ""
