"""The speed benchmark on tiny clips: what it measures adds up, and its oracle tracks as the tracker
does."""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float

from dinotrack.backbones import SHIPPED
from dinotrack.benchmarks import (
    against_paper,
    equal_time,
    growth,
    machine,
    reference,
    speed,
    speed_report,
    stages,
    step_times,
)
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.against_paper import PaperPart
from dinotrack.benchmarks.datasets import find_clips
from dinotrack.benchmarks.equal_time import Pace
from dinotrack.benchmarks.kernel_report import show_kernels
from dinotrack.benchmarks.kernel_speed.operations import PAPER_SIZES
from dinotrack.benchmarks.kernel_speed.part import Goal, KernelsPart
from dinotrack.benchmarks.kernel_speed.timing import Timing
from dinotrack.benchmarks.methods import Configuration, Options
from dinotrack.benchmarks.records import build, plain
from dinotrack.benchmarks.speed_parts import Parts, SpeedReport
from dinotrack.benchmarks.stages import LongPart, PipelineRun, StagesPart
from dinotrack.benchmarks.step_times import Trial
from dinotrack.benchmarks.summary import Row
from dinotrack.cache import FOLDER_VARIABLE
from dinotrack.config import PAPER, MatchingConfig, override, preset
from dinotrack.errors import InputError
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.queries import Queries
from dinotrack.synthesis import generate
from dinotrack.tracking.matching import track_by_matching
from dinotrack.training import begin, terms
from dinotrack.video import read_video
from tests.noise import GRID, make_tracker, random_maps, random_queries

SIZE = (48, 64)
CPU = torch.device("cpu")
TINY = ("--size", "48x64", "--steps", "2", "--points", "9", "--device", "cpu")
SETTINGS = {"training.batch": 16, "trajectories.step": 2}
NETWORK = {"model.widths": "4,8", "model.kernel": 3}


def arguments(*more: str, settings: dict[str, Any] = SETTINGS) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    speed.add_arguments(parser)
    changed = [f"{key}={value}" for key, value in settings.items()]
    return parser.parse_args([*TINY, *more, "--set", *changed])


def here(function: Callable[..., Any], *rest: Any) -> Any:
    """Instead of a fresh process, which takes seconds to begin."""
    return function(*rest)


# ---- the pipeline


@pytest.fixture(scope="module")
def grown() -> StagesPart:
    options = arguments("--frames", "6", "3", "4", "--repeats", "2", "--again")
    return speed.run_stages(options, print, here)


def test_every_stage_at_every_length(grown: StagesPart) -> None:
    order = [(row.repeat, row.frames, row.run) for row in grown.rows]
    assert order == [(r, t, run) for r in (0, 1) for t in (3, 4, 6) for run in ("first", "again")]
    for row in grown.rows:
        seconds, peak = row.seconds, row.peak_mb
        assert {"read", "flow", "refine", "track", "overlay", "whole"} <= seconds.keys()
        named = sum(value for stage, value in seconds.items() if not stage.startswith("whole"))
        assert 0 < named <= seconds["whole"]
        learning = seconds.get("fit", 0.0) + seconds.get("focus", 0.0)
        assert seconds["whole but fit"] == pytest.approx(seconds["whole"] - learning)
        assert 0 < peak["start"] <= peak["read"] <= peak["overlay"] <= peak["whole"]
        assert row.size == SIZE
        assert row.points <= 9
        assert row.metrics is not None
        assert 0 <= row.metrics["occlusion_accuracy"] <= 1
        assert row.cache_mb > 0
        assert row.steps == 2


def test_growth_is_of_medians(grown: StagesPart) -> None:
    first = [row for row in grown.rows if row.run == "first"]
    summary = growth.summarise(first)
    assert summary.lengths == (3, 4, 6)
    whole = [row.seconds["whole"] for row in first if row.frames == 4]
    known = summary.stages["whole"]
    assert known.seconds[1] == pytest.approx(np.median(whole))
    assert known.iqr[1] == pytest.approx(abs(whole[0] - whole[1]) / 2)


@pytest.mark.parametrize(("lengths", "late"), [((25, 50, 200), 50), ((3, 4), 3), ((7,), 7)])
def test_memory_grows_from_a_quarter_of_the_greatest_length(
    lengths: tuple[int, ...], late: int
) -> None:
    runs = [
        PipelineRun(t, SIZE, 1, 1, {"whole": 1.0 * t}, {"whole": 100.0 + t}, 0.0) for t in lengths
    ]
    summary = growth.summarise(runs)
    assert summary.late == late
    expected = 100 * ((100 + lengths[-1]) / (100 + late) - 1)
    assert summary.memory_percent == pytest.approx(expected)
    assert summary.gpu_mb is None


