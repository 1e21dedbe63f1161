"""Speed reports as Markdown."""

from collections.abc import Mapping, Sequence

from dinotrack.benchmarks import report
from dinotrack.benchmarks.against_paper import Account, PaperPart
from dinotrack.benchmarks.against_reference import InferencePart, Way
from dinotrack.benchmarks.growth import Growth, StageGrowth, summarise
from dinotrack.benchmarks.kernel_report import show_kernels
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.benchmarks.report import MAIN_SHARES, SHARES, percent, spread_around
from dinotrack.benchmarks.speed_parts import SpeedReport
from dinotrack.benchmarks.stages import WHOLE, Failure, LongPart, PipelineRun, StagesPart

SCORES = tuple(SHARES[name] for name in MAIN_SHARES)

LEGEND = """\
Seconds are medians, ± the interquartile range where there is more than one run. MB is the most
memory that the process had held. The exponent p is that of seconds ~ frames^p over all lengths and,
behind the stroke, from a quarter of the greatest length on; a stage too short to judge has none.
AJ, delta and OA are TAP-Vid's, in percent."""


def markdown(reports: Sequence[SpeedReport]) -> str:
    """Reports as one page, with a section for each part of each."""
    parts = [LEGEND]
    for known in reports:
        where = device_of(known.runs[0])
        for title, paragraphs in sections(known):
            parts += [f"## {title}, on {where}", *paragraphs]
    runs = [run for known in reports for run in known.runs]
    return report.page("Performance", parts, runs)


def sections(measured: SpeedReport) -> list[tuple[str, list[str]]]:
    """Title and paragraphs of each part that was measured."""
    parts = measured.parts
    found = []
    if parts.stages is not None:
        found.append(("Stages", show_stages(parts.stages)))
    if parts.long is not None:
        found.append(("Long and large clips", show_long(parts.long)))
    if parts.paper is not None:
        found.append(("Against the paper's configuration", show_paper(parts.paper)))
    if parts.inference is not None:
        found.append(("Tracking with visibility", show_inference(parts.inference)))
    if parts.kernels is not None:
        found.append(("Kernels", show_kernels(parts.kernels)))
    return found


def show_stages(part: StagesPart) -> list[str]:
    """Seconds by stage and length, and what goes with each length."""
    first = [row for row in part.rows if row.run == "first"]
    growth = summarise(first)
    lengths = growth.lengths
    repeated = len(first) > len(lengths)
    rows = [_growth_row(name, one, repeated) for name, one in growth.stages.items()]
    rows += _memory_rows(growth)
    rows += _judged_rows([_of_length(first, length) for length in lengths])
    again = [row for row in part.rows if row.run == "again"]
    if again:
        whole = [_of_length(again, length).seconds[WHOLE] for length in lengths]
        rows.append(["whole, a second time", *(f"{value:.2f}" for value in whole), ""])
    header = ["seconds", *(f"{length} frames" for length in lengths), "p"]
    longest = _of_length(first, lengths[-1])
    size = f"{longest.size[1]} x {longest.size[0]}"
    asked = f"{longest.steps} steps, {longest.points} points, frames of {size}"
    change = f"{growth.memory_percent:.0f} % from {growth.late} to {lengths[-1]} frames"
    text = f"`{part.preset}`, {asked}. Peak memory grows by {change}."
    return [text, report.table(header, rows)]


def show_long(part: LongPart) -> list[str]:
    """A row for each clip."""
    done = [row for row in part.rows if isinstance(row, PipelineRun)]
    stages = list(dict.fromkeys(stage for row in done for stage in row.seconds))
    rows = [_long_row(row, stages) for row in part.rows]
    header = ["clip", "steps", *stages, "peak MB"]
    return [f"`{part.preset}`; seconds by stage.", report.table(header, rows)]


def show_paper(part: PaperPart) -> list[str]:
    """Both configurations side by side, and how many times as long the paper's takes."""
    size = f"{part.size[1]} x {part.size[0]}"
    if not part.papers_own_size:
        size += ", which is not the paper's 854 x 476, as that takes too long here"
    alike = f"{part.backbone} and DIS flow for both; {part.points} points with visibility"
    timed = f"All steps are extrapolated from {part.steps_timed}."
    text = f"{part.frames} frames ({part.clip}) of {size}; {alike}. {timed}"
    header = ["", "`paper`", f"`{part.ours.preset}`", "ratio"]
    out = [text, report.table(header, _paper_rows(part))]
    if part.accuracy:
        header = ["clip", "data set", "", "steps", "seconds of fitting", *SCORES]
        rows = [
            [row.clip or "all", row.dataset, row.method, *_effort(row.numbers)]
            for row in part.accuracy
        ]
        out += ["Accuracy, and the seconds of fitting that it took:", report.table(header, rows)]
    return out


