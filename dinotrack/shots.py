"""Which frames of a video show something, and where one shot ends and the next begins.

Optical flow answers always, also where there is nothing to be seen: in a blank frame nothing seems
to move, there and back, and two pictures of different places are matched somehow. What flow says
there is no evidence. So blank frames are left out before anything is computed, as if they had been
dropped, and `Timeline` puts them back into the tracks, where nothing is visible in them. Where the
picture changes as a whole, flow is cut (`VideoFlow.cuts`), and a point that comes back in a later
shot is found by its features alone. See docs/method.md 9.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Real, UInt8
from torch import Tensor

from dinotrack.config import ShotConfig
from dinotrack.errors import DinotrackWarning
from dinotrack.flow import VideoFlow
from dinotrack.geometry import pixel_grid
from dinotrack.media.frames import Frame
from dinotrack.queries import Corrections, Queries, Trajectories
from dinotrack.run import Run

BLOCK = 4
"""Px of the working frame a side, over which noise is averaged before contrast is measured."""
THUMBNAIL = (18, 32)
"""Rows and columns of the cells by which two pictures are compared."""
BINS = 8
"""Of a colour histogram, for each of red, green and blue."""
FLAT = 1.5
"""Grey levels. A cell that deviates by no more in two frames doesn't tell whether they differ."""
FLASH = 2
"""Frames. What is seen for so long between two alike pictures is a flash, and no shot."""
LATTICE = 6
"""Px between the places at which flow is asked whether it agrees with its way back."""

SOUND = 0.25
"""Share of the places in which flow must agree beside a cut. Where it does not, it may be lost
because the camera moves fast."""
AGREES = 1.0
"""Px. With a smaller cycle error, flow agrees with its way back."""


@dataclass(frozen=True)
class Timeline:
    """Which frames of a video are blank, and how tracks of the others become tracks of all."""

    frame_count: int
    """Frames of the video."""
    blank: tuple[int, ...] = ()
    """The blank ones, ascending."""

    @property
    def all_blank(self) -> bool:
        """Whether no frame shows anything."""
        return len(self.blank) == self.frame_count

    @property
    def shown(self) -> list[int]:
        """The frames that are looked at: those that are not blank; all, if there is no other."""
        every = range(self.frame_count)
        return list(every) if self.all_blank else [t for t in every if t not in self.blank]

    def choose(self, frames: UInt8[Tensor, "T 3 H W"]) -> UInt8[Tensor, "S 3 H W"]:
        """Those of all frames that are looked at."""
        return frames[self.shown] if self.blank else frames

    def choose_masks(self, masks: Bool[np.ndarray, "T H W"]) -> Bool[np.ndarray, "S H W"]:
        """Masks of the frames that are looked at, of those of all frames."""
        return masks[self.shown] if self.blank else masks

    def known_to(self, run: Run) -> Run:
        """The run, in which flow and features of these frames are kept on their own.

        To the cache, a video without its blank frames is another one.
        """
        if not self.blank:
            return run
        name = f"{run.cache.video} without {list(self.blank)}"
        return replace(run, cache=replace(run.cache, video=name))

    def queries(self, queries: Queries) -> Queries:
        """Queries as they are asked of the frames that are looked at.

        A point of a blank frame is asked for at its place in the next frame that shows something,
        or the last one; a DinotrackWarning says so.
        """
        if not self.blank:
            return queries
        shown = torch.tensor(self.shown, device=queries.frame.device)
        row = torch.searchsorted(shown, queries.frame).clamp(max=len(shown) - 1)
        moved = shown[row] != queries.frame
        if moved.any():
            frames = sorted(set(queries.frame[moved].tolist()))
            which = f"{frames_named(frames)} {'are' if len(frames) > 1 else 'is'} blank"
            advice = "points asked for there are taken to lie at the same place in the next frame"
            warnings.warn(DinotrackWarning(f"{which}; {advice} that shows something"), stacklevel=2)
        made = queries.corrections
        if made is not None:
            kept = torch.isin(made.frame, shown)
            seen = torch.searchsorted(shown, made.frame[kept])
            made = Corrections(made.point[kept], seen, made.xy[kept])
        return Queries(row, queries.xy, made)

    def tracks(self, found: Trajectories) -> Trajectories:
        """Trajectories through all frames, from those through the frames that are looked at.

        In a blank frame nothing is visible. A point lies there between where it is before and
        after.
        """
        if not self.blank:
            return found
        device = found.xy.device
        shown = torch.tensor(self.shown, device=device)
        every = torch.arange(self.frame_count, device=device)
        after = torch.searchsorted(shown, every).clamp(max=len(shown) - 1)
        before = (torch.searchsorted(shown, every, right=True) - 1).clamp(min=0)
        gap = (shown[after] - shown[before]).clamp(min=1)
        share = ((every - shown[before]) / gap).clamp(0, 1)[:, None]
        xy = torch.lerp(found.xy[:, before], found.xy[:, after], share.to(found.xy.dtype))
        seen = torch.ones(self.frame_count, dtype=torch.bool, device=device)
        seen[list(self.blank)] = False
        visible = found.visible[:, after] & seen
        return Trajectories(xy, visible, found.confidence[:, after] * seen)


