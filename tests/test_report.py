"""Means, spreads, merged runs and their tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotrack.benchmarks.report import (
    across_seeds,
    markdown,
    merge,
    read_report,
    summarise,
    to_json,
    write,
)
from dinotrack.errors import InputError

ABOUT = {
    "command": "python -m x", "when": "2030", "machine": "m", "cpus": 2, "gpu": None, "versions": {"torch": "9"},
}  # fmt: skip


def row(method: str, dataset: str, clip: str, seed: int, **numbers: float) -> dict[str, Any]:
    costs = {"seconds": 2.0, "dis_s": 1.0, "peak_mb": 100.0}
    return {"method": method, "dataset": dataset, "clip": clip, "seed": seed, **costs, **numbers}


def random_rows(seed: int) -> list[dict[str, Any]]:
    """Two methods, two data sets of three clips, three seeds; some numbers missing."""
    rng, rows = np.random.default_rng(seed), []
    for method in ("a", "b"):
        for clip in ("x/1", "x/2", "x/3", "y/1", "y/2", "y/3"):
            for number in range(3):
                always, back = clip[2] == "1", int(rng.integers(1, 9)) * (clip[2] != "1")
                known = {"average_jaccard": rng.random(), "recall_mean": rng.random()}
                known |= {} if always or rng.random() < 0.7 else {"recall_mean": np.nan}
                known |= {
                    "after_occlusion": rng.random() if back else np.nan,
                    "n_after": back,
                    "ece": rng.random(),
                }
                rows.append(
                    row(method, clip[0], clip, number, **known, peak_mb=float(rng.integers(999)))
                )
    return rows


def report_of(rows: list[dict[str, Any]], pooled: dict[Any, Any] | None = None) -> dict[str, Any]:
    return {"runs": [ABOUT], "rows": rows, **summarise(rows, pooled or {})}


def slow_mean(
    rows: list[dict[str, Any]], method: str, dataset: str, key: str
) -> tuple[float, float]:
    """Mean and standard deviation over seeds of the mean over clips, from the definitions."""
    by_seed = []
    for seed in range(3):
        own = [r for r in rows if (r["method"], r["dataset"], r["seed"]) == (method, dataset, seed)]
        own = [r for r in own if not np.isnan(r[key])]
        if key == "after_occlusion":
            by_seed.append(sum(r[key] * r["n_after"] for r in own) / sum(r["n_after"] for r in own))
        else:
            by_seed.append(sum(r[key] for r in own) / len(own))
    mean = sum(by_seed) / 3
    return mean, (sum((value - mean) ** 2 for value in by_seed) / 2) ** 0.5


@pytest.mark.parametrize("key", ["average_jaccard", "recall_mean", "after_occlusion"])
def test_means_and_spreads_against_their_definitions(key: str) -> None:
    rows = random_rows(0)
    found = {(m["method"], m["dataset"]): m for m in summarise(rows, {})["means"]}
    assert len(found) == 4
    for (method, dataset), mean in found.items():
        expected = slow_mean(rows, method, dataset, key)
        assert (mean["mean"][key], mean["spread"][key]) == pytest.approx(expected)
        assert mean["seeds"] == [0, 1, 2]
        assert mean["mean"]["clips"] == 3
        assert mean["mean"]["peak_mb"] == max(
            r["peak_mb"] for r in rows if (r["method"], r["dataset"]) == (method, dataset)
        )


def test_calibration_is_never_the_mean_of_clips() -> None:
    rows = random_rows(1)
    summary = summarise(rows, {("a", "x", 0): {"ece": 0.25, "auroc": 0.75}})
    assert next(mean for mean in summary["seeds"] if "ece" in mean)["ece"] == 0.25
    assert [("ece" in mean["mean"]) for mean in summary["means"]] == [True, False, False, False]


def test_one_seed_has_no_spread() -> None:
    (mean,) = across_seeds([row("a", "x", "1", 4, pck=0.5)], ("method", "clip"))
    assert mean == {
        "method": "a", "clip": "1", "seeds": [4], "spread": {},
        "mean": {"seconds": 2.0, "dis_s": 1.0, "peak_mb": 100.0, "pck": 0.5},
    }  # fmt: skip


def test_of_equal_rows_the_later_file_s_counts() -> None:
    first = report_of([row("a", "x", clip, 0, pck=0.1) for clip in ("1", "2")])
    later = report_of([row("a", "x", "2", 0, pck=0.5), row("b", "x", "2", 0, pck=0.7)])
    merged = merge([first, later])
    assert [(r["method"], r["clip"], r["pck"]) for r in merged["rows"]] == [
        ("a", "1", 0.1), ("a", "2", 0.5), ("b", "2", 0.7),
    ]  # fmt: skip
    assert [mean["mean"]["pck"] for mean in merged["means"]] == pytest.approx([0.3, 0.7])
    assert len(merged["runs"]) == 2
    assert merge([later, first])["rows"][0]["pck"] == 0.1


def test_pooled_numbers_stay_only_with_the_rows_they_are_of() -> None:
    def pooled(value: float) -> dict[Any, Any]:
        return {("a", "x", 0): {"ece": value, "auroc": value}}

    first = report_of([row("a", "x", clip, 0) for clip in ("1", "2")], pooled(0.1))
    other = report_of([row("a", "x", "2", 0)], pooled(0.2))
    whole = report_of([row("a", "x", clip, 0) for clip in ("2", "1")], pooled(0.3))
    apart = report_of([row("a", "x", "1", 1)], {("a", "x", 1): {"ece": 0.5, "auroc": 0.5}})

    def kept(*reports: dict[str, Any]) -> list[float | None]:
        return [mean.get("ece") for mean in merge(reports)["seeds"]]

    assert kept(first) == [0.1]
    assert kept(first, other) == [None]  # clip 1 of one, clip 2 of the other
    assert kept(other, first) == [0.1]  # all of `other` is replaced
    assert kept(first, whole) == [0.3]
    assert kept(first, apart) == [0.1, 0.5]


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


def test_tables_say_what_was_measured() -> None:
    rows = [
        row("a", data, "1", seed, average_jaccard=0.5 + seed / 10)
        for seed in (0, 1)
        for data in ("x", "y")
    ]
    rows += [row("b", "x", "1", 0, average_jaccard=0.25, pck=0.125, gpu_mb=7.4, recall_mean=np.nan)]
    text = markdown(
        report_of(rows, {("b", "x", 0): {"ece": 0.031, "auroc": 0.9}}), "python -m made --by this"
    )
    assert "    python -m made --by this\n" in text
    assert "generated" in text.splitlines()[2]
    mean = cells(text, "Means")
    assert [(line["data set"], line["method"]) for line in mean] == [
        ("x", "a"),
        ("x", "b"),
        ("y", "a"),
    ]
    assert mean[0] == {
        "data set": "x", "method": "a", "clips": "1", "seeds": "2", "AJ": "55.0 ± 7.1", "PCK": "-", "ECE": "-",
        "AUROC": "-", "seconds": "2.0 ± 0.0", "MB": "100", "GPU MB": "-",
    }  # fmt: skip
    assert mean[1] == {
        "data set": "x", "method": "b", "clips": "1", "seeds": "1", "AJ": "25.0", "PCK": "12.5", "ECE": "3.1",
        "AUROC": "90.0", "seconds": "2.0", "MB": "100", "GPU MB": "7",
    }  # fmt: skip
    assert [(line["data set"], line["clip"], line["AJ"]) for line in cells(text, "a")] == [
        ("x", "1", "55.0 ± 7.1"), ("y", "1", "55.0 ± 7.1"),
    ]  # fmt: skip
    assert len(cells(text, "b")) == 1
    assert "    python -m x\n\n2030; m, 2 CPUs; torch 9." in text


def test_bars_in_names_do_not_break_tables() -> None:
    text = markdown(report_of([row("a|b", "x", "1", 0, pck=1.0)]), "made")
    assert cells(text, "Means")[0]["method"] == "a\\|b"


def test_files_read_back_with_nan(tmp_path: Path) -> None:
    rows = [row("a", "x", "1", 0, pck=0.5, recall_mean=np.nan)]
    path = tmp_path / "new" / "a.json"
    write(path, to_json(report_of(rows)))
    assert json.loads(path.read_text())["rows"][0]["recall_mean"] is None
    assert read_report(path)["rows"][0] == pytest.approx(rows[0], nan_ok=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"clips": []}', "\x00"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json.*accuracy --out"):
        read_report(path)
    with pytest.raises(InputError, match="check the path"):
        read_report(tmp_path / "b.json")
