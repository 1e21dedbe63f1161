"""dinotrack export, and --format on a run: the tracks of a run as files of other programs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dinotrack.cli import main
from dinotrack.errors import InputError
from dinotrack.formats import FORMATS, check_count, load_tracks, save_tracks
from dinotrack.media.encoding import write_video
from dinotrack.points import choose_names
from dinotrack.synthesis import generate
from dinotrack.tracks import Tracks

NAMES = ("left eye", "tip, bent", "Üb", "0", "Üb")
FRAMES = 4


def made(names: tuple[str, ...] | None = NAMES) -> Tracks:
    xy = np.arange(40, dtype=np.float32).reshape(5, FRAMES, 2)
    visible = np.ones((5, FRAMES), bool)
    visible[:, 1] = False
    return Tracks(
        xy=xy,
        visible=visible,
        confidence=visible.astype(np.float32),
        queries=np.concatenate((np.zeros((5, 1), np.float32), xy[:, 0]), axis=1),
        size=(48, 64),
        fps=24.0,
        names=names,
    )


TRACKS = made()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder of a run, as far as an export needs it."""
    (tmp_path / "run").mkdir()
    save_tracks(tmp_path / "run" / "tracks.npz", TRACKS)
    record = {"video": {"path": "clips/pony.mp4"}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    return tmp_path / "run"


def exported(run: Path, *words: object) -> Tracks:
    """What an export to JSON, which loses nothing, holds."""
    assert main(["export", str(run), "json", *map(str, words)]) == 0
    return load_tracks(run / "tracks_json.json")


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that says what is wrong with an export."""
    capfd.readouterr()
    assert main(["export", *map(str, words)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("dinotrack: error: ")
    return line


def test_a_run_is_exported_beside_its_tracks(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert exported(run) == TRACKS
    assert capfd.readouterr().out == f"wrote {run / 'tracks_json.json'}\n"
    assert main(["export", str(run / "tracks.npz"), "deeplabcut, csv-wide"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed == [
        f"wrote {run / 'tracks_deeplabcut.csv'}",
        f"wrote {run / 'tracks_csv-wide.csv'}",
    ]


def test_a_file_of_its_own(run: Path, tmp_path: Path) -> None:
    words = ["export", str(run), "json", "-o", str(tmp_path / "mine.txt")]
    assert main(words) == 0
    assert load_tracks(tmp_path / "mine.txt", "json") == TRACKS
    assert sorted(path.name for path in run.iterdir()) == ["run.json", "tracks.npz"]


@pytest.mark.parametrize(
    ("words", "points"),
    [
        ("2", [2]),
        ("4, 1,4", [4, 1]),
        ("left eye", [0]),
        ('"tip, bent" ,left eye', [1, 0]),
        ("Üb", [2, 4]),
        ("0", [3]),  # which is a name here
    ],
)
def test_points_are_chosen_by_number_and_by_name(words: str, points: list[int], run: Path) -> None:
    assert exported(run, "--points", words) == TRACKS.chosen(points)


def test_points_without_names_have_those_of_files(run: Path) -> None:
    save_tracks(run / "tracks.npz", made(None))
    chosen = exported(run, "--points", "point_3,1")
    assert np.array_equal(chosen.xy, TRACKS.xy[[3, 1]])


def test_another_size_and_other_frames(run: Path) -> None:
    assert exported(run, "--size", "128x96") == TRACKS.resized((96, 128))
    assert exported(run, "--frames", 9) == TRACKS.resampled(9)
    both = exported(run, "--size", "32x24", "--frames", 2, "--points", "1")
    assert both == TRACKS.chosen([1]).resized((24, 32)).resampled(2)


def test_what_is_wished_of_files(run: Path) -> None:
    assert main(["export", str(run), "csv", "--start-frame", "1001", "--only-visible"]) == 0
    with (run / "tracks_csv.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["t"]) for row in rows[:3]] == [1001, 1003, 1004]
    assert {row["name"] for row in rows} == set(NAMES)


def test_the_video_is_known(run: Path) -> None:
    h5py = pytest.importorskip("h5py")
    assert main(["export", str(run), "sleap"]) == 0
    with h5py.File(run / "tracks_sleap.h5") as file:
        assert file["video_path"][()].decode() == str(Path("clips/pony.mp4").absolute())
    (run / "run.json").write_text("[]")
    assert main(["export", str(run), "sleap"]) == 0
    with h5py.File(run / "tracks_sleap.h5") as file:
        assert file["video_path"][()] == b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nuk"], "unknown format 'nuk'; choose one of npz, csv"),
        (["json,"], "unknown format ''; choose one of"),
        (["json,csv", "-o", "a.json"], "-o names one file; leave it out, or give one format"),
        (["json", "--points", "5"], "no point is called '5'; give names, or numbers up to 4"),
        (["json", "--points", "nose"], "no point is called 'nose'"),
        (["json", "--points", "-1"], "no point is called '-1'"),
        (["json", "--points", ""], "no point is named"),
        (["json", "--size", "64"], "--size"),
        (["json", "--size", "0x9"], "--size"),
        (["json", "--frames", "0"], "--frames"),
        (["json", "--frames", "many"], "--frames"),
        (["json", "--start-frame", "1.5"], "--start-frame"),
        (["json", "-o", "nowhere/a.json"], "nowhere"),
        (["json", "--overlay"], "--overlay"),
        ([], "FORMAT"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str], said: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capfd, run, *words)
    assert sorted(path.name for path in run.iterdir()) == ["run.json", "tracks.npz"]


def test_a_folder_without_tracks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "tracks.npz: no such file" in refused(capfd, tmp_path, "json")
    (tmp_path / "tracks.npz").write_bytes(b"junk")
    assert "can't be read as a tracks.npz" in refused(capfd, tmp_path, "json")


@pytest.mark.parametrize("name", FORMATS)
def test_what_can_be_written_is_in_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    listed = {line[0] for line in lines if len(line) > 2 and line[1].startswith(".")}
    assert (name in listed) == (FORMATS[name].write is not None)


def test_names_go_from_queries_to_every_output(tmp_path: Path) -> None:
    clip = tmp_path / "pony.mp4"
    write_video(clip, generate((48, 64), 5, 2, seed=1, points=4).frames, 12.0)
    (tmp_path / "points.csv").write_text('t,x,y,name\n0,20,20,"tip, bent"\n1,30,9.5,Üb\n')
    out = tmp_path / "run"
    words = ["--queries", str(tmp_path / "points.csv"), "--set", "training.steps=2"]
    words += ["--no-overlay", "--backbone", "none", "--format"]
    assert main([str(clip), "--out", str(out), *words, "json,deeplabcut"]) == 0
    names = ("tip, bent", "Üb")
    tracks = load_tracks(out / "tracks.npz")
    assert tracks.names == names
    assert load_tracks(out / "tracks_json.json") == tracks
    for name in ("tracks.csv", "tracks_deeplabcut.csv"):
        back = load_tracks(out / name, size=(48, 64))
        assert back.names == names
        assert np.abs(back.xy - tracks.xy).max() < 0.001
    record = json.loads((out / "run.json").read_text())
    assert {"tracks_json.json", "tracks_deeplabcut.csv"} <= record["outputs"].keys()

    # the points of any of these files are the same points again, and need no fit
    words[1] = str(out / "tracks_json.json")
    assert main([str(clip), "--out", str(out), *words, "csv-wide"]) == 2
    (tmp_path / "again.json").write_bytes((out / "tracks_json.json").read_bytes())
    words[1] = str(tmp_path / "again.json")
    assert main([str(clip), "--out", str(out), *words, "csv-wide"]) == 0
    assert load_tracks(out / "tracks.npz") == tracks
    left = {path.name for path in out.iterdir() if path.name.startswith("tracks")}
    assert left == {"tracks.npz", "tracks.csv", "tracks_csv-wide.csv"}


def test_names_that_no_file_can_hold_are_written_out() -> None:
    assert choose_names(["a\ud800", "b\x00", " c\nd"], 3) == ("a\\ud800", "b\\x00", "c d")
    with pytest.raises(InputError, match="2 names are given for 3 points"):
        choose_names(["a", "b"], 3)


def test_formats_are_known_before_the_fit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "pony.mp4"
    write_video(clip, generate((48, 64), 5, 2, seed=1, points=4).frames, 12.0)
    assert main([str(clip), "--out", str(tmp_path / "run"), "--format", "nuk"]) == 2
    assert "unknown format 'nuk'" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("own", ["tracks.npz", "run.json", "pony.mp4", "link.nk"])
def test_an_export_replaces_nothing_of_the_run(
    own: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither under another name: what the run is made of would be lost."""
    video = run / "pony.mp4"
    video.write_bytes(b"a video")
    (run / "run.json").write_text(json.dumps({"video": {"path": str(video)}}))
    (run / "link.nk").symlink_to(run / "tracks.npz")
    before = (run / own).read_bytes()
    assert "would be lost" in refused(capfd, run, "nuke", "-o", run / own)
    assert (run / own).read_bytes() == before


def test_a_run_that_is_not_there_is_called_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "no such file" in refused(capfd, tmp_path / "nothing", "nuke")


def test_more_frames_than_memory_is_for(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "--frames" in refused(capfd, run, "json", "--frames", 99_999_999)


def test_a_record_that_is_none_spoils_no_export(run: Path) -> None:
    (run / "run.json").write_text("[" * 100_000)
    assert main(["export", str(run), "nuke"]) == 0


@pytest.mark.parametrize("name", ["cornerpin", "after-effects-text"])
def test_a_format_of_few_points_is_refused_before_the_fit(name: str) -> None:
    with pytest.raises(InputError, match="dinotrack export RUN"):
        check_count(name, 256)
    check_count(name, FORMATS[name].points or 0)


def test_a_video_called_like_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "write ./export" in refused(capfd)
