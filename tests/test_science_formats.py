"""Formats of research, biology and vision tools: pixels worked by hand, and what the tools read.

The clip has 4 x 3 pixels, 6 frames at 24000 / 1001 a second, and a point in each corner. `CORNERS`
move by known steps; the first is hidden for one frame, the second for three.
"""

import csv
import dataclasses
import importlib
import json
import pickle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from dinotrack.errors import InputError
from dinotrack.formats import FORMATS, load_tracks, read_queries
from dinotrack.formats.texts import distinct
from dinotrack.tracks import Tracks

HEIGHT, WIDTH, FRAMES = 3, 4, 6
NAMES = ("nose", "tail, left", "nose", '<é "q">')
UNLIKE = ("nose", "tail, left", "nose_2", '<é "q">')
"""The same names where a name is a key."""
ENDS = 0.0005
"""Px by which a position that is written with three decimals may be wrong."""


def made() -> Tracks:
    xy = np.zeros((4, FRAMES, 2), np.float32)
    for p, (x, y) in enumerate([(0, 0), (WIDTH - 1, 0), (0, HEIGHT - 1), (WIDTH - 1, HEIGHT - 1)]):
        steps = np.arange(FRAMES)
        xy[p, :, 0] = x + steps * 0.1234 * (1 if x == 0 else -1)
        xy[p, :, 1] = y + steps * 0.0625
    visible = np.ones((4, FRAMES), bool)
    visible[0, 2] = visible[1, 2:5] = visible[3, 0] = False
    return Tracks(
        xy=xy,
        visible=visible,
        confidence=np.linspace(0.3, 0.9, 4 * FRAMES, dtype=np.float32).reshape(4, FRAMES),
        queries=np.array([[0, *xy[0, 0]], [1, *xy[1, 1]], [5, *xy[2, 5]], [3, *xy[3, 3]]], "f4"),
        size=(HEIGHT, WIDTH),
        fps=24000 / 1001,
        names=NAMES,
    )


CORNERS = made()
SEEN = np.where(CORNERS.visible[..., None], CORNERS.xy, np.nan)


def needed(name: str) -> None:
    """Skip where what a format needs is not installed."""
    for module in FORMATS[name].needs:
        pytest.importorskip(module)


def written(name: str, folder: Path, tracks: Tracks = CORNERS, **wishes: Any) -> Path:
    """The tracks as a file of a format."""
    needed(name)
    path = folder / f"{name}{FORMATS[name].ending}"
    tracks.save(path, name, **wishes)
    return path


def of_any_format(name: str, folder: Path) -> Path:
    """A file of a format that may be written, of one point where it takes no more."""
    if FORMATS[name].write is None:
        pytest.skip("is read only")
    alone = CORNERS.chosen([0])
    return written(name, folder, alone if name == "after-effects-text" else CORNERS)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_told_from_those_of_other_formats(name: str, tmp_path: Path) -> None:
    path = of_any_format(name, tmp_path)
    alike = {
        other
        for other, each in FORMATS.items()
        if each.read and each.ending == path.suffix and each.recognise(path)
    }
    assert alike <= {name}
    assert alike == {name} or FORMATS[name].read is None


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_tracks_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    if name == "rerun":
        pytest.skip("numbers its parts by the clock")
    first = of_any_format(name, tmp_path).read_bytes()
    assert of_any_format(name, tmp_path).read_bytes() == first


LOSSLESS = {"json": 0.0, "csv": ENDS, "tapvid": 1e-6, "deeplabcut": 5e-5, "deeplabcut-h5": 0.0}
EVERYWHERE = {**LOSSLESS, "coco": 5e-5, "cvat": 5e-5}
"""Formats that hold the place of hidden points too -> px by which they may be wrong."""
VISIBLE = {**EVERYWHERE, "sleap": 0.0, "sleap-slp": 0.0}