def show_inference(part: InferencePart) -> list[str]:
    """A row for each way to track."""
    oracle = part.reference
    label = f"one query at a time, whole maps, every anchor (timed on {oracle.points} points)"
    rows = [
        [label, f"{oracle.seconds:.2f}", "", *_percents(oracle.scores)],
        _way_row(f"`{part.preset}` ({part.own.method})", part, part.own),
        _way_row(f"matching with at most {part.anchors} anchors", part, part.match),
    ]
    clip = f"{part.points} points, {part.frames} frames ({part.clip})"
    header = ["", "seconds", "times faster", *SCORES]
    return [f"{clip}, {part.steps} steps of fit.", report.table(header, rows)]


def device_of(run: Circumstances) -> str:
    """Where a run computed, for people."""
    return run.gpu if run.gpu and run.device != "cpu" else f"{run.cpus} CPUs"


def _growth_row(name: str, stage: StageGrowth, repeated: bool) -> list[str]:
    """A stage: its seconds at each length, and its exponents."""
    cells = [
        spread_around(median, iqr if repeated else None, 2)
        for median, iqr in zip(stage.seconds, stage.iqr, strict=True)
    ]
    exponents = [stage.exponent, stage.exponent_long]
    known = [f"{value:.2f}" for value in exponents if value is not None]
    return [name, *cells, " / ".join(known) if len(known) == 2 else "-"]


def _memory_rows(growth: Growth) -> list[list[str]]:
    """Peak memory at each length."""
    rows = [["peak MB", *(f"{value:.0f}" for value in growth.peak_mb), ""]]
    if growth.gpu_mb is not None:
        rows.append(["peak GPU MB", *(f"{value:.0f}" for value in growth.gpu_mb), ""])
    return rows


def _judged_rows(runs: Sequence[PipelineRun]) -> list[list[str]]:
    """The cache, and TAP-Vid's metrics, of a run of each length."""
    cache = [f"{run.cache_mb / run.frames:.2f}" for run in runs]
    rows = [["cache, MB a frame", *cache, ""]]
    for name in MAIN_SHARES:
        shares = [percent((run.metrics or {}).get(name)) for run in runs]
        rows.append([SHARES[name], *shares, ""])
    return rows


def _long_row(row: PipelineRun | Failure, stages: Sequence[str]) -> list[str]:
    if isinstance(row, Failure):
        return [row.clip, f"failed: {row.failed}", *[""] * (len(stages) + 1)]
    name = row.clip
    if row.different_frames is not None:
        name += f" ({row.different_frames} different)"
    known = [row.seconds.get(stage) for stage in stages]
    seconds = ["-" if value is None else f"{value:.2f}" for value in known]
    return [name, str(row.steps), *seconds, f"{row.peak_mb[WHOLE]:.0f}"]


def _paper_rows(part: PaperPart) -> list[list[str]]:
    """What of both is compared."""
    paper, ours = part.paper, part.ours
    around = sum(paper.stages.values()), sum(ours.stages.values())
    rows = [
        [f"ms a step, {phase}", _step_ms(paper, phase), _step_ms(ours, phase), ""]
        for phase in dict.fromkeys((*paper.seconds_a_step, *ours.seconds_a_step))
    ]
    rows.append(_compared("ms a step, mean", 1e3 * paper.step, 1e3 * ours.step))
    rows.append(_compared("steps", paper.steps, ours.steps))
    rows.append(_compared("all steps, s", paper.fit, ours.fit))
    rows.append(_compared("before and after them, s", *around, digits=1))
    rows.append(_compared("whole, s", paper.whole, ours.whole))
    return rows


def _compared(name: str, paper: float, ours: float, digits: int = 0) -> list[str]:
    """Two numbers and their ratio."""
    return [name, f"{paper:.{digits}f}", f"{ours:.{digits}f}", f"{paper / ours:.1f}"]


def _step_ms(account: Account, phase: str) -> str:
    known = account.seconds_a_step.get(phase)
    return "-" if known is None else spread_around(1e3 * known.median, 1e3 * known.iqr, 0)


def _effort(numbers: Mapping[str, float]) -> list[str]:
    """Steps, seconds of fitting, and what they reached."""
    return [f"{numbers['steps']:.0f}", f"{numbers['fit_seconds']:.0f}", *_percents(numbers)]


def _way_row(label: str, part: InferencePart, way: Way) -> list[str]:
    faster = f"{part.ratio(way):.1f}"
    return [label, f"{way.seconds:.2f}", faster, *_percents(way.scores)]


def _percents(numbers: Mapping[str, float | None]) -> list[str]:
    """TAP-Vid's main metrics."""
    return [percent(numbers.get(name)) for name in MAIN_SHARES]


def _of_length(rows: Sequence[PipelineRun], length: int) -> PipelineRun:
    """The first of the runs on the clip of a length."""
    return next(row for row in rows if row.frames == length)
