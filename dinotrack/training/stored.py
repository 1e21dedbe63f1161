"""A fit as plain values: what its file holds of it, checked, and how it becomes a fit again."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from dinotrack.config import Config, from_dict, to_dict
from dinotrack.defaults import LARGEST_SEED
from dinotrack.errors import Argument, InputError
from dinotrack.tensor_files import DamagedFile
from dinotrack.training.loop import State
from dinotrack.training.muon import memory

KIND = "dinotrack fit"
VERSION = 1
"""Of the form in which a fit is stored. Files of before there were numbers count as version 0."""
WEIGHTS, OPTIMIZER = "weights.", "optimizer."
"""What the names of tensors begin with: those of the networks, and those of the optimizer, which
has numbers for its parameters, as in optimizer.3.momentum."""
ELSEWHERE = ("choose another ", Argument("folder"))
"""What messages advise, in parts."""

AnyTensor = Shaped[Tensor, "..."]
Form = tuple[tuple[int, ...], torch.dtype]
"""Of a tensor: its shape and its kind of numbers."""


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
    """A fit that was read from a file."""

    path: Path
    identity: Identity
    step: int
    losses: dict[str, list[float]]
    tensors: dict[str, AnyTensor]
    """The state of the networks and of the optimizer, finite; `check` finds out whether it fits."""
    lessons: tuple[str, ...] = ()
    """What was taught since, by `fitted.lesson_name`, in order."""


class NewerVersion(ValueError):
    """The file was written by a version of dinotrack that is newer than this one."""


def describe(state: State, identity: Identity) -> dict[str, Any]:
    """What a file says of a fit, as JSON values."""
    return {
        "kind": KIND,
        "version": VERSION,
        "config": to_dict(identity.config),
        "seed": identity.seed,
        "video_hash": identity.video_hash,
        "foreground_hash": identity.foreground_hash,
        "source": identity.video_path,
        "step": state.step,
        "losses": state.losses,
        **({"lessons": list(state.lessons)} if state.lessons else {}),
    }


def take_apart(state: State) -> dict[str, AnyTensor]:
    """The tensors of a fit, by name."""
    weights = state.tracker.state_dict()
    named = {f"{WEIGHTS}{name}": values for name, values in weights.items()}
    for number, kept in state.optimizer.state_dict()["state"].items():
        named |= {f"{OPTIMIZER}{number}.{name}": values for name, values in kept.items()}
    return named


def is_finite(state: State) -> bool:
    """Whether all weights, all that the optimizer keeps, and all losses are finite numbers."""
    losses = [value for values in state.losses.values() for value in values]
    return all_finite(take_apart(state)) and all(map(math.isfinite, losses))


def all_finite(tensors: Mapping[str, AnyTensor]) -> bool:
    """Whether all numbers of some tensors are finite."""
    return all(bool(values.isfinite().all()) for values in tensors.values())


def parse(path: Path, tensors: Mapping[str, AnyTensor], about: Mapping[str, Any]) -> Stored:
    """The fit that a file holds, as `describe` and `take_apart` gave it.

    Raises DamagedFile where a value is not what it should be, and NewerVersion.
    """
    if about.get("kind") != KIND:
        raise DamagedFile("it holds something else than a fit")
    version = _taken(about, "version", int)
    if version > VERSION:
        raise NewerVersion
    try:
        config = from_dict(_taken(about, "config", dict))
    except InputError as error:
        raise DamagedFile(str(error)) from None
    identity = Identity(
        config=config,
        seed=_taken(about, "seed", int),
        video_hash=_taken(about, "video_hash", str),
        foreground_hash=_taken(about, "foreground_hash", str),
        video_path=_taken(about, "source", str),
    )
    if not 0 <= identity.seed <= LARGEST_SEED or "\0" in identity.video_path:
        raise DamagedFile("its seed or its source is none")
    step, steps = _taken(about, "step", int), config.training.steps
    if not 0 <= step <= steps:
        raise DamagedFile(f"its step is {step} of {steps}")
    losses = {name: _curve(values, step) for name, values in _taken(about, "losses", dict).items()}
    if not all_finite(tensors):
        raise DamagedFile("it holds numbers that are not finite")
    lessons = about.get("lessons", [])
    if not isinstance(lessons, list) or not all(isinstance(name, str) for name in lessons):
        raise DamagedFile("its lessons are no hashes")
    return Stored(path, identity, step, losses, dict(tensors), tuple(lessons))


def _taken(about: Mapping[str, Any], name: str, kind: type) -> Any:
    value = about.get(name)
    if type(value) is not kind:  # so that true and false are no numbers
        raise DamagedFile(f"its {name} is missing or of another kind")
    return value


def _curve(values: object, step: int) -> list[float]:
    """The losses of one term, of which each step gave one at most."""
    if not isinstance(values, list) or len(values) > step:
        raise DamagedFile("its losses are no curves of its steps")
    if not all(type(value) is float and math.isfinite(value) for value in values):
        raise DamagedFile("its losses are no finite numbers")
    return values


def check(stored: Stored, blank: State) -> None:
    """Find out whether a stored fit fits the networks of its config, to the last tensor.

    blank: a state that was made for the config, of which only the shapes are looked at, so that it
    may lie on the device "meta", where nothing takes memory.

    Raises InputError where it does not fit.
    """
    misfit = next(_misfits(stored.tensors, blank), None)
    if misfit is not None:
        problem = f"{stored.path} does not fit its own settings ({misfit}); remove it or "
        raise InputError(problem, *ELSEWHERE)


def _misfits(tensors: Mapping[str, AnyTensor], blank: State) -> Iterator[str]:
    """The names of tensors that are missing, too many, or of another form."""
    forms = {name: _form(values) for name, values in tensors.items()}
    wanted = {f"{WEIGHTS}{k}": _form(v) for k, v in blank.tracker.state_dict().items()}
    groups = blank.optimizer.param_groups
    parameters = [(group, weight) for group in groups for weight in group["params"]]
    for number, (group, weight) in enumerate(parameters):
        prefix = f"{OPTIMIZER}{number}."
        if any(name.startswith(prefix) for name in forms):  # nothing is known before its first step
            shapes = memory(group, weight).items()
            wanted |= {f"{prefix}{k}": (tuple(shape), torch.float32) for k, shape in shapes}
    for name in sorted(forms.keys() | wanted.keys()):
        if forms.get(name) != wanted.get(name):
            yield name


def _form(values: AnyTensor) -> Form:
    return tuple(values.shape), values.dtype


def restore(stored: Stored, state: State) -> None:
    """Put a stored fit, which has passed `check`, into a state that was made for the same config.

    The state keeps tensors of its own.
    """
    own = {name: values.clone() for name, values in stored.tensors.items()}
    state.tracker.load_state_dict(_below(own, WEIGHTS))
    kept: dict[int, dict[str, AnyTensor]] = {}
    for name, values in _below(own, OPTIMIZER).items():
        number, _, what = name.partition(".")
        kept.setdefault(int(number), {})[what] = values
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": kept, "param_groups": groups})
    state.step = stored.step
    state.lessons = stored.lessons
    device = next(state.tracker.parameters()).device
    state.curves = {name: _column(values, device) for name, values in stored.losses.items()}


def _below(tensors: Mapping[str, AnyTensor], prefix: str) -> dict[str, AnyTensor]:
    """The tensors whose names begin so, by the rest of the name."""
    found = {name: values for name, values in tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): values for name, values in found.items()}


def _column(values: Sequence[float], device: torch.device) -> list[Shaped[Tensor, ""]]:
    return list(torch.tensor(values, device=device))
