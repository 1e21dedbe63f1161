"""Fill the disk at every stage of a run, then make room and give the same command again.

A small file system holds the results, the cache, or the scratch files of a run; its size sweeps
over all that a run writes there. Each run must end well, or with one sentence and exit code 2. With
room, the same command must give the bytes of an undisturbed run. A fit that was finished must have
been kept, or have given its tracks. Streams that take nothing are tried as well.

Linux only: file systems are mounted in a name space of our own.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.trust import report, runs

STEPS = 20
PLACES = {"results": "out", "cache": "cache", "scratch files": "scratch"}
"""What a run writes, and the folder it goes into."""
OTHER_POINTS = "results, after other points"
"""The results go into a folder that is full already."""
NAMESPACE = "DINOTRACK_TRUST_MOUNTS"
"""The environment variable that is set inside of our own name space."""


@dataclass(frozen=True)
class Plan:
    """One try: the room in bytes that one place has, or a stream that takes nothing."""

    number: int
    place: str
    room: int

    def __str__(self) -> str:
        return f"#{self.number} {self.place} with room for {self.room:,} bytes"


@dataclass
class Verdict:
    """What came of it."""

    plan: Plan
    code: int | None = None
    line: str = ""
    trained: int = 0
    """Steps of training in both runs together."""
    problems: list[str] = field(default_factory=list)


class Ground:
    """The clip, an undisturbed run, and one of other points."""

    def __init__(self, place: Path):
        self.place = place
        self.clip = runs.make_clip(place / "a.mp4", seed=3)
        self.whole = self._undisturbed(place / "whole", grid=6)
        self._undisturbed(place / "other", grid=4)
        self.files = runs.digests(place / "whole")

    def command(self, home: Path, grid: int = 6) -> list[str]:
        """The arguments of a run whose files lie in a folder."""
        numbers = ("--grid", str(grid), "--preset", "fast", "--set", f"training.steps={STEPS}")
        return [str(self.clip), "--out", str(home / "out"), *numbers]

    def _undisturbed(self, home: Path, grid: int) -> Mapping[str, int]:
        outcome = runs.run(self.command(home, grid), runs.environment(home))
        if outcome.code:
            raise SystemExit(f"the undisturbed run failed: {outcome.err}")
        return {name: _size(home / folder) for name, folder in PLACES.items()}


def _size(folder: Path) -> int:
    """Bytes that files take, in blocks."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def namespace() -> list[str]:
    """A command that runs another where it may mount file systems which only it can see."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *as_root, "--mount"]


def may_mount() -> bool:
    """Whether this machine allows that."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    mount = [*namespace(), "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True).returncode == 0


def run_in_namespace(argv: Sequence[str]) -> int:
    """The whole program there; its exit code."""
    if not may_mount():
        raise SystemExit("this needs Linux, its command unshare, and leave to mount file systems")
    me = [sys.executable, "-m", "tests.trust.full_disk", *argv]
    env = {**os.environ, NAMESPACE: "1", "PYTHONPATH": str(runs.ROOT)}
    return subprocess.run([*namespace(), *me], env=env).returncode


