"""The benchmark of the kernels, run dry."""

import json
from pathlib import Path

import pytest

from dinotrack.benchmarks.kernel_speed.__main__ import main
from dinotrack.benchmarks.kernel_speed.agreement import Agreement
from dinotrack.benchmarks.kernel_speed.operations import PAPER_SIZES, SLIM_SIZES, Sizes
from dinotrack.benchmarks.kernel_speed.part import Goal, KernelsPart, judge
from dinotrack.benchmarks.kernel_speed.timing import Timing
from dinotrack.kernels import tiles

OPERATIONS = (
    "best cells",
    "locate",
    "locate + gradients",
    "mutual nearest",
    "InfoNCE + gradients",
)


@pytest.mark.skipif(
    not (tiles.AVAILABLE and tiles.INTERPRETED), reason="needs Triton and TRITON_INTERPRET=1"
)
def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "speed.json"
    assert main(["--dry-run", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["machine"]["versions"]["triton"]
    assert {row["dtype"] for row in report["agreement"]} == {"float32", "float16"}
    assert all(row["error"] <= row["allowed"] for row in report["agreement"])
    timed = {(row["what"], row["side"]) for row in report["timings"]}
    peaks = {("matmul", "peak"), ("copy", "peak")}
    sides = ("obvious", "twin", "kernel")
    assert timed == peaks | {(what, side) for what in OPERATIONS for side in sides}
    assert all(row["ms"] > 0 for row in report["timings"])
    assert report["goals"] == []
    assert "best cells" in capsys.readouterr().out


def test_goals_are_judged_at_the_papers_sizes() -> None:
    def timing(what: str, side: str, ms: float, sizes: Sizes = PAPER_SIZES) -> Timing:
        return Timing(ms, 0.0, 100.0, what=what, side=side, sizes=sizes, share=0.6)

    timings = [
        timing(what, side, ms)
        for what in OPERATIONS
        for side, ms in (("obvious", 10.0), ("kernel", 3.0))
    ]
    timings += [timing(what, "kernel", 1e-9, SLIM_SIZES) for what in OPERATIONS]
    goals = judge(timings)
    assert [goal.passed for goal in goals] == [True, False, False, True, False, True]
    matrix_mb = (67 * 121) ** 2 * 2 / 2**20
    assert goals[4].value == pytest.approx(matrix_mb / 100)


@pytest.mark.parametrize(
    ("error", "value", "passed"),
    [
        (1.0, 5.0, True),
        (2.0, 6.0, True),
        (2.1, 6.0, False),
        (float("nan"), 6.0, False),
        (1.0, 4.9, False),
    ],
)
def test_a_report_passes_where_all_agrees_and_all_goals_are_reached(
    error: float, value: float, passed: bool
) -> None:
    agreement = Agreement("float32", "locate", error, allowed=2.0)
    goal = Goal("fast", value, goal=5.0, passed=value >= 5)
    assert KernelsPart((), (goal,), (agreement,)).passed == passed


def test_without_the_interpreter_nothing_runs_dry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    assert main(["--dry-run"]) == 2
    assert "TRITON_INTERPRET=1" in capsys.readouterr().err
