"""What the user of the studio made of a video: points, corrections, and what was taught.

All of it is frozen values, so that a change is a new value, and undo is the value before. Positions
are px of the video, (0, 0) the centre of the top-left pixel; frames count from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dinotrack.errors import InputError

MOST_POINTS = 5000


class Conflict(InputError):
    """What is asked for can't be done as things are now; it is not wrong in itself."""


@dataclass(frozen=True)
class Clip:
    """The bounds of places in a video: how many frames it has, and their size in px."""

    frames: int
    width: int
    height: int


@dataclass(frozen=True)
class Placed:
    """All that is known by hand of where a point is. Its track depends on nothing else of it."""

    id: int
    """No other point of the document has it, nor had it before."""
    t: int
    """The frame that the point was placed in."""
    x: float
    """From -0.5 to width - 0.5."""
    y: float
    """From -0.5 to height - 0.5."""
    corrections: tuple[tuple[int, float, float], ...] = ()
    """(t, x, y) in further frames, by t, one a frame at most, and none in the frame above."""
    hidden: tuple[tuple[int, int], ...] = ()
    """(first, last) frames of stretches in which the point can't be seen, both inside, by frame.
    There is a frame between any two of them."""

    def as_json(self) -> dict[str, Any]:
        """The point as it travels."""
        return {
            "id": self.id,
            "t": self.t,
            "x": self.x,
            "y": self.y,
            "corrections": [list(correction) for correction in self.corrections],
            "hidden": [list(stretch) for stretch in self.hidden],
        }


@dataclass(frozen=True)
class Point(Placed):
    """A point of the document."""

    name: str | None = None
    """None: the page shows the id."""
    colour: str | None = None
    """As in "#ff8800"; None: the page chooses one."""
    accepted: bool = False
    """Whether the user looked at the track and found it right."""

    @property
    def placed(self) -> Placed:
        """What the track depends on; equal for equal tracks."""
        return Placed(self.id, self.t, self.x, self.y, self.corrections, self.hidden)

    def as_json(self) -> dict[str, Any]:
        """The point as it travels."""
        told = {"name": self.name, "colour": self.colour, "accepted": self.accepted}
        return super().as_json() | told


@dataclass(frozen=True)
class Lesson:
    """What Teach was pressed for: the points that had corrections or hidden stretches then."""

    points: tuple[Placed, ...]

    def as_json(self) -> dict[str, Any]:
        """The lesson as it travels."""
        return {"points": [point.as_json() for point in self.points]}


@dataclass(frozen=True)
class Document:
    """All points, in the order in which they were made, and all lessons, the first one first."""

    points: tuple[Point, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    next_id: int = field(default=0, compare=False)
    """Of the next point. It only grows, also where a step is undone."""

    def as_json(self) -> dict[str, Any]:
        """The document as it travels."""
        return {
            "points": [point.as_json() for point in self.points],
            "lessons": [lesson.as_json() for lesson in self.lessons],
        }


def called(point: Point) -> str:
    """What the page calls a point."""
    return str(point.id) if point.name is None else point.name


def by_id(document: Document) -> Mapping[int, Point]:
    """The points of a document by their ids."""
    return {point.id: point for point in document.points}
