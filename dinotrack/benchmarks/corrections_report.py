"""What corrections in simulation brought, as JSON and as Markdown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dinotrack import metrics
from dinotrack.benchmarks import report
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.metrics import Scores

ALL, CORRECTED, OTHERS = "all points", "corrected points", "others"
"""Whose numbers an outcome holds."""
CORRECTED_HALF = "corrected points of the taught half"
WORST = 5
"""Clips with the lowest AJ before any correction, whose mean is told."""
SHARES = {
    "average_jaccard": "AJ",
    "average_pts_within_thresh": "delta",
    "occlusion_accuracy": "OA",
    "after_occlusion": "after occlusion",
}
"""Metric -> its name in tables."""
LEGEND = """\
Percent. A point strays where it is more than 8 px at 256 x 256 from the truth, in a frame that
shows it. In each round, each point that strays is put where the truth is, in the nearest such frame
in time to its query, before or after it. Then all points are tracked again. AJ, delta and OA are
TAP-Vid's average Jaccard, position accuracy and visibility accuracy at 256 x 256; after occlusion
is delta of points that had been hidden for 3 frames or more, pooled over clips. The places that
were corrected are judged too. A row that says "taught" is of a fit that learned from all of these
corrections, and tracks with them. The corrected points are those that strayed in any round, and
their row of no rounds is what they were before. The worst clips are those with the lowest AJ of
all points before any correction."""
TEACHING = """\
Of every other point, the corrections of all rounds were given and taught; where none of these
strayed, there was nothing to teach. The others were neither corrected nor taught: what they gain
is learnt from their neighbours. The corrected points of the taught half are tracked with their
corrections before and after, so what they gain is on top of these."""


@dataclass(frozen=True)
class Outcome:
    """How good the tracks of some points of a clip are after so many rounds of corrections."""

    method: str
    dataset: str
    clip: str
    seed: int
    points: str
    """ALL, CORRECTED, OTHERS or CORRECTED_HALF."""
    corrections: int
    """Rounds."""
    taught: bool
    numbers: Scores
    """Metrics; `points`, and `made`, the corrections of these points."""

    @property
    def key(self) -> tuple[str | int | bool, ...]:
        """What tells it from others."""
        place = (self.method, self.dataset, self.clip, self.seed)
        return (*place, self.points, self.corrections, self.taught)


@dataclass(frozen=True)
class CorrectionsReport:
    """All that was measured, in one run or in several."""

    runs: tuple[Circumstances, ...]
    outcomes: tuple[Outcome, ...]

    @staticmethod
    def merged(reports: Sequence["CorrectionsReport"]) -> "CorrectionsReport":
        """Several runs as one report. Of equal outcomes the last one counts."""
        latest = {one.key: one for each in reports for one in each.outcomes}
        runs = tuple(run for each in reports for run in each.runs)
        return CorrectionsReport(runs, tuple(latest.values()))


def markdown(measured: CorrectionsReport) -> str:
    """The means of every method on every data set, each clip, and what teaching brought."""
    parts = [LEGEND]
    groups = dict.fromkeys((one.method, one.dataset) for one in measured.outcomes)
    for method, dataset in groups:
        own = [one for one in measured.outcomes if (one.method, one.dataset) == (method, dataset)]
        plain = [one for one in own if one.points in (ALL, CORRECTED)]
        parts += [f"## {method}, {dataset}", _means(plain), _clips(plain)]
        taught = [one for one in own if one.points in (OTHERS, CORRECTED_HALF)]
        if taught:
            parts += [f"### Teaching: {method}, {dataset}", TEACHING, _teaching(taught)]
    return report.page("Corrections", parts, measured.runs)


def worst_clips(outcomes: Iterable[Outcome]) -> list[str]:
    """The names of the WORST clips, by the AJ of all their points before any correction."""
    before = [one for one in outcomes if one.points == ALL and one.corrections == 0]
    names = dict.fromkeys(one.clip for one in before)
    jaccard = {
        name: mean_of([one for one in before if one.clip == name])["average_jaccard"]
        for name in names
    }
    return sorted(jaccard, key=lambda name: jaccard[name])[:WORST]


def mean_of(outcomes: Sequence[Outcome]) -> Scores:
    """The mean of some outcomes over clips and seeds; points and corrections are summed."""
    numbers = metrics.mean_metrics([one.numbers for one in outcomes])
    for name in ("points", "made"):
        numbers[name] = sum(int(one.numbers[name]) for one in outcomes)
    return numbers


def _means(outcomes: Sequence[Outcome]) -> str:
    worst = worst_clips(outcomes)
    rounds = sorted({(one.corrections, one.taught) for one in outcomes})
    groups: dict[str, Callable[[Outcome], bool]] = {
        ALL: lambda one: one.points == ALL,
        CORRECTED: lambda one: one.points == CORRECTED,
        f"the {len(worst)} worst clips": lambda one: one.points == ALL and one.clip in worst,
    }
    rows = []
    for name, belongs in groups.items():
        for k, taught in rounds:
            kind = [one for one in outcomes if (one.corrections, one.taught) == (k, taught)]
            part = [one for one in kind if belongs(one)]
            if part:
                clips = len({one.clip for one in part})
                times = f"{k}, taught" if taught else str(k)
                rows.append([name, times, str(clips), *_cells(mean_of(part))])
    return report.table(["of", "rounds", "clips", *HEADER], rows)


def _clips(outcomes: Sequence[Outcome]) -> str:
    """A row for each clip, with AJ of all its points and of the corrected ones by rounds."""
    rounds = sorted({(one.corrections, one.taught) for one in outcomes})
    rows = []
    for name in dict.fromkeys(one.clip for one in outcomes):
        cells = [name]
        for points in (ALL, CORRECTED):
            own = [one for one in outcomes if one.clip == name and one.points == points]
            last = [one for one in own if one.corrections == rounds[-1][0] and not one.taught]
            total = mean_of(last) if last else {"points": 0, "made": 0}
            cells.append(f"{total['points']:.0f}")
            for kind in rounds:
                part = [one for one in own if (one.corrections, one.taught) == kind]
                jaccard = mean_of(part).get("average_jaccard") if part else None
                cells.append(report.percent(jaccard))
        cells.append(f"{total['made']:.0f}")
        rows.append(cells)
    by_round = [f"AJ {k}x" + (", taught" if taught else "") for k, taught in rounds]
    header = ["clip", "points", *by_round, "corrected", *by_round, "corrections"]
    return report.table(header, rows)


def _teaching(outcomes: Sequence[Outcome]) -> str:
    """Each clip, and all, before and after: others, then corrected ones."""
    rows = []
    clips = list(dict.fromkeys(one.clip for one in outcomes))
    for points in (OTHERS, CORRECTED_HALF):
        own = [one for one in outcomes if one.points == points]
        for name, part in (("mean", own), *((c, [o for o in own if o.clip == c]) for c in clips)):
            if part:
                before = mean_of([one for one in part if not one.taught])
                after = mean_of([one for one in part if one.taught])
                changes = [_change(key, before, after) for key in SHARES]
                rows.append([points, name, f"{before['points']:.0f}", *changes])
    return report.table(["of", "clip", "points", *SHARES.values()], rows)


HEADER = (*SHARES.values(), "points", "corrections")


def _cells(numbers: Scores) -> list[str]:
    shares = [report.percent(numbers.get(key)) for key in SHARES]
    return [*shares, f"{numbers['points']:.0f}", f"{numbers['made']:.0f}"]


def _change(key: str, before: Scores, after: Scores) -> str:
    """Percent before and after, and the difference."""
    one, other = before.get(key), after.get(key)
    if one is None or other is None:
        return "-"
    return f"{report.percent(one)} to {report.percent(other)} ({100 * (other - one):+.1f})"
