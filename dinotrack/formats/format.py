"""What a file format is: a function that writes tracks, one that reads points, or both.

Our positions and frames are those of `Tracks`: (0, 0) is the centre of the top-left pixel, y grows
downwards, and frames count from 0. Each format turns them into its own and back, as
docs/formats.md says, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dinotrack.errors import InputError
from dinotrack.tracks import Tracks


@dataclass(frozen=True)
class Wishes:
    """What the one who exports wants of a file, and what tracks do not say themselves."""

    start_frame: int
    """The number that frame 0 of the video has in the file."""
    only_visible: bool = False
    """Whether positions of hidden points are left out also where the format could hold them."""
    video: str = ""
    """Where the video lies, for programs that load it; empty where nobody knows."""


@dataclass(frozen=True)
class Clip:
    """What is known of the video that points belong to, for formats that do not say it."""

    start_frame: int
    """The number that frame 0 of the video has in the file."""
    size: tuple[int, int] | None = None
    """(H, W) px."""
    frames: int | None = None
    fps: float | None = None
    is_start_usual: bool = False
    """Whether `start_frame` is only what is usual: then a file that says another one is right."""

    def needed_size(self, path: Path) -> tuple[int, int]:
        """The size (H, W). Raises InputError where nobody said it."""
        if self.size is None:
            raise InputError(f"{path}: does not say how large its video is; give size=(H, W)")
        return self.size


@dataclass(frozen=True, slots=True)
class Key:
    """A point in one frame."""

    t: int
    """The frame, counted from 0."""
    x: float
    """Px, as y."""
    y: float
    visible: bool = True
    confidence: float = 1.0


@dataclass(frozen=True)
class KeyedPoint:
    """A point as a file knows it: its name, and where it is in some of the frames."""

    name: str
    keys: tuple[Key, ...]
    """One a frame at most, in any order. Frames without one do not show the point."""
    query: tuple[float, float, float] | None = None
    """(t, x, y) that was asked for, where the file says it; else it is the first visible key."""


@dataclass(frozen=True)
class Found:
    """What a file holds, and what it says of its video where it does."""

    points: Sequence[KeyedPoint]
    size: tuple[int, int] | None = None
    """(H, W) px."""
    frames: int | None = None
    fps: float | None = None
    uneven_times: tuple[float, ...] | None = None
    """When each frame is shown, in seconds, where the rate varies and the file says it."""


Writer = Callable[[Path, Tracks, Wishes], None]
"""Writes a file, whole or not at all. Raises InputError where it can't."""
Reader = Callable[[Path, Clip], Found | Tracks]
"""Reads a file: what it holds, or tracks where it holds all of them. Raises InputError, which names
the file and what is wrong, where it is none."""


@dataclass(frozen=True)
class Format:
    """A format of files: one line of `FORMATS`."""

    ending: str
    """Of a file's name, as in ".nk"."""
    program: str
    """What opens it, for people."""
    write: Writer | None = None
    read: Reader | None = None
    recognise: Callable[[Path], bool] = lambda path: True
    """Whether a file with this ending is of this format; told only files that exist."""
    first_frame: int = 0
    """What the program calls frame 0 of a video, unless it is told otherwise."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """What has to be installed for it: the name of a module -> that of its package."""
    points: int | None = None
    """How many points a file has; None for any number."""
    hidden: str = "left out"
    """How a file shows that a point is hidden, for people."""
