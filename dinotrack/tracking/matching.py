"""From a fitted tracker to trajectories, the paper's way: every frame is matched on its own.

Since nothing carries over from one frame to the next, tracks don't drift, and a point is found
again after any occlusion. But a match is found in every frame, whether the point is visible or not.
So anchors decide about visibility: frames that surely show the point, by the similarity of their
features. If what is seen in a frame is the point, then it is found from there in every anchor where
the track says; what is found elsewhere is something else, which stands before the point.

Source: N. Tumanyan, A. Singer, S. Bagon and T. Dekel, "DINO-Tracker: Taming DINO for
Self-Supervised Point Tracking in a Single Video", ECCV 2024; docs/method.md 6. The tracker, the
maps and the queries lie on one device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack import chunks
from dinotrack.chunks import in_chunks
from dinotrack.config import MatchingConfig
from dinotrack.correlation import correlation_maps, normalise
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.progress import Meter, Progress, Tick, silent, unheard
from dinotrack.queries import Queries, Trajectories


class Visibility(NamedTuple):
    """Where N points are visible in T frames, and how sure that is."""

    visible: Bool[Tensor, "N T"]
    confidence: Float[Tensor, "N T"]
    """In [0, 1]: 0.5 on the border of visibility."""


@torch.no_grad()
def track_by_matching(
    tracker: Tracker,
    maps: FeatureMaps,
    queries: Queries,
    config: MatchingConfig,
    progress: Progress = silent,
) -> Trajectories:
    """Where queries are in every frame, by matching alone, and where the paper's rule sees them.

    maps are the refined features. In a query's own frame the answer is the network's, too.
    """
    xy = locate_everywhere(tracker, maps, maps.at_queries(queries), progress)
    visible = torch.empty(xy.shape[:2], dtype=torch.bool, device=xy.device)
    confidence = torch.empty(xy.shape[:2], device=xy.device)

    frames = len(maps)
    meter = Meter(progress, "visibility", len(queries) * frames)

    def judge(part: slice) -> Visibility:
        tick = meter.ticker(part.stop - part.start)
        return judge_visibility(tracker, maps, xy[part], queries.frame[part], config, tick)

    for part, judged in in_chunks(judge, len(queries), chunks.ANCHORED_QUERIES, "points"):
        visible[part] = judged.visible
        confidence[part] = judged.confidence
        meter.reach(part.stop * frames)
    return Trajectories(xy, visible, confidence)


@torch.no_grad()
def locate_everywhere(
    tracker: Tracker,
    maps: FeatureMaps,
    vectors: Float[Tensor, "N C"],
    progress: Progress = silent,
) -> Float[Tensor, "N T 2"]:
    """Positions (px) of query features in every frame (docs/method.md 4, "Position").

    Progress counts positions.
    """
    count = len(vectors)
    frames = len(maps)
    xy = torch.empty((count, frames, 2), device=maps.device)
    meter = Meter(progress, "track", count * frames)

    def locate(part: slice) -> Float[Tensor, "n T 2"]:
        some = vectors[part]
        tick = meter.ticker(len(some))
        found = []
        for t in range(frames):
            found.append(_locate_in_frame(tracker, maps, t, some))
            tick(1)
        return torch.stack(found, dim=1)

    for part, found in in_chunks(locate, count, _at_a_time(tracker, maps, count), "points"):
        xy[part] = found
        meter.reach(part.stop * frames)
    return xy


def judge_visibility(
    tracker: Tracker,
    maps: FeatureMaps,
    xy: Float[Tensor, "N T 2"],
    query_frame: Int[Tensor, " N"],
    config: MatchingConfig,
    tick: Tick = unheard,
) -> Visibility:
    """Where tracks are visible: the whole rule (docs/method.md 6)."""
    vectors = maps.along(xy)
    cosine = track_cosines(vectors, query_frame)
    anchors = anchor_frames(cosine, query_frame, config.anchor_cosine)
    used = spread_evenly(anchors, query_frame, config.max_anchors)
    off = deviation(xy, track_to_anchors(tracker, maps, vectors, used, tick))
    return visibility(cosine, off, anchors, config)


def track_cosines(
    vectors: Float[Tensor, "N T C"], query_frame: Int[Tensor, " N"]
) -> Float[Tensor, "N T"]:
    """c(t): similarity of the features along a track to the one in its query's own frame."""
    units = normalise(vectors, dim=-1)
    own = units[torch.arange(len(units), device=units.device), query_frame]
    return (units * own[:, None]).sum(dim=-1)


