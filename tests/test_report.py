"""Means, spreads, merged runs, their JSON and their tables."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotrack.benchmarks import records, report
from dinotrack.benchmarks.accuracy_report import markdown
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.benchmarks.records import build, plain, read_json, to_json
from dinotrack.benchmarks.summary import (
    AccuracyReport,
    Group,
    Mean,
    Row,
    across_seeds,
    merge,
    summarise,
)
from dinotrack.errors import InputError
from dinotrack.metrics import Scores

RUN = Circumstances("python -m x", "2030", 2, None, "m", {"torch": "9"}, load=0.25)


def row(method: str, dataset: str, clip: str, seed: int, **numbers: float) -> Row:
    costs = {"seconds": 2.0, "dis_s": 1.0, "peak_mb": 100.0}
    return Row(method, dataset, clip, seed, costs | numbers)


def random_rows(seed: int) -> list[Row]:
    """Two methods, two data sets of three clips, three seeds; some numbers missing."""
    rng, rows = np.random.default_rng(seed), []
    for method in ("a", "b"):
        for clip in ("x/1", "x/2", "x/3", "y/1", "y/2", "y/3"):
            for number in range(3):
                always, back = clip[2] == "1", int(rng.integers(1, 9)) * (clip[2] != "1")
                known = {"average_jaccard": rng.random(), "recall_mean": rng.random()}
                known |= {} if always or rng.random() < 0.7 else {"recall_mean": np.nan}
                known["after_occlusion"] = rng.random() if back else np.nan
                known |= {"n_after": back, "ece": rng.random()}
                known["peak_mb"] = float(rng.integers(999))
                rows.append(row(method, clip[0], clip, number, **known))
    return rows


def report_of(rows: list[Row], pooled: dict[Group, Scores] | None = None) -> AccuracyReport:
    return AccuracyReport((RUN,), tuple(rows), summarise(rows, pooled or {}))


def slow_mean(rows: list[Row], method: str, dataset: str, key: str) -> tuple[float, float]:
    """Mean and standard deviation over seeds of the mean over clips, from the definitions."""
    by_seed = []
    for seed in range(3):
        own = [row.numbers for row in rows if row.group == Group(method, dataset, seed)]
        own = [numbers for numbers in own if not np.isnan(numbers[key])]
        if key == "after_occlusion":
            total = sum(numbers[key] * numbers["n_after"] for numbers in own)
            by_seed.append(total / sum(numbers["n_after"] for numbers in own))
        else:
            by_seed.append(sum(numbers[key] for numbers in own) / len(own))
    mean = sum(by_seed) / 3
    return mean, (sum((value - mean) ** 2 for value in by_seed) / 2) ** 0.5


@pytest.mark.parametrize("key", ["average_jaccard", "recall_mean", "after_occlusion"])
def test_means_and_spreads_against_their_definitions(key: str) -> None:
    rows = random_rows(0)
    means = report_of(rows).means
    assert len({(mean.method, mean.dataset) for mean in means}) == len(means) == 4
    for mean in means:
        expected = slow_mean(rows, mean.method, mean.dataset, key)
        assert (mean.mean[key], mean.spread[key]) == pytest.approx(expected)
        assert mean.seeds == (0, 1, 2)
        assert mean.mean["clips"] == 3
        own = [r for r in rows if (r.method, r.dataset) == (mean.method, mean.dataset)]
        assert mean.mean["peak_mb"] == max(r.numbers["peak_mb"] for r in own)


def test_calibration_is_never_the_mean_of_clips() -> None:
    pooled: dict[Group, Scores] = {Group("a", "x", 0): {"ece": 0.25, "auroc": 0.75}}
    summary = report_of(random_rows(1), pooled)
    assert next(mean for mean in summary.seeds if "ece" in mean.numbers).numbers["ece"] == 0.25
    assert [("ece" in mean.mean) for mean in summary.means] == [True, False, False, False]


def test_one_seed_has_no_spread() -> None:
    (mean,) = across_seeds([row("a", "x", "1", 4, pck=0.5)])
    numbers = {"seconds": 2.0, "dis_s": 1.0, "peak_mb": 100.0, "pck": 0.5}
    assert mean == Mean("a", "x", "1", (4,), numbers, {})


def test_of_equal_rows_the_later_file_s_counts() -> None:
    first = report_of([row("a", "x", clip, 0, pck=0.1) for clip in ("1", "2")])
    later = report_of([row("a", "x", "2", 0, pck=0.5), row("b", "x", "2", 0, pck=0.7)])
    merged = merge([first, later])
    assert [(r.method, r.clip, r.numbers["pck"]) for r in merged.rows] == [
        ("a", "1", 0.1), ("a", "2", 0.5), ("b", "2", 0.7),
    ]  # fmt: skip
    assert [mean.mean["pck"] for mean in merged.means] == pytest.approx([0.3, 0.7])
    assert len(merged.runs) == 2
    assert merge([later, first]).rows[0].numbers["pck"] == 0.1


def pooled_report(value: float, *clips: str, seed: int = 0) -> AccuracyReport:
    rows = [row("a", "x", clip, seed) for clip in clips]
    return report_of(rows, {Group("a", "x", seed): {"ece": value, "auroc": value}})


ONE_TWO = pooled_report(0.1, "1", "2")
TWO_ONE = pooled_report(0.3, "2", "1")
TWO = pooled_report(0.2, "2")
OTHER_SEED = pooled_report(0.5, "1", seed=1)


@pytest.mark.parametrize(
    ("reports", "kept"),
    [
        ([ONE_TWO], [0.1]),
        ([ONE_TWO, TWO], [None]),  # clip 1 of one, clip 2 of the other
        ([TWO, ONE_TWO], [0.1]),  # all of the first is replaced
        ([ONE_TWO, TWO_ONE], [0.3]),
        ([ONE_TWO, OTHER_SEED], [0.1, 0.5]),
    ],
)
def test_pooled_numbers_stay_only_with_the_rows_they_are_of(
    reports: list[AccuracyReport], kept: list[float | None]
) -> None:
    assert [mean.numbers.get("ece") for mean in merge(reports).seeds] == kept


# ---- tables


def cells(text: str, heading: str) -> list[dict[str, str]]:
    """The table under a heading, read back."""
    block = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in block.splitlines()
        if line[:1] == "|"
    ]
    assert set(lines[1]) == {"---"}
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_tables_say_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/bin/python3", "-m", "made", "--by", "this"])
    rows = [
        row("a", data, "1", seed, average_jaccard=0.5 + seed / 10)
        for seed in (0, 1)
        for data in ("x", "y")
    ]
    rows += [row("b", "x", "1", 0, average_jaccard=0.25, pck=0.125, gpu_mb=7.4, recall_mean=np.nan)]
    pooled: dict[Group, Scores] = {Group("b", "x", 0): {"ece": 0.031, "auroc": 0.9}}
    text = markdown(report_of(rows, pooled))
    assert "    python -m made --by this\n" in text
    assert "generated" in text.splitlines()[2]
    mean = cells(text, "Means")
    assert [(line["data set"], line["method"]) for line in mean] == [
        ("x", "a"), ("x", "b"), ("y", "a"),
    ]  # fmt: skip
    assert mean[0] == {
        "data set": "x", "method": "a", "clips": "1", "seeds": "2", "AJ": "55.0 ± 7.1", "PCK": "-",
        "ECE": "-", "AUROC": "-", "seconds": "2.0 ± 0.0", "MB": "100", "GPU MB": "-",
    }  # fmt: skip
    assert mean[1] == {
        "data set": "x", "method": "b", "clips": "1", "seeds": "1", "AJ": "25.0", "PCK": "12.5",
        "ECE": "3.1", "AUROC": "90.0", "seconds": "2.0", "MB": "100", "GPU MB": "7",
    }  # fmt: skip
    assert [(line["data set"], line["clip"], line["AJ"]) for line in cells(text, "a")] == [
        ("x", "1", "55.0 ± 7.1"), ("y", "1", "55.0 ± 7.1"),
    ]  # fmt: skip
    assert len(cells(text, "b")) == 1
    assert "    python -m x\n\n2030; m, 2 CPUs; load 0.2 at the start; torch 9." in text


def test_bars_in_names_do_not_break_tables() -> None:
    text = markdown(report_of([row("a|b", "x", "1", 0, pck=1.0)]))
    assert cells(text, "Means")[0]["method"] == "a\\|b"


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("a|b-", max_size=4), st.text("a|b-", max_size=4)), max_size=4))
def test_every_row_of_a_table_has_its_cells(rows: list[tuple[str, str]]) -> None:
    """Whatever the text of the cells."""
    lines = report.table(["one", "two"], rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert {line.replace("\\|", "").count("|") for line in lines} == {3}


@pytest.mark.parametrize(
    ("share", "shown"), [(0.5, "50.0"), (1, "100.0"), (None, "-"), (math.nan, "-")]
)
def test_percent(share: float | None, shown: str) -> None:
    assert report.percent(share) == shown


# ---- JSON


def test_files_read_back_with_nan(tmp_path: Path) -> None:
    measured = report_of([row("a", "x", "1", 0, pck=0.5, recall_mean=np.nan, n=3)])
    path = tmp_path / "new" / "a.json"
    report.write(path, to_json(measured))
    assert json.loads(path.read_text())["rows"][0]["recall_mean"] is None
    read = read_json(path, AccuracyReport, "accuracy")
    assert read.runs == measured.runs
    assert read.rows[0].numbers == pytest.approx(measured.rows[0].numbers, nan_ok=True)
    assert to_json(read) == to_json(measured)


def test_reports_of_earlier_versions_still_merge() -> None:
    """Flat rows, and no more about the run than version 0.1.0 wrote."""
    flat = {"method": "a", "dataset": "x", "seed": 0, "pck": 0.5, "n": 3, "recall_mean": None}
    written = {
        "runs": [
            {
                "command": "python -m x",
                "when": "2026",
                "cpus": 2,
                "gpu": None,
                "machine": "m",
                "versions": {"torch": "2"},
                "settings": {},
                "seeds": [0],
                "device": "auto",
                "threads": 1,
                "load": None,
            }
        ],
        "rows": [flat | {"clip": "1"}],
        "seeds": [flat | {"clips": 1, "ece": 0.25}],
        "means": ["are made anew"],
    }
    merged = merge([build(AccuracyReport, written)])
    assert merged.rows[0].clip == "1"
    assert merged.means[0].mean == {"pck": 0.5, "n": 3.0, "clips": 1.0, "ece": 0.25}
    assert "| x | a | 1 | 1 | 50.0 | 25.0 |" in markdown(merged)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"clips": []}', "\x00", '{"rows": 3}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json.*accuracy --out"):
        read_json(path, AccuracyReport, "accuracy")
    with pytest.raises(InputError, match="check the path"):
        read_json(tmp_path / "b.json", AccuracyReport, "accuracy")


@dataclass(frozen=True)
class Inner:
    share: float
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    pair: tuple[int, int]
    many: tuple[Inner | int, ...]
    by_name: dict[str, float]
    anything: Any = None


@settings(deadline=None)
@given(
    st.builds(
        Outer,
        st.tuples(st.integers(), st.integers()),
        st.lists(st.builds(Inner, st.floats(), st.none() | st.text()) | st.integers()).map(tuple),
        st.dictionaries(st.text(), st.floats()),
        st.none() | st.integers(),
    )
)
def test_records_read_back_as_they_were(record: Outer) -> None:
    """Any values, but for infinity, which JSON lacks and nothing measures."""
    written = plain(record)
    read = build(Outer, written)
    assert plain(read) == written
    assert (read.pair, type(read)) == (record.pair, Outer)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"pair": [1], "many": [], "by_name": {}},
        {"pair": [1, "2"], "many": [], "by_name": {}},
        {"pair": [1, 2], "many": [{"name": "x"}], "by_name": {}},
        {"pair": [1, 2], "many": [], "by_name": []},
    ],
)
def test_records_of_another_form_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, KeyError, ValueError, AttributeError)):
        build(Outer, wrong)


def test_fields_of_other_versions_are_passed_over() -> None:
    assert records.build(Inner, {"share": None, "later": 3}).name is None
