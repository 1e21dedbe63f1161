"""Files of VFX programs: pixels worked out by hand, files that the programs saved, and names that
try to be code."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinotrack.errors import InputError
from dinotrack.formats import FORMATS, Clip, Found, load_tracks, read_queries
from dinotrack.formats import nuke_script as nk
from dinotrack.formats.corner_pin import order, read_corner_pin
from dinotrack.formats.equalizer import read_equalizer
from dinotrack.formats.found import as_tracks
from dinotrack.formats.nuke import read_nuke
from dinotrack.formats.pftrack import read_pftrack
from dinotrack.formats.programs import format_of
from dinotrack.formats.syntheyes import read_syntheyes
from dinotrack.tracks import Tracks
from tests import formats_page
from tests.small_clip import HOSTILE, clip
from tests.vfx_readers import run_in_after_effects, run_in_blender

PAGE = formats_page.PAGE.read_text(encoding="utf-8")
SAMPLES = Path(os.environ.get("DINOTRACK_DATA", "absent")) / "formats"
samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="DINOTRACK_DATA holds no formats/")


def one_pixel(xy: tuple[float, float] = (10, 20), seen: str = "o") -> Tracks:
    """A point called nose, in a video of 1920 x 1080, that stays where it is."""
    visible = np.array([[letter == "o" for letter in seen]])
    return Tracks(
        xy=np.full((1, len(seen), 2), xy, np.float32),
        visible=visible,
        confidence=visible.astype(np.float32),
        queries=np.array([[visible.argmax(), *xy]], np.float32),
        size=(1080, 1920),
        fps=24000 / 1001,
        names=("nose",),
    )


# --- the page -------------------------------------------------------------------------------------


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    assert formats_page.table() in PAGE
    assert formats_page.short_table() in formats_page.README.read_text(encoding="utf-8")


WORKED = {
    "nuke": ["{curve x1 10.5}", "{curve x1 1059.5}"],
    "cornerpin": ["{{curve x1 10.5} {curve x1 1059.5}}"],
    "3de": ["1 10.500000000000000 1059.500000000000000"],
    "after-effects": ["[10.50000,20.50000]"],
    "after-effects-text": ["\t0\t10.50000\t20.50000\t0\t"],
    "fusion": ["[0] = { 0.005468750, ", "[0] = { 0.981018519, "],
    "blender": ["(1, 0.005468750, 0.981018519)"],
    "syntheyes": ["nose 0 -0.989577905 -0.962928638 15"],
    "pftrack": ["0 10.00000 1059.00000 0.000"],
}
"""What a format makes of (10, 20) in frame 0 of 1920 x 1080: 10 + 0.5, 1080 - 0.5 - 20, 10.5 /
1920, 1 - 20.5 / 1080, 20 / 1919 - 1, 40 / 1079 - 1, and 1079 - 20."""


@pytest.mark.parametrize("name", WORKED)
def test_worked_pixels(name: str, tmp_path: Path) -> None:
    tracks = one_pixel()
    if name == "cornerpin":
        tracks = tracks.chosen([0] * 4)
    path = tmp_path / f"pixel{FORMATS[name].ending}"
    tracks.save(path, name)
    section = PAGE.partition(f"### {name}\n")[2].partition("\n### ")[0]
    for line in WORKED[name]:
        assert line in path.read_text()
        assert " ".join(line.split()) in " ".join(section.split())


RATES = {
    "nuke": " fps 23.97602398\n",
    "cornerpin": " fps 23.97602398\n",
    "after-effects": '"fps": 23.97602398,',
    "after-effects-text": "\tUnits Per Second\t23.97602398\n",
    "blender": "FPS = (24, 1.001)\n",
}


@pytest.mark.parametrize("name", RATES)
def test_rates_that_are_no_whole_numbers(name: str, tmp_path: Path) -> None:
    tracks = one_pixel().chosen([0] * 4) if name == "cornerpin" else one_pixel()
    path = tmp_path / "file"
    tracks.save(path, name)
    assert RATES[name] in path.read_text()


# --- gaps -----------------------------------------------------------------------------------------


def test_after_a_gap_two_frames_are_named_in_nuke(tmp_path: Path) -> None:
    path = tmp_path / "gaps.nk"
    one_pixel(seen=".oo.o..ooo.").save(path, start_frame=1001)
    row = next(line for line in path.read_text().splitlines() if '"nose"' in line)
    enable, _, across, up = nk.words(nk.words(row)[0])[:4]
    assert enable == "curve K x1001 0 x1002 1 x1004 0 x1005 1 x1006 0 x1008 1 x1011 0"
    assert across == "curve x1002 10.5 10.5 x1005 10.5 x1008 10.5 x1009 10.5 10.5"
    assert up == "curve x1002 1059.5 1059.5 x1005 1059.5 x1008 1059.5 x1009 1059.5 1059.5"
    assert len(nk.words(nk.words(row)[0])) == 31


CURVES = {
    "curve x1 5 6 7": {1: 5, 2: 6, 3: 7},
    "curve i x1 5 x4 6 x5 7 8": {1: 5, 4: 6, 5: 7, 6: 8},
    "curve x1 5 x4 6 7": {1: 5, 4: 6, 7: 7},
    "curve K x-2 0 x3 1": {-2: 0, 3: 1},
    "curve C x1 5 s0.5 t0.2 x2.5 9 x3 6 L": {1: 5, 3: 6},
}
"""Curves of Nuke and what they say. The third keeps the gap as its step."""


@pytest.mark.parametrize("text", CURVES)
def test_curves(text: str) -> None:
    curve = nk.curve_of(text)
    assert curve is not None
    assert dict(zip(curve.frames, curve.values, strict=True)) == CURVES[text]


def test_curves_say_again_what_was_said() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        frames = np.flatnonzero(random.random(30) < 0.6)
        keys = [(int(t) + 1001, float(t) / 4) for t in frames]
        curve = nk.curve_of(nk.curve_text(keys)[1:-1]) if keys else None
        assert curve is None or list(zip(curve.frames, curve.values, strict=True)) == keys


def test_blender_mutes_both_ends_of_a_hidden_stretch(tmp_path: Path) -> None:
    path = tmp_path / "gaps.py"
    one_pixel(seen=".oo.o...oo..").save(path, start_frame=1001)
    made = run_in_blender(path, path)
    (track,) = made.tracks
    muted = [frame for frame, marker in sorted(track.held.items()) if marker.mute]
    assert muted == [1, 4, 6, 8, 11]
    assert [frame for frame in range(1, 13) if not track.shown(frame).mute] == [2, 3, 5, 9, 10]
    assert (made.clip.frame_start, made.scene.frame_start, made.scene.frame_end) == (
        1001, 1001, 1012,
    )  # fmt: skip
    assert made.clip.use_fake_user  # without which Blender does not save it
    assert made.saved == str(tmp_path / "gaps.blend")
    assert run_in_blender(path, path, background=False).saved is None
    with pytest.raises(SystemExit, match="There is no video"):
        run_in_blender(path, tmp_path / "absent.mp4")


DUMP = """
import bpy, json
(clip,) = bpy.data.movieclips
render, tracks = bpy.context.scene.render, clip.tracking.objects.active.tracks
frames = range(1, clip.frame_duration + 1)
marker = lambda track, frame: track.markers.find_frame(frame, exact=False)
rows = {t.name: [[*marker(t, f).co, marker(t, f).mute] for f in frames] for t in tracks}
print("FOUND", json.dumps([clip.frame_start, render.fps / render.fps_base, rows]))
"""
"""Says which marker Blender shows in each frame."""


@pytest.mark.skipif(shutil.which("blender") is None, reason="Blender is not installed")
def test_blender_itself_shows_the_same(tmp_path: Path) -> None:
    tracks = clip((5, 9))
    frames = tmp_path / "frames"
    frames.mkdir()
    for t in range(12):
        Image.new("RGB", (9, 5)).save(frames / f"{t:05d}.png")
    tracks.save(tmp_path / "ours.py", start_frame=1001, video=str(frames))

    def run(*words: str) -> str:
        command = ["blender", "--background", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run("--python", str(tmp_path / "ours.py"))
    said = run(str(tmp_path / "ours.blend"), "--python-expr", DUMP)
    found = next(line for line in said.splitlines() if line.startswith("FOUND"))
    start, fps, rows = json.loads(found.removeprefix("FOUND"))
    assert (start, tuple(rows)) == (1001, tracks.names)
    assert fps == pytest.approx(tracks.fps, rel=1e-6)
    markers = np.array([*rows.values()])
    assert np.array_equal(markers[..., 2] == 0, tracks.visible)
    xy = (markers[..., :2] * (1, -1) + (0, 1)) * (9, 5) - 0.5
    assert np.abs(xy - tracks.xy)[tracks.visible].max() < 1e-5


def test_blender_opens_the_first_image_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    one_pixel().save(path)
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("00002.png", "00001.png", "00000.txt"):
        (frames / name).touch()
    assert run_in_blender(path, frames).loaded == str(frames / "00001.png")


@pytest.mark.parametrize(("rate", "step"), [(23.976, 1 / 23.976), (30.0, 1001 / 24000)])
def test_keyframes_lie_where_the_footage_shows_their_frame(
    rate: float, step: float, tmp_path: Path
) -> None:
    path = tmp_path / "open.jsx"
    one_pixel(seen="oo.o").save(path)
    (layer,) = run_in_after_effects(path, rate)["layers"]
    assert layer["times"] == pytest.approx([0, step, 3 * step], rel=1e-7)


# --- what programs have saved ---------------------------------------------------------------------


def curves_of(found: Found) -> dict[str, dict[int, tuple[float, float]]]:
    """By the name of a point and the frame, where it is."""
    return {point.name: {key.t: (key.x, key.y) for key in point.keys} for point in found.points}


def differing(one: Found, other: Found, most: float) -> list[str]:
    """What differs between two files, curve by curve."""
    ours, theirs = curves_of(one), curves_of(other)
    said = [f"{name} is missing" for name in ours.keys() ^ theirs.keys()]
    for name in ours.keys() & theirs.keys():
        if ours[name].keys() != theirs[name].keys():
            said.append(f"{name}: frames {sorted(ours[name].keys() ^ theirs[name].keys())}")
            continue
        away = np.abs(np.array([*ours[name].values()]) - np.array([*theirs[name].values()])).max()
        if away > most:
            said.append(f"{name}: {away} px")
    return said


SAVED = {
    "track_nuke8.nk": ("nuke", 5, 1556, 1e-5),
    "nuke7_tracker_2tracks.nk": ("nuke", 2, 1556, 1e-5),
    "tracker_with_differing_gaps.nk": ("nuke", 1, 1556, 1e-5),
    "ref_NukeScript.nk": ("nuke", 3, 1080, 1e-5),
    "cornerpin.nk": ("cornerpin", 4, 1080, 1e-5),
    "3de_export_cube.txt": ("3de", 8, 1080, 1e-12),
    "ref_equalizer.txt": ("3de", 3, 1080, 1e-12),
    "ref_Syntheyes.txt": ("syntheyes", 3, 1080, 1e-9),
    "ref_PFTrack5.2dt": ("pftrack", 3, 1080, 1e-12),
}
"""A sample -> its format, its points, the height of its video, and what decimals leave, px."""


@samples
@pytest.mark.parametrize("name", SAVED)
def test_samples_are_read_and_written_again(name: str, tmp_path: Path) -> None:
    """The numbers are float32 in between, which is 6e-5 px at 1000 px."""
    kind, count, height, decimals = SAVED[name]
    path = SAMPLES / name
    assert format_of(path, None, reads=True) == FORMATS[kind]
    read = FORMATS[kind].read
    assert read is not None
    known = Clip(FORMATS[kind].first_frame, (height, 1920))
    found = read(path, known)
    assert isinstance(found, Found)
    assert len(found.points) == count
    tracks = as_tracks(shown(found), known, path)
    again = tmp_path / path.name
    tracks.save(again, kind)
    back = read(again, known)
    assert isinstance(back, Found)
    assert differing(found, back, decimals + 7e-5) == []


def shown(found: Found) -> Found:
    """The same points, visible in all of their keys."""
    points = [
        dataclasses.replace(
            point, keys=tuple(dataclasses.replace(key, visible=True) for key in point.keys)
        )
        for point in found.points
    ]
    return dataclasses.replace(found, points=points)


@samples
def test_one_scene_is_the_same_in_every_format(tmp_path: Path) -> None:
    """The references are of one scene: what they show in the first format, they all do."""
    size = (1080, 1920)
    nuke = read_nuke(SAMPLES / "ref_NukeScript.nk", Clip(1, size))
    for found, decimals in (
        (read_equalizer(SAMPLES / "ref_equalizer.txt", Clip(1, size)), 5e-5),
        (read_pftrack(SAMPLES / "ref_PFTrack5.2dt", Clip(0, size)), 5.5e-4),
    ):
        assert differing(nuke, found, decimals) == []
    bare = read_syntheyes(SAMPLES / "ref_Syntheyes.txt", Clip(0, size)).points
    same = zip(bare, nuke.points, strict=True)
    assert all(one.name.lower() == two.name.replace("_", "").lower() for one, two in same)
    named = zip(bare, nuke.points, strict=True)
    paths = [dataclasses.replace(one, name=two.name) for one, two in named]
    assert differing(nuke, Found(paths), 1e-3) == []


@samples
def test_nulls_are_where_another_converter_puts_them(tmp_path: Path) -> None:
    text = (SAMPLES / "ref_AfterEffects.jsx").read_text()
    names = re.findall(r'^layer\d+\.name = "(.*)";', text, re.MULTILINE)
    rows = re.findall(r"\(layer(\d+), (\d+)\), \[([\d.]+),([\d.]+)\]", text)
    theirs: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in names}
    for layer, frame, x, y in rows:
        theirs[names[int(layer)]][int(frame)] = (float(x), float(y))
    size = (1080, 1920)
    path = SAMPLES / "ref_NukeScript.nk"
    tracks = as_tracks(read_nuke(path, Clip(1, size)), Clip(1, size), path)
    tracks.save(tmp_path / "ours.jsx")
    made = run_in_after_effects(tmp_path / "ours.jsx")
    step = made["comp"]["frameDuration"]
    assert [layer["name"] for layer in made["layers"]] == names
    for layer in made["layers"]:
        frames = [round(time / step) for time in layer["times"]]
        assert frames == [*theirs[layer["name"]]]
        assert np.abs(np.array(layer["places"]) - [*theirs[layer["name"]].values()]).max() < 2e-4


@samples
def test_the_row_of_a_tracker_is_as_nuke_saves_it(tmp_path: Path) -> None:
    """Columns, kinds of fields and knobs are those of a Tracker4 that Nuke 8 has saved."""
    path = tmp_path / "ours.nk"
    one_pixel(seen="oo.o").save(path)
    theirs, ours = (
        nk.script_of(file, ["Tracker4"], "Tracker")[0][0]
        for file in (SAMPLES / "track_nuke8.nk", path)
    )
    assert ours.knobs.keys() <= theirs.knobs.keys() | {"inputs"}
    tables = [nk.words(node.knobs["tracks"]) for node in (theirs, ours)]
    assert nk.words(tables[0][1]) == nk.words(tables[1][1])
    kinds = [
        [field.split()[0] if field.startswith("curve") else "" for field in nk.words(row)]
        for row in (nk.words(table[2])[0] for table in tables)
    ]
    assert kinds[0] == kinds[1]


# --- points that somebody has placed --------------------------------------------------------------

BARE = """\
set cut_paste_input [stack 0]
version 13.2 v4
push $cut_paste_input
Tracker4 {
tracks { { 1 31 3 }
{ { 5 1 20 enable e 1 } { 3 1 75 name name 1 } { 2 1 58 track_x track_x 1 }
{ 2 1 58 track_y track_y 1 } }
{ { {curve K x1 1 x3 0 x5 1} "left \\"eye\\"" {curve x1 10.5 11.5 12.5 x5 20.5}
  {curve x1 90 x5 50} }
 { 1 tip 7.5 8.5 }
 { {curve K x1 0} off {curve x2 1.5} {curve x2 2.5} }
} }
name Tracker1
}
"""


def test_a_node_alone_is_read_with_gaps_and_enable(tmp_path: Path) -> None:
    path = tmp_path / "bare.nk"
    path.write_text(BARE)
    tracks = load_tracks(path, size=(100, 200))
    assert tracks.names == ('left "eye"', "tip", "off")
    assert tracks.visible.tolist() == [
        [True, True, False, False, True],
        [True, False, False, False, False],
        [False, True, False, False, False],
    ]
    assert tracks.xy[0].tolist() == [[10, 9.5], [11, 19.5], [12, 29.5], [16, 39.5], [20, 49.5]]
    queries = read_queries(path, size=(100, 200), start_frame=1)
    assert queries.rows.tolist() == [[0, 10, 9.5], [0, 7, 91], [1, 1, 97]]
    assert queries.names == tracks.names
    with pytest.raises(InputError, match=r"bare\.nk: does not say how large its video is"):
        load_tracks(path)


def test_a_script_says_where_its_video_begins(tmp_path: Path) -> None:
    path = tmp_path / "project.nk"
    tracks = clip((5, 9))
    tracks.save(path, start_frame=1001)
    assert np.array_equal(load_tracks(path).visible, tracks.visible)
    assert read_queries(path).rows[:, 0].tolist() == tracks.queries[:, 0].tolist()
    assert load_tracks(path, start_frame=1000).visible.shape == (5, 13)


TEXT = """\
Adobe After Effects 8.0 Keyframe Data

