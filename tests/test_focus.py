"""Fits that look at the points which are asked for: what they learn from, that it is the same every
time, and what folders keep of it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import Float, UInt8
from torch import Tensor

import dinotrack
from dinotrack import pipeline
from dinotrack.cli import main
from dinotrack.config import override
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted, focus_name
from dinotrack.media.encoding import write_video
from dinotrack.points import FIELDS, choose_queries, coverage
from dinotrack.queries import Queries, Trajectories
from dinotrack.report.repeating import repeating_section
from dinotrack.report.story import Story
from dinotrack.run import Run
from dinotrack.tracking import TrackedVideo
from dinotrack.tracks import Tracks
from dinotrack.training import checkpoint, history
from dinotrack.training.checkpoint import FILE
from dinotrack.training.lessons import Lesson, is_focus, seed_of
from dinotrack.video import Video

QUICK = {
    "training.steps": 4, "backbone.name": "none", "teaching.steps": 2,
    "model.widths": (8, 16), "model.dims": 16, "model.blocks": 1, "training.batch": 32,
    "focus.share": 1.0, "focus.sure": 0.0,
}  # fmt: skip
"""Few steps. Everything that is visible is sure enough, as such a fit is never sure."""
HERE = [[0, 40, 30], [0, 60, 40], [1, 30, 20]]
THERE = [[2, 20, 50], [0, 70, 20]]
CORRECTIONS = [[0, 5, 50, 35], [1, 3, 66, 43]]


@pytest.fixture(scope="module")
def video() -> UInt8[np.ndarray, "T H W 3"]:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (80, 96, 3), dtype=np.uint8)
    return np.stack([np.roll(still, (t, 2 * t), axis=(0, 1)) for t in range(6)])


def fit(video: UInt8[np.ndarray, "T H W 3"], folder: Path | None = None, **more: object) -> Fitted:
    settings = {**QUICK, **dict(more.pop("settings", {}))}  # type: ignore[call-overload]
    return dinotrack.fit(
        video, preset="fast", settings=settings, device="cpu", folder=folder, **more
    )


@pytest.fixture(scope="module")
def fitted(video: UInt8[np.ndarray, "T H W 3"]) -> Fitted:
    return fit(video)


def numbers(tracker: Fitted) -> list[Float[Tensor, "..."]]:
    return [values.clone() for values in tracker.state.tracker.state_dict().values()]


def lessons_in(folder: Path) -> tuple[str, ...]:
    return checkpoint.read(folder).lessons


# --- the same tracker, that looks at points


def test_it_is_another_tracker_and_leaves_this_one(fitted: Fitted) -> None:
    before, plain = numbers(fitted), fitted.track(HERE)
    attentive = fitted.focus(HERE)
    assert all(map(torch.equal, before, numbers(fitted)))
    assert fitted.track(HERE) == plain
    assert not all(map(torch.equal, before, numbers(attentive)))
    assert [is_focus(name) for name in attentive.state.lessons] == [True]
    assert fitted.state.lessons == ()
    assert attentive.steps == fitted.steps
    assert fitted.record["seconds"]["focus"] > 0


def test_it_is_the_same_in_one_go_and_every_time(
    fitted: Fitted, video: UInt8[np.ndarray, "T H W 3"]
) -> None:
    tracks = fitted.focus(HERE).track(HERE)
    assert fitted.focus(HERE).track(HERE) == tracks
    assert fit(video, queries=HERE).track(HERE) == tracks
    whole = dinotrack.track(video, HERE, preset="fast", settings=QUICK, device="cpu")
    assert whole == tracks


def test_it_looks_once_at_the_same_points(fitted: Fitted) -> None:
    attentive = fitted.focus(HERE)
    assert attentive.focus(HERE) is attentive
    further = attentive.focus(THERE)
    assert further.state.lessons[:-1] == attentive.state.lessons
    assert len(set(further.state.lessons)) == 2


def test_it_sees_no_more_than_was_seen_for_the_fit(
    fitted: Fitted, video: UInt8[np.ndarray, "T H W 3"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned from is at hand; a fit that was loaded sees it anew, which is the same."""
    seen: list[str] = []
    observe = pipeline.observe

    def noted(video: Video, *more: Any, **options: Any) -> pipeline.Inputs:
        seen.append(video.name)
        return observe(video, *more, **options)

    monkeypatch.setattr(pipeline, "observe", noted)
    whole = fit(video, queries=HERE)
    assert len(seen) == 1
    assert numbers_alike(whole, fitted.focus(HERE))
    assert len(seen) == 2


