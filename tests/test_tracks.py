"""Tracks as values: equality, times, and files that are damaged or of older versions."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dinotrack.errors import InputError
from dinotrack.formats import load_tracks, save_csv, save_tracks
from dinotrack.formats.tracks import FIELDS
from dinotrack.tracks import Tracks

EVEN = Tracks(
    xy=np.arange(24, dtype=np.float32).reshape(3, 4, 2),
    visible=np.eye(3, 4) > 0,
    confidence=np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
    queries=np.arange(9, dtype=np.float32).reshape(3, 3),
    size=(48, 64),
    fps=30000 / 1001,
)
NAMED = dataclasses.replace(EVEN, names=("left eye", 'the "tip", bent', "Üb"))
UNEVEN = dataclasses.replace(EVEN, fps=2.0, uneven_times=np.array([0, 0.5, 1.25, 1.5]))


def changed(tracks: Tracks, name: str) -> Tracks:
    """The same tracks but for one number."""
    value = getattr(tracks, name)
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flat[-1] = not value.flat[-1] if value.dtype == bool else value.flat[-1] + 1
    else:
        others = {"size": (48, 65), "fps": 3.0, "uneven_times": np.arange(4.0), "names": ("a",)}
        value = others[name]
    return dataclasses.replace(tracks, **{name: value})


def test_tracks_are_equal_where_all_numbers_are() -> None:
    copy = dataclasses.replace(EVEN, xy=EVEN.xy.copy())
    assert copy == EVEN
    for name in [field.name for field in dataclasses.fields(Tracks)]:
        assert changed(EVEN, name) != EVEN
    assert UNEVEN != EVEN
    nowhere = dataclasses.replace(EVEN, xy=np.full_like(EVEN.xy, np.nan))
    assert nowhere == dataclasses.replace(EVEN, xy=nowhere.xy.copy())
    assert EVEN != "tracks"
    assert EVEN in [UNEVEN, EVEN]


def test_times_are_when_frames_are_shown() -> None:
    assert np.allclose(EVEN.times, np.arange(4) * 1001 / 30000)
    assert UNEVEN.times.tolist() == [0, 0.5, 1.25, 1.5]


def test_points_have_names_in_every_file(tmp_path: Path) -> None:
    save_tracks(tmp_path / "tracks.npz", NAMED)
    assert load_tracks(tmp_path / "tracks.npz") == NAMED
    save_csv(tmp_path / "tracks.csv", NAMED)
    with (tmp_path / "tracks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert NAMED.names is not None
    assert [row["name"] for row in rows] == [name for name in NAMED.names for _ in range(4)]
    assert EVEN.point_names == ("point_0", "point_1", "point_2")


def test_some_points_are_chosen() -> None:
    some = NAMED.chosen([2, 0])
    assert np.array_equal(some.xy, NAMED.xy[[2, 0]])
    assert some.names == ("Üb", "left eye")
    assert EVEN.chosen([1]).names is None


def test_tracks_of_a_larger_video_have_the_same_edges() -> None:
    corner = np.array([[[-0.5, -0.5], [63.5, 47.5]]], np.float32)
    seen = np.ones((1, 2), bool)
    ones = seen.astype(np.float32)
    tracks = Tracks(corner, seen, ones, np.array([[1, 63.5, 47.5]], np.float32), (48, 64), 24.0)
    larger = tracks.resized((96, 192))
    assert larger.size == (96, 192)
    assert larger.xy.tolist() == [[[-0.5, -0.5], [191.5, 95.5]]]
    assert larger.queries.tolist() == [[1, 191.5, 95.5]]


def test_tracks_in_more_frames_take_as_long_and_lie_on_the_line() -> None:
    more = EVEN.resampled(7)
    assert np.array_equal(more.xy[:, ::2], EVEN.xy)
    assert np.allclose(more.xy[:, 1], (EVEN.xy[:, 0] + EVEN.xy[:, 1]) / 2)
    assert np.array_equal(more.visible[:, ::2], EVEN.visible)
    assert more.times[-1] == pytest.approx(EVEN.times[-1])
    assert EVEN.resampled(4) == EVEN
    assert EVEN.resampled(1).xy.shape == (3, 1, 2)


@pytest.mark.parametrize("tracks", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_tracks_and_times_come_back(tracks: Tracks, tmp_path: Path) -> None:
    save_tracks(tmp_path / "tracks.npz", tracks)
    with np.load(tmp_path / "tracks.npz") as file:
        assert file["times"].dtype == np.float64
        assert np.array_equal(file["times"], tracks.times)
    assert load_tracks(tmp_path / "tracks.npz") == tracks
    save_csv(tmp_path / "tracks.csv", tracks)
    times = [line.rpartition(",")[2] for line in (tmp_path / "tracks.csv").read_text().split()]
    assert times == ["time", *[f"{time:.6f}" for time in tracks.times] * 3]


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    save_tracks(path, NAMED)
    with np.load(path) as file:
        return dict(file)


def test_older_files_are_read(tmp_path: Path) -> None:
    arrays = arrays_of(tmp_path / "tracks.npz")
    del arrays["times"], arrays["names"]
    np.savez(tmp_path / "old.npz", **arrays)
    assert load_tracks(tmp_path / "old.npz") == EVEN


@pytest.mark.parametrize("name", FIELDS)
def test_every_array_is_looked_at(name: str, tmp_path: Path) -> None:
    arrays = arrays_of(tmp_path / "tracks.npz")
    right = arrays[name]
    wrong = {
        "of another kind": np.full(right.shape, 1 if right.dtype.kind == "U" else "a"),
        "of one more side": right[None],
        "of objects": np.full(right.shape, None),
        "of other kind": right.astype(bool if right.dtype != bool else float),
    }
    if right.ndim:
        wrong["longer"] = np.concatenate((right, right))
    if right.dtype.kind == "f":
        wrong["not finite"] = np.full_like(right, np.nan)
    for value in wrong.values():
        np.savez(tmp_path / "bad.npz", **arrays | {name: value})
        with pytest.raises(InputError, match=r"bad\.npz: "):
            load_tracks(tmp_path / "bad.npz")


@pytest.mark.parametrize("changes", [{"size": [0, 64]}, {"size": [-1, 64]}, {"fps": 0.0}])
def test_numbers_that_cannot_be(changes: dict[str, object], tmp_path: Path) -> None:
    arrays = arrays_of(tmp_path / "tracks.npz")
    np.savez(tmp_path / "bad.npz", **arrays | {k: np.array(v) for k, v in changes.items()})
    with pytest.raises(InputError, match="frames a second can't be"):
        load_tracks(tmp_path / "bad.npz")


def test_damage_to_any_byte_is_found_or_harmless(tmp_path: Path) -> None:
    save_tracks(tmp_path / "tracks.npz", EVEN)
    content = (tmp_path / "tracks.npz").read_bytes()
    for i in range(0, len(content), 13):
        (tmp_path / "bad.npz").write_bytes(
            content[:i] + bytes([content[i] ^ 0x10]) + content[i + 1 :]
        )
        try:
            assert load_tracks(tmp_path / "bad.npz") == EVEN
        except InputError:
            continue
