"""Give every file of some folders to the command line, and print a table of what came of each.

    python -m tests.trust.outcomes FOLDER...

A file is taken as what its name says: mask* as the mask of clip_*.mp4, queries* as queries for it,
and all else, folders of frames included, as a video. Each must be tracked, or refused in one line.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.trust import report, runs

QUICK = ("--preset", "fast", "--grid", "4", "--set", "training.steps=10", "--no-overlay")
LIMIT = 900.0
"""Seconds that one file may take."""
HEAD = (
    *("file", "as", "exit", "points", "frames", "size", "fps", "visible"),
    *("s", "MB", "what was said"),
)


@dataclass(frozen=True)
class Case:
    """One file, and what it is given as."""

    path: Path
    role: str
    """VIDEO, or the option that takes it."""
    clip: Path | None = None
    """The video that goes with a mask or queries."""

    @property
    def name(self) -> str:
        """How the table calls it."""
        return f"{self.path.parent.name}/{self.path.name}"

    def command(self, out: Path) -> list[str]:
        """The arguments of a quick run."""
        quick = list(QUICK)
        if self.role == "VIDEO":
            return [*quick, "--out", str(out), "--", str(self.path)]
        if self.role == "--queries":
            del quick[2:4]  # they take the place of the grid
        return [*quick, "--out", str(out), self.role, str(self.path), "--", str(self.clip)]


def cases_in(folder: Path) -> Iterator[Case]:
    """All files of a folder, and its folders as videos."""
    clips = sorted(folder.glob("clip_*.mp4"))
    for path in sorted(folder.iterdir()):
        for beginning, role in (("mask", "--mask"), ("queries", "--queries")):
            if path.name.startswith(beginning) and clips:
                yield Case(path, role, clips[0])
                break
        else:
            yield Case(path, "VIDEO")
        if path.name.startswith("mask") and "frame" in path.name:
            yield Case(path, "VIDEO")


def try_one(case: Case, home: Path) -> tuple[report.Row, str]:
    """A row of the table, and what is wrong, if anything is."""
    home.mkdir()
    outcome = runs.run(case.command(home / "out"), runs.environment(home), LIMIT)
    facts: tuple[object, ...] = ("", "", "", "", "")
    problem = ""
    if outcome.code == 0 and not outcome.has_traceback:
        with np.load(home / "out" / "tracks.npz") as file:
            arrays = dict(file)
        height, width = arrays["size"].tolist()
        share = f"{arrays['visible'].mean():.0%}"
        facts = (*arrays["visible"].shape, f"{width} x {height}", f"{arrays['fps']:g}", share)
        problem = _flaw(arrays)
    elif not outcome.is_refused:
        last = (outcome.err.strip().splitlines() or [""])[-1]
        problem = f"exit code {outcome.code}: {last}"
    said = "; ".join([*outcome.errors, *(f"warning: {line}" for line in outcome.warnings)])
    said = said.replace(f"{case.path.parent}/", "")
    spent = (round(outcome.seconds), round(outcome.megabytes))
    return (case.name, case.role, outcome.code, *facts, *spent, said), problem


def _flaw(arrays: dict[str, np.ndarray]) -> str:
    """What no tracks may be."""
    height, width = arrays["size"].tolist()
    xy, visible = arrays["tracks"], arrays["visible"]
    if not (np.isfinite(xy).all() and np.isfinite(arrays["confidence"]).all()):
        return "numbers that are not finite"
    inside = (xy >= -0.5).all(axis=-1) & (xy <= (width - 0.5, height - 0.5)).all(axis=-1)
    if (visible & ~inside).any():
        return f"{(visible & ~inside).sum()} points are visible outside the picture"
    if not arrays["fps"] > 0:
        return f"{arrays['fps']} frames a second"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    parser = report.options(__doc__, tries=10_000)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    args = parser.parse_args(argv)
    cases = [case for folder in args.folders for case in cases_in(folder.resolve())]
    rows, failures = [], []
    with report.workplace() as place:
        for number in report.numbers(args):
            if number >= len(cases):
                break
            row, problem = try_one(cases[number], place / str(number))
            rows.append(row)
            failures += [f"#{number} {cases[number].name}: {problem}"] if problem else []
            report.tell(f"#{number} {cases[number].name}: {row[2]} {problem or 'ok'}")
    return report.conclude(report.markdown(HEAD, rows), failures)


if __name__ == "__main__":
    sys.exit(main())
