"""Speed reports as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dinotrack.benchmarks.report import SHARES, circumstances

Row = Mapping[str, Any]

SCORES = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")

SIDES = ("obvious", "twin", "kernel")

LEGEND = """\
Seconds are medians, ± the interquartile range where there is more than one run. MB is the most
memory that the process had held. The exponent p is that of seconds ~ frames^p over all lengths and,
behind the stroke, from a quarter of the greatest length on; a stage too short to judge has none.
AJ, delta and OA are TAP-Vid's, in percent."""


def markdown(reports: Sequence[Row], command: str) -> str:
    """Reports as tables, a section for each part of each. command: made it."""
    parts = [
        "# Performance",
        "All of this file is generated, and changes by hand get lost. It was made by",
        f"    {command}",
        LEGEND,
    ]
    for known in reports:
        for name, result in known["parts"].items():
            title, show = SECTIONS[name]
            parts += [f"## {title}, on {_device(known['runs'][0])}", *show(result)]
    runs = [circumstances(run) for known in reports for run in known["runs"]]
    return "\n\n".join([*parts, "## Runs", *runs]) + "\n"


def shares(row: Row) -> str:
    """The metrics of a row for people: "AJ 60.1, delta 70.2"."""
    return ", ".join(
        f"{label} {percent(row[key])}" for key, label in SHARES.items() if row.get(key) is not None
    )


def percent(share: float | None) -> str:
    """0.5 -> 50.0."""
    return "-" if share is None or share != share else f"{100 * share:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    escaped = [
        [cell.replace("|", "\\|") for cell in cells] for cells in (head, ["---"] * len(head), *rows)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def show_stages(result: Row) -> list[str]:
    """Seconds by stage and length, and what goes with each length."""
    first = [row for row in result["rows"] if row["run"] == "first"]
    summary, lengths = result["summary"], result["summary"]["lengths"]
    of = [next(row for row in first if row["frames"] == length) for length in lengths]
    many = len(first) > len(lengths)
    rows = []
    for stage, known in summary["stages"].items():
        cells = zip(known["seconds"], known["iqr"], strict=True)
        exponents = [known["exponent"], known["exponent_long"]]
        p = "-" if None in exponents else " / ".join(f"{value:.2f}" for value in exponents)
        rows.append([stage, *(_seconds(median, iqr if many else None) for median, iqr in cells), p])
    rows.append(["peak MB", *(f"{value:.0f}" for value in summary["peak_mb"]), ""])
    if "gpu_mb" in summary:
        rows.append(["peak GPU MB", *(f"{value:.0f}" for value in summary["gpu_mb"]), ""])
    rows.append(
        ["cache, MB a frame", *(f"{row['cache_mb'] / row['frames']:.2f}" for row in of), ""]
    )
    rows += [[SHARES[key], *(percent(row["metrics"][key]) for row in of), ""] for key in SCORES]
    again = [row for row in result["rows"] if row["run"] == "again"]
    if again:
        known = [next(row for row in again if row["frames"] == length) for length in lengths]
        rows.append(
            ["whole, a second time", *(_seconds(row["seconds"]["whole"]) for row in known), ""]
        )
    growth = summary["memory_growth"]
    text = f"Peak memory grows by {growth['percent']:.0f} % from {growth['from']} to {growth['to']} frames."
    size, points = of[-1]["size"], of[-1]["points"]
    asked = f"`{result['preset']}`, {of[-1]['steps']} steps, {points} points, frames of {size[1]} x {size[0]}."
    return [
        f"{asked} {text}",
        table(["seconds", *(f"{length} frames" for length in lengths), "p"], rows),
    ]


def show_long(result: Row) -> list[str]:
    """A row for each clip."""
    stages = dict.fromkeys(stage for row in result["rows"] for stage in row.get("seconds", {}))
    rows = []
    for row in result["rows"]:
        clip = row["clip"] + (
            f" ({row['different_frames']} different)" if "different_frames" in row else ""
        )
        if "failed" in row:
            rows.append([clip, f"failed: {row['failed']}", *[""] * (len(stages) + 1)])
            continue
        seconds = [_seconds(row["seconds"].get(stage)) for stage in stages]
        rows.append([clip, str(row["steps"]), *seconds, f"{row['peak_mb']['whole']:.0f}"])
    return [
        f"`{result['preset']}`; seconds by stage.",
        table(["clip", "steps", *stages, "peak MB"], rows),
    ]


