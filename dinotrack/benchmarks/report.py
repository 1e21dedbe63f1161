"""From rows of measurements to means, spreads and Markdown.

A row is one (method, data set, clip, seed).
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dinotrack import metrics
from dinotrack.errors import InputError
from dinotrack.video import replacing

Row = dict[str, Any]
Group = tuple[str, str, int]
"""(method, data set, seed)."""

KEYS = ("method", "dataset", "clip", "seed")
SHARES = {
    "average_jaccard": "AJ", "average_pts_within_thresh": "delta", "occlusion_accuracy": "OA",
    "recall_mean": "recall mean", "after_occlusion": "after occlusion", "pck": "PCK", "within_3": "in 3 px",
    "ece": "ECE", "auroc": "AUROC",
}  # fmt: skip
COSTS = {"seconds": "seconds", "peak_mb": "MB", "gpu_mb": "GPU MB"}
PEAKS = ("peak_mb", "gpu_mb")
POOLED = ("ece", "auroc")

LEGEND = """\
Percent, but for costs. AJ, delta and OA are TAP-Vid's average Jaccard, position accuracy and
visibility accuracy at
256 x 256; recall mean is the mean of the shares of visible and of hidden frames named rightly;
after occlusion is delta of points that had been hidden for 3 frames or more, pooled over clips. PCK
and in 3 px are BADJA's, at 512 x 320. ECE (15 bins of equal mass, lower is better) and AUROC judge
confidence as the probability of being visible and within 8 px at 256 x 256, pooled over clips.
Seconds are those of a clip, fit and tracking together, or tracking alone where
--models had kept the fit. MB is the most memory that the process had held until then, so what was
measured before counts too; GPU MB is the method's own on one clip.
A ± is the standard deviation over seeds."""


def group(row: Row) -> Group:
    """What a row is pooled with."""
    return row["method"], row["dataset"], row["seed"]


def summarise(
    rows: Sequence[Row], pooled: Mapping[Group, Mapping[str, float]]
) -> dict[str, list[Row]]:
    """ "seeds": the mean over the clips of each (method, data set, seed); "means": mean and spread
    of these over seeds.

    pooled: ece and auroc of each group over the frames of all its clips, which rows don't tell.
    """
    seeds = []
    for (method, dataset, seed), part in _grouped(rows, group).items():
        values = [{k: v for k, v in row.items() if k not in (*KEYS, *POOLED)} for row in part]
        peaks = {k: max(row[k] for row in part) for k in PEAKS if k in part[0]}
        mean = metrics.mean_metrics(values) | peaks | dict(pooled.get((method, dataset, seed), {}))
        seeds.append(
            {"method": method, "dataset": dataset, "seed": seed, "clips": len(part), **mean}
        )
    return {"seeds": seeds, "means": across_seeds(seeds, ("method", "dataset"))}


def across_seeds(rows: Iterable[Row], by: Sequence[str]) -> list[Row]:
    """One row for all that agree in `by`: these, the seeds, and of each number its mean and spread
    over the seeds.

    spread: the standard deviation (n - 1), where two seeds or more have that number. Of peaks the
    highest is taken.
    """
    out = []
    for key, part in _grouped(rows, lambda row: tuple(row[name] for name in by)).items():
        names = dict.fromkeys(k for row in part for k in row if k not in KEYS)
        values = {k: [row[k] for row in part if not np.isnan(row.get(k, np.nan))] for k in names}
        mean = {k: float(max(v) if k in PEAKS else np.mean(v)) for k, v in values.items() if v}
        spread = {
            k: float(np.std(v, ddof=1)) for k, v in values.items() if len(v) > 1 and k not in PEAKS
        }
        seeds = [row["seed"] for row in part]
        out.append(
            dict(zip(by, key, strict=True)) | {"seeds": seeds, "mean": mean, "spread": spread}
        )
    return out


def merge(reports: Sequence[Mapping[str, Any]]) -> Row:
    """Several runs as one report. Of rows with equal method, data set, clip and seed the last
    counts.

    Pooled numbers stay where all rows of a group come from one run; elsewhere nothing is left to
    pool.
    """
    latest: dict[tuple[Any, ...], tuple[int, Row]] = {}
    for index, report in enumerate(reports):
        latest |= {tuple(row[key] for key in KEYS): (index, row) for row in report["rows"]}
    sources: dict[Group, set[int]] = {}
    for index, row in latest.values():
        sources.setdefault(group(row), set()).add(index)
    pooled = {
        group(mean): {key: mean[key] for key in POOLED if key in mean}
        for index, report in enumerate(reports)
        for mean in report["seeds"]
        if sources[group(mean)] == {index}
    }
    rows = [row for _, row in latest.values()]
    return {
        "runs": [run for report in reports for run in report["runs"]],
        "rows": rows,
        **summarise(rows, pooled),
    }


def markdown(report: Mapping[str, Any], command: str) -> str:
    """A report as tables: means of every method on every data set, then each method clip by clip.
    command: made it."""
    clips = across_seeds(report["rows"], ("method", "dataset", "clip"))
    sets = [*dict.fromkeys(row["dataset"] for row in report["means"])]
    parts = [
        "# Accuracy",
        "All of this file is generated, and changes by hand get lost. It was made by",
        f"    {command}",
        LEGEND,
        "## Means",
        _table(
            sorted(report["means"], key=lambda row: sets.index(row["dataset"])),
            {
                "data set": lambda row: row["dataset"],
                "method": lambda row: row["method"],
                "clips": lambda row: f"{row['mean']['clips']:.0f}",
                "seeds": lambda row: str(len(row["seeds"])),
            },
        ),
    ]
    for method in dict.fromkeys(row["method"] for row in clips):
        own = [row for row in clips if row["method"] == method]
        parts += [
            f"## {method}",
            _table(own, {"data set": lambda r: r["dataset"], "clip": lambda r: r["clip"]}),
        ]
    return "\n\n".join([*parts, "## Runs", *map(circumstances, report["runs"])]) + "\n"


def write(path: Path, text: str) -> None:
    """A text file, never seen half. Raises InputError where it can't be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def to_json(report: Mapping[str, Any]) -> str:
    """JSON, with null for NaN."""
    return json.dumps(_finite(report), indent=1) + "\n"


