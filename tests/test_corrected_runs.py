"""Runs with corrections: what they write, what they refuse, and how they are repeated."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import dinotrack
from dinotrack.batch.jobs import jobs_of
from dinotrack.cli import main
from dinotrack.commands import batch
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted
from dinotrack.formats import load_tracks
from dinotrack.media.encoding import write_video
from dinotrack.report.repeating import command
from dinotrack.report.story import Story
from dinotrack.synthesis import generate
from dinotrack.terminal.outputs import CORRECTIONS

SIZE, FRAMES = (48, 64), 6
TINY = (
    "training.steps=2", "training.batch=32", "model.widths=8,16", "model.dims=16", "model.blocks=1",
    "backbone.name=none",
)  # fmt: skip
QUICK = ("--no-overlay", "--set", *TINY)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, and beside it a table of three named queries."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "pony.mp4", generate(SIZE, FRAMES, 2, seed=1, points=4).frames, 12.0)
    (folder / "q.csv").write_text("name,t,x,y\nnose,0,20,20\near,2,40,30\ntail,5,10.5,12.25\n")
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def run(clip: Path, out: Path, *more: object) -> int:
    return main([str(clip / "pony.mp4"), "--out", str(out), *map(str, more), *QUICK])


def record_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def corrected(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was given corrections."""
    folder = tmp_path_factory.mktemp("runs")
    table = write(folder / "c.csv", "point,t,x,y,until\nnose,3,22.1,20.7,\n2,0,11,12,\near,4,,,5\n")
    assert run(clip, folder / "out", "--queries", clip / "q.csv", "--corrections", table) == 0
    return folder / "out"


def test_tracks_pass_through_corrections(corrected: Path) -> None:
    tracks = load_tracks(corrected / "tracks.npz")
    assert tracks.names == ("nose", "ear", "tail")
    assert tracks.xy[0, 3].tolist() == np.float32([22.1, 20.7]).tolist()
    assert tracks.xy[2, 0].tolist() == [11, 12]
    assert tracks.visible[[0, 2], [3, 0]].all()
    assert not tracks.visible[1, 4:].any()


def test_the_record_and_the_folder_tell_of_corrections(corrected: Path) -> None:
    record = record_of(corrected)
    assert (record["corrections"], record["hidden_stretches"]) == (2, 1)
    assert record["request"]["files"].keys() == {"video", "queries", "corrections"}
    assert CORRECTIONS in record["outputs"]
    assert (corrected / CORRECTIONS).read_text() == (
        "point,t,x,y,visible,until\n0,3,22.1,20.7,1,\n2,0,11.0,12.0,1,\n1,4,,,0,5\n"
    )


def test_the_report_repeats_the_corrections(corrected: Path) -> None:
    fitted = dinotrack.load(corrected / "model")
    tracks = load_tracks(corrected / "tracks.npz")
    words = shlex.split(command(Story("pony", fitted, tracks, record_of(corrected))))
    assert words[words.index("--corrections") + 1] == CORRECTIONS
    without = {"corrections": 0, "hidden_stretches": 0}
    assert "--corrections" not in command(Story("pony", fitted, tracks, without))


def test_the_command_of_the_report_gives_the_same_tracks(
    corrected: Path, clip: Path, tmp_path: Path
) -> None:
    asked = ("--queries", corrected / "tracks.npz", "--corrections", corrected / CORRECTIONS)
    assert run(clip, tmp_path, *asked) == 0
    for name in ("tracks.npz", CORRECTIONS):
        assert (tmp_path / name).read_bytes() == (corrected / name).read_bytes()


def test_python_gives_the_same_tracks(corrected: Path, clip: Path) -> None:
    there = load_tracks(corrected / "tracks.npz")
    settings = dict(part.split("=") for part in TINY)
    tracks = dinotrack.track(
        clip / "pony.mp4",
        there.queries,
        names=there.names,
        corrections=[[0, 3, 22.1, 20.7], [2, 0, 11, 12]],
        hidden=[[1, 4, 5]],
        settings=settings,
    )
    assert tracks == there
    with pytest.raises(InputError, match="corrections, row 0"):
        dinotrack.track(clip / "pony.mp4", [[0, 1, 1]], corrections=[[1, 0, 1, 1]])
    with pytest.raises(InputError, match="hidden, row 0"):
        dinotrack.track(clip / "pony.mp4", [[0, 1, 1]], hidden=[[0, 0, FRAMES]])


def test_files_of_other_programs_are_queries_too(
    corrected: Path, clip: Path, tmp_path: Path
) -> None:
    """The first key of each point is its query, and all of its keys are corrections."""
    tracks = load_tracks(corrected / "tracks.npz")
    tracks.save(tmp_path / "c.nk")
    assert run(clip, tmp_path / "out", "--corrections", tmp_path / "c.nk") == 0
    again = load_tracks(tmp_path / "out" / "tracks.npz")
    assert again.names == tracks.names
    seen = tracks.visible
    np.testing.assert_allclose(again.xy[seen], tracks.xy[seen], atol=2e-3)
    assert again.visible[seen].all()


def test_points_of_a_grid_are_corrected_by_their_numbers(
    corrected: Path, clip: Path, tmp_path: Path
) -> None:
    """Corrections of an earlier run do not stay behind, nor do those that lie elsewhere."""
    mine = write(tmp_path / "corrections.csv", "point,t,x,y\n3,4,30,30\npoint_1,4,31,30\n")
    assert run(clip, tmp_path, "--grid", 2, "--corrections", mine) == 0
    tracks = load_tracks(tmp_path / "tracks.npz")
    assert tracks.xy[[3, 1], 4].tolist() == [[30, 30], [31, 30]]
    assert run(clip, tmp_path, "--grid", 2) == 0
    assert not (tmp_path / CORRECTIONS).exists()
    assert record_of(tmp_path)["corrections"] == 0
    assert mine.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("point,t,x,y\nnose,9,1,1\n", "c.csv, line 2: t = 9, but it must be a whole number"),
        ("point,t,x,y\nnose,1,1,1\n3,1,1,1\n", "c.csv, line 3: point = 3, but there are 3 points"),
        ("point,t,x,y\nbeak,1,1,1\n", "c.csv, line 2: no point is called 'beak'"),
        ("point,t,x,y,until\near,4,,,6\n", "c.csv, line 2: [1.0, 4.0, 6.0] is no point"),
    ],
)
def test_bad_corrections_are_told_before_the_fit(
    text: str,
    said: str,
    clip: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Fitted, "track", None)
    table = write(tmp_path / "c.csv", text)
    asked = ("--queries", clip / "q.csv", "--corrections", table)
    assert run(clip, tmp_path / "out", *asked) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert said in line
    assert not (tmp_path / "out").exists()


def test_corrections_that_the_run_would_write_over_are_refused(
    corrected: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (corrected / CORRECTIONS).read_bytes()
    asked = ("--queries", clip / "q.csv", "--corrections", corrected / CORRECTIONS)
    assert run(clip, corrected, *asked) == 2
    assert f"would be lost, as the run writes {CORRECTIONS}" in capfd.readouterr().err
    assert (corrected / CORRECTIONS).read_bytes() == before


def test_a_manifest_names_corrections(tmp_path: Path) -> None:
    rows = "a.mp4,q.csv,c.csv\nb.mp4,q.csv,\n"
    table = write(tmp_path / "m.csv", f"video,queries,corrections\n{rows}")
    first, second = jobs_of(batch._parse(["--manifest", str(table)]))
    assert first.args.corrections == tmp_path / "c.csv"
    assert second.args.corrections is None
