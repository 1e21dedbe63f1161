"""All formats of other programs, by name, and which of them a file has."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from dinotrack.errors import InputError, shown
from dinotrack.formats.after_effects import (
    is_keyframes,
    read_keyframes,
    write_after_effects,
    write_keyframes,
)
from dinotrack.formats.arrays import check_sound
from dinotrack.formats.blender import write_blender
from dinotrack.formats.coco import is_coco, read_coco, write_coco
from dinotrack.formats.corner_pin import is_corner_pin, read_corner_pin, write_corner_pin
from dinotrack.formats.csv_tables import is_csv, read_csv, write_csv_wide
from dinotrack.formats.cvat import is_cvat, read_cvat, write_cvat
from dinotrack.formats.deeplabcut import (
    is_deeplabcut,
    is_deeplabcut_h5,
    read_deeplabcut,
    read_deeplabcut_h5,
    write_deeplabcut,
    write_deeplabcut_h5,
)
from dinotrack.formats.dltdv import write_dltdv
from dinotrack.formats.equalizer import is_equalizer, read_equalizer, write_equalizer
from dinotrack.formats.format import Clip, Format, Found, Wishes
from dinotrack.formats.found import as_tracks
from dinotrack.formats.fusion import write_fusion
from dinotrack.formats.mot import write_mot
from dinotrack.formats.nuke import is_nuke, read_nuke, write_nuke
from dinotrack.formats.own_json import is_json, read_json_tracks, write_json
from dinotrack.formats.pftrack import read_pftrack, write_pftrack
from dinotrack.formats.rerun import write_rerun
from dinotrack.formats.sleap import (
    is_sleap,
    read_sleap,
    read_sleap_project,
    write_sleap,
    write_sleap_project,
)
from dinotrack.formats.syntheyes import is_syntheyes, read_syntheyes, write_syntheyes
from dinotrack.formats.tapvid import is_tapvid, read_tapvid, write_tapvid
from dinotrack.formats.tracks import is_npz, read_npz, write_csv, write_npz
from dinotrack.formats.trajectories import write_trajectories
from dinotrack.tracks import Tracks

FORMATS: dict[str, Format] = {
    "npz": Format(
        ".npz",
        "NumPy, as a run writes it",
        write_npz,
        read_npz,
        is_npz,
        hidden="`visible` is False",
    ),
    "csv": Format(
        ".csv",
        "spreadsheets: a row a point and frame",
        write_csv,
        read_csv,
        is_csv,
        hidden="`visible` is 0",
    ),
    "csv-wide": Format(
        ".csv",
        "spreadsheets: a row a frame",
        write_csv_wide,
        hidden="its `visible` is 0",
    ),
    "json": Format(
        ".json",
        "any program, lossless",
        write_json,
        read_json_tracks,
        is_json,
        hidden="`visible` is false",
    ),
    "nuke": Format(
        ".nk",
        "Nuke: Tracker4",
        write_nuke,
        read_nuke,
        is_nuke,
        first_frame=1,
        hidden="no keys, `enable` off",
    ),
    "cornerpin": Format(
        ".nk",
        "Nuke: CornerPin2D, four points",
        write_corner_pin,
        read_corner_pin,
        is_corner_pin,
        first_frame=1,
        points=4,
        hidden="no keys",
    ),
    "3de": Format(
        ".txt", "3DEqualizer4", write_equalizer, read_equalizer, is_equalizer, first_frame=1
    ),
    "after-effects": Format(
        ".jsx",
        "After Effects: a null for each point",
        write_after_effects,
        hidden="no keyframes",
    ),
    "after-effects-text": Format(
        ".txt",
        "After Effects: keyframes, one point",
        write_keyframes,
        read_keyframes,
        is_keyframes,
        points=1,
        hidden="no keyframes",
    ),
    "fusion": Format(
        ".setting",
        "Fusion and DaVinci Resolve",
        write_fusion,
        hidden="no keys",
    ),
    "blender": Format(
        ".py",
        "Blender: a script",
        write_blender,
        first_frame=1,
        hidden="muted markers at its ends",
    ),
    "syntheyes": Format(".txt", "SynthEyes", write_syntheyes, read_syntheyes, is_syntheyes),
    "pftrack": Format(".2dt", "PFTrack", write_pftrack, read_pftrack),
    "tapvid": Format(
        ".npz",
        "tapnet's evaluation",
        write_tapvid,
        read_tapvid,
        is_tapvid,
        hidden="`occluded` is True",
    ),
    "deeplabcut": Format(
        ".csv",
        "DeepLabCut",
        write_deeplabcut,
        read_deeplabcut,
        is_deeplabcut,
        hidden="likelihood 0",
    ),
    "deeplabcut-h5": Format(
        ".h5",
        "DeepLabCut",
        write_deeplabcut_h5,
        read_deeplabcut_h5,
        is_deeplabcut_h5,
        needs={"pandas": "pandas", "tables": "tables", "h5py": "h5py"},
        hidden="likelihood 0",
    ),
    "sleap": Format(
        ".h5",
        "SLEAP, as an analysis",
        write_sleap,
        read_sleap,
        is_sleap,
        needs={"h5py": "h5py"},
        hidden="NaN",
    ),
    "sleap-slp": Format(
        ".slp",
        "SLEAP, as a project",
        write_sleap_project,
        read_sleap_project,
        needs={"sleap_io": "sleap-io"},
        hidden="NaN, not visible",
    ),
    "coco": Format(
        ".json",
        "COCO keypoints",
        write_coco,
        read_coco,
        is_coco,
        hidden="v = 1",
    ),
    "cvat": Format(
        ".xml",
        "CVAT, for video 1.1",
        write_cvat,
        read_cvat,
        is_cvat,
        hidden="`outside` is 1",
    ),
    "mot": Format(".txt", "MOT Challenge: boxes", write_mot, first_frame=1),
    "dltdv": Format(
        ".csv",
        "DLTdv: xypts",
        write_dltdv,
        first_frame=1,
        hidden="NaN",
    ),
    "rerun": Format(
        ".rrd",
        "Rerun",
        write_rerun,
        needs={"rerun": "rerun-sdk"},
        hidden="cleared",
    ),
    "trajectories": Format(
        ".json",
        "video generators: ATI, Wan",
        write_trajectories,
        hidden="the last place stays",
    ),
}
"""The name of a format -> what it is. One format is one function and one line.

