"""Chains as tables, a row for each chain and a column for each frame, which read more easily; and
chains drawn at random."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.trajectories import Chains


def chains_of(xy: Float[Tensor, "N T 2"], valid: Bool[Tensor, "N T"]) -> Chains:
    """Chains from a table, with one run of valid frames in each row."""
    before = valid.new_zeros(len(valid), 1).int()
    starts = valid.int().diff(dim=1, prepend=before) == 1
    assert (starts.sum(dim=1) == 1).all(), "a row needs one run of valid frames"
    start = valid.int().argmax(dim=1)
    return Chains(xy[valid].float(), start, valid.sum(dim=1), valid.shape[1])


def table_of(chains: Chains) -> tuple[Float[Tensor, "N T 2"], Bool[Tensor, "N T"]]:
    """The table of chains, by a plain loop: xy, 0 where not valid, and where they are valid."""
    xy = torch.zeros(len(chains.start), chains.frames, 2)
    valid = torch.zeros(xy.shape[:2], dtype=torch.bool)
    done = 0
    runs = zip(chains.start.tolist(), chains.length.tolist(), strict=True)
    for row, (start, length) in enumerate(runs):
        xy[row, start : start + length] = chains.xy[done : done + length]
        valid[row, start : start + length] = True
        done += length
    assert done == len(chains.xy)
    return xy, valid


def random_chains(count: int, frames: int, seed: int) -> Chains:
    """Runs of random positions in a frame of 50 x 50 px. Some have a single frame."""
    rng = torch.Generator().manual_seed(seed)
    start = torch.randint(frames, (count,), generator=rng)
    length = 1 + (torch.rand(count, generator=rng) * (frames - start)).long()
    return Chains(torch.rand(int(length.sum()), 2, generator=rng) * 50, start, length, frames)
