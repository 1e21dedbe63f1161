"""The language of Nuke's files (.nk): nodes with knobs, whose values are lists of Tcl, and curves.

A curve is `curve x1001 5 6 7 x1020 9 x1021 10 11`: values for frames, of which the first is named,
and each of the others is as far from the one before as that from the one before it; at first, one
frame. So after a gap, two frames have to be named.
"""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinotrack.errors import InputError
from dinotrack.formats.format import Clip, Key, KeyedPoint
from dinotrack.formats.lines import MOST_FRAMES
from dinotrack.formats.tables import decoded
from dinotrack.formats.texts import content_of
from dinotrack.tracks import Tracks

KIND = "a Nuke script"
"""What messages call these files."""
HALF = 0.5
"""Px from the corner of the picture, where Nuke counts from, to the centre of a pixel."""
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
KINDS = ("Root", "Tracker", "Tracker3", "Tracker4", "CornerPin2D")
"""The nodes that are of use here."""
NODE = re.compile(r"^[ \t]*(\w+)[ \t]*\{", re.MULTILINE)
QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
BARE = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)
BLANK = re.compile(r"\s*")
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
"""Digits can be parted in one way alone, or a long row of them would take for ever to refuse."""


@dataclass(frozen=True)
class Node:
    """A node of a script: what it is, as in Tracker4, and its knobs as they stand there."""

    kind: str
    knobs: dict[str, str]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.knobs.get("name", self.kind)


@dataclass(frozen=True)
class Project:
    """What a script says of its video; None where it does not."""

    size: tuple[int, int] | None = None
    """(H, W) px."""
    first: int | None = None
    last: int | None = None
    fps: float | None = None

    def start(self, clip: Clip) -> int:
        """The number of the video's first frame: what somebody said, or the script, or else what is
        usual."""
        is_said = clip.is_start_usual and self.first is not None
        return self.first if is_said and self.first is not None else clip.start_frame

    def frames(self, points: Sequence[KeyedPoint], start: int) -> int | None:
        """How many frames the video has, if it has all that points have keys in."""
        count = 0 if self.last is None else self.last - start + 1
        return count if all(key.t < count for point in points for key in point.keys) else None


@dataclass(frozen=True)
class Curve:
    """A knob's values over time."""

    frames: tuple[int, ...]
    """In the script's own numbers, ascending; empty for a value that never changes."""
    values: tuple[float, ...]

    def at(self, frames: Sequence[int]) -> list[float]:
        """Its values on the lines between keys; before the first and after the last as there."""
        if not self.frames:
            return [self.values[0]] * len(frames)
        return list(np.interp(frames, self.frames, self.values).tolist())

    def held(self, frame: int) -> float:
        """Its value where each holds until the next one; before the first, as there."""
        return self.values[max(bisect.bisect(self.frames, frame) - 1, 0)]


def head(tracks: Tracks, start: int) -> str:
    """How a script begins: of which version it is, and of what video."""
    height, width = tracks.size
    return (
        "version 8.0 v1\n"
        "Root {\n"
        " inputs 0\n"
        f" frame {start}\n"
        f" first_frame {start}\n"
        f" last_frame {start + tracks.visible.shape[1] - 1}\n"
        " lock_range true\n"
        f" fps {tracks.fps:.10g}\n"
        f' format "{width} {height} 0 0 {width} {height} 1 dinotrack_{width}x{height}"\n'
        "}\n"
    )


def curve_text(keys: Sequence[tuple[int, float]], kind: str = "") -> str:
    """A curve through keys (frame, value), ascending, of which there is at least one.

    kind: how Nuke goes from key to key, as K, which holds; by default, smoothly. Then frames that
    follow one another are not named.
    """
    parts = ["curve", kind] if kind else ["curve"]
    before: int | None = None
    step = 1
    for frame, value in keys:
        if kind or before is None or step != 1 or frame != before + 1:
            parts.append(f"x{frame}")
        parts.append(f"{value:.5f}".rstrip("0").rstrip("."))
        step = 1 if before is None else frame - before
        before = frame
    return f"{{{' '.join(parts)}}}"


def curve_of(text: str) -> Curve | None:
    """The curve or the number of a knob; None for what is neither, such as an expression.

    Keys between frames are left out. Raises InputError for frames that no video has.
    """
    if NUMBER.fullmatch(text.strip()):
        return Curve((), (float(text),))
    first, *rest = text.split() or [""]
    if first != "curve":
        return None
    keys: dict[int, float] = {}
    named: float | None = None
    before: float | None = None
    step = 1.0
    for word in rest:
        if word[0] == "x" and NUMBER.fullmatch(word[1:]):
            named = float(word[1:])
        elif NUMBER.fullmatch(word):
            implied = 0.0 if before is None else before + step
            frame = implied if named is None else named
            step = 1.0 if before is None else frame - before
            if not abs(frame) < MOST_FRAMES:
                raise InputError(f"a curve names the frame {frame:g}, which no video has")
            if frame.is_integer():
                keys[int(frame)] = float(word)
            before, named = frame, None
    ordered = sorted(keys.items())
    return Curve(*zip(*ordered, strict=True)) if ordered else None