@pytest.mark.parametrize("power", [1.0, 1.15, 2.0])
def test_the_exponent_of_growth(power: float) -> None:
    seconds = {t: 0.01 * t**power for t in (25, 50, 100, 200)}
    assert growth.growth_exponent(seconds) == pytest.approx(power)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({25: 0.01, 50: 0.01, 100: 0.01, 200: 0.01}, None),
        ({100: 0.0001, 200: 0.04}, None),
        ({100: 5.0}, None),
        ({50: 0.0, 100: 2.0, 200: 4.0}, pytest.approx(1)),
    ],
)
def test_too_little_has_no_exponent(seconds: dict[int, float], expected: float | None) -> None:
    assert growth.growth_exponent(seconds) == expected


def test_a_fresh_process_is_another_and_its_errors_come_back() -> None:
    assert machine.in_fresh_process(os.getpid) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        machine.in_fresh_process(divmod, 1, 0)
    with pytest.raises(RuntimeError):
        machine.in_fresh_process(os._exit, 1)


@pytest.mark.parametrize("before", ["elsewhere", None])
def test_the_cache_is_set_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(FOLDER_VARIABLE, before)
    with machine.fresh_cache() as folder:
        assert os.environ[FOLDER_VARIABLE] == str(folder)
    assert os.environ.get(FOLDER_VARIABLE) == before
    assert not folder.exists()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> LongPart:
    """A generated clip, a video of the user's, one whose process dies, and one that isn't there."""
    folder = tmp_path_factory.mktemp("long")
    stages.write_clip(folder / "mine.mp4", stages.Shape(3, SIZE), 4, seed=1)
    videos = [str(folder / name) for name in ("mine.mp4", "large.mp4", "gone.mp4")]

    def apart(function: Callable[..., Any], *rest: Any) -> Any:
        if any("large" in str(getattr(one, "video", "")) for one in rest):
            raise RuntimeError("killed")
        return function(*rest)

    options = arguments("--long", "5x48x64", "--video", *videos)
    return speed.run_long(options, print, apart)


def test_long_clips_and_the_users_own(long: LongPart) -> None:
    made, mine, large, gone = long.rows
    assert isinstance(made, PipelineRun)
    assert isinstance(mine, PipelineRun)
    assert (made.clip, made.frames, made.different_frames) == ("5 frames of 64 x 48", 5, 5)
    assert (mine.clip, mine.frames, mine.different_frames) == ("mine.mp4", 3, None)
    assert large == stages.Failure("large.mp4", "killed")
    assert isinstance(gone, stages.Failure)
    assert "gone.mp4: no such file" in gone.failed


@pytest.mark.parametrize(
    ("different", "count", "expected"),
    [
        (3, 8, [0, 1, 2, 1, 0, 1, 2, 1]),
        (2, 5, [0, 1, 0, 1, 0]),
        (1, 2, [0, 0]),
    ],
)
def test_frames_to_and_fro(different: int, count: int, expected: list[int]) -> None:
    assert [*stages.to_and_fro(different, count)] == expected


def test_a_long_clip_plays_to_and_fro(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stages, "DIFFERENT", 3 * 48 * 64)
    assert stages.write_long_clip(tmp_path / "a.mp4", stages.Shape(7, SIZE), seed=0) == 3
    frames = read_video(tmp_path / "a.mp4").frames.astype(int)
    assert len(frames) == 7
    away = [np.abs(frames[0] - frame).mean() for frame in frames]
    assert away[4] < min(away[1], away[2])


# ---- against the paper


@pytest.fixture(scope="module")
def paper() -> PaperPart:
    asked = ("--clip-frames", "4", "--paper-steps", "2", "--area", "4000")
    settings = {**SETTINGS, **NETWORK, "training.steps": 10}
    options = arguments(*asked, settings=settings)
    return speed.run_paper(options, print)


