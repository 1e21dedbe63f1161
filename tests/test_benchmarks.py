"""The accuracy benchmark on a tiny data folder, with methods that know the truth or do not."""

import argparse
import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from dinotrack.benchmarks import accuracy
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.accuracy import add_arguments, run
from dinotrack.benchmarks.datasets import find_clips
from dinotrack.benchmarks.methods import METHODS, Options
from dinotrack.benchmarks.records import read_json, to_json
from dinotrack.benchmarks.report import SHARES
from dinotrack.benchmarks.summary import AccuracyReport, Row
from dinotrack.certainty import auroc, calibration_error
from dinotrack.errors import InputError
from dinotrack.synthesis import Clip, generate
from dinotrack.tracks import Tracks

SIZE, FRAMES = (48, 64), 12


@pytest.fixture(scope="module")
def scene() -> Clip:
    return generate(SIZE, FRAMES, 2, seed=2, points=12)


@pytest.fixture
def data(tmp_path: Path, scene: Clip) -> Path:
    """Three clips: pony has TAP-Vid truth of 8 frames and BADJA truth of all 12, zebra has TAP-Vid
    truth of 10 frames, and empty has none."""
    davis = tmp_path / "eval" / "davis"
    for name in ("pony", "zebra", "empty"):
        folder = davis / name / "frames"
        folder.mkdir(parents=True)
        for t, frame in enumerate(scene.frames):
            assert cv2.imwrite(str(folder / f"{t:05d}.png"), frame[..., ::-1])
    for name, frames in (("pony", 8), ("zebra", 10)):
        early = scene.queries[:, 0] < frames
        np.savez(
            davis / name / "tapvid.npz",
            tracks=scene.tracks[early, :frames],
            visible=scene.visible[early, :frames],
            query=scene.queries[early],
            mode=np.array("strided"),
            size=np.array(SIZE),
        )
    at_start = scene.visible[:, 0]
    np.savez(
        davis / "pony" / "badja.npz",
        keypoints=scene.tracks[at_start],
        visible=scene.visible[at_start],
        query=scene.queries[at_start],
        annotated=np.array([0, 6]),
        area=np.full(FRAMES, 500),
        size=np.array(SIZE),
    )
    return tmp_path


class Oracle:
    """Stands in for methods: knows the truth, and is `off` px (and with a seed, that much more)
    beside it."""

    def __init__(self, scene: Clip, off: float) -> None:
        self.scene, self.off = scene, off
        self.made: list[tuple[str, Options]] = []
        self.asked: list[tuple[str, int, int]] = []

    def make(self, name: str, options: Options) -> "Oracle":
        self.made.append((name, options))
        return self

    def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
        self.asked.append((clip, len(queries), seed))
        same = (self.scene.queries[None] == queries[:, None]).all(axis=-1)
        rows = same.argmax(axis=1)
        xy = self.scene.tracks[rows] + np.float32(self.off * (1 + seed))
        confidence = np.random.default_rng(seed).random(xy.shape[:2], np.float32)
        return Tracks(xy, self.scene.visible[rows], confidence, queries, SIZE, 24.0)


