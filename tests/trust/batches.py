"""Kill workers of a batch, and the whole batch, and compare with runs of single videos.

Eight short videos, of which one is broken, are done by each of `PARTS`, two at a time. Then seven
results must be those of single runs, byte for byte, the eighth a failure in one sentence, and the
summary right. Where the batch was killed and given again, every video is done by one process alone,
and what was done is not touched again.
"""

import argparse
import csv
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.trust import report, runs

VIDEOS = 8
BROKEN = 3
"""The number of the video that is none."""
STEPS = 60
KILLS = 3
"""How often the whole batch is killed."""
PATIENCE = 600.0
"""Seconds within which a batch ends, on a machine that does other things too."""
OPTIONS = ("--preset", "fast", "--grid", "4", "--no-overlay", "--set", f"training.steps={STEPS}")
HEAD = ("part", "killed", "exit", "done", "same bytes", "failed", "done twice", "seconds")


@dataclass(frozen=True)
class Ground:
    """The videos, and what single runs make of them."""

    place: Path
    clips: list[Path]
    whole: dict[str, dict[str, str]]
    """By name of the video: the content of each file, as hashes."""


def make_ground(place: Path) -> Ground:
    """Eight videos, and seven single runs."""
    clips = [place / f"clip{number}.mp4" for number in range(VIDEOS)]
    whole = {}
    for number, clip in enumerate(clips):
        if number == BROKEN:
            clip.write_bytes(b"no video")
            continue
        runs.make_clip(clip, number, "--size", "48x64", "--frames", "6")
        out = place / "single" / clip.stem
        outcome = runs.run([clip, "--out", out, *OPTIONS], runs.environment(place / "single"))
        if outcome.code:
            raise SystemExit(f"a single run failed: {outcome.err}")
        whole[clip.stem] = runs.digests(out)
        report.tell(f"{clip.stem} by itself: {outcome.seconds:.0f} s")
    return Ground(place, clips, whole)


