"""The one place where features are compared: cosines between feature vectors, without ever holding all of them at once.

Features of any float type; comparisons are computed in float32 (or as autocast decides).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_PAIRS = 2**24
"""Pairs held at a time where only the best ones are wanted: 64 MiB of float32."""


def normalise(features: Tensor, dim: int) -> Tensor:
    """Features divided by their L2 norm along dim: float32, norm 1; zeros stay zeros."""
    return F.normalize(features.float(), dim=dim, eps=1e-8)


def correlation_maps(queries: Tensor, maps: Tensor, index: Tensor | None = None) -> Tensor:
    """Cosine between each query and each cell of the map it belongs to (METHOD 4, before the ReLU).

    queries [N, C], maps [B, C, h, w], index long [N] in 0 .. B - 1 (None: B = 1) -> float32 [N, h, w]. Differentiable.
    """
    count, channels, rows, cols = maps.shape
    vectors = normalise(queries, dim=-1)
    cells = normalise(maps, dim=1).reshape(count, channels, rows * cols)
    if index is None:
        assert count == 1, maps.shape
        return (vectors @ cells[0]).reshape(-1, rows, cols)
    order = index.argsort(stable=True)
    groups = torch.split(vectors.index_select(0, order), index.bincount(minlength=count).tolist())
    cosines = torch.cat([group @ cells[b] for b, group in enumerate(groups)])
    return cosines.index_select(0, order.argsort()).reshape(-1, rows, cols)


def best_match(queries: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """The feature nearest to each query by cosine: queries [N, C], features [P, C] -> index long [N], cosine [N]."""
    index, cosine = best_matches(queries, features, 1)
    return index[:, 0], cosine[:, 0]


def best_matches(queries: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` features nearest to each query by cosine (all of them where there are fewer), best first.

    queries [N, C], features [P, C], P > 0 -> index long [N, count], cosine float32 [N, count].
    """
    cells = normalise(features, dim=-1)
    best = [
        (group @ cells.T).float().topk(min(count, len(cells)), dim=1)
        for group in _in_groups(normalise(queries, dim=-1), len(cells))
    ]
    return torch.cat([b.indices for b in best]), torch.cat([b.values for b in best])


def mutual_nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs that are each other's nearest neighbour by cosine (METHOD 3).

    a [P, C], b [Q, C] -> rows of a, ascending (long [K]), rows of b (long [K]), their cosines (float32 [K]).
    """
    if len(a) == 0 or len(b) == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=a.device)
        return nothing, nothing, torch.zeros(0, device=a.device)
    a, b = normalise(a, dim=-1), normalise(b, dim=-1)
    nearest_b, cosine = [], []
    nearest_a = torch.zeros(len(b), dtype=torch.long, device=b.device)
    highest = torch.full((len(b),), -torch.inf, device=b.device)
    done = 0
    for group in _in_groups(a, len(b)):
        cosines = (group @ b.T).float()
        row = cosines.max(dim=1)
        nearest_b.append(row.indices)
        cosine.append(row.values)
        column = cosines.max(dim=0)
        nearest_a = torch.where(column.values > highest, column.indices + done, nearest_a)
        highest = torch.maximum(column.values, highest)
        done += len(group)
    there = torch.cat(nearest_b)
    mutual = (nearest_a[there] == torch.arange(len(a), device=a.device)).nonzero()[:, 0]
    return mutual, there[mutual], torch.cat(cosine)[mutual]


def info_nce(source: Tensor, positive: Tensor, all_cells: Tensor, temperature: float) -> Tensor:
    """-log softmax of cosine / temperature over all cells of the other frame, at the positive (METHOD 5).

    source, positive [N, C], all_cells [P, C] -> [N]. The positive is not added to the cells: where it is none of them,
    as between cells, the value may fall below 0. Differentiable.
    """
    vectors = normalise(source, dim=-1)
    attraction = (vectors * normalise(positive, dim=-1)).sum(dim=-1)
    cosines = (vectors @ normalise(all_cells, dim=-1).T).float()
    return torch.logsumexp(cosines / temperature, dim=-1) - attraction / temperature


def _in_groups(rows: Tensor, others: int) -> Sequence[Tensor]:
    """Rows [N, ...] in groups small enough to be compared with `others` things each, MAX_PAIRS pairs at a time."""
    groups: Sequence[Tensor] = torch.split(rows, max(1, MAX_PAIRS // max(1, others)))
    return groups
