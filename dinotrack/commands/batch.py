"""dinotrack batch: many videos, each in a run folder of its own."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dinotrack.commands import track
from dinotrack.errors import InputError, printable, shown
from dinotrack.interrupts import held
from dinotrack.terminal import arguments, console, parsing
from dinotrack.terminal.display import in_words

if TYPE_CHECKING:
    from dinotrack.batch.events import Event
    from dinotrack.batch.jobs import Job
    from dinotrack.batch.protocol import Plan

INTERRUPTED = "interrupted; the same command goes on from here"
SUMMARY_SECONDS = 10.0
"""Between two summaries while a batch runs."""
MOST_JOBS = 1024
NUMBERS = re.compile(r"([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?")
"""A number from 1, or a range of them."""
EPILOG = """\
examples:
  dinotrack batch clips/*.mp4                      one after the other, into runs/
  dinotrack batch clips/*.mp4 --jobs 4 --gpus 0,1  four at a time, two on each GPU
  dinotrack batch --manifest clips.csv             a table: video, and queries, mask, settings, ...
  dinotrack batch --manifest clips.csv --only 3    its third video alone, for a job array

Given again, the command goes on: what is done is passed over. docs/many-videos.md tells more.
"""


def run(argv: Sequence[str]) -> int:
    """Do all videos, and tell how it went."""
    with held():
        from dinotrack.batch import events
        from dinotrack.batch.executors import EXECUTORS
        from dinotrack.batch.jobs import chosen, jobs_of
        from dinotrack.batch.queue import worked
        from dinotrack.files import make_folder
        from dinotrack.terminal.outputs import ELSEWHERE

        args = _parse(argv)
        listed = jobs_of(args)
        jobs = listed if args.only is None else chosen(listed, itertools.chain(*args.only))
    logs = args.out / events.LOGS
    make_folder(logs, *ELSEWHERE)
    plan = _plan(args, logs)
    board = Board(args.out, listed, len(jobs), plan.slots or 1)
    board.summarise()
    try:
        with closing(worked(jobs, EXECUTORS[_executor(args)], plan)) as happened:
            for event in happened:
                board.note(event)
    except KeyboardInterrupt as stop:
        board.interrupted()
        stop.add_note(f"{INTERRUPTED}; {board.count()}")
        raise
    finally:
        board.summarise()
    return board.conclude()


@dataclass
class Board:
    """What has happened to each video, written down and told as it happens."""

    out: Path
    jobs: Sequence[Job]
    """All that the summary lists, also those that are not to be done now."""
    total: int
    """How many are to be done."""
    slots: int
    """How many have run at a time."""
    ended: dict[str, Event] = field(default_factory=dict)
    """The event with which each job has ended."""
    begun: dict[str, float] = field(default_factory=dict)
    """When each job began that has not ended."""
    taken: list[float] = field(default_factory=list)
    """Seconds of each job that was done now."""
    written: float = 0.0
    """When the summary was written."""

    def note(self, event: Event) -> None:
        """Keep an event, and say it."""
        from dinotrack.batch import events

        now = time.monotonic()
        events.append(self.out, event, _clock())
        if event.kind == "begun":
            self.begun[event.name] = now
            self.slots = max(self.slots, len(self.begun))
        elif event.kind != "in use":
            since = self.begun.pop(event.name, now)
            self.ended[event.name] = event
            if event.kind == "done":
                self.taken.append(now - since)
        console.say(self._line(event))
        if now >= self.written + SUMMARY_SECONDS:
            self.summarise()

    def summarise(self) -> None:
        """Write the summary of all videos."""
        from dinotrack.batch import summary

        summary.write(self.out, self.jobs)
        self.written = time.monotonic()

    def interrupted(self) -> None:
        """Keep that those which have begun did not end."""
        from dinotrack.batch import events

        videos = {job.name: str(job.video) for job in self.jobs}
        for name in self.begun:
            event = events.Event("interrupted", name, videos[name])
            events.append(self.out, event, _clock())

    def count(self) -> str:
        """How many videos are done."""
        done = sum(event.state == "done" for event in self.ended.values())
        return f"{done} of {self.total} videos are done"

    def conclude(self) -> int:
        """Say how it went; the exit code."""
        from dinotrack.batch.summary import SUMMARY

        failed = [event for event in self.ended.values() if event.kind == "failed"]
        before = sum(event.kind == "skipped" for event in self.ended.values())
        already = f", {before} of them before" if before else ""
        print(printable(f"{self.count()}{already}; wrote {self.out / SUMMARY}"))
        if not failed:
            return 0
        console.say(f"error: {len(failed)} of {self.total} videos failed:")
        for event in failed:
            console.say(f"  {event.name}: {event.facts['error']} (log: {event.facts['log']})")
        return 2

    def _line(self, event: Event) -> str:
        """An event in words, with how far the batch is."""
        if event.kind == "begun":
            return f"{event.name}: begins"
        if event.kind == "in use":
            return f"{event.name}: another process is at it; it is looked at again later"
        far = f"{len(self.ended)} of {self.total}: {event.name}: "
        if event.kind == "failed":
            return f"{far}failed: {event.facts['error']}{self._left()}"
        return f"{far}{', '.join(_told(event))}{self._left()}"

    def _left(self) -> str:
        """The time that is left, in words, where it can be known."""
        from dinotrack.batch.summary import seconds_left

        waiting = self.total - len(self.ended) - len(self.begun)
        if not waiting and not self.begun:
            return ""
        running = [time.monotonic() - since for since in self.begun.values()]
        left = seconds_left(self.taken, running, waiting, self.slots)
        return "" if left is None else f"; about {in_words(left)} left"


def _told(event: Event) -> Iterator[str]:
    """What is said of a video that is done."""
    yield "was done before" if event.kind == "skipped" else "done"
    facts = event.facts
    if "points" in facts and "visible" in facts:
        yield f"{facts['points']} points"
        yield f"{100 * facts['visible']:.0f} % visible"
    if "seconds" in facts and event.kind == "done":
        yield in_words(facts["seconds"])


def _clock() -> str:
    """The time now, as text: 2026-03-01T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --- arguments


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a batch: its own, and those of a run, which hold for every video."""
    args = _parser().parse_intermixed_args(argv)
    args.videos += [parsing.path(text) for text in args.set if "=" not in text]
    args.set = [text for text in args.set if "=" in text]
    if args.ray is not None and args.gpus:
        raise InputError("--gpus is for processes of this machine; with --ray give --gpu-share")
    if args.ray is None and args.gpu_share is not None:
        raise InputError("--gpu-share is for --ray; without it give --jobs and --gpus")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = parsing.Parser(
        prog="dinotrack batch",
        usage="%(prog)s VIDEO... | --manifest FILE.csv [options]",
        description="Track many videos; every option of a run holds for each of them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("videos", nargs="*", type=parsing.path, metavar="VIDEO", help="video files, or folders")
    table = "a table with a column video and others, as docs/many-videos.md says"
    add("--manifest", type=parsing.path, metavar="FILE.csv", help=table)
    where = "the folder of all run folders (default runs/)"
    add("--out", type=parsing.path, metavar="DIR", default=Path("runs"), help=where)
    numbers = "these videos alone, counted from 1, as in 3 or 1-4,9"
    add("--only", type=_numbers, metavar="LIST", help=numbers)
    arguments.add_options(parser)
    _add_execution(parser)
    return parser


def _add_execution(parser: argparse.ArgumentParser) -> None:
    """How many videos at a time, and where."""
    add = parser.add_argument
    at_once = "so many videos at a time (default: one for each of --gpus, else 1)"
    add("--jobs", type=parsing.whole(1, MOST_JOBS), metavar="N", help=at_once)
    devices = "share these GPUs out, as in 0,1 (default: those of CUDA_VISIBLE_DEVICES)"
    add("--gpus", type=_gpus, metavar="LIST", default=(), help=devices)
    each = "threads of each video (default: a share of the processors)"
    add("--threads", type=parsing.whole(1, MOST_JOBS), metavar="N", help=each)
    again = "start a killed process again so often; its fit goes on (default 2)"
    add("--retries", type=parsing.whole(0, 100), metavar="N", default=2, help=again)
    cluster = "as tasks of Ray: on this machine, or on the cluster at ADDRESS, as in auto"
    add("--ray", nargs="?", const="", metavar="ADDRESS", help=cluster)
    part = "how much of a GPU each task of Ray takes, as in 0.5 (default 1, if there are any)"
    add("--gpu-share", type=parsing.real(0, 64), metavar="X", help=part)


def _plan(args: argparse.Namespace, logs: Path) -> Plan:
    from dinotrack.batch.protocol import Plan

    gpus = args.gpus or tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    slots = args.jobs or len(args.gpus) or None
    return Plan(
        work=track.run_once,
        logs=logs.absolute(),
        slots=slots,
        gpus=gpus,
        threads=args.threads,
        retries=args.retries,
        address=args.ray or None,
        gpu_share=args.gpu_share,
    )


def _executor(args: argparse.Namespace) -> str:
    """The name of the executor that the arguments ask for."""
    if args.ray is not None:
        return "ray"
    is_plain = args.gpus == () and args.threads is None and (args.jobs or 1) == 1
    return "one" if is_plain else "slots"


def _numbers(text: str) -> tuple[range, ...]:
    """Numbers from 1 and ranges of them, as in 1-4,9."""
    found = [NUMBERS.fullmatch(part.strip()) for part in text.split(",")]
    ranges = [range(int(m[1]), int(m[2] or m[1]) + 1) for m in found if m is not None]
    if len(ranges) < len(found) or not all(ranges):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no list of numbers such as 3 or 1-4,9")
    return tuple(ranges)


def _gpus(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no list of GPUs such as 0,1")
    return names