@pytest.mark.parametrize("start", [None, 1001])
@pytest.mark.parametrize("name", VISIBLE)
def test_what_is_read_is_what_was_written(name: str, start: int | None, tmp_path: Path) -> None:
    path = written(name, tmp_path, start_frame=start)
    size = (HEIGHT, WIDTH)
    back = load_tracks(path, size=size, frames=FRAMES, fps=CORNERS.fps, start_frame=start)
    assert np.array_equal(back.visible, CORNERS.visible)
    where = slice(None) if name in EVERYWHERE else CORNERS.visible
    assert np.abs(back.xy - CORNERS.xy)[where].max() <= VISIBLE[name] + 1e-6
    assert back.names in (NAMES, UNLIKE)
    asked = read_queries(path, start_frame=start, size=size)
    assert asked.names == back.names
    if name in ("json", "tapvid"):  # which know what was asked for
        assert np.allclose(asked.rows, CORNERS.queries, atol=1e-6)
    else:
        assert asked.rows[:, 0].tolist() == [0, 0, 0, 1]


def test_json_loses_nothing(tmp_path: Path) -> None:
    uneven = dataclasses.replace(
        CORNERS, names=None, uneven_times=np.array([0, 0.1, 0.15, 0.3, 0.31, 0.5])
    )
    for tracks in (CORNERS, uneven):
        assert load_tracks(written("json", tmp_path, tracks, start_frame=7)) == tracks


def test_csv_loses_nothing_but_decimals(tmp_path: Path) -> None:
    plain = dataclasses.replace(CORNERS, names=None)
    back = load_tracks(written("csv", tmp_path, plain), size=plain.size)
    assert back.names is None
    assert back.fps == plain.fps
    assert np.abs(back.confidence - plain.confidence).max() <= 5.1e-5
    uneven = dataclasses.replace(plain, uneven_times=np.array([0, 0.1, 0.15, 0.3, 0.31, 0.5]))
    back = load_tracks(written("csv", tmp_path, uneven), size=plain.size)
    assert np.allclose(back.times, uneven.times, atol=1e-6)


def test_csv_is_read_as_spreadsheets_write_it_again(tmp_path: Path) -> None:
    text = "sep=;\npoint;t;x;y;visible;name\n1;5;1,5;2;0;b\n1;6;1,25;2;1;b\n0;5;3;4;1;a\n"
    (tmp_path / "excel.csv").write_text(text, encoding="utf-16")
    queries = read_queries(tmp_path / "excel.csv", start_frame=5)
    assert queries.names == ("a", "b")
    assert queries.rows.tolist() == [[0, 3, 4], [1, 1.25, 2]]


@pytest.mark.parametrize("name", VISIBLE)
def test_hidden_places_can_be_left_out(name: str, tmp_path: Path) -> None:
    path = written(name, tmp_path, only_visible=True)
    back = load_tracks(path, size=(HEIGHT, WIDTH), frames=FRAMES)
    assert np.array_equal(back.visible, CORNERS.visible)
    error = np.abs(back.xy - CORNERS.xy)[CORNERS.visible]
    assert error.max() <= VISIBLE[name] + 1e-6


# Pixels by hand. In frame 1 the first point is at (.1234, .0625); the second is at (3, 0) in frame
# 0 and hidden from frame 2 to 4.


def test_csv_wide_by_hand(tmp_path: Path) -> None:
    head, first, second, third = rows_of(written("csv-wide", tmp_path, only_visible=True))[:4]
    assert head[:7] == [
        "frame",
        "time",
        "nose_x",
        "nose_y",
        "nose_visible",
        "nose_confidence",
        "tail, left_x",
    ]
    assert head[10] == "nose_2_x"
    assert first[6:9] == ["3.000", "0.000", "1"]
    assert second[:5] == ["1", "0.041708", "0.123", "0.062", "1"]
    assert third[2:6] == ["", "", "0", ""]


def test_tapvid_by_hand(tmp_path: Path) -> None:
    with np.load(written("tapvid", tmp_path)) as file:
        assert file["points"].shape == (4, FRAMES, 2)
        assert file["points"][1, 0].tolist() == [3.5 / 4, np.float32(0.5 / 3)]
        assert np.array_equal(file["occluded"], ~CORNERS.visible)
        t, y, x = file["query_points"][1].tolist()
        assert (t, y, x) == (1, 0.5 + 0.0625, np.float32(3 - 0.1234) + np.float32(0.5))


def test_arrays_of_tapnet_need_the_size(tmp_path: Path) -> None:
    points = np.full((1, 2, 2), 0.5, np.float32)
    np.savez(tmp_path / "robotap.npz", points=points, occluded=np.array([[True, False]]))
    with pytest.raises(InputError, match="give size="):
        load_tracks(tmp_path / "robotap.npz")
    queries = read_queries(tmp_path / "robotap.npz", size=(3, 4))
    assert queries.rows.tolist() == [[1, 1.5, 1]]