def test_the_papers_whole_run_is_extrapolated_from_both_phases(paper: PaperPart) -> None:
    one = paper.paper
    assert one.steps == 10_000
    assert {name: part.share for name, part in one.seconds_a_step.items()} == {
        "early": 0.5,
        "late": 0.5,
    }
    halves = [5000 * one.seconds_a_step[name].median for name in ("early", "late")]
    assert one.fit == pytest.approx(sum(halves))
    assert one.whole == pytest.approx(one.fit + sum(one.stages.values()))
    named = {"flow", "features", "labels", "buddies", "before the first step", "refine", "track"}
    assert named <= one.stages.keys()
    assert paper.ours.steps == 10
    assert paper.ratio.whole == pytest.approx(one.whole / paper.ours.whole)
    assert paper.ratio.step == pytest.approx(one.step / paper.ours.step)
    assert paper.size == (56, 70)
    assert not paper.papers_own_size
    assert (paper.clip, paper.backbone, paper.points) == ("generated", SHIPPED, 9)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [("early", 0, 4), ("late", 4, 3)]),
        ({"training.refined_buddy_weight": 0, "training.cycle_weight": 0}, [("all", 0, 7)]),
    ],
)
def test_steps_are_taken_in_their_phase(
    changes: dict[str, int], expected: list[tuple[str, int, int]]
) -> None:
    config = override(preset("paper"), {"training.steps": 7, **changes})
    found = step_times.phases("paper", config)
    assert [(phase.name, phase.first, phase.length) for phase in found] == expected


def test_a_late_loss_of_a_stranger_makes_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"training.refined_buddy_weight": 0, "training.cycle_weight": 0}
    config = override(preset("paper"), {"training.steps": 7, **none})
    mine = replace(terms.TERMS["norm"], late=True)
    monkeypatch.setitem(terms.TERMS, "mine", mine)
    assert [phase.name for phase in step_times.phases("paper", config)] == ["early", "late"]


@pytest.fixture(scope="module")
def contender() -> step_times.Contender:
    video = read_video(generate(SIZE, 4, 2, seed=2).frames)
    equal = against_paper.equal_settings(video, 4000, SHIPPED)
    config = override(preset("paper"), {**equal, **SETTINGS, **NETWORK})
    return against_paper.make_ready(video, config, Trial(1, 9, 0, CPU))


def test_a_fit_too_short_to_be_timed(contender: step_times.Contender) -> None:
    config = override(contender.run.config, {"training.steps": 1})
    short = replace(contender, run=replace(contender.run, config=config))
    with pytest.raises(InputError, match="ours has 1 steps alike"):
        step_times.time_steps({"ours": short}, Trial(1, 9, 0, CPU), print)


def test_a_late_step_has_the_late_losses(contender: step_times.Contender) -> None:
    state = begin(contender.fit.inputs.features, contender.run)
    contender = replace(contender, fit=replace(contender.fit, state=state))
    block = step_times.take_steps(contender, 1)
    assert block.step > 0
    assert block.before >= 0
    assert state.step == 2  # the timed one, and one before it
    assert "cycle" not in state.losses
    state.step = 5000
    step_times.take_steps(contender, 1)
    assert state.step == 5002
    assert {"flow", "cycle", "refined_buddies"} <= state.losses.keys()
    assert len(state.losses["flow"]) == 4


def test_nothing_to_learn_from_is_told(contender: step_times.Contender) -> None:
    labels = contender.fit.data.supervision
    once = replace(labels.chains, length=torch.ones_like(labels.chains.length))
    data = replace(contender.fit.data, supervision=replace(labels, chains=once))
    empty = replace(contender, fit=replace(contender.fit, data=data))
    with pytest.raises(InputError, match="no point of this clip could be followed"):
        step_times.take_steps(empty, 1)


