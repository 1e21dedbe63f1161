"""The speed benchmark on tiny clips: what it measures adds up, and its oracle tracks as the tracker
does."""

import argparse
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dinotrack import inference
from dinotrack.benchmarks import against_paper, machine, reference, speed, speed_report, stages
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.datasets import find_clips
from dinotrack.cache import FOLDER_VARIABLE
from dinotrack.config import PAPER, InferenceConfig, override, preset
from dinotrack.errors import InputError
from dinotrack.model import Tracker
from dinotrack.synthesis import generate
from dinotrack.video import read_video
from tests.test_inference import GRID, make_tracker, random_maps, random_queries

SIZE = (48, 64)
TINY = ("--size", "48x64", "--steps", "2", "--points", "9", "--device", "cpu")
SETTINGS = {"training.batch": 16, "trajectories.step": 2}


def arguments(*more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    speed.add_arguments(parser)
    return parser.parse_args([*TINY, *more])


def here(function: Any, *rest: Any) -> Any:
    """Instead of a fresh process, which takes seconds to begin."""
    return function(*rest)


def silent(_: str) -> None: ...


def test_every_stage_at_every_length(tmp_path: Path) -> None:
    said: list[str] = []
    options = arguments("--frames", "6", "3", "4", "--repeats", "2", "--again")
    result = speed.run_stages(options, SETTINGS, said.append, here)
    order = [(row["repeat"], row["frames"], row["run"]) for row in result["rows"]]
    assert order == [(r, t, run) for r in (0, 1) for t in (3, 4, 6) for run in ("first", "again")]
    for row in result["rows"]:
        seconds, peak = row["seconds"], row["peak_mb"]
        assert {"read", "flow", "refine", "track", "overlay", "whole"} <= seconds.keys()
        named = sum(value for stage, value in seconds.items() if not stage.startswith("whole"))
        assert 0 < named <= seconds["whole"]
        assert seconds["whole but fit"] == pytest.approx(seconds["whole"] - seconds.get("fit", 0.0))
        assert 0 < peak["start"] <= peak["read"] <= peak["overlay"] <= peak["whole"]
        assert row["size"] == [*SIZE]
        assert row["points"] <= 9
        assert 0 <= row["metrics"]["occlusion_accuracy"] <= 1
        assert row["cache_mb"] > 0
    assert all(row["steps"] == 2 for row in result["rows"] if row["run"] == "first")
    summary = result["summary"]
    assert summary["lengths"] == [3, 4, 6]
    whole = [
        row["seconds"]["whole"]
        for row in result["rows"]
        if row["frames"] == 4 and row["run"] == "first"
    ]
    assert summary["stages"]["whole"]["seconds"][1] == pytest.approx(np.median(whole))
    assert summary["stages"]["whole"]["iqr"][1] == pytest.approx(abs(whole[0] - whole[1]) / 2)


def test_a_fresh_process_is_another_and_its_errors_come_back() -> None:
    assert machine.in_fresh_process(os.getpid) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        machine.in_fresh_process(divmod, 1, 0)
    with pytest.raises(RuntimeError):
        machine.in_fresh_process(os._exit, 1)


def test_the_cache_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in ("elsewhere", None):
        monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
        if before is not None:
            monkeypatch.setenv(FOLDER_VARIABLE, before)
        with machine.fresh_cache() as folder:
            assert os.environ[FOLDER_VARIABLE] == str(folder)
        assert os.environ.get(FOLDER_VARIABLE) == before
        assert not folder.exists()


@pytest.mark.parametrize("power", [0.0, 1.0, 1.15, 2.0])
def test_the_exponent_of_growth(power: float) -> None:
    assert stages.growth_exponent({t: 0.01 * t**power for t in (25, 50, 100, 200)}) == (
        None if power == 0 else pytest.approx(power)
    )
    assert stages.growth_exponent({100: 0.0001, 200: 0.04}) is None
    assert stages.growth_exponent({100: 5.0}) is None
    assert stages.growth_exponent({50: 0.0, 100: 2.0, 200: 4.0}) == pytest.approx(1)


def test_long_clips_and_the_users_own(tmp_path: Path) -> None:
    stages.write_clip(tmp_path / "mine.mp4", stages.Shape(3, SIZE), 4, seed=1)
    options = arguments(
        "--long", "5x48x64", "--video", str(tmp_path / "mine.mp4"), str(tmp_path / "gone.mp4")
    )

    def apart(function: Any, *rest: Any) -> Any:
        if any("gone" in str(getattr(one, "video", "")) for one in rest):
            raise RuntimeError("killed")
        return function(*rest)

    rows = speed.run_long(options, SETTINGS, silent, apart)["rows"]
    assert [(row["clip"], row.get("frames")) for row in rows] == [
        ("5 frames of 64 x 48", 5), ("mine.mp4", 3), ("gone.mp4", None)
    ]  # fmt: skip
    assert rows[0]["different_frames"] == 5
    assert rows[2]["failed"] == "killed"
    assert "killed" in "".join(speed_report.show_long({"preset": "fast", "rows": rows}))


def test_frames_to_and_fro(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [*stages.to_and_fro(3, 8)] == [0, 1, 2, 1, 0, 1, 2, 1]
    assert [*stages.to_and_fro(2, 5)] == [0, 1, 0, 1, 0]
    assert [*stages.to_and_fro(1, 2)] == [0, 0]
    monkeypatch.setattr(stages, "DIFFERENT", 3 * 48 * 64)
    assert stages.write_long_clip(tmp_path / "a.mp4", stages.Shape(7, SIZE), seed=0) == 3
    frames = read_video(tmp_path / "a.mp4").frames.astype(int)
    assert len(frames) == 7
    away = [np.abs(frames[0] - frame).mean() for frame in frames]
    assert away[4] < min(away[1], away[2])


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    options = arguments(
        "--clip-frames", "4", "--paper-steps", "2", "--area", "4000", "--backbone", "dinotrack_vit"
    )
    settings = {**SETTINGS, "training.steps": 10, "model.widths": "4,8", "model.kernel": 3}
    return speed.run_paper(options, settings, silent)


def test_the_papers_whole_run_is_extrapolated_from_both_phases(paper: dict[str, Any]) -> None:
    one = paper["paper"]
    assert one["steps"] == 10_000
    assert {name: part["share"] for name, part in one["seconds_a_step"].items()} == {
        "early": 0.5,
        "late": 0.5,
    }
    halves = [5000 * one["seconds_a_step"][name]["median"] for name in ("early", "late")]
    assert one["fit"] == pytest.approx(sum(halves))
    assert one["whole"] == pytest.approx(one["fit"] + sum(one["stages"].values()))
    assert {
        "flow",
        "features",
        "labels",
        "buddies",
        "before the first step",
        "refine",
        "track",
    } <= one["stages"].keys()
    assert paper["ours"]["steps"] == 10
    assert paper["ratio"]["whole"] == pytest.approx(one["whole"] / paper["ours"]["whole"])
    assert paper["ratio"]["step"] == pytest.approx(one["step"] / paper["ours"]["step"])
    assert paper["size"] == [56, 70]


def test_steps_are_taken_in_their_phase() -> None:
    config = override(preset("paper"), {"training.steps": 7})
    assert [(p.name, p.first, p.length) for p in against_paper.phases("paper", config)] == [
        ("early", 0, 4), ("late", 4, 3)
    ]  # fmt: skip
    never = override(config, {"training.refined_buddy_weight": 0, "training.cycle_weight": 0})
    assert [(p.name, p.first, p.length) for p in against_paper.phases("ours", never)] == [
        ("all", 0, 7)
    ]


def test_a_fit_too_short_to_be_timed() -> None:
    one = SimpleNamespace(config=override(preset("fast"), {"training.steps": 1}))
    with pytest.raises(InputError, match="ours has 1 steps alike"):
        against_paper.time_steps({"ours": one}, {}, 1, 0, torch.device("cpu"), silent)


def test_a_late_step_has_the_late_losses() -> None:
    video = read_video(generate(SIZE, 4, 2, seed=2).frames)
    equal = against_paper.equal_settings(video, 4000, "dinotrack_vit")
    small = {"training.batch": 16, "model.widths": "4,8", "model.kernel": 3, "trajectories.step": 2}
    config = override(preset("paper"), {**equal, **small})
    cpu = torch.device("cpu")
    ready = {"paper": against_paper.make_ready(video, config, 0, cpu)}
    state = against_paper.begin(config, ready["paper"].sight, 0, cpu, learns=True)
    block = against_paper.take_steps(ready["paper"], state, 1, 0, cpu)
    assert block.step > 0
    assert block.before >= 0
    assert state.step == 2  # one before those that are timed
    assert "cycle" not in state.losses
    state.step = 5000
    against_paper.take_steps(ready["paper"], state, 1, 0, cpu)
    assert {"flow", "cycle", "refined_buddies"} <= state.losses.keys()
    assert len(state.losses["flow"]) == 4


def test_accuracy_after_equal_seconds_of_fitting(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    truth = stages.write_clip(tmp_path / "eval" / "one.mp4", stages.Shape(4, SIZE), 6, seed=2)
    np.savez(tmp_path / "eval" / "one.npz", **truth.arrays)
    (clip,) = find_clips(tmp_path)
    equal = against_paper.equal_settings(read_video(clip.video), 4000, "dinotrack_vit")
    small = {
        **equal,
        "training.batch": 16,
        "model.widths": "4,8",
        "model.kernel": 3,
        "trajectories.step": 2,
    }
    both = {"ours": ("fast", {**small, "training.steps": 3}), "paper": ("paper", small)}
    for step in (1e6, 0.05):
        ours, paper = against_paper.compare_accuracy(clip, both, step, 0, "cpu")
        assert (ours["method"], ours["steps"]) == ("ours", 3)
        assert (paper["method"], paper["steps"]) == (
            "paper",
            max(1, round(ours["fit_seconds"] / step)),
        )
        assert 0 <= paper["average_jaccard"] <= 1


def test_tracking_against_the_oracle(tmp_path: Path) -> None:
    options = arguments(
        "--clip-frames",
        "4",
        "--query-points",
        "12",
        "--oracle-points",
        "3",
        "--anchors",
        "2",
        "--repeats",
        "2",
    )
    result = speed.run_inference(options, SETTINGS, silent)
    assert (result["points"], result["frames"]) == (12, 4)
    assert result["reference"]["points"] == 3
    assert result["own"]["method"] == "join"
    assert result["match"]["method"] == "match"
    for name in ("own", "match"):
        assert result[name]["ratio"] == pytest.approx(
            result["reference"]["seconds"] / result[name]["seconds"]
        )
    assert all(
        0 <= result[name]["occlusion_accuracy"] <= 1 for name in ("reference", "own", "match")
    )


@pytest.mark.parametrize("whole_map", [True, False])
def test_the_oracle_agrees_with_matching(whole_map: bool) -> None:
    """Whole maps, where the tracker may refine the disc alone; all anchors."""
    tracker, maps, queries = make_tracker(whole_map), random_maps(6), random_queries(9, 6)
    config = InferenceConfig(anchor_cosine=0.8, visible_cosine=0.7, pin_query=False)
    xy, visible, _ = inference.track_by_matching(tracker, maps, GRID, queries, config)
    oracle_xy, oracle_visible = reference.track_points(tracker, maps, GRID, queries, config)
    torch.testing.assert_close(oracle_xy, xy, atol=1e-3, rtol=0)
    assert torch.equal(oracle_visible, visible)
    assert 0 < visible.float().mean() < 1


def test_the_oracle_agrees_with_the_golden_numbers(golden: Any) -> None:
    g = golden("inference")
    tracker = Tracker(PAPER.model, g["refined_features"].shape[1]).eval()
    weights = {
        k.removeprefix("state_dict/"): torch.from_numpy(v)
        for k, v in g.items()
        if k.startswith("state_dict/")
    }
    tracker.refiner.load_state_dict(weights)
    x, y, t = torch.from_numpy(g["query_xyt"]).unbind(1)
    maps, queries = torch.from_numpy(g["refined_features"]), torch.stack((t, x, y), dim=1)
    xy, visible = reference.track_points(tracker, maps, GRID, queries, PAPER.inference)
    assert (
        np.abs(xy.numpy() - g["trajectories"][..., :2]).max()
        <= 1e-4 * np.abs(g["trajectories"][..., :2]).max()
    )
    assert np.array_equal(visible.numpy(), ~g["occluded"])


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One part alone, its JSON, and one table of that and of what other parts wrote."""
    out, table = tmp_path / "speed.json", tmp_path / "performance.md"
    wanted = [
        "--parts",
        "inference",
        "--clip-frames",
        "3",
        "--query-points",
        "4",
        "--oracle-points",
        "2",
    ]
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    assert main(["speed", *TINY, *wanted, "--set", *settings, "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["parts"].keys() == {"inference"}
    (run,) = report["runs"]
    assert {"command", "when", "versions", "load", "cpus", "machine"} <= run.keys()
    assert main(["speed", "--from", str(out), str(out), "--table", str(table)]) == 0
    assert table.read_text().count("## Tracking with visibility, on ") == 2
    (tmp_path / "other.json").write_text("{}")
    assert main(["speed", "--from", str(tmp_path / "other.json")]) == 2
    assert "is no report of this benchmark" in capsys.readouterr().err


def test_the_tables(paper: dict[str, Any]) -> None:
    text = "\n".join(speed_report.show_paper({**paper, "accuracy": []}))
    assert "ms a step, early" in text
    assert "not the paper's 854 x 476" in text
    result = speed.run_stages(arguments("--frames", "3", "4"), SETTINGS, silent, here)
    text = "\n".join(speed_report.show_stages({"preset": "fast", **result}))
    assert "| seconds | 3 frames | 4 frames | p |" in text
    assert "| delta |" in text


def test_kernels_say_when_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "KERNELS", "dinotrack.benchmarks.nowhere")
    said: list[str] = []
    result = speed.run_kernels(arguments(), {}, said.append)
    assert "missing" in said[0]
    assert "Not measured" in speed_report.show_kernels(result)[0]


def test_the_table_of_kernels() -> None:
    size = {"sizes": {"name": "paper"}}
    peak = {"what": "matmul", "side": "peak", "ms": 1.0, "iqr_ms": 0.0, "tflops": 600.0, **size}
    timed = [
        {
            "what": "match",
            "side": side,
            "ms": ms,
            "iqr_ms": 0.1,
            **size,
            **({"share": 0.5} if side == "kernel" else {}),
        }
        for side, ms in (("obvious", 10.0), ("twin", 5.0), ("kernel", 2.0))
    ]
    goal = {"name": "match over eager", "value": 5.0, "goal": 5.0, "passed": True}
    text = "\n".join(speed_report.show_kernels({"timings": [peak, *timed], "goals": [goal]}))
    assert "| paper | match | 10.000 ± 0.100 | 5.000 ± 0.100 | 2.000 ± 0.100 | 5.0 | 50 % |" in text
    assert "600 TFLOP/s" in text
    assert "match over eager: 5.00, of 5 or more" in text
    without = "\n".join(speed_report.show_kernels({"timings": [peak, *timed[:2]], "goals": []}))
    assert "| - | 2.0 | - |" in without
