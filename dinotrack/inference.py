"""From a trained model to trajectories, the paper's way: every frame is matched on its own, and anchors, frames that
surely show the point, tell where it is visible (METHOD 6; the paper's occlusion prediction).

The tracker, the maps and the queries live on one device.
"""

import math

import torch
from torch import Tensor

from dinotrack.config import InferenceConfig
from dinotrack.correlation import correlation_maps, normalise
from dinotrack.geometry import Grid
from dinotrack.model import Tracker
from dinotrack.progress import Progress, silent

MAX_ACTIVATIONS = 2**24
"""Values of the refiner's hidden layer held at a time: 64 MiB."""
FRAMES_AT_ONCE = 4
"""Frames that Delta-DINO sees at a time."""
QUERIES_AT_ONCE = 16
"""Queries whose visibility is decided at a time; each brings one map for every pair of a frame and an anchor."""
CONFIDENCE_SLOPE = 4.0
"""Of the logistic function: what agrees perfectly has confidence 0.98."""


@torch.no_grad()
def refine_video(
    tracker: Tracker,
    frames: Tensor,
    features: Tensor | None,
    grid: Grid,
    dtype: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> Tensor:
    """Refined features of a whole video, in evaluation mode; the tracker's own mode is left as it was (METHOD 4).

    frames uint8 [T, 3, H, W] and features [T, C, h, w] on `grid` (None: no ViT), on any device
    -> [T, C, h, w] of `dtype` (float16 halves the memory) on the tracker's device.
    """
    device = next(tracker.parameters()).device
    training = tracker.training
    tracker.eval()
    channels = tracker.config.dims if features is None else features.shape[1]
    maps = torch.empty((len(frames), channels, grid.rows, grid.cols), dtype=dtype, device=device)
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        raw = None if features is None else features[part].to(device)
        maps[part] = tracker.refine(frames[part].to(device).float() / 255, raw, grid)
        progress("refine", min(part.stop, len(frames)), len(frames))
    tracker.train(training)
    return maps


def embed(maps: Tensor, grid: Grid, queries: Tensor) -> Tensor:
    """Features at the queries: maps [T, C, h, w], queries [N, 3] (t, x, y) px -> float32 [N, C]."""
    vectors = maps.new_zeros((len(queries), maps.shape[1]), dtype=torch.float32)
    frames = queries[:, 0].round().long()
    for t in sorted(set(frames.tolist())):
        rows = frames == t
        vectors[rows] = _sample(maps[t], grid, queries[rows, 1:])
    return vectors


def embed_tracks(maps: Tensor, grid: Grid, xy: Tensor) -> Tensor:
    """Features along tracks: maps [T, C, h, w], xy [N, T, 2] px -> float32 [N, T, C]."""
    return torch.stack([_sample(maps[t], grid, xy[:, t]) for t in range(len(maps))], dim=1)


@torch.no_grad()
def match(
    tracker: Tracker, maps: Tensor, grid: Grid, embeddings: Tensor, frames: Tensor, progress: Progress = silent
) -> Tensor:
    """Each query located in each of some frames, on its own (METHOD 4 "Position", 6).

    maps [T, C, h, w] refined features, embeddings [N, C], frames long [M] -> [N, M, 2] px.
    """
    points = []
    for done, t in enumerate(frames.tolist(), start=1):
        points.append(_locate(tracker, maps[t], grid, embeddings))
        progress("match", done, len(frames))
    return torch.stack(points, dim=1)


def track_cosines(vectors: Tensor, query_frames: Tensor) -> Tensor:
    """c(t): cosine between the features at a track's positions in frame t and in its query's own frame.

    vectors [N, T, C] from `embed_tracks`, query_frames long [N] -> [N, T] (METHOD 6).
    """
    vectors = normalise(vectors, dim=-1)
    own = vectors[torch.arange(len(vectors), device=vectors.device), query_frames]
    return (vectors * own[:, None]).sum(dim=-1)


def anchor_frames(cosine: Tensor, query_frames: Tensor, least: float) -> Tensor:
    """Frames that surely show the point: c(t) >= least, or the query's own (METHOD 6). cosine [N, T] -> bool [N, T]."""
    return (cosine >= least).scatter(1, query_frames[:, None], True)


def spread(anchors: Tensor, query_frames: Tensor, count: int) -> Tensor:
    """At most `count` anchors of each row, evenly spread, the query's own frame always kept; 0: all. bool [N, T]."""
    if count == 0:
        return anchors
    total = anchors.sum(dim=1, keepdim=True)
    rank = anchors.cumsum(dim=1)
    rank = (rank - rank.gather(1, query_frames[:, None])) % total
    return anchors & (rank * count % total < count)


@torch.no_grad()
def anchor_deviation(
    tracker: Tracker, maps: Tensor, grid: Grid, xy: Tensor, vectors: Tensor, anchors: Tensor
) -> Tensor:
    """m(t): track from the position in frame t to every anchor; median distance to the track's own positions there.

    maps [T, C, h, w], xy [N, T, 2] px, vectors [N, T, C] the features there, anchors bool [N, T], one or more in a row
    -> [N, T] px (METHOD 6). Of two middle distances the lower is the median. Memory grows with N T^2.
    """
    count, frames, _ = xy.shape
    errors = xy.new_full((count, frames, frames), torch.nan)  # query, anchor, frame
    for a in range(frames):
        rows = anchors[:, a].nonzero()[:, 0]
        if len(rows):
            points = _locate(tracker, maps[a], grid, vectors[rows].flatten(0, 1)).reshape(-1, frames, 2)
            errors[rows, a] = (points - xy[rows, a, None]).norm(dim=-1)
    return errors.nanmedian(dim=1).values


def visibility(cosine: Tensor, deviation: Tensor, anchors: Tensor, visible_cosine: float) -> tuple[Tensor, Tensor]:
    """Where tracks are visible, and how surely (METHOD 6).

    Visible: the deviation is at most the largest among anchor frames, and the cosine at least `visible_cosine`.
    Confidence: a logistic function of the smaller of two margins, (threshold - deviation) / threshold and
    (cosine - visible_cosine) / (1 - visible_cosine): 0.5 on the border of visibility, at least that where visible.
    cosine, deviation [N, T], anchors bool [N, T], one or more in a row -> visible bool [N, T], confidence [N, T].
    """
    threshold = deviation.masked_fill(~anchors, -torch.inf).amax(dim=1, keepdim=True)
    visible = (deviation <= threshold) & (cosine >= visible_cosine)
    strayed = (deviation / threshold).nan_to_num(nan=0.0)  # 0 / 0: where all agree perfectly
    margin = torch.minimum(1 - strayed, (cosine - visible_cosine) / max(1 - visible_cosine, 1e-6))
    return visible, torch.sigmoid(CONFIDENCE_SLOPE * margin)


@torch.no_grad()
def track_by_matching(
    tracker: Tracker, maps: Tensor, grid: Grid, queries: Tensor, config: InferenceConfig, progress: Progress = silent
) -> tuple[Tensor, Tensor, Tensor]:
    """Trajectories by matching alone, with the paper's visibility (METHOD 6).

    maps [T, C, h, w] refined features on `grid`, queries [N, 3] (t, x, y) working px
    -> xy [N, T, 2] working px (the network's answer in the query's frame too), visible bool [N, T], confidence [N, T].
    """
    xy = match(tracker, maps, grid, embed(maps, grid, queries), torch.arange(len(maps)), progress)
    visible = torch.ones(xy.shape[:2], dtype=torch.bool, device=xy.device)
    confidence = torch.ones(xy.shape[:2], device=xy.device)
    query_frames = queries[:, 0].round().long()
    for start in range(0, len(xy), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        own = query_frames[part]
        vectors = embed_tracks(maps, grid, xy[part])
        cosine = track_cosines(vectors, own)
        anchors = anchor_frames(cosine, own, config.anchor_cosine)
        used = spread(anchors, own, config.max_anchors)
        deviation = anchor_deviation(tracker, maps, grid, xy[part], vectors, used)
        visible[part], confidence[part] = visibility(cosine, deviation, anchors, config.visible_cosine)
        progress("visibility", min(part.stop, len(xy)), len(xy))
    return xy, visible, confidence


def _sample(features: Tensor, grid: Grid, xy: Tensor) -> Tensor:
    """One frame's features [C, h, w] at xy [N, 2] -> float32 [N, C]."""
    return grid.sample(features[None].float(), xy[None])[0]  # half precision could not hold positions


def _locate(tracker: Tracker, features: Tensor, grid: Grid, vectors: Tensor) -> Tensor:
    """Positions of vectors [N, C] in one frame's features [C, h, w] -> [N, 2] px."""
    at_once = max(1, MAX_ACTIVATIONS // (grid.rows * grid.cols * tracker.config.refiner_width))
    points = []
    for group in vectors.chunk(max(1, math.ceil(len(vectors) / at_once))):
        correlation = correlation_maps(group, features[None])
        points.append(tracker.locate(correlation, tracker.heatmaps(correlation), grid))
    return torch.cat(points)
