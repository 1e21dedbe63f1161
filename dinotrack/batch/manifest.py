"""A table of videos, and of what is asked of each."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinotrack.errors import InputError, shown
from dinotrack.formats.opening import Unreadable, opened, size_of
from dinotrack.formats.tables import decoded

PATHS = ("queries", "corrections", "mask", "foreground")
"""Columns that name files, besides video; they are options of a run, too."""
OPTIONS = (
    *("queries_format", "start_frame", "grid", "query_frame"),
    *("preset", "backbone", "flow", "seed", "format", "overlay_style"),
)
"""Columns that are options of a run with a value."""
COLUMNS = ("video", "name", *PATHS, "settings", *OPTIONS)
DELIMITERS = (",", ";", "\t")
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Row:
    """What a manifest says of one video."""

    where: str
    """The file and the line, for messages; empty for a video of the command line."""
    values: dict[str, str]
    """By column; cells that are empty are left out."""


def read(path: Path) -> list[Row]:
    """The rows of a manifest, a CSV file whose header has `video` and any other of `COLUMNS`.

    A path in it is taken from the folder of the manifest. Raises InputError, which names the line,
    where it can't be understood.
    """
    with opened(path, "a manifest") as file:
        if size_of(file) > MOST_BYTES:
            raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MB")
        text = decoded(file.read())
        if "\0" in text:
            raise Unreadable("it holds zero bytes, which no table does")
    lines = io.StringIO(text, newline=None).read().split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    delimiter = _delimiter(lines[first])
    records = csv.reader(lines[first:], delimiter=delimiter, skipinitialspace=True)
    columns: list[str] = []
    rows = []
    for line, cells in _numbered(records, path, first):
        where = f"{path}, line {line}"
        if not columns:
            columns = _columns(cells, where)
        elif any(cells):
            rows.append(_row(columns, cells, where, path.parent))
    if not rows:
        raise InputError(f"{path}: holds no video; give a header with video, and a row for each")
    return rows


def words_of(row: Row) -> list[str]:
    """A row in the words of the command line of one run."""
    words = [
        f"--{column.replace('_', '-')}={row.values[column]}"
        for column in (*PATHS, *OPTIONS)
        if column in row.values
    ]
    settings = row.values.get("settings", "").split()
    if settings:
        words += ["--set", *settings]
    return [*words, "--", row.values["video"]]


def _delimiter(header: str) -> str:
    """What parts the columns: the first that leaves one that is called video."""
    for delimiter in DELIMITERS:
        if "video" in (name.strip(' "').lower() for name in header.split(delimiter)):
            return delimiter
    return DELIMITERS[0]


def _numbered(
    records: Iterator[list[str]], path: Path, before: int
) -> Iterator[tuple[int, list[str]]]:
    """Records, each with the line that it ends in, counted from 1."""
    number = before
    try:
        for cells in records:
            number = before + records.line_num  # type: ignore[attr-defined]
            yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        place = f"{path}, line {number + 1}"
        raise InputError(f"{place}: is no row of a table ({error}); mend this line") from None


def _columns(cells: Sequence[str], where: str) -> list[str]:
    """The names of the columns. Raises InputError for unknown ones, and without video."""
    columns = [cell.lower().replace("-", "_").replace(" ", "_") for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    known = ", ".join(COLUMNS)
    if "video" not in columns:
        raise InputError(f"{where}: no column is called video; the columns may be {known}")
    for name in columns:
        if name not in COLUMNS:
            raise InputError(f"{where}: {shown(name)} is no column; the columns may be {known}")
        if columns.count(name) > 1:
            raise InputError(f"{where}: two columns are called {name}; keep one")
    return columns


def _row(columns: Sequence[str], cells: Sequence[str], where: str, folder: Path) -> Row:
    if any(cells[len(columns) :]):
        raise InputError(
            f"{where}: has {len(cells)} fields, the header {len(columns)}; put those with commas "
            "into quotes"
        )
    values = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    if "video" not in values:
        raise InputError(f"{where}: names no video; give one, or take the row out")
    for name in ("video", *PATHS):
        if name in values:
            values[name] = str(folder / values[name])
    return Row(where, values)
