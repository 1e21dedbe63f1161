"""Muon: an optimizer that steps along a convolution's whole momentum matrix, made orthogonal
(Jordan et al. 2024; docs/method.md 8)."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack.config import TrainingConfig
from dinotrack.training.graphs import Recorded

COLOURS = 3
"""Channels of a frame: the convolution that takes these is the first one."""
STEP_SIZE = 0.2
"""Times the square root of the longer side of a matrix: with it, a step's root mean square is that
of a step of AdamW at the same rate (Liu et al. 2025)."""
NORM_OFFSET = 1e-7
"""Added to the norm of a matrix before the matrix is divided by it."""


class Muon(torch.optim.AdamW):
    """AdamW for most parameters, and Muon for convolutions of feature maps.

    A group of parameters has its convolutions stepped by Muon where it has a `matrix_rate`: their
    learning rate, as a multiple of the group's. The first convolution stays with AdamW, as the
    inputs of a network do.

    torch.optim.Muon takes matrices alone, and iterates in bfloat16, which took 14 times as long on
    a CPU.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], config: TrainingConfig, recorded: bool = False
    ):
        """recorded: on CUDA, the iterations of all matrices are replayed as one graph."""
        groups = [{"matrix_rate": 0.0, **group} for group in groups]
        super().__init__(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._inertia = config.muon_momentum
        iterate = partial(_all_orthogonal, config=config)
        self._orthogonal = Recorded(iterate) if recorded else iterate

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step, in place, down the gradients. Parameters without a gradient stay."""
        assert closure is None, "the loss is not computed again"
        matrices = [
            (group, weight, weight.grad)
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None and _is_matrix(group, weight)
        ]
        for _, weight, _ in matrices:  # so that AdamW leaves them alone
            weight.grad = None
        super().step()
        momenta = [self._momentum(weight, gradient) for _, weight, gradient in matrices]
        directions = self._orthogonal(*momenta)
        for (group, weight, gradient), direction in zip(matrices, directions, strict=True):
            weight.grad = gradient
            rate = group["lr"] * group["matrix_rate"]
            size = STEP_SIZE * math.sqrt(max(direction.shape))
            weight.mul_(1 - rate * group["weight_decay"])
            weight.sub_(rate * size * direction.view_as(weight))

    def _momentum(
        self, weight: Float[Tensor, "m k a b"], gradient: Float[Tensor, "m k a b"]
    ) -> Float[Tensor, "m n"]:
        """Nesterov's momentum, which looks ahead with this gradient; n = k a b."""
        flat = gradient.flatten(1)
        state = self.state[weight]
        if not state:  # AdamW, when it loads a state, asks every parameter's for its step
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(flat))
        state["step"] += 1
        momentum: Float[Tensor, "m n"] = state["momentum"].mul_(self._inertia).add_(flat)
        return flat + self._inertia * momentum


def _is_matrix(group: Mapping[str, Any], weight: Float[Tensor, "..."]) -> bool:
    """Whether a parameter is a convolution of feature maps whose group has Muon step these."""
    return bool(group.get("matrix_rate")) and weight.ndim == 4 and weight.shape[1] > COLOURS


def memory(group: Mapping[str, Any], weight: Float[Tensor, "..."]) -> dict[str, torch.Size]:
    """What Muon or one of the kinds of Adam keeps of a parameter of a group after a step: the
    shapes, by name."""
    step = torch.Size()
    if _is_matrix(group, weight):
        return {"step": step, "momentum": weight.flatten(1).shape}
    return {"step": step, "exp_avg": weight.shape, "exp_avg_sq": weight.shape}


def _all_orthogonal(
    *matrices: Float[Tensor, "_ _"], config: TrainingConfig
) -> list[Float[Tensor, "_ _"]]:
    return [orthogonal(matrix, config) for matrix in matrices]


def orthogonal(matrix: Float[Tensor, "m n"], config: TrainingConfig) -> Float[Tensor, "m n"]:
    """Near the closest matrix whose rows are orthonormal, or its columns where these are fewer.

    A Newton-Schulz iteration: singular vectors stay and singular values go towards 1, after
    config.muon_rounds = 5 of them into about [0.7, 1.2]. Zero stays zero.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + NORM_OFFSET)
    a, b, c = config.muon_coefficients
    for _ in range(config.muon_rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    out: Float[Tensor, "m n"] = x.T if tall else x
    return out
