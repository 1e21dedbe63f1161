"""dinotrack teach: what it learns, writes and undoes, and what is left where it ends early."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dinotrack
from dinotrack.cli import main
from dinotrack.commands import teach, track
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted
from dinotrack.formats import load_tracks
from dinotrack.locks import locked
from dinotrack.media.encoding import write_video
from dinotrack.report.repeating import repeating_section
from dinotrack.report.story import Story
from dinotrack.synthesis import generate
from dinotrack.terminal import arguments, requests
from dinotrack.terminal.outputs import CORRECTIONS
from dinotrack.training import checkpoint, history
from dinotrack.training.checkpoint import FILE

SIZE, FRAMES = (48, 64), 6
TINY = (
    "training.steps=2", "training.batch=32", "model.widths=8,16", "model.dims=16", "model.blocks=1",
    "backbone.name=none", "teaching.steps=4", "focus.share=0",
)  # fmt: skip
TABLE = "point,t,x,y,until\nnose,3,22.1,20.7,\near,5,41,31,\ntail,0,11,12,\near,4,,,4\n"
Change = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, queries, corrections, and a finished run of it."""
    folder = tmp_path_factory.mktemp("made")
    write_video(folder / "pony.mp4", generate(SIZE, FRAMES, 2, seed=1, points=4).frames, 12.0)
    (folder / "q.csv").write_text("name,t,x,y\nnose,0,20,20\near,2,40,30\ntail,5,10.5,12.25\n")
    (folder / "c.csv").write_text(TABLE)
    assert main([*command_of(folder), "--out", str(folder / "run")]) == 0
    return folder


def command_of(folder: Path) -> list[str]:
    """The command of the run, but for its folder."""
    argv = [str(folder / "pony.mp4"), "--queries", str(folder / "q.csv"), "--no-overlay"]
    return [*argv, "--format", "nuke", "--start-frame", "101", "--set", *TINY]


@pytest.fixture(scope="module")
def taught(made: Path) -> Path:
    """The same run, taught once; `printed` holds what was said."""
    shutil.copytree(made / "run", made / "taught")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert call(made / "taught", "--corrections", made / "c.csv") == 0
    (made / "printed").write_text(printed.getvalue())
    return made / "taught"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run, which a test may change."""
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def call(run: Path, *more: object) -> int:
    return main(["teach", str(run), *map(str, more)])


def fit_of(run: Path) -> bytes:
    return (run / "model" / FILE).read_bytes()


def record_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def results(run: Path) -> dict[str, bytes]:
    names = ("tracks.npz", "tracks.csv", "tracks_nuke.nk", CORRECTIONS)
    return {name: (run / name).read_bytes() for name in names if (run / name).exists()}


def refused(capfd: pytest.CaptureFixture[str], *argv: object) -> str:
    """What is said of a call that is wrong, which is one line."""
    capfd.readouterr()
    assert main(["teach", *map(str, argv)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("dinotrack: error: ")].pop()


def test_the_fit_is_taught_and_all_results_are_written(made: Path, taught: Path) -> None:
    before, old = fit_of(made / "run"), results(made / "run")
    run, printed = taught, (made / "printed").read_text()
    assert "taught in 4 steps; corrections: 3, points: 3" in printed
    assert f"wrote {run}: tracks.npz, tracks.csv, {CORRECTIONS}, tracks_nuke.nk" in printed
    assert fit_of(run) != before
    assert (history.fit_before(run / "model", 1) / FILE).read_bytes() == before
    new = results(run)
    assert new.keys() - old.keys() == {CORRECTIONS}
    assert all(new[name] != old[name] for name in old)
    tracks = load_tracks(run / "tracks.npz")
    assert tracks.xy[1, 5].tolist() == [41, 31]
    assert tracks.names == ("nose", "ear", "tail")
    record = record_of(run)
    assert record["complete"] is True
    assert (record["corrections"], record["hidden_stretches"]) == (3, 1)
    assert record["steps_trained_now"] == 4
    assert len(record["lessons"]) == 1
    assert record["request"] == record_of(made / "run")["request"]
    assert "x101" in (run / "tracks_nuke.nk").read_text(), "the start frame of the run"


def test_python_teaches_the_same(made: Path, taught: Path) -> None:
    fitted = dinotrack.load(made / "run" / "model")
    queries = [[0, 20, 20], [2, 40, 30], [5, 10.5, 12.25]]
    corrections = [[0, 3, 22.1, 20.7], [1, 5, 41, 31], [2, 0, 11, 12]]
    better = fitted.teach(corrections, queries=queries, hidden=[[1, 4, 4]])
    tracks = better.track(queries, corrections=corrections, hidden=[[1, 4, 4]])
    np.testing.assert_array_equal(tracks.xy, load_tracks(taught / "tracks.npz").xy)
    assert dinotrack.load(taught / "model").state.lessons == better.state.lessons


def test_the_same_corrections_give_the_same_bytes(
    made: Path, taught: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Given again, also from what the run kept of them, they are not taught twice; after going back
    they teach the same."""
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    fit, written = fit_of(run), results(run)
    for more in (("--corrections", made / "c.csv"), (), ("--corrections", run / CORRECTIONS)):
        capfd.readouterr()
        assert call(run, *more) == 0
        assert "nothing is taught anew" in capfd.readouterr().out
        assert (fit_of(run), results(run)) == (fit, written)
    assert call(run, "--undo") == 0
    assert call(run, "--corrections", made / "c.csv") == 0
    assert (fit_of(run), results(run)) == (fit, written)


