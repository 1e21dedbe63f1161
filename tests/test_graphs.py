"""Recorded functions return what plain ones do."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from dinotrack.training.graphs import UNRECORDED, Recorded
from dinotrack.training.sampling import Batch, Labels


@pytest.mark.gpu
def test_replays_are_calls() -> None:
    weight = torch.ones(3, device="cuda", requires_grad=True)
    called = []

    def gradient(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        called.append(len(x))
        total = (weight * x).square().sum() if y is None else (weight * x * y).sum()
        return torch.autograd.grad(total, weight)[0], y

    recorded = Recorded(gradient)
    for k in range(1, 9):
        for x, y in (
            (torch.full((3,), float(k)), None),
            (torch.full((2, 3), float(k)), torch.full((3,), 2.0)),
        ):
            there = None if y is None else y.cuda()
            found = recorded(x.cuda(), there)
            expected = gradient(x.cuda(), there)
            torch.testing.assert_close(found[0], expected[0])
        with torch.no_grad():
            weight += 1  # what is recorded reads the weights of now
    # the plain calls, those before one is recorded, and that one
    assert called.count(3) == 8 + UNRECORDED + 1


class Graph:
    """Stands for a CUDA graph on a machine without CUDA."""

    replayed = 0

    def replay(self) -> None:
        Graph.replayed += 1


def batch_of(number: float, features: bool) -> Batch:
    part = torch.full((2, 2), number)
    frames = torch.tensor([3, int(number)])
    shown = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    values = torch.full((2, 5, 1, 1), number) if features else None
    return Batch(frames, shown, values, Labels(frames, part, frames, part + 1))


def test_a_replay_finds_the_inputs_of_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those in tuples within tuples, and with parts that are None."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: nullcontext())
    called = []

    def places(batch: Batch) -> tuple[Any, ...]:
        """Where the function finds its inputs: after a replay, these are those of the call."""
        called.append(batch.features is None)
        return batch.labels.target, batch.features, batch.frame_numbers

    recorded = Recorded(places)
    for number in range(8):
        for features in (True, False):
            target, values, frames = recorded(batch_of(float(number), features))
            assert target.tolist() == [[number + 1] * 2] * 2
            assert frames.tolist() == [3, number]
            assert (values is not None) == features
            assert values is None or values.flatten().tolist() == [number] * 10
    assert called.count(True) == called.count(False) == UNRECORDED + 1
    assert Graph.replayed == 2 * (8 - UNRECORDED)
