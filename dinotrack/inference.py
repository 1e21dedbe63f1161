"""From a trained model to trajectories, the paper's way: every frame is matched on its own, and
anchors, frames that surely show the point, tell where it is visible (METHOD 6; the paper's
occlusion prediction).

The tracker, the maps and the queries live on one device.
"""

import math

import torch
from torch import Tensor

from dinotrack.chunks import fitting, in_chunks
from dinotrack.config import InferenceConfig
from dinotrack.correlation import correlation_maps, normalise
from dinotrack.geometry import Grid
from dinotrack.model import Tracker
from dinotrack.progress import Progress, silent

MAX_ACTIVATIONS = 2**22
"""Values of a layer held at a time, 16 MiB: about what a CPU's cache takes."""
FRAMES_AT_ONCE = 4
"""Frames that Delta-DINO sees at a time on a CPU."""
LAYERS_HELD = 4
"""Delta-DINO's activations at a time, none larger than its widest layer at the frame's own size."""
QUERIES_AT_ONCE = 16
"""Queries whose visibility is decided at a time; each brings one map for every pair of a frame and
an anchor."""
CONFIDENCE_SLOPE = 4.0
"""Of the logistic function: what agrees perfectly has confidence 0.98."""


@torch.no_grad()
def refine_video(
    tracker: Tracker,
    frames: Tensor,
    features: Tensor | None,
    grid: Grid | None,
    dtype: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> Tensor:
    """Refined features of a whole video, in evaluation mode; the tracker's own mode is left as it
    was (METHOD 4).

    frames uint8 [T, 3, H, W] and features [T, C, ., .] on `grid` (None: no ViT), on any device
    -> [T, C, h, w] on `tracker.grid`, of `dtype` (float16 halves the memory), on the tracker's
    device.
    """
    device = next(tracker.parameters()).device
    training = tracker.training
    tracker.eval()
    cells = tracker.grid((frames.shape[-2], frames.shape[-1]), grid)
    maps = torch.empty(
        (len(frames), tracker.dims, cells.rows, cells.cols), dtype=dtype, device=device
    )

    def refine(part: slice) -> Tensor:
        raw = None if features is None else features[part].to(device)
        return tracker.refine(frames[part].to(device).float() / 255, raw, grid)

    each = LAYERS_HELD * 4 * max(tracker.config.widths) * frames.shape[-2] * frames.shape[-1]
    at_once = fitting(device, each, FRAMES_AT_ONCE)
    for part, refined in in_chunks(refine, len(frames), at_once, "frames"):
        maps[part] = refined
        progress("refine", part.stop, len(frames))
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
    tracker: Tracker,
    maps: Tensor,
    grid: Grid,
    embeddings: Tensor,
    frames: Tensor,
    progress: Progress = silent,
) -> Tensor:
    """Each query located in each of some frames, on its own (METHOD 4 "Position", 6).

    maps [T, C, h, w] refined features, embeddings [N, C], frames long [M] -> [N, M, 2] px.
    """
    xy = torch.empty((len(embeddings), len(frames), 2), device=maps.device)
    for m, t in enumerate(frames.tolist()):
        xy[:, m] = _locate(tracker, maps[t], grid, embeddings)
        progress("match", m + 1, len(frames))
    return xy


def track_cosines(vectors: Tensor, query_frames: Tensor) -> Tensor:
    """c(t): cosine between the features at a track's positions in frame t and in its query's own
    frame.

    vectors [N, T, C] from `embed_tracks`, query_frames long [N] -> [N, T] (METHOD 6).
    """
    vectors = normalise(vectors, dim=-1)
    own = vectors[torch.arange(len(vectors), device=vectors.device), query_frames]
    return (vectors * own[:, None]).sum(dim=-1)


def anchor_frames(cosine: Tensor, query_frames: Tensor, least: float) -> Tensor:
    """Frames that surely show the point: c(t) >= least, or the query's own (METHOD 6). cosine [N,
    T] -> bool [N, T]."""
    return (cosine >= least).scatter(1, query_frames[:, None], True)


def spread(anchors: Tensor, query_frames: Tensor, count: int) -> Tensor:
    """At most `count` anchors of each row, evenly spread, the query's own frame always kept; 0:
    all. bool [N, T]."""
    if count == 0:
        return anchors
    total = anchors.sum(dim=1, keepdim=True)
    rank = anchors.cumsum(dim=1)
    rank = (rank - rank.gather(1, query_frames[:, None])) % total
    return anchors & (rank * count % total < count)


