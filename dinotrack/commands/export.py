"""dinotrack export: the tracks of a run as files of other programs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinotrack.errors import InputError, printable
from dinotrack.interrupts import held
from dinotrack.terminal import arguments, parsing

if TYPE_CHECKING:
    from dinotrack.tracks import Tracks

MOST_PLACES = 1 << 24
"""Points times frames that are written."""
INTERRUPTED = "interrupted; files that were not finished are not there"


def run(argv: Sequence[str]) -> int:
    """Write what the arguments say, and print where it lies."""
    with held():
        from dinotrack.terminal import outputs, requests

    args = _parser().parse_args(argv)
    tracks = _tracks(args)
    folder = args.run if args.run.is_dir() else args.run.parent
    if args.out and len(args.format) > 1:
        raise InputError("-o names one file; leave it out, or give one format")
    video = _video(requests.record_in(args.run))
    made_from = [args.run] if args.run.is_file() else []
    if video and os.path.exists(video):
        made_from.append(Path(video))
    for name in args.format:
        path = args.out or folder / outputs.exported(name)
        outputs.check_export(path, folder, made_from)
        tracks.save(
            path,
            name,
            start_frame=args.start_frame,
            only_visible=args.only_visible,
            video=video,
        )
        print(printable(f"wrote {path}"))
    return 0


def _parser() -> argparse.ArgumentParser:
    with held():
        from dinotrack.formats import FORMATS

    width = max(map(len, FORMATS))
    known = (
        f"  {name:{width}}  {each.ending:8}  {each.program}"
        for name, each in FORMATS.items()
        if each.write
    )
    parser = parsing.Parser(
        prog="dinotrack export",
        description="Write the tracks of a run as files of other programs (docs/formats.md).",
        epilog="\n".join(("formats:", *known)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", type=parsing.path, metavar="RUN", help="the folder of a run, or its tracks.npz")
    names = "names of the list below, with commas between"
    add("format", type=arguments.formats, metavar="FORMAT", help=names)
    where = "the file (default: beside the tracks, as in tracks_nuke.nk)"
    add("-o", "--out", type=parsing.path, metavar="FILE", help=where)
    which = "numbers, counted from 0, or names, with commas between (default: all points)"
    add("--points", metavar="LIST", help=which)
    size = "scale positions to a video of this size, as in 1920x1080"
    add("--size", type=parsing.picture_size, metavar="WxH", help=size)
    count = "spread so many frames evenly over the video"
    add("--frames", type=parsing.whole(1), metavar="T", help=count)
    arguments.add_wishes(parser)
    return parser


def _tracks(args: argparse.Namespace) -> Tracks:
    """The tracks of a run, those that are asked for, as large and as many as asked for."""
    with held():
        from dinotrack.formats import load_tracks
        from dinotrack.tracks import point_numbers

    path = args.run / "tracks.npz" if args.run.is_dir() else args.run
    tracks = load_tracks(path)
    if args.points is not None:
        tracks = tracks.chosen(point_numbers(args.points, tracks.point_names))
    if args.size:
        tracks = tracks.resized(args.size)
    if args.frames and args.frames * len(tracks.queries) > MOST_PLACES:
        raise InputError(f"--frames: {args.frames} frames are more than memory is for; give fewer")
    return tracks.resampled(args.frames) if args.frames else tracks


def _video(record: dict[str, Any]) -> str:
    """Where the video of a run lies, as its record says; empty where it does not."""
    try:
        return str(Path(record["video"]["path"]).absolute())
    except (OSError, ValueError, LookupError, TypeError):
        return ""
