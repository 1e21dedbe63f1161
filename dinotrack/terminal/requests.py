"""What a run was asked for, and whether a folder holds just that.

run.json keeps the request: every file that the run was given, by its content, and the options that
change results. Results are done where the record is there, says `complete`, was asked for the same,
and every file that it names is there.

That a file is the same is known without reading it where its name, its size and its time are; else
its bytes are read. The fit has a stricter test, of the decoded frames (`video.content_hash`), and
makes it whenever a run is done again. It would take minutes here, for videos that nobody wants
anything of.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinotrack.errors import InputError
from dinotrack.files import regular
from dinotrack.media.folders import images_in
from dinotrack.terminal import arguments
from dinotrack.terminal.outputs import RECORD

FILES = ("video", "queries", "corrections", "mask", "foreground")
"""The arguments of a run that name a file or a folder which it reads."""
MOST_BYTES = 64 << 20
"""Of a record; those of long fits have a megabyte."""
BLOCK = 1 << 20


def request_of(args: argparse.Namespace) -> dict[str, Any]:
    """What a run is asked for, as run.json keeps it."""
    files = {name: stamp(path) for name, path in _given(args).items()}
    return {"files": files, "options": _options(args)}


def is_done(out: Path, args: argparse.Namespace) -> bool:
    """Whether a folder holds the whole results of a run that was asked for the same."""
    record = record_in(out)
    request, outputs = record.get("request"), record.get("outputs")
    if record.get("complete") is not True or not isinstance(request, dict):
        return False
    if not isinstance(outputs, dict) or not all((out / name).is_file() for name in outputs):
        return False
    kept, given = request.get("files"), _given(args)
    if not isinstance(kept, dict) or kept.keys() != given.keys():
        return False
    if request.get("options") != _options(args):
        return False
    return all(is_same(path, kept[name]) for name, path in given.items())


def record_in(out: Path) -> dict[str, Any]:
    """The record of a run; empty where there is none, or something else is in its place."""
    try:
        with regular(out / RECORD).open(encoding="utf-8") as file:
            record = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):  # InputError is a ValueError
        return {}
    return record if isinstance(record, dict) else {}


def stamp(path: Path) -> dict[str, str]:
    """How a file, or a folder of images, is known again; empty where it can't be read."""
    try:
        return {"listing": _listing(path), "sha256": _content(path)}
    except (OSError, InputError):
        return {}


def is_same(path: Path, kept: object) -> bool:
    """Whether a file or a folder is the one that was stamped."""
    if not isinstance(kept, dict) or not kept:
        return False
    try:
        return kept.get("listing") == _listing(path) or kept.get("sha256") == _content(path)
    except (OSError, InputError):
        return False


def _given(args: argparse.Namespace) -> dict[str, Path]:
    """The files that a run reads, by the argument that names them."""
    return {name: path for name in FILES if (path := getattr(args, name, None)) is not None}


def _options(args: argparse.Namespace) -> Any:
    """The options, as they are once they have been written and read."""
    options = arguments.options_of(args)
    options = {name: value for name, value in options.items() if name not in FILES}
    return json.loads(json.dumps(options, default=str))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The files that are read, each with its name in the folder; "" for a single file."""
    if path.is_dir():
        yield from ((image.name, image) for image in images_in(path))
    else:
        yield "", path


def _listing(path: Path) -> str:
    """A hash of names, sizes and times."""
    digest = hashlib.sha256()
    for name, file in _files(path):
        status = file.stat()
        line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _content(path: Path) -> str:
    """A hash of names and bytes."""
    digest = hashlib.sha256()
    for name, file in _files(path):
        head = f"{name}\0{file.stat().st_size}\n"
        digest.update(head.encode("utf-8", "surrogateescape"))
        with regular(file).open("rb") as opened:
            while block := opened.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()
