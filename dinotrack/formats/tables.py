"""Tables of numbers as spreadsheets and other programs write them, read as text.

Excel alone writes commas, semicolons or tabs between the fields, commas as decimal points, a byte
order mark, UTF-16, a first line `sep=;`, and rows of nothing, as its language and menus will have
it. None of that is the user's fault.
"""

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dinotrack.errors import InputError, shown

DELIMITERS = (",", ";", "\t", "|", " ")
"""What may stand between fields; the first that gives the columns that are wanted."""
RIVALS = {"t": ("frame", "frames")}
"""What a column may be called as well; beside one of these, T is something else, as a temperature.
"""
POINTED = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
"""The common kind of number; with `NUMBER` there may be a comma, and nothing before it."""
NUMBER = re.compile(r"[+-]?([0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


Numbered = Iterator[tuple[int, str]]
"""Lines, each with its number, counted from 1."""


@dataclass(frozen=True)
class Table:
    """A text with a header, of which only some columns are wanted, and these hold numbers."""

    where: str
    """What messages call the text."""
    content: bytes
    wanted: tuple[str, ...]
    label: str = "name"
    """The column that holds text, where there is one."""
    sparse: tuple[str, ...] = ()
    """Columns in which cells may be empty, and count as NaN. Those of them that are not wanted may
    be missing, which is the same; their numbers come after those of the wanted ones."""

    @property
    def numeric(self) -> tuple[str, ...]:
        """All columns whose numbers are given, in their order."""
        return (*self.wanted, *(name for name in self.sparse if name not in self.wanted))

    def rows(self) -> Iterator[tuple[int, list[float], str | None]]:
        """The line of each row that holds anything, the numbers in its `numeric` columns, and its
        label; None where no column is called so.

        Lines are counted from 1, as editors do. Raises InputError, which names the line, where no
        header has the wanted columns, or one of them twice, for rows of another number of fields
        than the header, and for what is no number.
        """
        lines = enumerate(_lines(self.content), 1)
        first, header, delimiter = self._header(lines)
        names = _split(header, delimiter)
        columns = self._columns(names, first)
        width = len(_without_empty_end(names))
        label = next((i for i, name in enumerate(names) if name.lower() == self.label), None)
        marks: set[str] = set()
        for line, fields in self._records(lines, delimiter):
            if any(fields):
                if len(fields) != width:
                    self._check_width(fields, width, line)
                texts = ["" if column is None else fields[column] for column in columns]
                if "," in marks or not all(map(POINTED.fullmatch, texts)):
                    self._check_numbers(texts, delimiter, marks, line)
                    texts = [text.replace(",", ".") for text in texts]
                elif not marks and any("." in text for text in texts):
                    marks.add(".")
                text = None if label is None else fields[label]
                yield line, [float(text or "nan") for text in texts], text

    def _header(self, lines: Numbered) -> tuple[int, str, str]:
        """The line with the names of the columns, its number, and what stands between them."""
        delimiters: tuple[str, ...] = DELIMITERS
        number, line = _first_of(lines)
        named = re.fullmatch(r'\s*"?sep=(.)\W*', line, re.IGNORECASE)
        if named:
            delimiters = (named[1],)
            number, line = _first_of(lines)
        for delimiter in delimiters:
            names = {name.lower() for name in _split(line, delimiter)}
            if names >= set(self.wanted):
                return number, line, delimiter
        columns = ",".join(self.wanted)
        found = f"it is {shown(line.strip())}" if line else "there is none"
        raise InputError(
            f"{self.where}, line {number}: is no header with {columns} ({found}); "
            f"let the first line be {columns}"
        )

    def _columns(self, names: Sequence[str], line: int) -> list[int | None]:
        """Where the numeric columns are; None for one that is missing. An exact name goes before
        one of another case."""
        columns = []
        for wanted in self.numeric:
            exact = [i for i, name in enumerate(names) if name == wanted]
            found = exact or [i for i, name in enumerate(names) if name.lower() == wanted]
            if len(found) > 1:
                raise InputError(
                    f"{self.where}, line {line}: {len(found)} columns are called "
                    f"{names[found[0]]}; keep the one that is meant, or rename the others"
                )
            rival = next((name for name in names if name.lower() in RIVALS.get(wanted, ())), None)
            if rival is not None and not exact:
                raise InputError(
                    f"{self.where}, line {line}: the column {wanted} may be {names[found[0]]} or "
                    f"{rival}; call it {wanted}"
                )
            columns.append(found[0] if found else None)
        return columns

    def _records(self, lines: Numbered, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Of each record below the header: the number of its first line, and its fields."""
        last = 0

        def texts() -> Iterator[str]:
            nonlocal last
            for number, line in lines:
                last = number
                yield line

        reader = _reader(texts(), delimiter)
        before = 0
        try:
            for fields in reader:
                yield last + 1 - (reader.line_num - before), _tidy(fields)
                before = reader.line_num
        except csv.Error as error:
            raise InputError(
                f"{self.where}, line {last}: is no row of a table ({error}); mend this line"
            ) from None

    def _check_width(self, fields: Sequence[str], width: int, line: int) -> None:
        count = len(_without_empty_end(fields))
        if count > width or len(fields) < width:
            found = count if count > width else len(fields)
            raise InputError(
                f"{self.where}, line {line}: has {found} fields, the header {width}; give each row "
                "one for each column, and where numbers have decimal commas, part the fields by ;"
            )

    def _check_numbers(
        self, texts: Sequence[str], delimiter: str, marks: set[str], line: int
    ) -> None:
        """Raise InputError for what is no number, or not surely one.

        marks: what stood for a decimal point in the file so far, for this to add to.
        """
        for name, text in zip(self.numeric, texts, strict=True):
            place = f"{self.where}, line {line}: {name}"
            if not text and name in self.sparse:
                continue
            if not text:
                raise InputError(f"{place} is empty; give a number")
            if NUMBER.fullmatch(text) is None:
                raise InputError(f"{place} = {shown(text)} is no number; give one")
            marks |= {mark for mark in ".," if mark in text}
            if len(marks) > 1 or (delimiter != ";" and THOUSANDS.fullmatch(text)):
                raise InputError(
                    f"{place} = {shown(text)}: the comma may part thousands or be a decimal "
                    "point; write numbers with points and without thousands"
                )


def _first_of(lines: Numbered) -> tuple[int, str]:
    """The next line that holds anything, and its number; (1, "") where none does."""
    return next((found for found in lines if found[1].strip()), (1, ""))


def decoded(content: bytes) -> str:
    """The text of a file, whatever common code it is in; what is no letter of it becomes U+FFFD."""
    return content.decode(_code(content), errors="replace")


def _lines(content: bytes) -> Iterator[str]:
    """The lines of a file. The ends of Windows and of old Macs are ends of lines too."""
    code = _code(content)
    return iter(io.TextIOWrapper(io.BytesIO(content), encoding=code, errors="replace"))


def _code(content: bytes) -> str:
    """The code of a text: what its byte order mark says, or what its zeros tell of UTF-16.

    Else it is UTF-8, or Latin-1, in which every byte is a letter. Digits are the same in both.
    """
    for mark, code in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return code
    start = content[:200]
    if len(start) > 1 and not any(start[1::2]):
        return "utf-16-le"
    if len(start) > 1 and not any(start[::2]):
        return "utf-16-be"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    """A reader of fields, in which space before a field, and where it parts fields, is nothing."""
    cut = (line.strip(" \n") for line in lines) if delimiter == " " else lines
    return csv.reader(cut, delimiter=delimiter, skipinitialspace=True)


def _split(line: str, delimiter: str) -> list[str]:
    """The names of a header, without the # that numpy writes; none where it is no row."""
    with contextlib.suppress(csv.Error):
        return _tidy(next(_reader([line.lstrip("# ")], delimiter), []))
    return []


def _tidy(fields: list[str]) -> list[str]:
    return [field.strip() for field in fields]


def _without_empty_end(fields: Sequence[str]) -> Sequence[str]:
    count = len(fields)
    while count and not fields[count - 1]:
        count -= 1
    return fields[:count]
