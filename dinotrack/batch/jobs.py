"""Which videos there are, and what is asked of each."""

import argparse
import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinotrack.batch import manifest, naming
from dinotrack.batch.manifest import Row
from dinotrack.errors import InputError
from dinotrack.terminal import arguments
from dinotrack.terminal.requests import FILES

GRID = ("grid", "mask", "query_frame")
"""Options that choose points of a grid; a row with queries of its own has no use for them."""


@dataclass(frozen=True)
class Job:
    """One video, and what is asked of it."""

    name: str
    """That of its folder; no other job has it."""
    args: argparse.Namespace
    """The arguments of the run. All paths are absolute."""

    @property
    def video(self) -> Path:
        """Where the video lies."""
        return Path(self.args.video)

    @property
    def out(self) -> Path:
        """The folder of its results."""
        return Path(self.args.out)


def jobs_of(args: argparse.Namespace) -> tuple[Job, ...]:
    """The jobs that a command line asks for, in its order or in that of its manifest.

    args: the options of a run, which hold for all videos; and videos, manifest and out.
    Raises InputError where a row of the manifest, or its options, can't be understood.
    """
    rows = _rows(args)
    wishes = [_wished(args, row) for row in rows]
    named = [row.values.get("name", "") for row in rows]
    names = naming.names_of([wish.video for wish in wishes], named)
    return tuple(_placed(wish, args.out, name) for wish, name in zip(wishes, names, strict=True))


def chosen(jobs: Sequence[Job], numbers: Iterable[int]) -> tuple[Job, ...]:
    """The jobs of some numbers, which count from 1. Raises InputError for one that is not there."""
    found = []
    for number in dict.fromkeys(numbers):
        if number > len(jobs):
            raise InputError(f"--only {number}: there are {len(jobs)} videos, counted from 1")
        found.append(jobs[number - 1])
    return tuple(found)


def _rows(args: argparse.Namespace) -> Sequence[Row]:
    if args.manifest is not None:
        if args.videos:
            raise InputError("give videos or --manifest, not both")
        return manifest.read(args.manifest)
    if not args.videos:
        raise InputError("there is no video; give some, or --manifest FILE.csv")
    return [Row("", {"video": str(video)}) for video in args.videos]


def _wished(args: argparse.Namespace, row: Row) -> argparse.Namespace:
    """What is asked of the video of a row. What it does not say holds as for all."""
    base = copy.copy(args)
    base.video = base.out = None
    if row.values.get("queries"):
        for option in GRID:
            setattr(base, option, None)
    elif any(row.values.get(option) for option in GRID):
        base.queries = None
    try:
        return arguments.parse(manifest.words_of(row), base)
    except InputError as error:
        if not row.where:
            raise
        raise InputError(f"{row.where}: ", *error.args) from error


def _placed(wish: argparse.Namespace, out: Path, name: str) -> Job:
    """A job whose paths hold in any current folder."""
    placed = copy.copy(wish)
    placed.out = (out / name).absolute()
    for option in FILES:
        path = getattr(placed, option)
        if path is not None:
            setattr(placed, option, path.absolute())
    return Job(name, placed)
