"""Kill a run anywhere, give the same command again, and compare with a run that nobody disturbed.

A run is killed by one of `SIGNALS`, at a random time or a little after one of `EVENTS`: what its
progress shows, or a file that appears. It starts in an empty folder, or in one that holds the
results of other points. `--long` tries are fits of a minute, which tell how much work is repeated.
"""

import argparse
import functools
import itertools
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.trust import report, runs

STEPS = 40
LONG_STEPS = 800
MOST_REPEATED = 20.0
"""Seconds of work that may be done twice."""
PATIENCE = 5.0
"""Seconds within which the children of a killed run must end."""

SIGNALS: dict[str, tuple[str, ...]] = {
    "KILL": ("SIGKILL",),
    "TERM": ("SIGTERM",),
    "HUP": ("SIGHUP",),
    "INT twice": ("SIGINT", "SIGINT"),
}
EVENTS = (
    *(f"shows {stage}" for stage in ("read", "flow", "labels", "fit", "fit", "fit", "refine")),
    *(f"shows {stage}" for stage in ("track", "overlay", "points in")),
    *(f"writes {name}" for name in ("model", "tracks.npz", "tracks.csv", "overlay.mp4")),
    *(f"begins {name}" for name in ("flow", "checkpoint", "tracks", "overlay", "run.json")),
    "time",
    "time",
    "time",
)
LATE = tuple(event for event in EVENTS if not re.search("flow|labels|fit|model|check", event))
"""Events of a run whose fit is done."""


@dataclass(frozen=True)
class Plan:
    """One try."""

    number: int
    kind: str
    """One of SIGNALS."""
    event: str
    delay: float
    """Seconds after the event."""
    gap: float
    """Seconds between two signals."""
    after_other_points: bool
    """Whether the folder holds the finished run of other points."""
    steps: int = STEPS

    def __str__(self) -> str:
        start = "after other points" if self.after_other_points else "from nothing"
        steps = "" if self.steps == STEPS else f", {self.steps} steps"
        when = f"{self.delay:.2f} s after `{self.event}`"
        return f"#{self.number} {self.kind} {when}, {start}{steps}"


@dataclass(frozen=True)
class Whole:
    """What an undisturbed run gives."""

    files: dict[str, str]
    """The content of each file, as hashes."""
    seconds: float


@dataclass
class Verdict:
    """What came of one try."""

    plan: Plan
    hit: str = ""
    """The stage that ran when the signal came; empty: the run had ended before."""
    problems: list[str] = field(default_factory=list)
    repeated: float = 0.0
    """Seconds of training that were done twice."""


@dataclass(frozen=True)
class Killed:
    """A run after its signals."""

    code: int
    shown: str
    """All that it wrote to its terminal."""
    stage: str
    step: int
    session: int


def plan_of(number: int, seed: int, length: float, long: bool = False) -> Plan:
    """The try of that number. length: seconds that an undisturbed run takes."""
    rng = random.Random(f"{seed} {number}")
    kind = list(SIGNALS)[number % len(SIGNALS)]
    if long:
        delay = rng.uniform(24, 34)
        return Plan(number, kind, "shows fit", delay, rng.uniform(0, 0.5), False, LONG_STEPS)
    late = rng.random() < 0.3
    event = rng.choice(LATE if late else EVENTS)
    spread = 0.8 if event == "shows fit" else 0.05
    delay = rng.uniform(0.1, length) if event == "time" else rng.uniform(0, spread * length / 7)
    return Plan(number, kind, event, delay, rng.choice((0.0, rng.uniform(0, 0.4))), late)


class Ground:
    """The clip, and what undisturbed runs make of it."""

    def __init__(self, place: Path):
        self.place = place
        self.clip = runs.make_clip(place / "a.mp4", seed=3)

    def command(self, out: Path, steps: int = STEPS, grid: int = 6) -> list[str]:
        """The arguments of the command that is given twice."""
        what = ("--grid", str(grid), "--set", f"training.steps={steps}")
        return [str(self.clip), *what, "--preset", "fast", "--out", str(out)]

    @functools.cache  # noqa: B019  there is one ground
    def whole(self, steps: int) -> Whole:
        """An undisturbed run."""
        home = self.place / f"whole-{steps}"
        env = runs.environment(home)
        outcome = runs.run(self.command(home / "out", steps), env)
        if outcome.code:
            raise SystemExit(f"the undisturbed run failed: {outcome.err}")
        return Whole(runs.digests(home), outcome.seconds)

    @functools.cache  # noqa: B019
    def other_points(self) -> Path:
        """A finished run of other points with the same fit."""
        home = self.place / "other"
        outcome = runs.run(self.command(home / "out", grid=4), runs.environment(home))
        if outcome.code:
            raise SystemExit(f"the run of other points failed: {outcome.err}")
        return home


