"""How all command lines of the project read what is typed: one sentence for what is wrong."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from dinotrack.errors import InputError, shown

LARGEST = 999_999_999
"""Of a whole number; no video has more frames, and no grid more points."""


class Parser(argparse.ArgumentParser):
    """Complains in one line, like everything else here."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message}; see {self.prog} --help")


def path(text: str) -> Path:
    """A path. An empty one would be the current folder, and is what an unset variable gives."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path names nothing; give one")
    return Path(text)


def folder(text: str) -> Path:
    """A folder that is there."""
    place = path(text)
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{shown(text)} is no folder that exists; check the path")
    return place


def file_named(*endings: str) -> Callable[[str], Path]:
    """What reads the path of a file whose name ends in one of these ways."""

    def read(text: str) -> Path:
        file = path(text)
        if file.suffix.lower() not in endings:
            raise argparse.ArgumentTypeError(
                f"{shown(text)} does not end in {' or '.join(endings)}"
            )
        return file

    return read


def whole(least: int = -LARGEST, most: int = LARGEST) -> Callable[[str], int]:
    """What reads a whole number between two bounds, both included."""

    def read(text: str) -> int:
        number = re.fullmatch(r"\s*([+-]?)0*([0-9]+)\s*", text)
        if number is None:
            raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number")
        digits = number[2] if len(number[2]) < len(str(LARGEST)) + 2 else str(10 * LARGEST)
        value = int(number[1] + digits)
        if not least <= value <= most:
            raise _out_of_range(text, f"from {least} to {most}")
        return value

    return read


def picture_size(text: str) -> tuple[int, int]:
    """A size such as 1920x1080, width first, as (H, W)."""
    found = re.fullmatch(r"\s*([1-9][0-9]{0,4})\s*[xX]\s*([1-9][0-9]{0,4})\s*", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no size; give one as in 1920x1080")
    return int(found[2]), int(found[1])


def real(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """What reads a finite number between two bounds, both included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)} is no number") from None
        if not (math.isfinite(value) and least <= value <= most):
            raise _out_of_range(text, f"from {least:g} to {most:g}, and finite")
        return value

    return read


def _out_of_range(text: str, wanted: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{shown(text)} is out of range; it may be {wanted}")