def arguments(data: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    known = ["--data", str(data), "--device", "cpu", "--out", str(data / "accuracy.json")]
    return parser.parse_args([*known, *more])


def labels(row: Row) -> tuple[str, str, str | None, int]:
    return row.method, row.dataset, row.clip, row.seed


def shares(row: Row) -> dict[str, float]:
    """What is judged of positions and visibility, where there was anything to judge."""
    wanted = set(SHARES) - {"ece", "auroc"}
    known = {name: value for name, value in row.numbers.items() if name in wanted}
    return {name: value for name, value in known.items() if not np.isnan(value)}


def test_truth_scores_one(data: Path, scene: Clip) -> None:
    said: list[str] = []
    asked = arguments(data, "--seeds", "0", "1", "--clips", "pony")
    report = run(asked, said.append, Oracle(scene, 0.0).make)
    assert [labels(row) for row in report.rows] == [
        ("fast", "davis", "pony", 0), ("fast", "badja", "pony", 0),
        ("fast", "davis", "pony", 1), ("fast", "badja", "pony", 1),
    ]  # fmt: skip
    for row in report.rows:
        assert set(shares(row).values()) == {1.0}
    assert [(mean.dataset, mean.seeds) for mean in report.means] == [
        ("davis", (0, 1)),
        ("badja", (0, 1)),
    ]
    assert len(said) == 4 + 2 + 1
    assert "AJ 100.0" in said[0]
    assert "PCK 100.0" in said[1]


def test_every_method_with_every_seed_on_every_clip(data: Path, scene: Clip) -> None:
    asked = ["--methods", "a", "b", "--seeds", "3", "4", "--models", "kept"]
    oracle = Oracle(scene, 0.1)
    report = run(arguments(data, *asked, "--set", "training.steps=5"), print, oracle.make)
    options = Options(settings={"training.steps": "5"}, device="cpu", models=Path("kept"))
    assert oracle.made == [("a", options), ("b", options)]
    lengths = {clip.name: sum(len(t.queries) for t in clip.truths) for clip in find_clips(data)}
    one_fit_for_all_truths = [
        (clip, lengths[clip], seed) for clip in ("pony", "zebra") for seed in (3, 4, 3, 4)
    ]
    assert oracle.asked == one_fit_for_all_truths
    assert len({labels(row) for row in report.rows}) == len(report.rows) == 2 * 2 * 3


def test_errors_cost(data: Path, scene: Clip) -> None:
    report = run(arguments(data), print, Oracle(scene, 1.0).make)
    tapvid = report.rows[0].numbers
    assert tapvid["median_px"] == pytest.approx(2**0.5, rel=1e-5)
    # one px right and down is (4, 5.3) px at 256 x 256: within 8 and 16 only
    assert tapvid["average_pts_within_thresh"] == pytest.approx(2 / 5)
    assert tapvid["occlusion_accuracy"] == 1.0


def pooled_by_hand(data: Path, saved: Path, seed: int) -> tuple[float, float]:
    """Calibration error and AUROC over all clips, from predictions that were saved."""
    sure, correct = [], []
    for clip in find_clips(data):
        with np.load(saved / f"{clip.name}-{seed}.npz") as arrays:
            certainty = clip.truths[0].certainty(arrays["tracks"], arrays["confidence"])
        sure.append(certainty.confidence)
        correct.append(certainty.correct)
    confidence, truth = np.concatenate(sure), np.concatenate(correct)
    return calibration_error(confidence, truth), auroc(confidence, truth)


def test_confidence_is_pooled_over_clips_and_spread_over_seeds(data: Path, scene: Clip) -> None:
    wanted = ("--datasets", "davis", "--seeds", "0", "1", "--save", str(data / "saved"))
    report = run(arguments(data, *wanted), print, Oracle(scene, 0.5).make)
    pooled = [pooled_by_hand(data, data / "saved" / "fast", seed) for seed in (0, 1)]
    found = [(row.numbers["ece"], row.numbers["auroc"]) for row in report.seeds]
    np.testing.assert_allclose(found, pooled)
    (mean,) = report.means
    for column, key in enumerate(("ece", "auroc")):
        one, other = (row[column] for row in pooled)
        assert mean.mean[key] == pytest.approx((one + other) / 2)
        assert mean.spread[key] == pytest.approx(abs(one - other) / 2**0.5)
        over_clips = np.mean([row.numbers[key] for row in report.rows])
        assert mean.mean[key] != pytest.approx(over_clips, abs=1e-6)


def test_report_is_valid_json_with_its_circumstances(data: Path, scene: Clip) -> None:
    report = run(arguments(data), print, Oracle(scene, 0.0).make)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    out = data / "accuracy.json"
    read = json.loads(out.read_text(), parse_constant=refuse)
    (about,) = read["runs"]
    assert {"command", "settings", "seeds", "cpus", "gpu", "versions", "when"} <= about.keys()
    assert {"seconds", "dis_s", "peak_mb"} <= read["rows"][0].keys()
    assert read["rows"][0]["peak_mb"] > 50
    assert read["means"][0]["mean"]["average_jaccard"] == 1.0
    assert to_json(read_json(out, AccuracyReport, "accuracy")) == to_json(report) == out.read_text()


class Interrupted(Oracle):
    def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
        if clip == "zebra":
            raise KeyboardInterrupt
        return super().__call__(clip, video, queries, seed)


def test_nothing_is_lost_when_a_later_clip_fails(data: Path, scene: Clip) -> None:
    table = data / "table.md"
    with pytest.raises(KeyboardInterrupt):
        run(arguments(data, "--table", str(table)), print, Interrupted(scene, 0.0).make)
    kept = read_json(data / "accuracy.json", AccuracyReport, "accuracy")
    assert {row.clip for row in kept.rows} == {"pony"}
    assert "| davis | pony | 100.0 |" in table.read_text()


def test_saved_predictions_have_the_rows_of_their_truth(data: Path, scene: Clip) -> None:
    saved = ("--save", str(data / "saved"), "--methods", "a/b")
    run(arguments(data, *saved), print, Oracle(scene, 0.0).make)
    folder = data / "saved" / "a-b"
    names = {path.name for path in folder.iterdir()}
    assert names == {"pony-0.npz", "pony-badja-0.npz", "zebra-0.npz"}
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
    saved = ("--save", str(data / "saved"))
    before = run(arguments(data, *davis, *saved), print, Oracle(scene, 1.0).make)
    again = run(arguments(data, *davis, "--methods", f"file:{data / 'saved' / 'fast'}"), print)
    for one, other in zip(before.rows, again.rows, strict=True):
        assert shares(one) == pytest.approx(shares(other))


def test_saved_predictions_pass_the_shared_scorer(
    data: Path, scene: Clip, shared_score: ModuleType
) -> None:
    report = run(arguments(data, "--save", str(data / "saved")), print, Oracle(scene, 1.0).make)
    folder = data / "saved" / "fast"
    rows = {(row.clip, row.dataset): row.numbers for row in report.rows}
    pony, zebra = (data / "eval/davis" / name for name in ("pony", "zebra"))
    theirs = shared_score.evaluate(pony / "tapvid.npz", folder / "pony-0.npz")
    assert theirs["AJ"] == pytest.approx(rows["pony", "davis"]["average_jaccard"])
    both = [theirs, shared_score.evaluate(zebra / "tapvid.npz", folder / "zebra-0.npz")]
    mean = shared_score.mean(both)
    ours = report.means[0].mean
    assert mean["delta"] == pytest.approx(ours["average_pts_within_thresh"])
    assert mean.get("after_occlusion") == pytest.approx(ours.get("after_occlusion"))
    theirs = shared_score.evaluate(pony / "badja.npz", folder / "pony-badja-0.npz")
    assert theirs["PCK"] == pytest.approx(rows["pony", "badja"]["pck"])


def test_earlier_runs_are_merged_and_nothing_is_run(data: Path, scene: Clip) -> None:
    outs = {method: data / f"{method}.json" for method in ("near", "far")}
    for method, off in (("near", 0.0), ("far", 9.0)):
        asked = arguments(data, "--methods", method, "--out", str(outs[method]))
        run(asked, print, Oracle(scene, off).make)
    table, said = data / "table.md", []
    earlier = ("--from", *map(str, outs.values()))
    merged = run(arguments(data, *earlier, "--table", str(table)), said.append)
    assert not (data / "accuracy.json").exists()
    assert {row.method for row in merged.rows} == {"near", "far"}
    assert said == [f"wrote {table}"]
    run(arguments(data, *earlier), said.append)
    assert "## far" in said[1]
    with pytest.raises(InputError, match="is no JSON"):
        run(arguments(data, "--from", str(table)), print)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--clips", "gnu"),
        ("--datasets", "kitti"),
        ("--methods", "still", "oracle"),
        ("--set", "steps"),
    ],
)
def test_names_are_checked_before_anything_runs(
    wrong: tuple[str, ...], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data / "out.json"
    assert main(["accuracy", "--data", str(data), "--out", str(out), *wrong]) == 2
    assert wrong[-1] in capsys.readouterr().err
    assert not out.exists()


def test_whole_run_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A true method on a generated clip: one that never moves, and says it is always sure."""
    out, table = tmp_path / "new" / "a.json", tmp_path / "a.md"
    made = "synthetic:frames=6,size=48x64,points=10,seed=1"
    asked = ["--methods", "still", "--datasets", made]
    assert main(["accuracy", *asked, "--out", str(out), "--table", str(table)]) == 0
    assert str(table) in capsys.readouterr().out
    (row,) = read_json(out, AccuracyReport, "accuracy").rows
    assert row.dataset == made
    assert row.numbers["recall_mean"] == pytest.approx(0.5, nan_ok=True)
    assert f"| {made} | still | 1 | 1 |" in table.read_text()


@pytest.mark.gpu
def test_memory_of_the_gpu_is_the_method_s_own(data: Path, scene: Clip) -> None:
    import torch

    class Hungry(Oracle):
        def __call__(self, clip: str, video: Any, queries: np.ndarray, seed: int) -> Tracks:
            torch.zeros((64 if clip == "pony" else 8) * 2**20, dtype=torch.uint8, device="cuda")
            return super().__call__(clip, video, queries, seed)

    rows = run(arguments(data, "--datasets", "davis"), print, Hungry(scene, 0.0).make).rows
    assert [row.numbers["gpu_mb"] for row in rows] == pytest.approx([64, 8], abs=2)


def test_yardstick_times_flow_between_all_neighbours(
    data: Path, scene: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an array and of files alike."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []

    class Recorder:
        def calc(self, a: np.ndarray, b: np.ndarray, flow: None) -> None:
            pairs.append((a, b))

    monkeypatch.setattr(cv2.DISOpticalFlow, "create", lambda preset: Recorder())
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in scene.frames]
    for video in (scene.frames, find_clips(data)[0].video):
        pairs.clear()
        assert accuracy.dis_seconds(video) >= 0
        np.testing.assert_array_equal(pairs, [*itertools.pairwise(grey)])


def test_help_is_enough_for_a_stranger(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["accuracy", "--help"])
    shown = capsys.readouterr().out
    names = ("PRESET/ABLATION", "file:FOLDER", "tapvid:PATH", "synthetic", "mode=", "size=")
    for word in (*METHODS, *names):
        assert word in shown


def test_shared_clips_are_all_found(shared_data: Path) -> None:
    """Each file of truth belongs to one clip, whose video is there."""
    clips = {clip.name: clip for clip in find_clips(shared_data)}
    folder = shared_data / "eval"
    truths = [*folder.glob("davis/*/tapvid.npz"), *folder.glob("davis/*/badja.npz")]
    layers = {path.stem for path in folder.glob("*.npz")}
    assert clips.keys() == {path.parent.name for path in truths} | layers
    count = sum(len(clip.truths) for clip in clips.values())
    assert count == len(truths) + len(layers)
    assert [t.dataset for t in clips["horsejump-high"].truths] == ["davis", "badja"]
    assert [t.dataset for t in clips["layers-1"].truths] == ["layers"]
    assert all(Path(clip.video).exists() for clip in clips.values())
