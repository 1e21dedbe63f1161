"""From a fitted tracker to trajectories, our way: matches joined by flow.

Matching each frame on its own never drifts, but is only as precise as a cell allows and may jump to
a look-alike. Flow is precise from one frame to the next, but drifts and ends behind an occluder. So
every frame proposes a few matches (`candidates`), and flow from the query proposes one more
(`flow_chain`). The best path through all of these is found as in a hidden Markov model whose
transitions are flow (`path`), and positions along it are smoothed by a Kalman filter whose motion
is flow and whose measurements are matches (`smoothing`). Near a path that flow has lost, the
query's own patch is looked for again and is a sharper measurement (`refinding`). What was surely
seen is then remembered, and everything is done once more (`memory`). Four more points around each
query go the same way, and vote on where the query went (`support`). See docs/method.md 8 "Tracking
by joining".

All positions are px of the working frame, and everything is batched over the queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from dinotrack import chunks
from dinotrack.chunks import in_chunks
from dinotrack.config import InferenceConfig
from dinotrack.correlation import at_hand, normalise
from dinotrack.flow import VideoFlow
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.progress import Meter, Progress, Tick, silent, unheard
from dinotrack.queries import Queries, Trajectories
from dinotrack.tracking.anchors import Looks, anchors_of, looks_of
from dinotrack.tracking.candidates import cosines_along, propose, units_at
from dinotrack.tracking.evidence import (
    Evidence,
    Joined,
    cycle_errors,
    disagreement,
    in_other_shots,
)
from dinotrack.tracking.flow_chain import QueryChains, follow
from dinotrack.tracking.memory import remember
from dinotrack.tracking.patches import Grey, Patches, make_patches
from dinotrack.tracking.path import Path, best_path
from dinotrack.tracking.refinding import refind
from dinotrack.tracking.smoothing import smooth
from dinotrack.tracking.support import agree, surround


@dataclass(frozen=True)
class TrackedVideo:
    """A video as it is tracked: how its frames look to the networks and to the eye, and move."""

    tracker: Tracker
    maps: FeatureMaps
    """Refined features of all frames."""
    flow: VideoFlow
    frames: UInt8[Tensor, "T 3 H W"]
    held: Grey | None = None
    """The frames in grey, where they are held."""

    @property
    def grey(self) -> Grey:
        """The frames in grey."""
        return Grey(self.frames) if self.held is None else self.held

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the working frames."""
        return self.flow.size

    def at_hand(self) -> TrackedVideo:
        """The same video as it is read soonest, where the CPU reads it: in single precision, and
        with what would be computed for every point. Where that takes more than chunks.HELD_BYTES,
        the video stays as it is."""
        values = 2 * self.maps.values.numel() + self.flow.numel()
        if self.maps.device.type != "cpu" or 4 * values > chunks.HELD_BYTES:
            return self
        flow = self.flow.to(dtype=torch.float32)
        return TrackedVideo(
            self.tracker, at_hand(self.maps), flow, self.frames, self.grey.at_hand()
        )

    def to(self, device: torch.device) -> TrackedVideo:
        """With everything on a device, but for the networks, which stay where they are."""
        moved = self.flow.to(device), self.frames.to(device)
        return TrackedVideo(self.tracker, self.maps.to(device), *moved, self.held)


SECONDS = {"follow": 7.0, "propose": 22.0, "refind": 6.0, "check": 14.0}
"""How long each part takes for a frame, in relation to the others, as measured on two cores of a
CPU. The rest takes under a tenth of the time."""


class Pace(NamedTuple):
    """What is told by the parts of `SECONDS` how many frames they are done with."""

    follow: Tick = unheard
    propose: Tick = unheard
    refind: Tick = unheard
    check: Tick = unheard


@dataclass(frozen=True)
class Start:
    """What every pass starts from."""

    points: Queries
    given: Bool[Tensor, "N T"]
    """Where the points are known to be."""
    patches: Patches
    """What the anchors of the points look like."""
    chain: QueryChains
    """How far flow follows them."""
    pace: Pace
    """What counts how far the pass is."""


