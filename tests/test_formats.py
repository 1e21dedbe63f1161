"""Queries and masks in, tracks out."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinotrack.errors import InputError
from dinotrack.formats import (
    QUERY_FORMATS,
    RESULTS,
    load_tracks,
    read_mask,
    read_masks,
    read_queries,
    save_csv,
    save_tracks,
)
from dinotrack.tracks import Tracks

ROWS = [[0, 1.5, 2.25], [3, -0.5, 7.0]]


@pytest.fixture
def tracks() -> Tracks:
    random = np.random.default_rng(0)
    return Tracks(
        xy=random.uniform(-5, 60, (3, 4, 2)).astype(np.float32),
        visible=random.random((3, 4)) < 0.5,
        confidence=random.random((3, 4)).astype(np.float32),
        queries=random.uniform(0, 4, (3, 3)).astype(np.float32),
        size=(48, 64),
        fps=30000 / 1001,
    )


def as_text(rows: list[list[float]], delimiter: str = ",") -> str:
    lines = [["t", "x", "y"], *([str(value) for value in row] for row in rows)]
    return "".join(delimiter.join(line) + "\n" for line in lines)


WRITERS: dict[str, Callable[[Path, list[list[float]]], None]] = {
    ".csv": lambda path, rows: path.write_text(as_text(rows)) and None,
    ".tsv": lambda path, rows: path.write_text(as_text(rows, "\t")) and None,
    ".txt": lambda path, rows: path.write_text(as_text(rows, " ")) and None,
    ".json": lambda path, rows: path.write_text(json.dumps(rows)) and None,
    ".npy": lambda path, rows: np.save(path, np.array(rows)),
    ".npz": lambda path, rows: np.savez(path, queries=np.array(rows)),
}


@pytest.mark.parametrize("suffix", QUERY_FORMATS)
def test_queries_of_every_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"q{suffix}"
    WRITERS[suffix](path, ROWS)
    queries = read_queries(path)
    assert queries.rows.dtype == np.float64
    assert queries.rows.tolist() == ROWS


def test_npz_may_say_query(tmp_path: Path) -> None:
    np.savez(tmp_path / "q.npz", query=np.array(ROWS), tracks=np.zeros(3))
    assert read_queries(str(tmp_path / "q.npz")).rows.tolist() == ROWS


def test_csv_columns_in_any_order_and_more(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(
        "\ufeffname, Y ,t, x\nnose,2.25,0,1.5\ntail,7,3,-0.5\n", encoding="utf-8"
    )
    assert read_queries(tmp_path / "q.csv").rows.tolist() == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", "", "line 1: is no header with t,x,y"),
        ("q.csv", "0,1,2\n", "line 1: is no header with t,x,y"),
        ("q.csv", "t,x,y\n", "holds no query"),
        ("q.csv", "t,x,y\n0,1,2\n0,one,2\n", "line 3: x = 'one' is no number"),
        ("q.csv", "t,x,y\n0,,2\n", "line 2: x is empty"),
        ("q.csv", "t,x,y\n0,1\n", "line 2: has 2 fields, the header 3"),
        ("q.json", "", "line 1: is no JSON"),
        ("q.json", "{}", "no JSON list"),
        ("q.json", "[]", "holds no query"),
        ("q.json", '[[0, 1, 2], "012"]', "no JSON list of lists"),
        ("q.json", "[[0, 1, 2], [0, 1]]", r"row 1 \(counted from 0\): .* is not three numbers"),
        ("q.json", "[[0, 1, null]]", r"row 0 .*: .* is not three numbers"),
        ("q.json", "[[0, 1, true]]", r"row 0 .*: .* is not three numbers"),
        ("q.npy", "junk", "can't be read as queries: it is damaged"),
        ("q.npz", "", "can't be read as queries: it is damaged"),
        ("q.xlsx", "0 1 2", "queries are read from .csv, .tsv, .txt, .json, .npy, .npz"),
    ],
)
def test_malformed_queries(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_queries(tmp_path / name)
    assert name in str(caught.value)


def test_arrays_that_are_no_queries(tmp_path: Path) -> None:
    text = np.array([["a", "b", "c"]])
    for bad in (np.zeros((0, 3)), np.zeros((2, 2)), np.zeros(3), np.ones((2, 3), bool), text):
        np.save(tmp_path / "q.npy", bad)
        with pytest.raises(InputError, match=r"q\.npy: give numbers \[N, 3\]"):
            read_queries(tmp_path / "q.npy")
    named = np.zeros(2, [("t", "f4"), ("x", "f4"), ("y", "f4")])
    for bad in (np.array([{}, None]), named, np.zeros((2, 3), "c8")):
        np.save(tmp_path / "q.npy", bad, allow_pickle=True)
        with pytest.raises(InputError, match="holds no plain numbers") as caught:
            read_queries(tmp_path / "q.npy")
        assert "pickle" not in str(caught.value)
    np.savez(tmp_path / "q.npz", points=np.array(ROWS))
    with pytest.raises(InputError, match="neither `queries` nor `query`, only 'points'"):
        read_queries(tmp_path / "q.npz")
    with pytest.raises(InputError, match="no such file"):
        read_queries(tmp_path / "absent.csv")


def test_masks_of_any_kind(tmp_path: Path) -> None:
    expected = np.zeros((6, 8), bool)
    expected[2:4, 3:7] = True
    grey = Image.fromarray(expected.astype(np.uint8))
    palette = grey.convert("P")
    palette.putdata(expected.ravel().astype(int).tolist())
    palette.putpalette([0, 0, 0, 128, 0, 0])
    colour = Image.fromarray(
        np.stack((expected * 0, expected * 7, expected * 0), -1).astype(np.uint8)
    )
    for i, image in enumerate(
        (grey, palette, colour, colour.convert("RGBA"), grey.point(lambda v: 255 * v, "1"))
    ):
        image.save(tmp_path / f"{i}.png")
        assert np.array_equal(read_mask(tmp_path / f"{i}.png", (6, 8)), expected), i
    np.save(tmp_path / "m.npy", expected.astype(np.float32))
    assert np.array_equal(read_mask(tmp_path / "m.npy", (6, 8)), expected)


def test_bad_masks(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match="the mask is 8 x 6, the video 9 x 6"):
        read_mask(tmp_path / "m.png", (6, 9))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="can't be read as a picture"):
        read_mask(tmp_path / "broken.png", (6, 8))
    with pytest.raises(InputError, match="no such file"):
        read_mask(tmp_path / "absent.png", (6, 8))


def test_masks_of_all_frames(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((11, 6, 8)) < 0.5
    folder = tmp_path / "masks"
    folder.mkdir()
    for t, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"{t}.png")
    assert np.array_equal(read_masks(folder, 11, (6, 8)), masks)
    assert np.array_equal(read_masks(folder / "3.png", 2, (6, 8)), masks[[3, 3]])
    np.save(tmp_path / "m.npy", masks)
    assert np.array_equal(read_masks(tmp_path / "m.npy", 11, (6, 8)), masks)
    np.save(tmp_path / "one.npy", masks[0])
    assert np.array_equal(read_masks(tmp_path / "one.npy", 2, (6, 8)), masks[[0, 0]])
    for source in (folder, tmp_path / "m.npy"):
        with pytest.raises(InputError, match="holds 11 masks, the video has 12 frames"):
            read_masks(source, 12, (6, 8))
        with pytest.raises(InputError, match="8 x 6, the video 9 x 6"):
            read_masks(source, 11, (6, 9))


def test_tracks_come_back(tracks: Tracks, tmp_path: Path) -> None:
    save_tracks(tmp_path / "tracks.npz", tracks)
    with np.load(tmp_path / "tracks.npz") as file:
        assert list(file) == ["tracks", "visible", "confidence", "queries", "size", "fps", "times"]
        assert [str(file[k].dtype) for k in ("tracks", "visible", "confidence", "queries")] == [
            "float32", "bool", "float32", "float32",
        ]  # fmt: skip
        assert file["size"].tolist() == [48, 64]
    loaded = load_tracks(tmp_path / "tracks.npz")
    assert np.array_equal(loaded.xy, tracks.xy)
    assert np.array_equal(loaded.visible, tracks.visible)
    assert np.array_equal(loaded.confidence, tracks.confidence)
    assert np.array_equal(loaded.queries, tracks.queries)
    assert (loaded.size, loaded.fps) == (tracks.size, tracks.fps)


def test_same_tracks_same_bytes(
    tracks: Tracks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tracks(tmp_path / "a.npz", tracks)
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 9, 9, 1, 46, 40, 6, 252, 0))
    save_tracks(tmp_path / "b.npz", tracks)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_foreign_files_are_no_tracks(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("text")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, said in (
        ("other.npz", "is no tracks.npz of ours: it has no `tracks`"),
        ("text.npz", "can't be read as a tracks.npz"),
        ("array.npy", "tracks are read from .npz"),
    ):
        with pytest.raises(InputError, match=f"{name}: {said}"):
            load_tracks(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        load_tracks(tmp_path / "absent.npz")


def test_csv_rows(tracks: Tracks, tmp_path: Path) -> None:
    save_csv(tmp_path / "tracks.csv", tracks)
    with (tmp_path / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["point", "t", "x", "y", "visible", "confidence", "time"]
    assert [(int(r["point"]), int(r["t"])) for r in rows] == [
        (n, t) for n in range(3) for t in range(4)
    ]
    xy = np.array([(r["x"], r["y"]) for r in rows], np.float32).reshape(3, 4, 2)
    assert np.abs(xy - tracks.xy).max() <= 0.00051
    assert [r["visible"] == "1" for r in rows] == tracks.visible.ravel().tolist()
    assert (
        np.abs(np.array([r["confidence"] for r in rows], float) - tracks.confidence.ravel()).max()
        <= 0.000051
    )


@pytest.mark.parametrize("name", RESULTS)
def test_every_output_is_written_whole_or_not_at_all(
    name: str, tracks: Tracks, tmp_path: Path
) -> None:
    RESULTS[name](tmp_path / name, tracks)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(InputError, match="can't be written"):
        RESULTS[name](tmp_path / "absent" / name, tracks)
