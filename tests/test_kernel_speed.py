"""The benchmark of the kernels, run dry."""

import json

import pytest

from dinotrack.benchmarks import kernel_speed
from dinotrack.benchmarks.kernel_speed import Goal, judge, main, passed
from dinotrack.kernels import tiles


@pytest.mark.skipif(
    not (tiles.AVAILABLE and tiles.INTERPRETED), reason="needs Triton and TRITON_INTERPRET=1"
)
def test_dry_run(tmp_path, capsys):
    assert main(["--dry-run", "--out", str(tmp_path / "speed.json")]) == 0
    report = json.loads((tmp_path / "speed.json").read_text())
    assert passed(report)
    assert {row["dtype"] for row in report["agreement"]} == {"float32", "float16"}
    operations = {
        "best cells",
        "match",
        "match + gradients",
        "mutual nearest",
        "InfoNCE + gradients",
    }
    timed = {(row["what"], row["side"]) for row in report["timings"]} - {
        ("matmul", "peak"),
        ("copy", "peak"),
    }
    assert timed == {(what, side) for what in operations for side in ("obvious", "twin", "kernel")}
    assert "best cells" in capsys.readouterr().out


def test_goals_are_judged_at_the_papers_sizes():
    def row(what, side, ms, name="paper"):
        sizes = {"name": name, "rows": 100, "cols": 100}
        return {"what": what, "side": side, "ms": ms, "share": 0.6, "peak_mb": 1.0, "sizes": sizes}

    operations = (
        "best cells",
        "match",
        "match + gradients",
        "mutual nearest",
        "InfoNCE + gradients",
    )
    timings = [
        row(what, side, ms)
        for what in operations
        for side, ms in (("obvious", 10.0), ("kernel", 3.0))
    ]
    timings += [row(what, "kernel", 1e-9, "slim") for what in operations]
    goals = judge(timings)
    assert [goal.passed for goal in goals] == [True, False, False, True, True, True]
    report = {
        "agreement": [{"error": 1.0, "allowed": 2.0}],
        "goals": [{"passed": goal.passed} for goal in goals],
    }
    assert not passed(report)
    assert passed(report | {"goals": []})
    assert not passed({"agreement": [{"error": float("nan"), "allowed": 2.0}], "goals": []})
    assert Goal("", 5.0, 5.0).passed


def test_without_the_interpreter_nothing_runs_dry(monkeypatch, capsys):
    monkeypatch.setattr(kernel_speed.tiles, "INTERPRETED", False)
    assert main(["--dry-run"]) == 2
    assert "TRITON_INTERPRET=1" in capsys.readouterr().err
