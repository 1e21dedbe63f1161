"""What runs on a lent GPU: every command is one that can be given, and none is run twice."""

import argparse
from pathlib import Path

import pytest

from dinotrack.benchmarks import accuracy, gpu, speed
from dinotrack.benchmarks.gpu import TASKS, Done, GpuReport
from dinotrack.benchmarks.records import read_json
from dinotrack.synthesis import __main__ as synthesis
from dinotrack.terminal import arguments as track

Asked = list[str]


def arguments(folder: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    return parser.parse_args(["--out", str(folder / "out"), "--data", str(folder), *more])


def test_commands_are_those_of_the_programs(tmp_path: Path) -> None:
    """Each program reads what it would be given, and all see the same settings."""
    asked = ("--set", "training.steps=3", "--clips", "libby", "--area", "4000", "--device", "cpu")
    known = gpu.commands(arguments(tmp_path, *asked))
    assert (*known,) == TASKS
    for name in ("quality", "steps", "paper"):
        benchmark = accuracy if name == "quality" else speed
        parser = argparse.ArgumentParser()
        benchmark.add_arguments(parser)
        args = parser.parse_args(known[name][3:])
        assert args.set == ["flow.name=dis", "training.steps=3"]
        assert args.out == tmp_path / "out" / f"{name}.json"
        assert name == "quality" or (args.backbone, args.area) == ("auto", 4000)
    assert args.paper_seconds == 120
    assert args.accuracy == tmp_path
    made = synthesis._parser().parse_args(known["clip"][2:])
    for name in ("first", "second"):
        run = track.parse(known[name][1:])
        assert (run.video, run.preset) == (made.out, "quality")
        assert run.out == tmp_path / "out" / name


class Machine:
    """Stands in for processes: takes notes, and ends as it is told."""

    def __init__(self, *ends: int | None) -> None:
        self.ends, self.ran = [*ends], Asked()

    def __call__(self, name: str, command: Asked, args: argparse.Namespace, left: float) -> Done:
        self.ran.append(name)
        return Done(name, " ".join(["python", *command]), 1.0, self.ends.pop(0))


def test_what_failed_or_was_cut_off_runs_again_and_the_rest_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    args = arguments(tmp_path, "--tasks", "quality", "tests", "clip")
    first = Machine(1, None, 0)
    monkeypatch.setattr(gpu, "perform", first)
    gpu.run(args, said.append)
    assert first.ran == ["tests", "quality", "clip"]
    assert said[:2] == [
        "tests: 1.0 s, failed with exit code 1; see log.txt",
        "quality: 1.0 s, time ran out; see log.txt",
    ]
    second = Machine(0, 0)
    monkeypatch.setattr(gpu, "perform", second)
    report = gpu.run(args, said.append)
    assert second.ran == ["tests", "quality"]
    assert [(task.name, task.ended) for task in report.tasks] == [
        ("clip", 0), ("tests", 0), ("quality", 0),
    ]  # fmt: skip
    assert read_json(args.out / "gpu.json", GpuReport, "gpu") == report
    assert "| clip | 1.0 s | `python -m dinotrack.synthesis" in (args.out / "gpu.md").read_text()
    third = Machine(0)
    monkeypatch.setattr(gpu, "perform", third)
    other = "--set", "training.steps=7"
    gpu.run(arguments(tmp_path, "--tasks", "quality", "tests", *other), said.append)
    assert third.ran == ["quality"]


def test_nothing_begins_when_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LEAST", 61.0)
    said: list[str] = []
    assert gpu.run(arguments(tmp_path, "--minutes", "1"), said.append).tasks == ()
    assert said[0] == "tests: no time left"


FOREVER = "import time; time.sleep(99)"


@pytest.mark.parametrize(
    ("code", "left", "ended"), [("", 60, 0), ("exit(3)", 60, 3), (FOREVER, 1, None)]
)
def test_tasks_are_processes_that_end_in_time(
    code: str, left: float, ended: int | None, tmp_path: Path
) -> None:
    args = arguments(tmp_path)
    task = gpu.perform("tests", ["-c", f"print('here', flush=True); {code}"], args, left)
    assert task.ended == ended
    assert (args.out / "log.txt").read_text() == "here\n"


def test_the_second_run_finds_the_kernels_of_the_first(tmp_path: Path) -> None:
    """And the first finds none."""
    args = arguments(tmp_path)
    kernels = args.out / "kernels"
    kernels.mkdir(parents=True)
    (kernels / "old").touch()
    code = """
import os, pathlib
folder = pathlib.Path(os.environ["TRITON_CACHE_DIR"])
print(*(file.name for file in folder.glob("*")))
folder.mkdir(exist_ok=True)
(folder / "new").touch()
"""
    for name in ("first", "second"):
        assert gpu.perform(name, ["-c", code], args, 60).ended == 0
    assert (args.out / "log.txt").read_text().splitlines() == ["", "new"]
