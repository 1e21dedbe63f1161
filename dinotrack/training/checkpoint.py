"""A fit on disk: one file in a folder holds its weights, optimizer, step, config, seed and the
video's hash. Whoever writes into the folder holds its lock."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from dinotrack.config import difference
from dinotrack.errors import DinotrackWarning, InputError, cause_of, printable
from dinotrack.files import make_folder, sweep
from dinotrack.interrupts import held
from dinotrack.locks import locked
from dinotrack.mishaps import astray
from dinotrack.tensor_files import DamagedFile, load_tensors, save_tensors
from dinotrack.training import older
from dinotrack.training.loop import State
from dinotrack.training.stored import (
    ELSEWHERE,
    Identity,
    NewerVersion,
    Stored,
    describe,
    is_finite,
    parse,
    take_apart,
)

FILE = "checkpoint.safetensors"
OLDER = "checkpoint.pt"
"""The file's name in folders that were written before fits were safetensors."""
MOST_CHANGES = 6
"""Settings that a message names where a folder holds another fit; two presets differ in sixty."""


@dataclass(frozen=True)
class Store:
    """Where a fit is kept, and what was found there."""

    identity: Identity
    folder: Path | None = None
    """None: the fit is not kept."""
    stored: Stored | None = None
    """The same fit, finished or not, that the folder holds."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to learn."""
        return self.step >= self.identity.config.training.steps

    @property
    def step(self) -> int:
        """How far the fit is that was found."""
        return 0 if self.stored is None else self.stored.step

    def save(self, state: State) -> None:
        """Keep a fit as it is now. Raises InputError where the folder can't be written."""
        if self.folder is not None:
            save(self.folder, state, self.identity)


@contextlib.contextmanager
def opened(folder: Path | None, identity: Identity) -> Iterator[Store]:
    """The store of a fit, in a folder that is made if need be. None: the fit is not kept.

    Where there is something left to learn, nobody else can write into the folder meanwhile. A
    DinotrackWarning says where an unfinished fit goes on.

    Raises InputError as `find` does, and where the folder is in use or can't be written.
    """
    if folder is None:
        yield Store(identity)
        return
    found = Store(identity, folder, find(folder, identity))
    if found.is_finished:
        yield found
        return
    make_folder(folder, *ELSEWHERE)
    with locked(folder):
        sweep(folder)
        store = Store(identity, folder, find(folder, identity))  # it may be another one by now
        steps = identity.config.training.steps
        if 0 < store.step < steps:
            going_on = f"the fit in {folder} goes on from step {store.step} of {steps}"
            warnings.warn(DinotrackWarning(going_on), stacklevel=2)
        yield store


def put(folder: Path, state: State, identity: Identity) -> None:
    """Write a fit into a folder of the user's, which nobody else can write into meanwhile.

    Raises InputError as `find` does, where the folder is in use or can't be written, and where it
    holds more of the same fit.
    """
    make_folder(folder, *ELSEWHERE)
    with locked(folder):
        sweep(folder)
        there = find(folder, identity)
        if there is not None and there.step > state.step:
            more = f"{folder} holds more of this fit, step {there.step}, than this, {state.step}; "
            raise InputError(more, *ELSEWHERE)
        if not is_finite(state):
            raise astray("the numbers of the fit", identity.config)
        save(folder, state, identity)


def hash_masks(masks: Bool[np.ndarray, "T H W"] | None) -> str:
    """A hash of the user's foreground; "" for none."""
    if masks is None:
        return ""
    content = str(masks.shape).encode() + np.packbits(masks).tobytes()
    return hashlib.sha256(content).hexdigest()


def save(folder: Path, state: State, identity: Identity) -> None:
    """Write a fit, finished or not, in one atomic step, into a folder that is made if need be.

    Signals that come meanwhile wait. A file of an older form is removed.

    Raises InputError where the folder can't be written.
    """
    with held():
        make_folder(folder, *ELSEWHERE)
        save_tensors(folder / FILE, take_apart(state), describe(state, identity))
        with contextlib.suppress(OSError):
            (folder / OLDER).unlink()


def read(folder: Path) -> Stored:
    """The fit in a folder.

    Raises InputError where there is none, or the file is damaged or of a newer version.
    """
    path = _file_in(folder)
    if path is None:
        raise InputError(
            f"{folder} holds no fit ({FILE} is missing); give the folder in which a fit was kept"
        )
    load = older.load if path.name == OLDER else load_tensors
    try:
        return parse(path, *load(path))
    except DamagedFile as error:
        raise InputError(f"{path} is damaged ({error}); remove it or ", *ELSEWHERE) from None
    except NewerVersion:
        newer = f"{path} was written by a newer version of dinotrack; update dinotrack, or "
        raise InputError(newer, *ELSEWHERE) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} can't be read ({reason}); ", *ELSEWHERE) from None


def is_kept(folder: Path) -> bool:
    """Whether a folder holds a fit, finished or not. Raises InputError where nobody may look."""
    return _file_in(folder) is not None


def _file_in(folder: Path) -> Path | None:
    """The file of the fit in a folder, today's before an older one; None where there is none.

    Raises InputError where nobody may look.
    """
    for path in (folder / FILE, folder / OLDER):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} can't be read ({cause_of(error)}); ", *ELSEWHERE) from None
        return path
    return None


def find(folder: Path, identity: Identity) -> Stored | None:
    """The same fit in a folder, finished or not; None where the folder holds no fit.

    Raises InputError for the fit of another video or with other settings.
    """
    if _file_in(folder) is None:
        return None
    stored = read(folder)
    if stored.identity.video_hash != identity.video_hash:
        owner = printable(stored.identity.video_path) or "another video"
        raise InputError(f"{folder} belongs to {owner}, not to this video; ", *ELSEWHERE)
    changes = _changes(stored.identity, identity)
    if changes:
        problem = f"{folder} was fitted with other settings"
        listed = "; ".join(changes)
        raise InputError(f"{problem} (there / asked for: {listed}); ", *ELSEWHERE)
    return stored


def _changes(stored: Identity, asked: Identity) -> list[str]:
    """What differs between two fits of one video, one line each."""
    settings = [printable(line) for line in difference(stored.config, asked.config)]
    changes = settings[:MOST_CHANGES]
    if len(settings) > MOST_CHANGES:
        changes.append(f"and {len(settings) - MOST_CHANGES} more settings")
    if stored.seed != asked.seed:
        changes.append(f"seed: {stored.seed} / {asked.seed}")
    if stored.foreground_hash != asked.foreground_hash:
        changes.append("foreground: other masks")
    return changes
