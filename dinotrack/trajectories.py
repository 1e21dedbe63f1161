"""Optical flow -> chains of positions, the pseudo-labels of the per-video training (METHOD 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dinotrack.config import TrajectoryConfig
from dinotrack.flow import Flow
from dinotrack.geometry import inside, pixel_grid
from dinotrack.pairs import is_sampled
from dinotrack.progress import Progress, silent

DirectFlow = Callable[[int, int], tuple[Flow, Flow]]
"""direct(i, j): flow i -> j and flow j -> i."""


@dataclass(frozen=True)
class Chains:
    """N chains over some frames, M positions in all.

    A chain is valid in consecutive frames, from its start on.
    """

    xy: Tensor
    """float32 [M, 2] px of the working frame: chain after chain, each in the order of time."""
    start: Tensor
    """long [N]: first valid frame."""
    length: Tensor
    """long [N]: valid frames."""
    frames: int
    """Of the video."""

    @property
    def end(self) -> Tensor:
        """The frame after the last valid one: long [N]."""
        return self.start + self.length

    @cached_property
    def offset(self) -> Tensor:
        """Where each chain begins in `xy`: long [N]."""
        return self.length.cumsum(0) - self.length

    @property
    def first(self) -> Tensor:
        """Position in the first valid frame: float32 [N, 2] px."""
        return self.xy[self.offset]

    def seen_in(self, frame: int | Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Whether chains, those of some rows or all, are valid in a frame: bool [K]; in frames long
        [F, 1]: [F, K]."""
        start = self.start[rows]
        return (start <= frame) & (frame < start + self.length[rows])

    def at(self, rows: Tensor, frame: int | Tensor) -> Tensor:
        """Positions of the chains of rows long [K] in a frame, or in one each, where they are
        valid: [K, 2] px."""
        return self.xy[self.offset[rows] + frame - self.start[rows]]


@dataclass(frozen=True)
class Lots:
    """K chains to draw from, ordered by their start and, of equal ones, by their end, the last
    first.

    Of those that start in a frame the ones that reach another are then the first few, so a draw
    needn't look at all.
    """

    rows: Tensor
    """long [K]: the chains in that order."""
    keys: Tensor
    """long [K], ascending: what says that order."""
    first: Tensor
    """long [T]: how many start before each frame."""

    @classmethod
    def of(cls, chains: Chains, rows: Tensor) -> Lots:
        """Those of rows long [K]."""
        every = chains.frames + 1
        keys, order = (chains.start[rows] * every + chains.frames - chains.end[rows]).sort(
            stable=True
        )
        return cls(rows[order], keys, torch.searchsorted(keys, torch.arange(chains.frames) * every))

    def seen_twice(self, frames: Tensor) -> Tensor:
        """How many, of those that start in each frame, are valid in two or more of frames long [F],
        ascending: [T]."""
        length = len(self.first)
        following = torch.cat(
            (frames[1:], frames.new_full((2,), length))
        )  # no chain is valid in the last but one
        starts = torch.arange(length)
        reached = following[torch.searchsorted(frames, starts)]
        return torch.searchsorted(self.keys, starts * (length + 1) + length - reached) - self.first

    def pick(self, counts: Tensor, numbers: Tensor) -> Tensor:
        """The chains that have some numbers long [M] among those that `seen_twice` has counted:
        long [M]."""
        until = counts.cumsum(0)
        start = torch.searchsorted(until, numbers, right=True)
        return self.rows[self.first[start] + numbers - (until - counts)[start]]


def flow_chains(
    forward: Tensor,
    backward: Tensor,
    config: TrajectoryConfig,
    direct: DirectFlow | None = None,
    progress: Progress = silent,
) -> Chains:
    """Follow flow from every pixel that nobody follows yet (METHOD 1; with config.step k > 1, see
    `_Lattice`).

    forward, backward: [T - 1, 2, H, W] px (dx, dy), any float type; forward[t]: frame t -> t + 1,
    backward[t]: back.
    direct: flow between any two frames, for the direct-flow filter; called once for each pair of
    frames i < j - 1 that a chain spans and that is sampled (`pairs.is_sampled` with
    config.direct_near), j ascending. None: no filter.
    Chains come in order of start frame, then row by row; there may be none.
    """
    frames = len(forward) + 1
    lattice = _Lattice(forward.shape[-2], forward.shape[-1], config.step)
    alive = _Alive.born(lattice.points(forward.device), frame=0, count=0)
    births = [len(alive.index)]
    visits = [(alive.index, alive.xy)]
    progress("labels", 1, frames)
    for t in range(1, frames):
        there, back = Flow(forward[t - 1]), Flow(backward[t - 1])
        alive = alive.keep_where(*_step(alive.xy, there, back, config.cycle_error))
        if direct is not None:
            alive = _filter_direct(alive, t, direct, config)
        starts = lattice.points(forward.device)[
            _starts(lattice, alive.xy, there, back, config.cycle_error)
        ]
        alive = alive.join(_Alive.born(starts, frame=t, count=sum(births)))
        births.append(len(starts))
        visits.append((alive.index, alive.xy))
        progress("labels", t + 1, frames)
    return _collect(visits, births, config.min_length)


def in_foreground(chains: Chains, masks: Tensor) -> Tensor:
    """Whether each chain starts on the foreground: masks bool [T, H, W] at the first point,
    rounded. bool [N]."""
    x, y = chains.first.round().long().unbind(-1)
    return masks[chains.start, y, x]


