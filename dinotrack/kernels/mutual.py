"""Mutual nearest neighbours of two sets of features of unit length (`docs/method.md` 3).

The twin goes through some rows of the matrix of cosines at a time. The kernel goes through all of
the matrix once and keeps nothing but the running maxima of its rows and columns.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack import chunks
from dinotrack.kernels.nearest import group, packed_maxima
from dinotrack.kernels.tiles import unpack_maxima

Neighbours = tuple[Int[Tensor, " K"], Int[Tensor, " K"], Float[Tensor, " K"]]
"""Rows of a, ascending, the rows of b that are their neighbours, and their cosines in float32."""


def mutual_nearest_torch(a: Float[Tensor, "P C"], b: Float[Tensor, "Q C"]) -> Neighbours:
    """Pairs of rows that are each other's nearest neighbour. Of equals the first is the nearest.

    At most chunks.COSINES rows of pairs are compared at a time.
    """
    _check(a, b)
    nearest_b = []
    cosine = []
    nearest_a = torch.zeros(len(b), dtype=torch.long, device=b.device)
    highest = torch.full((len(b),), -torch.inf, device=b.device)
    done = 0
    others = b.float().T
    for some in a.split(max(1, chunks.COSINES // max(1, len(b)))):
        cosines = (some.float() @ others).float()
        row = cosines.max(dim=1)
        nearest_b.append(row.indices)
        cosine.append(row.values)
        column = cosines.max(dim=0)
        nearest_a = torch.where(column.values > highest, column.indices + done, nearest_a)
        highest = torch.maximum(column.values, highest)
        done += len(some)
    return _mutual(torch.cat(nearest_b), nearest_a, torch.cat(cosine))


def mutual_nearest_triton(a: Float[Tensor, "P C"], b: Float[Tensor, "Q C"]) -> Neighbours:
    """As the twin, in one pass."""
    _check(a, b)
    a = a.detach()
    cells = b.detach().T[None]
    one_map = group(torch.zeros(len(a), dtype=torch.long, device=a.device), 1)
    for_a, for_b = packed_maxima(a, cells, one_map, both=True)
    nearest_b, cosine = unpack_maxima(for_a)
    nearest_a, _ = unpack_maxima(for_b)
    return _mutual(nearest_b, nearest_a, cosine)


def _check(a: Float[Tensor, "P C"], b: Float[Tensor, "Q C"]) -> None:
    shapes = f"a {[*a.shape]}, b {[*b.shape]}"
    assert a.ndim == b.ndim == 2, f"features must be [P, C] and [Q, C]: {shapes}"
    assert a.shape[1] == b.shape[1], f"features differ in channels: {shapes}"


def _mutual(
    nearest_b: Int[Tensor, " P"], nearest_a: Int[Tensor, " Q"], cosine: Float[Tensor, " P"]
) -> Neighbours:
    """Pairs, from the nearest b of each a, the nearest a of each b and the former's cosines."""
    own = torch.arange(len(nearest_b), device=nearest_b.device)
    mutual = (nearest_a[nearest_b] == own).nonzero()[:, 0]
    return mutual, nearest_b[mutual], cosine[mutual]
