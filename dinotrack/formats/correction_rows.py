"""What files of corrections hold: rows of numbers, in which a point is its number among the
queries, whatever the file calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dinotrack.errors import InputError, printable, shown
from dinotrack.formats.tables import POINTED
from dinotrack.points import FileRows

MOST_ROWS = 1_000_000
"""That are taken from a file."""
NAMES_SAID = 6
"""Points that a message lists."""


@dataclass(frozen=True)
class CorrectionRows:
    """What a file says of points besides their queries. A point is its number among them."""

    placed: FileRows
    """Rows of (point, t, x, y)."""
    hidden: FileRows
    """Rows of (point, first frame, last frame)."""

    def counted_from(self, frame: int) -> CorrectionRows:
        """The same rows of a file that calls the first frame of the video so."""
        return CorrectionRows(
            FileRows(
                self.placed.rows - (0, frame, 0, 0),
                self.placed.path,
                self.placed.lines,
            ),
            FileRows(
                self.hidden.rows - (0, frame, frame),
                self.hidden.path,
                self.hidden.lines,
            ),
        )


@dataclass(frozen=True)
class Roll:
    """What the points of the queries are called, in their order."""

    names: Sequence[str]

    def number(self, word: str, where: str) -> float:
        """The number of a point, by that number, or else by its name.

        where: what messages call the place of the word. Raises InputError where no point is called
        so, or several are.
        """
        return float(word) if POINTED.fullmatch(word) else self.named(word, where)

    def named(self, name: str, where: str) -> float:
        """The number of the point of that name. Raises InputError."""
        found = self._numbers.get(_plain(name), [])
        if len(found) > 1:
            raise InputError(
                f"{where}: {len(found)} points are called {shown(name)}; give the one that is "
                "meant by its number, counted from 0"
            )
        if not found:
            more = ", ..." if len(self.names) > NAMES_SAID else ""
            known = ", ".join(shown(name) for name in self.names[:NAMES_SAID]) + more
            raise InputError(f"{where}: no point is called {shown(name)}; they are {known}")
        return float(found[0])

    def __contains__(self, name: str) -> bool:
        """Whether a point is called so."""
        return _plain(name) in self._numbers

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        """The numbers of all points, by name."""
        found: dict[str, list[int]] = {}
        for number, name in enumerate(self.names):
            found.setdefault(_plain(name), []).append(number)
        return found


@dataclass
class Book:
    """The rows of a file, as they are read."""

    path: Path
    placed: list[Sequence[float]] = field(default_factory=list)
    hidden: list[Sequence[float]] = field(default_factory=list)
    placed_at: list[int] = field(default_factory=list)
    """The line of each row, for files with lines."""
    hidden_at: list[int] = field(default_factory=list)

    def check_count(self) -> None:
        """Raises InputError where there are more rows than memory is for."""
        check_count(len(self.placed) + len(self.hidden), self.path)

    def rows(self) -> CorrectionRows:
        """All of them. Raises InputError where there are none."""
        if not self.placed and not self.hidden:
            raise InputError(f"{self.path}: holds no correction; give at least one row")
        self.check_count()
        return CorrectionRows(
            FileRows(_array(self.placed, 4), str(self.path), tuple(self.placed_at)),
            FileRows(_array(self.hidden, 3), str(self.path), tuple(self.hidden_at)),
        )


def check_count(count: int, path: Path) -> None:
    """Whether so many rows can be taken from a file. Raises InputError."""
    if count > MOST_ROWS:
        raise InputError(
            f"{path}: more than {MOST_ROWS:,} corrections are too many to take at once; give fewer"
        )


def _array(rows: Sequence[Sequence[float]], width: int) -> Float[np.ndarray, "M C"]:
    return np.array(rows, np.float64).reshape(len(rows), width)


def _plain(name: str) -> str:
    """A name as tracks keep it."""
    return printable(name).strip()
