"""How benchmarks report: Markdown tables, the page around them, and files never seen half."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dinotrack.benchmarks.machine import Circumstances, command
from dinotrack.files import replacing

Say = Callable[[str], None]
"""Tells the user one line."""

SHARES = {
    "average_jaccard": "AJ",
    "average_pts_within_thresh": "delta",
    "occlusion_accuracy": "OA",
    "recall_mean": "recall mean",
    "after_occlusion": "after occlusion",
    "redetection_jaccard": "AJ_RD",
    "pck": "PCK",
    "within_3": "in 3 px",
    "ece": "ECE",
    "auroc": "AUROC",
}
"""Metric -> its name in tables, where it stands in percent."""
MAIN_SHARES = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
"""Those of TAP-Vid's that say most."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Every row has a cell for each name of the header."""
    ruler = ["---"] * len(header)
    return "\n".join(_line(cells) for cells in (header, ruler, *rows))


def page(title: str, parts: Sequence[str], runs: Sequence[Circumstances]) -> str:
    """A whole Markdown file that this process makes: its parts, and how they were measured."""
    warning = "All of this file is generated, and changes by hand get lost. It was made by"
    about = [circumstances(run) for run in runs]
    paragraphs = [f"# {title}", warning, f"    {command()}", *parts, "## Runs", *about]
    return "\n\n".join(paragraphs) + "\n"


def circumstances(run: Circumstances) -> str:
    """When, where and with what something was measured."""
    processor = f"{run.machine}, {run.cpus} CPUs" + (f", {run.gpu}" if run.gpu else "")
    load = "" if run.load is None else f" load {run.load:.1f} at the start;"
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    return f"    {run.command}\n\n{run.when}; {processor};{load} {versions}."


def percent(share: float | None) -> str:
    """0.5 -> 50.0; a dash for what is not known."""
    return "-" if share is None or share != share else f"{100 * share:.1f}"


def spread_around(value: float, spread: float | None, digits: int) -> str:
    """A number and, where it is known, how far it varies: 2.0 ± 0.1."""
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def shares(scores: Mapping[str, int | float | None]) -> str:
    """Those metrics that are known: "AJ 60.1  delta 70.2"."""
    known = {label: percent(scores.get(key)) for key, label in SHARES.items()}
    return "  ".join(f"{label} {value}" for label, value in known.items() if value != "-")


def write(path: Path, text: str) -> None:
    """Write a text file, which nobody ever sees half. Raises InputError where that can't be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    """A row. A bar in a cell would end the cell."""
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
