"""Texts of other programs: read whole, but no larger than a computer can take, and told apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dinotrack.errors import InputError, printable
from dinotrack.files import replacing
from dinotrack.formats.opening import Unreadable, opened, size_of
from dinotrack.formats.tables import decoded

MOST_BYTES = 128 << 20
"""Of a text. 2500 points in 1000 frames take about that much."""
MOST_GROUPS = 4 << 20
"""Brackets in a JSON file that may open a list or an object, each of which takes memory."""
GLANCE = 8192
"""Bytes of a file that tell what it is."""


def content_of(path: Path, kind: str) -> bytes:
    """A whole file. Raises InputError, which says that the file is not `kind`."""
    with opened(path, kind) as file:
        if size_of(file) > MOST_BYTES:
            raise Unreadable(f"it is larger than {MOST_BYTES >> 20} MB; give fewer points")
        return file.read()


def start_of(path: Path) -> str:
    """The text with which a file begins, without blanks; empty where it can't be read."""
    try:
        with opened(path, "a text") as file:
            return decoded(file.read(GLANCE)).lstrip("\ufeff \t\r\n")
    except InputError:
        return ""


def read_json(path: Path, kind: str) -> Any:
    """What a JSON file holds. Raises InputError, which says that the file is not `kind`."""
    content = content_of(path, kind)
    if content.count(b"{") + content.count(b"[") > MOST_GROUPS:
        raise InputError(f"{path}: holds more than {MOST_GROUPS} lists; give fewer points")
    try:
        return json.loads(decoded(content))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: can't be read as {kind}: it is no JSON ({error})") from error
    except (ValueError, RecursionError) as error:
        problem = "it is no JSON that can be taken: a number is too long, or lists are too deep"
        raise InputError(f"{path}: can't be read as {kind}: {problem}") from error


def write_text(path: Path, parts: Iterable[str]) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)


def quoted(text: str) -> str:
    """A text as a field of a CSV file, in quotes where it needs them."""
    if any(mark in text for mark in ',;"\t\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def distinct(names: Sequence[str], joint: str = "_") -> tuple[str, ...]:
    """Names that all differ, for formats in which a name is a key.

    Of equal ones, the second gets _2, and so on. What no file may hold, such as control
    characters, is written out; where nothing is left, the name is the point's number.
    joint: what stands before a number that is added.
    """
    taken: set[str] = set()
    found = []
    for number, name in enumerate(names):
        plain = printable(name) or f"point{joint}{number}"
        free, count = plain, 1
        while free in taken:
            count += 1
            free = f"{plain}{joint}{count}"
        taken.add(free)
        found.append(free)
    return tuple(found)
