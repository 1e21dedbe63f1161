"""What a benchmark leaves behind: its JSON, and a table of it or of what earlier runs wrote."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dinotrack.benchmarks import records, report
from dinotrack.benchmarks.options import OptionGroup
from dinotrack.benchmarks.report import Say

T = TypeVar("T")


def add_arguments(parser: OptionGroup, name: str) -> None:
    """--out, --table and --from of the benchmark of that name."""
    add = parser.add_argument
    out = Path(f"{name}.json")
    add("--out", type=Path, default=out, metavar="FILE", help=f"JSON to write ({out})")
    add("--table", type=Path, metavar="FILE", help="also write Markdown")
    merge = "run nothing: one --table of what --out wrote"
    add("--from", nargs="+", type=Path, dest="earlier", metavar="FILE", help=merge)


def write(args: argparse.Namespace, measured: T, markdown: Callable[[T], str]) -> None:
    """The JSON file and, if asked for, the table of what is known so far."""
    report.write(args.out, records.to_json(measured))
    if args.table:
        report.write(args.table, markdown(measured))


def say_written(args: argparse.Namespace, say: Say) -> None:
    """Says where a run's files lie."""
    say(f"wrote {args.out}" + (f" and {args.table}" if args.table else ""))


def tabulate(args: argparse.Namespace, text: str, say: Say) -> None:
    """The table of earlier runs: written if asked for, else said."""
    if args.table:
        report.write(args.table, text)
    say(f"wrote {args.table}" if args.table else text)
