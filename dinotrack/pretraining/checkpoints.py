"""A training that can go on: networks, their optimizer and what is known of it, in one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dinotrack.tensor_files import AnyTensor, save_tensors

OPTIMIZER = "optimizer"
SUFFIX = ".checkpoint.safetensors"
"""What the file's name ends in, beside the weights that a training gives."""

Networks = Mapping[str, torch.nn.Module]
"""By the names that their tensors have in a file."""


def save(
    path: Path, networks: Networks, optimizer: torch.optim.Optimizer, about: Mapping[str, Any]
) -> None:
    """Write a training, in one atomic step, into a folder that is made if need be.

    about: plain JSON values. Raises InputError where the file can't be written.
    """
    named = {
        f"{network}.{name}": values
        for network, module in networks.items()
        for name, values in module.state_dict().items()
    }
    for number, kept in optimizer.state_dict()["state"].items():
        named |= {f"{OPTIMIZER}.{number}.{name}": values for name, values in kept.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, named, about)


def fill(
    tensors: Mapping[str, AnyTensor], networks: Networks, optimizer: torch.optim.Optimizer
) -> None:
    """Put the tensors of a file into networks and an optimizer that were made in the same way.

    Raises what torch raises where they do not fit.
    """
    for network, module in networks.items():
        module.load_state_dict(_below(tensors, network))
    kept: dict[int, dict[str, AnyTensor]] = {}
    for name, values in _below(tensors, OPTIMIZER).items():
        number, _, what = name.partition(".")
        kept.setdefault(int(number), {})[what] = values
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": kept, "param_groups": groups})


def _below(tensors: Mapping[str, AnyTensor], name: str) -> dict[str, AnyTensor]:
    """The tensors whose names begin so, by the rest of their names."""
    start = f"{name}."
    return {key[len(start) :]: tensors[key].clone() for key in tensors if key.startswith(start)}