def words(text: str) -> list[str]:
    """The elements of a list of Tcl, without the braces or the quotes around each.

    Raises InputError for a brace or a quote that nothing closes.
    """
    found = []
    place = _behind_blanks(text, 0)
    while place < len(text):
        if text[place] == "{":
            end = _closing(text, place)
            found.append(text[place + 1 : end - 1])
        else:
            match = (QUOTED if text[place] == '"' else BARE).match(text, place)
            if match is None:
                raise InputError("a quote is not closed")
            inner = match[1] if text[place] == '"' else match[0]
            found.append(re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL))
            end = match.end()
        place = _behind_blanks(text, end)
    return found


def _behind_blanks(text: str, place: int) -> int:
    found = BLANK.match(text, place)
    return found.end() if found else place


def _closing(text: str, place: int) -> int:
    """The place behind the brace that closes the one at `place`."""
    depth = 0
    for brace in BRACE.finditer(text, place):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.end()
    raise InputError("a brace is not closed")


def nodes(text: str) -> Iterator[Node]:
    """The nodes of a script, wherever in it they are, without what is within another one.

    Raises InputError for a brace or a quote that nothing closes.
    """
    found = NODE.search(text)
    while found:
        end = _closing(text, found.end() - 1)
        if found[1] in KINDS:
            parts = words(text[found.end() : end - 1])
            yield Node(found[1], dict(zip(parts[::2], parts[1::2], strict=False)))
        found = NODE.search(text, end)


def script_of(path: Path, kinds: Sequence[str], name: str) -> tuple[list[Node], Project]:
    """The nodes of some kinds in a file, and what it says of the video.

    name: what messages call these nodes. Raises InputError where it is no script, or holds none.
    """
    text = decoded(content_of(path, KIND))
    with in_file(path):
        found = list(nodes(text))
    chosen = [node for node in found if node.kind in kinds]
    if not chosen:
        raise InputError(f"{path}: holds no {name}; save the script with one")
    return chosen, _project([node for node in found if node.kind == "Root"])


@contextlib.contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Make an InputError say in which file something is wrong."""
    try:
        yield
    except InputError as error:
        reason = f"{path}: can't be read as {KIND}: "
        raise InputError(reason, *error.args, "; save it anew") from None


def holds(path: Path, kinds: Sequence[str]) -> bool:
    """Whether a file has a node of one of these kinds."""
    try:
        text = decoded(content_of(path, KIND))
    except InputError:
        return False
    return any(found[1] in kinds for found in NODE.finditer(text))


def _project(roots: Sequence[Node]) -> Project:
    """What the settings of a script say."""
    knobs = roots[0].knobs if roots else {}
    sides = knobs.get("format", "").split()[:2]
    is_size = len(sides) == 2 and all(side.isdecimal() and int(side) > 0 for side in sides)
    size = (int(sides[1]), int(sides[0])) if is_size else None
    fps = _number(knobs.get("fps", ""))
    first, last = (_number(knobs.get(name, "")) for name in ("first_frame", "last_frame"))
    return Project(
        size,
        None if first is None else int(first),
        None if last is None else int(last),
        fps if fps and fps > 0 else None,
    )


def _number(text: str) -> float | None:
    """A number that a video can have; None for anything else."""
    value = float(text) if NUMBER.fullmatch(text) else MOST_FRAMES
    return value if abs(value) < MOST_FRAMES else None


def place_of(knob: str) -> tuple[Curve, Curve] | None:
    """The curves (x, y) of a knob that holds a place; None where it holds something else."""
    curves = [curve_of(part) for part in words(knob)]
    x, y = curves if len(curves) == 2 else (None, None)
    return (x, y) if x and y else None


def keys_of(
    x: Curve, y: Curve, start: int, height: int, enable: Curve | None = None
) -> tuple[Key, ...]:
    """A point where its curves have keys; in the first frame, if they never change.

    start: the number of the first frame. height: of the video, px. enable: where the point counts
    as visible, unless it never does.
    """
    frames = sorted({*x.frames, *y.frames}) or [start]
    shown = [True] * len(frames) if enable is None else [enable.held(t) > 0.5 for t in frames]
    if not any(shown):
        shown = [True] * len(frames)
    places = zip(frames, x.at(frames), y.at(frames), shown, strict=True)
    return tuple(Key(t - start, u - HALF, height - HALF - v, seen) for t, u, v, seen in places)
