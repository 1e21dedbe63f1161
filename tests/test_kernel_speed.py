"""The benchmark of the kernels, run dry."""

import json

import pytest

from dinotrack.benchmarks.kernel_speed.__main__ import main
from dinotrack.benchmarks.kernel_speed.agreement import Agreement
from dinotrack.benchmarks.kernel_speed.operations import PAPER_SIZES, SLIM_SIZES
from dinotrack.benchmarks.kernel_speed.report import Goal, Report, judge
from dinotrack.benchmarks.kernel_speed.timing import Time, Timing
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
def test_dry_run(tmp_path, capsys):
    assert main(["--dry-run", "--out", str(tmp_path / "speed.json")]) == 0
    report = json.loads((tmp_path / "speed.json").read_text())
    assert {row["dtype"] for row in report["agreement"]} == {"float32", "float16"}
    assert all(row["error"] <= row["allowed"] for row in report["agreement"])
    timed = {(row["what"], row["side"]) for row in report["timings"]}
    peaks = {("matmul", "peak"), ("copy", "peak")}
    sides = ("obvious", "twin", "kernel")
    assert timed == peaks | {(what, side) for what in OPERATIONS for side in sides}
    assert all(row["ms"] > 0 for row in report["timings"])
    assert report["goals"] == []
    assert "best cells" in capsys.readouterr().out


def test_goals_are_judged_at_the_papers_sizes():
    def timing(what, side, ms, sizes=PAPER_SIZES):
        return Timing(what, side, "float16", sizes, Time(ms, 0.0, peak_mb=100.0), share=0.6)

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
def test_a_report_passes_where_all_agrees_and_all_goals_are_reached(error, value, passed):
    agreement = [Agreement("float32", "locate", error, allowed=2.0)]
    report = Report({}, agreement, [], [Goal("fast", value, goal=5.0)])
    assert report.passed == passed
    assert report.as_row()["goals"][0]["passed"] == (value >= 5)


def test_a_row_says_what_is_known():
    row = Timing("copy", "peak", "float32", PAPER_SIZES, Time(1.5, 0.1), gb_per_s=7.0).as_row()
    assert row["sizes"]["cols"] == 121
    known = {"what", "side", "dtype", "sizes", "ms", "iqr_ms", "gb_per_s"}
    assert row.keys() == known


def test_without_the_interpreter_nothing_runs_dry(monkeypatch, capsys):
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    assert main(["--dry-run"]) == 2
    assert "TRITON_INTERPRET=1" in capsys.readouterr().err
