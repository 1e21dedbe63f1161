"""Corrections in simulation: a hand that knows the truth mends tracks (`accuracy --corrections K`).

Of each point the frame is corrected in which it strays first, counted from its query in both
directions; then the points are tracked again, and so on. With --teach, corrections of every other
point are taught besides, and the other points are judged.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from dinotrack.benchmarks import datasets, machine, options, outputs, records
from dinotrack.benchmarks.corrections_report import (
    ALL,
    CORRECTED,
    CORRECTED_HALF,
    OTHERS,
    CorrectionsReport,
    Outcome,
    markdown,
)
from dinotrack.benchmarks.methods import Method, Options
from dinotrack.benchmarks.report import Say, percent
from dinotrack.benchmarks.truth import NEAR, AnnotatedClip, PointTruth
from dinotrack.errors import InputError
from dinotrack.options import choose_config, choose_device
from dinotrack.tracks import Tracks

MakeMethod = Callable[[str, Options], Method]
Made = Float[np.ndarray, "M 4"]
"""Corrections, rows of (point, t, x, y)."""


@runtime_checkable
class Pupil(Protocol):
    """What takes corrections, and learns from them: a fit."""

    def track(
        self, queries: Float[np.ndarray, "N 3"], *, corrections: Made | None = None
    ) -> Tracks:
        """Tracks that pass through the corrections."""
        ...

    def focus(self, queries: Float[np.ndarray, "N 3"]) -> "Pupil":
        """The same fit, after it looked at points."""
        ...

    def teach(self, corrections: Made, *, queries: Float[np.ndarray, "N 3"]) -> "Pupil":
        """The same fit, taught."""
        ...


@runtime_checkable
class Correctable(Protocol):
    """A method whose tracks can be corrected: one of our presets."""

    def fit(self, clip: str, video: Path | UInt8[np.ndarray, "T H W 3"], seed: int) -> Pupil:
        """The fit of a video."""
        ...


@dataclass(frozen=True)
class Round:
    """Tracks after so many rounds of corrections."""

    made: Made
    tracks: Tracks


@dataclass
class Ledger:
    """All that was measured so far."""

    run: machine.Circumstances
    outcomes: list[Outcome] = field(default_factory=list)

    def report(self) -> CorrectionsReport:
        """What is known now."""
        return CorrectionsReport((self.run,), tuple(self.outcomes))


def add_arguments(parser: options.OptionGroup) -> None:
    """--corrections and --teach."""
    add = parser.add_argument
    times = "correct the first frame in which each point strays, K times in turn, from the truth"
    add("--corrections", type=int, metavar="K", help=times)
    lessons = "with --corrections: teach all; and those of every other point, to judge the others"
    add("--teach", action="store_true", help=lessons)


def run(args: argparse.Namespace, say: Say, make: MakeMethod) -> CorrectionsReport:
    """Correct every clip, say a line for each, and write and return the report."""
    if args.earlier:
        earlier = [records.read_json(path, CorrectionsReport, "accuracy") for path in args.earlier]
        merged = CorrectionsReport.merged(earlier)
        outputs.tabulate(args, markdown(merged), say)
        return merged
    if args.corrections < 1:
        raise InputError(f"--corrections {args.corrections}: give 1 or more")
    settings = options.settings(args)
    names = args.methods or [choose_config(None, None, choose_device(args.device)).preset]
    chosen = Options(settings=settings, device=args.device, models=args.models)
    methods = {name: _correctable(name, make(name, chosen)) for name in names}
    ledger = Ledger(machine.describe(settings, args.device, args.seeds))
    for clip in datasets.open_datasets(args.datasets, args.data, args.clips):
        for name, seed in itertools.product(methods, dict.fromkeys(args.seeds)):
            if not clip.point_truths:
                continue
            fitted = methods[name].fit(clip.name, clip.video, seed)
            case = Case(name, clip, seed, args.corrections)
            for found in case.outcomes(fitted, args.teach):
                ledger.outcomes.append(found)
                say(line(found))
        outputs.write(args, ledger.report(), markdown)
    outputs.say_written(args, say)
    return ledger.report()


def _correctable(name: str, method: Method) -> Correctable:
    if not isinstance(method, Correctable):
        raise InputError(f"--corrections: {name} can't be corrected; give one of our presets")
    return method


@dataclass(frozen=True)
class Case:
    """A clip that is corrected."""

    method: str
    clip: AnnotatedClip
    seed: int
    times: int
    """How often each point is corrected, at most."""

    def outcomes(self, fitted: Pupil, teach: bool) -> Iterator[Outcome]:
        """How good the tracks of a fit are, without and with corrections."""
        for truth in self.clip.point_truths:
            attentive = fitted.focus(truth.queries)
            rounds = corrected(attentive, truth, self.times)
            mended = np.unique(rounds[-1].made[:, 0]).astype(int)
            everything = np.arange(len(truth.queries))
            for points, rows in ((ALL, everything), (CORRECTED, mended)):
                for times, done in enumerate(rounds):
                    if len(rows):
                        yield self._outcome(truth, points, rows, times, done)
            if teach:
                made = rounds[-1].made
                taught = _taught(attentive, truth, made)
                done = Round(made, taught.track(truth.queries, corrections=made))
                for points, rows in ((ALL, everything), (CORRECTED, mended)):
                    if len(rows):
                        yield self._outcome(truth, points, rows, self.times, done, taught=True)
                yield from self._half_taught(attentive, truth, rounds)

    def _half_taught(
        self, fitted: Pupil, truth: PointTruth, rounds: Sequence[Round]
    ) -> Iterator[Outcome]:
        """Every other point is corrected and taught. The others are judged before and after, and
        so are those that were corrected."""
        half = halves(len(truth.queries))
        made = rounds[-1].made
        made = made[half[made[:, 0].astype(int)]]
        taught = _taught(fitted, truth, made)
        before = Round(made, fitted.track(truth.queries, corrections=made))
        after = Round(made, taught.track(truth.queries, corrections=made))
        mended = np.unique(made[:, 0]).astype(int)
        for points, rows in ((OTHERS, np.flatnonzero(~half)), (CORRECTED_HALF, mended)):
            if len(rows):
                yield self._outcome(truth, points, rows, self.times, before)
                yield self._outcome(truth, points, rows, self.times, after, taught=True)

    def _outcome(
        self,
        truth: PointTruth,
        points: str,
        rows: Int[np.ndarray, " K"],
        times: int,
        done: Round,
        *,
        taught: bool = False,
    ) -> Outcome:
        tracks = done.tracks
        numbers = truth.some(rows).score(tracks.xy[rows], tracks.visible[rows])
        numbers |= {"points": len(rows), "made": int(np.isin(done.made[:, 0], rows).sum())}
        place = (self.method, truth.dataset, self.clip.name, self.seed)
        return Outcome(*place, points, times, taught, numbers)


def _taught(fitted: Pupil, truth: PointTruth, made: Made) -> Pupil:
    """A fit that learned from corrections, or as it was where there are none."""
    return fitted.teach(made, queries=truth.queries) if len(made) else fitted


def corrected(fitted: Pupil, truth: PointTruth, times: int) -> list[Round]:
    """Tracks without corrections, and after each of so many rounds of them."""
    made = np.zeros((0, 4))
    rounds = [Round(made, fitted.track(truth.queries))]
    for _ in range(times):
        more = first_strays(truth, rounds[-1].tracks.xy)
        if len(more):
            made = np.concatenate((made, more))
            rounds.append(Round(made, fitted.track(truth.queries, corrections=made)))
        else:
            rounds.append(rounds[-1])
    return rounds


def first_strays(truth: PointTruth, xy: Float[np.ndarray, "N S 2"]) -> Made:
    """Where the truth is in the frame in which each point strays first, if it does.

    A point strays where it is more than NEAR px at 256 x 256 from the truth, in frames that are
    judged and show it. The first such frame is the nearest one in time to the query; of two, the
    earlier one.
    """
    astray = truth.points.seen & (truth.distance(xy) > NEAR) & _inside(truth)
    frames = np.arange(truth.frames)
    away = np.abs(frames - np.rint(truth.queries[:, :1]))
    first = np.where(astray, away, np.inf).argmin(axis=1)
    points = np.flatnonzero(astray.any(axis=1))
    places = truth.points.xy[points, first[points]]
    return np.column_stack((points, first[points], places)).astype(float)


def halves(count: int) -> Bool[np.ndarray, " N"]:
    """Every other one of so many points, the first one included."""
    return np.asarray(np.arange(count) % 2 == 0)


def _inside(truth: PointTruth) -> Bool[np.ndarray, "N T"]:
    """Where the truth lies in the picture, as only there a hand can put a point."""
    height, width = truth.size
    xy = truth.points.xy
    return np.asarray(((xy >= -0.5) & (xy <= (width - 0.5, height - 0.5))).all(axis=-1))


def line(found: Outcome) -> str:
    """An outcome for people."""
    numbers = found.numbers
    what = f"{found.points}, {found.corrections}x" + (", taught" if found.taught else "")
    return (
        f"{found.method} {found.dataset} {found.clip} seed {found.seed}: {what}: "
        f"AJ {percent(numbers['average_jaccard'])}  "
        f"delta {percent(numbers['average_pts_within_thresh'])}  "
        f"OA {percent(numbers['occlusion_accuracy'])}  "
        f"({numbers['points']} points, {numbers['made']} corrections)"
    )