def kill(command: Sequence[str], home: Path, plan: Plan) -> Killed:
    """Start a run on a terminal of its own, and send it the signals of a plan."""
    master, slave = pty.openpty()
    with (home / "stdout").open("wb") as out:
        env = runs.environment(home)
        process = runs.start(command, env, out, slave)
    os.close(slave)
    shown = ""
    due = [getattr(signal, name) for name in SIGNALS[plan.kind]]
    when = time.monotonic() + plan.delay if plan.event == "time" else None
    stage, step = "", 0
    while process.poll() is None:
        shown += _read(master)
        now = time.monotonic()
        if when is None and _has_happened(plan.event, shown, home):
            when = now + plan.delay
        if when is not None and due and now >= when:
            if not stage:
                stage, step = _reached(shown)
            process.send_signal(due.pop(0))
            when = now + plan.gap
        if now - (when or now) > 120:  # it ignores us
            process.kill()
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    shown += _read(master)
    os.close(master)
    return Killed(code, shown, stage, step, process.pid)


def _read(master: int) -> str:
    """What a terminal has got since, or after 2 ms."""
    found = b""
    while select.select([master], [], [], 0.002)[0]:
        try:
            part = os.read(master, 65536)
        except OSError:  # nobody holds its other end any more
            part = b""
        if not part:
            time.sleep(0.002)
            break
        found += part
    return found.decode(errors="replace")


def _has_happened(event: str, shown: str, home: Path) -> bool:
    verb, _, what = event.partition(" ")
    if verb == "shows":
        return what in shown or (what == "points in" and what in (home / "stdout").read_text())
    out = home / "out"
    if verb == "writes":
        return (out / what).exists() and not _is_older(out / what, home / "stdout")
    began = home / "stdout"
    return any(_has_part(folder, what, began) for folder in (out, out / "model", home / "cache"))


def _is_older(path: Path, other: Path) -> bool:
    """A file that vanishes meanwhile counts as older."""
    try:
        return path.stat().st_mtime_ns < other.stat().st_ctime_ns
    except FileNotFoundError:
        return True


