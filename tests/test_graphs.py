"""Recorded functions return what plain ones do."""

import pytest
import torch
from torch import Tensor

from dinotrack.graphs import UNRECORDED, Recorded


@pytest.mark.gpu
def test_replays_are_calls() -> None:
    weight, called = torch.ones(3, device="cuda", requires_grad=True), []

    def slope(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        called.append(len(x))
        total = (weight * x).square().sum() if y is None else (weight * x * y).sum()
        return torch.autograd.grad(total, weight)[0], y

    recorded = Recorded(slope)
    for k in range(1, 9):
        for x, y in (
            (torch.full((3,), float(k)), None),
            (torch.full((2, 3), float(k)), torch.full((3,), 2.0)),
        ):
            there = None if y is None else y.cuda()
            found, expected = recorded(x.cuda(), there), slope(x.cuda(), there)
            torch.testing.assert_close(found[0], expected[0])
        with torch.no_grad():
            weight += 1  # what is recorded reads the weights of now
    assert (
        called.count(3) == 8 + UNRECORDED + 1
    )  # the plain calls, those before it is recorded, and that
