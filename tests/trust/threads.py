"""Two fits at once, in two threads of one process, give what each gives alone.

The pairs are fits of different videos and seeds, the same fit twice, one fit that is tracked twice,
and the same fit twice in one folder, of which one is refused, as the other one holds the folder.
"""

import contextlib
import os
import random
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import dinotrack
from dinotrack.progress import Progress, silent
from tests.same import same
from tests.trust import report, runs

SETTINGS = {"training.steps": 12, "model.start": "random"}
"""All weights are drawn at random, so that threads that share random numbers differ."""
Result = dinotrack.Tracks | BaseException
Task = Callable[[Progress], dinotrack.Tracks]


class Meeting:
    """A progress callback by which threads wait for each other where a stage begins or ends.

    Whoever comes alone goes on after a while, and from then on all go their own ways.
    """

    def __init__(self, count: int):
        self.barrier = threading.Barrier(count, timeout=2)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done in (0, total):
            with contextlib.suppress(threading.BrokenBarrierError):
                self.barrier.wait()


def fit_of(clip: Path, seed: int, folder: Path | None = None) -> Task:
    """A task that fits a clip and tracks a grid of points."""

    def fit_and_track(meeting: Progress) -> dinotrack.Tracks:
        fitted = dinotrack.fit(
            clip, preset="fast", settings=SETTINGS, seed=seed, folder=folder, progress=meeting
        )
        return fitted.track(grid=6)

    return fit_and_track


def track_of(fitted: dinotrack.Fitted, grid: int) -> Task:
    """A task that tracks a grid of points with one fit."""
    return lambda meeting: fitted.track(grid=grid, progress=meeting)


def at_once(tasks: Sequence[Task], rng: random.Random) -> list[Result]:
    """What tasks give that begin together, and most of whose stages do.

    Threads take turns every 10 us, so that they meet in the middle of things.
    """
    results: dict[int, Result] = {}
    meeting = Meeting(len(tasks) if rng.random() < 0.75 else 1)

    def work(number: int, task: Task) -> None:
        try:
            results[number] = task(meeting)
        except BaseException as error:
            results[number] = error

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(usual)
    return [results[number] for number in range(len(tasks))]


def compare(found: Result, alone: dinotrack.Tracks) -> str:
    """Whether a thread has given what it gives alone; else what is wrong."""
    if isinstance(found, BaseException):
        return f"{type(found).__name__}: {found}"
    if same(found, alone):
        return "same"
    return f"differs by up to {abs(found.xy - alone.xy).max():.1f} px"


class Ground:
    """Clips, and the fits of each alone."""

    def __init__(self, place: Path):
        self.place = place
        self.clips = [runs.make_clip(place / f"{name}.mp4", seed) for name, seed in CLIPS.items()]
        self.alone = [{seed: fit_of(clip, seed)(silent) for seed in (0, 1)} for clip in self.clips]

    def different(self, number: int, rng: random.Random) -> Sequence[str]:
        """Two videos, two seeds."""
        found = at_once([fit_of(self.clips[0], 0), fit_of(self.clips[1], 1)], rng)
        return [compare(found[0], self.alone[0][0]), compare(found[1], self.alone[1][1])]

    def equal(self, number: int, rng: random.Random) -> Sequence[str]:
        """One video and one seed, in two folders."""
        folders = [self.place / f"equal-{number}-{i}" for i in range(2)]
        found = at_once([fit_of(self.clips[0], 1, folder) for folder in folders], rng)
        files = [runs.digests(folder) for folder in folders]
        kept = ["same"] if files[0] == files[1] else ["the files of the two fits differ"]
        return [*(compare(one, self.alone[0][1]) for one in found), *kept]

    def one_fit(self, number: int, rng: random.Random) -> Sequence[str]:
        """One fit, tracked by both threads, in grids of their own."""
        fitted = dinotrack.fit(self.clips[1], preset="fast", settings=SETTINGS)
        coarse = fitted.track(grid=4)
        found = at_once([track_of(fitted, 6), track_of(fitted, 4)], rng)
        return [compare(found[0], self.alone[1][0]), compare(found[1], coarse)]

    def one_folder(self, number: int, rng: random.Random) -> Sequence[str]:
        """One video and two seeds in one folder: whoever comes second is refused."""
        folder = self.place / f"one-{number}"
        found = at_once([fit_of(self.clips[0], seed, folder) for seed in (0, 1)], rng)
        refused = [isinstance(one, dinotrack.InputError) for one in found]
        if sum(refused) != 1:
            return [f"{sum(refused)} of the two are refused, not 1"]
        winner = refused.index(False)
        kept = dinotrack.load(folder).track(grid=6)
        alone = self.alone[0][winner]
        return [compare(found[winner], alone), compare(kept, alone)]


CLIPS = {"a": 3, "b": 4}
"""Names and seeds."""

PAIRS: dict[str, Callable[[Ground, int, random.Random], Sequence[str]]] = {
    "different videos and seeds": Ground.different,
    "the same fit twice": Ground.equal,
    "one fit, tracked twice": Ground.one_fit,
    "two seeds, one folder": Ground.one_folder,
}


def table(outcomes: Mapping[str, Sequence[str]]) -> str:
    """A row for each pair."""
    rows: list[report.Row] = []
    for name, found in outcomes.items():
        counts = Counter("same" if text == "same" else "other" for text in found)
        rows.append((name, counts["same"], counts["other"]))
    return report.markdown(("at once", "results as alone", "other results"), rows)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    args = report.options(__doc__, tries=20).parse_args(argv)
    warnings.simplefilter("ignore", dinotrack.DinotrackWarning)
    outcomes: dict[str, list[str]] = {name: [] for name in PAIRS}
    failures = []
    with report.workplace() as place:
        os.environ["DINOTRACK_CACHE"] = str(place / "cache")
        ground = Ground(place)
        for number in report.numbers(args):
            name = list(PAIRS)[number % len(PAIRS)]
            found = PAIRS[name](ground, number, random.Random(f"{args.seed} {number}"))
            outcomes[name] += found
            failures += [f"#{number} {name}: {text}" for text in found if text != "same"]
            report.tell(f"#{number} {name}: {'; '.join(found)}")
    return report.conclude(table(outcomes), failures)


if __name__ == "__main__":
    sys.exit(main())