\tUnits Per Second\t25
\tSource Width\t100
\tSource Height\t100
\tSource Pixel Aspect Ratio\t1
\tComp Pixel Aspect Ratio\t1

Motion Trackers\tTracker #1\tTrack Point #1\tFeature Center #2
\tFrame\tX pixels\tY pixels\t
\t0\t10.5\t20.5\t
\t2\t300.5\t20.5\t

Motion Trackers\tTracker #1\tTrack Point #1\tConfidence #4
\tFrame\tpercent\t
\t0\t98.1\t

Transform\tAnchor Point
\tFrame\tX pixels\tY pixels\tZ pixels\t
\t\t50\t50\t0\t

Transform\tPosition
\tFrame\tX pixels\tY pixels\tZ pixels\t
\t1\t0.5\t1.5\t0\t

End of Keyframe Data
"""


def test_places_in_keyframes_of_after_effects(tmp_path: Path) -> None:
    path = tmp_path / "nose.txt"
    path.write_text(TEXT.replace("\n", "\r\n"))
    queries = read_queries(path)
    assert queries.rows.tolist() == [[0, 10, 20], [1, 0, 1]]
    assert queries.names == ("Tracker #1 Track Point #1 Feature Center #2", "nose")
    with pytest.raises(InputError, match="does not say how large"):  # 300 px are not in 100
        load_tracks(path)
    assert load_tracks(path, size=(400, 400)).fps == 25


def test_points_go_to_the_corners_that_they_are_near() -> None:
    corners = np.array(((0, 0), (8, 1), (7, 9), (1, 8)), np.float32)  # from the top left, clockwise
    tracks = one_pixel().chosen([0] * 4)
    for shuffle in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        placed = dataclasses.replace(tracks, xy=corners[shuffle][:, None])
        asked = [shuffle[point] for point in order(placed)]
        assert asked == [3, 2, 1, 0]  # bottom left, bottom right, top right, top left


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="Tcl is not installed")
def test_tcl_itself_finds_no_code_in_names(tmp_path: Path) -> None:
    path = tmp_path / "hostile.nk"
    clip((5, 9), HOSTILE).save(path)
    program = f"""
        encoding system utf-8
        fconfigure stdout -encoding utf-8
        proc version args {{}}
        proc Root body {{}}
        proc Tracker4 body {{
            set knobs [subst -nocommands -novariables $body]
            foreach row [lindex [dict get $knobs tracks] 2] {{
                puts "[llength $row] [lindex $row 1]"
            }}
        }}
        source -encoding utf-8 {{{path}}}
    """
    done = subprocess.run(["tclsh"], input=program, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "31 my _best_ point",
        "31 _exec touch /tmp/x_ _env _",
        "31 __ ')_ alert(1) --__ Übergröße 点",
        "31 tip of # 1, 2_ 3",
        "31 tip of # 1, 2_ 3_2",
    ]


def test_names_of_tools_never_meet_those_of_their_paths(tmp_path: Path) -> None:
    names = ("A", "A__Path", "A_Path", "1", "Ü")
    path = tmp_path / "tools.setting"
    clip((5, 9), names).save(path)
    tools = re.findall(r"^\t\t(\w+) = \w+ \{", path.read_text(), re.MULTILINE)
    assert len(set(tools)) == len(tools) == 4 * len(names)
    assert tools[::4] == ["A", "A_Path", "A_Path_2", "point_1", "point"]


# --- what can't be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "points", "message"),
    [
        ("cornerpin", [0, 1, 2], "has four points, and here are 3; choose four"),
        ("cornerpin", [0, 1, 2, 3, 4], "has four points, and here are 5; choose four"),
        ("after-effects-text", [0, 1], "are of one point, and here are 2; choose one"),
    ],
)
def test_other_numbers_of_points(
    name: str, points: list[int], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    with pytest.raises(InputError, match=message):
        clip((5, 9)).chosen(points).save(path, name)
    assert not path.exists()


@pytest.mark.parametrize("name", WORKED)
def test_nothing_is_visible(name: str, tmp_path: Path) -> None:
    count = {"cornerpin": 4, "after-effects-text": 1}.get(name, 5)
    tracks = clip((5, 9)).chosen(range(count))
    hidden = dataclasses.replace(tracks, visible=np.zeros_like(tracks.visible))
    with pytest.raises(InputError, match="visible in any frame; choose"):
        hidden.save(tmp_path / "file", name)
    assert list(tmp_path.iterdir()) == []


DAMAGED = {
    "open.nk": ("Tracker4 {\n tracks {{", "a brace is not closed"),
    "quote.nk": ('Tracker4 {\n name "a\n}', "a quote is not closed"),
    "none.nk": ("Blur {\n size 3\n}\n", "holds no Tracker"),
    "table.nk": ("Tracker4 {\n name T\n}\n", "T has no table of points"),
    "columns.nk": ("Tracker4 {\n tracks { {1 1 1} { } { } }\n}\n", "has no columns name"),
    "far.nk": ("Tracker3 {\n track1 {{curve x9e99 1} 1}\n}\n", r"the frame 9e\+99, which"),
    "expression.nk": ("CornerPin2D {\n to1 {{width} 0}\n}\n", "to1 of CornerPin2D is no place"),
    "count.txt": ("2\nnose\n0\n1\n1 2 3\n", "line 6: .* the file ends where the name"),
    "number.txt": ("1\nnose\n0\n1\n1 2 x\n", "line 5: .* '1 2 x' is not frame x y"),
    "frame.txt": ("1\nnose\n0\n1\n1.5 2 3\n", "line 5: .* 1.5 is no frame"),
    "infinite.txt": ("1\nnose\n0\n1\n1 inf 3\n", "line 5: .* is not frame x y"),
    "effects.txt": ("Adobe After Effects\nTransform\tPosition\n\tFrame\tX pixels\tY pixels\n\ta",
                    "line 4: .* 'a' is not frame, x and y"),
    "eyes.txt": ("nose 0 0.5 0.5 15\nnose 1 0.5\n", "line 2: .* is not frame u v outcome"),
    "name.2dt": ("nose\n", "line 1: .* in quotes, should be here"),
    "twice.2dt": ('"a"\n"P"\n2\n1 2 3 0\n1 2 3 0\n', "point 'a' is twice in a frame"),
    "empty.2dt": ("", "shows no point in any frame"),
}  # fmt: skip
"""Files that are damaged, and what is said of them."""


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    content, message = DAMAGED[name]
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_tracks(path, size=(100, 100))
    assert str(caught.value).startswith(str(path))


@samples
def test_a_corner_pin_of_nuke_goes_round_its_corners() -> None:
    found = read_corner_pin(SAMPLES / "cornerpin.nk", Clip(1, (1080, 1920)))
    assert [point.name for point in found.points] == [
        "bottom_left", "bottom_right", "top_right", "top_left",
    ]  # fmt: skip
    assert (found.points[0].keys[0].x, found.points[0].keys[0].y) == (1761.5, 824.5)
