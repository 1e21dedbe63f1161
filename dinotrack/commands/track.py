"""dinotrack VIDEO: one run.

Arguments, the video and the queries are looked at before anything that takes long to load, so that
what is wrong with them is said at once. What can't be written is said before the fit.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinotrack.errors import printable
from dinotrack.interrupts import held
from dinotrack.progress import Watch
from dinotrack.terminal import arguments
from dinotrack.terminal.display import Display
from dinotrack.terminal.heap import keep_freed_memory

if TYPE_CHECKING:
    from dinotrack.fitted import Fitted
    from dinotrack.terminal.asked import Asked
    from dinotrack.video import Video

GOES_ON = "interrupted; the same command goes on from here"
BEGINS_AGAIN = "interrupted; nothing was learnt yet, and the same command begins again"


def run(argv: Sequence[str]) -> int:
    """Fit, track and write what the arguments say."""
    with held():  # what Ctrl-C meets while it is being loaded may crash, or lose it
        args = arguments.parse(argv)
    with Display(sys.stderr) as display:
        _run(args, display, again=True)
    return 0


def run_once(args: argparse.Namespace) -> bool:
    """The same for arguments that were parsed, unless the folder holds just these results.

    Returns whether anything was done. That is found out once the folder is locked, so of several
    processes one alone does it.
    """
    with Display(sys.stderr) as display:
        return _run(args, display, again=False)


def _run(args: argparse.Namespace, display: Display, again: bool) -> bool:
    """One run; returns whether it was done. again: also where its results are there."""
    with held():
        from dinotrack.formats import check_count, read_masks
        from dinotrack.locks import locked
        from dinotrack.terminal import outputs, report, requests
        from dinotrack.terminal.asked import asked_of
        from dinotrack.video import read_video

    if os.path.exists(args.video):
        _check_names(args)
    watch = Watch(display)
    with watch.stage("read"):
        video = read_video(args.video, display)
    asked = asked_of(args, video)
    for name in args.format:
        check_count(name, len(asked.queries))
    foreground = None
    if args.foreground:
        foreground = read_masks(args.foreground, len(video.frames), video.size)
    out = args.out or outputs.default_folder(video)
    given = (args.video, args.queries, args.corrections, args.mask, args.foreground)
    check_overlay(args, video, asked.point_names)
    outputs.check(out, [path for path in given if path])
    with locked(out), _interrupted_in(out):
        if not again and requests.is_done(out, args):
            return False
        request = requests.request_of(args)
        outputs.clear(out)
        keep_freed_memory()
        with held():
            from dinotrack import api  # loads torch, which takes seconds

        fitted = api.fit(
            video,
            preset=args.preset,
            settings=arguments.settings(args),
            seed=args.seed,
            device=args.device,
            foreground=foreground,
            progress=display,
            folder=out / outputs.MODEL,
            queries=asked.queries,
        )
        record = write_results(out, args, asked, fitted, watch, {"request": request})
    for line in report.summary(out, record):
        print(printable(line))
    return True


def check_overlay(args: argparse.Namespace, video: "Video", names: Sequence[str]) -> None:
    """Find out whether the overlay can be drawn. names: what each point is called."""
    from dinotrack.media.encoding import check_writable
    from dinotrack.tracks import point_numbers

    if args.overlay_points is not None:
        point_numbers(args.overlay_points, names)
    if not args.no_overlay:
        height, width = video.size
        check_writable((height, width * (2 if args.side_by_side else 1)), video.fps)


def _check_names(args: argparse.Namespace) -> None:
    """Look up, before the video is read, names that only the method knows, if any were given."""
    settings = arguments.settings(args)
    flow_name, vit_name = settings.get("flow.name"), settings.get("backbone.name")
    if args.device == "auto" and flow_name is None and vit_name is None:
        return
    with held():
        from dinotrack import features, flow_methods, options

    device = options.choose_device(args.device)
    if flow_name not in (None, "auto"):
        flow_methods.resolve_flow_name(flow_name, device)
    if vit_name is not None:
        features.check_name(vit_name)


@contextlib.contextmanager
def _interrupted_in(out: Path) -> Iterator[None]:
    """Where the run is interrupted inside, note whether the same command goes on from there."""
    from dinotrack.terminal.outputs import holds_fit

    try:
        yield
    except KeyboardInterrupt as stop:
        if holds_fit(out):
            stop.add_note(GOES_ON)
        raise


def write_results(
    out: Path,
    args: argparse.Namespace,
    asked: "Asked",
    fitted: "Fitted",
    watch: Watch,
    noted: dict[str, Any],
) -> dict[str, Any]:
    """Track what is asked for, and write tracks in all formats, the overlay and the report; the
    record of the run, as it is written.

    noted: what the record holds besides what a fit and its tracks tell.
    """
    from dinotrack.overlay import Look, render
    from dinotrack.report.sections import write_report
    from dinotrack.report.story import Story
    from dinotrack.terminal import outputs, report

    tracks = asked.tracked(fitted)
    known = report.about(args, fitted, asked, tracks) | noted
    with watch.stage("write"):
        so_far = known | report.happened(fitted, watch)
        corrections = {outputs.CORRECTIONS: asked.save_corrections}
        more = corrections if asked.is_corrected else {}
        hashes = outputs.replace(out, tracks, so_far, more)
    if not args.no_overlay:
        path = out / outputs.OVERLAY
        look = Look(args.overlay_style, args.trail, args.overlay_points, args.side_by_side)
        with watch.stage("overlay"):
            render(fitted.video, tracks, path, look, watch.progress)
        hashes[outputs.OVERLAY] = outputs.sha256(path)
    for name in args.format:
        path = out / outputs.exported(name)
        wishes = {"start_frame": args.start_frame, "only_visible": args.only_visible}
        tracks.save(path, name, video=fitted.video.path, **wishes)
        hashes[path.name] = outputs.sha256(path)
    if args.report:
        path = out / outputs.REPORT
        with watch.stage("report"):
            happened = known | report.happened(fitted, watch)
            story = Story(out.resolve().name, fitted, tracks, happened)
            write_report(path, story, watch.progress)
        hashes[path.name] = outputs.sha256(path)
    record = known | report.happened(fitted, watch) | {"outputs": hashes, "complete": True}
    outputs.write_record(out, record)
    return record
