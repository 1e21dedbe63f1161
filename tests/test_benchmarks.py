"""The accuracy benchmark on a tiny data folder, with methods that know the truth or do not."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dinotrack import metrics
from dinotrack.benchmarks import accuracy
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.accuracy import add_arguments, run
from dinotrack.benchmarks.datasets import find_clips
from dinotrack.benchmarks.methods import METHODS, Options, make_method
from dinotrack.benchmarks.report import COSTS, KEYS, read_report
from dinotrack.errors import InputError
from dinotrack.synthesis import Clip, generate
from dinotrack.tracks import Tracks
from tests.test_metrics import load_score

SIZE, FRAMES = (48, 64), 12


@pytest.fixture(scope="module")
def scene() -> Clip:
    return generate(SIZE, FRAMES, 2, seed=2, points=12)


@pytest.fixture
def data(tmp_path: Path, scene: Clip) -> Path:
    """eval/davis/pony with TAP-Vid truth of 8 frames and BADJA truth of all 12, eval/davis/zebra
    with 10 frames of
    TAP-Vid; eval/davis/empty without truth."""
    for name in ("pony", "zebra", "empty"):
        folder = tmp_path / "eval" / "davis" / name / "frames"
        folder.mkdir(parents=True)
        for t, frame in enumerate(scene.frames):
            assert cv2.imwrite(str(folder / f"{t:05d}.png"), frame[..., ::-1])
    for name, frames in (("pony", 8), ("zebra", 10)):
        truth = {
            "tracks": scene.tracks[:, :frames],
            "visible": scene.visible[:, :frames],
            "query": scene.queries,
        }
        early = scene.queries[:, 0] < frames
        truth = {k: v[early] for k, v in truth.items()} | {
            "mode": np.array("strided"),
            "size": np.array(SIZE),
        }
        np.savez(tmp_path / "eval" / "davis" / name / "tapvid.npz", **truth)
    at_start = scene.visible[:, 0]
    joints = {"keypoints": scene.tracks, "visible": scene.visible, "query": scene.queries}
    joints = {k: v[at_start] for k, v in joints.items()} | {
        "annotated": np.array([0, 6]),
        "area": np.full(FRAMES, 500),
    }
    np.savez(tmp_path / "eval" / "davis" / "pony" / "badja.npz", **joints, size=np.array(SIZE))
    return tmp_path


class Oracle:
    """Stands in for methods: knows the truth, is `off` px (and with a seed, that much more) beside
    it."""

    def __init__(self, scene: Clip, off: float) -> None:
        self.scene, self.off = scene, off
        self.made: list[tuple[str, Options]] = []
        self.asked: list[tuple[str, int, int]] = []

    def make(self, name: str, options: Options) -> "Oracle":
        self.made.append((name, options))
        return self

    def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
        self.asked.append((clip, len(queries), seed))
        rows = np.array(
            [int(np.flatnonzero((self.scene.queries == query).all(1))[0]) for query in queries]
        )
        xy = self.scene.tracks[rows] + np.float32(self.off * (1 + seed))
        confidence = np.random.default_rng(seed).random(xy.shape[:2], np.float32)
        return Tracks(xy, self.scene.visible[rows], confidence, queries, SIZE, 24.0)


def arguments(data: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(
        ["--data", str(data), "--device", "cpu", "--out", str(data / "accuracy.json"), *more]
    )


def shares(row: Mapping[str, Any]) -> dict[str, float]:
    other = (*KEYS, *COSTS, "n", "n_after", "median_px", "dis_s", "ece", "auroc")
    return {k: v for k, v in row.items() if k not in other and not np.isnan(v)}


def silent(_: str) -> None: ...


def test_truth_scores_one(data: Path, scene: Clip) -> None:
    said: list[str] = []
    report = run(
        arguments(data, "--seeds", "0", "1", "--clips", "pony"),
        said.append,
        Oracle(scene, 0.0).make,
    )
    assert [tuple(row[key] for key in KEYS) for row in report["rows"]] == [
        ("fast", "davis", "pony", 0), ("fast", "badja", "pony", 0),
        ("fast", "davis", "pony", 1), ("fast", "badja", "pony", 1),
    ]  # fmt: skip
    for row in report["rows"]:
        assert set(shares(row).values()) == {1.0}
    assert [(mean["dataset"], mean["seeds"]) for mean in report["means"]] == [
        ("davis", [0, 1]),
        ("badja", [0, 1]),
    ]
    assert len(said) == 4 + 2 + 1
    assert "AJ 100.0" in said[0]
    assert "PCK 100.0" in said[1]


def test_every_method_with_every_seed_on_every_clip(data: Path, scene: Clip) -> None:
    asked = [
        "--methods",
        "a",
        "b",
        "--seeds",
        "3",
        "4",
        "--set",
        "training.steps=5",
        "--models",
        "kept",
    ]
    oracle = Oracle(scene, 0.1)
    report = run(arguments(data, *asked), silent, oracle.make)
    options = Options(settings={"training.steps": "5"}, device="cpu", models=Path("kept"))
    assert oracle.made == [("a", options), ("b", options)]
    lengths = {clip.name: sum(len(t.queries) for t in clip.truths) for clip in find_clips(data)}
    one_fit_for_all_truths = [
        (clip, lengths[clip], seed) for clip in ("pony", "zebra") for seed in (3, 4, 3, 4)
    ]
    assert oracle.asked == one_fit_for_all_truths
    assert (
        len({tuple(row[key] for key in KEYS) for row in report["rows"]})
        == len(report["rows"])
        == 2 * 2 * 3
    )


def test_errors_cost(data: Path, scene: Clip) -> None:
    report = run(arguments(data), silent, Oracle(scene, 1.0).make)
    tapvid = report["rows"][0]
    assert tapvid["median_px"] == pytest.approx(2**0.5, rel=1e-5)
    # one px right and down is (4, 5.3) px at 256 x 256: within 8 and 16 only
    assert tapvid["average_pts_within_thresh"] == pytest.approx(2 / 5)
    assert tapvid["occlusion_accuracy"] == 1.0


def test_confidence_is_pooled_over_clips_and_spread_over_seeds(data: Path, scene: Clip) -> None:
    """Against pooling by hand, from what --save wrote."""
    wanted = ("--datasets", "davis", "--seeds", "0", "1", "--save", str(data / "saved"))
    report = run(arguments(data, *wanted), silent, Oracle(scene, 0.5).make)
    pooled = []
    for seed in (0, 1):
        sure, correct = [], []
        for clip in find_clips(data):
            truth = clip.truths[0]
            with np.load(data / "saved" / "fast" / f"{clip.name}-{seed}.npz") as saved:
                part = truth.certainty(saved["tracks"], saved["confidence"])
            sure, correct = [*sure, *part[0]], [*correct, *part[1]]
        ece = metrics.calibration_error(np.array(sure), np.array(correct))
        pooled.append((ece, metrics.auroc(np.array(sure), np.array(correct))))
    np.testing.assert_allclose([(row["ece"], row["auroc"]) for row in report["seeds"]], pooled)
    (mean,) = report["means"]
    for column, key in enumerate(("ece", "auroc")):
        values = [row[column] for row in pooled]
        assert mean["mean"][key] == pytest.approx(sum(values) / 2)
        assert mean["spread"][key] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert mean["mean"][key] != pytest.approx(
            np.mean([row[key] for row in report["rows"]]), abs=1e-6
        )


def test_report_is_valid_json_with_its_circumstances(data: Path, scene: Clip) -> None:
    report = run(arguments(data), silent, Oracle(scene, 0.0).make)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads((data / "accuracy.json").read_text(), parse_constant=refuse)
    (about,) = read["runs"]
    assert {"command", "settings", "seeds", "cpus", "gpu", "versions", "when"} <= about.keys()
    assert {"seconds", "dis_s", "peak_mb"} <= read["rows"][0].keys()
    assert read["rows"][0]["peak_mb"] > 50
    for one, other in zip(
        read_report(data / "accuracy.json")["seeds"], report["seeds"], strict=True
    ):
        assert one == pytest.approx(other, nan_ok=True)


def test_nothing_is_lost_when_a_later_clip_fails(data: Path, scene: Clip) -> None:
    class Interrupted(Oracle):
        def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
            if clip == "zebra":
                raise KeyboardInterrupt
            return super().__call__(clip, video, queries, seed)

    table = data / "table.md"
    with pytest.raises(KeyboardInterrupt):
        run(arguments(data, "--table", str(table)), silent, Interrupted(scene, 0.0).make)
    assert {row["clip"] for row in read_report(data / "accuracy.json")["rows"]} == {"pony"}
    assert "| davis | pony | 100.0 |" in table.read_text()


def test_saved_predictions_have_the_rows_of_their_truth(data: Path, scene: Clip) -> None:
    run(
        arguments(data, "--save", str(data / "saved"), "--methods", "a/b"),
        silent,
        Oracle(scene, 0.0).make,
    )
    folder = data / "saved" / "a-b"
    assert sorted(p.name for p in folder.iterdir()) == [
        "pony-0.npz",
        "pony-badja-0.npz",
        "zebra-0.npz",
    ]
    for name, kind in (("pony-0", "tapvid"), ("pony-badja-0", "badja")):
        with (
            np.load(folder / f"{name}.npz") as saved,
            np.load(data / f"eval/davis/pony/{kind}.npz") as truth,
        ):
            np.testing.assert_array_equal(saved["queries"], truth["query"])
            assert saved["tracks"].shape == (len(truth["query"]), FRAMES, 2)
            assert saved["visible"].dtype == bool


def test_saved_predictions_score_as_before(data: Path, scene: Clip) -> None:
    """--save, then file:."""
    davis = ("--datasets", "davis")
    before = run(
        arguments(data, *davis, "--save", str(data / "saved")), silent, Oracle(scene, 1.0).make
    )
    again = run(arguments(data, *davis, "--methods", f"file:{data / 'saved' / 'fast'}"), silent)
    for one, other in zip(before["rows"], again["rows"], strict=True):
        assert shares(one) == pytest.approx(shares(other))


def test_saved_predictions_pass_the_shared_scorer(
    data: Path, scene: Clip, shared_data: Path
) -> None:
    report = run(arguments(data, "--save", str(data / "saved")), silent, Oracle(scene, 1.0).make)
    score, folder = load_score(shared_data), data / "saved" / "fast"
    rows = {(row["clip"], row["dataset"]): row for row in report["rows"]}
    theirs = score.evaluate(data / "eval/davis/pony/tapvid.npz", folder / "pony-0.npz")
    assert theirs["AJ"] == pytest.approx(rows["pony", "davis"]["average_jaccard"])
    zebra = score.evaluate(data / "eval/davis/zebra/tapvid.npz", folder / "zebra-0.npz")
    mean = score.mean([theirs, zebra])
    ours = report["means"][0]["mean"]
    assert mean["delta"] == pytest.approx(ours["average_pts_within_thresh"])
    assert mean.get("after_occlusion") == pytest.approx(ours.get("after_occlusion"))
    theirs = score.evaluate(data / "eval/davis/pony/badja.npz", folder / "pony-badja-0.npz")
    assert theirs["PCK"] == pytest.approx(rows["pony", "badja"]["pck"])


def test_earlier_runs_are_merged_and_nothing_is_run(data: Path, scene: Clip) -> None:
    outs = [str(data / "a.json"), str(data / "b.json")]
    for out, method in zip(outs, ("near", "far"), strict=True):
        off = {"near": 0.0, "far": 9.0}[method]
        run(arguments(data, "--methods", method, "--out", out), silent, Oracle(scene, off).make)
    table, said = data / "table.md", []
    merged = run(arguments(data, "--from", *outs, "--table", str(table)), said.append)
    assert not (data / "accuracy.json").exists()
    assert {row["method"] for row in merged["rows"]} == {"near", "far"}
    assert said == [f"wrote {table}"]
    run(arguments(data, "--from", *outs), said.append)
    assert "## far" in said[1]
    with pytest.raises(InputError, match="is no JSON"):
        run(arguments(data, "--from", str(table)), silent)


def test_names_are_checked_before_anything_runs(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = ["accuracy", "--data", str(data), "--out", str(data / "out.json")]
    for wrong in (
        ["--clips", "gnu"],
        ["--datasets", "kitti"],
        ["--methods", "still", "oracle"],
        ["--set", "steps"],
    ):
        assert main([*known, *wrong]) == 2
        assert wrong[-1] in capsys.readouterr().err
    assert not (data / "out.json").exists()


def test_whole_run_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A true method on a generated clip: one that never moves, and says it is always sure."""
    out, table = tmp_path / "new" / "a.json", tmp_path / "a.md"
    made = "synthetic:frames=6,size=48x64,points=10,seed=1"
    argv = [
        "accuracy",
        "--methods",
        "still",
        "--datasets",
        made,
        "--out",
        str(out),
        "--table",
        str(table),
    ]
    assert main(argv) == 0
    assert str(table) in capsys.readouterr().out
    (row,) = read_report(out)["rows"]
    assert row["dataset"] == made
    assert row["recall_mean"] == pytest.approx(0.5, nan_ok=True)
    assert f"| {made} | still | 1 | 1 |" in table.read_text()


