"""Optical flow that is followed from frame to frame: chains, the labels that a fit learns from.

A chain is one point of the scene as flow sees it. It goes on as long as flow agrees with its way
back, and it never starts again after a gap, because flow can't know that a point that comes back is
the same one (`docs/method.md` 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.config import TrajectoryConfig
from dinotrack.flow import Flow, VideoFlow
from dinotrack.geometry import pixel_grid
from dinotrack.pairs import is_sampled
from dinotrack.progress import Progress, silent

DirectFlow = Callable[[int, int], tuple[Flow, Flow]]
"""direct(i, j): flow from frame i to j, and from j to i, as `FlowEstimator.between` gives it."""
_Visit = tuple[Int[Tensor, " K"], Float[Tensor, "K 2"]]
"""Which chains reach a frame, by their running numbers, and where they are in it, px."""


@dataclass(frozen=True)
class Chains:
    """N chains through a video, M positions in all.

    A chain is valid in consecutive frames, from its start on.
    """

    xy: Float[Tensor, "M 2"]
    """Px of the working frame: chain after chain, each in the order of time."""
    start: Int[Tensor, " N"]
    """The first frame in which a chain is valid."""
    length: Int[Tensor, " N"]
    """In how many frames a chain is valid."""
    frame_count: int
    """Frames of the video."""

    @property
    def end(self) -> Int[Tensor, " N"]:
        """The frame after the last valid one."""
        return self.start + self.length

    @cached_property
    def offset(self) -> Int[Tensor, " N"]:
        """The row of `xy` at which a chain begins."""
        return self.length.cumsum(0) - self.length

    @property
    def first(self) -> Float[Tensor, "N 2"]:
        """The position in the first valid frame, px."""
        return self.xy[self.offset]

    def seen_in(
        self, frame: int | Int[Tensor, "F 1"], rows: Int[Tensor, " K"] | slice = slice(None)
    ) -> Bool[Tensor, "*F K"]:
        """Whether all chains, or those of some rows, are valid in a frame or in each of several."""
        start = self.start[rows]
        return (start <= frame) & (frame < start + self.length[rows])

    def at(self, rows: Int[Tensor, " K"], frame: int | Int[Tensor, " K"]) -> Float[Tensor, "K 2"]:
        """Positions (px) of chains in a frame, or in one frame each, in which they are valid."""
        return self.xy[self.offset[rows] + frame - self.start[rows]]


def flow_chains(
    flow: VideoFlow,
    config: TrajectoryConfig,
    direct: DirectFlow | None = None,
    progress: Progress = silent,
) -> Chains:
    """Follow flow from every pixel, or point of a lattice, that no chain passes through yet.

    direct: flow between any two frames, by which chains that have drifted are ended. It is asked
    for once for each pair of frames i < j - 1 that a chain spans and that is sampled
    (`pairs.is_sampled` with config.direct_near), with j ascending. Without it no chain is ended.

    Chains come in the order of their start frames, then row by row. There may be none.
    """
    progress("labels", 0, flow.frame_count)
    lattice = _Lattice(*flow.size, config.step)
    points = lattice.points(flow.forward.device)
    alive = _Alive.born(points, frame=0, count=0)
    births = [len(points)]
    visits = [(alive.index, alive.xy)]
    progress("labels", 1, flow.frame_count)
    for t in range(1, flow.frame_count):
        there, back = flow.between(t - 1, t), flow.between(t, t - 1)
        step = flow.step(alive.xy, t - 1, t)
        alive = alive.keep_where(step.xy, step.holds(config.cycle_error, flow.size))
        if direct is not None:
            alive = _drop_drifted(alive, t, direct, config)
        starts = points[_starts(lattice, alive.xy, there, back, config.cycle_error)]
        alive = alive.join(_Alive.born(starts, frame=t, count=sum(births)))
        births.append(len(starts))
        visits.append((alive.index, alive.xy))
        progress("labels", t + 1, flow.frame_count)
    return _collect(visits, births, config.min_length)


def in_foreground(chains: Chains, masks: Bool[Tensor, "T H W"]) -> Bool[Tensor, " N"]:
    """Whether each chain starts on the foreground: at the pixel nearest to its first point."""
    x, y = chains.first.round().long().unbind(-1)
    return masks[chains.start, y, x]


@dataclass(frozen=True)
class _Lattice:
    """Where chains may start: the middles of cells of step x step px.

    A chain anywhere in a cell bars new ones from its middle. With step 1, as in the reference,
    cells are pixels. What is left at the right or at the bottom, too narrow to have a middle, has
    no starts.
    """

    height: int
    width: int
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells that have a middle."""
        middle = self.step // 2
        rows = -(-(self.height - middle) // self.step)
        cols = -(-(self.width - middle) // self.step)
        return rows, cols

    def points(self, device: torch.device) -> Float[Tensor, "P 2"]:
        """The middles, row by row, px."""
        axes = [torch.arange(n, device=device, dtype=torch.float32) for n in self.shape]
        y, x = torch.meshgrid(*axes, indexing="ij")
        cells = torch.stack((x, y), dim=-1)
        return cells.reshape(-1, 2) * self.step + self.step // 2

    def occupied(self, xy: Float[Tensor, "K 2"]) -> Bool[Tensor, " P"]:
        """Which cells contain one of the positions (px), each rounded to its pixel.

        Positions outside the cells count nowhere.
        """
        rows, cols = self.shape
        cell = torch.div(xy.round().long(), self.step, rounding_mode="floor")
        column, row = cell.unbind(-1)
        known = (column >= 0) & (column < cols) & (row >= 0) & (row < rows)
        number = row * cols + column
        cells = torch.zeros(rows * cols, dtype=torch.bool, device=xy.device)
        cells[number[known]] = True
        return cells


@dataclass(frozen=True)
class _Alive:
    """The chains that reach one frame."""

    index: Int[Tensor, " K"]
    """Their running numbers, int32."""
    xy: Float[Tensor, "K 2"]
    """Where they are in this frame, px."""
    start_xy: Float[Tensor, "K 2"]
    """Where they began, px."""
    start: Int[Tensor, " K"]
    """The frame in which they began, int32."""

    @staticmethod
    def born(xy: Float[Tensor, "K 2"], frame: int, count: int) -> _Alive:
        """Chains that start in a frame, after `count` earlier ones."""
        index = torch.arange(count, count + len(xy), dtype=torch.int32, device=xy.device)
        return _Alive(index, xy, xy, torch.full_like(index, frame))

    def keep_where(self, xy: Float[Tensor, "K 2"], keep: Bool[Tensor, " K"]) -> _Alive:
        """Those of the chains, which are now at xy (px), that are to be kept."""
        return _Alive(self.index[keep], xy[keep], self.start_xy[keep], self.start[keep])

    def join(self, other: _Alive) -> _Alive:
        """These chains, then the others."""
        return _Alive(
            torch.cat((self.index, other.index)),
            torch.cat((self.xy, other.xy)),
            torch.cat((self.start_xy, other.start_xy)),
            torch.cat((self.start, other.start)),
        )


def _drop_drifted(alive: _Alive, t: int, direct: DirectFlow, config: TrajectoryConfig) -> _Alive:
    """End the chains that are not where direct flow from their start puts them in frame t.

    Where direct flow is not sure of itself, a chain goes on. A chain's first step is its own direct
    flow and so needs no comparison.
    """
    agrees = torch.ones_like(alive.index, dtype=torch.bool)
    for i in torch.unique(alive.start[alive.start < t - 1]).tolist():
        if not is_sampled(i, t, config.direct_near):
            continue
        chosen = alive.start == i
        there, back = direct(i, t)
        step = there.step(back, alive.start_xy[chosen])
        sure = step.holds(config.direct_cycle_error, there.size)
        distance = (alive.xy[chosen] - step.xy).norm(dim=-1)
        agrees[chosen] = (distance < config.direct_error) | ~sure
    return alive.keep_where(alive.xy, agrees)


def _starts(
    lattice: _Lattice, taken: Float[Tensor, "K 2"], there: Flow, back: Flow, cycle_error: float
) -> Bool[Tensor, " P"]:
    """The lattice points at which chains start in a frame, given those (px) that are alive in it.

    A chain starts where no other passes through. It also starts where the frame before shows
    nothing of it: no pixel of that frame lands there, or flow back and forth disagrees. Flow
    outside the frame counts as zero here, as in the reference.
    """
    points = lattice.points(taken.device)
    pixels = pixel_grid(lattice.height, lattice.width).centres(taken.device)
    displacement = there.displacement.float().flatten(1).T
    landed = lattice.occupied(pixels + displacement)
    came = back.at(points)
    source = points + came
    share = _share_inside(source, (lattice.height, lattice.width))
    error = (came + there.at(source) * share).norm(dim=-1)
    disoccluded = error >= cycle_error
    passed = lattice.occupied(taken)
    starts: Bool[Tensor, " P"] = ~passed | ~landed | disoccluded
    return starts


def _share_inside(xy: Float[Tensor, "P 2"], size: tuple[int, int]) -> Float[Tensor, "P 1"]:
    """How much of a bilinear sample is of the frame, and not of zeros around the frame."""
    height, width = size
    last = torch.tensor((width - 1, height - 1), dtype=xy.dtype, device=xy.device)
    nearest = torch.minimum(xy.clamp(min=0), last)
    beyond = (xy - nearest).abs()
    return (1 - beyond).clamp(min=0).prod(dim=-1, keepdim=True)


def _collect(visits: list[_Visit], births: list[int], min_length: int) -> Chains:
    """Chains from where each of them was in each frame, but for those seen in under min_length.

    births: how many chains begin in each frame. The visits are used up, one after the other, so
    that positions are not held twice.
    """
    frames = len(births)
    device = visits[0][0].device
    counts = torch.tensor(births, device=device)
    start = torch.arange(frames, device=device).repeat_interleave(counts)
    length = torch.zeros_like(start)
    for index, _ in visits:
        length[index] += 1
    kept = length >= min_length
    length = length * kept
    # The position of a chain in frame t belongs at this + t.
    origin = length.cumsum(0) - length - start
    xy = torch.empty(int(length.sum()), 2, device=device)
    while visits:
        index, where = visits.pop()
        t = len(visits)
        seen = kept[index]
        xy[origin[index[seen]] + t] = where[seen]
    return Chains(xy, start[kept], length[kept], frames)
