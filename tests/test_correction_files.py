"""Files of corrections: tables, JSON, arrays, and those of other programs; what they mean, and what
is said of malformed ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dinotrack.errors import InputError
from dinotrack.formats import CORRECTION_FORMATS, FORMATS, read_corrections, save_corrections
from dinotrack.formats.correction_rows import Roll
from dinotrack.formats.corrections import KIND, program_of
from dinotrack.points import check_corrections, check_hidden
from dinotrack.tracks import Tracks
from dinotrack.video import read_video

NAMES = ("nose", "left ear", "tail")
PLACED = [[0, 4, 50.5, 60.25], [2, 0, -0.5, 7.0]]
HIDDEN = [[1, 2, 5], [2, 3, 3]]
SIZE, FRAMES = (90, 120), 8

TABLES = {
    "numbers": "point,t,x,y,visible,until\n0,4,50.5,60.25,1,\n2,0,-0.5,7,,\n1,2,,,0,5\n2,3,,,0,\n",
    "names": "point,t,x,y,visible,until\nnose,4,50.5,60.25,1,\ntail,0,-0.5,7,1,\n"
    "left ear,2,0,0,0,5\ntail,3,9,9,0,3\n",
    "german": "point;t;x;y;until\n0;4;50,5;60,25;\ntail;0;-0,5;7;\n1;2;;;5\n2;3;;;3\n",
    "tracks": "point,t,x,y,visible,confidence,time,name\n0,4,50.5,60.25,1,0.9,0.1,nose\n"
    "2,0,-0.5,7,1,0.9,0.0,tail\n1,2,1,1,0,0.1,0,ear\n1,3,1,1,0,0.1,0,ear\n1,4,1,1,0,0.1,0,ear\n"
    "1,5,1,1,0,0.1,0,ear\n2,3,1,1,0,0.1,0,ear\n",
}


def hidden_frames(rows: np.ndarray) -> set[tuple[int, int]]:
    return {(int(p), t) for p, first, last in rows for t in range(int(first), int(last) + 1)}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(TABLES[name])
    found = read_corrections(tmp_path / "c.csv", NAMES)
    assert found.placed.rows.tolist() == PLACED
    assert hidden_frames(found.hidden.rows) == hidden_frames(np.array(HIDDEN))
    assert found.placed.place(1) == f"{tmp_path / 'c.csv'}, line 3"


def test_tables_of_numpy(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "c.txt", PLACED, header="point t x y")
    assert read_corrections(tmp_path / "c.txt", NAMES).placed.rows.tolist() == PLACED


def written(ending: str, path: Path) -> Path:
    """The same corrections as a file of each kind."""
    place = path / f"c{ending}"
    placed, hidden = np.array(PLACED), np.array(HIDDEN)
    if ending == ".json":
        place.write_text(json.dumps({"corrections": PLACED, "hidden": HIDDEN}))
    elif ending == ".npy":
        np.save(place, placed)
    elif ending == ".npz":
        np.savez(place, corrections=placed, hidden=hidden)
    else:
        place.write_text(TABLES["numbers"])
    return place


@pytest.mark.parametrize("ending", CORRECTION_FORMATS)
def test_every_kind_of_file(ending: str, tmp_path: Path) -> None:
    found = read_corrections(written(ending, tmp_path), NAMES)
    assert found.placed.rows.tolist() == PLACED
    assert found.hidden.rows.tolist() == ([] if ending == ".npy" else HIDDEN)


def test_json_takes_names_and_plain_lists(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('[["nose", 4, 50.5, 60.25], [2, 0, -0.5, 7]]')
    assert read_corrections(tmp_path / "c.json", NAMES).placed.rows.tolist() == PLACED
    (tmp_path / "c.json").write_text('{"hidden": [["left ear", 2, 5]]}')
    assert read_corrections(tmp_path / "c.json", NAMES).hidden.rows.tolist() == HIDDEN[:1]


ROW = some.tuples(
    some.integers(0, 2),
    some.integers(0, FRAMES - 1),
    some.floats(-0.5, SIZE[1] - 0.5, width=32),
    some.floats(-0.5, SIZE[0] - 0.5, width=32),
)
STRETCH = some.tuples(some.integers(0, 2), some.integers(0, 7), some.integers(0, 7))


@given(placed=some.lists(ROW, max_size=6), hidden=some.lists(STRETCH, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_what_is_saved_is_read_to_the_last_bit(
    placed: list[tuple], hidden: list[tuple], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("saved") / "c.csv"
    rows = np.array(placed, np.float32).reshape(-1, 4)
    stretches = np.array(hidden)
    save_corrections(path, rows, stretches)
    found = read_corrections(path, NAMES)
    np.testing.assert_array_equal(found.placed.rows.astype(np.float32), rows)
    np.testing.assert_array_equal(found.hidden.rows, stretches)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x,y\n0,1,2\n", "no column is called point; let the first line be point,t,x,y"),
        ("point,x,y\n0,1,2\n", "line 1: is no header with t,x,y"),
        ("point,t,x,y\n", "holds no correction"),
        ("point,t,x,y\nnose,0,1,2\nbeak,0,1,2\n", r"line 3: no point is called 'beak'; they are"),
        ("point,t,x,y\n,0,1,2\n", "line 2: point is empty"),
        ("point,t,x,y\n0,0,1,\n", "line 2: y is empty; give x and y, or 0 as visible"),
        ("point,t,x,y\n0,,1,1\n", "line 2: t is empty"),
        ("point,t,x,y\n0,0,here,1\n", "line 2: x = 'here' is no number"),
        ("point,t,x,y,visible\n0,0,1,1,2\n", "line 2: visible = 2; give 1, or 0"),
        ("point,t,x,y,visible\n0,0,,,1\n", "line 2: x is empty"),
        ("point,t,x,y,until\n0,0,1,1,3\n", "line 2: until ends a hidden stretch"),
        ("point,t,x,y\n0,0,1\n", "line 2: has 3 fields, the header 4"),
    ],
)
def test_malformed_tables(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_corrections(tmp_path / "c.csv", NAMES)
    assert str(caught.value).startswith(str(tmp_path / "c.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "is neither"),
        ("{}", "is neither"),
        ('{"queries": []}', "is neither"),
        ('{"hidden": 3}', "hidden is no list"),
        ("[]", "holds no correction"),
        ("[[0, 1, 2]]", r"corrections, row 0 \(counted from 0\): \[0, 1, 2\] is not point, t"),
        ("[[0, 1, 2, true]]", "row 0"),
        ("[[0, 1, 2, 3], [0, 1, 2, null]]", "row 1"),
        ('[["beak", 1, 2, 3]]', "row 0: no point is called 'beak'"),
        (f"[[0, 1, 2, {10**400}]]", "row 0"),
        ('{"hidden": [[0, 1, 2, 3]]}', r"hidden, row 0 \(counted from 0\).*first frame"),
        ("[[0, 1", "is no JSON"),
    ],
)
def test_malformed_json(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_corrections(tmp_path / "c.json", NAMES)


def test_arrays_of_other_forms(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"corrections are float64 \[2, 3\]; give numbers"):
        read_corrections(tmp_path / "c.npy", NAMES)
    np.savez(tmp_path / "c.npz", queries=np.zeros((2, 3)))
    with pytest.raises(InputError, match="neither `corrections` nor `hidden`"):
        read_corrections(tmp_path / "c.npz", NAMES)
    (tmp_path / "c.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=f"can't be read as {KIND}"):
        read_corrections(tmp_path / "c.npz", NAMES)
    with pytest.raises(InputError, match="no such file"):
        read_corrections(tmp_path / "absent.csv", NAMES)
    (tmp_path / "c.doc").write_text("")
    with pytest.raises(InputError, match=r"corrections are read from .csv, .*\.nk"):
        read_corrections(tmp_path / "c.doc", NAMES)


def test_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinotrack.formats.correction_rows.MOST_ROWS", 1)
    for ending in CORRECTION_FORMATS:
        with pytest.raises(InputError, match="more than 1 corrections are too many"):
            read_corrections(written(ending, tmp_path), NAMES)


def test_what_lies_outside_the_video_is_told_with_its_line(tmp_path: Path) -> None:
    video = read_video(np.zeros((FRAMES, *SIZE, 3), np.uint8))
    (tmp_path / "c.csv").write_text("point,t,x,y,until\n\n0,1,2,3,\n9,1,2,3,\n0,1,,,9\n")
    found = read_corrections(tmp_path / "c.csv", NAMES)
    with pytest.raises(InputError, match=r"c.csv, line 4: point = 9, but there are 3 points"):
        check_corrections(found.placed, video, 3)
    with pytest.raises(InputError, match=r"c.csv, line 5: \[0.0, 1.0, 9.0\] is no point"):
        check_hidden(found.hidden, video, 3)
    (tmp_path / "c.csv").write_text("point,t,x,y\n0,1,2,3\n0,1,2,300\n")
    found = read_corrections(tmp_path / "c.csv", NAMES)
    with pytest.raises(InputError, match=r"c.csv, line 3: y = 300"):
        check_corrections(found.placed, video, 3)


def test_a_name_may_be_that_of_several_points(tmp_path: Path) -> None:
    roll = Roll(("a", "b", "a", "7", "\x1b"))
    assert (roll.number("b", ""), roll.named("7", ""), roll.number("7", "")) == (1, 3, 7)
    assert roll.named("\\x1b", "") == 4, "as tracks.npz keeps it"
    with pytest.raises(InputError, match="here: 2 points are called 'a'; give the one"):
        roll.number("a", "here")


def keyed_tracks() -> Tracks:
    """Two points in five frames; the second is hidden in frames 1 and 2."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(5, 80, (2, 5, 2)).astype(np.float32)
    visible = np.ones((2, 5), bool)
    visible[1, 1:3] = False
    queries = np.concatenate((np.zeros((2, 1), np.float32), xy[:, 0]), axis=1)
    confidence = np.where(visible, 0.9, 0.1).astype(np.float32)
    return Tracks(xy, visible, confidence, queries, SIZE, 24.0, names=("tail", "nose"))


