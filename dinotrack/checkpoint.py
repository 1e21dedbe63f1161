"""A fit on disk: one file that holds weights, optimizer, step, config, seed and the video's
hash."""

import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dinotrack.config import Config, difference, from_dict, to_dict
from dinotrack.errors import InputError
from dinotrack.training import State
from dinotrack.video import replacing

FILE = "checkpoint.pt"
MALFORMED = (LookupError, AttributeError, TypeError, ValueError)
"""What taking values apart raises where they are not what they should be."""


@dataclass(frozen=True)
class Identity:
    """What makes two fits the same fit."""

    config: Config
    seed: int
    video_hash: str
    foreground_hash: str = ""
    """Of the user's masks; empty where the foreground is found."""
    source: str = ""
    """Where the video lay; not part of what is compared."""


@dataclass(frozen=True)
class Stored:
    """A fit that was read from a folder."""

    identity: Identity
    step: int
    losses: dict[str, list[float]]
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]


def hash_masks(masks: npt.NDArray[np.bool_] | None) -> str:
    """A hash of the user's foreground bool [T, H, W]; "" for none."""
    return (
        ""
        if masks is None
        else hashlib.sha256(str(masks.shape).encode() + np.packbits(masks).tobytes()).hexdigest()
    )


def save(folder: Path, state: State, identity: Identity) -> None:
    """Write a fit, finished or not, in one atomic step.

    Raises InputError where the folder can't be written.
    """
    about = {
        "config": to_dict(identity.config),
        "seed": identity.seed,
        "video_hash": identity.video_hash,
        "foreground_hash": identity.foreground_hash,
        "source": identity.source,
        "step": state.step,
        "losses": state.losses,
    }
    with _writing(folder / FILE) as path:
        torch.save(
            {
                "about": json.dumps(about),
                "weights": state.tracker.state_dict(),
                "optimizer": state.optimizer.state_dict(),
            },
            path,
        )


def read(folder: Path) -> Stored:
    """The fit in a folder. Raises InputError where there is none, or the file is not ours."""
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no fit ({FILE} is missing); give the model folder of a run"
        )
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(values["about"])
        identity = Identity(
            from_dict(about["config"]),
            about["seed"],
            about["video_hash"],
            about["foreground_hash"],
            about["source"],
        )
        return Stored(
            identity, about["step"], about["losses"], values["weights"], values["optimizer"]
        )
    except (*MALFORMED, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path} is no checkpoint of this version ({reason}); remove it or choose another --out"
        ) from None


def find(folder: Path, identity: Identity, resume: bool) -> Stored | None:
    """The same fit in a folder, finished, or unfinished where `resume`; None where the folder holds
    none.

    Raises InputError for another video's or another setting's fit, and for an unfinished one
    without `resume`.
    """
    if not (folder / FILE).exists():
        return None
    stored = read(folder)
    if stored.identity.video_hash != identity.video_hash:
        where = stored.identity.source or "another video"
        raise InputError(
            f"{folder} belongs to {where}, not to this video; choose another folder with --out"
        )
    changes = difference(stored.identity.config, identity.config)
    if stored.identity.seed != identity.seed:
        changes.append(f"seed: {stored.identity.seed} / {identity.seed}")
    if stored.identity.foreground_hash != identity.foreground_hash:
        changes.append("foreground: other masks")
    if changes:
        raise InputError(
            f"{folder} was fitted with other settings (there / asked for: {'; '.join(changes)}); "
            "choose another folder with --out"
        )
    steps = identity.config.training.steps
    if stored.step < steps and not resume:
        raise InputError(
            f"{folder} holds an unfinished fit, step {stored.step} of {steps}; continue it with --resume, "
            "or choose another folder with --out"
        )
    return stored


def restore(stored: Stored, state: State) -> None:
    """Put a stored fit into a state made for the same config.

    Raises InputError where it does not fit.
    """
    try:
        state.tracker.load_state_dict(stored.weights)
        state.optimizer.load_state_dict(stored.optimizer)
    except (*MALFORMED, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the checkpoint does not fit its own settings ({reason}); remove it and fit again"
        ) from None
    state.step = stored.step
    device = next(state.tracker.parameters()).device
    state.terms = {
        name: list(torch.tensor(values, device=device)) for name, values in stored.losses.items()
    }


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """`replacing`, in a folder that is made; torch has errors of its own for a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            yield part
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise InputError(
            f"{path.parent} can't be written ({reason}); choose another folder with --out"
        ) from None
