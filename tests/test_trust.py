"""The programs of tests/trust, each run shortly, and whether what judges there can tell."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from dinotrack.tracks import Tracks
from tests.trust import corruption, full_disk, hostile, kills, outcomes, report, runs, threads
from tests.trust.corruption import DAMAGES
from tests.trust.hostile import ATTACKS
from tests.trust.threads import PAIRS

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of Unix")


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_changes_a_file_and_is_the_same_again(kind: str) -> None:
    content = bytes(range(1, 256)) * 40
    damaged = DAMAGES[kind](content, random.Random(1))
    assert damaged != content
    assert DAMAGES[kind](content, random.Random(1)) == damaged


def test_no_damage_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path))  # the program gives it other values
    monkeypatch.setattr(corruption, "STEPS", 3)
    assert corruption.main(["--tries", "6", "--seed", "1"]) == 0
    assert "| all | 6 |" in capsys.readouterr().out


def test_a_file_that_was_believed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does nothing leaves the damage where it is."""
    for name in ("out/tracks.npz", "out/overlay.mp4"):
        (tmp_path / "finished" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "finished" / name).write_bytes(b"results" * 100)
    finished = tmp_path / "finished"
    made = corruption.Runs(tmp_path, finished, finished, (), runs.digests(finished))
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path))
    monkeypatch.setattr(corruption, "_quietly", lambda argv: (0, ""))
    damage = corruption.Damage(0, "finished", "out/tracks.npz", "zeroed", "command")
    outcome = corruption.outcome_of(damage, 0, made, tmp_path)
    assert outcome == "silently wrong: out/tracks.npz"


def test_threads_that_differ_are_told() -> None:
    alone = Tracks(
        np.zeros((1, 2, 2), np.float32),
        np.ones((1, 2), bool),
        np.ones((1, 2), np.float32),
        np.zeros((1, 3), np.float32),
        (8, 8),
        24.0,
    )
    moved = Tracks(alone.xy + 3, alone.visible, alone.confidence, alone.queries, (8, 8), 24.0)
    assert threads.compare(alone, alone) == "same"
    assert threads.compare(moved, alone) == "differs by up to 3.0 px"
    assert threads.compare(ValueError("no"), alone) == "ValueError: no"


def test_files_that_differ_or_stay_are_told(tmp_path: Path) -> None:
    whole, out = {"out/a": "1", "out/b": "2"}, tmp_path / "out"
    assert list(kills._differences({"out/a": "3", "out/c": "4"}, whole)) == [
        "out/a differs",
        "out/b is missing",
        "out/c is one too many",
    ]
    out.mkdir()
    for name in (".tracks.npz.123.part", ".lock", "tracks.npz"):
        (out / name).touch()
    assert runs.leftovers(tmp_path) == ["out/.tracks.npz.123.part"]


def test_what_a_terminal_shows_tells_the_stage_and_the_step() -> None:
    shown = "read  : 100%|##| 12/12 [00:00]\rfit   :  10%|#  | 4/40 [00:01<00:09]"
    assert kills._reached(shown) == ("fit", 4)
    assert kills._reached("") == ("import", 0)


def test_points_outside_the_picture_and_no_numbers_are_told() -> None:
    arrays = {
        "tracks": np.zeros((1, 2, 2), np.float32),
        "visible": np.ones((1, 2), bool),
        "confidence": np.ones((1, 2), np.float32),
        "size": np.array((8, 8)),
        "fps": np.array(24.0),
    }
    assert outcomes._flaw(arrays) == ""
    assert "outside" in outcomes._flaw({**arrays, "tracks": arrays["tracks"] + 7.6})
    assert "not finite" in outcomes._flaw({**arrays, "tracks": arrays["tracks"] + np.nan})
    assert "frames a second" in outcomes._flaw({**arrays, "fps": np.array(0.0)})


@UNIX
@pytest.mark.parametrize("name", ["EPS named .png as mask", "FIFO as queries"])
def test_attacks(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hostile.main(["--only", str(list(ATTACKS).index(name))]) == 0
    assert f"| {name} | 2 |" in capsys.readouterr().out


def test_a_table_has_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    table = report.markdown(("a", "b"), [("x|y", 1.25), ("two\nlines", 2)])
    assert table.splitlines()[2:] == ["| x\\|y | 1.2 |", "| two lines | 2 |"]
    assert report.conclude(table, []) == 0
    assert report.conclude(table, ["this"]) == 1
    assert "FAILED this" in capsys.readouterr().out


@UNIX
@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack(name: str) -> None:
    assert hostile.main(["--only", str(list(ATTACKS).index(name))]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_threads(pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path))
    assert threads.main(["--only", str(list(PAIRS).index(pair))]) == 0


@UNIX
@pytest.mark.slow
def test_kills() -> None:
    assert kills.main(["--tries", "4", "--long", "0"]) == 0


@pytest.mark.slow
def test_full_disks() -> None:
    if not full_disk.may_mount():
        pytest.skip("this machine lets nobody mount file systems")
    assert full_disk.run_in_namespace(["--tries", "8"]) == 0


@pytest.mark.slow
def test_outcomes(shared_data: Path) -> None:
    folders = [shared_data / name for name in ("bad", "cases", "clips")]
    assert outcomes.main([str(folder) for folder in folders]) == 0