def test_deeplabcut_by_hand(tmp_path: Path) -> None:
    rows = rows_of(written("deeplabcut", tmp_path))
    assert rows[0][:4] == ["scorer", *["dinotrack"] * 3]
    assert [row[4] for row in rows[:4]] == ["dinotrack", "tail, left", "x", "3.0000"]
    assert rows[4][:4] == ["1", "0.1234", "0.0625", "0.3261"]
    assert rows[5][:4] == ["2", "0.2468", "0.1250", "0.0000"]  # it is hidden
    rows = rows_of(written("deeplabcut", tmp_path, only_visible=True, start_frame=1001))
    assert rows[5][:4] == ["1003", "", "", ""]


def test_deeplabcut_of_several_animals(tmp_path: Path) -> None:
    (tmp_path / "mice.csv").write_text(
        "scorer,net,net,net,net,net,net\n"
        "individuals,m1,m1,m1,m2,m2,m2\n"
        "bodyparts,nose,nose,nose,nose,nose,nose\n"
        "coords,x,y,likelihood,x,y,likelihood\n"
        "0,1.5,2,0.2,,,\n"
        "1,2.5,3,0.9,7,8,0.99\n"
    )
    queries = read_queries(tmp_path / "mice.csv")
    assert queries.names == ("m1_nose", "m2_nose")
    assert queries.rows.tolist() == [[1, 2.5, 3], [1, 7, 8]]


@pytest.mark.parametrize(
    "label", ["labeled-data/clip/img0042.png", r"labeled-data\clip7\img0042.png"]
)
def test_deeplabcut_as_people_label(label: str, tmp_path: Path) -> None:
    text = f"scorer,me,me\nbodyparts,left ear,left ear\ncoords,x,y\n{label},10.25,20.5\n"
    (tmp_path / "CollectedData_me.csv").write_text(text)
    apart = text.replace("scorer,", "scorer,,,").replace("parts,", "parts,,,")
    apart = apart.replace("coords,", "coords,,,").replace("/", ",").replace("\\", ",")
    (tmp_path / "CollectedData_you.csv").write_text(apart)
    for path in sorted(tmp_path.iterdir()):
        queries = read_queries(path)
        assert queries.names == ("left ear",)
        assert queries.rows.tolist() == [[42, 10.25, 20.5]]


def test_sleap_by_hand(tmp_path: Path) -> None:
    path = written("sleap", tmp_path, video="clip.mp4")
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        assert file["tracks"].shape == (1, 2, 4, FRAMES)
        assert file["tracks"][0, :, 1, 0].tolist() == [3, 0]
        assert np.isnan(file["tracks"][0, :, 1, 2:5]).all()
        assert [name.decode() for name in file["node_names"]] == list(UNLIKE)
        assert file["point_scores"][0, 1, 0] == CORNERS.confidence[1, 0]
        assert file["video_path"][()] == b"clip.mp4"


def test_sleap_with_other_axes_and_two_animals(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    places = np.full((5, 2, 1, 2), np.nan)  # frame, track, node, xy
    places[3, 1, 0] = 1.5, 2.5
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["tracks"] = places
        file["node_names"] = np.array([b"nose"])
        file["track_names"] = np.array([b"a", b"b"])
    queries = read_queries(tmp_path / "two.h5")
    assert queries.names == ("b_nose",)
    assert queries.rows.tolist() == [[3, 1.5, 2.5]]


def test_coco_by_hand(tmp_path: Path) -> None:
    held = json.loads(written("coco", tmp_path, start_frame=1001).read_text())
    assert held["categories"][0]["keypoints"] == list(UNLIKE)
    image = held["images"][2]
    assert image["file_name"] == "001003.jpg"
    assert (image["width"], image["height"]) == (4, 3)
    keypoints = held["annotations"][2]["keypoints"]
    assert keypoints[:3] == [0.2468, 0.125, 1]
    assert keypoints[6:9] == [0.2468, 2.125, 2]
    held = json.loads(written("coco", tmp_path, only_visible=True).read_text())
    assert held["annotations"][2]["keypoints"][:3] == [0, 0, 0]
    assert held["annotations"][2]["num_keypoints"] == 2


def test_coco_of_others(tmp_path: Path) -> None:
    held = {
        "images": [{"id": 9, "file_name": "clip/frame_0012.png", "width": 4, "height": 3}],
        "categories": [{"id": 3, "name": "hand", "keypoints": ["tip", "wrist"]}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 3, "keypoints": [1, 2, 2, 0, 0, 0]},
            {"id": 2, "image_id": 9, "category_id": 3, "keypoints": [3, 1, 2, 2, 1, 1]},
        ],
    }
    (tmp_path / "hands.json").write_text(json.dumps(held))
    queries = read_queries(tmp_path / "hands.json")
    assert queries.names == ("tip_1", "tip_2")
    assert queries.rows.tolist() == [[12, 1, 2], [12, 3, 1]]


