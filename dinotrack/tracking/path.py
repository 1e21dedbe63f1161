"""The most likely path through the candidates of all frames, by the Viterbi algorithm.

A video is read as a hidden Markov model. The state is the candidate at which the point is, a
candidate that looks less like the query is less likely, and from one frame to the next the point
moves as flow says. The likeliest sequence of states is found frame by frame: for each candidate it
is enough to know the best way that leads to it. A step's cost has a cap, so that after an occlusion
the path may go on anywhere.

Sources: A. Viterbi, "Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding
Algorithm", 1967; L. Rabiner, "A Tutorial on Hidden Markov Models", 1989; docs/method.md 8 "Path".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.config import PathConfig
from dinotrack.flow import VideoFlow
from dinotrack.tracking.candidates import Candidates

NEVER = 1e6
"""The cost of a candidate that can't be the point."""


class Path(NamedTuple):
    """One place in each frame for each of N points."""

    xy: Float[Tensor, "N T 2"]
    """Px."""
    precise: Bool[Tensor, "N T"]
    """Where the place is precise, because the query's patch was found there, or little flow ago."""
    sharpness: Float[Tensor, "N T"]
    """How precise it is there: 1 as flow that followed the patch, 0 as a match."""

    def through(
        self,
        places: Float[Tensor, "N T 2"],
        where: Bool[Tensor, "N T"],
        sharpness: Float[Tensor, "N T"],
    ) -> Path:
        """The path that goes through places where the patch was found in some more frames."""
        xy = torch.where(where[..., None], places, self.xy)
        return Path(xy, self.precise | where, torch.where(where, sharpness, self.sharpness))


def best_path(
    candidates: Candidates,
    given: Bool[Tensor, "N T"],
    flow: VideoFlow,
    config: PathConfig,
) -> Int[Tensor, "N T"]:
    """Which candidate the path of least cost passes in each frame.

    Where a point is given, its first candidate is certain.
    """
    cost = _match_costs(candidates, given, config)
    total = cost[:, 0]
    came_from = []
    for t in range(1, cost.shape[1]):
        arriving = total[:, :, None] + _step_costs(candidates, t, flow, config)
        least = arriving.min(dim=1)
        total = least.values + cost[:, t]
        came_from.append(least.indices)
    return _trace_back(total.argmin(dim=1), came_from)


def _trace_back(last: Int[Tensor, " N"], came_from: list[Int[Tensor, "N K"]]) -> Int[Tensor, "N T"]:
    """The path that ends at given candidates, from each candidate's best predecessor."""
    path = [last]
    for predecessors in reversed(came_from):
        path.append(predecessors.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], dim=1)


def _match_costs(
    candidates: Candidates, given: Bool[Tensor, "N T"], config: PathConfig
) -> Float[Tensor, "N T K"]:
    """What passing each candidate costs."""
    cost = ((1 - candidates.cosine) / config.match_scale).clamp(max=NEVER)
    certain = torch.full_like(cost[0, 0], NEVER)
    certain[0] = 0
    return torch.where(given[..., None], certain, cost)


def _step_costs(
    candidates: Candidates, t: int, flow: VideoFlow, config: PathConfig
) -> Float[Tensor, "N K K"]:
    """What going from each candidate of frame t - 1 (dim 1) to each of frame t (dim 2) costs.

    It is the distance to where flow leads, there or back, whichever is shorter. The cap is higher
    where one of the two is sure of itself. Across a cut every step costs the same.
    """
    before = candidates.xy[:, t - 1]
    after = candidates.xy[:, t]
    if flow.is_cut(t - 1, t):
        shape = len(before), before.shape[1], after.shape[1]
        return before.new_full(shape, config.occluded_jump_cost)
    there = flow.step(before.flatten(0, 1), t - 1, t)
    back = flow.step(after.flatten(0, 1), t, t - 1)

    ahead = there.xy.view_as(before)[:, :, None] - after[:, None]
    behind = back.xy.view_as(after)[:, None] - before[:, :, None]
    distance = torch.minimum(ahead.norm(dim=-1), behind.norm(dim=-1))

    sure_there = there.error.view(before.shape[:2]) < config.flow_error
    sure_back = back.error.view(after.shape[:2]) < config.flow_error
    sure = sure_there[:, :, None] | sure_back[:, None]
    cap = torch.where(sure, config.jump_cost, config.occluded_jump_cost)
    return torch.minimum(distance / config.step_scale, cap)
