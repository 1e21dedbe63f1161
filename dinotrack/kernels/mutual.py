"""Mutual nearest neighbours of two sets of features of unit length (METHOD 3), without their
matrix."""

import torch
from torch import Tensor

from dinotrack.kernels.match import group, packed_maxima
from dinotrack.kernels.tiles import unpack_maxima

Pairs = tuple[Tensor, Tensor, Tensor]
"""Rows of a, ascending (long [K]), rows of b (long [K]), their cosines (float32 [K])."""


def mutual_nearest_torch(a: Tensor, b: Tensor, pairs: int) -> Pairs:
    """a [P, C], b [Q, C]; `pairs` compared at a time. Of equals the first is the nearest."""
    nearest_b, cosine = [], []
    nearest_a = torch.zeros(len(b), dtype=torch.long, device=b.device)
    highest = torch.full((len(b),), -torch.inf, device=b.device)
    done = 0
    others = b.float().T
    for some in a.split(max(1, pairs // max(1, len(b)))):
        cosines = (some.float() @ others).float()
        row = cosines.max(dim=1)
        nearest_b.append(row.indices)
        cosine.append(row.values)
        column = cosines.max(dim=0)
        nearest_a = torch.where(column.values > highest, column.indices + done, nearest_a)
        highest = torch.maximum(column.values, highest)
        done += len(some)
    return _mutual(torch.cat(nearest_b), nearest_a, torch.cat(cosine))


def mutual_nearest_triton(a: Tensor, b: Tensor) -> Pairs:
    """As the twin: one pass, in which rows and columns of the matrix have their running maxima."""
    a, b = a.detach(), b.detach()
    one_map = group(torch.zeros(len(a), dtype=torch.long, device=a.device), 1)
    for_a, for_b = packed_maxima(a, b.T[None], one_map, both=True)
    nearest_b, cosine = unpack_maxima(for_a)
    return _mutual(nearest_b, unpack_maxima(for_b)[0], cosine)


def _mutual(nearest_b: Tensor, nearest_a: Tensor, cosine: Tensor) -> Pairs:
    """From each row's nearest column [P], each column's nearest row [Q] and the rows' cosines
    [P]."""
    mutual = (
        nearest_a[nearest_b] == torch.arange(len(nearest_b), device=nearest_b.device)
    ).nonzero()[:, 0]
    return mutual, nearest_b[mutual], cosine[mutual]
