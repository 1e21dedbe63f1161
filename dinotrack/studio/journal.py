"""The journal of a project: studio.jsonl, which says how its document came to be.

The first line says which video it is of and which points there were at the beginning; each further
line is an edit, an undo or a redo, and is on the disk before anybody hears that it was made. Lines
are only ever added. So a killed server loses nothing that it has answered: at most the end of the
file is a line that nobody was told of, without its line end, and that one is dropped.

Only who holds the lock of the folder may open a journal.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, TypeAdapter, ValidationError

from dinotrack.errors import InputError, cause_of, shown
from dinotrack.files import NO_SYNC, regular, replacing, unwritable
from dinotrack.studio.document import MOST_POINTS, Clip, Document
from dinotrack.studio.edits import apply
from dinotrack.studio.history import History
from dinotrack.studio.shapes import Add, NewPoint, Number, Shape, problem_of, read_edit, written

JOURNAL = "studio.jsonl"
UNDO = b'{"kind": "undo"}'
REDO = b'{"kind": "redo"}'
ADVICE = "nothing was changed; mend it, or move the file elsewhere to begin anew"


class Beginning(Shape):
    """The first line of a journal."""

    studio: Literal[1] = 1
    """The version of the format."""
    video: str
    """Where the video lies; "" where that is the folder of the journal itself."""
    frames: Annotated[Number, Field(ge=1)]
    width: Annotated[Number, Field(ge=1)]
    height: Annotated[Number, Field(ge=1)]
    points: list[NewPoint] = Field(default_factory=list, max_length=MOST_POINTS)

    @property
    def clip(self) -> Clip:
        """The bounds of places."""
        return Clip(self.frames, self.width, self.height)

    @property
    def document(self) -> Document:
        """The document before the first edit. Raises InputError where a point is outside."""
        if not self.points:
            return Document()
        return apply(Document(), Add(points=self.points), self.clip)


BEGINNING: TypeAdapter[Beginning] = TypeAdapter(Beginning)


@dataclass(frozen=True)
class Kept:
    """What a journal holds."""

    beginning: Beginning
    history: History
    length: int
    """Bytes up to the end of the last whole line."""


def read_journal(path: Path) -> Kept:
    """What a journal holds. Raises InputError where it can't be read, or a line is damaged."""
    try:
        if path.is_symlink():
            raise InputError(f"{path} is a link, which the studio does not follow; give a file")
        content = regular(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read ({cause_of(error)})") from error
    lines = list(_whole_lines(content))
    if not lines:
        raise InputError(f"{path} has no first line; {ADVICE}")
    with_number = enumerate(lines, 1)
    number, line = next(with_number)
    try:
        beginning = _beginning(line)
        history = History(beginning.document)
        for number, line in with_number:  # noqa: B007  it is told of below
            history = _next(history, line, beginning.clip)
    except InputError as error:
        raise InputError(f"{path}: line {number} is damaged ({error}); {ADVICE}") from None
    return Kept(beginning, history, sum(len(line) + 1 for line in lines))


def begin_journal(path: Path, beginning: Beginning) -> None:
    """Write a new journal. Raises InputError where it can't be written."""
    with replacing(path) as part:
        part.write_bytes(beginning.model_dump_json().encode() + b"\n")


class Journal:
    """A history that is on the disk as soon as it is in memory. It is for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open a journal that is there. Raises InputError as `read_journal` does."""
        kept = read_journal(path)
        self.path = path
        self.beginning = kept.beginning
        self.history = kept.history
        self._length = kept.length
        try:
            self._file: BinaryIO = path.open("r+b", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from error

    def edit(self, edit: Shape) -> History:
        """Make an edit; the history after it. Raises InputError where it does not apply or can't be
        kept, and then all is as it was."""
        history = self.history.edited(edit, self.beginning.clip)
        if history is not self.history:
            self._keep(written(edit).encode(), history)
        return history

    def undo(self) -> History:
        """Take the last step back, as `edit`."""
        return self._keep(UNDO, self.history.undone())

    def redo(self) -> History:
        """Make a step again, as `edit`."""
        return self._keep(REDO, self.history.redone())

    def close(self) -> None:
        """Close the file; nothing waits to be written."""
        self._file.close()

    def _keep(self, line: bytes, history: History) -> History:
        """Write a line to the disk, and only then know of the history after it."""
        end = self._length + len(line) + 1
        try:
            self._check_there()
            _append(self._file, self._length, line + b"\n")
        except InputError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            raise unwritable(self.path, error, "nothing was changed; make room there") from error
        self._length = end
        self.history = history
        return history

    def _check_there(self) -> None:
        """Raise InputError where the file was removed or replaced: a line of it would be lost."""
        own = os.fstat(self._file.fileno())
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(own, self.path.stat()):
                return
        raise InputError(
            f"{self.path} was removed or replaced while the studio had it open; nothing was "
            "changed; put it back, or start the studio anew"
        )


def _whole_lines(content: bytes) -> Iterator[bytes]:
    """The lines that have their line end."""
    *whole, _torn = content.split(b"\n")
    yield from whole


def _beginning(line: bytes) -> Beginning:
    try:
        return BEGINNING.validate_json(line)
    except ValidationError as error:
        raise InputError(problem_of(error.errors())) from None


STEPS: dict[bytes, Callable[[History], History]] = {UNDO: History.undone, REDO: History.redone}


def _next(history: History, line: bytes, clip: Clip) -> History:
    """The history after one more line. Raises InputError where it can't follow."""
    if line in STEPS:
        return STEPS[line](history)
    after = history.edited(read_edit(line), clip)
    if after is history:
        raise InputError(f"{shown(line.decode())} changes nothing")
    return after


def _append(file: BinaryIO, length: int, line: bytes) -> None:
    """Write a line after the first `length` bytes of a file, in the place of whatever else is
    there, and wait until it is on the disk. Raises OSError; then the file ends where it did, or
    with a torn line."""
    file.truncate(length)
    file.seek(length)
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[file.write(rest) :]
        _sync(file)
    except OSError:
        file.truncate(length)
        raise


def _sync(file: BinaryIO) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