@torch.no_grad()
def track_to_anchors(
    tracker: Tracker, maps: Tensor, grid: Grid, vectors: Tensor, anchors: Tensor
) -> Tensor:
    """Where the point seen at a track's position in frame t is found in every anchor frame a
    (METHOD 6).

    maps [T, C, h, w], vectors [N, T, C] the features along the tracks, anchors bool [N, T]
    -> [N, T (a), T (t), 2] px, NaN where a is no anchor.
    """
    count, frames, channels = vectors.shape
    points = vectors.new_full((count, frames, frames, 2), torch.nan)
    for a in range(frames):
        rows = anchors[:, a].nonzero()[:, 0]
        if len(rows):
            found = _locate(tracker, maps[a], grid, vectors[rows].reshape(-1, channels))
            points[rows, a] = found.reshape(-1, frames, 2)
    return points


def deviation(xy: Tensor, anchor_xy: Tensor) -> Tensor:
    """m(t): median over anchors of the distance between the position found there and the track's
    own (METHOD 6).

    xy [N, T, 2] px, anchor_xy [N, T (a), T (t), 2] px from `track_to_anchors` with one anchor or
    more -> [N, T] px.
    Of two middle distances the lower is the median.
    """
    distance: Tensor = torch.linalg.vector_norm(anchor_xy - xy[:, :, None], dim=-1)
    return distance.nanmedian(dim=1).values


def visibility(
    cosine: Tensor, strayed: Tensor, anchors: Tensor, visible_cosine: float
) -> tuple[Tensor, Tensor]:
    """Where tracks are visible, and how surely (METHOD 6).

    Visible: m(t) is at most its largest value among anchor frames, the threshold, and c(t) at least
    `visible_cosine`.
    Confidence: a logistic function of the smaller of two margins, (threshold - m) / threshold and
    (c - visible_cosine) / (1 - visible_cosine): 0.5 on the border of visibility, at least that
    where visible. cosine c and strayed m [N, T], anchors bool [N, T], one or more in a row ->
    visible bool [N, T], confidence [N, T].
    """
    threshold = strayed.masked_fill(~anchors, -torch.inf).amax(dim=1, keepdim=True)
    visible = (strayed <= threshold) & (cosine >= visible_cosine)
    ratio = (strayed / threshold).nan_to_num(nan=0.0)  # 0 / 0: where all agree perfectly
    margin = torch.minimum(1 - ratio, (cosine - visible_cosine) / max(1 - visible_cosine, 1e-6))
    return visible, torch.sigmoid(CONFIDENCE_SLOPE * margin)


@torch.no_grad()
def track_by_matching(
    tracker: Tracker,
    maps: Tensor,
    grid: Grid,
    queries: Tensor,
    config: InferenceConfig,
    progress: Progress = silent,
) -> tuple[Tensor, Tensor, Tensor]:
    """Trajectories by matching alone, with the paper's visibility (METHOD 6).

    maps [T, C, h, w] refined features on `grid`, queries [N, 3] (t, x, y) working px
    -> xy [N, T, 2] working px (the network's answer in the query's frame too), visible bool [N, T],
    confidence [N, T].
    """
    embeddings = embed(maps, grid, queries)
    xy = match(tracker, maps, grid, embeddings, torch.arange(len(maps)), progress)
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
        strayed = deviation(xy[part], track_to_anchors(tracker, maps, grid, vectors, used))
        visible[part], confidence[part] = visibility(
            cosine, strayed, anchors, config.visible_cosine
        )
        progress("visibility", min(part.stop, len(xy)), len(xy))
    return xy, visible, confidence


def _sample(features: Tensor, grid: Grid, xy: Tensor) -> Tensor:
    """One frame's features [C, h, w] at xy [N, 2] -> float32 [N, C]."""
    return grid.sample(features[None].float(), xy[None])[
        0
    ]  # half precision could not hold positions


def _locate(tracker: Tracker, features: Tensor, grid: Grid, vectors: Tensor) -> Tensor:
    """Positions of vectors [N, C] in one frame's features [C, h, w] -> [N, 2] px."""
    layer = (
        grid.rows * grid.cols * (tracker.config.refiner_width if tracker.config.whole_map else 1)
    )
    points = []
    for group in vectors.chunk(max(1, math.ceil(len(vectors) * layer / MAX_ACTIVATIONS))):
        points.append(tracker.locate(correlation_maps(group, features[None]), grid))
    return torch.cat(points)