def find_blank(frames: UInt8[Tensor, "T 3 H W"], run: Run) -> Timeline:
    """The stage: which working frames are blank. A DinotrackWarning names them.

    A frame is blank where its contrast is at most config.blank_contrast grey levels, and at most
    the share config.blank_share of the video's largest. A video whose every frame is faint thus has
    no blank frames, unless they are of one colour.
    """
    config = run.config.shots
    contrast = np.array([_contrast(_picture(frames, t)) for t in range(len(frames))])
    limit = min(config.blank_contrast, config.blank_share * float(contrast.max()))
    timeline = Timeline(len(frames), tuple(np.flatnonzero(contrast <= limit).tolist()))
    if timeline.all_blank:
        nothing = "every frame of the video is blank; there is nothing to follow in it"
        warnings.warn(DinotrackWarning(nothing), stacklevel=2)
    elif timeline.blank:
        several = len(timeline.blank) > 1
        which = f"{frames_named(timeline.blank)} {'are' if several else 'is'} blank"
        then = "points are not visible there"
        if timeline.shown[-1] > timeline.blank[0]:
            then += f" and are found again after {'them' if several else 'it'}"
        warnings.warn(DinotrackWarning(f"{which}; {then}"), stacklevel=2)
    return timeline


def cut_flow(
    flow: VideoFlow, frames: UInt8[Tensor, "T 3 H W"], timeline: Timeline, run: Run
) -> VideoFlow:
    """The stage: flow that is cut where a new shot begins. A DinotrackWarning names the frames.

    frames: the working frames that flow is of, those that the timeline shows.
    """
    cuts = find_cuts(frames, flow, run.config.shots)
    if cuts:
        starts = [timeline.shown[t] for t in sorted(cuts)]
        new = "new shots begin" if len(starts) > 1 else "a new shot begins"
        where = frames_named(starts).replace("frame", "at frame", 1)
        then = "points are not followed across a cut, but looked for anew after it"
        warnings.warn(DinotrackWarning(f"{new} {where}; {then}"), stacklevel=2)
    return replace(flow, cuts=cuts)


def find_cuts(
    frames: UInt8[Tensor, "T 3 H W"], flow: VideoFlow, config: ShotConfig
) -> frozenset[int]:
    """The frames that begin a new shot.

    At a cut, the pictures before and after it are unlike, and flow is lost between them. Each of
    the last frames must be unlike each of the next ones, so that a flash is no cut. And flow is
    lost only where it agrees with its way back in less than a share config.cut_agreement of what
    it does just before and just after, so that a camera that is swung round is none.
    """
    last = len(frames) - 1
    looks = (_look(frames, t) for t in range(len(frames)))
    changes = [
        t
        for t, (before, after) in enumerate(itertools.pairwise(looks), start=1)
        if are_unlike(before, after, config)
    ]

    def agreement(t: int) -> float:
        return _agreement(_look(frames, t - 1), _look(frames, t), flow, t)

    def is_lost(t: int) -> bool:
        beside = min((agreement(n) for n in (t - 1, t + 1) if 1 <= n <= last), default=1.0)
        return beside > SOUND and agreement(t) < config.cut_agreement * beside

    def lasts(t: int) -> bool:
        past = range(max(0, t - 1 - FLASH), t)
        future = range(t, min(last, t + FLASH) + 1)
        pairs = itertools.product(past, future)
        return all(are_unlike(_look(frames, a), _look(frames, b), config) for a, b in pairs)

    return frozenset(t for t in changes if lasts(t) and is_lost(t))


