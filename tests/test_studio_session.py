"""The studio's session: what it does with a document and a video, without any server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import dinotrack
from dinotrack import api
from dinotrack.benchmarks import studio
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.fitted import Fitted
from dinotrack.studio.document import Conflict, Document, Lesson, Point
from dinotrack.studio.engine import ExportWishes, FitWishes
from dinotrack.studio.following import (
    FEW,
    MANY,
    NOTHING,
    Following,
    corrections_of,
    hidden_of,
    one_thread,
)
from dinotrack.studio.pictures import PICTURES
from dinotrack.studio.session import Session
from dinotrack.synthesis import Clip, generate
from dinotrack.tracks import Tracks
from dinotrack.training import checkpoint
from dinotrack.training.checkpoint import FILE
from dinotrack.video import Video, read_video

SIZE, FRAMES, STEPS = (64, 96), 6, 3
PATIENCE = 60.0
CLOSE = 1e-3
"""Px: how far tracks of points that are tracked together may be from those of each alone."""
WISHES = FitWishes(backbone="none", steps=STEPS)
POINTS = (
    Point(0, 0, 20.25, 30.5),
    Point(2, 0, 60.0, 20.0, name="tail"),
    Point(3, 4, 50.5, 40.0, corrections=((1, 44.0, 41.5),), hidden=((2, 3),)),
)
pytestmark = pytest.mark.filterwarnings("ignore::dinotrack.errors.DinotrackWarning")


class Heard:
    """What a session publishes."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self._came = threading.Condition()

    def __call__(self, event: str, data: Any) -> None:
        with self._came:
            self.events.append((event, data))
            self._came.notify_all()

    def of(self, event: str) -> list[Any]:
        return [data for name, data in self.events if name == event]

    def wait(self, event: str, holds: Callable[[Any], bool] = bool, since: int = 0) -> Any:
        """The first event of a kind, since there were so many, for which something holds."""

        def found() -> list[Any]:
            heard = self.events[since:]
            return [data for name, data in heard if name == event and holds(data)]

        with self._came:
            assert self._came.wait_for(found, PATIENCE), self.events
            return found()[0]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return generate(SIZE, FRAMES, 2, seed=4, points=8)


@pytest.fixture(scope="module")
def video(clip: Clip) -> Video:
    return read_video(clip.frames)


