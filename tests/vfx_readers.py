"""What stands in for the programs that run or read the files which dinotrack itself only writes.

The script for After Effects runs in Node, with objects that behave as those of After Effects do;
that for Blender with a `bpy` of our own; and of Lua, Fusion's language, its tables are read.
"""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from dinotrack.formats.format import Clip, Found, Key, KeyedPoint

AFTER_EFFECTS = """
const made = [];
class CompItem {
    constructor(name, width, height, aspect, seconds, fps) {
        Object.assign(this, {name, width, height, aspect, seconds, displayStartTime: 0});
        this.frameRate = fps;
        this.frameDuration = 1 / fps;
        const comp = this;
        this.layers = {addNull: function () {
            const layer = {name: "Null", times: [], places: []};
            made.unshift(layer);
            const position = {setValuesAtTimes: function (times, places) {
                if (times.length !== places.length) throw new Error("lengths differ");
                layer.times = times;
                layer.places = places;
            }};
            layer.property = (group) => {
                if (group !== "Transform") throw new Error(group);
                return {property: (name) => {
                    if (name !== "Position") throw new Error(name);
                    return position;
                }};
            };
            return layer;
        }};
    }
    openInViewer() {}
}
let comp = OPEN ? new CompItem("mine", 1920, 1080, 1, 100, OPEN) : null;
const app = {
    beginUndoGroup() {},
    endUndoGroup() {},
    project: {
        activeItem: comp,
        items: {addComp: (...given) => (comp = new CompItem(...given))},
    },
};
(new Function("app", "CompItem", require("fs").readFileSync(FILE, "utf8")))(app, CompItem);
comp.layers = undefined;
process.stdout.write(JSON.stringify({comp, layers: made}));
"""
"""Runs a script as After Effects would. OPEN is the rate of a composition that is open, or 0."""