def test_points_are_tracked_alone_in_as_many_rounds_as_are_wished(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without support and memory, and after the first round with the doubt of what was taught."""
    seen: list[tuple[float, float, float]] = []
    track_video = pipeline.track_video

    def noted(video: TrackedVideo, queries: Queries, run: Run) -> Trajectories:
        config = run.config.inference
        seen.append((config.support.reach, config.memory.weight, config.confidence.bias))
        return track_video(video, queries, run)

    monkeypatch.setattr(pipeline, "track_video", noted)
    asked = with_settings(fitted, {"focus.rounds": 3})
    attentive = asked.focus(HERE)
    confidence = fitted.config.inference.confidence
    doubt = confidence.bias + confidence.taught
    assert seen == [(0, 0, confidence.bias), (0, 0, doubt), (0, 0, doubt)]
    attentive.track(HERE)
    inference = fitted.config.inference
    assert seen[3:] == [(inference.support.reach, inference.memory.weight, doubt)]


def test_blank_frames_are_passed_over(
    video: UInt8[np.ndarray, "T H W 3"], monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = np.insert(video, 2, 0, axis=0)
    seen: list[tuple[list[int], tuple[int, ...]]] = []
    lesson_of = pipeline.lesson_of

    def noted(queries: Queries, found: Trajectories, hidden: Tensor, *more: Any) -> Lesson | None:
        seen.append((queries.frame.tolist(), tuple(hidden.shape)))
        return lesson_of(queries, found, hidden, *more)

    monkeypatch.setattr(pipeline, "lesson_of", noted)
    with pytest.warns(dinotrack.DinotrackWarning, match="blank"):
        fit(blank, queries=[[0, 40, 30], [4, 48, 34]])
    assert set(seen[0][0]) == {0, 3}
    assert seen[0][1] == (2, len(video))


def test_a_share_of_the_steps_is_taken(fitted: Fitted) -> None:
    told: list[tuple[str, int, int]] = []
    with_rounds = with_settings(fitted, {"focus.share": 0.75, "focus.rounds": 2})
    with_rounds.focus(HERE, progress=lambda *step: told.append(step))
    assert [step for step in told if step[0] == "focus"] == [
        ("focus", 1, 3), ("focus", 2, 3), ("focus", 3, 3),
    ]  # fmt: skip
    assert not any(step[0] == "track" for step in told)


def with_settings(fitted: Fitted, settings: dict[str, object]) -> Fitted:
    config = override(fitted.config, settings)
    run, identity = replace(fitted.run, config=config), replace(fitted.identity, config=config)
    return replace(fitted, run=run, identity=identity)


@pytest.mark.parametrize(
    "settings", [{"focus.share": 0.0}, {"focus.share": 0.1}, {"focus.sure": 1.0}]
)
def test_nothing_to_look_at_changes_nothing(fitted: Fitted, settings: dict[str, object]) -> None:
    """Where it is not wanted, where its share is less than a step, and where nothing is sure."""
    asked = with_settings(fitted, settings)
    assert asked.focus(HERE) is asked


def numbers_alike(one: Fitted, two: Fitted) -> bool:
    return all(map(torch.equal, numbers(one), numbers(two)))


def test_a_single_frame_is_no_lesson(video: UInt8[np.ndarray, "T H W 3"]) -> None:
    with pytest.warns(dinotrack.DinotrackWarning, match="one frame"):
        attentive = fit(video[:1], queries=[[0, 5, 5]])
    assert attentive.state.lessons == ()


def test_points_everywhere_are_looked_at_as_all_others(
    fitted: Fitted, video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    """Where no place is special, a fit stays as it is, or becomes what it was before a focus."""
    everywhere = choose_queries(fitted.video, grid=6)
    assert coverage(everywhere, fitted.video.size) == 1
    assert fitted.focus(everywhere) is fitted
    assert with_settings(fitted, {"focus.spread": 1.0}).focus(everywhere) is not fitted
    just = coverage(np.array(HERE, np.float64), fitted.video.size)
    assert with_settings(fitted, {"focus.spread": just}).focus(HERE) is not fitted
    fit(video, tmp_path / "plain")
    fit(video, tmp_path / "run", queries=HERE)
    assert fit(video, tmp_path / "run", queries=everywhere).state.lessons == ()
    one, two = ((tmp_path / name / FILE).read_bytes() for name in ("run", "plain"))
    assert one == two


@given(
    rows=arrays(np.float32, (7, 3), elements=st.floats(0, 1, width=32)),
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
)
def test_coverage_counts_fields(rows: Float[np.ndarray, "7 3"], size: tuple[int, int]) -> None:
    """As one would count: the fields that a point lies in, whose edges are those of pixels."""
    height, width = size
    placed = rows * (1, width, height) - (0, 0.5, 0.5)
    held = set()
    for _, x, y in placed:
        column = min(int((x + 0.5) / width * FIELDS), FIELDS - 1)
        row = min(int((y + 0.5) / height * FIELDS), FIELDS - 1)
        held.add((column, row))
    assert coverage(placed.astype(np.float64), size) == len(held) / FIELDS**2


def test_many_points_teach_evenly(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Queries] = []

    def noted(video: object, learnt: object, queries: Queries, *more: object) -> object:
        seen.append(queries)
        return learnt

    monkeypatch.setattr(pipeline, "focus", noted)
    many = [[0, float(x), 10] for x in range(90)]
    with_settings(fitted, {"focus.points": 10}).focus(many)
    assert len(seen[0]) == 10
    gaps = seen[0].xy[:, 0].diff() * fitted.video.size[1] / fitted.learnt.video.size[1]
    assert gaps.min() > 8
    assert gaps.max() < 11


@pytest.mark.parametrize(
    ("queries", "said"), [([[0, 400, 30]], "x = 400"), ([[9, 4, 3]], "t = 9"), ([], "at least 1")]
)
def test_wrong_points_are_one_sentence(fitted: Fitted, queries: list, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        fitted.focus(queries)
    assert "\n" not in str(caught.value)


def test_wrong_points_are_said_before_the_fit(video: UInt8[np.ndarray, "T H W 3"]) -> None:
    with pytest.raises(InputError, match="x = 400"):
        fit(video, queries=[[0, 400, 30]], preview=lambda fitted: pytest.fail("it was begun"))


def test_it_is_less_sure_of_itself(fitted: Fitted) -> None:
    """The odds are divided by exp(-taught), where nothing else depends on confidence."""
    alone = {
        "inference.memory.weight": 0.0,
        "inference.support.reach": 0.0,
        "inference.confidence.contrast": 0.0,
    }
    attentive = with_settings(fitted.focus(HERE), alone)

    def logits(taught: float) -> Float[np.ndarray, "N T"]:
        tracks = with_settings(attentive, {"inference.confidence.taught": taught}).track(HERE)
        return np.log(tracks.confidence / (1 - tracks.confidence.clip(max=1 - 1e-7)))

    inside = logits(0.0) < 10  # not the queries, which are certain
    difference = (logits(-0.7) - logits(0.0))[inside]
    np.testing.assert_allclose(difference, -0.7, atol=1e-3)
    plain = with_settings(fitted, alone)
    assert with_settings(plain, {"inference.confidence.taught": 3.0}).track(HERE) == plain.track(
        HERE
    )


def test_a_report_tells_of_no_hand(fitted: Fitted) -> None:
    attentive = fitted.focus(HERE)
    story = Story("clip", attentive, attentive.track(HERE), {})
    assert "was then taught" not in repeating_section(story)


# --- names


def test_names_tell_points_and_settings_apart(fitted: Fitted) -> None:
    config = fitted.config
    one = np.array(HERE, np.float32)
    changes = ("focus.sure=0.5", "focus.rounds=3", "teaching.share=0.1", "inference.method=match")
    names = {
        focus_name(one, config),
        focus_name(one + 1, config),
        focus_name(one[:2], config),
        *(focus_name(one, override(config, [change])) for change in changes),
    }
    assert len(names) == 3 + len(changes)
    other = override(config, {"shots.cut_colours": 0.3})  # of the fit, which has a name of its own
    assert focus_name(one, config) == focus_name(one.copy(), other)
    assert len({seed_of(name, 3) for name in names}) == 3
    assert not is_focus("0" * 64 + "-100")


# --- folders


def test_the_folder_keeps_both(video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path) -> None:
    fit(video, tmp_path / "plain")
    first = fit(video, tmp_path / "run", queries=HERE)
    assert lessons_in(tmp_path / "run") == first.state.lessons
    kept = history.fit_before(tmp_path / "run", 1) / FILE
    assert kept.read_bytes() == (tmp_path / "plain" / FILE).read_bytes()
    before = (tmp_path / "run" / FILE).read_bytes()
    again = fit(video, tmp_path / "run", queries=HERE)
    assert again.steps_trained_now == 0
    assert "focus" not in again.record["seconds"]
    assert (tmp_path / "run" / FILE).read_bytes() == before
    assert dinotrack.load(tmp_path / "run", video).track(HERE) == first.track(HERE)


def test_other_points_start_from_the_fit_before(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    """What a folder went through before changes nothing."""
    fit(video, tmp_path / "one", queries=THERE)
    for queries in (HERE, THERE):
        fit(video, tmp_path / "two", queries=queries)
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()
    kept = [history.fit_before(tmp_path / name, 1) / FILE for name in ("one", "two")]
    assert kept[0].read_bytes() == kept[1].read_bytes()


@pytest.mark.parametrize("lost", ["gone", "damaged", "of another video", "focused"])
def test_a_fit_before_that_is_lost_is_told_of(
    lost: str, video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    """What lies there goes on, so that no run ends for it."""
    run = tmp_path / "run"
    first = fit(video, run, queries=HERE).state.lessons
    kept = history.fit_before(run, 1)
    if lost == "gone":
        shutil.rmtree(kept)
    elif lost == "damaged":
        (kept / FILE).write_bytes(b"nothing")
    else:
        other = video[::-1] if lost == "of another video" else video
        queries = HERE if lost == "focused" else None
        fit(other, tmp_path / "other", queries=queries)
        shutil.copy(tmp_path / "other" / FILE, kept / FILE)
    with pytest.warns(dinotrack.DinotrackWarning, match="before-1 does not hold"):
        lessons = fit(video, run, queries=THERE).state.lessons
    assert (lessons[0], len(lessons)) == (first[0], 2)


def test_a_fit_that_cannot_be_kept_is_tracked_with(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: what was learned is not lost, and the folder is as it was."""
    fit(video, tmp_path)
    expected = fit(video, queries=HERE)

    def full(*args: object) -> None:
        raise InputError("no space left")

    monkeypatch.setattr(history.checkpoint, "save", full)
    with pytest.warns(dinotrack.DinotrackWarning, match=r"from before these points.*no space left"):
        attentive = fit(video, tmp_path, queries=HERE)
    assert attentive.track(HERE) == expected.track(HERE)
    assert lessons_in(tmp_path) == ()


def test_the_same_points_are_looked_at_again_after_others(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    """Also on top of what a hand taught, where the fit looked at them before the others."""
    first = fit(video, tmp_path, queries=HERE)
    taught = first.teach(CORRECTIONS, queries=HERE)
    history.put_taught(tmp_path, first.state, taught.state, first.identity)
    expected = (tmp_path / FILE).read_bytes()
    fit(video, tmp_path, queries=THERE)
    assert fit(video, tmp_path, queries=HERE).track(HERE) == taught.track(HERE)
    assert (tmp_path / FILE).read_bytes() == expected


def test_masks_are_learned_from_in_one_go_and_later(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    masks = np.zeros(video.shape[:3], bool)
    masks[:, 10:60, 10:60] = True
    whole = fit(video, tmp_path / "one", queries=HERE, foreground=masks)
    fit(video, tmp_path / "two", foreground=masks)
    later = fit(video, tmp_path / "two", queries=HERE, foreground=masks)
    assert numbers_alike(whole, later)
    without = fit(video, tmp_path / "three", foreground=masks).focus(HERE)
    assert numbers_alike(whole, without)


def test_what_was_learned_from_is_held_no_longer_than_needed(
    fitted: Fitted, video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    """Also where it turned out that there is nothing to look at."""
    everywhere = choose_queries(fitted.video, grid=6)
    unsure = {"focus.sure": 1.0}
    for found in (
        fitted,
        fitted.focus(HERE),
        fit(video, queries=HERE),
        fit(video, queries=everywhere),
        fit(video, tmp_path, queries=everywhere),
        fit(video, queries=HERE, settings=unsure),
    ):
        assert found.learnt.learned_from is None


def test_what_a_hand_taught_stays(video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path) -> None:
    """Points that are asked for later are looked at on top of it."""
    first = fit(video, tmp_path, queries=HERE)
    taught = first.teach(CORRECTIONS, queries=HERE)
    history.put_taught(tmp_path, first.state, taught.state, first.identity)
    assert fit(video, tmp_path, queries=HERE).state.lessons == taught.state.lessons
    later = fit(video, tmp_path, queries=THERE).state.lessons
    assert (later[:2], len(later)) == (taught.state.lessons, 3)
    assert fit(video, tmp_path, queries=[[0, 11, 11]]).state.lessons[:2] == taught.state.lessons
    assert len(lessons_in(tmp_path)) == 3


def test_a_fit_without_points_is_kept_as_it_is(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    first = fit(video, tmp_path, queries=HERE)
    assert fit(video, tmp_path).state.lessons == first.state.lessons


def test_other_numbers_of_looking_are_no_other_fit(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    first = fit(video, tmp_path, queries=HERE).state.lessons
    second = fit(video, tmp_path, queries=HERE, settings={"focus.sure": 0.1}).state.lessons
    assert (len(second), second == first) == (1, False)
    assert fit(video, tmp_path, settings={"focus.share": 0.0}).state.lessons == second


def test_stopped_amid_it_the_fit_is_whole(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "focus":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(video, tmp_path / "run", queries=HERE, progress=stop)
    assert lessons_in(tmp_path / "run") == ()
    again = fit(video, tmp_path / "run", queries=HERE)
    assert again.steps_trained_now == 0
    assert again.track(HERE) == fit(video, queries=HERE).track(HERE)


# --- the command line


def test_undo_goes_back_to_before_a_hands_lesson(
    video: UInt8[np.ndarray, "T H W 3"], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "clip.mp4", video, 12.0)
    (tmp_path / "here.csv").write_text("t,x,y\n0,40,30\n0,60,40\n")
    (tmp_path / "there.csv").write_text("t,x,y\n0,50,50\n0,70,40\n1,40,60\n")
    (tmp_path / "c.csv").write_text("point,t,x,y\n0,5,50,35\n")
    run = tmp_path / "run"
    quick = [f"{key}={text(value)}" for key, value in QUICK.items()]

    def track(queries: str, out: Path = run) -> Tracks:
        words = [str(tmp_path / "clip.mp4"), "--queries", str(tmp_path / queries), "--no-overlay"]
        assert main([*words, "--out", str(out), "--set", *quick]) == 0
        return dinotrack.load_tracks(out / "tracks.npz")

    first = track("here.csv")
    assert main(["teach", str(run), "--undo"]) == 2
    assert "was never taught" in capfd.readouterr().err
    assert main(["teach", str(run), "--corrections", str(tmp_path / "c.csv")]) == 0
    track("there.csv")
    assert [is_focus(name) for name in lessons_in(run / "model")] == [True, False, True]
    assert main(["teach", str(run), "--undo"]) == 0
    assert "went back to the fit from before lesson 1\n" in capfd.readouterr().out
    assert [is_focus(name) for name in lessons_in(run / "model")] == [True]
    fresh = track("there.csv", tmp_path / "fresh")  # the points of the run are what is looked at
    assert dinotrack.load_tracks(run / "tracks.npz") == fresh
    assert lessons_in(run / "model") == lessons_in(tmp_path / "fresh" / "model")
    assert [path.name for path in sorted((run / "model").glob("before-*"))] == ["before-1"]
    assert track("here.csv") == first


def text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