def test_cvat_by_hand(tmp_path: Path) -> None:
    root = ElementTree.parse(written("cvat", tmp_path, start_frame=1001)).getroot()
    tracks = root.findall("track")
    assert [track.get("label") for track in tracks] == list(NAMES)
    second = [shape.attrib for shape in tracks[1]]
    assert second[0]["points"] == "3.5000,0.5000"
    assert [shape["frame"] for shape in second[:2]] == ["1001", "1002"]
    assert [shape["outside"] for shape in second] == list("001110")
    assert {shape["keyframe"] for shape in second} == {"1"}
    assert root.findtext("meta/task/original_size/width") == "4"
    root = ElementTree.parse(written("cvat", tmp_path, only_visible=True)).getroot()
    second = [shape.attrib for shape in root.findall("track")[1]]
    assert [shape["frame"] for shape in second] == list("0125")
    assert second[2]["points"] == second[1]["points"]


def test_cvat_with_skeletons_and_images(tmp_path: Path) -> None:
    (tmp_path / "skeleton.xml").write_text(
        '<annotations><track id="0" label="dog"><skeleton frame="3" keyframe="1">'
        '<points label="nose" outside="1" points="1.00,1.00"/></skeleton>'
        '<skeleton frame="4" keyframe="1"><points label="nose" outside="0" points="2.00,3.50"/>'
        "</skeleton></track></annotations>"
    )
    queries = read_queries(tmp_path / "skeleton.xml")
    assert queries.names == ("nose",)
    assert queries.rows.tolist() == [[4, 1.5, 3]]
    (tmp_path / "images.xml").write_text(
        '<annotations><image id="5" name="a.jpg" width="4" height="3">'
        '<points label="ear" points="1.5,2.5;3.5,0.5"/></image></annotations>'
    )
    tracks = load_tracks(tmp_path / "images.xml")
    assert tracks.size == (3, 4)
    assert tracks.names == ("ear_0", "ear_1")
    assert tracks.queries.tolist() == [[5, 1, 2], [5, 3, 0]]


def test_mot_by_hand(tmp_path: Path) -> None:
    rows = rows_of(written("mot", tmp_path))
    assert rows[1] == ["1", "2", "-1.0000", "-4.0000", "10", "10", "0.4565", "-1", "-1", "-1"]
    # its middle, (4, 1), is the last pixel of the first row, counted from 1
    assert not [row for row in rows if row[:2] == ["3", "2"]]
    assert rows_of(written("mot", tmp_path, start_frame=1001))[0][0] == "1001"


def test_dltdv_by_hand(tmp_path: Path) -> None:
    rows = rows_of(written("dltdv", tmp_path))
    assert rows[0][:4] == ["pt1_cam1_X", "pt1_cam1_Y", "pt2_cam1_X", "pt2_cam1_Y"]
    assert rows[1][2:4] == ["4.0000", "1.0000"]
    assert rows[2][:2] == ["1.1234", "1.0625"]
    assert rows[3][:4] == ["NaN"] * 4
    assert len(rows) == 1 + FRAMES


def test_trajectories_by_hand(tmp_path: Path) -> None:
    larger = CORNERS.resized((HEIGHT * 2, WIDTH * 2)).resampled(11)
    paths = json.loads(written("trajectories", tmp_path, larger).read_text())
    assert [len(path) for path in paths] == [11] * 4
    assert paths[1][0] == {"x": 6.5, "y": 0.5}
    assert paths[1][4:10] == [paths[1][3]] * 6  # hidden
    assert paths[3][0] == paths[3][1]  # hidden from the beginning
    unseen = dataclasses.replace(CORNERS, visible=np.zeros_like(CORNERS.visible))
    assert json.loads(written("trajectories", tmp_path, unseen).read_text()) == []