@dataclass(frozen=True)
class _Lattice:
    """Where chains may start: the middles of k x k px cells. A chain in a cell bars new ones from
    its middle.

    The reference is k = 1: cells are pixels. A rest at the right or bottom too narrow to have a
    middle has no starts.
    """

    height: int
    width: int
    step: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of cells that have a middle."""
        middle = self.step // 2
        return -(-(self.height - middle) // self.step), -(-(self.width - middle) // self.step)

    def points(self, device: torch.device) -> Tensor:
        """Middles, row by row: float32 [P, 2] px."""
        axes = [
            torch.arange(n, device=device, dtype=torch.float32) * self.step + self.step // 2
            for n in self.size
        ]
        y, x = torch.meshgrid(*axes, indexing="ij")
        return torch.stack((x, y), dim=-1).reshape(-1, 2)

    def occupied(self, xy: Tensor) -> Tensor:
        """Which cells contain one of the positions xy [N, 2] px, rounded: bool [P].

        Positions outside count nowhere.
        """
        rows, cols = self.size
        column, row = torch.div(xy.round().long(), self.step, rounding_mode="floor").unbind(-1)
        there = (column >= 0) & (column < cols) & (row >= 0) & (row < rows)
        cells = torch.zeros(rows * cols, dtype=torch.bool, device=xy.device)
        cells[(row * cols + column)[there]] = True
        return cells


@dataclass(frozen=True)
class _Alive:
    """The M chains that reach the current frame."""

    index: Tensor  # int32 [M], a running number
    xy: Tensor  # float32 [M, 2] px, here
    start_xy: Tensor  # float32 [M, 2] px, where it began
    start: Tensor  # int32 [M], the frame it began in

    @staticmethod
    def born(xy: Tensor, frame: int, count: int) -> _Alive:
        """Chains that start in a frame, after `count` earlier ones."""
        index = torch.arange(count, count + len(xy), dtype=torch.int32, device=xy.device)
        return _Alive(index, xy, xy, torch.full_like(index, frame))

    def keep_where(self, xy: Tensor, keep: Tensor) -> _Alive:
        """Those of the chains, now at xy [M, 2], where keep [M] is true."""
        return _Alive(self.index[keep], xy[keep], self.start_xy[keep], self.start[keep])

    def join(self, other: _Alive) -> _Alive:
        return _Alive(
            torch.cat((self.index, other.index)),
            torch.cat((self.xy, other.xy)),
            torch.cat((self.start_xy, other.start_xy)),
            torch.cat((self.start, other.start)),
        )


def _step(xy: Tensor, there: Flow, back: Flow, cycle_error: float) -> tuple[Tensor, Tensor]:
    """Positions [N, 2] moved by flow, and whether flow is sure: consistent with its way back, and
    in the frame."""
    moved = there.move(xy)
    height, width = there.displacement.shape[-2:]
    return moved, (there.cycle_error(back, xy) < cycle_error) & inside(moved, (height, width))


def _filter_direct(alive: _Alive, t: int, direct: DirectFlow, config: TrajectoryConfig) -> _Alive:
    """End the chains that lie away from where direct flow from their start, if sure, puts them in
    frame t."""
    agrees = torch.ones_like(alive.index, dtype=torch.bool)
    for i in torch.unique(
        alive.start[alive.start < t - 1]
    ).tolist():  # a first step is its own direct flow
        if not is_sampled(i, t, config.direct_near):
            continue
        chosen = alive.start == i
        target, sure = _step(alive.start_xy[chosen], *direct(i, t), config.direct_cycle_error)
        near = (alive.xy[chosen] - target).norm(dim=-1) < config.direct_error
        agrees[chosen] = near | ~sure
    return alive.keep_where(alive.xy, agrees)


def _starts(
    lattice: _Lattice, taken: Tensor, there: Flow, back: Flow, cycle_error: float
) -> Tensor:
    """Lattice points no chain (at taken [N, 2] px) passes through, and disoccluded ones: bool
    [P]."""
    points = lattice.points(taken.device)
    pixels = pixel_grid(lattice.height, lattice.width).centres(taken.device)
    landed = lattice.occupied(pixels + there.displacement.float().flatten(1).T)
    came = back.at(points)
    source = points + came
    error = (came + there.at(source) * _share_inside(source, (lattice.height, lattice.width))).norm(
        dim=-1
    )
    starts: Tensor = ~lattice.occupied(taken) | ~landed | (error >= cycle_error)
    return starts


def _share_inside(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of a bilinear sample at xy [N, 2] is of the frame rather than of zeros around it:
    [N, 1]."""
    last = torch.tensor((size[1] - 1, size[0] - 1), dtype=xy.dtype, device=xy.device)
    beyond = (xy - torch.minimum(xy.clamp(min=0), last)).abs()
    return (1 - beyond).clamp(min=0).prod(dim=-1, keepdim=True)


def _collect(visits: list[tuple[Tensor, Tensor]], births: list[int], min_length: int) -> Chains:
    """Who was where in each frame -> chains, those seen in fewer than min_length frames dropped.

    births: chains that begin in each frame. Visits are used up, so that positions are held once.
    """
    frames, device = len(births), visits[0][0].device
    start = torch.arange(frames, device=device).repeat_interleave(
        torch.tensor(births, device=device)
    )
    length = torch.zeros_like(start)
    for index, _ in visits:
        length[index] += 1
    kept = length >= min_length
    length = length * kept
    slot = length.cumsum(0) - length - start  # + t is the place of the position in frame t
    xy = torch.empty(int(length.sum()), 2, device=device)
    while visits:
        index, where = visits.pop()
        seen = kept[index]
        xy[slot[index[seen]] + len(visits)] = where[seen]
    return Chains(xy, start[kept], length[kept], frames)
