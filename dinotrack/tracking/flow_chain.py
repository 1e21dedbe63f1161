"""Flow followed from each query through the video, and held to what the query looks like.

Optical flow is precise from one frame to the next, but errors add up along a chain of many frames,
and behind an occluder flow follows the occluder. Two checks keep a chain honest. The way back must
lead to where the step began (the cycle error, as in N. Sundaram, T. Brox and K. Keutzer, "Dense
Point Trajectories by GPU-accelerated Large Displacement Optical Flow", ECCV 2010). And the frame
must look there as the query does (`patches`): where it does, the position is mended to where it
looks most alike, so that errors stop adding up; where it looks otherwise, the chain ends.
See docs/method.md 8 "Flow chain".
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
    patch_found: Bool[Tensor, "N T"]
    """Where the query's patch was found, so that errors of flow have not added up."""
    shape: Float[Tensor, "N T 2 2"]
    """How the patch is turned and stretched; the identity where not followed."""

    @property
    def first_frame(self) -> Int[Tensor, " N"]:
        """The first frame to which each point was followed."""
        return self.followed.int().argmax(dim=1)

    @property
    def last_frame(self) -> Int[Tensor, " N"]:
        """The last one."""
        return self.first_frame + self.followed.sum(dim=1) - 1


class Link(NamedTuple):
    """One frame of the chains: the fields of `QueryChains`."""

    xy: Float[Tensor, "N 2"]
    followed: Bool[Tensor, " N"]
    likeness: Float[Tensor, " N"]
    patch_found: Bool[Tensor, " N"]
    shape: Float[Tensor, "N 2 2"]


def follow(
    flow: VideoFlow,
    queries: Queries,
    config: ChainConfig,
    patches: Patches | None = None,
    tick: Tick = unheard,
) -> QueryChains:
    """Flow from each query until it leaves the frame, contradicts its way back, or is lost.

    patches: those of the queries, which mend the positions; None follows flow alone.
    """
    frames = range(flow.frame_count)
    later = _follow_one_way(flow, queries, config, patches, frames, tick)
    earlier = _follow_one_way(flow, queries, config, patches, frames[::-1], tick)
    links = [_choose(queries.frame <= t, later[t], earlier[t]) for t in frames]
    return QueryChains(*(torch.stack(parts, dim=1) for parts in zip(*links, strict=True)))


def _follow_one_way(
    flow: VideoFlow,
    queries: Queries,
    config: ChainConfig,
    patches: Patches | None,
    order: range,
    tick: Tick,
) -> list[Link]:
    """The links of all frames, in the order of time; a query's own frame begins its chain.

    order: the frames as they are passed, forwards or backwards.
    """
    nowhere = _nowhere(queries)
    start = _start(queries)
    link = nowhere
    links: list[Link] = []
    for t in order:
        if links:
            reached = _step(link, flow, t - order.step, t, config, patches)
            link = _choose(reached.followed, reached, nowhere)
        link = _choose(queries.frame == t, start, link)
        links.append(link)
        tick(1)
    return links[:: order.step]


def _step(
    link: Link, flow: VideoFlow, t: int, u: int, config: ChainConfig, patches: Patches | None
) -> Link:
    """From frame t to its neighbour u. What is not followed there holds no meaning."""
    step = flow.step(link.xy, t, u)
    followed = link.followed & step.holds(config.cycle_error, flow.size)
    if patches is None:
        nothing = torch.zeros_like(step.error)
        return Link(step.xy, followed, nothing, nothing.bool(), link.shape)
    shape = carry(patches, flow.between(t, u), link.xy, link.shape)
    return _mend(link._replace(xy=step.xy, followed=followed, shape=shape), u, config, patches)


def _mend(link: Link, t: int, config: ChainConfig, patches: Patches) -> Link:
    """Ends chains that do not look as their queries do, and moves the others to where they do."""
    aligned = align(patches, t, link.xy, link.shape)
    lost = patches.textured & (aligned.likeness < config.lost)
    followed = link.followed & ~lost
    near = (aligned.xy - link.xy).norm(dim=-1) < config.shift
    patch_found = patches.textured & (aligned.likeness >= config.found) & near
    xy = torch.where(patch_found[:, None], aligned.xy, link.xy)
    return Link(xy, followed, aligned.likeness, patch_found, link.shape)


def _start(queries: Queries) -> Link:
    """Every query in its own frame."""
    yes = torch.ones_like(queries.frame, dtype=torch.bool)
    return Link(queries.xy, yes, yes.float(), yes, _identities(queries))


def _nowhere(queries: Queries) -> Link:
    """No query in a frame."""
    no = torch.zeros_like(queries.frame, dtype=torch.bool)
    return Link(torch.zeros_like(queries.xy), no, no.float(), no, _identities(queries))


def _identities(queries: Queries) -> Float[Tensor, "N 2 2"]:
    return torch.eye(2, device=queries.xy.device).expand(len(queries), 2, 2)


def _choose(condition: Bool[Tensor, " N"], yes: Link, no: Link) -> Link:
    """Each point's link where the condition holds, and otherwise the other one."""
    return Link(
        torch.where(condition[:, None], yes.xy, no.xy),
        torch.where(condition, yes.followed, no.followed),
        torch.where(condition, yes.likeness, no.likeness),
        torch.where(condition, yes.patch_found, no.patch_found),
        torch.where(condition[:, None, None], yes.shape, no.shape),
    )
