"""dinotrack report: a page that shows what a run did, and how well."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinotrack.errors import Argument, InputError, printable
from dinotrack.interrupts import held
from dinotrack.terminal import parsing
from dinotrack.terminal.display import Display

INTERRUPTED = "interrupted; no report was written"


def run(argv: Sequence[str]) -> int:
    """Write the report, and print where it lies."""
    args = _parser().parse_args(argv)
    with held():
        from dinotrack.files import check_outputs, same_file
        from dinotrack.locks import locked
        from dinotrack.terminal import outputs

    path = args.out or args.run / outputs.REPORT
    check_outputs([path])
    is_of_run = same_file(path, args.run / outputs.REPORT)
    lock = locked(args.run) if is_of_run else contextlib.nullcontext()
    with Display(sys.stderr) as display, lock:
        record = _report(args, path, display)
        if is_of_run:
            _list(args.run, record)
    print(printable(f"wrote {path}"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parsing.Parser(
        prog="dinotrack report",
        description="Write a page that shows what a run did, and how well (docs/report.md).",
    )
    add = parser.add_argument
    add("run", type=parsing.folder, metavar="RUN", help="the folder of a run")
    where = "the page (default: report.html in the folder of the run)"
    add("-o", "--out", type=parsing.file_named(".html", ".htm"), metavar="FILE", help=where)
    moved = "where the video lies now (default: where it lay when it was fitted)"
    add("--video", type=parsing.path, metavar="VIDEO", help=moved)
    truth = "true tracks of these points: query, tracks, visible and size, as of TAP-Vid's clips"
    add("--truth", type=parsing.path, metavar="FILE.npz", help=truth)
    points = "the points to look at, by numbers or names (default: the worst, a middling, the best)"
    add("--points", metavar="LIST", help=points)
    frames = "the frames to look at them in (default: where they are least sure)"
    add("--frames", metavar="LIST", help=frames)
    devices = "what computes (default: cuda where there is one)"
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=devices)
    return parser


def _report(args: argparse.Namespace, path: Path, display: Display) -> dict[str, Any]:
    """Write the report of a run; the record of the run, as it was found."""
    with held():
        from dinotrack.formats import load_tracks
        from dinotrack.report.truth import read_truth
        from dinotrack.terminal import outputs, requests
        from dinotrack.tracks import point_numbers

    kept = args.run / "tracks.npz"
    if not kept.exists():
        raise InputError(
            f"{args.run} holds no run, as tracks.npz is missing; "
            "name the folder that `dinotrack VIDEO` wrote"
        )
    tracks = load_tracks(kept, "npz")
    truth = None if args.truth is None else read_truth(args.truth, tracks)
    points = [] if args.points is None else point_numbers(args.points, tracks.point_names)
    frames = _frames(args.frames, tracks.visible.shape[1])
    record = requests.record_in(args.run)
    with held():
        from dinotrack import api  # loads torch, which takes seconds
        from dinotrack.overlay import check_belong
        from dinotrack.report.sections import write_report
        from dinotrack.report.story import Story

    try:
        fitted = api.load(args.run / outputs.MODEL, args.video, args.device, display)
    except InputError as error:  # here the video is an option
        parts = ("--video" if part == Argument("video") else part for part in error.args)
        raise InputError(*parts) from error
    check_belong(tracks, fitted.video)
    name = args.run.resolve().name
    story = Story(name, fitted, tracks, record, truth, points, frames)
    write_report(path, story, display)
    return record


def _list(run: Path, record: dict[str, Any]) -> None:
    """Note the new report in run.json, which holds the hashes of all files of the run."""
    from dinotrack.terminal import outputs

    listed = record.get("outputs")
    if isinstance(listed, dict):
        hashes = listed | {outputs.REPORT: outputs.sha256(run / outputs.REPORT)}
        outputs.write_record(run, record | {"outputs": hashes})


def _frames(text: str | None, length: int) -> list[int]:
    """The frames of a list. Raises InputError."""
    if text is None:
        return []
    read = parsing.whole(0, length - 1)
    try:
        return [read(word) for word in text.split(",")]
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--frames: {error}") from None
