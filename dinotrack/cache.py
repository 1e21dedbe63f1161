"""What was computed of a video, kept on this machine and found again by everything that went into
it.

One safetensors file for each stage of each video, which is mapped into memory when it is read.
Without a place for them nothing is kept, and nothing else changes.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.files import replacing
from dinotrack.progress import Progress, silent

FOLDER_VARIABLE = "DINOTRACK_CACHE"
LIMIT_VARIABLE = "DINOTRACK_CACHE_GB"
GIGABYTES = 10.0
"""What the cache holds at most, where $DINOTRACK_CACHE_GB says nothing else."""
FORMAT = 1
"""One more whenever the same settings come to give other numbers, so that old ones are not
found."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Cache:
    """Where results of one video are kept: in a folder, at most `limit` bytes of all videos; None:
    nowhere.

    video: `content_hash` of the video.
    """

    folder: Path | None = None
    limit: float = GIGABYTES * 1e9
    video: str = ""

    def remember(
        self,
        stage: str,
        settings: Mapping[str, Any],
        compute: Callable[[], Tensors],
        progress: Progress = silent,
    ) -> Tensors:
        """The tensors a stage gives with these settings (plain JSON values): those kept, else
        computed and kept.

        Kept ones lie on the CPU, mapped from their file, and the stage is reported as done. One
        that can't be read counts as absent; one that can't be written gives a DinotrackWarning.
        """
        if self.folder is None:
            return compute()
        path = self.folder / _name(stage, {"format": FORMAT, "video": self.video, **settings})
        tensors = _read(path)
        if tensors is not None:
            progress(stage, 1, 1)
            return tensors
        tensors = compute()
        try:
            with replacing(path) as part:
                save_file({name: values.contiguous() for name, values in tensors.items()}, part)
        except (InputError, SafetensorError) as error:
            warnings.warn(f"the {stage} is not kept: {error}", DinotrackWarning, stacklevel=2)
        _drop_oldest(self.folder, self.limit)
        return tensors


def open_cache(video: str) -> Cache:
    """The cache of a video (its `content_hash`): $DINOTRACK_CACHE, else dinotrack in
    $XDG_CACHE_HOME or ~/.cache.

    DINOTRACK_CACHE=off, or empty, turns it off. A folder that can't be written: none, with a
    DinotrackWarning.
    Raises InputError where $DINOTRACK_CACHE_GB is no number.
    """
    name = os.environ.get(FOLDER_VARIABLE)
    limit = _limit(os.environ.get(LIMIT_VARIABLE, str(GIGABYTES)))
    if name is not None and name.strip() in ("", "off"):
        return Cache(None, limit, video)
    try:
        caches = os.environ.get("XDG_CACHE_HOME")
        folder = (
            Path(name)
            if name
            else (Path(caches) if caches else Path.home() / ".cache") / "dinotrack"
        )
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # a user without a home is a RuntimeError
        warnings.warn(
            f"flow and features are not kept for another run: {error}; set {FOLDER_VARIABLE} to a folder, or to off",
            DinotrackWarning,
            stacklevel=3,
        )
        return Cache(None, limit, video)
    return Cache(folder, limit, video)


def _limit(gigabytes: str) -> float:
    """Bytes."""
    with contextlib.suppress(ValueError):
        if float(gigabytes) >= 0:
            return float(gigabytes) * 1e9
    raise InputError(
        f"{LIMIT_VARIABLE}={gigabytes} is no size; give a number of gigabytes, as in {GIGABYTES:g}"
    )


def _name(stage: str, key: Mapping[str, Any]) -> str:
    return f"{stage}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()}.safetensors"


def _read(path: Path) -> Tensors | None:
    """The tensors of a file, which then counts as used just now; None where there are none that can
    be read."""
    try:
        tensors: Tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return tensors


def _drop_oldest(folder: Path, limit: float) -> None:
    """Remove the files of ours, remains of unfinished ones too, that were not used for longest,
    down to the limit."""
    ours = re.compile(r"\.?[a-z]+-[0-9a-f]{64}\.safetensors(\.[0-9]+\.part)?")
    with contextlib.suppress(OSError):  # another process may tidy up as well
        files = [(path.stat(), path) for path in folder.iterdir() if ours.fullmatch(path.name)]
        total = 0
        for facts, path in sorted(files, key=lambda file: -file[0].st_mtime_ns):
            total += facts.st_size
            if total > limit:
                path.unlink(missing_ok=True)
