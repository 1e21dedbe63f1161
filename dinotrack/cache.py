"""What was computed of a video, kept on this machine and found again by all that went into it.

Each stage of each video has one file of tensors, which says what it is. A file that was damaged, or
put in the place of another, counts as absent. A cache without a folder keeps nothing, and nothing
else changes.
"""

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.files import make_folder, sweep
from dinotrack.progress import Progress, silent
from dinotrack.tensor_files import DamagedFile, load_tensors, save_tensors

FOLDER_VARIABLE = "DINOTRACK_CACHE"
LIMIT_VARIABLE = "DINOTRACK_CACHE_GB"
GIGABYTES = 10.0
"""What the cache holds at most, where $DINOTRACK_CACHE_GB says nothing else."""
FORMAT = 2
"""One more whenever the same settings come to give other numbers, so that no old ones are found."""
UNFINISHED_SECONDS = 3600.0
"""A file that nobody wrote on for so long is what a killed run left."""
NAME = r"[a-z]+-[0-9a-f]{64}\.safetensors"
OURS = re.compile(rf"{NAME}|\.{NAME}\.[0-9]+\.part")
"""The names of our files, and of what earlier versions left unfinished."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Cache:
    """Where the results of one video are kept."""

    folder: Path | None = None
    """None: nowhere."""
    limit: float = GIGABYTES * 1e9
    """The bytes that the folder holds at most, of all videos together."""
    video: str = ""
    """`content_hash` of the video."""
    lost: list[str] = field(default_factory=list, compare=False)
    """Stages that could not be kept. One warning tells of all of them."""

    def remember(
        self,
        stage: str,
        settings: Mapping[str, Any],
        compute: Callable[[], Tensors],
        progress: Progress = silent,
    ) -> Tensors:
        """The tensors that a stage gives with these settings: those kept, else computed and kept.

        settings: all that the result depends on besides the video, as plain JSON values.

        Kept tensors lie on the CPU, and the stage is reported as done. A file that can't be read,
        or is not as it was written, counts as absent. A file that can't be written gives a
        DinotrackWarning.
        """
        known = self.find(stage, settings)
        if known is None:
            return self.keep(stage, settings, compute())
        progress(stage, 0, 1)
        progress(stage, 1, 1)
        return known

    def find(self, stage: str, settings: Mapping[str, Any]) -> Tensors | None:
        """The tensors that were kept of a stage with these settings; None where there are none."""
        about = self._about(stage, settings)
        return None if self.folder is None else _read(self.folder / _name(about), about)

    def keep(self, stage: str, settings: Mapping[str, Any], tensors: Tensors) -> Tensors:
        """Keep what a stage gave, and give it back as it is."""
        if self.folder is None:
            return tensors
        about = self._about(stage, settings)
        try:
            # After a power cut the file may be empty, and is then computed anew.
            save_tensors(self.folder / _name(about), tensors, about, durable=False)
        except InputError as error:
            if not self.lost:
                problem = f"not all is kept for another run: {error}, with {FOLDER_VARIABLE}"
                warnings.warn(problem, DinotrackWarning, stacklevel=2)
            self.lost.append(stage)
        _tidy(self.folder, self.limit)
        return tensors

    def _about(self, stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a file is, as it comes back from JSON."""
        about = {"stage": stage, "format": FORMAT, "video": self.video, "settings": settings}
        known: dict[str, Any] = json.loads(json.dumps(about))
        return known


def open_cache(video: str) -> Cache:
    """The cache of a video, given its `content_hash`.

    The cache lies in $DINOTRACK_CACHE, else in the folder dinotrack of $XDG_CACHE_HOME or of
    ~/.cache. DINOTRACK_CACHE=off, or empty, turns it off. Where the folder can't be written, a
    DinotrackWarning says so and nothing is kept. Raises InputError where $DINOTRACK_CACHE_GB is no
    number.
    """
    limit = _limit(os.environ.get(LIMIT_VARIABLE, str(GIGABYTES)))
    name = os.environ.get(FOLDER_VARIABLE)
    if name is not None and name.strip() in ("", "off"):
        return Cache(None, limit, video)
    try:
        folder = Path(name) if name else _default_folder()
        make_folder(folder)
    except (InputError, RuntimeError) as error:  # a user without a home is a RuntimeError
        reason = str(error).rstrip(".")
        warnings.warn(
            f"flow and features are not kept for another run: {reason}: "
            f"set {FOLDER_VARIABLE} to a folder, or to off",
            DinotrackWarning,
            stacklevel=3,
        )
        return Cache(None, limit, video)
    _tidy(folder, limit)
    return Cache(folder, limit, video)


def _default_folder() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "dinotrack"


def _limit(gigabytes: str) -> float:
    """Bytes."""
    with contextlib.suppress(ValueError):
        if float(gigabytes) >= 0:
            return float(gigabytes) * 1e9
    raise InputError(
        f"{LIMIT_VARIABLE}={gigabytes} is no size; give a number of gigabytes, as in {GIGABYTES:g}"
    )


def _name(about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return f"{about['stage']}-{digest}.safetensors"


def _read(path: Path, about: Mapping[str, Any]) -> Tensors | None:
    """The tensors of a file, which then counts as used just now.

    None where there is no such file, or it is damaged, or another's.
    """
    try:
        tensors, found = load_tensors(path)
    except (OSError, InputError, DamagedFile):
        return None
    if found != about:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return tensors


def _tidy(folder: Path, limit: float) -> None:
    """Remove the files that were not used for longest, until the rest is within the limit.

    Only files of ours are removed, and remains of unfinished ones. Other processes may read, write
    and tidy up at the same time: who has opened a file keeps it.
    """
    sweep(folder, UNFINISHED_SECONDS)
    newest_first = sorted(_ours(folder), key=lambda file: -file[0].st_mtime_ns)
    total = 0
    for facts, path in newest_first:
        total += facts.st_size
        if total > limit:
            with contextlib.suppress(OSError):
                path.unlink()


def _ours(folder: Path) -> Iterator[tuple[os.stat_result, Path]]:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if OURS.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    yield path.lstat(), path
