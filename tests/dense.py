"""Chains as tables with a row for each and a column for each frame, which tests read more
easily."""

import torch
from torch import Tensor

from dinotrack.trajectories import Chains


def chains_of(xy: Tensor, valid: Tensor) -> Chains:
    """Chains from xy [N, T, 2] and valid bool [N, T], one run of frames in each row."""
    assert (
        (valid.int().diff(dim=1, prepend=valid.new_zeros(len(valid), 1).int()) == 1)
        .sum(dim=1)
        .eq(1)
        .all()
    )
    return Chains(xy[valid].float(), valid.int().argmax(dim=1), valid.sum(dim=1), valid.shape[1])


def table_of(chains: Chains) -> tuple[Tensor, Tensor]:
    """Of chains: xy float32 [N, T, 2], 0 where not valid, and valid bool [N, T]. A plain loop."""
    xy = torch.zeros(len(chains.start), chains.frames, 2)
    valid = torch.zeros(xy.shape[:2], dtype=torch.bool)
    done = 0
    for row, (start, length) in enumerate(
        zip(chains.start.tolist(), chains.length.tolist(), strict=True)
    ):
        xy[row, start : start + length] = chains.xy[done : done + length]
        valid[row, start : start + length] = True
        done += length
    assert done == len(chains.xy)
    return xy, valid
