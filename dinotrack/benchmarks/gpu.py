"""All that the project shows on a GPU, in one go and by the clock: GPU tests, accuracy, seconds by
the wall, and steps against the paper's.

Each task is a command of its own, what tells most comes first, and a task that ended well is not
done again: the same command goes on where time ran out. All goes into the folder --out.

tests    the tests that need a GPU
quality  accuracy of `quality` with the ViT at hand and DIS flow, on the davis clips of --data
clip     a clip of --frames frames of 854 x 480 is made, for
first    its whole run by the command line, where kernels were never compiled, and
second   the same, where they were
steps    those of `quality` against those of `paper`
paper    the accuracy of both, on the same features and flow, on --paper-clips
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dinotrack.benchmarks import machine, options, records, report
from dinotrack.benchmarks.datasets import FOLDER_VARIABLE, ROOT
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.benchmarks.report import Say
from dinotrack.benchmarks.speed_options import positive

HELP = "what needs a GPU, one command after another, within --minutes"
TASKS = ("tests", "quality", "clip", "first", "second", "steps", "paper")
LEAST = 5.0
"""Seconds: with fewer left, nothing more is begun."""


@dataclass(frozen=True)
class Done:
    """How a task went."""

    name: str
    command: str
    seconds: float
    """By the wall."""
    ended: int | None
    """Its exit code; None where time ran out."""


@dataclass(frozen=True)
class GpuReport:
    """All tasks so far, in the order in which they were tried last."""

    runs: tuple[Circumstances, ...]
    tasks: tuple[Done, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    out = Path("runs/gpu")
    add("--out", type=Path, default=out, metavar="DIR", help=f"folder of all results ({out})")
    minutes = "for all tasks together; what still runs then is ended (14)"
    add("--minutes", type=positive, default=14, metavar="N", help=minutes)
    only = f"only these of {', '.join(TASKS)}"
    add("--tasks", nargs="+", choices=TASKS, default=[*TASKS], metavar="TASK", help=only)
    options.add_data(parser)
    options.add_settings(parser)
    pair = ["bike-packing", "motocross-jump"]
    add("--paper-clips", nargs="+", default=pair, metavar="NAME", help=f"({' '.join(pair)})")
    seconds = "that `paper` is fitted to each of them (120)"
    area = "working pixels in steps and paper (476 x 854, as the paper has)"
    add("--area", type=positive, metavar="PX", help=area)
    add("--paper-seconds", type=positive, default=120, metavar="N", help=seconds)
    add("--frames", type=positive, default=100, metavar="T", help="of the clip (100)")


def run(args: argparse.Namespace, say: Say) -> GpuReport:
    """Runs what is not done yet, says one line a task, writes and returns the report."""
    file = args.out / "gpu.json"
    measured = GpuReport((machine.describe(options.settings(args), args.device),))
    if file.exists():
        known = records.read_json(file, GpuReport, "gpu")
        measured = replace(measured, runs=known.runs + measured.runs, tasks=known.tasks)
    end = time.monotonic() + 60 * args.minutes
    for name, command in commands(args).items():
        done = {(task.name, task.command) for task in measured.tasks if task.ended == 0}
        left = end - time.monotonic()
        before = (name, _as_typed(command)) in done
        if before or left < LEAST:
            say(f"{name}: {'done before' if before else 'no time left'}")
            continue
        task = perform(name, command, args, left)
        others = tuple(one for one in measured.tasks if one.name != name)
        measured = replace(measured, tasks=(*others, task))
        report.write(file, records.to_json(measured))
        report.write(args.out / "gpu.md", markdown(measured))
        say(f"{name}: {describe(task)}")
    say(f"wrote {file}")
    return measured


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """What Python is told for each task of --tasks, in the order of TASKS.

    `first` and `second` are the command line's whole run by the wall, where kernels were never
    compiled and where they were.
    """
    out = args.out.absolute()
    changed = ["flow.name=dis", *args.set]
    ours = ["--device", args.device, "--set", *changed]
    clip = out / "clip.mp4"
    track = ["track.py", str(clip), "--preset", "quality", *ours, "--out"]
    accuracy = ["-m", "dinotrack.benchmarks", "accuracy", "--methods", "quality", *ours]
    accuracy += ["--datasets", "davis", "--models", str(out / "fits")]
    if args.clips:
        accuracy += ["--clips", *args.clips]
    speed = ["-m", "dinotrack.benchmarks", "speed", "--parts", "paper", "--backbone", "auto"]
    speed += ours if args.area is None else [*ours, "--area", str(args.area)]
    judged = ["--paper-seconds", str(args.paper_seconds), "--accuracy", str(args.data.absolute())]
    judged += ["--clips", *args.paper_clips, "--paper-steps", "40"]
    whole = {
        "tests": ["-m", "pytest", "-m", "gpu", "tests"],
        "quality": [*accuracy, *_written(out, "quality")],
        "clip": ["-m", "dinotrack.synthesis", str(clip), "--frames", str(args.frames)],
        "first": [*track, str(out / "first")],
        "second": [*track, str(out / "second")],
        "steps": [*speed, *_written(out, "steps")],
        "paper": [*speed, *judged, *_written(out, "paper")],
    }
    return {name: command for name, command in whole.items() if name in args.tasks}


def perform(name: str, command: Sequence[str], args: argparse.Namespace, left: float) -> Done:
    """Runs a task for `left` seconds at most. What it says goes into the file log.txt.

    Nothing is cached by any, and the kernels that are compiled for `first` and `second` have a
    folder of their own, empty before `first`.
    """
    kernels = args.out.absolute() / "kernels"
    own = {"DINOTRACK_CACHE": "off", FOLDER_VARIABLE: str(args.data.absolute())}
    if name in ("first", "second"):
        own["TRITON_CACHE_DIR"] = str(kernels)
        shutil.rmtree(args.out / name, ignore_errors=True)  # a fit there would go on
    if name == "first":
        shutil.rmtree(kernels, ignore_errors=True)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with (args.out / "log.txt").open("ab") as log:
        ended = _ended([sys.executable, *command], own, log.fileno(), left)
    return Done(name, _as_typed(command), time.monotonic() - start, ended)


def _as_typed(command: Sequence[str]) -> str:
    return " ".join(["python", *command])


def describe(task: Done) -> str:
    """How a task went, for people."""
    how = "time ran out" if task.ended is None else f"failed with exit code {task.ended}"
    return f"{task.seconds:.1f} s" + ("" if task.ended == 0 else f", {how}; see log.txt")


def markdown(measured: GpuReport) -> str:
    """A row a task."""
    rows = [[task.name, describe(task), f"`{task.command}`"] for task in measured.tasks]
    table = report.table(["task", "by the wall", "command"], rows)
    return report.page("On a GPU", [table], measured.runs)


def _written(out: Path, name: str) -> list[str]:
    return ["--out", str(out / f"{name}.json"), "--table", str(out / f"{name}.md")]


def _ended(command: Sequence[str], own: Mapping[str, str], log: int, seconds: float) -> int | None:
    """The exit code; None where it took longer, and was ended."""
    told = {**os.environ, **own}
    try:
        finished = subprocess.run(
            command, cwd=ROOT, env=told, stdout=log, stderr=log, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return finished.returncode