# What the tools themselves read.


def compared(found: np.ndarray, error: float, wanted: np.ndarray = SEEN) -> None:
    """found: [N, T, 2], NaN where wanted is."""
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    assert np.nanmax(np.abs(found - wanted)) <= error


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["deeplabcut", "deeplabcut-h5", "sleap", "sleap-slp"])
def test_movement_reads(name: str, tmp_path: Path) -> None:
    load_poses = pytest.importorskip("movement.io").load_poses
    path = written(name, tmp_path)
    is_sleap = name.startswith("sleap")
    load = load_poses.from_sleap_file if is_sleap else load_poses.from_dlc_file
    found = load(path, fps=24)
    assert found.keypoints.values.tolist() == list(UNLIKE)
    places = found.position.values[..., 0].transpose(2, 0, 1)
    compared(places, 5e-5, SEEN if is_sleap else CORNERS.xy)
    trust = found.confidence.values[..., 0].T
    assert np.allclose(trust[CORNERS.visible], CORNERS.confidence[CORNERS.visible], atol=5.1e-5)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["sleap", "sleap-slp"])
def test_sleap_io_reads(name: str, tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    path = str(written(name, tmp_path))
    if name == "sleap":
        labels = sleap_io.load_analysis_h5(path)
    else:
        labels = sleap_io.load_slp(path, open_videos=False)
    compared(labels.numpy()[:, 0].transpose(1, 0, 2), 0)
    assert [node.name for node in labels.skeletons[0].nodes] == list(UNLIKE)


def test_what_people_label_in_sleap_counts_first(tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    skeleton = sleap_io.Skeleton(nodes=["nose", "tail"])
    video = sleap_io.Video(filename="clip.mp4", open_backend=False)
    guess = sleap_io.PredictedInstance.from_numpy(np.array([[9, 9], [1, 2.5]]), skeleton)
    truth = sleap_io.Instance.from_numpy(np.array([[3.5, 4], [np.nan, np.nan]]), skeleton)
    frame = sleap_io.LabeledFrame(video=video, frame_idx=4, instances=[guess, truth])
    labels = sleap_io.Labels([frame], videos=[video], skeletons=[skeleton])
    sleap_io.save_slp(labels, str(tmp_path / "mine.slp"), embed=False, verbose=False)
    queries = read_queries(tmp_path / "mine.slp")
    assert queries.rows.tolist()[0] == [4, 3.5, 4]


def test_pycocotools_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(str(written("coco", tmp_path)))
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[each for each in range(1, FRAMES + 1)]))
    found = np.array([each["keypoints"] for each in annotations]).reshape(FRAMES, 4, 3)
    found = found.transpose(1, 0, 2)
    compared(found[..., :2], 5e-5, CORNERS.xy)
    assert np.array_equal(found[..., 2] == 2, CORNERS.visible)


@pytest.mark.filterwarnings("ignore")
def test_datumaro_reads(tmp_path: Path) -> None:
    """It rounds to hundredths."""
    datumaro = pytest.importorskip("datumaro")
    (tmp_path / "cvat").mkdir()
    (tmp_path / "mot" / "gt").mkdir(parents=True)
    written("cvat", tmp_path / "cvat")
    written("mot", tmp_path).rename(tmp_path / "mot" / "gt" / "gt.txt")
    found = np.full((4, FRAMES, 2), np.nan)
    for item in datumaro.Dataset.import_from(str(tmp_path / "cvat"), "cvat"):
        for shape in item.annotations:
            p, t = shape.attributes["track_id"], item.attributes["frame"]
            if not shape.attributes["outside"]:
                found[p, t] = np.array(shape.points) - 0.5
    compared(found, 0.0051)
    found = np.full((4, FRAMES, 2), np.nan)
    for item in datumaro.Dataset.import_from(str(tmp_path / "mot"), "mot_seq"):
        for box in item.annotations:
            left, top, right, bottom = box.points
            p, t = box.attributes["track_id"] - 1, int(item.id) - 1
            found[p, t] = (left + right) / 2 - 1, (top + bottom) / 2 - 1
    compared(found, 0.0051)