@pytest.mark.parametrize("pace", [Pace(1e6), Pace(0.05), Pace(2.0, seconds=3.9)])
def test_accuracy_after_equal_seconds_of_fitting(pace: Pace, tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    truth = stages.write_clip(tmp_path / "eval" / "one.mp4", stages.Shape(4, SIZE), 6, seed=2)
    np.savez(
        tmp_path / "eval" / "one.npz",
        tracks=truth.points.xy,
        visible=truth.points.visible,
        query=truth.queries,
        size=np.array(SIZE),
    )
    (clip,) = find_clips(tmp_path)
    equal = against_paper.equal_settings(read_video(clip.video), 4000, SHIPPED)
    small = {**equal, **SETTINGS, **NETWORK}
    ours = Configuration("fast", Options({**small, "training.steps": 3}, "cpu"))
    theirs = Configuration("paper", Options(small, "cpu"))
    rows = equal_time.compare_accuracy(clip, ours, theirs, 0, pace)
    assert [row.method for row in rows] == ["ours", "paper"]
    seconds = pace.seconds or rows[0].numbers["fit_seconds"]
    steps = max(1, round(seconds / pace.step))
    assert [row.numbers["steps"] for row in rows] == [3, steps]
    assert 0 <= rows[1].numbers["average_jaccard"] <= 1


# ---- against the reference


def test_tracking_against_the_oracle() -> None:
    asked = ("--clip-frames", "4", "--query-points", "12", "--oracle-points", "3")
    options = arguments(*asked, "--anchors", "2", "--repeats", "2")
    part = speed.run_inference(options, print)
    assert (part.points, part.frames) == (12, 4)
    assert part.reference.points == 3
    assert part.own.method == "join"
    assert part.match.method == "match"
    assert part.ratio(part.own) == pytest.approx(part.reference.seconds / part.own.seconds)
    for way in (part.reference, part.own, part.match):
        assert way.occlusion_accuracy is not None
        assert 0 <= way.occlusion_accuracy <= 1


def one_by_one(
    tracker: Tracker, maps: FeatureMaps, queries: Queries, config: MatchingConfig
) -> tuple[Float[torch.Tensor, "N T 2"], Bool[torch.Tensor, "N T"]]:
    """The oracle's positions, and where points are visible."""
    single = [queries[n : n + 1] for n in range(len(queries))]
    tracks = [reference.track_point(tracker, maps, query, config) for query in single]
    return torch.stack([xy for xy, _ in tracks]), torch.stack([visible for _, visible in tracks])


@pytest.mark.parametrize("whole_map", [True, False])
def test_the_oracle_agrees_with_matching(whole_map: bool) -> None:
    """Whole maps, where the tracker may refine the disc alone; all anchors."""
    tracker, maps, queries = make_tracker(whole_map), random_maps(6), random_queries(9, 6)
    config = MatchingConfig(anchor_cosine=0.8, visible_cosine=0.7)
    found = track_by_matching(tracker, maps, queries, config)
    xy, visible = one_by_one(tracker, maps, queries, config)
    torch.testing.assert_close(xy, found.xy, atol=1e-3, rtol=0)
    assert torch.equal(visible, found.visible)
    assert 0 < found.visible.float().mean() < 1


def test_the_oracle_agrees_with_the_golden_numbers(
    golden: Callable[[str], dict[str, np.ndarray]],
) -> None:
    g = golden("inference")
    tracker = Tracker(PAPER.model, g["refined_features"].shape[1]).eval()
    weights = {
        k.removeprefix("state_dict/"): torch.from_numpy(v)
        for k, v in g.items()
        if k.startswith("state_dict/")
    }
    tracker.refiner.load_state_dict(weights)
    x, y, t = torch.from_numpy(g["query_xyt"]).unbind(1)
    maps = FeatureMaps(torch.from_numpy(g["refined_features"]), GRID)
    queries = Queries.from_rows(torch.stack((t, x, y), dim=1))
    xy, visible = one_by_one(tracker, maps, queries, PAPER.inference.matching)
    expected = g["trajectories"][..., :2]
    assert np.abs(xy.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.array_equal(visible.numpy(), ~g["occluded"])


# ---- reports


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One part alone, its JSON, and one table of that and of what other parts wrote."""
    out, markdown = tmp_path / "speed.json", tmp_path / "performance.md"
    clip = ("--clip-frames", "3", "--query-points", "4", "--oracle-points", "2")
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    wanted = ["--parts", "inference", *clip, "--set", *settings]
    assert main(["speed", *TINY, *wanted, "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert [name for name, part in written["parts"].items() if part] == ["inference"]
    (run,) = written["runs"]
    assert {"command", "when", "versions", "load", "cpus", "machine"} <= run.keys()
    assert main(["speed", "--from", str(out), str(out), "--table", str(markdown)]) == 0
    assert markdown.read_text().count("## Tracking with visibility, on ") == 2
    (tmp_path / "other.json").write_text("{}")
    assert main(["speed", "--from", str(tmp_path / "other.json")]) == 2
    assert "is no report of this benchmark" in capsys.readouterr().err


def test_the_table_of_the_paper(paper: PaperPart) -> None:
    numbers = {"steps": 3, "fit_seconds": 2.6, "average_jaccard": 0.5}
    judged = replace(paper, accuracy=(Row("ours", "davis", "pony", 0, numbers),))
    text = "\n".join(speed_report.show_paper(judged))
    assert "ms a step, early" in text
    assert "not the paper's 854 x 476" in text
    assert "| pony | davis | ours | 3 | 3 | 50.0 | - | - |" in text


def test_the_table_of_stages(grown: StagesPart) -> None:
    text = "\n".join(speed_report.show_stages(grown))
    assert "| seconds | 3 frames | 4 frames | 6 frames | p |" in text
    assert "| delta |" in text
    assert "| whole, a second time |" in text


def test_the_table_of_long_clips(long: LongPart) -> None:
    text = "\n".join(speed_report.show_long(long))
    assert "| 5 frames of 64 x 48 (5 different) | 2 |" in text
    assert "| large.mp4 | failed: killed |" in text


PEAK = Timing(1.0, 0.0, what="matmul", side="peak", sizes=PAPER_SIZES, tflops=600.0)
OBVIOUS = Timing(10.0, 0.1, what="locate", side="obvious", sizes=PAPER_SIZES)
TWIN = Timing(5.0, 0.1, what="locate", side="twin", sizes=PAPER_SIZES)
KERNEL = Timing(2.0, 0.1, what="locate", side="kernel", sizes=PAPER_SIZES, share=0.5)
GOAL = Goal("locate over eager", 5.0, 5.0, True)


def test_the_table_of_kernels() -> None:
    text = "\n".join(show_kernels(KernelsPart((PEAK, OBVIOUS, TWIN, KERNEL), (GOAL,))))
    times = "10.000 ± 0.100 | 5.000 ± 0.100 | 2.000 ± 0.100"
    assert f"| paper | locate | {times} | 5.0 | 50 % |" in text
    assert "600 TFLOP/s" in text
    assert "locate over eager: 5.00, of 5 or more" in text


def test_the_table_without_kernels() -> None:
    text = "\n".join(show_kernels(KernelsPart((PEAK, OBVIOUS, TWIN), ())))
    assert "| - | 2.0 | - |" in text


def test_every_part_is_read_back_as_it_was_written(
    grown: StagesPart, long: LongPart, paper: PaperPart
) -> None:
    kernels = KernelsPart((PEAK, OBVIOUS, TWIN), (GOAL,))
    about = machine.describe({"training.steps": 2}, "cpu")
    measured = SpeedReport((about,), Parts(stages=grown, long=long, paper=paper, kernels=kernels))
    read = build(SpeedReport, json.loads(json.dumps(plain(measured))))
    assert plain(read) == plain(measured)
    page = speed_report.markdown([read])
    assert page == speed_report.markdown([measured])
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert len(headings) == 4 + 1


def test_kernels_of_earlier_versions_are_read() -> None:
    """A part that said its own machine, and of each timing only what was known."""
    sizes = vars(PAPER_SIZES)
    peak = {"what": "copy", "side": "peak", "ms": 1.5, "iqr_ms": 0.1, "gb_per_s": 7.0}
    goal = {"name": "fast", "value": 6.0, "goal": 5.0, "passed": True}
    agreement = {"dtype": "float32", "what": "locate", "error": None, "allowed": 0.1}
    part = build(
        KernelsPart,
        {
            "machine": {"device": "x86_64", "cuda": None},
            "agreement": [agreement],
            "timings": [{**peak, "dtype": "float32", "sizes": sizes}],
            "goals": [goal],
        },
    )
    expected = Timing(
        1.5, 0.1, what="copy", side="peak", sizes=PAPER_SIZES, dtype="float32", gb_per_s=7.0
    )
    assert part.timings == (expected,)
    assert part.goals == (Goal("fast", 6.0, 5.0, True),)
    assert np.isnan(part.agreement[0].error)
    assert not part.passed


def test_parts_of_earlier_versions_are_read() -> None:
    """A row of version 0.1.0, whose parts had a summary beside them."""
    row = {
        "repeat": 0,
        "run": "first",
        "frames": 3,
        "size": [48, 64],
        "points": 9,
        "steps": 2,
        "seconds": {"whole": 0.5},
        "peak_mb": {"whole": 100.0},
        "cache_mb": 0.1,
        "metrics": {"average_jaccard": 0.5, "recall_mean": None},
    }
    written = {"preset": "fast", "rows": [row], "summary": {"is": "made anew"}}
    part = build(StagesPart, written)
    assert part.rows[0].size == SIZE
    assert part.rows[0].metrics == pytest.approx(
        {"average_jaccard": 0.5, "recall_mean": np.nan}, nan_ok=True
    )
    failed = {"preset": "fast", "rows": [{"clip": "a", "failed": "killed"}, {**row, "clip": "b"}]}
    kinds = [type(row) for row in build(LongPart, failed).rows]
    assert kinds == [stages.Failure, PipelineRun]
    assert "| whole | 0.50 | - |" in speed_report.show_stages(part)[1]
