"""The accuracy benchmark on a tiny data folder, with a tracker that knows the truth or does not."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.accuracy import add_arguments, find_clips, run
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
    """eval/davis/pony with TAP-Vid truth of 8 frames and BADJA truth of all 12; eval/davis/empty without truth."""
    for name in ("pony", "empty"):
        folder = tmp_path / "eval" / "davis" / name / "frames"
        folder.mkdir(parents=True)
        for t, frame in enumerate(scene.frames):
            assert cv2.imwrite(str(folder / f"{t:05d}.png"), frame[..., ::-1])
    truth = {"tracks": scene.tracks[:, :8], "visible": scene.visible[:, :8], "query": scene.queries}
    early = scene.queries[:, 0] < 8
    truth = {k: v[early] for k, v in truth.items()} | {"mode": np.array("strided"), "size": np.array(SIZE)}
    np.savez(folder.parent.parent / "pony" / "tapvid.npz", **truth)
    at_start = scene.visible[:, 0]
    joints = {"keypoints": scene.tracks, "visible": scene.visible, "query": scene.queries}
    joints = {k: v[at_start] for k, v in joints.items()} | {"annotated": np.array([0, 6]), "area": np.full(FRAMES, 500)}
    np.savez(folder.parent.parent / "pony" / "badja.npz", **joints, size=np.array(SIZE))
    return tmp_path


class Oracle:
    """Stands in for a fitted tracker: knows the truth, is `off` px beside it, and counts what it is asked."""

    def __init__(self, scene: Clip, off: float) -> None:
        self.scene, self.off, self.fits, self.asked = scene, off, [], []

    def __call__(self, video: Path, **options: Any) -> "Oracle":
        self.fits.append((video.parent.name, options))
        return self

    def track(self, queries: np.ndarray) -> Tracks:
        self.asked.append(queries)
        rows = np.array([int(np.flatnonzero((self.scene.queries == query).all(1))[0]) for query in queries])
        xy, visible = self.scene.tracks[rows] + np.float32(self.off), self.scene.visible[rows]
        return Tracks(xy, visible, visible.astype(np.float32), queries, SIZE, 24.0)


def arguments(data: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--data", str(data), "--out", str(data / "accuracy.json"), *more])


def shares(row: Mapping[str, Any]) -> dict[str, float]:
    other = ("clip", "kind", "seed", "n", "n_after", "median_px", "fit_s", "track_s", "dis_s")
    return {k: v for k, v in row.items() if k not in other and not np.isnan(v)}


def test_truth_scores_one(data: Path, scene: Clip) -> None:
    oracle, said = Oracle(scene, 0.0), []
    report = run(arguments(data, "--seeds", "0", "1"), said.append, fit=oracle)
    assert [(row["clip"], row["seed"]) for row in report["clips"]] == [
        ("pony", 0), ("pony-badja", 0), ("pony", 1), ("pony-badja", 1),
    ]  # fmt: skip
    for row in report["clips"]:
        assert set(shares(row).values()) == {1.0}
    seeds = ("", " seed 0", " seed 1")
    assert set(report["means"]) == {f"{kind}{seed}" for kind in ("tapvid", "badja") for seed in seeds}
    assert len(said) == 4 + 6 + 1
    assert "AJ 100.0" in said[0]
    assert "PCK 100.0" in said[1]


def test_one_fit_serves_all_truth_of_a_clip(data: Path, scene: Clip) -> None:
    oracle = Oracle(scene, 0.0)
    asked = ["--seeds", "7", "--preset", "fast", "--set", "training.steps=3", "--models", "kept"]
    run(arguments(data, *asked), lambda _: None, fit=oracle)
    options = {"preset": "fast", "settings": {"training.steps": "3"}, "seed": 7, "device": "auto"}
    options |= {"folder": Path("kept/pony-7"), "resume": True}
    assert oracle.fits == [("pony", options)]
    assert [len(q) for q in oracle.asked] == [sum(len(t.queries) for t in find_clips(data)[0].truths)]


def test_errors_cost(data: Path, scene: Clip) -> None:
    report = run(arguments(data), lambda _: None, fit=Oracle(scene, 1.0))
    tapvid = report["clips"][0]
    assert tapvid["median_px"] == pytest.approx(2**0.5, rel=1e-5)
    # one px right and down is (4, 5.3) px at 256 x 256: within 8 and 16 only
    assert tapvid["average_pts_within_thresh"] == pytest.approx(2 / 5)
    assert tapvid["occlusion_accuracy"] == 1.0


def test_report_is_valid_json_with_its_circumstances(data: Path, scene: Clip) -> None:
    run(arguments(data), lambda _: None, fit=Oracle(scene, 0.0))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads((data / "accuracy.json").read_text(), parse_constant=refuse)
    assert {"preset", "settings", "seeds", "cpus", "versions", "when"} <= report["about"].keys()
    assert {"fit_s", "track_s", "dis_s"} <= report["clips"][0].keys()


def test_saved_predictions_have_the_rows_of_their_truth(data: Path, scene: Clip) -> None:
    run(arguments(data, "--save", str(data / "saved")), lambda _: None, fit=Oracle(scene, 0.0))
    assert sorted(p.name for p in (data / "saved").iterdir()) == ["pony-0.npz", "pony-badja-0.npz"]
    for name, kind in (("pony-0", "tapvid"), ("pony-badja-0", "badja")):
        with np.load(data / "saved" / f"{name}.npz") as saved, np.load(data / f"eval/davis/pony/{kind}.npz") as truth:
            np.testing.assert_array_equal(saved["queries"], truth["query"])
            assert saved["tracks"].shape == (len(truth["query"]), FRAMES, 2)
            assert saved["visible"].dtype == bool


def test_saved_predictions_pass_the_shared_scorer(data: Path, scene: Clip, shared_data: Path) -> None:
    report = run(arguments(data, "--save", str(data / "saved")), lambda _: None, fit=Oracle(scene, 1.0))
    score = load_score(shared_data)
    theirs = score.evaluate(data / "eval/davis/pony/tapvid.npz", data / "saved/pony-0.npz")
    assert theirs["AJ"] == pytest.approx(report["clips"][0]["average_jaccard"])
    theirs = score.evaluate(data / "eval/davis/pony/badja.npz", data / "saved/pony-badja-0.npz")
    assert theirs["PCK"] == pytest.approx(report["clips"][1]["pck"])


def test_demo_stands_in_for_absent_data(tmp_path: Path) -> None:
    (clip,) = find_clips(tmp_path)
    assert clip.name == "demo"
    assert clip.video.is_file()
    assert clip.truths[0].kind == "demo"


def test_unknown_names_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="there are pony"):
        find_clips(data, ["zebra"])
    assert main(["accuracy", "--data", str(data), "--clips", "zebra"]) == 2
    assert "zebra" in capsys.readouterr().err
    with pytest.raises(InputError, match="KEY=VALUE"):
        run(arguments(data, "--set", "steps"), lambda _: None, fit=Oracle)


def test_shared_clips_are_all_found(shared_data: Path) -> None:
    clips = {clip.name: clip for clip in find_clips(shared_data)}
    assert len(clips) == 12
    assert [t.kind for t in clips["horsejump-high"].truths] == ["tapvid", "badja"]
    assert [t.kind for t in clips["layers-1"].truths] == ["layers"]
    assert all(clip.video.exists() for clip in clips.values())
