"""From a trained model to trajectories, our way: matches joined by flow.

Matching each frame on its own never drifts but is a cell coarse and may jump to a look-alike; flow
is precise from one frame to the next but drifts and dies behind an occluder. So every frame
proposes a few matches (`propose`), flow from the query proposes one more (`follow`), the best path
through them is found as in a hidden Markov model whose transitions are flow (`best_path`), and
positions along it are smoothed as in a Kalman smoother whose motion is flow and whose measurements
are matches (`smooth`). Near a path that flow had lost, the query's own patch is looked for again
and is a sharper measurement (`refind`). What was surely seen is then remembered, and all is done
once more (`remember`).
Four more points around each query go the same way on their own, and vote on where it went
(`surround`, `agree`).
All positions are working px; everything is batched over queries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.chunks import in_chunks
from dinotrack.config import InferenceConfig
from dinotrack.correlation import best_cell, correlation_maps, normalise
from dinotrack.flow import ConsecutiveFlow, Flow
from dinotrack.geometry import Grid, inside
from dinotrack.inference import embed, embed_tracks
from dinotrack.model import Tracker
from dinotrack.progress import Progress, silent
from dinotrack.templates import Grey, Templates, align, carry, make_templates, search

QUERIES_AT_ONCE = 128
"""Queries joined at a time, with the points around them: what bounds memory, one map each."""
FRAMES_AT_ONCE = 32
"""Of tracks looked for in the queries' frames: as many features a query."""
REFOUND = 2
"""Rounds of looking for lost patches along a path: each starts nearer than the one before."""
HARDLY = 0.25
"""px: a look for a patch that starts so near an earlier one finds the same."""
NEVER = 1e6
"""A cost, or a variance, of what must not be used."""


@dataclass(frozen=True)
class Footage:
    """A video as it is tracked: what its frames look like to the networks and to the eye, and how
    they move."""

    tracker: Tracker
    maps: Tensor
    """Refined features [T, C, h, w] of any float type, on `grid`."""
    grid: Grid
    flow: ConsecutiveFlow
    """In working px, on the device of the maps."""
    pictures: Tensor | Grey
    """Grey frames [T, H, W] in [0, 1]."""


@dataclass(frozen=True)
class Refound:
    """Where lost patches were looked for, and what was found."""

    near: Tensor
    """[N, T, 2] px: where the look began."""
    places: Tensor
    """[N, T, 2] px: where the patch is; where it began, if it wasn't found or looked for."""
    found: Tensor
    """bool [N, T]."""


def make_footage(
    tracker: Tracker, maps: Tensor, grid: Grid, flow: ConsecutiveFlow, frames: Tensor
) -> Footage:
    """maps [T, C, h, w] refined features on `grid`, flow in working px, the working frames uint8
    [T, 3, H, W]."""
    there = ConsecutiveFlow(flow.forward.to(maps.device), flow.backward.to(maps.device))
    return Footage(tracker, maps, grid, there, Grey(frames.to(maps.device)))


@dataclass(frozen=True)
class Evidence:
    """What speaks for a point being seen where it was put.

    Each [N, T], a mean over the points that speak for it.
    """

    cosine: Tensor
    """Similarity of the feature there to the query's."""
    cycle_error: Tensor
    """Between the query and where the feature there is found in the query's frame: log(1 + px)."""
    followed: Tensor
    """Whether flow from the query got there unbroken: 0 or 1."""
    distinctness: Tensor
    """How much higher the frame's best match scores than its second best; 0 or more."""
    likeness: Tensor
    """How much the flow's place looks as the query's patch does, in [-1, 1]; 0 where not
    followed."""
    strain: Tensor
    """px: how far flow from here and from the path in the frames beside it lead apart, mean of
    log(1 + px)."""

    def features(self) -> Tensor:
        """What the logistic regression sees: [N, T, 8]."""
        columns = (
            torch.ones_like(self.cosine),
            self.cosine,
            self.cycle_error,
            self.followed,
            self.distinctness,
            self.likeness,
            self.strain,
            _beside(self.cosine),
        )
        return torch.stack([column.float() for column in columns], dim=-1)

    def confidence(self, config: InferenceConfig) -> Tensor:
        """Probability [N, T] of being visible and within 8 px at 256 x 256, by logistic
        regression."""
        weights = torch.tensor(
            config.confidence_weights, dtype=torch.float32, device=self.cosine.device
        )
        return (self.features() @ weights).sigmoid()


