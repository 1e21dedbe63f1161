"""Flow followed from each query through the video, and held to what the query looks like.

Optical flow is precise from one frame to the next, but errors add up along a chain of many frames,
and behind an occluder flow follows the occluder. Two checks keep a chain honest. The way back must
lead to where the step began (the cycle error, as in N. Sundaram, T. Brox and K. Keutzer, "Dense
Point Trajectories by GPU-accelerated Large Displacement Optical Flow", ECCV 2010). And the frame
must look there as the query does (`patches`): where it does, the position is mended to where it
looks most alike, so that errors stop adding up; where it looks otherwise, the chain ends. Where
nothing can be mended, because a surface shows too little, leaps take the place of many steps.
See docs/method.md 8 "Flow chain" and "Leaps".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.config import ChainConfig
from dinotrack.flow import VideoFlow
from dinotrack.progress import Tick, unheard
from dinotrack.queries import Queries
from dinotrack.tracking.anchors import Anchors, anchors_of
from dinotrack.tracking.patches import Patches, align, carry


@dataclass(frozen=True)
class QueryChains:
    """Flow from each of N queries, as far as it goes in both directions of time."""

    xy: Float[Tensor, "N T 2"]
    """Px, 0 where not followed."""
    followed: Bool[Tensor, "N T"]
    """Frames that were reached: the query's own and those next to it without a gap."""
    likeness: Float[Tensor, "N T"]
    """How much the place looks as the query does, in [-1, 1]; 0 where not followed."""
    hops: Int[Tensor, "N T"]
    """How many flows, steps or leaps, led here since the query's patch was found: 0 where it is.
    Errors of so many flows have added up. Without meaning where not followed."""
    shape: Float[Tensor, "N T 2 2"]
    """How the patch is turned and stretched; the identity where not followed."""
    anchor: Int[Tensor, "N T"]
    """The number of the anchor that the point was followed from, whose patch that is."""

    def precise(self, hops: int) -> Bool[Tensor, "N T"]:
        """Where at most so many flows led to from where the query's patch was found."""
        return self.followed & (self.hops <= hops)

    def nearest(self) -> Int[Tensor, "N T"]:
        """The frame nearest to each to which the point was followed; of two, the earlier."""
        count = self.followed.shape[1]
        frames = torch.arange(count, device=self.followed.device)
        last = torch.where(self.followed, frames, -count).cummax(dim=1).values
        coming = torch.where(self.followed, frames, 2 * count).flip(1).cummin(dim=1).values.flip(1)
        return torch.where(frames - last <= coming - frames, last, coming)


class Link(NamedTuple):
    """One frame of the chains: the fields of `QueryChains`."""

    xy: Float[Tensor, "N 2"]
    followed: Bool[Tensor, " N"]
    likeness: Float[Tensor, " N"]
    hops: Int[Tensor, " N"]
    shape: Float[Tensor, "N 2 2"]
    anchor: Int[Tensor, " N"]


def follow(
    flow: VideoFlow,
    queries: Queries,
    config: ChainConfig,
    patches: Patches | None = None,
    tick: Tick = unheard,
) -> QueryChains:
    """Flow from each anchor until it leaves the frame, contradicts its way back, or is lost.

    patches: those of all anchors, which mend the positions; None follows flow alone.
    """
    frames = range(flow.frame_count)
    anchors = anchors_of(queries, flow.frame_count)
    walk = _Walk(flow, anchors, config, patches)
    later = walk.links(frames, tick)
    earlier = walk.links(frames[::-1], tick)
    past, future = anchors.distances()
    links = [_between(later[t], earlier[t], past[:, t], future[:, t], config.shift) for t in frames]
    return QueryChains(*(torch.stack(parts, dim=1) for parts in zip(*links, strict=True)))


