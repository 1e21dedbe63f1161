"""The folder of a run's results: what comes into it, whether that can be, and in which order.

The record, run.json, is taken away before the results of an earlier run are replaced, and comes
back with the new ones. It says `complete` once all of them are there. A run that was ended in
between is therefore told from a whole one.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dinotrack.errors import Argument, InputError
from dinotrack.files import check_outputs, leftovers, make_folder, replacing, unwritable
from dinotrack.formats import FORMATS, RESULTS
from dinotrack.media.folders import images_in
from dinotrack.terminal.report import as_json
from dinotrack.tracks import Tracks
from dinotrack.video import Video

OVERLAY = "overlay.mp4"
REPORT = "report.html"
RECORD = "run.json"
CORRECTIONS = "tracks_corrections.csv"
"""Where a hand placed and hid points; for runs that were given corrections."""
MODEL = "model"
"""The folder that keeps the fit."""

UNFINISHED = ".unfinished-"
"""How the name of a folder begins in which results are made that are not complete yet."""

ELSEWHERE = ("choose another ", Argument("folder"))
"""What messages advise, in parts."""

PLAIN_NAMES = frozenset(
    ("frame", "frames", "image", "images", "img", "imgs", "jpegimages", "jpg", "png", "rgb")
)
"""Folders of images that are called what a thousand others are called."""


def default_folder(video: Video) -> Path:
    """Where the results of a video go where the user says nothing: runs/<name of the video>.

    A folder of images with a name as common as "frames" is called after the folder that it is in.
    """
    return Path("runs") / folder_name(Path(video.path), video.name)


def folder_name(place: Path, name: str) -> str:
    """What the folder of a run is called. place: where the video lies; name: what it is called."""
    if name.lower() in PLAIN_NAMES and place.is_dir():
        name = place.parent.name or name
    is_plain = bool(name.strip(". "))  # "..", of a video called "...mp4", is the folder above
    return name if is_plain else "video"


def check(out: Path, inputs: Iterable[Path]) -> None:
    """Find out before the fit whether the results can be written into a folder, which is made.

    inputs: the files and folders that the run reads. Raises InputError where one of them is a file
    that the run would replace, under whatever name, and where something stands in the way.
    """
    _refuse_inputs(out, inputs)
    make_folder(out, *ELSEWHERE)
    results = _results(out)
    check_outputs(results, *ELSEWHERE)
    for path in results:
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path} is write-protected; allow to write it, or ", *ELSEWHERE)
    model = out / MODEL
    if model.exists() and not model.is_dir():
        raise InputError(f"{model} is a file, where the fit is to be kept; ", *ELSEWHERE)
    if model.exists():
        make_folder(model, *ELSEWHERE)


def check_export(path: Path, out: Path, inputs: Iterable[Path]) -> None:
    """Raise InputError where a file that tracks are exported into is one of the run's own.

    out: the folder of the run. inputs: the files and folders that the run was made from.
    """
    results = (out / name for name in (*RESULTS, CORRECTIONS, OVERLAY, REPORT, RECORD))
    kept = (*results, *_checkpoints(out), *_files(inputs))
    identity = _identity(path)
    if identity is not None and identity in map(_identity, kept):
        raise InputError(
            f"{path} belongs to the run, or is what it was made from, and would be lost; "
            "give another name"
        )


def holds_fit(out: Path) -> bool:
    """Whether a fit, finished or not, is kept in a folder of results."""
    return any(_checkpoints(out))


def clear(out: Path) -> None:
    """Remove what a killed run has left unfinished, and nothing else that may lie beside it; for
    whoever holds the folder's lock."""
    for path in _unfinished(out):
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in _unfinished_folders(out):
        with contextlib.suppress(OSError):  # it holds something else too
            folder.rmdir()


Save = Callable[[Path], None]
"""Writes a file of a run."""


def replace(
    out: Path, tracks: Tracks, record: dict[str, Any], more: Mapping[str, Save] | None = None
) -> dict[str, str]:
    """Put tracks and a record in the place of what an earlier run has left there; their hashes.

    The old files stay until all new ones are written, and neither corrections, an overlay or a
    report nor files for other programs of other points stay behind.

    more: further files that belong to the tracks, by name. Raises InputError where they can't be
    written.
    """
    names = (*RESULTS, *(more or {}))
    try:
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=out) as folder:
            new = Path(folder)
            for name, save in RESULTS.items():
                save(new / name, tracks)
            for name, save_more in (more or {}).items():
                save_more(new / name)
            hashes = {name: sha256(new / name) for name in names}
            write_record(new, record | {"outputs": hashes, "complete": False})
            for old in (RECORD, CORRECTIONS, OVERLAY, REPORT, *map(exported, FORMATS)):
                if old not in (more or {}):  # which takes the place of the old one at once
                    (out / old).unlink(missing_ok=True)
            for name in (*names, RECORD):
                os.replace(new / name, out / name)
    except OSError as error:
        raise unwritable(out, error, *ELSEWHERE) from error
    return hashes


def exported(name: str) -> str:
    """What the file of a format is called in the folder of a run, such as tracks_nuke.nk."""
    return f"tracks_{name}{FORMATS[name].ending}"


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Write run.json in the place of the one that is there."""
    with replacing(out / RECORD) as part:
        part.write_text(as_json(record), encoding="utf-8")


def sha256(path: Path) -> str:
    """The hash of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Raise InputError where an input is a file that the run writes or removes."""
    paths = (*_results(out), *_checkpoints(out), *_unfinished(out), *_unfinished(out / MODEL))
    written = {_identity(path): path for path in paths}
    for path in _files(inputs):
        identity = _identity(path)
        if identity is not None and identity in written:
            result = written[identity].relative_to(out)
            problem = f"{path} would be lost, as the run writes {result} into {out}; "
            raise InputError(problem, *ELSEWHERE)


def _results(out: Path) -> list[Path]:
    own = (*RESULTS, CORRECTIONS, OVERLAY, REPORT, RECORD)
    return [out / name for name in (*own, *map(exported, FORMATS))]


def _unfinished(out: Path) -> Iterator[Path]:
    """The files that a killed run can have left unfinished in a folder."""
    for folder in (out, *_unfinished_folders(out)):
        with contextlib.suppress(OSError):
            yield from leftovers(folder)
    for folder in _unfinished_folders(out):
        yield from (folder / name for name in (*RESULTS, CORRECTIONS, RECORD))


def _unfinished_folders(out: Path) -> list[Path]:
    try:
        return [path for path in out.glob(f"{UNFINISHED}*") if not path.is_symlink()]
    except OSError:  # where it may not be looked at; `make_folder` says so
        return []


def _files(inputs: Iterable[Path]) -> Iterator[Path]:
    """The files that are read: of a folder, its images."""
    for path in inputs:
        if path.is_dir():
            yield from images_in(path)
        else:
            yield path


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file has in common with itself under other names; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _checkpoints(out: Path) -> list[Path]:
    try:
        return list((out / MODEL).glob("checkpoint.*"))
    except OSError:  # where it may not be looked at; `make_folder` says so
        return []