@torch.no_grad()
def track_by_joining(
    video: TrackedVideo, queries: Queries, config: InferenceConfig, progress: Progress = silent
) -> Trajectories:
    """Where queries are in every frame, by matches that are joined by flow.

    The video and the queries lie on one device. Progress counts positions.
    """

    frames = len(video.maps)
    meter = Meter(progress, "track", len(queries) * frames)

    def track(part: slice) -> Trajectories:
        joined = join(video, queries[part], config, meter)
        visible = config.confidence.visible
        confidence = in_other_shots(
            joined.evidence.confidence(config.confidence),
            queries[part].frame,
            video.flow.cuts,
            sure=config.memory.confidence,
            visible=visible,
        )
        return Trajectories(joined.xy, confidence >= visible, confidence)

    parts = []
    for part, tracked in in_chunks(track, len(queries), chunks.JOINED_QUERIES, "points"):
        parts.append(tracked)
        meter.reach(part.stop * frames)
    return Trajectories.joined(parts)


@torch.no_grad()
def join(
    video: TrackedVideo, queries: Queries, config: InferenceConfig, meter: Meter | None = None
) -> Joined:
    """Where a few queries are in every frame, and what speaks for it.

    There are two passes, unless config.memory.weight is 0. The first only has to know what was
    surely seen, not exactly where, so that it does not look for lost patches.
    """
    points = surround(queries, config.support, video.flow.size)
    anchors = anchors_of(points, len(video.maps))
    looks = looks_of(anchors, normalise(video.maps.at_queries(anchors.places), dim=1))
    patches = make_patches(video.grey, anchors.places, config.patches)
    pace = Pace() if meter is None else _pace(meter, len(queries), config)
    chain = follow(video.flow, points, config.chain, patches, pace.follow)
    start = Start(points, anchors.given, patches, chain, pace)
    if config.memory.weight:
        first = _pass(video, start, looks, config, rounds=0)
        seen = (units_at(video.maps, t, first.xy[:, t]) for t in range(len(video.maps)))
        confidence = first.evidence.confidence(config.confidence)
        everywhere = remember(looks.all, seen, confidence, points.frame, config.memory)
        looks = replace(looks, all=everywhere)
    joined = _pass(video, start, looks, config, rounds=config.refinding.rounds)
    return agree(queries, points, joined, config.confidence)


def _pace(meter: Meter, points: int, config: InferenceConfig) -> Pace:
    """How far so many points are, in positions: each part counts a share of every frame."""
    passes = 2 if config.memory.weight else 1
    times = {"follow": 2, "propose": passes, "refind": config.refinding.rounds, "check": passes}
    whole = sum(times[part] * seconds for part, seconds in SECONDS.items())
    ticks = {part: meter.ticker(points * seconds / whole) for part, seconds in SECONDS.items()}
    return Pace(**ticks)


def _pass(
    video: TrackedVideo,
    start: Start,
    looks: Looks,
    config: InferenceConfig,
    rounds: int,
) -> Joined:
    """Where what the points look like is found, each point on its own.

    rounds: how often lost patches are looked for.
    """
    points = start.points
    chain = start.chain
    flow = video.flow
    pace = start.pace
    matches = propose(video.tracker, video.maps, looks, config.path.candidates, pace.propose)
    along_chain = cosines_along(video.maps, chain.xy, looks)
    chain_cosine = torch.where(chain.followed, along_chain, -torch.inf)
    candidates = matches.with_first(chain.xy, chain_cosine)

    passed = best_path(candidates, start.given, flow, config.path)
    precise = chain.precise(config.chain.hops) & (passed == 0)
    path = Path(candidates.chosen(passed), precise, precise.float())
    xy = smooth(path, matches.xy, start.given, flow, config.smoothing)
    refound = None
    for _ in range(rounds):
        refound = refind(start.patches, chain, xy, config.refinding, refound, pace.refind)
        mended = path.through(refound.places, refound.found, refound.sharpness)
        xy = smooth(mended, matches.xy, start.given, flow, config.smoothing)

    evidence = Evidence(
        cosine=cosines_along(video.maps, xy, looks),
        cycle_error=cycle_errors(video.tracker, video.maps, points, xy, pace.check).log1p(),
        followed=chain.followed.float(),
        distinctness=matches.distinctness(),
        likeness=chain.likeness,
        disagreement=disagreement(flow, xy),
        cuts=flow.cuts,
    )
    return Joined(xy, evidence)