@contextlib.contextmanager
def small_disk(folder: Path, room: int) -> Iterator[None]:
    """A file system of that many bytes at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    size = max(room // 4096 * 4096, 4096)  # 0 would mean: without a limit
    _call("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        if room < 4096:
            (folder / "filled").write_bytes(bytes(4096))
        yield
    finally:
        _call("umount", str(folder))


def make_room(folder: Path) -> None:
    """The same file system, but large."""
    (folder / "filled").unlink(missing_ok=True)
    _call("mount", "-o", "remount,size=256m", str(folder))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def plans(tries: int, seed: int, whole: Mapping[str, int]) -> Iterator[Plan]:
    """Sizes from nothing to a little more than a run needs, spread evenly, at random in between."""
    needs = {**whole, OTHER_POINTS: 100_000, "scratch files": 12 * 96 * 128 * 3}
    each = -(-tries // len(needs))
    for number in range(tries):
        place = list(needs)[number % len(needs)]
        rng = random.Random(f"{seed} {number}")
        share = (number // len(needs) + rng.random() * 0.9) / each
        first = number < len(needs)
        yield Plan(number, place, 0 if first else int(share * 1.15 * needs[place]))


def attempt(plan: Plan, ground: Ground) -> Verdict:
    """One try on a small disk, and the same command with room."""
    home = ground.place / f"try-{plan.number}"
    home.mkdir()
    verdict = Verdict(plan)
    after_other = plan.place == OTHER_POINTS
    full = home / PLACES.get(plan.place, "out")
    taken = 0
    if after_other:
        shutil.copytree(ground.place / "other" / "cache", home / "cache")
        taken = _size(ground.place / "other" / "out")
    with small_disk(full, plan.room + taken):
        if after_other:
            shutil.copytree(ground.place / "other" / "out", full, dirs_exist_ok=True)
        before = runs.digests(home)
        first = runs.run(ground.command(home), runs.environment(home))
        _look_at(first, verdict)
        if first.code == 2:
            verdict.problems += [f"leftover {name}" for name in runs.leftovers(home)]
        verdict.problems += _mixed(home, before if after_other else {}, ground.files)
        tracks = "out/tracks.npz"
        has_tracks = runs.digests(home).get(tracks) == ground.files[tracks]
        trained = _trained(first)
        make_room(full)
        again = runs.run(ground.command(home), runs.environment(home))
        verdict.problems += _after(again, home, ground.files)
        record = _record(home)
        verdict.trained = trained + record.get("steps_trained_now", 0)
        if trained and record.get("steps_trained_now") and not has_tracks:
            verdict.problems.append("lost: a fit was neither kept nor tracked with")
    shutil.rmtree(home)
    return verdict


def _look_at(outcome: runs.Outcome, verdict: Verdict) -> None:
    """How the run on the full disk ended."""
    verdict.code = outcome.code
    said = [*outcome.errors, *outcome.warnings]
    verdict.line = "; ".join(said)
    if outcome.has_traceback or not (outcome.code == 0 or outcome.is_refused):
        last = (outcome.err.strip().splitlines() or [""])[-1]
        verdict.problems.append(f"exit code {outcome.code}: {last}")


def _trained(outcome: runs.Outcome) -> int:
    """Whether a run has trained all steps, by the lines of its progress."""
    return STEPS if f"fit: {STEPS} of {STEPS}" in outcome.err else 0


def _record(home: Path) -> dict[str, int]:
    path = home / "out" / "run.json"
    found: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _mixed(home: Path, before: Mapping[str, str], whole: Mapping[str, str]) -> Iterator[str]:
    """Files that are neither old nor new, or not of one run though run.json is there."""
    found = _results(runs.digests(home))
    old, new = _results(before), _results(whole)
    for name, digest in found.items():
        if digest not in (old.get(name), new.get(name)) and name != "out/filled":
            yield f"{name} is neither the old nor the new one"
    if (home / "out" / "run.json").exists() and found not in (old, new):
        yield "run.json is there beside files that are not of one run"


def _results(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith("out/tracks")}


def _after(again: runs.Outcome, home: Path, whole: Mapping[str, str]) -> Iterator[str]:
    """The same command with room gives all that an undisturbed run gives."""
    if again.code != 0:
        last = (again.err.strip().splitlines() or [""])[-1]
        yield f"with room, exit code {again.code}: {last}"
        return
    found = runs.digests(home)
    yield from (f"{name} differs" for name in sorted(whole) if found.get(name) != whole[name])
    yield from (f"leftover {name}" for name in sorted(found.keys() - whole.keys()))


# --- streams that take nothing


def _closed_pipe() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


STREAMS: dict[str, tuple[Callable[[], int] | None, Callable[[], int] | None]] = {
    "stdout full": (_full, None),
    "stderr full": (None, _full),
    "both full": (_full, _full),
    "stdout's reader gone": (_closed_pipe, None),
    "stderr's reader gone": (None, _closed_pipe),
    "both readers gone": (_closed_pipe, _closed_pipe),
}
"""What a run writes to: standard output and standard error; None for a file."""


def attempt_stream(number: int, name: str, ground: Ground) -> Verdict:
    """One run that can't say anything."""
    home = ground.place / f"stream-{number}"
    verdict = Verdict(Plan(number, name, 0))
    env = runs.environment(home)
    shown = home / "shown"
    with shown.open("wb") as file:
        out, err = (file.fileno() if make is None else make() for make in STREAMS[name])
        process = runs.start(ground.command(home), env, out, err)
        for stream in {out, err} - {file.fileno()}:
            os.close(stream)
        verdict.code, _, _ = runs.wait(process, 300)
    text = shown.read_text(errors="replace")
    shown.unlink()
    if verdict.code != 0 or "Traceback" in text or "Exception" in text:
        verdict.problems.append(f"exit code {verdict.code}: {text.strip()[-200:]}")
    found = runs.digests(home)
    verdict.problems += [
        f"{name} differs" for name, digest in ground.files.items() if found.get(name) != digest
    ]
    verdict.trained = _record(home).get("steps_trained_now", 0)
    shutil.rmtree(home)
    return verdict


def table(verdicts: Sequence[Verdict]) -> str:
    """A row for each place and stream, with what was said there."""
    rows: list[report.Row] = []
    for place in dict.fromkeys(verdict.plan.place for verdict in verdicts):
        here = [verdict for verdict in verdicts if verdict.plan.place == place]
        codes = Counter(verdict.code for verdict in here)
        counts = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items(), key=str))
        problems = sum(bool(verdict.problems) for verdict in here)
        most = max(verdict.trained for verdict in here)
        lines = " / ".join(sorted({v.line.split(": ", 1)[-1] for v in here if v.line}))
        rows.append((place, len(here), counts, problems, f"{most} of {STEPS}", lines[:200]))
    head = ("full", "tries", "exit codes", "wrong", "most steps in both runs", "what was said")
    return report.markdown(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    args = report.options(__doc__, tries=44).parse_args(argv)
    verdicts = []
    with report.workplace() as place:
        ground = Ground(place)
        for plan in plans(args.tries, args.seed, ground.whole):
            if args.only in (None, plan.number):
                verdicts.append(attempt(plan, ground))
                report.tell(f"{plan}: {verdicts[-1].code} {verdicts[-1].problems or 'ok'}")
        for number, name in enumerate(STREAMS, args.tries):
            if args.only in (None, number):
                verdicts.append(attempt_stream(number, name, ground))
                report.tell(f"#{number} {name}: {verdicts[-1].problems or 'ok'}")
    failures = [f"{v.plan}: {problem}" for v in verdicts for problem in v.problems]
    return report.conclude(table(verdicts), failures)


if __name__ == "__main__":
    inside = os.environ.get(NAMESPACE)
    sys.exit(main() if inside else run_in_namespace(sys.argv[1:]))