@dataclass(frozen=True)
class _Walk:
    """What chains are followed through, and from where."""

    flow: VideoFlow
    anchors: Anchors
    config: ChainConfig
    patches: Patches | None

    def links(self, order: range, tick: Tick) -> list[Link]:
        """The links of all frames, in the order of time; each anchor begins a chain.

        order: the frames as they are passed, forwards or backwards.
        """
        anchors = self.anchors
        last = anchors.before if order.step > 0 else anchors.after
        nowhere = _nowhere(anchors)
        link = nowhere
        links: list[Link] = []
        for t in order:
            if links:
                reached = self._reach(links, t, order.step)
                link = _choose(reached.followed, reached, nowhere)
            link = _choose(anchors.given[:, t], _start(anchors, last[:, t]), link)
            links.append(link)
            tick(1)
        return links[:: order.step]

    def _reach(self, links: list[Link], t: int, way: int) -> Link:
        """Frame t, from the links that were passed before it. What is not followed there holds no
        meaning.

        way: 1 where frames are passed forwards, -1 where backwards.
        """
        link = self._moved(links[-1], t - way, t, self.config.cycle_error)
        for leaps in self.flow.leaps:
            if len(links) >= leaps.span:
                far = links[-leaps.span]
                leapt = self._moved(far, t - way * leaps.span, t, self.config.leap_error)
                better = link.followed & leapt.followed & (leapt.hops < link.hops)
                link = _choose(better & (leapt.anchor == link.anchor), leapt, link)
        if self.patches is None:
            return link
        return _mend(link, t, self.config, self.patches[link.anchor.clamp(min=0)])

    def _moved(self, link: Link, t: int, u: int, cycle_error: float) -> Link:
        """From frame t to frame u, by one flow."""
        step = self.flow.step(link.xy, t, u)
        followed = link.followed & step.holds(cycle_error, self.flow.size)
        shape = link.shape
        if self.patches is not None:
            shape = carry(self.patches, self.flow.between(t, u), link.xy, shape)
        return Link(
            step.xy, followed, torch.zeros_like(step.error), link.hops + 1, shape, link.anchor
        )


def _between(
    later: Link,
    earlier: Link,
    past: Float[Tensor, " N"],
    future: Float[Tensor, " N"],
    agreement: float,
) -> Link:
    """One frame of the chains from the anchor before it, `past` frames ago, and from the next one.

    Where both reached the frame, the nearer one holds, and where they agree to within so many px,
    the place lies between theirs, as near to each as its anchor is.
    """
    ours = later.followed & (~earlier.followed | (past <= future))
    nearer = _choose(ours, later, earlier)
    agreed = later.followed & earlier.followed & (past + future > 0)
    agreed &= (later.xy - earlier.xy).norm(dim=-1) < agreement
    share = (past / (past + future).clamp(min=1)).nan_to_num(0.0)[:, None]
    mixed = later.xy + share * (earlier.xy - later.xy)
    return nearer._replace(xy=torch.where(agreed[:, None], mixed, nearer.xy))


def _mend(link: Link, t: int, config: ChainConfig, patches: Patches) -> Link:
    """Ends chains that do not look as their queries do, and moves the others to where they do."""
    aligned = align(patches, t, link.xy, link.shape)
    lost = patches.textured & (aligned.likeness < config.lost)
    followed = link.followed & ~lost
    near = (aligned.xy - link.xy).norm(dim=-1) < config.shift
    found = patches.textured & (aligned.likeness >= config.found) & near
    xy = torch.where(found[:, None], aligned.xy, link.xy)
    hops = torch.where(found, 0, link.hops)
    return Link(xy, followed, aligned.likeness, hops, link.shape, link.anchor)


def _start(anchors: Anchors, number: Int[Tensor, " N"]) -> Link:
    """Every point at the anchor with its number."""
    yes = torch.ones_like(number, dtype=torch.bool)
    xy = anchors.places.xy[number]
    return Link(xy, yes, yes.float(), torch.zeros_like(number), _identities(xy), number)


def _nowhere(anchors: Anchors) -> Link:
    """No point in a frame."""
    number = torch.full_like(anchors.before[:, 0], -1)
    no = torch.zeros_like(number, dtype=torch.bool)
    xy = anchors.places.xy.new_zeros((len(number), 2))
    return Link(xy, no, no.float(), torch.zeros_like(number), _identities(xy), number)


def _identities(xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2 2"]:
    return torch.eye(2, device=xy.device).expand(len(xy), 2, 2)


def _choose(condition: Bool[Tensor, " N"], yes: Link, no: Link) -> Link:
    """Each point's link where the condition holds, and otherwise the other one."""
    return Link(
        torch.where(condition[:, None], yes.xy, no.xy),
        torch.where(condition, yes.followed, no.followed),
        torch.where(condition, yes.likeness, no.likeness),
        torch.where(condition, yes.hops, no.hops),
        torch.where(condition[:, None, None], yes.shape, no.shape),
        torch.where(condition, yes.anchor, no.anchor),
    )