def _has_part(folder: Path, name: str, began: Path) -> bool:
    """Whether a file whose name begins so is being written, or was written since the run began."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    if any(found.startswith(f".{name}") for found in names):
        return True
    return any(not _is_older(folder / found, began) for found in names if found.startswith(name))


def _reached(shown: str) -> tuple[str, int]:
    """The stage that runs, and the step of the fit, by the bars of a terminal."""
    bars = re.findall(r"(\w+)\s*:\s*\d+%\|[^|]*\| *(\d+)/(\d+)", shown)
    steps = [int(done) for stage, done, _ in bars if stage == "fit"]
    stages = [stage for stage, *_ in bars]
    return stages[-1] if stages else "import", steps[-1] if steps else 0


def attempt(plan: Plan, ground: Ground) -> Verdict:
    """One try: kill a run, look at what it left, give the same command again."""
    verdict = Verdict(plan)
    home = ground.place / f"try-{plan.number}-{plan.steps}"
    if plan.after_other_points:
        shutil.copytree(ground.other_points(), home)
    else:
        home.mkdir()
    command = ground.command(home / "out", plan.steps)
    killed = kill(command, home, plan)
    verdict.hit = killed.stage
    verdict.problems += _problems_of(killed, plan, home)
    whole = ground.whole(plan.steps)
    verdict.problems += _mixed(home, whole, ground if plan.after_other_points else None)
    again = runs.run(command, runs.environment(home))
    (home / "stdout").unlink()
    if again.code != 0 or again.has_traceback:
        last = (again.err.strip().splitlines() or [""])[-1]
        verdict.problems.append(f"lost: the same command ends with {again.code}: {last}")
        return verdict
    verdict.problems += _differences(runs.digests(home), whole.files)
    verdict.problems += [f"leftover {name}" for name in runs.leftovers(home)]
    verdict.repeated = _repeated(home / "out", killed.step, plan)
    if verdict.repeated > MOST_REPEATED:
        verdict.problems.append(f"{verdict.repeated:.0f} s of training repeated")
    if not verdict.problems:
        shutil.rmtree(home)
    return verdict


def _problems_of(killed: Killed, plan: Plan, home: Path) -> Iterator[str]:
    """What is wrong with how a run ended."""
    if not killed.stage:
        if killed.code:
            yield f"the run ended by itself with {killed.code}"
        return
    number = getattr(signal, SIGNALS[plan.kind][0])
    if killed.code not in (128 + number, 0):
        yield f"exit code {killed.code}, not {128 + number}"
    if "Traceback" in killed.shown or "bug of ours" in killed.shown:
        last = killed.shown.strip().splitlines()[-1]
        yield f"a traceback ({last})"
    if plan.kind != "KILL":
        yield from (f"left behind at once: {name}" for name in runs.leftovers(home))
    until = time.monotonic() + PATIENCE
    while (alive := runs.processes_of(killed.session)) and time.monotonic() < until:
        time.sleep(0.05)
    if alive:
        yield f"children live on: {', '.join(alive)}"


def _mixed(home: Path, whole: Whole, ground: Ground | None) -> Iterator[str]:
    """What is wrong with a folder that a killed run left, by what its run.json says.

    Where that says `complete`, or nothing about it, the files are those of one run. Else the files
    that it names are there, with the hashes that it names.
    """
    path = home / "out" / "run.json"
    if not path.exists():
        return
    record = json.loads(path.read_text())
    found = _results(runs.digests(home))
    if not record.get("complete", True):
        for name, digest in record["outputs"].items():
            if found.get(f"out/{name}") != digest:
                yield f"{name} is not the one that run.json names"
        return
    known = [_results(whole.files)]
    if ground is not None:
        known.append(_results(runs.digests(ground.other_points())))
    if found not in known:
        yield "a folder whose run.json says that it is whole holds files that are not of one run"


def _results(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith("out/")}


def _differences(found: dict[str, str], whole: dict[str, str]) -> Iterator[str]:
    for name in sorted(found.keys() | whole.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in whole:
            yield f"{name} is one too many"
        elif found[name] != whole[name]:
            yield f"{name} differs"


def _repeated(out: Path, reached: int, plan: Plan) -> float:
    """Seconds of training that the second run did again."""
    record = json.loads((out / "run.json").read_text())
    trained = record["steps_trained_now"]
    kept = plan.steps - trained
    if trained == 0 or reached <= kept:
        return 0.0
    return float((reached - kept) * record["seconds"]["fit"] / trained)


def rows_of(verdicts: Sequence[Verdict]) -> Iterator[report.Row]:
    """The table: a row for each kind of signal, and one for all."""
    for kind in (*SIGNALS, "all"):
        of_kind = [v for v in verdicts if kind in ("all", v.plan.kind)]
        hits = [verdict for verdict in of_kind if verdict.hit]
        stages = sorted({verdict.hit for verdict in hits})
        counts = [f"{s} {sum(v.hit == s for v in hits)}" for s in stages]
        problems = [problem for verdict in of_kind for problem in verdict.problems]
        yield (
            kind,
            len(hits),
            ", ".join(counts),
            sum(problem.startswith("lost") for problem in problems),
            sum(any("differs" in p or "missing" in p for p in v.problems) for v in of_kind),
            max((verdict.repeated for verdict in of_kind), default=0.0),
            sum("left" in problem or "one too many" in problem for problem in problems),
            sum("exit code" in problem for problem in problems),
            sum("traceback" in problem for problem in problems),
        )


HEAD = (
    "signal",
    "runs hit",
    "in stage",
    "lost",
    "other bytes",
    "most seconds repeated",
    "leftovers",
    "wrong exit codes",
    "tracebacks",
)


def verdicts_of(args: argparse.Namespace, ground: Ground) -> Iterator[Verdict]:
    """As many tries as were asked for whose signal came before the run had ended."""
    length = ground.whole(STEPS).seconds
    hits = 0
    numbers = itertools.count() if args.only is None else [args.only]
    for number in numbers:
        if hits == args.tries:
            break
        verdict = attempt(plan_of(number, args.seed, length), ground)
        hits += bool(verdict.hit)
        yield verdict
    for number in range(args.long):
        yield attempt(plan_of(number, args.seed, length, long=True), ground)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    parser = report.options(__doc__, tries=60)
    parser.add_argument("--long", type=int, default=4, metavar="N", help="default 4")
    args = parser.parse_args(argv)
    runs.hear_signals()
    with report.workplace() as place:
        ground = Ground(place)
        verdicts = []
        for verdict in verdicts_of(args, ground):
            verdicts.append(verdict)
            problems = "; ".join(verdict.problems) or "ok"
            report.tell(f"{verdict.plan}: hit {verdict.hit or 'nothing'}: {problems}")
    failures = [f"{v.plan}, in {v.hit}: {problem}" for v in verdicts for problem in v.problems]
    return report.conclude(report.markdown(HEAD, list(rows_of(verdicts))), failures)


if __name__ == "__main__":
    sys.exit(main())