def read_json(path: Path, keys: Collection[str], writer: str) -> Row:
    """What a benchmark wrote: an object with these keys. Raises InputError for another file.
    writer: "accuracy"."""
    try:
        report: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror or error}); check the path"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: is no JSON ({error}); give what `{writer} --out` wrote"
        ) from error
    if not isinstance(report, dict) or not set(keys) <= report.keys():
        raise InputError(
            f"{path}: is no report of this benchmark; give what `{writer} --out` wrote"
        )
    return report


def read_report(path: Path) -> Row:
    """The inverse of `to_json`, from a file of `accuracy`. Raises InputError for another file."""
    report = read_json(path, ("runs", "rows", "seeds"), "accuracy")
    for row in (*report["rows"], *report["seeds"]):
        row.update({key: np.nan for key, value in row.items() if value is None})
    return report


def _table(rows: Sequence[Row], labels: Mapping[str, Callable[[Row], str]]) -> str:
    """Markdown; columns in which no row has a number are left out."""
    columns = {
        key: name
        for key, name in (SHARES | COSTS).items()
        if any(key in row["mean"] for row in rows)
    }
    lines = [[*labels, *columns.values()], ["---"] * (len(labels) + len(columns))]
    for row in rows:
        names = [label(row).replace("|", "\\|") for label in labels.values()]
        lines.append(
            names + [_cell(key, row["mean"].get(key), row["spread"].get(key)) for key in columns]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(key: str, mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "-"
    scale, digits = (100, 1) if key in SHARES else (1, 0 if key in PEAKS else 1)
    return f"{scale * mean:.{digits}f}" + (
        "" if spread is None else f" ± {scale * spread:.{digits}f}"
    )


def circumstances(about: Mapping[str, Any]) -> str:
    """One run's circumstances (machine.describe), for people."""
    processor = f"{about['machine']}, {about['cpus']} CPUs" + (
        f", {about['gpu']}" if about["gpu"] else ""
    )
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    load = f" load {about['load']:.1f} at the start;" if "load" in about else ""
    return f"    {about['command']}\n\n{about['when']}; {processor};{load} {versions}."


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Rows by key, in the order they came."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _finite(value: Any) -> Any:
    """NaN -> null, which JSON has."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and np.isnan(value) else value