def run_in_after_effects(path: Path, open_rate: float = 0) -> dict[str, Any]:
    """The composition and the layers, top first, that a script has made."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node, which runs scripts of After Effects, is not installed")
    program = f"const OPEN = {open_rate!r}, FILE = {json.dumps(str(path))};{AFTER_EFFECTS}"
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def after_effects(path: Path, clip: Clip) -> Found:
    """The nulls of a script for After Effects."""
    made = run_in_after_effects(path)
    comp = made["comp"]
    step = comp["frameDuration"]
    first = round(comp["displayStartTime"] / step)
    points = []
    for layer in made["layers"]:
        frames = [time / step for time in layer["times"]]
        assert max(abs(frame - round(frame)) for frame in frames) < 1e-6
        keys = (
            Key(round(frame) + first - clip.start_frame, x - 0.5, y - 0.5)
            for frame, (x, y) in zip(frames, layer["places"], strict=True)
        )
        points.append(KeyedPoint(layer["name"], tuple(keys)))
    frames = round(comp["seconds"] * comp["frameRate"])
    return Found(points, (comp["height"], comp["width"]), frames, comp["frameRate"])


TOKEN = re.compile(r'\s*([{}\[\]=,]|ordered\(\)|-?[\d.]+(?:e-?\d+)?|\w+|"(?:\\.|[^"\\])*")')


@dataclass
class Lua:
    """A table of Lua: what made it, its named parts, and those without a name."""

    maker: str = ""
    parts: dict[Any, Any] = field(default_factory=dict)
    rest: list[Any] = field(default_factory=list)

    def __getitem__(self, key: Any) -> Any:
        return self.parts[key]


def read_lua(text: str) -> Lua:
    """A text that is one table of Lua. Raises AssertionError where it is anything else."""
    tokens = []
    place = 0
    while text[place:].strip():
        found = TOKEN.match(text, place)
        assert found, text[place : place + 40]
        tokens.append(found[1])
        place = found.end()
    table, end = _value(tokens, 0)
    assert end == len(tokens)
    assert isinstance(table, Lua)
    return table


def _value(tokens: Sequence[str], place: int) -> tuple[Any, int]:
    """A value and the place behind it."""
    token = tokens[place]
    if token == "{":
        return _table("", tokens, place + 1)
    if token[0] == '"':
        return _text(token), place + 1
    if token in ("true", "false"):
        return token == "true", place + 1
    if re.fullmatch(r"-?[\d.]+(e-?\d+)?", token):
        return float(token), place + 1
    assert tokens[place + 1] == "{", token
    return _table(token, tokens, place + 2)


def _table(maker: str, tokens: Sequence[str], place: int) -> tuple[Lua, int]:
    """A table, whose brace is open, and the place behind it."""
    table = Lua(maker)
    while tokens[place] != "}":
        key: Any = None
        if tokens[place] == "[":
            key, place = int(tokens[place + 1]), place + 3
        elif tokens[place + 1] == "=":
            key, place = tokens[place], place + 1
        if key is not None:
            assert tokens[place] == "="
            assert key not in table.parts
            place += 1
        value, place = _value(tokens, place)
        if key is None:
            table.rest.append(value)
        else:
            table.parts[key] = value
        if tokens[place] == ",":
            place += 1
    return table, place + 1


def _text(token: str) -> str:
    """What a text in quotes says."""
    letters = re.sub(
        rb"\\(\d{1,3}|.)",
        lambda found: bytes([int(found[1])]) if found[1].isdigit() else found[1],
        token[1:-1].encode(),
    )
    return letters.decode()


def fusion(path: Path, clip: Clip) -> Found:
    """The tools of a .setting whose centre is on a path."""
    height, width = clip.needed_size(path)
    tools = read_lua(path.read_text(encoding="utf-8"))["Tools"]
    points = []
    for name, tool in tools.parts.items():
        assert re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name)
        if tool.maker != "Transform":
            continue
        way = tools[tool["Inputs"]["Center"]["SourceOp"]]
        assert way.maker == "XYPath"
        across, up = (tools[way["Inputs"][axis]["SourceOp"]]["KeyFrames"] for axis in "XY")
        assert list(across.parts) == list(up.parts)
        keys = (
            Key(
                frame - clip.start_frame,
                across[frame].rest[0] * width - 0.5,
                (1 - up[frame].rest[0]) * height - 0.5,
            )
            for frame in across.parts
        )
        points.append(KeyedPoint(tool["Inputs"]["Comments"]["Value"], tuple(keys)))
    return Found(points)


@dataclass
class Marker:
    """A marker of Blender."""

    co: tuple[float, float]
    mute: bool = False


@dataclass
class Track:
    """A track of Blender, which begins with a marker in a corner of the picture."""

    name: str
    frame: int
    held: dict[int, Marker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.held[self.frame] = Marker((0.0, 0.0))

    @property
    def markers(self) -> Track:
        """What markers are added to."""
        return self

    def insert_frame(self, frame: int, co: tuple[float, float]) -> Marker:
        """A marker in the place of the one that may be there."""
        self.held[frame] = Marker(co)
        return self.held[frame]

    def shown(self, frame: int) -> Marker:
        """The marker that Blender shows in a frame: the last one before it, or else the first."""
        before = [at for at in self.held if at <= frame]
        return self.held[max(before) if before else min(self.held)]


def run_in_blender(path: Path, video: Path, background: bool = True) -> SimpleNamespace:
    """What a script for Blender has made: `tracks`, `clip`, `scene` and the path of the `saved`
    file."""
    made = SimpleNamespace(tracks=[], saved=None, loaded=None)

    def new(name: str, frame: int) -> Track:
        made.tracks.append(Track(name, frame))
        return made.tracks[-1]

    def load(filepath: str, check_existing: bool) -> SimpleNamespace:
        made.loaded = filepath
        return made.clip

    def save(filepath: str) -> None:
        made.saved = filepath

    tracking = SimpleNamespace(
        objects=SimpleNamespace(active=SimpleNamespace(tracks=SimpleNamespace(new=new)))
    )
    made.clip = SimpleNamespace(tracking=tracking, frame_start=1)
    made.scene = SimpleNamespace(render=SimpleNamespace())
    bpy = SimpleNamespace(
        app=SimpleNamespace(background=background),
        context=SimpleNamespace(scene=made.scene),
        data=SimpleNamespace(movieclips=SimpleNamespace(load=load)),
        ops=SimpleNamespace(wm=SimpleNamespace(save_as_mainfile=save)),
    )
    argv = ["blender", "--background", "--python", str(path), "--", str(video)]
    with mock.patch.dict(sys.modules, {"bpy": bpy}), mock.patch.object(sys, "argv", argv):
        runpy.run_path(str(path))
    return made


def blender(path: Path, clip: Clip) -> Found:
    """The tracks that a script for Blender makes, in all frames of its scene."""
    made = run_in_blender(path, path)
    render = made.scene.render
    width, height = render.resolution_x, render.resolution_y
    count = made.scene.frame_end - made.scene.frame_start + 1
    start = made.clip.frame_start - clip.start_frame
    points = []
    for track in made.tracks:
        shown = [track.shown(frame) for frame in range(1, count + 1)]
        keys = (
            Key(t + start, marker.co[0] * width - 0.5, (1 - marker.co[1]) * height - 0.5, seen)
            for t, marker in enumerate(shown)
            for seen in [not marker.mute]
        )
        points.append(KeyedPoint(track.name, tuple(keys)))
    return Found(points, (height, width), count, render.fps / render.fps_base)
