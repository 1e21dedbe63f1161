"""2 x 2 matrices, each operation written out.

PyTorch's linear algebra lacks some of them on MPS, and is slow for many small matrices elsewhere.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class SingularValues(NamedTuple):
    """How much matrices stretch in the direction that they stretch least, and most."""

    least: Float[Tensor, " N"]
    most: Float[Tensor, " N"]


def determinant(matrices: Float[Tensor, "N 2 2"]) -> Float[Tensor, " N"]:
    """The determinants."""
    main = matrices[:, 0, 0] * matrices[:, 1, 1]
    return main - matrices[:, 0, 1] * matrices[:, 1, 0]


def singular_values(matrices: Float[Tensor, "N 2 2"]) -> SingularValues:
    """Both singular values.

    Their product is the determinant's absolute value, and the sum of their squares is that of all
    entries. So we know the squares of their sum and of their difference.
    """
    product = determinant(matrices).abs()
    squares = matrices.square().sum(dim=(1, 2))
    total = (squares + 2 * product).sqrt()
    difference = (squares - 2 * product).clamp(min=0).sqrt()
    return SingularValues((total - difference) / 2, (total + difference) / 2)


def inverse(matrices: Float[Tensor, "N 2 2"]) -> Float[Tensor, "N 2 2"]:
    """The inverses of matrices whose determinant is not 0."""
    a, b = matrices[:, 0].unbind(-1)
    c, d = matrices[:, 1].unbind(-1)
    first_row = torch.stack((d, -b), dim=-1)
    second_row = torch.stack((-c, a), dim=-1)
    adjugate = torch.stack((first_row, second_row), dim=1)
    return adjugate / determinant(matrices)[:, None, None]