def test_each_lesson_is_undone_in_turn(
    made: Path, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fits = [fit_of(run)]
    (tmp_path / "more.csv").write_text("point,t,x,y\n0,5,25,22\n")
    for more in (
        ("--corrections", made / "c.csv"),
        ("--corrections", tmp_path / "more.csv"),
        ("--corrections", tmp_path / "more.csv", "--steps", 3),
    ):
        assert call(run, *more) == 0
        fits.append(fit_of(run))
    assert len(set(fits)) == 4
    for number in (2, 1, 0):
        capfd.readouterr()
        assert call(run, "--undo") == 0
        assert f"went back to the fit from before lesson {number + 1}" in capfd.readouterr().out
        assert fit_of(run) == fits[number]
    assert [path.name for path in (run / "model").iterdir() if path.name != ".lock"] == [FILE]
    tracks = load_tracks(run / "tracks.npz")
    assert tracks.xy[0, 5].tolist() == [25, 22], "the corrections hold on"
    fitted = dinotrack.load(run / "model")
    again = fitted.track(tracks.queries, names=tracks.names, corrections=[[0, 5, 25, 22]])
    assert again == tracks
    assert "was never taught; there is nothing to undo" in refused(capfd, run, "--undo")


def stop(*args: object, **more: object) -> None:
    raise KeyboardInterrupt


ENDINGS: list[Change] = [
    lambda patch: patch.setattr(Fitted, "teach", stop),
    lambda patch: patch.setattr(history, "put_taught", stop),
    lambda patch: patch.setattr(history.checkpoint, "save", stop),  # the fit before is kept by then
    lambda patch: patch.setattr(track, "write_results", stop),
]


@pytest.mark.parametrize("place", range(len(ENDINGS)))
def test_interrupted_nothing_is_lost(
    place: int, made: Path, run: Path, taught: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, old = fit_of(run), results(run)
    with pytest.MonkeyPatch.context() as patch:
        ENDINGS[place](patch)
        assert call(run, "--corrections", made / "c.csv") == 130
    assert teach.INTERRUPTED in capfd.readouterr().err
    assert results(run) == old
    assert fit_of(run) in (before, fit_of(taught))
    assert call(run, "--corrections", made / "c.csv") == 0
    assert fit_of(run) == fit_of(taught)
    assert results(run) == results(taught)
    history.go_back(run / "model", 1)
    assert fit_of(run) == before


@pytest.mark.parametrize("name", ["write_results", "go_back"])
def test_interrupted_on_the_way_back(name: str, made: Path, taught: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(taught, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(track if name == "write_results" else history, name, stop)
        assert call(run, "--undo") == 130
    assert fit_of(run) == fit_of(taught)
    assert call(run, "--undo") == 0
    assert fit_of(run) == fit_of(made / "run")


def test_other_points_are_taught_and_tracked(made: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("t,x,y\n1,30,30\n")
    (tmp_path / "c.json").write_text("[[0, 4, 33, 31]]")
    asked = ("--queries", tmp_path / "one.csv", "--corrections", tmp_path / "c.json")
    assert call(run, *asked) == 0
    tracks = load_tracks(run / "tracks.npz")
    assert tracks.queries.tolist() == [[1, 30, 30]]
    assert tracks.xy[0, 4].tolist() == [33, 31]


def test_files_of_other_programs_teach_by_the_start_frame_of_the_run(made: Path, run: Path) -> None:
    tracks = load_tracks(run / "tracks.npz")
    asked = ("--corrections", run.parent / "theirs.nk")
    shutil.copy(run / "tracks_nuke.nk", asked[1])
    assert call(run, *asked) == 0
    again = load_tracks(run / "tracks.npz")
    np.testing.assert_allclose(again.xy[tracks.visible], tracks.xy[tracks.visible], atol=2e-3)


def test_a_batch_passes_over_a_run_that_was_taught(made: Path, taught: Path) -> None:
    asked = arguments.parse(command_of(made))
    assert requests.is_done(made / "run", asked)
    assert requests.is_done(taught, asked)


def test_a_report_is_made_again_and_tells_of_lessons(made: Path, run: Path) -> None:
    (run / "report.html").write_text("an old one")
    assert call(run, "--corrections", made / "c.csv") == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "taught" in page
    assert "report.html" in record_of(run)["outputs"]
    fitted = dinotrack.load(made / "run" / "model")
    story = Story("pony", fitted, load_tracks(run / "tracks.npz"), {})
    assert "was then taught" not in repeating_section(story)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), "was given no corrections so far; give --corrections FILE"),
        (("--undo",), "was never taught"),
        (("--undo", "--corrections", "c.csv"), "--undo goes back, and --corrections is of no use"),
        (("--steps", "0"), "argument --steps"),
        (("--corrections", "absent.csv"), "absent.csv: no such file"),
        (("--corrections", "c.csv", "--queries", "absent.csv"), "absent.csv: no such file"),
        (("--corrections", "bad.csv"), "bad.csv, line 2: t = 9"),
        (("--corrections", "none.csv"), "there is nothing to teach"),
        (("--corrections", "c.csv", "--video", "absent.mp4"), "absent.mp4"),
        (("--corrections", "run/tracks.csv"), "tracks.csv would be lost"),
    ],
)
def test_what_cannot_be_taught(
    asked: tuple[str, ...],
    said: str,
    made: Path,
    run: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run.parent)
    shutil.copy(made / "c.csv", "c.csv")
    Path("bad.csv").write_text("point,t,x,y\n0,9,1,1\n")
    Path("none.csv").write_text("point,t,x,y,until\n0,1,,,2\n")
    before, old = fit_of(run), results(run)
    assert said in refused(capfd, "run", *asked)
    assert (fit_of(run), results(run)) == (before, old)


def test_a_folder_that_is_no_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = refused(capfd, tmp_path, "--corrections", "c.csv")
    assert "holds no run, as tracks.npz is missing" in said


def test_a_run_that_is_at_work(made: Path, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with locked(run):
        assert "is in use by" in refused(capfd, run, "--corrections", made / "c.csv")


def test_an_unfinished_fit_is_not_taught(
    made: Path, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fitted = dinotrack.load(run / "model")
    fitted.state.step = 1
    fitted.state.curves.clear()
    checkpoint.save(run / "model", fitted.state, fitted.identity)
    said = refused(capfd, run, "--corrections", made / "c.csv")
    assert "is not finished; give the command of its run first" in said


def test_a_fit_that_changed_meanwhile_is_not_replaced(made: Path, run: Path) -> None:
    fitted = dinotrack.load(run / "model")
    one = fitted.teach([[0, 3, 22, 20]], queries=[[0, 20, 20]])
    history.put_taught(run / "model", fitted.state, one.state, fitted.identity)
    kept = fit_of(run)
    with pytest.raises(InputError, match="has changed meanwhile"):
        history.put_taught(run / "model", fitted.state, one.state, fitted.identity)
    assert fit_of(run) == kept