@pytest.mark.gpu
def test_memory_of_the_gpu_is_the_method_s_own(data: Path, scene: Clip) -> None:
    import torch

    class Hungry(Oracle):
        def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
            torch.zeros((64 if clip == "pony" else 8) * 2**20, dtype=torch.uint8, device="cuda")
            return super().__call__(clip, video, queries, seed)

    rows = run(arguments(data, "--datasets", "davis"), silent, Hungry(scene, 0.0).make)["rows"]
    assert [row["gpu_mb"] for row in rows] == pytest.approx([64, 8], abs=2)


def test_yardstick_takes_arrays_and_files(data: Path, scene: Clip) -> None:
    assert accuracy.dis_seconds(scene.frames) > 0
    assert accuracy.dis_seconds(find_clips(data)[0].video) > 0


def test_help_is_enough_for_a_stranger(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["accuracy", "--help"])
    shown = capsys.readouterr().out
    for word in (
        *METHODS,
        "PRESET/ABLATION",
        "file:FOLDER",
        "tapvid:PATH",
        "synthetic",
        "mode=",
        "size=",
    ):
        assert word in shown
    assert make_method("still", Options()) is not None


def test_shared_clips_are_all_found(shared_data: Path) -> None:
    clips = {clip.name: clip for clip in find_clips(shared_data)}
    assert len(clips) == 12
    assert [t.dataset for t in clips["horsejump-high"].truths] == ["davis", "badja"]
    assert [t.dataset for t in clips["layers-1"].truths] == ["layers"]
    assert all(Path(clip.video).exists() for clip in clips.values())
