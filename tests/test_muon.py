"""The optimizer: its orthogonal matrices against a singular value decomposition, its steps against
plain ones."""

import copy
import math

import pytest
import torch
from torch import nn

from dinotrack.config import TrainingConfig
from dinotrack.training.muon import Muon, orthogonal

CONFIG = TrainingConfig(learning_rate=0.01, weight_decay=0.1)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 3), (5, 17), (17, 5), (96, 864), (1, 9), (9, 1)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_singular_vectors_stay_and_singular_values_become_about_one(
    shape: tuple[int, int], scale: float
) -> None:
    matrix = scale * gaussian(*shape)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    seen = left.T @ orthogonal(matrix, CONFIG) @ right.T
    torch.testing.assert_close(
        seen - torch.diag(seen.diag()), torch.zeros_like(seen), atol=2e-4, rtol=0
    )
    large = values > 0.02 * values.norm()  # smaller ones have not come all the way
    assert seen.diag()[large].min() > 0.6
    assert seen.diag().max() < 1.3


def test_zero_stays_zero() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 4), CONFIG), torch.zeros(3, 4))


def network() -> nn.Sequential:
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Conv2d(6, 4, 3), nn.Conv2d(4, 4, 1)
    )
    for i, parameter in enumerate(layers.parameters()):
        parameter.data = gaussian(*parameter.shape, seed=i)
    return layers


def give_gradients(layers: nn.Module, step: int) -> None:
    for i, parameter in enumerate(layers.parameters()):
        parameter.grad = gaussian(*parameter.shape, seed=100 * (step + 1) + i)


OTHERS = TrainingConfig(
    learning_rate=0.01,
    weight_decay=0.1,
    muon_momentum=0.5,
    muon_rounds=2,
    muon_coefficients=(2.0, -1.5, 0.5),
)


@pytest.mark.parametrize("config", [CONFIG, OTHERS])
def test_convolutions_of_features_step_by_muon_and_all_else_by_adamw(
    config: TrainingConfig,
) -> None:
    inertia = config.muon_momentum
    ours = network()
    theirs = network()
    muon = Muon([{"params": ours.parameters(), "matrix_rate": 3.0}], config)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    weight = ours[2].weight.detach().clone()
    momentum = torch.zeros(4, 54)
    for step in range(3):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        gradient = ours[2].weight.grad
        muon.step()
        adam.step()
        assert ours[2].weight.grad is gradient  # for whoever looks at gradients afterwards
        momentum = inertia * momentum + gradient.flatten(1)
        ahead = gradient.flatten(1) + inertia * momentum
        direction = orthogonal(ahead, config).view_as(weight)
        weight = weight * (1 - 0.03 * 0.1) - 0.03 * 0.2 * math.sqrt(54) * direction
        torch.testing.assert_close(ours[2].weight.detach(), weight)
    for name, value in ours.state_dict().items():
        if name not in ("2.weight", "3.weight"):
            torch.testing.assert_close(value, theirs.state_dict()[name], rtol=0, atol=0)
    assert not torch.equal(ours[3].weight, theirs[3].weight)


def test_a_group_without_a_matrix_rate_is_adamws() -> None:
    ours, theirs = network(), network()
    muon = Muon([{"params": ours.parameters()}], CONFIG)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for layers, optimizer in ((ours, muon), (theirs, adam)):
        give_gradients(layers, 0)
        optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_is_frozen_stays() -> None:
    layers = network()
    before = copy.deepcopy(layers[2].state_dict())
    layers[2].requires_grad_(False)
    give_gradients(layers, 0)
    layers[2].weight.grad = None
    Muon([{"params": layers.parameters(), "matrix_rate": 1.0}], CONFIG).step()
    assert torch.equal(layers[2].weight, before["weight"])


def test_a_step_is_as_large_as_adamws() -> None:
    """So that one learning rate goes for both: the root mean square is about 0.2 of the rate, as
    AdamW's is."""
    weight = nn.Parameter(torch.zeros(64, 64, 3, 3))
    weight.grad = gaussian(64, 64, 3, 3)
    config = TrainingConfig(learning_rate=1.0, weight_decay=0.0)
    Muon([{"params": [weight], "matrix_rate": 1.0}], config).step()
    assert 0.15 < float(weight.detach().square().mean().sqrt()) < 0.25


def test_a_state_that_was_saved_goes_on_as_if_it_never_stopped() -> None:
    def make() -> tuple[nn.Sequential, Muon]:
        layers = network()
        return layers, Muon([{"params": layers.parameters(), "matrix_rate": 2.0}], CONFIG)

    layers, optimizer = make()
    give_gradients(layers, 0)
    optimizer.step()
    resumed, other = make()
    resumed.load_state_dict(layers.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for net, opt in ((layers, optimizer), (resumed, other)):
        give_gradients(net, 1)
        opt.step()
    for a, b in zip(layers.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