class Batch:
    """One batch, in a folder and with a cache of its own."""

    def __init__(self, ground: Ground, name: str, *options: str):
        self.ground = ground
        self.home = ground.place / name
        self.out = self.home / "out"
        self.env = runs.environment(self.home)
        self.command = ("batch", *map(str, ground.clips), "--out", str(self.out))
        self.command += (*OPTIONS, *options)

    def start(self) -> "subprocess.Popen[bytes]":
        """Begin it, or go on with it."""
        with (self.home / "said").open("ab") as said:
            return runs.start(self.command, self.env, said, said)

    def processes(self, program: str) -> list[int]:
        """The processes of a program that belong to this batch, by their cache."""
        mark = f"DINOTRACK_CACHE={self.env['DINOTRACK_CACHE']}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                if program.encode() in command and mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has just ended, or is another user's
                continue
        return found

    def wait_for_fit(self) -> None:
        """Wait until a worker has learnt something."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            logs = (self.out / "logs").glob("*.log")
            if self.processes("batch.worker") and any("labels: " in _text(log) for log in logs):
                return
            time.sleep(0.05)

    def events(self) -> list[dict[str, object]]:
        """All that has happened."""
        return [json.loads(line) for line in _text(self.out / "events.jsonl").splitlines()]

    def records(self) -> dict[str, tuple[int, bytes]]:
        """The record of each video that is done: when it was written, and what it says."""
        found = {}
        for path in self.out.glob("*/run.json"):
            if json.loads(path.read_bytes()).get("complete"):
                found[path.parent.name] = (path.stat().st_mtime_ns, path.read_bytes())
        return found


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def kill_worker(batch: Batch, rng: random.Random) -> tuple[int, list[str]]:
    """Kill one worker while it fits; the exit code of the batch, and what went wrong."""
    process = batch.start()
    batch.wait_for_fit()
    time.sleep(rng.uniform(0, 1))
    workers = batch.processes("batch.worker")
    if not workers:
        return process.wait(PATIENCE), ["no worker was there to be killed"]
    os.kill(rng.choice(workers), signal.SIGKILL)
    return process.wait(PATIENCE), []


def kill_all(batch: Batch, rng: random.Random) -> tuple[int, list[str]]:
    """Kill the batch and all its workers again and again, and then let it end."""
    problems = []
    before: dict[str, tuple[int, bytes]] = {}
    for _ in range(KILLS):
        process = batch.start()
        batch.wait_for_fit()
        time.sleep(rng.uniform(0, 12))
        if process.poll() is not None:
            problems.append("the batch had ended before it was killed")
        for number in (process.pid, *batch.processes("batch.worker")):
            os.kill(number, signal.SIGKILL)
        process.wait()
        problems += _touched(before, batch.records())
        before = batch.records()
        report.tell(f"killed with {len(before)} videos done")
    code = batch.start().wait(PATIENCE)
    return code, problems + _touched(before, batch.records())


def _touched(before: dict[str, tuple[int, bytes]], now: dict[str, tuple[int, bytes]]) -> list[str]:
    return [f"{name} was done again" for name in before if now.get(name) != before[name]]


Attack = Callable[[Batch, random.Random], tuple[int, list[str]]]
PARTS: dict[str, tuple[Attack, tuple[str, ...]]] = {
    "two jobs, a worker killed": (kill_worker, ("--jobs", "2")),
    "Ray, a worker killed": (kill_worker, ("--ray", "--jobs", "2")),
    f"two jobs, all killed {KILLS} times": (kill_all, ("--jobs", "2")),
}
"""What is killed, and how the batch is done."""


def attempt(name: str, number: int, ground: Ground, seed: int) -> tuple[report.Row, list[str]]:
    """One part: its row, and what went wrong."""
    attack, options = PARTS[name]
    batch = Batch(ground, f"part{number}", *options)
    since = time.monotonic()
    code, problems = attack(batch, random.Random(f"{seed} {number}"))
    taken = time.monotonic() - since
    results = {clip: runs.digests(batch.out / clip) for clip in ground.whole}
    same = [clip for clip, files in ground.whole.items() if results[clip] == files]
    problems += [f"{clip} differs from its single run" for clip in ground.whole if clip not in same]
    ends = Counter(event["name"] for event in batch.events() if event["event"] == "done")
    twice = [str(clip) for clip, count in ends.items() if count > 1]
    problems += [f"{clip} was done {ends[clip]} times" for clip in twice]
    problems += _wrong_ends(batch, code)
    states = Counter(row["state"] for row in _summary(batch))
    killed = "a worker" if attack is kill_worker else f"all, {KILLS} times"
    failed = states["failed"]
    row = (name, killed, code, states["done"], len(same), failed, len(twice), taken)
    return row, [f"{name}: {problem}" for problem in problems]


def _summary(batch: Batch) -> list[dict[str, str]]:
    with (batch.out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _wrong_ends(batch: Batch, code: int) -> Iterator[str]:
    """What is wrong with the exit code, the summary, and what was left behind."""
    if code != 2:
        yield f"exit code {code}, not 2"
    rows = _summary(batch)
    if [row["name"] for row in rows] != [clip.stem for clip in batch.ground.clips]:
        yield "the summary has other rows than there are videos"
    for number, row in enumerate(rows):
        expected = "failed" if number == BROKEN else "done"
        if row["state"] != expected or (row["error"] == "") == (number == BROKEN):
            yield f"the summary says of {row['name']}: {row['state']} {row['error']}"
        if number != BROKEN:
            record = json.loads((batch.out / row["name"] / "run.json").read_bytes())
            seconds = sum(record["seconds"].values())
            is_right = abs(float(row["seconds"]) - seconds) < 1e-3
            if not is_right or int(row["points"]) != record["points"]:
                yield f"the summary says other numbers of {row['name']} than its run.json"
    yield from (f"left behind: {name}" for name in runs.leftovers(batch.out))
    yield from (f"a worker lives on: {number}" for number in batch.processes("batch.worker"))


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    parser: argparse.ArgumentParser = report.options(__doc__, tries=len(PARTS))
    args = parser.parse_args(argv)
    runs.hear_signals()
    rows, failures = [], []
    with report.workplace() as place:
        ground = make_ground(place)
        for number in report.numbers(args):
            name = list(PARTS)[number]
            if "--ray" in PARTS[name][1] and importlib.util.find_spec("ray") is None:
                report.tell(f"{name}: left out, as Ray is not installed")
                continue
            row, problems = attempt(name, number, ground, args.seed)
            rows.append(row)
            failures += problems
            report.tell(f"{name}: {'; '.join(problems) or 'ok'}")
    return report.conclude(report.markdown(HEAD, rows), failures)


if __name__ == "__main__":
    sys.exit(main())