SOME_PROGRAMS = ("npz", "csv", "json", "nuke", "3de", "pftrack", "tapvid", "deeplabcut", "coco")


@pytest.mark.parametrize("name", SOME_PROGRAMS)
@pytest.mark.parametrize("start", [None, 101])
def test_keys_of_other_programs_are_corrections(
    name: str, start: int | None, tmp_path: Path
) -> None:
    tracks = keyed_tracks()
    path = tmp_path / f"c{FORMATS[name].ending}"
    tracks.save(path, name, start_frame=start)
    names = NAMES if name != "csv" else ("tail", "nose")  # whose points are numbers
    start = start if name != "npz" else None
    found = read_corrections(path, names, start_frame=start, size=SIZE, frames=5)
    numbers = {"tail": names.index("tail"), "nose": names.index("nose")}
    expected = {
        (numbers[who], t): tracks.xy[n, t]
        for n, who in enumerate(("tail", "nose"))
        for t in range(5)
        if tracks.visible[n, t]
    }
    placed = {(int(p), int(t)): (x, y) for p, t, x, y in found.placed.rows}
    assert placed.keys() == expected.keys()
    for key, place in placed.items():
        np.testing.assert_allclose(place, expected[key], atol=2e-3)
    knows = {(numbers["nose"], 1), (numbers["nose"], 2)}
    assert hidden_frames(found.hidden.rows) in (set(), knows)
    if name in ("npz", "csv", "json", "tapvid", "coco"):
        assert hidden_frames(found.hidden.rows) == knows
    assert (program_of(path) is None) == (name == "csv")


def test_keys_outside_the_picture_hide_and_outside_the_video_are_refused(tmp_path: Path) -> None:
    tracks = keyed_tracks()
    tracks.xy[0, 3] = (150, 20)
    tracks.save(tmp_path / "c.nk", start_frame=1)
    found = read_corrections(tmp_path / "c.nk", NAMES, size=SIZE, frames=5)
    assert (2, 3) in hidden_frames(found.hidden.rows)
    assert [2, 3] not in found.placed.rows[:, :2].tolist()
    with pytest.raises(InputError, match=r"'tail' has a key in frame 4 of 4.*start_frame"):
        read_corrections(tmp_path / "c.nk", NAMES, size=SIZE, frames=4)
    with pytest.raises(InputError, match=r"c.nk: no point is called 'tail'; they are 'a'"):
        read_corrections(tmp_path / "c.nk", ("a", "nose"), size=SIZE, frames=5)