`python -m tests.formats_page` then writes it into the tables of README and of docs/formats.md,
where it needs a paragraph of its own.
"""


def format_of(path: Path, name: str | None, reads: bool) -> Format | None:
    """The format with that name, or else the one that a file's name and content tell.

    reads: whether the file is to be read, or else written. None where no format does that. Raises
    InputError for a name of none, and of one that can't do it.
    """
    if name is not None:
        chosen = named(name)
        if (chosen.read if reads else chosen.write) is None:
            raise InputError(f"{name} files can't be {'read' if reads else 'written'} here")
        return chosen
    for each in FORMATS.values():
        able = each.read if reads else each.write
        fits = able is not None and path.name.lower().endswith(each.ending)
        if fits and (not reads or (os.path.isfile(path) and each.recognise(path))):
            return each
    return None


def format_by_ending(path: Path) -> Format | None:
    """The first format that is read from files with such a name, to say what is wrong with it."""
    readable = (each for each in FORMATS.values() if each.read)
    return next((each for each in readable if path.name.lower().endswith(each.ending)), None)


def read_points(chosen: Format, path: Path, clip: Clip) -> Found | Tracks:
    """What a file of a format holds. Raises InputError where it is none, or can't be read here."""
    check_installed(chosen)
    assert chosen.read is not None
    return chosen.read(path, clip)


def named(name: str) -> Format:
    """The format with that name. Raises InputError where there is none."""
    if name not in FORMATS:
        raise InputError(f"unknown format {shown(name)}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def check_writable(name: str) -> None:
    """Raises InputError where files of that format can't be written on this machine."""
    chosen = named(name)
    if chosen.write is None:
        able = ", ".join(known for known, each in FORMATS.items() if each.write)
        raise InputError(f"{name} files can't be written here; choose one of {able}")
    check_installed(chosen)


def check_count(name: str, count: int) -> None:
    """Raises InputError where files of that format hold another number of points."""
    wanted = named(name).points
    if wanted not in (None, count):
        raise InputError(
            f"{name} files hold {wanted} points each, and here are {count}; leave {name} out, and "
            f"give such a file its points later: dinotrack export RUN {name} --points LIST"
        )


def check_installed(chosen: Format) -> None:
    """Raises InputError where a format needs packages that are missing."""
    missing = [pip for module, pip in chosen.needs.items() if find_spec(module) is None]
    if missing:
        raise InputError(
            f"{chosen.ending} files of {chosen.program} need more than is installed; "
            f"call: pip install {' '.join(missing)}"
        )


def save(
    tracks: Tracks,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    start_frame: int | None = None,
    only_visible: bool = False,
    video: str = "",
) -> None:
    """Write tracks into a file, as `Tracks.save` says."""
    path = Path(path)
    found = format_of(path, format, reads=False)
    if found is None:
        known = ", ".join(dict.fromkeys(each.ending for each in FORMATS.values() if each.write))
        raise InputError(f"{path}: tracks are written into {known} files; give one of these")
    assert found.write is not None
    check_installed(found)
    check_sound(path, tracks)
    start = found.first_frame if start_frame is None else start_frame
    found.write(path, tracks, Wishes(start, only_visible, video))


def load_tracks(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    start_frame: int | None = None,
) -> Tracks:
    """The tracks of a file of any format that docs/formats.md says can be read.

    format: the name of one; by default the file tells it.
    size (H, W) px, frames, fps: of the video, for files that do not say them.
    start_frame: the number that the video's first frame has in the file; by default what is usual.

    In frames that the file does not show a point in, it is hidden, on the line between its places
    before and after. Raises InputError for a file that can't be read, and where something that it
    does not say is not given.
    """
    path = Path(path)
    found = format_of(path, format, reads=True) or format_by_ending(path)
    if found is None and not os.path.exists(path):
        raise InputError(f"{path}: no such file; check the path")
    if found is None:
        known = ", ".join(dict.fromkeys(each.ending for each in FORMATS.values() if each.read))
        raise InputError(f"{path}: tracks are read from {known} files; give one of these")
    start = found.first_frame if start_frame is None else start_frame
    clip = Clip(start, size, frames, fps, is_start_usual=start_frame is None)
    held = read_points(found, path, clip)
    return held if isinstance(held, Tracks) else as_tracks(held, clip, path)
