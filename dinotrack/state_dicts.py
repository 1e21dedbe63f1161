"""Reading weights safely, and filling networks with them.

Whatever a file holds, none of its code is run, and numbers that are not finite are told before a
network is filled with them.
"""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dinotrack.errors import InputError, cause_of
from dinotrack.files import regular
from dinotrack.tensor_files import AnyTensor, DamagedFile, read_tensors
from dinotrack.weights import hash_prefix

ARCHIVE = b"PK\x03\x04"
"""What the archives begin with that torch writes."""

State = dict[str, AnyTensor]
"""The tensors of a network, by name."""


def read(path: Path) -> State:
    """The tensors of a .safetensors file or of a PyTorch one, by name, on the CPU.

    No code in a file is ever run. A file whose name ends in -<hash>, as torch's downloads do, must
    have that hash. Raises InputError for a file that is damaged or can't be read, and for numbers
    that are not finite.
    """
    prefix = hash_prefix(path)
    try:
        with regular(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if prefix else ""
        if prefix and not digest.startswith(prefix):
            raise _unusable(path, "its content does not fit the hash in its name")
        content = _tensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    except OSError as error:
        raise InputError(
            f"can't read the weights {path} ({cause_of(error)}); give a file that can be read"
        ) from error
    state = _state(content)
    if not state:
        raise InputError(f"{path} holds no weights by name; give a state dict")
    for name, values in state.items():
        _refuse_wrong_numbers(name, values, path)
    return state


def facts(path: Path, *names: str) -> dict[str, Any]:
    """What a .safetensors file of ours says of itself: the JSON values of its metadata.

    names: of those that must be there. Raises InputError for a file that can't be read, is damaged
    or says nothing.
    """
    try:
        _, metadata = read_tensors(path)
    except (OSError, DamagedFile) as error:
        raise _unusable(path, error) from error
    try:
        told = {key: json.loads(value) for key, value in metadata.items()}
    except (ValueError, RecursionError):
        told = {}
    if not told or any(name not in told for name in names):
        raise _unusable(path, "it does not say what it is")
    return told


def load_into(model: torch.nn.Module, state: Mapping[str, AnyTensor], path: Path) -> None:
    """Fill a model with weights, every one of them.

    path: where they come from, for the message. Raises InputError where they don't fit.
    """
    problem = misfit(model, state)
    if problem:
        advice = "give those of this network, or fetch the file again"
        raise InputError(f"the weights {path} don't fit the network: {problem}; {advice}")
    model.load_state_dict(dict(state), strict=True)


def misfit(model: torch.nn.Module, state: Mapping[str, AnyTensor]) -> str:
    """Why weights do not fill a network, in a few words; empty where they do."""
    own = model.state_dict()
    lacking = [name for name in own if name not in state]
    if lacking:
        return f"{_listed(lacking)} missing"
    foreign = [name for name in state if name not in own]
    if foreign:
        return f"{_listed(foreign)} unknown to the network"
    other = [name for name in own if state[name].shape != own[name].shape]
    if other:
        return f"{_listed(other)} of another shape"
    return wrong_types(model, state)


def wrong_types(model: torch.nn.Module, state: Mapping[str, AnyTensor]) -> str:
    """Which tensors are no fractions where a network of these names has them, in a few words."""
    own = model.state_dict()
    shared = [name for name in own if name in state]
    whole = [
        name
        for name in shared
        if own[name].is_floating_point() and not state[name].is_floating_point()
    ]
    return f"{_listed(whole)} of whole numbers" if whole else ""


def _tensors(path: Path) -> State:
    try:
        return read_tensors(path)[0]
    except DamagedFile as error:
        raise _unusable(path, error) from error


def _unpickled(path: Path) -> Any:
    """What a file of PyTorch's holds. Nothing but tensors and what holds them is made of it."""
    if not _is_whole(path):
        raise _unusable(path, "it is damaged")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:  # torch's words advise to run the code in the file
        raise _unusable(path, "it is damaged, or holds more than weights") from error
    except Exception as error:  # readers of damaged files raise all kinds
        raise _unusable(path, "it is damaged, or no file of PyTorch's") from error


def _is_whole(path: Path) -> bool:
    """Whether all parts of an archive have their checksums, which torch does not look at.

    Older files are no archives. Where all checksums are 0, the writer has left them out.
    """
    with path.open("rb") as file:
        if file.read(len(ARCHIVE)) != ARCHIVE:
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            sums = [part.CRC for part in archive.infolist()]
            return not any(sums) or archive.testzip() is None
    except OSError:
        raise
    except Exception:  # readers of damaged files raise all kinds
        return False


def _state(content: Any) -> dict[str, Any]:
    """The state dict in what a file holds, where it often lies under a name of its own."""
    for name in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        return {}
    return {str(name): values for name, values in content.items()}


def _refuse_wrong_numbers(name: str, values: Any, path: Path) -> None:
    """Raise InputError for what is no tensor of finite numbers."""
    try:
        finite = bool(torch.isfinite(values).all())
    except (TypeError, RuntimeError) as error:  # no tensor, or a sparse or quantized one
        raise _unusable(path, f"{_listed([name])} no plain tensor") from error
    if not finite:
        raise _unusable(path, f"{_listed([name])} not finite everywhere")


def _unusable(path: Path, reason: str | Exception) -> InputError:
    why = getattr(reason, "strerror", None) or reason
    return InputError(f"can't read the weights {path}: {why}; fetch the file again")


def _listed(names: Sequence[str]) -> str:
    """The first of some names and how many more there are, with their verb."""
    first = names[0][:100]
    if len(names) == 1:
        return f"{first} is"
    return f"{first} and {len(names) - 1} more are"
