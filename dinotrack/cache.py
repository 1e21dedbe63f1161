"""What was computed of a video, kept on this machine and found again by all that went into it.

Each stage of each video has one safetensors file, which is mapped into memory when it is read. A
cache without a folder keeps nothing, and nothing else changes.
"""

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.files import make_folder, replacing
from dinotrack.progress import Progress, silent

FOLDER_VARIABLE = "DINOTRACK_CACHE"
LIMIT_VARIABLE = "DINOTRACK_CACHE_GB"
GIGABYTES = 10.0
"""What the cache holds at most, where $DINOTRACK_CACHE_GB says nothing else."""
FORMAT = 1
"""One more whenever the same settings come to give other numbers, so that no old ones are found."""

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

    def remember(
        self,
        stage: str,
        settings: Mapping[str, Any],
        compute: Callable[[], Tensors],
        progress: Progress = silent,
    ) -> Tensors:
        """The tensors that a stage gives with these settings: those kept, else computed and kept.

        settings: all that the result depends on besides the video, as plain JSON values.

        Kept tensors lie on the CPU, mapped from their file, and the stage is reported as done. A
        file that can't be read counts as absent. A file that can't be written gives a
        DinotrackWarning.
        """
        known = self.find(stage, settings)
        if known is None:
            return self.keep(stage, settings, compute())
        progress(stage, 1, 1)
        return known

    def find(self, stage: str, settings: Mapping[str, Any]) -> Tensors | None:
        """The tensors that were kept of a stage with these settings; None where there are none."""
        path = self._path(stage, settings)
        return None if path is None else _read(path)

    def keep(self, stage: str, settings: Mapping[str, Any], tensors: Tensors) -> Tensors:
        """Keep what a stage gave, and give it back as it is."""
        path = self._path(stage, settings)
        if path is None:
            return tensors
        try:
            with replacing(path) as part:
                save_file({name: values.contiguous() for name, values in tensors.items()}, part)
        except (InputError, SafetensorError) as error:
            warnings.warn(f"the {stage} is not kept: {error}", DinotrackWarning, stacklevel=2)
        _drop_oldest(path.parent, self.limit)
        return tensors

    def _path(self, stage: str, settings: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / _name(stage, {"format": FORMAT, "video": self.video, **settings})


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


def _name(stage: str, key: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{stage}-{digest}.safetensors"


def _read(path: Path) -> Tensors | None:
    """The tensors of a file, which then counts as used just now; None where no file can be read."""
    try:
        tensors: Tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return tensors


def _drop_oldest(folder: Path, limit: float) -> None:
    """Remove the files that were not used for longest, until the rest is within the limit.

    Only files of ours are removed, and remains of unfinished ones.
    """
    ours = re.compile(r"\.?[a-z]+-[0-9a-f]{64}\.safetensors(\.[0-9]+\.part)?")
    with contextlib.suppress(OSError):  # another process may tidy up as well
        files = [(path.stat(), path) for path in folder.iterdir() if ours.fullmatch(path.name)]
        newest_first = sorted(files, key=lambda file: -file[0].st_mtime_ns)
        total = 0
        for facts, path in newest_first:
            total += facts.st_size
            if total > limit:
                path.unlink(missing_ok=True)
