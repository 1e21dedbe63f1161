"""What every program of this folder takes and prints."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Row = Sequence[object]


def options(doc: str | None, tries: int) -> argparse.ArgumentParser:
    """The options that the programs share. `tries`: how many, unless --tries says so."""
    summary = (doc or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--tries", type=int, default=tries, metavar="N", help=f"default {tries}")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is random")
    only = "run the attack of that number alone"
    parser.add_argument("--only", type=int, metavar="I", help=only)
    return parser


def numbers(args: argparse.Namespace) -> Sequence[int]:
    """The numbers of the tries that were asked for."""
    return range(args.tries) if args.only is None else (args.only,)


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for the files of a program, gone at its end."""
    folder = Path(tempfile.mkdtemp(prefix="trust-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def markdown(head: Row, rows: Sequence[Row]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def tell(line: str) -> None:
    """Say how far a program is, beside its table."""
    print(line, file=sys.stderr, flush=True)


def conclude(table: str, failures: Sequence[str]) -> int:
    """Print the table and what failed; the exit code."""
    print(table)
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0