class Look(NamedTuple):
    """A picture, and what can be told of it at a glance."""

    picture: Frame
    cells: Float[np.ndarray, "rows cols"]
    """Grey levels, the mean of each cell of a thumbnail."""
    varied: Bool[np.ndarray, "rows cols"]
    """Which of the cells are not flat."""

    def tells_from(self, other: Look) -> Bool[np.ndarray, "rows cols"]:
        """Which cells tell whether two pictures differ: not those that are flat in both of them,
        as those of a letterbox's bars."""
        told: Bool[np.ndarray, "rows cols"] = self.varied | other.varied
        return told


def are_unlike(first: Look, second: Look, config: ShotConfig) -> bool:
    """Whether two pictures seem to show different places.

    Their cells of grey correlate by less than config.cut_likeness, and their colours differ by a
    share of config.cut_colours or more, half the sum of the absolute differences of two histograms.
    A change of the light leaves the correlation, and motion changes colours little.
    """
    told = first.tells_from(second)
    if not told.any():
        return False
    one, two = (look.cells[told] - look.cells[told].mean() for look in (first, second))
    norm = float(np.linalg.norm(one) * np.linalg.norm(two))
    if float(np.dot(one, two)) >= config.cut_likeness * norm:
        return False
    mask = _pixels_of(told, first.picture)
    difference = _histogram(first.picture, mask) - _histogram(second.picture, mask)
    return float(np.abs(difference).sum()) / 2 >= config.cut_colours


def frames_named(numbers: Sequence[int]) -> str:
    """Ascending frame numbers in words, as "frames 3, 5 to 8 and 12"."""
    runs: list[list[int]] = []
    for t in numbers:
        if runs and runs[-1][-1] == t - 1:
            runs[-1].append(t)
        else:
            runs.append([t])
    names = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    listed = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    return f"{'frames' if len(numbers) > 1 else 'frame'} {listed}"


def _agreement(first: Look, second: Look, flow: VideoFlow, t: int) -> float:
    """In which share of the places flow between frames t - 1 and t agrees with its way back.

    first and second are how these frames look.
    """
    told = torch.from_numpy(_pixels_of(first.tells_from(second), first.picture)).bool()
    inner = slice(LATTICE // 2, None, LATTICE)
    places = pixel_grid(*flow.size).centres().view(*flow.size, 2)[inner, inner]
    places = places[told[inner, inner]].to(flow.forward.device)
    held = flow.step(places, t - 1, t).holds(AGREES, flow.size)
    return float(held.float().mean()) if len(held) else 1.0


def _picture(frames: UInt8[Tensor, "T 3 H W"], t: int) -> Frame:
    """Frame t as OpenCV takes it."""
    return np.ascontiguousarray(frames[t].permute(1, 2, 0).cpu().numpy())


def _contrast(picture: Frame) -> float:
    """The deviation of the channel that varies most, once noise is averaged out; grey levels."""
    height, width = (max(2, side // BLOCK) for side in picture.shape[:2])
    small = cv2.resize(picture.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    _, deviation = cv2.meanStdDev(small)
    return float(deviation.max())


def _look(frames: UInt8[Tensor, "T 3 H W"], t: int) -> Look:
    """How frame t looks."""
    picture = _picture(frames, t)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    cells = _averaged(grey, THUMBNAIL)
    variance = _averaged(np.square(grey, dtype=np.float32), THUMBNAIL) - cells**2
    return Look(picture, cells, variance > FLAT**2)


def _averaged(
    values: Real[np.ndarray, "H W"], size: tuple[int, int]
) -> Float[np.ndarray, "rows cols"]:
    """The means of the values that each cell of a grid of size (rows, columns) covers."""
    small = cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def _pixels_of(cells: Bool[np.ndarray, "rows cols"], picture: Frame) -> UInt8[np.ndarray, "H W"]:
    """The pixels of some cells: 1 there, and 0 elsewhere."""
    size = picture.shape[1::-1]
    mask = cv2.resize(cells.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(mask, dtype=np.uint8)


def _histogram(picture: Frame, mask: UInt8[np.ndarray, "H W"]) -> Float[np.ndarray, " bins"]:
    """How many of the pixels in a mask have each colour, as shares."""
    counts = cv2.calcHist([picture], [0, 1, 2], mask, [BINS] * 3, [0, 256] * 3).ravel()
    shares: Float[np.ndarray, " bins"] = (counts / counts.sum()).astype(np.float32)
    return shares