def test_rerun_reads(tmp_path: Path) -> None:
    path = written("rerun", tmp_path, start_frame=1001)
    reader = importlib.import_module("rerun.chunk").RrdReader(str(path))
    found = np.full((4, FRAMES, 2), np.nan)
    entities = [r"/tracks/nose", r"/tracks/tail\,\ left", r"/tracks/nose_2"]
    labels = []
    for chunk in reader.stream():
        batch = chunk.to_record_batch()
        if "Points2D:labels" in batch.schema.names:
            labels += batch.column("Points2D:labels").to_pylist()[0]
        if "Points2D:positions" not in batch.schema.names:
            continue
        path = str(chunk.entity_path)
        p = entities.index(path) if path in entities else 3
        frames = batch.column("frame").to_pylist()
        for t, places in zip(frames, batch.column("Points2D:positions").to_pylist(), strict=True):
            if places:
                found[p, t - 1001] = np.array(places[0]) - 0.5
    compared(found, 1e-6)
    assert sorted(labels) == sorted(UNLIKE)


# Files of others that are damaged, hostile or only unlucky.


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xml", "<annotations>", "can't be read as annotations of CVAT: it is damaged"),
        ("a.xml", "<html></html>", "shows no point"),
        (
            "a.xml",
            '<!DOCTYPE a [<!ENTITY x "y">]><annotations><track id="&x;"/></annotations>',
            "it has a document type",
        ),
        (
            "a.xml",
            '<annotations><track id="0" label="a"><points frame="0" points="a,b"/></track>'
            "</annotations>",
            "it is damaged",
        ),
        ("a.csv", "scorer,a\nbodyparts,n\ncoords,x\n0,1\n", "as a table of DeepLabCut: it is dam"),
        ("a.csv", "scorer,a,a\nbodyparts,n,n\n", "its first rows are not"),
        ("a.csv", "scorer,a,a\nbodyparts,n,n\ncoords,x,y\nhead,1,2\n", "without the number of a"),
        ("a.csv", "scorer,a,a\nbodyparts,n,n\ncoords,x,y\n0,1,2\n0,1\n", "it is damaged"),
        ("a.csv", "point,t,x,y,visible\n0,0.5,1,2,1\n", "line 2: t = 0.5 is no whole number"),
        ("a.csv", "point,t,x,y,visible\n", "shows no point"),
        ("a.csv", "point,t,x,y,visible\n0,0,1,2,0\n", "shows no point"),
        ("a.json", '{"images": [{"id": 1}], "annotations": 3}', "as COCO keypoints: it is damag"),
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "shows no point"),
        ("a.json", '{"format": "dinotrack tracks"', "it is no JSON"),
        ("a.json", '{"format": "dinotrack tracks", "points": []}', "it is damaged"),
        ("a.json", '{"info": ' + "[" * 9999, "it is no JSON"),
        ("a.h5", "no HDF5", "can't be read as a"),
        ("a.slp", "no HDF5", "can't be read as a SLEAP project"),
    ],
)
def test_damaged_files(name: str, content: str, said: str, tmp_path: Path) -> None:
    if name.endswith((".h5", ".slp")):
        needed("sleap-slp" if name.endswith(".slp") else "deeplabcut-h5")
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        read_queries(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0,99999999999,1,2,1", "more than memory is for"),
        ("0,-1,1,2,1", "has a key in frame -1"),
        ("0,1,1e99,2,1", "no number of px"),
        ("0,0,1,2,1", "twice in a frame"),
    ],
)
def test_places_that_cannot_be(row: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"point,t,x,y,visible\n0,0,1,2,1\n{row}\n")
    with pytest.raises(InputError, match=said):
        load_tracks(tmp_path / "a.csv", size=(3, 4))


def test_no_text_is_too_large_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("texts", "cvat"):
        monkeypatch.setattr(f"dinotrack.formats.{module}.MOST_BYTES", 100)
    monkeypatch.setattr("dinotrack.formats.texts.MOST_GROUPS", 3)
    for name in ("csv", "json", "deeplabcut", "coco", "cvat"):
        with pytest.raises(InputError, match="larger than"):
            read_queries(written(name, tmp_path))
    monkeypatch.setattr("dinotrack.formats.texts.MOST_BYTES", 10**6)
    with pytest.raises(InputError, match="more than 3 lists"):
        read_queries(written("json", tmp_path))


