"""dinotrack teach: the fit of a run learns from corrections, and its points are tracked again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinotrack.commands import track
from dinotrack.errors import Argument, InputError, printable
from dinotrack.interrupts import held
from dinotrack.progress import Watch
from dinotrack.terminal import arguments, parsing
from dinotrack.terminal.display import Display
from dinotrack.terminal.heap import keep_freed_memory

if TYPE_CHECKING:
    from dinotrack.fitted import Fitted
    from dinotrack.terminal.asked import Asked

INTERRUPTED = "interrupted; nothing is lost, and the same command goes on from here"
WRITING = (
    *("overlay_style", "overlay_points", "trail", "side_by_side", "no_overlay"),
    *("report", "format", "start_frame", "only_visible"),
)
"""Options of a run that say which files it writes, and how; these are written again."""
EPILOG = """\
examples:
  dinotrack teach runs/my --corrections mended.csv   learn, track again, write all results anew
  dinotrack teach runs/my                            by the corrections that the run was given
  dinotrack teach runs/my --undo                     go back to the fit from before

docs/formats.md tells what a file of corrections looks like.
"""


def run(argv: Sequence[str]) -> int:
    """Teach, or go back, and write all results of the run."""
    args = _parser().parse_args(argv)
    _check(args)
    with held():
        from dinotrack.locks import locked
        from dinotrack.terminal import outputs

    with Display(sys.stderr) as display, locked(args.run):
        outputs.clear(args.run)
        lines = list((_undo if args.undo else _teach)(args, display))
    for line in lines:
        print(printable(line))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parsing.Parser(
        prog="dinotrack teach",
        description="Let the fit of a run learn from corrections, so that other points gain too, "
        "and track its points again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", type=parsing.folder, metavar="RUN", help="the folder of a run")
    mended = "where points are, or are hidden (default: the corrections that the run was given)"
    add("--corrections", type=parsing.path, metavar="FILE", help=mended)
    points = "the points that are corrected and tracked (default: those of the run)"
    add("--queries", type=parsing.path, metavar="FILE", help=points)
    program = "the format of the file of --queries, where its name does not tell"
    add("--queries-format", metavar="NAME", help=program)
    first = "what these files call the first frame (default: as the run was told)"
    add("--start-frame", type=parsing.whole(), metavar="N", help=first)
    add("--steps", type=parsing.whole(1), metavar="N", help="how long to learn (default 100)")
    back = "go back to the fit from before the last lesson, and track again with that"
    add("--undo", action="store_true", help=back)
    moved = "where the video lies now (default: where it lay when it was fitted)"
    add("--video", type=parsing.path, metavar="VIDEO", help=moved)
    devices = "what computes (default: cuda where there is one)"
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help=devices)
    return parser


def _check(args: argparse.Namespace) -> None:
    """Find out what is wrong with the arguments before anything is loaded. The corrections that the
    run was given take the place of those that are missing."""
    with held():
        from dinotrack.files import same_file
        from dinotrack.terminal import outputs

    given = [name for name in ("corrections", "queries", "steps") if getattr(args, name)]
    if args.undo and given:
        raise InputError(f"--undo goes back, and --{given[0]} is of no use for that; leave it out")
    kept = args.run / outputs.CORRECTIONS
    if not args.queries and not (args.run / "tracks.npz").exists():
        raise InputError(
            f"{args.run} holds no run, as tracks.npz is missing; "
            "name the folder that `dinotrack VIDEO` wrote"
        )
    if args.corrections is None and kept.exists():
        args.corrections = kept
    if args.corrections is None and not args.undo:
        raise InputError(f"{args.run} was given no corrections so far; give --corrections FILE")
    inputs = [path for path in (args.queries, args.corrections) if path]
    # a run writes anew what it was told, so its own corrections are not lost
    outputs.check(args.run, [path for path in inputs if not same_file(path, kept)])


@dataclass(frozen=True)
class Work:
    """What is taught, and how its results are written."""

    fitted: Fitted
    asked: Asked
    args: argparse.Namespace
    """Those of the run, as far as they say what it writes."""
    noted: dict[str, Any]
    """What the record of the run keeps."""

    def written(self, run: Path, fitted: Fitted, watch: Watch) -> Iterator[str]:
        """Track with a fit, and write the results; the lines that tell of it."""
        from dinotrack.terminal import report

        record = track.write_results(run, self.args, self.asked, fitted, watch, self.noted)
        yield from report.summary(run, record)


def _teach(args: argparse.Namespace, display: Display) -> Iterator[str]:
    """Teach the fit, unless the same was taught last; the lines that end the command."""
    with held():
        from dinotrack.fitted import lesson_name
        from dinotrack.terminal import outputs
        from dinotrack.training import history

    model = args.run / outputs.MODEL
    work = _work(args, model, display)
    fitted, asked = work.fitted, work.asked
    steps = args.steps or fitted.run.config.teaching.steps
    lesson = lesson_name(asked.queries, asked.corrections, asked.hidden, steps)
    if fitted.state.lessons[-1:] == (lesson,):
        yield "these corrections are what was taught last; nothing is taught anew"
        taught = fitted
    else:
        taught = fitted.teach(
            asked.corrections,
            steps,
            queries=asked.queries,
            hidden=asked.hidden,
            progress=display,
        )
        history.put_taught(model, fitted.state, taught.state, fitted.identity)
        taught = replace(taught, steps_trained_now=steps)
        points = len(set(asked.corrections[:, 0].tolist()))
        yield f"taught in {steps} steps; corrections: {len(asked.corrections)}, points: {points}"
    yield from work.written(args.run, taught, Watch(display))


def _undo(args: argparse.Namespace, display: Display) -> Iterator[str]:
    """Go back to the fit from before the last lesson; the lines that end the command.

    That is done at the very end, so that whatever ends this early, the command can be given again.
    """
    with held():
        from dinotrack import focusing
        from dinotrack.terminal import outputs
        from dinotrack.training import checkpoint, history
        from dinotrack.training.lessons import is_focus

    model = args.run / outputs.MODEL
    lessons = checkpoint.read(model).lessons
    given = [number for number, name in enumerate(lessons, start=1) if not is_focus(name)]
    if not given:
        raise InputError(f"the fit in {model} was never taught; there is nothing to undo")
    work = _work(args, history.fit_before(model, given[-1]), display)
    fitted = focusing.refocused(work.fitted, work.asked.queries, model)
    lines = list(work.written(args.run, fitted, Watch(display)))
    history.go_back(model, given[-1])
    focusing.keep(model, work.fitted, fitted)
    yield f"went back to the fit from before lesson {len(given)}"
    yield from lines


def _work(args: argparse.Namespace, model: Path, display: Display) -> Work:
    """A fit, and what is asked of it, checked."""
    with held():
        from dinotrack import api  # loads torch, which takes seconds
        from dinotrack.formats import check_count
        from dinotrack.terminal import outputs, requests

    keep_freed_memory()
    record = requests.record_in(args.run)
    request = record.get("request")
    options = request.get("options") if isinstance(request, dict) else None
    writing = _writing(options if isinstance(options, dict) else {})
    writing.report |= (args.run / outputs.REPORT).exists()
    try:
        fitted = api.load(model, args.video, args.device, display)
    except InputError as error:  # here the video is an option
        parts = ("--video" if part == Argument("video") else part for part in error.args)
        raise InputError(*parts) from error
    if fitted.steps < fitted.config.training.steps:
        raise InputError(f"the fit in {model} is not finished; give the command of its run first")
    asked = _asked(args, fitted, writing)
    for name in writing.format:
        check_count(name, len(asked.queries))
    track.check_overlay(writing, fitted.video, asked.point_names)
    writing.video = args.video or fitted.video.path
    writing.seed = fitted.identity.seed
    return Work(fitted, asked, writing, {"request": request} if request else {})


def _asked(args: argparse.Namespace, fitted: Fitted, writing: argparse.Namespace) -> Asked:
    """The points of the run or of a file, and their corrections."""
    from dinotrack.formats import load_tracks
    from dinotrack.overlay import check_belong
    from dinotrack.terminal.asked import asked_of, corrected

    wishes = argparse.Namespace(
        queries=args.queries,
        queries_format=args.queries_format,
        corrections=args.corrections,
        start_frame=writing.start_frame if args.start_frame is None else args.start_frame,
        grid=None,
        query_frame=None,
        mask=None,
    )
    if args.queries:
        return asked_of(wishes, fitted.video)
    tracks = load_tracks(args.run / "tracks.npz", "npz")
    check_belong(tracks, fitted.video)
    return corrected(wishes, fitted.video, tracks.queries, tracks.names)


def _writing(options: Mapping[str, Any]) -> argparse.Namespace:
    """The arguments of a run that was asked for such options, as far as they say what it writes.

    Raises InputError where they can't be had any more, as where a package is missing by now.
    """
    words = []
    for name in WRITING:
        flag, value = f"--{name.replace('_', '-')}", options.get(name)
        if value is True:
            words.append(flag)
        elif value not in (None, False):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"{flag}={text}")
    return arguments.parse([*words, "VIDEO"])
