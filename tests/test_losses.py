"""Each loss against the reference's numbers, against plain loops, and without any point."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack import losses
from dinotrack.geometry import Grid
from tests.golden import Golden

Numbers = dict[str, Any]
"""Golden tensors, and floats where a file holds a single number."""


@pytest.fixture
def numbers(golden: Golden) -> Numbers:
    return {k: torch.from_numpy(v) if v.ndim else float(v) for k, v in golden("losses").items()}


def agree(value: float | Float[Tensor, ""], expected: float) -> None:
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_flow_loss_agrees_with_the_reference(numbers: Numbers) -> None:
    agree(
        losses.flow_loss(numbers["pred"], numbers["label"], numbers["huber_delta"]),
        numbers["flow_loss"],
    )


def test_cycle_loss_agrees_with_the_reference(numbers: Numbers) -> None:
    points = (numbers[f"cycle_{name}"] for name in ("there", "there_label", "back", "back_label"))
    weight = numbers["cycle_gamma"] ** numbers["cycle_distance"]
    loss = losses.cycle_loss(*points, weight, numbers["huber_delta"])
    agree(loss, numbers["cycle_loss"])


def test_buddy_loss_agrees_with_the_reference(numbers: Numbers) -> None:
    points = (numbers[name] for name in ("source_bb", "target_bb", "source_all", "target_all"))
    weight = numbers["ambiguity_weight"] * numbers["cosine_weight"]
    loss = losses.buddy_loss(*points, weight, numbers["temperature"]) / 700.0
    agree(loss, numbers["buddy_loss"])


def test_regularizers_agree_with_the_reference(numbers: Numbers) -> None:
    agree(
        losses.norm_regularizer(numbers["refined"], numbers["raw"]), numbers["norm_regularization"]
    )
    agree(
        losses.angle_regularizer(numbers["refined"], numbers["raw"]),
        numbers["angle_regularization"],
    )


def plain_huber(d: float, delta: float) -> float:
    return d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)


def random_points(count: int, seed: int = 0) -> Float[Tensor, "N 2"]:
    return (
        torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        / 20
    )


def test_flow_loss_is_a_mean_over_coordinates() -> None:
    a, b = random_points(7), random_points(7, 1)
    expected = sum(plain_huber(d, 0.05) for d in (a - b).flatten().tolist()) / 14
    agree(losses.flow_loss(a, b, 0.05), expected)


def test_cycle_loss_weighs_points() -> None:
    there, there_label, back, back_label = (random_points(5, seed) for seed in range(4))
    distance = torch.tensor([0.0, 1.0, 2.5, 3.9, 4.0], dtype=torch.float64)
    expected = 0.0
    for n in range(5):
        for a, b in ((there, there_label), (back, back_label)):
            errors = [plain_huber(d, 1 / 32) for d in (a[n] - b[n]).tolist()]
            expected += 0.8 ** distance[n].item() * sum(errors) / 2 / 5 / 2
    weight = 0.8**distance
    agree(losses.cycle_loss(there, there_label, back, back_label, weight, 1 / 32), expected)


def test_buddy_losses_of_frame_pairs_add_up() -> None:
    random = torch.Generator().manual_seed(0)
    expected = total = 0.0
    for count in (3, 1):
        source, target = (torch.randn(count, 4, generator=random) for _ in range(2))
        cells = [torch.randn(size, 4, generator=random) for size in (6, 5)]
        weight = torch.rand(count, generator=random)
        total += losses.buddy_loss(source, target, *cells, weight, 0.1)
        for n in range(count):
            for a, b, others in (
                (source[n], target[n], cells[1]),
                (target[n], source[n], cells[0]),
            ):
                scores = [
                    math.exp(torch.cosine_similarity(a, c, dim=0).item() / 0.1) for c in others
                ]
                positive = torch.cosine_similarity(a, b, dim=0).item() / 0.1
                expected += weight[n].item() * (math.log(sum(scores)) - positive) / 2
    agree(total, expected)


def test_heatmap_loss_is_a_mean_of_what_maps_do_not_hold() -> None:
    agree(losses.heatmap_loss(torch.tensor([0.5, 0.25, 1.0]).log()), math.log(8) / 3)


def test_heatmap_loss_is_least_where_the_map_is_the_soft_target() -> None:
    grid, xy = Grid(3, 3, 4.0, 0.0), torch.tensor([[5.0, 2.0]])
    scores = torch.zeros(1, 9, requires_grad=True)
    for _ in range(500):
        log_map = scores.log_softmax(1).reshape(1, 1, 3, 3)
        loss = losses.heatmap_loss(grid.sample(log_map, xy[:, None])[:, 0, 0])
        scores = (scores - 2 * torch.autograd.grad(loss, scores)[0]).detach().requires_grad_()
    expected = torch.tensor([[0, 0.375, 0.125], [0, 0.375, 0.125], [0, 0, 0]])
    torch.testing.assert_close(scores.softmax(1).reshape(3, 3), expected, atol=5e-3, rtol=0)


def test_regularizers_know_length_from_direction() -> None:
    raw = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    agree(losses.norm_regularizer(0.75 * raw, raw), 0.25)
    agree(losses.angle_regularizer(-2 * raw, raw), 2.0)
    assert float(losses.angle_regularizer(3 * raw, raw)) < 1e-6
    assert float(losses.norm_regularizer(raw.flip(1), raw)) < 1e-6


@pytest.mark.parametrize("loss", [losses.norm_regularizer, losses.angle_regularizer])
def test_featureless_cells_do_no_harm(loss: Callable[..., Tensor]) -> None:
    refined = torch.zeros(1, 4, 2, 2, requires_grad=True)
    loss(refined, torch.zeros(1, 4, 2, 2)).backward()
    assert refined.grad.isfinite().all()


@pytest.mark.parametrize("count", [0, 4])
def test_gradients(count: int) -> None:
    """Against finite differences, and zeros where there is no point."""
    there, label, back, back_label = (
        random_points(count, seed).requires_grad_(seed % 2 == 0) for seed in range(4)
    )
    weight = 0.8 ** torch.arange(count, dtype=torch.float64)
    log_probability = torch.randn(count, dtype=torch.float64, requires_grad=True)
    refined = torch.randn(count, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    raw = torch.randn(count, 5, 2, 3, dtype=torch.float64)
    checks = (
        (lambda p: losses.flow_loss(p, label, 0.04), (there,)),
        (
            lambda p, q: losses.cycle_loss(p, label, q, back_label, weight, 0.04),
            (there, back),
        ),
        (losses.heatmap_loss, (log_probability,)),
        (lambda p: losses.norm_regularizer(p, raw), (refined,)),
        (lambda p: losses.angle_regularizer(p, raw), (refined,)),
    )
    for loss, inputs in checks:
        if count:
            assert torch.autograd.gradcheck(loss, inputs)
        else:
            value = loss(*inputs)
            value.backward()
            assert value.item() == 0


def test_no_buddies_is_a_zero_that_backpropagates() -> None:
    cells = torch.randn(6, 4, requires_grad=True)
    none = cells[:0]
    value = losses.buddy_loss(none, none, cells, cells, torch.zeros(0), 0.1)
    value.backward()
    assert value.item() == 0
    assert torch.equal(cells.grad, torch.zeros(6, 4))


def test_a_step_along_the_buddy_gradient_pulls_buddies_together() -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 8, 5, generator=random, requires_grad=True)
    rows = torch.tensor([1, 4])
    values = []
    for _ in range(5):
        a, b = maps
        loss = losses.buddy_loss(a[rows], b[rows], a, b, torch.ones(2), 0.1)
        (gradient,) = torch.autograd.grad(loss, maps)
        values.append(loss.item())
        maps = (maps - 0.05 * gradient).detach().requires_grad_()
    assert all(after < before for before, after in pairwise(values))
