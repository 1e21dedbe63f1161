"""What the command line takes. Nothing here needs more than the standard library and the config."""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinotrack.config import PRESETS, override, parse_assignment
from dinotrack.config import preset as named_preset
from dinotrack.defaults import GRID, LARGEST_SEED
from dinotrack.errors import InputError
from dinotrack.terminal import parsing

EPILOG = f"""\
examples:
  dinotrack my.mp4                                 a grid of {GRID} x {GRID} points, into runs/my/
  dinotrack my.mp4 --queries points.csv            your own points; no fit the second time
  dinotrack my.mp4 --out runs/long --set training.steps=2000
  dinotrack --out runs/x -- -x.mp4                 a name that starts with a dash
"""


COMMANDS: dict[str, str] = {
    "batch": "track many videos, one after the other or several at a time",
    "report": "write a page that shows what a run did, and how well",
    "teach": "teach the fit of a run by corrections, and track again",
    "export": "write the tracks of a run as files of other programs",
    "studio": "place, track, mend and teach points in the browser",
}
"""The first word of a command -> what it does. dinotrack/commands has a file for each."""
RESUME = "of no effect: an interrupted fit goes on by itself"
WITHOUT_EFFECT = ("video", "out", "device", "resume")
"""Arguments that do not change what a run is asked for: where its files lie, and what computes."""


def parse(argv: Sequence[str] | None, base: argparse.Namespace | None = None) -> argparse.Namespace:
    """The arguments of one run. Raises InputError for wrong ones, settings included.

    base: what holds where argv says nothing else; further settings are added to its own.
    """
    args = _parser().parse_args(argv, copy.copy(base))
    if args.video is None:
        args.video = _video_among(args.set)
    if args.queries and (args.mask or args.query_frame is not None):
        raise InputError(
            "--mask and --query-frame choose the points of a grid; leave them out, or --queries"
        )
    override(named_preset(args.preset or "fast"), settings(args))  # complain before the fit
    return args


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of a run ask for in another way than none would, by name."""
    usual = vars(_parser().parse_args([]))
    asked = {name: value for name, value in vars(args).items() if name in usual}
    return {
        name: value
        for name, value in asked.items()
        if value != usual[name] and name not in WITHOUT_EFFECT
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options of a run, but for its video and where its results go."""
    _add_files(parser)
    _add_points(parser)
    _add_method(parser)


def _parser() -> argparse.ArgumentParser:
    parser = parsing.Parser(
        prog="dinotrack",
        usage="%(prog)s VIDEO [options]",
        description="Fit a point tracker to one video, and track any points through it.",
        epilog=EPILOG + _commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = "a video file, a GIF, or a folder of images"
    parser.add_argument("video", nargs="?", type=parsing.path, metavar="VIDEO", help=kinds)
    where = "where results go (default runs/<name of the video>/)"
    parser.add_argument("--out", type=parsing.path, metavar="DIR", help=where)
    add_options(parser)
    return parser


def _commands() -> str:
    """What else there is besides a run, for --help."""
    width = max(map(len, COMMANDS))
    lines = (f"  dinotrack {name:{width}}  {what}" for name, what in COMMANDS.items())
    return "\n".join(("", "commands (each has a --help of its own):", *lines, ""))


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What differs from the preset, by key."""
    chosen: dict[str, Any] = dict(parse_assignment(text) for text in args.set)
    if args.backbone is not None:
        chosen["backbone.name"] = args.backbone
    if args.flow is not None:
        chosen["flow.name"] = args.flow
    return chosen


def _video_among(assignments: list[str]) -> Path:
    """The video, where --set stood before it and took it for a setting; it is taken out of them."""
    for place, text in enumerate(assignments):
        if "=" not in text:
            return parsing.path(assignments.pop(place))
    raise InputError("VIDEO is missing; see dinotrack --help")


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_overlay(parser)
    add("--report", action="store_true", help="also write report.html, a page to look at")
    add_export(parser)


def _add_overlay(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    drawn = "how points are drawn: trails (default), points, rainbow, heat or arrows"
    add("--overlay-style", type=_style, metavar="STYLE", default="trails", help=drawn)
    some = "numbers, counted from 0, or names, with commas between (default: all points)"
    add("--overlay-points", metavar="LIST", help=some)
    length = "frames of a point's way that are drawn (default: what the style likes)"
    add("--trail", type=parsing.whole(0), metavar="N", help=length)
    add("--side-by-side", action="store_true", help="show the video beside the overlay")
    add("--no-overlay", action="store_true", help="do not write overlay.mp4")


def add_export(parser: argparse.ArgumentParser) -> None:
    """How tracks are written for other programs."""
    add = parser.add_argument
    programs = "files for other programs; dinotrack export --help lists them"
    add("--format", type=formats, metavar="NAME[,NAME...]", default=(), help=programs)
    add_wishes(parser)


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """What is wished of files of other programs."""
    add = parser.add_argument
    first = "what other programs call the first frame (default: what is usual there)"
    add("--start-frame", type=parsing.whole(), metavar="N", help=first)
    left_out = "leave out positions of hidden points in formats that could hold them"
    add("--only-visible", action="store_true", help=left_out)


def formats(text: str) -> tuple[str, ...]:
    """Names of formats that can be written here. They are looked up only now, as in `_style`."""
    from dinotrack.formats import check_writable

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    try:
        for name in names:
            check_writable(name)
    except InputError as error:  # a ValueError, of which argparse would not say what is wrong
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


def _add_points(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    points = parser.add_mutually_exclusive_group()
    kinds = "points t,x,y: .csv, .tsv, .txt, .json, .npy, .npz, or of another program"
    points.add_argument("--queries", type=parsing.path, metavar="FILE", help=kinds)
    mended = "where points are in further frames, or are hidden: point,t,x,y,visible,until"
    add("--corrections", type=parsing.path, metavar="FILE", help=mended)
    program = "the format of the file of --queries, where its name does not tell"
    add("--queries-format", metavar="NAME", help=program)
    points.add_argument(
        "--grid", type=parsing.whole(), metavar="N", help=f"N x N points (default {GRID})"
    )
    inside = "only those points of the grid inside this image or .npy"
    add("--mask", type=parsing.path, metavar="FILE", help=inside)
    where = "the frame the grid lies in (default 0)"
    add("--query-frame", type=parsing.whole(), metavar="T", help=where)


def _add_method(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    masks = "what is foreground: one mask for all frames, or one for each"
    add("--foreground", type=parsing.path, metavar="FILE|DIR", help=masks)
    add("--preset", choices=PRESETS, help="default: quality on CUDA, else fast")
    add("--backbone", metavar="NAME", help="a timm ViT by short or full name, auto, or none")
    add("--flow", metavar="NAME", help="dis, raft_small, raft_large or auto")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    seed = parsing.whole(0, LARGEST_SEED)
    add("--seed", type=seed, default=0, metavar="N", help="of all random numbers (default 0)")
    any_setting = "any setting, as in training.steps=2000"
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=any_setting)
    add("--resume", action="store_true", help=RESUME)


def _style(name: str) -> str:
    """A style of the overlay. They are looked up only now, as drawing takes OpenCV."""
    from dinotrack.overlay import STYLES

    if name not in STYLES:
        known = " or ".join(STYLES)
        raise argparse.ArgumentTypeError(f"unknown style {name!r}; choose {known}")
    return name
