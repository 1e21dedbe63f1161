"""What users ask a fit for, checked: device, settings, seed, folder and callback."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import torch

from dinotrack.config import Config, override
from dinotrack.config import preset as named_preset
from dinotrack.defaults import LARGEST_SEED
from dinotrack.errors import Argument, InputError, cause_of, shown
from dinotrack.progress import Progress, silent

TOO_MANY = 10**10
"""Steps that no config takes."""


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that is meant: "auto" or None means CUDA where there is one, else the CPU.

    Raises InputError for a device that this machine lacks.
    """
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = str(device) if isinstance(device, str | torch.device) else ""
    kind, colon, number = name.partition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) < 4
    if kind not in counts or (colon and not is_number):
        raise InputError(f"unknown device {shown(device)}; choose auto, {', '.join(counts)}")
    if int(number or 0) >= counts[kind]:
        raise InputError(f"this machine has no {name}; take ", Argument("device", "cpu"))
    return torch.device(name)


def choose_config(
    preset: str | None, settings: Mapping[str, Any] | None, device: torch.device
) -> Config:
    """The preset, or the one that suits the device, with the settings that differ."""
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        example = "{'training.steps': 2000}"
        raise InputError(
            f"settings are given by their keys, as in {example}, not as {shown(settings)}"
        )
    if preset is None:
        preset = "quality" if device.type == "cuda" else "fast"
    return override(named_preset(preset), settings)


def with_default_steps(config: Config, frames: int) -> Config:
    """The config of a fit to a video of that many frames, where nobody chose its steps: longer
    videos take more than short ones."""
    training = config.training
    steps = max(training.steps, round(min(training.steps_a_frame * frames, TOO_MANY)))
    return override(config, {"training.steps": steps})


def choose_seed(seed: SupportsIndex) -> int:
    """The seed as Python's own integer; every step's random numbers are counted on from it."""
    advice = f"give a whole number from 0 to {LARGEST_SEED}"
    try:
        number = operator.index(seed)
    except TypeError:
        raise InputError(f"seed {shown(seed)} is no whole number; {advice}") from None
    if not 0 <= number <= LARGEST_SEED:
        raise InputError(f"the seed is out of range; {advice}")
    return number


def choose_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder in which a fit is kept, which need not be there yet.

    Raises InputError for no name, and for the name of something else than a folder.
    """
    if not isinstance(folder, str | os.PathLike):
        raise InputError(f"a folder is a path, not {type(folder).__name__}; give one")
    if not os.fspath(folder):
        raise InputError("the name of the ", Argument("folder"), " is empty; give one")
    path = Path(folder)
    try:
        other = path.exists() and not path.is_dir()
    except (OSError, ValueError) as error:
        problem = f"{path} can't be read ({cause_of(error)}); choose another "
        raise InputError(problem, Argument("folder")) from None
    if other:
        raise InputError(f"{path} is a file; choose another ", Argument("folder"))
    return path


def choose_progress(progress: Progress | None) -> Progress:
    """Who is told how far a run is; None: nobody."""
    if progress is None:
        return silent
    if not callable(progress):
        raise InputError(
            f"progress is a function of (stage, done, total), not {type(progress).__name__}; "
            "give one, or leave it out"
        )
    return progress
