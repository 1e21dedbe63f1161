"""After Effects: a script that makes a null for each point, and keyframes as text for one point.

Positions are px from the top-left corner of the picture, y downwards. A composition counts frames
from 0, whatever it shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dinotrack.errors import InputError
from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.lines import Lines
from dinotrack.formats.seen import seen_points
from dinotrack.formats.texts import start_of, write_text
from dinotrack.tracks import Tracks

KIND = "keyframes of After Effects"
"""What messages call the texts."""
HALF = 0.5
"""Px from the corner of the picture, where After Effects counts from, to the centre of a pixel."""
HEADER = "Adobe After Effects 8.0 Keyframe Data"
END = "End of Keyframe Data"
PLACES = ("Position", "Feature Center", "Corner Pin", "Point")
"""What stands in the name of a property that holds where a point is."""
NO_PLACES = ("Anchor", "Attach")
"""What stands in the name of one that does not, though one of `PLACES` does too."""
SETTINGS = {"Units Per Second": "fps", "Source Width": "width", "Source Height": "height"}

SCRIPT = """\
(function () {
    var comp = app.project.activeItem;
    app.beginUndoGroup("Points of dinotrack");
    if (!(comp instanceof CompItem)) {
        var seconds = video.frames / video.fps;
        comp = app.project.items.addComp(
            "dinotrack", video.width, video.height, 1, seconds, video.fps
        );
        comp.displayStartTime = video.first * comp.frameDuration;
        comp.openInViewer();
    }
    // Footage plays by time. In a composition of its own rate, a frame is one of the composition.
    var isSame = Math.abs(comp.frameRate - video.fps) < 0.01;
    var step = isSame ? comp.frameDuration : 1 / video.fps;
    for (var i = points.length - 1; i >= 0; i--) {
        var point = points[i], times = [];
        for (var k = 0; k < point.frames.length; k++) {
            times.push(point.frames[k] * step);
        }
        var layer = comp.layers.addNull();
        layer.name = point.name;
        layer.property("Transform").property("Position").setValuesAtTimes(times, point.places);
    }
    app.endUndoGroup();
})();
"""
"""What makes the nulls. New layers come to lie on top, so the last point is the first to be made.
"""


def write_after_effects(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `after-effects`: frames in which a point is hidden have no keyframe.

    Run it with File > Scripts > Run Script File, with a composition open or else none, in which
    case one is made, whose first frame is shown as `wishes.start_frame`.
    """
    write_text(path, _script(path, tracks, wishes.start_frame))


def _script(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    height, width = tracks.size
    video = {
        "width": width,
        "height": height,
        "fps": float(f"{tracks.fps:.10g}"),
        "frames": tracks.visible.shape[1],
        "first": start,
    }
    points = seen_points(path, tracks, tracks.point_names)
    yield "// Points that dinotrack followed: File > Scripts > Run Script File.\n"
    yield f"var video = {json.dumps(video)};\nvar points = ["
    comma = ""
    for point in points:
        frames = [key.t for key in point.keys]
        places = ",".join(f"[{key.x + HALF:.5f},{key.y + HALF:.5f}]" for key in point.keys)
        # ASCII only, as the program takes a file to be in the system's own code.
        yield f"{comma}\n{{name: {json.dumps(point.name)}, frames: {frames}, places: [{places}]}}"
        comma = ","
    yield f"\n];\n{SCRIPT}"


def write_keyframes(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `after-effects-text`: the keyframes of one point, to be pasted onto a layer.

    Raises InputError where there are more points, as a layer has one position.
    """
    if len(tracks.xy) != 1:
        raise InputError(
            f"{path}: keyframes of After Effects are of one point, and here are {len(tracks.xy)}; "
            "choose one of them, or write the format after-effects"
        )
    write_text(path, _keyframes(path, tracks, wishes.start_frame))


def _keyframes(path: Path, tracks: Tracks, start: int) -> Iterator[str]:
    height, width = tracks.size
    (point,) = seen_points(path, tracks, tracks.point_names)
    yield f"{HEADER}\n\n\tUnits Per Second\t{tracks.fps:.10g}\n"
    yield f"\tSource Width\t{width}\n\tSource Height\t{height}\n"
    yield "\tSource Pixel Aspect Ratio\t1\n\tComp Pixel Aspect Ratio\t1\n\n"
    yield "Transform\tPosition\n\tFrame\tX pixels\tY pixels\tZ pixels\t\n"
    for key in point.keys:
        yield f"\t{key.t + start}\t{key.x + HALF:.5f}\t{key.y + HALF:.5f}\t0\t\n"
    yield f"\n{END}\n"


def is_keyframes(path: Path) -> bool:
    """Whether a .txt file begins as keyframes of After Effects do."""
    return start_of(path).startswith("Adobe After Effects")


def read_keyframes(path: Path, clip: Clip) -> Found:
    """The places in keyframes of After Effects: of a layer, a tracker, or an effect's points.

    A layer's position is called as the file; other places as what they belong to.
    """
    lines = Lines(path, KIND)
    if not lines.text("a header").startswith("Adobe After Effects"):
        lines.refuse(f"it should be {HEADER!r}")
    said: dict[str, float] = {}
    points = []
    name = ""
    keys: list[Key] | None = None
    while lines.rest:
        row = lines.text("a row").rstrip()
        fields = row.strip().split("\t")
        if row.startswith(END):
            break
        if not row.startswith("\t"):
            name, keys = _name(fields, path), None
        elif fields[0] in SETTINGS and len(fields) > 1:
            said[SETTINGS[fields[0]]] = lines.parsed(fields[1:], "a number", 1)[0]
        elif fields[0] == "Frame":
            keys = [] if name and fields[1:3] == ["X pixels", "Y pixels"] else None
            if keys is not None:
                points.append((name, keys))
        elif keys is not None:
            frame, x, y = lines.parsed(fields, "frame, x and y", 3)
            keys.append(Key(lines.frame(frame) - clip.start_frame, x - HALF, y - HALF))
    found = [KeyedPoint(name, tuple(keys)) for name, keys in points if keys]
    return Found(found, _size(said, found), fps=said.get("fps"))


def _name(fields: list[str], path: Path) -> str:
    """What a point is called whose place is a property, as in Transform, Position; empty for a
    property that is no place."""
    *owners, last = fields
    is_place = any(part in last for part in PLACES)
    if not is_place or any(part in last for part in NO_PLACES):
        return ""
    return path.stem if owners == ["Transform"] else " ".join(fields[1:] or fields)


def _size(said: dict[str, float], found: list[KeyedPoint]) -> tuple[int, int] | None:
    """The size (H, W) of the video, if it can be what the file says: that is of the layer, and a
    null is 100 x 100 wherever it is."""
    height, width = said.get("height", 0.0), said.get("width", 0.0)
    keys = [key for point in found for key in point.keys]
    is_within = all(-1 <= key.x <= width and -1 <= key.y <= height for key in keys)
    return (int(height), int(width)) if is_within and min(height, width) >= 1 else None
