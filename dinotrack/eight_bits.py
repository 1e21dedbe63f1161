"""Matrices of a network in eight bits: whole numbers from -127 to 127, and a scale for each row.

A row is what makes one output channel. A network's vectors are few numbers, and stay as they are.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int8

from dinotrack.tensor_files import AnyTensor

LARGEST = 127
"""The largest whole number that is used; -128 is not, so that both signs reach as far."""
SUFFIX = ".scale"
"""What follows a matrix's name in the name of its scales."""

Matrix = Float[torch.Tensor, "out ..."]
Whole = Int8[torch.Tensor, "out ..."]
Scale = Float[torch.Tensor, " out"]


def rounded(matrix: Matrix) -> tuple[Whole, Scale]:
    """A matrix as whole numbers, and what each row of them is to be multiplied by.

    A row's largest magnitude becomes 127, so that no number is off by more than a 254th of it.
    """
    largest = matrix.flatten(1).abs().amax(dim=1)
    scale = torch.where(largest > 0, largest / LARGEST, 1.0)
    whole = (matrix / _along(scale, matrix)).round().to(torch.int8)
    return whole, scale


def packed(state: Mapping[str, AnyTensor], names: set[str]) -> dict[str, AnyTensor]:
    """The tensors of a network, the named ones in eight bits and all others in half precision."""
    small: dict[str, AnyTensor] = {}
    for name, values in state.items():
        if name in names:
            small[name], small[name + SUFFIX] = rounded(values)
        else:
            small[name] = values.half()
    return small


def restored(state: Mapping[str, AnyTensor]) -> dict[str, AnyTensor]:
    """The tensors of a network as they are computed with, in single precision.

    A tensor that no scale belongs to keeps its numbers, and where these are whole ones its type.
    Raises ValueError for a scale that is not one number for each row.
    """
    large: dict[str, AnyTensor] = {}
    for name, values in state.items():
        scale = state.get(name + SUFFIX)
        if scale is not None:
            if scale.shape != values.shape[:1]:
                raise ValueError(f"{name} has a scale of another size")
            matrix = values.float()
            large[name] = matrix * _along(scale.float(), matrix)
        elif not _is_scale(name, state):
            large[name] = values.float() if values.is_floating_point() else values
    return large


def _is_scale(name: str, state: Mapping[str, AnyTensor]) -> bool:
    return name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in state


def _along(scale: Scale, matrix: Matrix) -> Matrix:
    """One scale for each row, shaped so that it multiplies the rows."""
    return scale.reshape(-1, *[1] * (matrix.ndim - 1))