def anchor_frames(
    cosine: Float[Tensor, "N T"], query_frame: Int[Tensor, " N"], least: float
) -> Bool[Tensor, "N T"]:
    """Frames that surely show the point: c(t) is at least `least`, or it is the query's own."""
    return (cosine >= least).scatter(1, query_frame[:, None], True)


def spread_evenly(
    anchors: Bool[Tensor, "N T"], query_frame: Int[Tensor, " N"], count: int
) -> Bool[Tensor, "N T"]:
    """At most `count` anchors of each point, evenly spread; 0 keeps all of them.

    The query's own frame is always kept.
    """
    if count == 0:
        return anchors
    total = anchors.sum(dim=1, keepdim=True)
    rank = anchors.cumsum(dim=1)
    rank = (rank - rank.gather(1, query_frame[:, None])) % total
    return anchors & (rank * count % total < count)


@torch.no_grad()
def track_to_anchors(
    tracker: Tracker,
    maps: FeatureMaps,
    vectors: Float[Tensor, "N T C"],
    anchors: Bool[Tensor, "N T"],
    tick: Tick = unheard,
) -> Float[Tensor, "N T T 2"]:
    """Where (px) the points that tracks see in each frame (dim 2) are in each anchor (dim 1).

    vectors are the features along the tracks. Frames that are no anchors have NaN.
    """
    count, frames, channels = vectors.shape
    points = vectors.new_full((count, frames, frames, 2), torch.nan)
    for a in range(frames):
        rows = anchors[:, a].nonzero()[:, 0]
        if len(rows):
            wanted = vectors[rows].reshape(-1, channels)
            groups = wanted.split(_at_a_time(tracker, maps, len(wanted)))
            found = torch.cat([_locate_in_frame(tracker, maps, a, group) for group in groups])
            points[rows, a] = found.reshape(-1, frames, 2)
        tick(1)
    return points


def deviation(
    xy: Float[Tensor, "N T 2"], anchor_xy: Float[Tensor, "N T T 2"]
) -> Float[Tensor, "N T"]:
    """m(t): how far (px) from the track the point seen in frame t is found in anchors; the median.

    anchor_xy is what `track_to_anchors` gives, with one anchor or more. Of two middle distances,
    the lower one is the median.
    """
    distance: Float[Tensor, "N T T"] = torch.linalg.vector_norm(anchor_xy - xy[:, :, None], dim=-1)
    return distance.nanmedian(dim=1).values


def visibility(
    cosine: Float[Tensor, "N T"],
    off: Float[Tensor, "N T"],
    anchors: Bool[Tensor, "N T"],
    config: MatchingConfig,
) -> Visibility:
    """Where tracks are visible, and how surely.

    off is the deviation m(t). A point is visible where m(t) is at most its largest value among the
    anchor frames, the threshold, and where c(t) is at least config.visible_cosine. Confidence is a
    logistic function of the smaller of two margins: (threshold - m) / threshold, and
    (c - visible_cosine) / (1 - visible_cosine).
    """
    least = config.visible_cosine
    threshold = off.masked_fill(~anchors, -torch.inf).amax(dim=1, keepdim=True)
    visible = (off <= threshold) & (cosine >= least)
    ratio = (off / threshold).nan_to_num(nan=0.0)  # 0 / 0: where all agree perfectly
    likeness = (cosine - least) / max(1 - least, 1e-6)
    margin = torch.minimum(1 - ratio, likeness)
    return Visibility(visible, torch.sigmoid(config.confidence_gain * margin))


def _locate_in_frame(
    tracker: Tracker, maps: FeatureMaps, t: int, vectors: Float[Tensor, "N C"]
) -> Float[Tensor, "N 2"]:
    correlation = correlation_maps(vectors, maps[t : t + 1].values)
    return tracker.locate_in_maps(correlation, maps.grid)


def _at_a_time(tracker: Tracker, maps: FeatureMaps, count: int) -> int:
    """How many of `count` vectors are located at a time: groups of equal size that fit."""
    layers = tracker.config.refiner_width if tracker.config.whole_map else 1
    values = count * layers * maps.grid.rows * maps.grid.cols
    groups = max(1, math.ceil(values / chunks.MAP_VALUES))
    return max(1, math.ceil(count / groups))
