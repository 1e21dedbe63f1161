"""Optical flow: where every pixel of a frame is in another frame.

Flow is a value here: one can sample it, follow it, and ask how far a point misses itself after
going there and back. What computes it is in `flow_methods`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, starmap
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinotrack.chunks import in_threads
from dinotrack.flow_methods import FLOWS, THREADED, FlowFunction, resize_flow, resolve_flow_name
from dinotrack.geometry import Grid, inside
from dinotrack.progress import Progress, silent
from dinotrack.run import Run
from dinotrack.video import Video
from dinotrack.working import Resized, flow_frames

Frame = UInt8[Tensor, "3 H W"]


class Step(NamedTuple):
    """Where flow takes N points, and how well it agrees with the way back."""

    xy: Float[Tensor, "N 2"]
    """Px, possibly outside the frame."""
    error: Float[Tensor, " N"]
    """The cycle error |F(p) + B(p + F(p))|, px. The way back of a point that has left the frame is
    read at the border."""

    def holds(self, cycle_error: float, size: tuple[int, int]) -> Bool[Tensor, " N"]:
        """Whether flow can be believed: less than so many px off on the way back, and still in
        the frame of that size (H, W)."""
        return (self.error < cycle_error) & inside(self.xy, size)


@dataclass(frozen=True)
class Flow:
    """The motion from one frame to another."""

    displacement: Float[Tensor, "2 h w"]
    """(dx, dy) px of the frames, of any float type."""
    stride: int = 1
    """Px from one place that it is known at to the next. 2: each place has the mean of 2 x 2 px."""

    @property
    def grid(self) -> Grid:
        """The places that it is known at."""
        rows, cols = self.displacement.shape[-2:]
        return Grid(rows, cols, self.stride, (self.stride - 1) / 2)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames, where it is known at each of their pixels."""
        return self.grid.rows, self.grid.cols

    def at(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Displacements at positions (px), bilinear; outside the frame that of the border."""
        return self.grid.sample(self.displacement.float()[None], xy.float()[None])[0]

    def move(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Where positions (px) go: float32, possibly outside the frame."""
        return xy + self.at(xy)

    def step(self, back: Flow, xy: Float[Tensor, "N 2"]) -> Step:
        """Where positions (px) go, and how far they miss themselves after the way back."""
        there = self.at(xy)
        moved = xy + there
        error = (there + back.at(moved)).square().sum(dim=-1).sqrt()
        return Step(moved, error)

    def halved(self) -> Flow:
        """The same motion at a quarter as many places."""
        means = F.avg_pool2d(self.displacement.float()[None], 2, ceil_mode=True)[0]
        return Flow(means, 2 * self.stride)


@dataclass(frozen=True)
class Leaps:
    """The motion between frames that lie some way apart, both ways, at every second pixel."""

    span: int
    """From how many frames before; 2 or more."""
    forward: Float[Tensor, "M 2 h w"]
    """M = T - span: from frame t to t + span, px of the working frame."""
    backward: Float[Tensor, "M 2 h w"]
    """From frame t + span to t."""


@dataclass(frozen=True)
class VideoFlow:
    """The motion from frame to frame of a whole video, both ways, in working px."""

    forward: Float[Tensor, "M 2 H W"]
    """M = T - 1: from frame t to t + 1."""
    backward: Float[Tensor, "M 2 H W"]
    """From frame t + 1 to t."""
    cuts: frozenset[int] = frozenset()
    """The frames, 1 or later, that begin a new shot. What flow says between such a frame and one
    before it means nothing."""
    leaps: tuple[Leaps, ...] = ()
    """The motion over several frames at once, of different spans, where that is known, too."""

    @property
    def frame_count(self) -> int:
        """Frames of the video."""
        return len(self.forward) + 1

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames."""
        return int(self.forward.shape[-2]), int(self.forward.shape[-1])

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> VideoFlow:
        """The same flow on a device, or of a float type."""
        return VideoFlow(
            self.forward.to(device, dtype),
            self.backward.to(device, dtype),
            self.cuts,
            tuple(
                Leaps(leaps.span, leaps.forward.to(device, dtype), leaps.backward.to(device, dtype))
                for leaps in self.leaps
            ),
        )

    def numel(self) -> int:
        """How many numbers it holds."""
        every: tuple[VideoFlow | Leaps, ...] = (self, *self.leaps)
        return sum(flow.forward.numel() + flow.backward.numel() for flow in every)

    def is_cut(self, t: int, u: int) -> bool:
        """Whether frames t and u are of different shots."""
        return any(cut in self.cuts for cut in range(min(t, u) + 1, max(t, u) + 1))

    def between(self, t: int, u: int) -> Flow:
        """Flow from a frame to the next or the previous one, or to one that a leap leads to."""
        if abs(t - u) == 1:
            return Flow(self.forward[t] if u > t else self.backward[u])
        known = [leaps for leaps in self.leaps if leaps.span == abs(t - u)]
        assert known, f"there is no flow between frames {t} and {u}"
        return Flow(known[0].forward[t] if u > t else known[0].backward[u], stride=2)

    def step(self, xy: Float[Tensor, "N 2"], t: int, u: int) -> Step:
        """Where positions (px) of frame t are in frame u, a neighbour or where a leap leads to.

        Across a cut the cycle error is infinite, so that nobody believes it.
        """
        step = self.between(t, u).step(self.between(u, t), xy)
        if self.is_cut(t, u):
            return step._replace(error=torch.full_like(step.error, torch.inf))
        return step


@dataclass(frozen=True)
class FlowEstimator:
    """Computes flow between any two frames of one video."""

    frames: UInt8[Tensor, "T 3 H W"] | Resized
    """What flow is computed on: the working frames, or larger ones that are made when needed."""
    size: tuple[int, int]
    """(H, W) of the working frames, in whose px flow is told."""
    estimate: FlowFunction
    method: str
    """Its name in `FLOWS`."""

    def between(self, t: int, u: int) -> tuple[Flow, Flow]:
        """Flow from frame t to u, and from u to t."""
        first, second = _both_orders(self.frames[t], self.frames[u])
        there, back = resize_flow(self.estimate(first, second), self.size).to(first.device)
        return Flow(there), Flow(back)

    def neighbours(self, progress: Progress = silent) -> VideoFlow:
        """Flow between all neighbours, where the frames lie; empty tensors for one frame.

        float16 keeps motion of under 32 px to 1/64 px.
        """
        pairs = len(self.frames) - 1
        shape = 2, pairs, 2, *self.size
        flows = torch.empty(shape, dtype=torch.float16, device=self.frames[0].device)
        progress("flow", 0, pairs)
        both = starmap(_both_orders, pairwise(self.frames[t] for t in range(pairs + 1)))
        threads = torch.get_num_threads() if self.method in THREADED else 1
        found = in_threads(lambda both: self.estimate(*both), both, threads)
        for t, both_ways in enumerate(found):
            # torch works here alone, as each thread would start threads of its own
            flows[:, t] = resize_flow(both_ways, self.size)
            progress("flow", t + 1, pairs)
        return VideoFlow(forward=flows[0], backward=flows[1])


def _both_orders(first: Frame, second: Frame) -> UInt8[Tensor, "2 2 3 H W"]:
    """What flow leads from, there and back, and where to."""
    return torch.stack((torch.stack((first, second)), torch.stack((second, first))))


def make_flow_estimator(
    video: Video, frames: UInt8[Tensor, "T 3 H W"], chosen: Sequence[int], run: Run
) -> FlowEstimator:
    """What computes the flow between those frames of a video that are chosen.

    frames: their working frames. Flow sees larger frames than the networks do, where
    config.flow.area is larger.
    """
    config = run.config
    name = resolve_flow_name(config.flow.name, run.device, required=run.required)
    seen = flow_frames(video, frames, chosen, config.video, config.flow.area)
    size = int(frames.shape[-2]), int(frames.shape[-1])
    with run.stage("flow"):  # a network may have to be loaded
        estimate = FLOWS[name](config.flow, run.device)
    return FlowEstimator(seen, size, estimate, name)


def video_flow(estimator: FlowEstimator, run: Run) -> VideoFlow:
    """The stage: flow between all neighbouring frames, computed unless it is known."""

    def compute() -> dict[str, Float[Tensor, "M 2 H W"]]:
        flow = estimator.neighbours(run.progress)
        return {"forward": flow.forward, "backward": flow.backward}

    key = flow_key(estimator, run)
    with run.stage("flow"):
        known = run.cache.remember("flow", key, compute, run.progress)
        return VideoFlow(known["forward"], known["backward"])


def flow_key(estimator: FlowEstimator, run: Run) -> dict[str, Any]:
    """What the flow of a video depends on besides the video."""
    return {
        **asdict(run.config.flow),
        "name": estimator.method,
        "size": estimator.size,
        "computed_at": list(estimator.frames[0].shape),
        "filter": run.config.video.filter,
    }