@dataclass(frozen=True)
class Chain:
    """Flow from each of N queries, as far as it goes."""

    xy: Tensor
    """[N, T, 2] px, 0 where not followed."""
    followed: Tensor
    """bool [N, T]."""
    likeness: Tensor
    """[N, T]: how much it looks there as the query's patch does, normalised cross-correlation; 0
    where not followed."""
    anchored: Tensor
    """bool [N, T]: where the query's patch was found, so that errors of flow did not add up."""
    shape: Tensor
    """[N, T, 2, 2]: how the patch is turned and stretched there; the identity where not
    followed."""
    patches: Templates | None
    """What the queries look like; None where there were no pictures."""


@torch.no_grad()
def track_by_joining(
    footage: Footage, queries: Tensor, config: InferenceConfig, progress: Progress = silent
) -> tuple[Tensor, Tensor, Tensor]:
    """Trajectories, visibility and confidence of queries [N, 3] (t, x, y) working px.

    -> xy [N, T, 2], visible bool [N, T], confidence [N, T] in [0, 1].
    """
    parts = []
    tracked = in_chunks(
        lambda part: join(footage, queries[part], config), len(queries), QUERIES_AT_ONCE, "points"
    )
    for part, (xy, evidence) in tracked:
        confidence = evidence.confidence(config)
        parts.append((xy, confidence >= config.visible_confidence, confidence))
        progress("track", part.stop, len(queries))
    xy, visible, confidence = (torch.cat(p) for p in zip(*parts, strict=True))
    return xy, visible, confidence


@torch.no_grad()
def join(footage: Footage, queries: Tensor, config: InferenceConfig) -> tuple[Tensor, Evidence]:
    """Trajectories [N, T, 2] of a few queries, as `track_by_joining`, and what speaks for each
    position.

    Twice, if config.memory_weight: what was surely seen the first time is looked for together with
    the query.
    """
    around = surround(queries, config.support_reach, _size(footage.flow))
    points = around.flatten(0, 1)
    vectors = normalise(embed(footage.maps, footage.grid, points), dim=1)
    chain = follow(footage.flow, footage.pictures, points, config)
    if (
        config.memory_weight
    ):  # which does not need to know to a fraction of a pixel where, so no patch is looked for
        xy, evidence = _join_once(footage, points, vectors, chain, config, rounds=0)
        seen = (_units(footage, xy[:, t], t) for t in range(xy.shape[1]))
        vectors = remember(vectors, seen, evidence.confidence(config), points, config)
    xy, evidence = _join_once(footage, points, vectors, chain, config, rounds=REFOUND)
    return agree(around, xy, evidence, config)


def surround(queries: Tensor, reach: float, size: tuple[int, int]) -> Tensor:
    """Queries [N, 3] (t, x, y) and, `reach` px left, right, above and below each, its support
    points: [5, N, 3].

    Those that would lie outside a frame of that size (height, width) lie on its border; [1, N, 3]
    for a reach of 0.
    """
    if not reach:
        return queries[None]
    offsets = queries.new_tensor(((-1, 0), (1, 0), (0, -1), (0, 1))) * reach
    most = queries.new_tensor((size[1] - 1, size[0] - 1))
    beside = (queries[:, 1:] + offsets[:, None]).clamp(min=torch.zeros_like(most), max=most)
    return torch.cat((queries[None], torch.cat((queries[:, :1].expand(4, -1, -1), beside), dim=-1)))


