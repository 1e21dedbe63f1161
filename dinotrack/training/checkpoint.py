"""A fit on disk: one file holds its weights, optimizer, step, config, seed and the video's hash."""

import hashlib
import json
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from dinotrack.config import Config, difference, from_dict, to_dict
from dinotrack.errors import Argument, InputError
from dinotrack.files import make_folder, replacing, unwritable
from dinotrack.training.loop import State

FILE = "checkpoint.pt"
ELSEWHERE = ("choose another ", Argument("folder"))
"""What messages advise, in parts."""
PARSE_ERRORS = (LookupError, AttributeError, TypeError, ValueError, struct.error)
"""What taking values apart raises where they are not what they should be."""


@dataclass(frozen=True)
class Identity:
    """What makes two fits the same fit."""

    config: Config
    seed: int
    video_hash: str
    foreground_hash: str = ""
    """Of the user's masks; empty where the foreground is found."""
    video_path: str = ""
    """Where the video lay. It is kept for messages and not compared."""


@dataclass(frozen=True)
class Stored:
    """A fit that was read from a folder."""

    identity: Identity
    step: int
    losses: dict[str, list[float]]
    weights: Any
    """The state of the networks, as it was read; `restore` finds out whether it fits."""
    optimizer: Any
    """The state of the optimizer, likewise."""


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
        step = 0 if self.stored is None else self.stored.step
        return step >= self.identity.config.training.steps

    def save(self, state: State) -> None:
        """Keep a fit as it is now."""
        if self.folder is not None:
            save(self.folder, state, self.identity)


def hash_masks(masks: Bool[np.ndarray, "T H W"] | None) -> str:
    """A hash of the user's foreground; "" for none."""
    if masks is None:
        return ""
    content = str(masks.shape).encode() + np.packbits(masks).tobytes()
    return hashlib.sha256(content).hexdigest()


def save(folder: Path, state: State, identity: Identity) -> None:
    """Write a fit, finished or not, in one atomic step, into a folder that is made if need be.

    Raises InputError where the folder can't be written.
    """
    about = {
        "config": to_dict(identity.config),
        "seed": identity.seed,
        "video_hash": identity.video_hash,
        "foreground_hash": identity.foreground_hash,
        "source": identity.video_path,
        "step": state.step,
        "losses": state.losses,
    }
    values = {
        "about": json.dumps(about),
        "weights": state.tracker.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    make_folder(folder, *ELSEWHERE)
    path = folder / FILE
    try:
        with replacing(path) as part:
            torch.save(values, part)
    except RuntimeError as error:  # torch's own, as of a full disk
        reason = OSError(_shortened(error))
        raise unwritable(path, reason, *ELSEWHERE) from None


def read(folder: Path) -> Stored:
    """The fit in a folder. Raises InputError where there is none, or the file is not ours."""
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no fit ({FILE} is missing); give the folder in which a fit was kept"
        )
    try:
        return _parse(torch.load(path, map_location="cpu", weights_only=True))
    except (*PARSE_ERRORS, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        problem = f"{path} is no checkpoint of this version ({_shortened(error)})"
        raise InputError(f"{problem}; remove it or ", *ELSEWHERE) from None


def _parse(values: Any) -> Stored:
    """What `save` has written. Raises one of PARSE_ERRORS for anything else."""
    about = json.loads(values["about"])
    identity = Identity(
        config=from_dict(about["config"]),
        seed=about["seed"],
        video_hash=about["video_hash"],
        foreground_hash=about["foreground_hash"],
        video_path=about["source"],
    )
    return Stored(identity, about["step"], about["losses"], values["weights"], values["optimizer"])


def find(folder: Path, identity: Identity, resume: bool) -> Stored | None:
    """The same fit in a folder; None where the folder holds no fit.

    Raises InputError for the fit of another video or with other settings, and for an unfinished
    one that is not to be continued (`resume`).
    """
    if not (folder / FILE).exists():
        return None
    stored = read(folder)
    if stored.identity.video_hash != identity.video_hash:
        owner = stored.identity.video_path or "another video"
        raise InputError(f"{folder} belongs to {owner}, not to this video; ", *ELSEWHERE)
    changes = _changes(stored.identity, identity)
    if changes:
        problem = f"{folder} was fitted with other settings"
        listed = "; ".join(changes)
        raise InputError(f"{problem} (there / asked for: {listed}); ", *ELSEWHERE)
    steps = identity.config.training.steps
    if stored.step < steps and not resume:
        problem = f"{folder} holds an unfinished fit, step {stored.step} of {steps}"
        resuming = Argument("resume", True)
        raise InputError(f"{problem}; continue it with ", resuming, ", or ", *ELSEWHERE)
    return stored


def _changes(stored: Identity, asked: Identity) -> list[str]:
    """What differs between two fits of one video, one line each."""
    changes = difference(stored.config, asked.config)
    if stored.seed != asked.seed:
        changes.append(f"seed: {stored.seed} / {asked.seed}")
    if stored.foreground_hash != asked.foreground_hash:
        changes.append("foreground: other masks")
    return changes


def restore(stored: Stored, state: State) -> None:
    """Put a stored fit into a state that was made for the same config.

    Raises InputError where it does not fit.
    """
    try:
        state.tracker.load_state_dict(stored.weights)
        state.optimizer.load_state_dict(stored.optimizer)
    except (*PARSE_ERRORS, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the checkpoint does not fit its own settings ({reason}); remove it and fit again"
        ) from None
    state.step = stored.step
    device = next(state.tracker.parameters()).device
    state.curves = {
        name: list(torch.tensor(values, device=device)) for name, values in stored.losses.items()
    }


def _shortened(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:120]
