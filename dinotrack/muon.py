"""Muon: an optimizer that steps along a convolution's whole momentum matrix made orthogonal (Jordan
et al. 2024)."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from dinotrack.graphs import Recorded

MOMENTUM = 0.95
COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # of the quintic iteration: Jordan's, which lift small singular values fast
ROUNDS = 5  # of it, after which singular values lie in about [0.7, 1.2]
COLOURS = 3


class Muon(torch.optim.AdamW):
    """AdamW, but for convolutions of feature maps, which step by Muon where their group has a
    `matrix_rate`.

    matrix_rate: their learning rate over the group's. Steps are as large as AdamW's at the same
    rate (Moonshot's
    0.2 sqrt(longer side)). The first convolution, of the colours, stays with AdamW, as inputs do.
    torch.optim.Muon takes matrices alone, and iterates in bfloat16, which took 14 times as long on
    a CPU.
    recorded: on CUDA, the iterations of all matrices are replayed as one graph.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        recorded: bool = False,
    ):
        super().__init__(
            [{"matrix_rate": 0.0, **group} for group in groups], lr=lr, weight_decay=weight_decay
        )
        self._orthogonal = Recorded(_all_orthogonal) if recorded else _all_orthogonal

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step, in place, down the gradients; parameters without one stay."""
        assert closure is None, "the loss is not computed again"
        matrices = [
            (group, weight, weight.grad)
            for group in self.param_groups
            for weight in group["params"]
            if group["matrix_rate"]
            and weight.grad is not None
            and weight.ndim == 4
            and weight.shape[1] > COLOURS
        ]
        for _, weight, _ in matrices:  # so that AdamW leaves them alone
            weight.grad = None
        super().step()
        steps = self._orthogonal(
            *(self._momentum(weight, gradient) for _, weight, gradient in matrices)
        )
        for (group, weight, gradient), step in zip(matrices, steps, strict=True):
            weight.grad = gradient
            rate, size = group["lr"] * group["matrix_rate"], 0.2 * math.sqrt(max(step.shape))
            weight.mul_(1 - rate * group["weight_decay"])
            weight.sub_(rate * size * step.view_as(weight))

    def _momentum(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Nesterov's, with this gradient: [m, n]."""
        flat, state = gradient.flatten(1), self.state[weight]
        if not state:  # AdamW, when it loads a state, asks every parameter's for its step
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(flat))
        state["step"] += 1
        momentum: Tensor = state["momentum"].mul_(MOMENTUM).add_(flat)
        return flat + MOMENTUM * momentum


def _all_orthogonal(*matrices: Tensor) -> list[Tensor]:
    return [orthogonal(matrix) for matrix in matrices]


def orthogonal(matrix: Tensor) -> Tensor:
    """Near the closest matrix with orthonormal rows, or columns where these are fewer: [m, n]
    float32 -> [m, n].

    A Newton-Schulz iteration: singular vectors stay, singular values go towards 1. Zero stays zero.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    out: Tensor = x.T if tall else x
    return out