def show_paper(result: Row) -> list[str]:
    """Both configurations side by side, and how many times as long the paper's takes."""
    paper, ours = result["paper"], result["ours"]
    phases = dict.fromkeys((*paper["seconds_a_step"], *ours["seconds_a_step"]))

    def step(row: Row, phase: str) -> str:
        known = row["seconds_a_step"].get(phase)
        return "-" if known is None else f"{1e3 * known['median']:.0f} ± {1e3 * known['iqr']:.0f}"

    around = sum(paper["stages"].values()), sum(ours["stages"].values())
    rows = [
        *([f"ms a step, {phase}", step(paper, phase), step(ours, phase), ""] for phase in phases),
        [
            "ms a step, mean",
            *(f"{1e3 * row['step']:.0f}" for row in (paper, ours)),
            f"{result['ratio']['step']:.1f}",
        ],
        ["steps", str(paper["steps"]), str(ours["steps"]), f"{paper['steps'] / ours['steps']:.1f}"],
        [
            "all steps, s",
            *(f"{row['fit']:.0f}" for row in (paper, ours)),
            f"{paper['fit'] / ours['fit']:.1f}",
        ],
        [
            "before and after them, s",
            *(f"{value:.1f}" for value in around),
            f"{around[0] / around[1]:.1f}",
        ],
        [
            "whole, s",
            *(f"{row['whole']:.0f}" for row in (paper, ours)),
            f"{result['ratio']['whole']:.1f}",
        ],
    ]
    size = f"{result['size'][1]} x {result['size'][0]}"
    smaller = (
        ""
        if result["papers_own_size"]
        else ", which is not the paper's 854 x 476, as that takes too long here"
    )
    text = (
        f"{result['frames']} frames ({result['clip']}) of {size}{smaller}; {result['backbone']} and DIS flow for both; "
        f"{result['points']} points with visibility. All steps are extrapolated from {result['steps_timed']}."
    )
    out = [text, table(["", "`paper`", f"`{ours['preset']}`", "ratio"], rows)]
    if "accuracy" in result:
        head = [
            "clip",
            "data set",
            "",
            "steps",
            "seconds of fitting",
            *(SHARES[key] for key in SCORES),
        ]
        rows = [
            [
                row["clip"],
                row["dataset"],
                row["method"],
                str(row["steps"]),
                f"{row['fit_seconds']:.0f}",
            ]
            + [percent(row.get(key)) for key in SCORES]
            for row in result["accuracy"]
        ]
        out += ["Accuracy after equal seconds of fitting:", table(head, rows)]
    return out


def show_inference(result: Row) -> list[str]:
    """A row for each way to track."""
    names = {
        "reference": f"one query at a time, whole maps, every anchor (timed on {result['reference']['points']} points)",
        "own": f"`{result['preset']}` ({result['own']['method']})",
        "match": f"matching with at most {result['anchors']} anchors",
    }
    rows = []
    for name, label in names.items():
        known = result[name]
        ratio = f"{known['ratio']:.1f}" if "ratio" in known else ""
        rows.append(
            [label, f"{known['seconds']:.2f}", ratio, *(percent(known.get(key)) for key in SCORES)]
        )
    text = f"{result['points']} points, {result['frames']} frames ({result['clip']}), {result['steps']} steps of fit."
    return [text, table(["", "seconds", "times faster", *(SHARES[key] for key in SCORES)], rows)]


def show_kernels(result: Row) -> list[str]:
    """A row for each operation at each size, as kernel_speed reports them, and the goals."""
    if "timings" not in result:
        return [f"Not measured: {result['missing']} is missing."]
    known: dict[tuple[str, str], dict[str, Row]] = {}
    peaks = [row for row in result["timings"] if row["side"] == "peak"]
    for row in result["timings"]:
        if row["side"] != "peak":
            known.setdefault((row["sizes"]["name"], row["what"]), {})[row["side"]] = row
    rows = []
    for (size, what), by in known.items():
        times = [
            f"{by[side]['ms']:.3f} ± {by[side]['iqr_ms']:.3f}" if side in by else "-"
            for side in SIDES
        ]
        best = by.get("kernel", by["twin"])
        share = f"{100 * best['share']:.0f} %" if "share" in best else "-"
        rows.append([size, what, *times, f"{by['obvious']['ms'] / best['ms']:.1f}", share])
    tops = [
        f"{r['tflops']:.3g} TFLOP/s" if "tflops" in r else f"{r['gb_per_s']:.3g} GB/s copied"
        for r in peaks
    ]
    goals = [
        f"- {goal['name']}: {goal['value']:.2f}, of {goal['goal']:g} or more"
        for goal in result["goals"]
    ]
    head = [
        "size",
        "operation",
        *(f"{side}, ms" for side in SIDES),
        "obvious / ours",
        "of the matmul peak",
    ]
    text = f"Ours is the kernel, or its twin without a GPU. Measured peaks: {', '.join(dict.fromkeys(tops))}."
    return [text, table(head, rows), *(["\n".join(goals)] if goals else [])]


SECTIONS: dict[str, tuple[str, Callable[[Row], list[str]]]] = {
    "stages": ("Stages", show_stages),
    "long": ("Long and large clips", show_long),
    "paper": ("Against the paper's configuration", show_paper),
    "inference": ("Tracking with visibility", show_inference),
    "kernels": ("Kernels", show_kernels),
}


def _device(run: Row) -> str:
    """Where a run computed, for people."""
    return str(run["gpu"]) if run["gpu"] and run["device"] != "cpu" else f"{run['cpus']} CPUs"


def _seconds(value: float | None, iqr: float | None = None) -> str:
    return "-" if value is None else f"{value:.2f}" + ("" if iqr is None else f" ± {iqr:.2f}")