def agree(
    points: Tensor, xy: Tensor, evidence: Evidence, config: InferenceConfig
) -> tuple[Tensor, Evidence]:
    """Where queries and their support points went, as one: what each point did counts as the odds
    that it is right.

    A query moves as the weighted median of their movements, x and y each; what speaks for it is
    their mean. points [K, N, 3] from `surround`; xy [K N, T, 2] and evidence where they went -> xy
    [N, T, 2], evidence [N, T].
    """
    votes, start = points.shape[:2], points[:, :, None, 1:]
    odds = evidence.confidence(config).logit(eps=1e-6).exp().unflatten(0, votes)[..., None]
    moved, order = (xy.unflatten(0, votes) - start).sort(dim=0)
    share = odds.expand_as(moved).gather(0, order).cumsum(dim=0)
    middle = (share < share[-1] / 2).sum(dim=0, keepdim=True)
    means = {
        f.name: getattr(evidence, f.name).unflatten(0, votes).mean(dim=0) for f in fields(evidence)
    }
    return start[0] + moved.gather(0, middle)[0], Evidence(**means)


def _join_once(
    footage: Footage,
    queries: Tensor,
    vectors: Tensor,
    chain: Chain,
    config: InferenceConfig,
    rounds: int,
) -> tuple[Tensor, Evidence]:
    """Each query on its own, once: xy [N, T, 2] where vectors [N, C], unit length, are found, and
    evidence.

    chain: what `follow` gave. rounds: how often lost patches are looked for.
    """
    flow = footage.flow
    peaks, scores = propose(footage, vectors, config.candidates)
    chain_score = torch.where(chain.followed, _cosine(footage, chain.xy, vectors), -torch.inf)
    places = torch.cat((chain.xy[:, :, None], peaks), dim=2)
    cost = ((1 - torch.cat((chain_score[..., None], scores), dim=2)) / config.match_scale).clamp(
        max=NEVER
    )
    path = best_path(places, cost, queries[:, 0].long(), flow, config)
    rough = places.gather(2, path[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    anchored = chain.anchored & (path == 0)
    xy = smooth(rough, peaks, queries, flow, config, anchored)
    looked = None
    for _ in range(rounds):
        looked = refind(footage.pictures, chain, xy, config, looked)
        mended = torch.where(looked.found[..., None], looked.places, rough)
        xy = smooth(mended, peaks, queries, flow, config, anchored | looked.found)
    errors = cycle_errors(footage, xy, queries)
    best = scores.topk(2, dim=2).values
    cosine, distinctness = _cosine(footage, xy, vectors), best[..., 0] - best[..., 1]
    followed = chain.followed.float()
    return xy, Evidence(
        cosine, errors.log1p(), followed, distinctness, chain.likeness, strain(flow, xy)
    )


def remember(
    vectors: Tensor,
    seen: Iterable[Tensor],
    confidence: Tensor,
    queries: Tensor,
    config: InferenceConfig,
) -> Tensor:
    """The queries' features and, beside them, the mean of those that were surely seen in other
    frames.

    vectors [N, C], seen: features [N, C] along the tracks, one frame after the other, all of unit
    length; confidence [N, T] -> [N, C], unit length.
    """
    sure = (confidence >= config.memory_confidence).scatter(1, queries[:, :1].long(), False).float()
    shares = sure / sure.sum(dim=1, keepdim=True).clamp(min=1)
    mean = torch.zeros_like(vectors)
    for share, units in zip(shares.unbind(1), seen, strict=True):
        mean += share[:, None] * units
    return normalise(vectors + config.memory_weight * mean, dim=1)


def propose(footage: Footage, vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best matches of each query in each frame, at least the model's radius apart.

    vectors [N, C], unit length -> positions [N, T, count, 2] px, cosines there [N, T, count].
    """
    tracker, grid = footage.tracker, footage.grid
    reach = int(tracker.config.radius // grid.stride)
    around = torch.arange(-reach, reach + 1, device=vectors.device)
    xy = vectors.new_zeros((len(vectors), len(footage.maps), count, 2))
    for t, features in enumerate(footage.maps):
        correlation = correlation_maps(vectors, features[None])
        for k in range(count):
            best = best_cell(correlation)
            xy[:, t, k] = tracker.locate(correlation, grid, best)
            near_row = (best[:, None] // grid.cols + around).clamp(0, grid.rows - 1)
            near_col = (best[:, None] % grid.cols + around).clamp(0, grid.cols - 1)
            near = near_row[:, :, None] * grid.cols + near_col[:, None]
            correlation.flatten(1).scatter_(
                1, near.flatten(1), -1.0
            )  # in place: this is the largest thing there is
    return xy, torch.stack([_cosine(footage, xy[:, :, k], vectors) for k in range(count)], dim=2)


def follow(
    flow: ConsecutiveFlow, pictures: Tensor | Grey | None, queries: Tensor, config: InferenceConfig
) -> Chain:
    """Flow from each query, forwards and backwards in time, until it leaves the frame or
    contradicts its way back.

    At every step the position is mended to where pictures [T, H, W] look as the query's
    surroundings do, and the chain ends where they look otherwise. None: flow alone.
    """
    frames = len(flow.forward) + 1
    rows, own = torch.arange(len(queries), device=queries.device), queries[:, 0].long()
    patches = None if pictures is None else make_templates(pictures, queries, config.patch_reach)
    xy = queries.new_zeros((len(queries), frames, 2))
    shape = torch.eye(2, device=xy.device).repeat(len(queries), frames, 1, 1)
    followed = torch.zeros(xy.shape[:2], dtype=torch.bool, device=xy.device)
    xy[rows, own], followed[rows, own] = queries[:, 1:], True
    anchored, likeness = followed.clone(), followed.float()
    for order in (range(frames - 1), range(frames - 1, 0, -1)):
        for t in order:
            other = t + order.step
            alive = (
                followed[:, t]
                & ~followed[:, other]
                & ((own <= t) if order.step > 0 else (own >= t))
            )
            moved, error = _step(flow, xy[:, t], t, other)
            alive = alive & (error < config.chain_error) & inside(moved, _size(flow))
            if patches is not None and pictures is not None:
                carried = carry(_flow(flow, t, other), xy[:, t], shape[:, t], patches.offsets)
                mended, alike = align(patches, pictures[other], moved, carried)
                alive = alive & ~(patches.textured & (alike < config.patch_lost))
                found = alive & patches.textured & (alike >= config.patch_likeness)
                found = found & ((mended - moved).norm(dim=-1) < config.patch_shift)
                moved = torch.where(found[:, None], mended, moved)
                shape[:, other] = torch.where(alive[:, None, None], carried, shape[:, other])
                likeness[:, other] = torch.where(alive, alike, likeness[:, other])
                anchored[:, other] |= found
            xy[:, other] = torch.where(alive[:, None], moved, xy[:, other])
            followed[:, other] |= alive
    return Chain(xy, followed, likeness, anchored, shape, patches)


def refind(
    pictures: Tensor | Grey,
    chain: Chain,
    xy: Tensor,
    config: InferenceConfig,
    before: Refound | None = None,
) -> Refound:
    """Where near xy [N, T, 2] the queries' patches are, in frames to which flow did not follow
    them.

    A patch is taken to look about as it did in the nearest frame to which it was followed.
    before: what an earlier look found; where xy has hardly moved since, that is the answer.
    """
    if before is None:
        places, found = xy.clone(), torch.zeros_like(chain.followed)
        anew = ~chain.followed
    else:
        anew = ~chain.followed & ((xy - before.near).norm(dim=-1) > HARDLY)
        places = torch.where((anew | ~before.found)[..., None], xy, before.places)
        found = before.found & ~anew
    if chain.patches is None:
        return Refound(xy, places, found)
    start = chain.followed.int().argmax(dim=1)  # frames are followed without a gap
    end = start + chain.followed.sum(dim=1) - 1
    for t in range(xy.shape[1]):
        rows = (anew[:, t] & chain.patches.textured).nonzero()[:, 0]
        if not len(rows):
            continue
        nearest = torch.where(t < start, start, end)[rows]
        patches, shape = chain.patches.keep_where(rows), chain.shape[rows, nearest]
        best, alike = search(patches, pictures[t], xy[rows, t], shape, config.patch_search)
        places[rows, t], found[rows, t] = best, alike >= config.patch_refound
    return Refound(xy, places, found)


def best_path(
    places: Tensor, cost: Tensor, own: Tensor, flow: ConsecutiveFlow, config: InferenceConfig
) -> Tensor:
    """Which of the places is passed in each frame: the path of least cost (Viterbi).

    A step costs its distance to where flow leads, forwards or backwards, up to a cap: after an
    occlusion a path may go on anywhere. Place 0 is certain in the query's own frame.
    places [N, T, K, 2] px, cost [N, T, K], own long [N] -> long [N, T].
    """
    count, frames, options = cost.shape
    certain = cost.new_full((options,), NEVER).scatter(
        0, torch.zeros(1, dtype=torch.long, device=cost.device), 0.0
    )
    total, back = cost.new_zeros((count, options)), []
    for t in range(frames):
        if t > 0:
            steps = total[:, :, None] + _step_cost(places[:, t - 1], places[:, t], t, flow, config)
            total, came_from = steps.min(dim=1)
            back.append(came_from)
        total = total + torch.where((own == t)[:, None], certain, cost[:, t])
    path = [total.argmin(dim=1)]
    for came_from in reversed(back):
        path.append(came_from.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], dim=1)


def _step_cost(
    before: Tensor, after: Tensor, t: int, flow: ConsecutiveFlow, config: InferenceConfig
) -> Tensor:
    """Cost of going from each of before [N, K, 2] in frame t - 1 to each of after [N, K, 2] in
    frame t: [N, K, K]."""
    count, options = before.shape[:2]
    there, error = _step(flow, before.reshape(-1, 2), t - 1, t)
    back, back_error = _step(flow, after.reshape(-1, 2), t, t - 1)
    forth = (there.view(count, options, 1, 2) - after[:, None]).norm(dim=-1)
    home = (back.view(count, 1, options, 2) - before[:, :, None]).norm(dim=-1)
    sure = (error < config.flow_error).view(count, options, 1) | (
        back_error < config.flow_error
    ).view(count, 1, options)
    cap = torch.where(sure, config.jump_cost, config.occluded_jump_cost)
    return torch.minimum(torch.minimum(forth, home) / config.step_scale, cap)


def smooth(
    rough: Tensor,
    peaks: Tensor,
    queries: Tensor,
    flow: ConsecutiveFlow,
    config: InferenceConfig,
    anchored: Tensor,
) -> Tensor:
    """Positions along a path, as a Kalman smoother sees them: motion is flow, measurements are
    matches near the path.

    Two filters, one forwards and one backwards in time, are weighed by their variances. A filter
    starts anew where flow contradicts itself or strays from the path. Where the path is anchored
    bool [N, T], it is a measurement itself. rough [N, T, 2], peaks [N, T, K, 2] -> [N, T, 2] px.
    """
    rows, own = torch.arange(len(queries), device=queries.device), queries[:, 0].long()
    distance, nearest = (peaks - rough[:, :, None]).norm(dim=-1).min(dim=2)
    measured = peaks.gather(2, nearest[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    variance = torch.where(distance < config.match_reach, config.match_noise**2, torch.inf)
    measured = torch.where(anchored[..., None], rough, measured)
    variance = torch.where(anchored, config.patch_noise**2, variance)
    measured[rows, own], variance[rows, own] = queries[:, 1:], 1e-4
    ahead, ahead_variance, _, _ = _filter(rough, measured, variance, flow, config, forwards=True)
    _, _, behind, behind_variance = _filter(rough, measured, variance, flow, config, forwards=False)
    share = (ahead_variance / (ahead_variance + behind_variance))[..., None]
    return ahead + share * (behind - ahead)


def _filter(
    rough: Tensor,
    measured: Tensor,
    variance: Tensor,
    flow: ConsecutiveFlow,
    config: InferenceConfig,
    forwards: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A Kalman filter along time: positions [N, T, 2] and variances [N, T], after each measurement
    and before it."""
    frames = rough.shape[1]
    order = range(frames) if forwards else range(frames - 1, -1, -1)
    xy, spread = rough[:, order[0]], torch.full_like(variance[:, 0], NEVER)
    steps = []
    for t in order:
        if t != order[0]:
            moved, error = _step(flow, xy, t - order.step, t)
            lost = (error > config.flow_error) | ((moved - rough[:, t]).norm(dim=-1) > config.stray)
            lost = lost | ~inside(moved, _size(flow))
            xy = torch.where(lost[:, None], rough[:, t], moved)
            spread = torch.where(lost, NEVER, spread + config.flow_noise**2)
        gain = spread / (spread + variance[:, t])
        after = xy + gain[:, None] * (measured[:, t] - xy), (1 - gain) * spread
        steps.append((*after, xy, spread))
        xy, spread = after
    values = [torch.stack(part, dim=1) for part in zip(*steps, strict=True)]
    values = values if forwards else [v.flip(1) for v in values]
    return values[0], values[1], values[2], values[3]


def cycle_errors(footage: Footage, xy: Tensor, queries: Tensor) -> Tensor:
    """How far from its query the feature at xy [N, T, 2] is found in the query's own frame: [N, T]
    px."""
    own, which = queries[:, 0].long().unique(return_inverse=True)
    maps, errors = footage.maps[own], xy.new_zeros(xy.shape[:2])
    for start in range(0, xy.shape[1], FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        vectors = embed_tracks(footage.maps[part], footage.grid, xy[:, part])
        rows = which.repeat_interleave(vectors.shape[1])
        found = footage.tracker.match(vectors.flatten(0, 1), maps, rows, footage.grid)
        errors[:, part] = (found.view(*vectors.shape[:2], 2) - queries[:, None, 1:]).norm(dim=-1)
    return errors


def strain(flow: ConsecutiveFlow, xy: Tensor) -> Tensor:
    """How badly paths xy [N, T, 2] px agree with flow: [N, T], mean over the frames beside of log(1
    + px between)."""
    frames = xy.shape[1]
    off = xy.new_zeros((len(xy), max(frames - 1, 0), 2))
    for t in range(frames - 1):
        off[:, t, 0] = (_flow(flow, t, t + 1).move(xy[:, t]) - xy[:, t + 1]).norm(dim=-1)
        off[:, t, 1] = (_flow(flow, t + 1, t).move(xy[:, t + 1]) - xy[:, t]).norm(dim=-1)
    ahead, behind = F.pad(off[..., 0].log1p(), (0, 1)), F.pad(off[..., 1].log1p(), (1, 0))
    sides = torch.full((frames,), 2.0, device=xy.device)
    sides[[0, -1]] = 1
    return (ahead + behind) / sides


def _beside(values: Tensor) -> Tensor:
    """Mean of values [N, T] over the frames before and after; at the ends, of the one there is and
    the own."""
    padded = F.pad(values[:, None], (1, 1), mode="replicate")[:, 0]
    return (padded[:, :-2] + padded[:, 2:]) / 2


def _cosine(footage: Footage, xy: Tensor, vectors: Tensor) -> Tensor:
    """Cosine between unit vectors [N, C] and the features at xy [N, T, 2]: [N, T]."""
    each = [(_units(footage, xy[:, t], t) * vectors).sum(dim=-1) for t in range(xy.shape[1])]
    return torch.stack(each, dim=1)


def _units(footage: Footage, xy: Tensor, t: int) -> Tensor:
    """Features at xy [N, 2] of frame t, unit length: [N, C].

    Those of all frames at once would be the largest thing.
    """
    return normalise(embed_tracks(footage.maps[t : t + 1], footage.grid, xy[:, None])[:, 0], dim=-1)


def _step(flow: ConsecutiveFlow, xy: Tensor, t: int, other: int) -> tuple[Tensor, Tensor]:
    """Positions [K, 2] of frame t in the next or previous frame, and how far the way back misses
    [K] px."""
    moved = _flow(flow, t, other).move(xy)
    return moved, (_flow(flow, other, t).move(moved) - xy).norm(dim=-1)


def _flow(flow: ConsecutiveFlow, t: int, other: int) -> Flow:
    """Flow from a frame to the next or the previous one."""
    return Flow(flow.forward[t] if other > t else flow.backward[other])


def _size(flow: ConsecutiveFlow) -> tuple[int, int]:
    return int(flow.forward.shape[-2]), int(flow.forward.shape[-1])