class Harmful:
    """What runs code where somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


@pytest.mark.filterwarnings("ignore")
def test_deeplabcut_tables_of_both_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed("deeplabcut-h5")
    pd, h5py = pytest.importorskip("pandas"), pytest.importorskip("h5py")
    columns = [("net", part, what) for part in ("nose", "tail é") for what in ("x", "y")]
    names = ("scorer", "bodyparts", "coords")
    numbers = np.arange(8.0).reshape(2, 4)
    labels = pd.MultiIndex.from_tuples([("labeled-data", "c", f"img{i}.png") for i in (3, 7)])
    for rows, kind in (([3, 7], "table"), ([3, 7], "fixed"), (labels, "fixed")):
        table = pd.DataFrame(numbers, rows, pd.MultiIndex.from_tuples(columns, names=names))
        table.to_hdf(tmp_path / "a.h5", key="df_with_missing", format=kind, mode="w")
        queries = read_queries(tmp_path / "a.h5")
        assert queries.names == ("nose", "tail é")
        assert queries.rows.tolist() == [[3, 0, 1], [3, 2, 3]]
    table = pd.DataFrame(numbers, [3, 7], pd.MultiIndex.from_tuples(columns, names=names))
    table.to_hdf(tmp_path / "a.h5", key="df_with_missing", format="table", mode="w")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(
            pickle.dumps([Harmful()], protocol=0)
        )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="objects of Python, which are not run"):
        read_queries(tmp_path / "a.h5")
    assert not (tmp_path / "harm").exists()


def test_texts_without_a_fixed_length_are_not_read(tmp_path: Path) -> None:
    """libhdf5 never comes to an end with some damaged ones."""
    h5py = pytest.importorskip("h5py")
    path = written("sleap", tmp_path)
    with h5py.File(path, "a") as file:
        del file["node_names"]
        file["node_names"] = list(UNLIKE)
    with pytest.raises(InputError, match="its node_names is object"):
        load_tracks(path, "sleap", size=(3, 4))


def test_hdf5_that_leads_elsewhere_or_claims_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    path = written("sleap", tmp_path)
    for spoil in ("link", "external", "virtual"):
        with h5py.File(path, "a") as file:
            if spoil == "link":
                file["more"] = h5py.ExternalLink("/etc/passwd", "/")
            elif spoil == "external":
                del file["more"]
                file.create_dataset("more", (4,), "u1", external=[("/etc/passwd", 0, 4)])
            else:
                del file["more"]
                layout = h5py.VirtualLayout((4,), "u1")
                layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
                file.create_virtual_dataset("more", layout)
        with pytest.raises(InputError, match="it leads to another file"):
            load_tracks(path, "sleap")
    monkeypatch.setattr("dinotrack.formats.hdf5.MOST_BYTES", 100)
    with pytest.raises(InputError, match="its tracks is larger than"):
        load_tracks(written("sleap", tmp_path), size=(3, 4))


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.needs])
def test_what_is_missing_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinotrack.formats.programs.find_spec", lambda module: None)
    packages = " ".join(FORMATS[name].needs.values())
    with pytest.raises(InputError, match=f"call: pip install {packages}"):
        CORNERS.save(tmp_path / "a", name)
    if FORMATS[name].read:
        with pytest.raises(InputError, match=f"call: pip install {packages}"):
            load_tracks(tmp_path / "a", name)


@pytest.mark.parametrize("name", ["deeplabcut", "sleap", "sleap-slp", "coco", "cvat", "json"])
def test_points_that_are_nowhere_are_left_out(name: str, tmp_path: Path) -> None:
    visible = CORNERS.visible.copy()
    visible[1] = False
    tracks = dataclasses.replace(CORNERS, visible=visible)
    path = written(name, tmp_path, tracks, only_visible=True)
    back = load_tracks(path, size=(HEIGHT, WIDTH), frames=FRAMES)
    assert np.array_equal(back.visible, visible[[0, 2, 3]])
    assert back.names in ((NAMES[0], *NAMES[2:]), (UNLIKE[0], *UNLIKE[2:]))


def test_names_as_keys() -> None:
    assert distinct(("a", "a", "", "a_2", "b\n\x1b", "")) == (
        "a",
        "a_2",
        "point_2",
        "a_2_2",
        "b \\x1b",
        "point_5",
    )