@pytest.fixture(scope="module")
def fitted_folder(video: Video, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was fitted from the command line, so to say."""
    folder = tmp_path_factory.mktemp("fitted")
    settings = {"backbone.name": "none", "training.steps": STEPS, "teaching.steps": 4}
    api.fit(video, settings=settings, folder=folder / "model")
    return folder


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def opened(
    video: Video, heard: Heard, tmp_path: Path
) -> Iterator[Callable[[Path | None], Session]]:
    """opened(folder): a session, which is closed at the end."""
    sessions = []

    def open_session(folder: Path | None = None) -> Session:
        if folder is not None:
            copied(folder / "model", tmp_path / "model")
        sessions.append(Session(tmp_path, video, heard))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def copied(source: Path, target: Path) -> None:
    target.mkdir()
    (target / FILE).write_bytes((source / FILE).read_bytes())


def queries_of(points: Sequence[Point]) -> dict[str, Any]:
    """What `Fitted.track` is asked for these points."""
    placed = [point.placed for point in points]
    return {
        "queries": [[point.t, point.x, point.y] for point in points],
        "corrections": corrections_of(placed),
        "hidden": hidden_of(placed),
    }


def alone(fitted: Fitted, point: Point) -> Tracks:
    """The track that a point has by itself."""
    with one_thread():
        return fitted.track(**queries_of([point]))


def test_a_fit_from_nothing_to_tracks(
    opened: Callable[..., Session], heard: Heard, video: Video, tmp_path: Path
) -> None:
    session = opened()
    session.show(Document(POINTS))
    assert session.status()["fit"]["status"] == "none"
    assert session.tracks() == []
    session.fit(WISHES)
    heard.wait("fit", lambda fit: fit["preview"] and fit["status"] == "running")
    done = heard.wait("fit", lambda fit: fit["status"] == "done")
    assert (done["step"], done["steps"], done["preview"]) == (STEPS, STEPS, False)
    assert done["settings"] == {
        "preset": "fast",
        "backbone": "none",
        "flow": "dis",
        "steps": STEPS,
    }
    tracks = session.tracked()
    kept = api.load(tmp_path / "model", video)
    together = kept.track(**queries_of(POINTS))
    np.testing.assert_allclose(tracks.xy, together.xy, atol=CLOSE)
    plain = {"backbone.name": "none", "training.steps": STEPS}
    places = queries_of(POINTS)["queries"]
    api.fit(video, settings=plain, folder=tmp_path / "plain", queries=places)
    assert (tmp_path / "plain" / FILE).read_bytes() == (tmp_path / "model" / FILE).read_bytes()
    assert tracks.names == ("point_0", "tail", "point_3")
    assert not tracks.visible[2, 2:4].any()
    np.testing.assert_allclose(tracks.xy[2, 1], (44.0, 41.5))
    assert set(session.losses()) == {"flow", "heatmap"}
    shown = session.tracks([3])
    assert [track["id"] for track in shown] == [3]
    np.testing.assert_allclose(shown[0]["xy"], tracks.xy[2], atol=5.1e-4)
    assert shown[0]["visible"] == tracks.visible[2].astype(int).tolist()


@pytest.mark.parametrize("points", [POINTS, ()])
def test_a_fit_looks_at_the_points_that_are_there(
    points: tuple[Point, ...],
    opened: Callable[..., Session],
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def noted(*args: object, queries: object, **more: object) -> None:
        asked.append(queries)
        raise InputError("noted")

    monkeypatch.setattr(api, "fit", noted)
    session = opened()
    session.show(Document(points))
    session.fit(WISHES)
    heard.wait("fit", lambda fit: fit["problem"] is not None)
    assert asked == [queries_of(points)["queries"] or None]


def test_what_was_fitted_before_is_opened_and_a_correction_is_answered_alone(
    opened: Callable[..., Session], heard: Heard, video: Video, fitted_folder: Path
) -> None:
    """Of all points only the one that changed is tracked again, and to the byte as by itself."""
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    session.tracked()
    assert session.status()["fit"]["status"] == "done"
    assert session.status()["job"] is None
    before = session.status()["versions"]
    moved = replace(POINTS[0], corrections=((3, 30.5, 33.25),))
    session.show(Document((moved, *POINTS[1:])))
    tracks = session.tracked()
    after = session.status()["versions"]
    assert [n for n in after if after[n] != before[n]] == [0]
    assert after[0] > max(before.values())
    fitted = api.load(fitted_folder / "model", video)
    expected = alone(fitted, moved)
    np.testing.assert_array_equal(tracks.xy[:1], expected.xy)
    np.testing.assert_array_equal(tracks.confidence[:1], expected.confidence)
    session.show(Document(POINTS[1:]))
    assert session.tracked().names == ("tail", "point_3")
    assert session.tracks([0]) == []


def test_a_burst_of_drags_is_not_worked_off(
    opened: Callable[..., Session], heard: Heard, video: Video, fitted_folder: Path
) -> None:
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    session.tracked()
    since = len(heard.of("tracks"))
    for k in range(40):
        dragged = replace(POINTS[0], x=20.25 + k / 8)
        session.show(Document((dragged, *POINTS[1:])))
        time.sleep(0.005)
    tracks = session.tracked()
    assert len(heard.of("tracks")) - since < 20
    fitted = api.load(fitted_folder / "model", video)
    np.testing.assert_array_equal(tracks.xy[:1], alone(fitted, dragged).xy)


def test_stop_keeps_what_is_learnt_and_fit_goes_on(
    opened: Callable[..., Session], heard: Heard, tmp_path: Path
) -> None:
    session = opened()
    session.show(Document(POINTS))
    wishes = replace(WISHES, steps=400)
    session.fit(wishes)
    with pytest.raises(Conflict, match="under way"):
        session.fit(wishes)
    with pytest.raises(Conflict, match="under way"):
        session.tracked()
    heard.wait("fit", lambda fit: fit["step"] > 0)
    since = len(heard.events)
    session.stop()
    heard.wait("fit", lambda fit: fit["status"] == "stopping", since)
    stopped = heard.wait("fit", lambda fit: fit["status"] == "stopped", since)
    assert 0 < stopped["step"] < 400
    assert stopped["preview"]
    assert session.tracked().xy.shape == (3, FRAMES, 2)
    since = len(heard.events)
    session.fit(FitWishes())
    going_on = heard.wait("fit", lambda fit: fit["stage"] == "fit", since)
    assert going_on["step"] >= stopped["step"]
    assert going_on["steps"] == 400
    session.stop()
    heard.wait("fit", lambda fit: fit["status"] == "stopped", since)


def test_a_killed_fit_goes_on_from_what_was_kept(
    opened: Callable[..., Session], heard: Heard, video: Video, tmp_path: Path
) -> None:
    """Here it is an exception that ends it; `test_studio_killed` ends it with kill -9."""
    settings = {"backbone.name": "none", "training.steps": 8}

    def end_early(stage: str, done: int, total: int) -> None:
        if stage == "fit" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.fit(video, settings=settings, folder=tmp_path / "model", progress=end_early)
    session = opened()
    session.show(Document(POINTS))
    stopped = heard.wait("fit", lambda fit: fit["status"] == "stopped")
    assert (stopped["step"], stopped["steps"], stopped["preview"]) == (5, 8, True)
    assert session.tracked().xy.shape == (3, FRAMES, 2)
    assert [len(values) for values in session.losses().values()] == [5, 5]
    session.fit(FitWishes(backbone="none", steps=8))
    heard.wait("fit", lambda fit: fit["status"] == "done")
    assert [len(values) for values in session.losses().values()] == [8, 8]


def test_points_that_are_placed_while_it_is_fitted_get_tracks_of_the_preview(
    opened: Callable[..., Session], heard: Heard
) -> None:
    session = opened()
    session.show(Document(POINTS))
    session.fit(replace(WISHES, steps=2000))
    heard.wait("fit", lambda fit: fit["stage"] == "fit" and fit["step"] > 0)
    session.show(Document((*POINTS, Point(9, 2, 30.0, 30.0))))
    heard.wait("tracks", lambda told: 9 in told["versions"])
    assert session.status()["fit"]["status"] == "running"
    session.stop()


def test_other_settings_are_refused_and_begin_again_beside_what_is_kept(
    opened: Callable[..., Session], heard: Heard, fitted_folder: Path, tmp_path: Path
) -> None:
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    session.tracked()
    old = (tmp_path / "model" / FILE).read_bytes()
    with pytest.raises(Conflict, match=f"steps {STEPS} and not 400"):
        session.fit(FitWishes(steps=400))
    with pytest.raises(InputError, match="preset"):
        session.fit(FitWishes(preset="slow", again=True))
    with pytest.raises(InputError, match="flow"):
        session.fit(FitWishes(flow="wind", again=True))
    since = len(heard.events)
    session.fit(replace(WISHES, steps=400, again=True))
    heard.wait("fit", lambda fit: fit["status"] == "running" and fit["step"] > 0, since)
    session.stop()
    heard.wait("fit", lambda fit: fit["status"] == "stopped", since)
    assert (tmp_path / "model" / FILE).read_bytes() == old
    since = len(heard.events)
    session.fit(replace(WISHES, steps=STEPS + 1, again=True))
    heard.wait("fit", lambda fit: fit["status"] == "done" and fit["steps"] == STEPS + 1, since)
    assert (tmp_path / "model" / FILE).read_bytes() != old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_lessons_teach_and_undo_goes_back(
    opened: Callable[..., Session], heard: Heard, fitted_folder: Path, tmp_path: Path
) -> None:
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    plain = session.tracked()
    document = Document(POINTS, (Lesson((POINTS[2].placed,)),))
    session.show(document)
    taught = session.tracked()
    assert not np.array_equal(taught.xy, plain.xy)
    (kept,) = (tmp_path / "model").glob("taught-*")
    written = (kept / FILE).stat().st_mtime_ns
    session.show(Document(POINTS))
    np.testing.assert_array_equal(session.tracked().xy, plain.xy)
    session.show(document)
    np.testing.assert_array_equal(session.tracked().xy, taught.xy)
    assert (kept / FILE).stat().st_mtime_ns == written


def test_a_lesson_that_teaches_nothing_is_told_of_and_tracks_stay(
    opened: Callable[..., Session], heard: Heard, fitted_folder: Path
) -> None:
    session = opened(fitted_folder)
    session.show(Document(POINTS, (Lesson((POINTS[0].placed,)),)))
    heard.wait("problem")
    assert session.tracked().xy.shape == (3, FRAMES, 2)
    assert len(heard.of("problem")) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("the disk is full; make room"), "the disk is full; make room"),
        (MemoryError(), "memory"),
        (RuntimeError("oops"), "RuntimeError: oops"),
    ],
)
def test_mishaps_are_sentences_and_the_session_lives_on(
    error: Exception,
    said: str,
    opened: Callable[..., Session],
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = opened()
    session.show(Document(POINTS))
    with monkeypatch.context() as patch:
        patch.setattr("dinotrack.pipeline.learn", raising(error))
        session.fit(WISHES)
        failed = heard.wait("fit", lambda fit: fit["status"] == "failed")
    assert said in failed["problem"]
    session.fit(WISHES)
    heard.wait("fit", lambda fit: fit["status"] == "done")
    assert session.tracked().xy.shape == (3, FRAMES, 2)


def test_a_disk_that_is_full_is_told_of_and_the_fit_goes_on(
    opened: Callable[..., Session], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings.simplefilter("always", DinotrackWarning)
    monkeypatch.setattr(warnings, "showwarning", lambda *told, **more: None)
    session = opened()
    session.show(Document(POINTS))
    monkeypatch.setattr("dinotrack.training.checkpoint.save", raising(InputError("no space left")))
    session.fit(WISHES)
    assert "no space left" in heard.wait("problem")["problem"]
    heard.wait("fit", lambda fit: fit["status"] == "done")
    assert session.tracked().xy.shape == (3, FRAMES, 2)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_points_that_cannot_be_tracked_are_told_of_once(
    opened: Callable[..., Session],
    heard: Heard,
    fitted_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = opened(fitted_folder)
    heard.wait("fit", lambda fit: fit["status"] == "done")
    with monkeypatch.context() as patch:
        patch.setattr("dinotrack.pipeline.track", raising(InputError("the memory is too short")))
        session.show(Document(POINTS))
        assert heard.wait("problem") == {"problem": "the memory is too short"}
        with pytest.raises(Conflict, match="could not be tracked"):
            session.tracked()
    moved = replace(POINTS[0], x=21.0)
    session.show(Document((moved, *POINTS[1:])))
    assert session.tracked([0]).xy.shape == (1, FRAMES, 2)


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_have_the_size_of_the_frame(
    kind: str, opened: Callable[..., Session], fitted_folder: Path
) -> None:
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    session.tracked()
    if kind == "raw":  # this fit has no ViT
        with pytest.raises(Conflict, match="no ViT"):
            session.picture(kind, 2)
        return
    point = 2 if kind.startswith("corr") else None
    picture = decoded(session.picture(kind, 2, point))
    assert picture.shape == (*SIZE, 3)
    assert picture.std() > 5
    if point is not None:
        with pytest.raises(InputError, match="choose a point"):
            session.picture(kind, 2)


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_frames_are_as_they_are(opened: Callable[..., Session], clip: Clip) -> None:
    session = opened()
    for t in (0, FRAMES - 1):
        seen = decoded(session.frame(t)).astype(float)
        assert np.abs(seen - clip.frames[t]).mean() < 3
    with pytest.raises(InputError, match="frames are 0 to 5"):
        session.frame(FRAMES)
    with pytest.raises(Conflict, match="press Fit"):
        session.picture("refined", 0)


def test_files_hold_what_the_page_shows(
    opened: Callable[..., Session], fitted_folder: Path
) -> None:
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    tracks = session.tracked()
    assert dinotrack.load_tracks(session.export("json", ExportWishes())) == tracks
    some = session.export("nuke", ExportWishes(points=(2,), start_frame=1001))
    assert "tail" in some.read_text()
    assert "point_0" not in some.read_text()
    with pytest.raises(InputError, match="choose one"):
        session.export("word", ExportWishes())
    assert session.overlay("points").stat().st_size > 1000
    assert session.report().read_text("utf-8").startswith("<!doctype html>")
    assert session.status()["job"] is None


def test_nothing_is_left_of_files_that_could_not_be_written(
    opened: Callable[..., Session],
    fitted_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise InputError("the disk is full")

    folder = tmp_path_factory.mktemp("taken")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    session = opened(fitted_folder)
    session.show(Document(POINTS))
    for name, make in (
        ("dinotrack.tracks.Tracks.save", lambda: session.export("json", ExportWishes())),
        ("dinotrack.overlay.render", lambda: session.overlay("points")),
        ("dinotrack.studio.exports.write_report", session.report),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, fail)
            with pytest.raises(InputError, match="the disk is full"):
                make()
        assert not list(folder.iterdir())
    folder.rmdir()
    with pytest.raises(InputError, match="make room there, or set TMPDIR"):
        session.report()


def test_what_is_not_there_is_not_waited_for(opened: Callable[..., Session]) -> None:
    session = opened()
    session.show(Document(POINTS))
    with pytest.raises(Conflict, match="press Fit"):
        session.tracked()
    session.show(Document())
    with pytest.raises(Conflict, match="place one"):
        session.tracked()
    session.close()
    with pytest.raises(Conflict, match="closed"):
        session.tracked()


def points_at(*ids: int, x: float = 1.0) -> Document:
    return Document(tuple(Point(n, 0, x + n, 2.0) for n in ids))


def some_tracks() -> Tracks:
    numbers = np.zeros((1, 2), np.float32)
    return Tracks(
        numbers[..., None].repeat(2, 2), numbers > 0, numbers, numbers[:, [0] * 3], (9, 9), 24
    )


def test_points_of_the_latest_edit_come_first_and_none_twice() -> None:
    following = Following()
    following.show(points_at(*range(100)))
    assert following.edited() == NOTHING
    assert [p.id for p in following.due(1).points] == list(range(FEW))
    following.show(points_at(*range(200)))
    grid = following.due(1)
    assert [p.id for p in grid.points] == list(range(100, 100 + FEW))
    assert following.edited(after=grid.edit) == NOTHING
    following.show(Document((*points_at(*range(199)).points, Point(199, 1, 5, 5))))
    (newest,) = following.edited(after=grid.edit).points
    assert (newest.id, newest.t) == (199, 1)
    following.put(newest, 1, some_tracks())
    assert following.due(1) == grid
    for placed in grid.points:
        following.put(placed, 1, some_tracks())
    assert [p.id for p in following.due(1).points] == list(range(116, 132))
    for placed in (*points_at(*range(199)).points, newest):
        following.put(placed.placed if isinstance(placed, Point) else placed, 1, some_tracks())
    taught = following.due(2).points
    assert [p.id for p in taught] == [199, *range(100, 99 + FEW)]  # what was edited last first
    following.put(taught[0], 2, some_tracks())
    assert len(following.due(2).points) == MANY


def test_an_older_track_does_not_take_the_place_of_a_newer_one() -> None:
    following = Following()
    following.show(points_at(3))
    (old,) = following.due(1).points
    following.show(points_at(3, x=2.0))
    (new,) = following.due(1).points
    following.put(old, 1, some_tracks())
    assert [f.placed for f in following.followed()] == [old]
    first = following.versions()[3]
    following.put(new, 1, some_tracks())
    following.put(old, 1, some_tracks())
    assert [f.placed for f in following.followed()] == [new]
    assert following.versions()[3] > first
    assert following.stale([3], 1) == []
    assert following.stale([3], 2) == [3]
    following.show(Document())
    following.put(new, 1, some_tracks())
    assert following.versions() == {}


def test_points_that_a_fit_refuses_wait_for_another_one() -> None:
    following = Following()
    following.show(points_at(3))
    following.refuse(following.due(1).points, 1)
    assert following.are_refused([3], 1)
    assert following.due(1) == NOTHING
    assert [p.id for p in following.due(2).points] == [3]


@pytest.mark.parametrize("name", studio.ANSWERS)
def test_the_benchmark_measures_each_answer(
    name: str, video: Video, fitted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio, "TIMES", 2)
    monkeypatch.setattr(studio, "GRID", 2)
    with studio._opened(video, fitted_folder / "model") as desk:
        desk.show(POINTS)
        seconds = studio.ANSWERS[name](desk)
    assert len(seconds) in (1, 2)
    assert all(0 < each < studio.PATIENCE for each in seconds)


KILLED = """
import sys
from pathlib import Path
from dinotrack.studio.document import Document, Point
from dinotrack.studio.engine import FitWishes
from dinotrack.studio.session import Session
from dinotrack.synthesis import generate
from dinotrack.video import read_video

def publish(event, data):
    if event == "fit":
        print(data["step"], flush=True)

video = read_video(generate((64, 96), 6, 2, seed=4, points=8).frames)
session = Session(Path(sys.argv[1]), video, publish)
session.show(Document((Point(0, 0, 20.25, 30.5),)))
session.fit(FitWishes(backbone="none", steps=100_000))
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_fit_that_is_killed_comes_back_stopped_and_goes_on(
    opened: Callable[..., Session], heard: Heard, tmp_path: Path
) -> None:
    """Three times in a row: nothing but the last seconds is ever lost."""
    before = 0
    for _ in range(3):
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
            assert process.stdout is not None
            kept = tmp_path / "model" / FILE
            changes = set()
            while len(changes) < 2:
                assert process.stdout.readline(), "it ended by itself"
                if kept.exists():
                    changes.add(kept.stat().st_mtime_ns)
            process.kill()
        step = checkpoint.read(tmp_path / "model").step
        assert step > before
        before = step
    session = opened()
    session.show(Document(POINTS))
    stopped = heard.wait("fit", lambda fit: fit["status"] == "stopped")
    assert stopped["step"] == before
    assert session.tracked().xy.shape == (3, FRAMES, 2)
    since = len(heard.events)
    session.fit(FitWishes())
    assert heard.wait("fit", lambda fit: fit["stage"] == "fit", since)["step"] >= before
    session.stop()
