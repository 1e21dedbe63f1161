"""A text read line by line, with one sentence for a line that is not what it should be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn

from dinotrack.errors import InputError, shown
from dinotrack.formats.tables import decoded
from dinotrack.formats.texts import content_of

MOST_FRAMES = 10_000_000
"""A frame beyond this is no frame of a video: that would be days."""


class Lines:
    """The lines of a file, one after the other."""

    def __init__(self, path: Path, kind: str) -> None:
        """kind: what the file should be, as in "2D tracks of 3DEqualizer". Raises InputError where
        it can't be read at all."""
        self.path = path
        self.kind = kind
        self._lines = decoded(content_of(path, kind)).lstrip("\ufeff").splitlines()
        self._next = 0

    @property
    def rest(self) -> bool:
        """Whether a line is left that holds anything. Those before it, which hold nothing, are
        skipped."""
        while self._next < len(self._lines) and not self._lines[self._next].strip():
            self._next += 1
        return self._next < len(self._lines)

    def text(self, what: str) -> str:
        """The next line. what: what it should hold, for the message where there is none."""
        if self._next == len(self._lines):
            self._next += 1
            self.refuse(f"the file ends where {what} should be")
        self._next += 1
        return self._lines[self._next - 1]

    def whole(self, what: str) -> int:
        """The next line, which is a whole number, not negative."""
        text = self.text(what).strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_FRAMES))):
            self.refuse(f"{shown(text)} is not {what}")
        return int(text)

    def numbers(self, what: str, count: int) -> list[float]:
        """The next line, which holds so many finite numbers, and may hold more."""
        return self.parsed(self.text(what).split(), what, count)

    def parsed(self, fields: list[str], what: str, count: int) -> list[float]:
        """Fields of the line that was last read, as finite numbers."""
        try:
            values = [float(field) for field in fields[:count]]
        except ValueError:
            values = []
        if len(values) < count or not all(map(math.isfinite, values)):
            self.refuse(f"{shown(' '.join(fields))} is not {what}")
        return values

    def frame(self, value: float) -> int:
        """A number of the line that was last read, as that of a frame."""
        if not value.is_integer() or abs(value) > MOST_FRAMES:
            self.refuse(f"{value:g} is no frame")
        return int(value)

    def refuse(self, reason: str) -> NoReturn:
        """Raise the InputError that names the line that was last read."""
        raise InputError(
            f"{self.path}, line {self._next}: can't be read as {self.kind}: {reason}; "
            "write the file anew"
        )
