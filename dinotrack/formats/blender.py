"""Blender: a Python script that opens the video as a movie clip and sets its tracking markers.

Positions are parts of the picture's width and height, from its bottom-left corner. Markers count
the frames of a clip from 1; `frame_start` of the clip says where in the scene that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dinotrack.errors import InputError
from dinotrack.formats.format import Wishes
from dinotrack.formats.texts import write_text
from dinotrack.tracks import Tracks

HALF = 0.5
"""Px from the corner of the picture to the centre of a pixel."""
FIRST = 1
"""What a clip calls its first frame."""

HEADER = '''\
"""Points that dinotrack followed, as tracking markers of Blender.

    blender --background --python THIS_FILE [-- VIDEO]

saves a .blend file beside this one. Run in Blender's text editor, it adds the movie clip with its
tracks to the file that is open. The video is the one below, unless another is given.
"""

import os
import sys

import bpy

'''
SCRIPT = '''

def clip_of(path):
    """The movie clip of a video, or of a folder of images, which begins with the first of them."""
    if os.path.isdir(path):
        images = [name for name in os.listdir(path) if name.lower().endswith(IMAGES)]
        path = os.path.join(path, min(images)) if images else ""
    if not os.path.isfile(path):
        raise SystemExit("There is no video %r; give one behind --" % path)
    return bpy.data.movieclips.load(os.path.abspath(path), check_existing=True)


def add(tracks, name, seen, hidden):
    """One track. Without a marker that is muted, the last one before a gap would stay."""
    track = tracks.new(name=name, frame=seen[0][0])
    for frame, u, v in seen:
        track.markers.insert_frame(frame, co=(u, v)).mute = False
    for frame, u, v in hidden:
        track.markers.insert_frame(frame, co=(u, v)).mute = True


def main():
    given = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    clip = clip_of(given[0] if given else VIDEO)
    clip.frame_start = START
    clip.use_fake_user = True  # what nothing uses is not saved
    for name, seen, hidden in POINTS:
        add(clip.tracking.objects.active.tracks, name, seen, hidden)
    if bpy.app.background:
        scene = bpy.context.scene
        scene.render.resolution_x, scene.render.resolution_y = SIZE
        scene.render.fps, scene.render.fps_base = FPS
        scene.frame_start, scene.frame_end = START, START + FRAMES - 1
        beside = os.path.splitext(os.path.abspath(__file__))[0]
        bpy.ops.wm.save_as_mainfile(filepath=beside + ".blend")


main()
'''
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr")


def write_blender(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `blender`: a hidden stretch begins and ends with a muted marker, and has no other.

    The script opens `wishes.video`, or another that it is given. Raises InputError where all points
    are hidden everywhere.
    """
    if not tracks.visible.any():
        raise InputError(f"{path}: no point is visible in any frame; choose others to write")
    write_text(path, _texts(tracks, wishes))


def _texts(tracks: Tracks, wishes: Wishes) -> Iterator[str]:
    height, width = tracks.size
    whole_rate = max(round(tracks.fps), 1)
    yield HEADER
    yield f"VIDEO = {wishes.video!a}\nIMAGES = {IMAGES!a}\n"
    yield f"SIZE = ({width}, {height})\nFRAMES = {tracks.visible.shape[1]}\n"
    yield f"START = {wishes.start_frame}\nFPS = ({whole_rate}, {whole_rate / tracks.fps:.10g})\n"
    yield "# A name, the markers (frame, u, v) that show the point, and those that are muted.\n"
    yield "POINTS = [\n"
    scale = np.array((width, height))
    for name, visible, xy in zip(tracks.point_names, tracks.visible, tracks.xy, strict=True):
        if visible.any():
            places = (xy.astype(np.float64) + HALF) / scale
            shown, muted = (_markers(which, places) for which in (visible, _edges(visible)))
            yield f"    ({name!a},\n     [{shown}],\n     [{muted}]),\n"
    yield f"]\n{SCRIPT}"


def _edges(visible: Bool[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
    """The hidden frames beside a visible one."""
    beside = np.zeros_like(visible)
    beside[1:] |= visible[:-1]
    beside[:-1] |= visible[1:]
    return np.asarray(beside & ~visible)


def _markers(which: Bool[np.ndarray, " T"], places: Float[np.ndarray, "T 2"]) -> str:
    """The markers of some frames, as the script holds them."""
    frames = np.flatnonzero(which)
    rows = zip((frames + FIRST).tolist(), places[frames].tolist(), strict=True)
    return ", ".join(f"({frame}, {u:.9f}, {1 - v:.9f})" for frame, (u, v) in rows)
