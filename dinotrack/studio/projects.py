"""Projects: the folders of runs that the studio may serve, and what is known of one unopened.

Pages name a project by an id, which is looked up among those that are there. Nothing that a page
says becomes part of a path, but for the name of an upload, of which letters and digits are left.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinotrack.errors import InputError, printable, shown
from dinotrack.files import leftovers, make_folder, sweep
from dinotrack.locks import HOLDER, LOCK, InUse, locked
from dinotrack.studio.journal import JOURNAL, read_journal
from dinotrack.terminal import outputs
from dinotrack.terminal.requests import record_in

SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".mxf", ".ogv", ".tif", ".tiff", ".ts", ".webm", ".wmv", ".y4m"),
)
"""How the name of a video may end that is uploaded."""
UPLOADED = "video"
"""What an uploaded video is called in its folder, before its suffix."""
LONGEST = 60
"""Letters of the name of a folder that is made for an upload."""


@dataclass(frozen=True)
class Project:
    """A folder that the studio may serve."""

    folder: Path

    @property
    def id(self) -> str:
        """What pages call it: the same as long as it lies there."""
        place = os.fsencode(os.path.realpath(self.folder))
        return hashlib.sha256(place).hexdigest()[:16]

    @property
    def name(self) -> str:
        """What people call it. Bytes of a folder's name that are no text are written out."""
        return printable(Path(os.path.realpath(self.folder)).name)

    @property
    def journal(self) -> Path:
        """Where its journal is, or will be."""
        return self.folder / JOURNAL


@dataclass(frozen=True)
class About:
    """What is known of a project without opening it."""

    frames: int | None
    size: tuple[int, int] | None
    """(W, H) px."""
    points: int


def listed(runs: Path) -> list[Project]:
    """The projects in a folder of runs, by name. Links are passed over, as they lead elsewhere."""
    try:
        inside = sorted(runs.iterdir())
    except OSError:
        return []
    folders = (path for path in inside if not path.is_symlink() and path.is_dir())
    return [Project(folder) for folder in folders if is_project(folder)]


def is_project(folder: Path) -> bool:
    """Whether a run, a journal or an uploaded video lies in a folder."""
    files = (folder / name for name in (outputs.RECORD, JOURNAL))
    return any(path.is_file() for path in files) or uploaded(folder) is not None


def about(project: Project) -> About:
    """What is known of a project without opening it."""
    files = (project.journal, project.folder / outputs.RECORD)
    return _about(project, tuple(map(_stamp, files)))


@functools.lru_cache(maxsize=1000)
def _about(project: Project, stamps: tuple[tuple[int, int], ...]) -> About:
    """The same, read once as long as its files are those of these stamps."""
    with contextlib.suppress(InputError):
        kept = read_journal(project.journal)
        clip = kept.beginning.clip
        points = len(kept.history.document.points)
        return About(clip.frames, (clip.width, clip.height), points)
    record = record_in(project.folder)
    video = record.get("video")
    told = video if isinstance(video, dict) else {}
    frames, width, height = (_count(told.get(name)) for name in ("frames", "width", "height"))
    size = None if width is None or height is None else (width, height)
    return About(frames, size, _count(record.get("points")) or 0)


def video_of(project: Project) -> Path:
    """Where the video of a project lies. Raises InputError where nobody knows."""
    own = uploaded(project.folder)
    if own is not None:
        return own
    if project.journal.exists():
        told_in_journal = read_journal(project.journal).beginning.video
        if told_in_journal:
            return Path(told_in_journal)
    told = record_in(project.folder).get("video")
    path = told.get("path") if isinstance(told, dict) else None
    if not isinstance(path, str) or not path:
        raise InputError(
            f"{project.folder} does not say where its video lies; "
            "name the video: dinotrack studio VIDEO"
        )
    return Path(path)


def uploaded(folder: Path) -> Path | None:
    """The video that was uploaded into a folder."""
    paths = (folder / f"{UPLOADED}{suffix}" for suffix in SUFFIXES)
    with contextlib.suppress(OSError):
        return next((path for path in paths if path.is_file() and not path.is_symlink()), None)
    return None


def folder_of(video: Path, runs: Path) -> Path:
    """The folder of the run of a video, as `dinotrack VIDEO` would call it."""
    place = Path(os.path.realpath(video))
    return runs / outputs.folder_name(place, place.name if place.is_dir() else place.stem)


def suffix_of(name: str) -> str:
    """How the name of a video ends. Raises InputError where no video's does."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{shown(name)} does not end as the name of a video; give one of {' '.join(SUFFIXES)}"
        )
    return suffix


def new_folder(runs: Path, name: str) -> Path:
    """Make a folder for an upload that has that name. Raises InputError where it can't be made."""
    stem = os.path.splitext(name)[0]
    letters = "".join(letter if letter.isalnum() else "-" for letter in stem.strip())
    plain = letters.strip("-")[:LONGEST] or UPLOADED
    make_folder(runs)
    number = 1
    while True:
        folder = runs / (plain if number == 1 else f"{plain}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} can't be made ({error}); rename the video") from error
        else:
            return folder


def remove(folder: Path) -> None:
    """Remove the folder of an upload that is no video. What can't be removed stays."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)


def clear(runs: Path) -> None:
    """Remove the folders of uploads that were never finished, as their server was killed."""
    with contextlib.suppress(OSError):
        for folder in runs.iterdir():
            if not folder.is_symlink() and folder.is_dir() and _is_remnant(folder):
                with contextlib.suppress(OSError, InUse), locked(folder):
                    sweep(folder)
                    shutil.rmtree(folder)


def _stamp(path: Path) -> tuple[int, int]:
    """What tells one state of a file from another: when it was changed, and its size."""
    try:
        status = path.stat()
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


def _is_remnant(folder: Path) -> bool:
    """Whether a folder holds nothing but an unfinished upload."""
    names = {path.name for path in folder.iterdir()}
    parts = {path.name for path in leftovers(folder) if path.name.startswith(f".{UPLOADED}.")}
    return bool(parts) and names - parts <= {LOCK, HOLDER}


def _count(value: Any) -> int | None:
    """A whole number that counts something; None for anything else."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < 1 << 53 else None


def all_of(first: Project | None, runs: Path) -> Iterator[Project]:
    """The project that was named at the start, if any, and those in a folder of runs, each once."""
    known = set()
    for project in (*([first] if first else []), *listed(runs)):
        if project.id not in known:
            known.add(project.id)
            yield project
