"""Options of the command line that several benchmarks have."""

import argparse
from pathlib import Path

from dinotrack.benchmarks import datasets
from dinotrack.config import parse_assignment
from dinotrack.terminal import parsing

OptionGroup = argparse._ActionsContainer
"""A parser, or a group of its options."""


def add_data(parser: OptionGroup) -> None:
    """--data and --clips."""
    parser.add_argument(
        "--data",
        type=parsing.folder,
        default=datasets.data_folder(),
        metavar="DIR",
        help=f"folder that holds eval/ ({datasets.FOLDER_VARIABLE}, or ../shared)",
    )
    parser.add_argument(
        "--clips", nargs="+", default=[], metavar="NAME", help="only these clips, by their names"
    )


def add_datasets(parser: OptionGroup) -> None:
    """--datasets."""
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=[],
        metavar="SET",
        help="as `accuracy --help` lists them (all that --data holds, or the demo)",
    )


def add_settings(parser: OptionGroup) -> None:
    """--device and --set."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings, as in track.py",
    )


def add_models(parser: OptionGroup) -> None:
    """--models."""
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="keep fits as DIR/CLIP-SEED, and use those that are there; a DIR for each preset",
    )


def settings(args: argparse.Namespace) -> dict[str, str]:
    """What --set changes. Raises InputError for what is no assignment."""
    return dict(parse_assignment(text) for text in args.set)
