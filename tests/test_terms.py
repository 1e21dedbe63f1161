"""The terms of the loss: which count when, what they look at, and how another is added."""

from dataclasses import dataclass, replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack.config import Config, TrainingConfig, override
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.training import loop
from dinotrack.training.loop import State, can_be_recorded, train_steps
from dinotrack.training.sampling import TrainingData, draw_batch
from dinotrack.training.terms import TERMS, Term, due, weighted_losses
from dinotrack.training.view import RefinedFrames, StepView, view_step
from tests.training_clip import LENGTH, TINY_FAST, TINY_PAPER, fresh, on_cuda, seeded, training_data

ALWAYS = {"flow", "buddies", "norm", "angle"}
LATE = {"refined_buddies", "cycle"}


def view_of(state: State, known: TrainingData, config: Config, seed: int) -> StepView:
    """What the terms see of a step."""
    rng = seeded(seed)
    batch = draw_batch(known, config.training, rng)
    assert batch is not None
    return view_step(batch, known, state.tracker, config, rng)


def losses_at(
    step: int, state: State, known: TrainingData, config: Config, seed: int = 0
) -> dict[str, Float[Tensor, ""]]:
    """The weighted losses of a step."""
    return weighted_losses(view_of(state, known, config, seed), due(config.training, step))


def moved(config: Config) -> State:
    """Away from the start, where nothing is added to the frozen features and the regularisers are
    flat."""
    state = fresh(config, 6)
    torch.nn.init.normal_(state.tracker.delta_dino.layers[-2].weight)
    return state


@pytest.mark.parametrize(("step", "names"), [(0, ALWAYS), (4999, ALWAYS), (5000, ALWAYS | LATE)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_terms_of_the_paper(step: int, names: set[str], precision: str) -> None:
    config = override(TINY_PAPER, {"training.precision": precision, "training.cycle_error": 1e3})
    state = moved(config)
    found = losses_at(step, state, training_data(6), config, seed=1)
    assert found.keys() == names
    for name, loss in found.items():
        assert loss.isfinite(), name
        state.tracker.zero_grad()
        loss.backward(retain_graph=True)
        gradients = [p.grad for p in state.tracker.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients), name
        assert any(g.abs().max() > 0 for g in gradients), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_regularisers_start_at_zero(precision: str) -> None:
    """Nothing is added to the frozen features at first, and they are not rounded to the networks'
    precision."""
    settings = {
        "training.precision": precision,
        "training.norm_weight": 1,
        "training.angle_weight": 1,
    }
    config = override(TINY_PAPER, settings)
    found = losses_at(0, fresh(config, 6), training_data(6), config)
    assert max(found["norm"].item(), found["angle"].item()) < 1e-6


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_in_proportion_to_their_weights(name: str) -> None:
    key = f"training.{TERMS[name].weight}"
    settings = {
        "training.heatmap_weight": 1.0,
        "training.late": 0.0,
        "training.cycle_error": 1e3,
    }
    base = override(TINY_PAPER, settings)
    known, state = training_data(6), moved(base)
    one, three, none = (
        losses_at(0, state, known, override(base, {key: weight}), seed=1)
        for weight in (1.0, 3.0, 0.0)
    )
    assert one.keys() == TERMS.keys()
    assert none.keys() == TERMS.keys() - {name}
    torch.testing.assert_close(three[name], 3 * one[name])


@pytest.mark.parametrize("name", TERMS)
def test_a_term_that_can_be_recorded_draws_nothing(name: str) -> None:
    """A replay would draw what was drawn when it was recorded."""
    config = override(TINY_PAPER, {"training.heatmap_weight": 1.0})
    step = view_of(moved(config), training_data(6), config, seed=1)
    before = step.rng.get_state()
    TERMS[name].loss(step)
    assert torch.equal(step.rng.get_state(), before) == TERMS[name].recordable


@pytest.mark.parametrize(
    ("fusion", "channels", "bound"), [("sum", 6, True), ("sum", 0, False), ("beside", 6, False)]
)
def test_features_are_bound_to_those_of_a_vit_they_are_added_to(
    fusion: str, channels: int, bound: bool
) -> None:
    settings = {"model.fusion": fusion, "model.dims": 6, "training.buddy_weight": 0}
    config = override(TINY_PAPER, settings)
    found = losses_at(0, fresh(config, channels), training_data(channels), config)
    assert found.keys() == ({"flow", "norm", "angle"} if bound else {"flow"})


def test_without_a_vit_there_are_no_buddies_but_of_refined_features() -> None:
    config = override(TINY_PAPER, {"model.dims": 6, "training.late": 0.0})
    found = losses_at(0, fresh(config), training_data(), config)
    assert found.keys() == {"flow", "refined_buddies", "cycle"}


def test_of_sampled_frame_pairs_those_with_buddies_are_taken() -> None:
    settings = {"training.frames": LENGTH, "training.contrastive_pairs": 1}
    every = override(TINY_PAPER, settings)
    sampled = override(TINY_PAPER, settings | {"buddies.near": 1})
    known = training_data(6)
    known = replace(known, buddies={(4, 2): known.buddies[4, 2]})
    state = fresh(every, 6)

    def taken(config: Config) -> int:
        """In how many of eight steps the one pair that has buddies is looked at."""
        found = [losses_at(0, state, known, config, seed) for seed in range(8)]
        return sum(bool(losses["buddies"] > 0) for losses in found)

    assert taken(every) <= 2
    assert taken(sampled) == 8


def test_features_are_read_in_each_points_own_frame() -> None:
    maps, grid = torch.randn(4, 3, 5, 6, generator=seeded(1)), Grid(5, 6, 4, 1.5)
    known = RefinedFrames(torch.tensor([2, 3, 7, 9]), FeatureMaps(maps, grid), (20, 24))
    frame, xy = torch.tensor([9, 2, 7, 9, 3]), 20 * torch.rand(5, 2, generator=seeded(2))
    expected = [
        grid.sample(maps[[2, 3, 7, 9].index(t)][None], xy[k][None, None])[0, 0]
        for k, t in enumerate(frame)
    ]
    torch.testing.assert_close(known.at(frame, xy), torch.stack(expected))
    assert known.row == {2: 0, 3: 1, 7: 2, 9: 3}


def test_kernels_learn_what_maps_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses and gradients where no map is kept, here in Triton's interpreter."""
    pytest.importorskip("triton", reason="Triton is not on this machine")
    known, found = training_data(), {}
    exact = override(TINY_FAST, {"training.precision": "float32"})
    for side in ("torch", "triton"):
        monkeypatch.setenv("DINOTRACK_KERNELS", side)
        state = fresh(exact)
        losses = losses_at(0, state, known, exact)
        torch.stack(list(losses.values())).sum().backward()
        found[side] = [*losses.values(), *(p.grad for p in state.tracker.parameters())]
    for plain, fused in zip(found["torch"], found["triton"], strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-3)


# How a stranger adds a loss: a function in losses.py, a weight in config, and an entry in TERMS.


def sparsity_loss(maps: Float[Tensor, "F C h w"]) -> Float[Tensor, ""]:
    """The mean size of what the channels of features hold."""
    return maps.abs().mean()


@dataclass(frozen=True)
class StrangersConfig(TrainingConfig, key="training"):
    """The section with one more line."""

    sparsity_weight: float = 0.0


def sparsity(step: StepView) -> Float[Tensor, ""]:
    return sparsity_loss(step.refined.maps.values)


def with_sparsity(config: Config, weight: float) -> Config:
    known = {name: getattr(config.training, name) for name in config.training.kinds}
    return replace(config, training=StrangersConfig(**known, sparsity_weight=weight))


@pytest.mark.parametrize("late", [False, True])
def test_a_stranger_adds_a_loss(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "sparsity", Term(sparsity, "sparsity_weight", late=late))
    config = override(TINY_FAST, {"training.steps": 4, "training.late": 0.5})
    ends = []
    for weight in (0.0, 100.0):
        state = fresh(config)
        train_steps(training_data(), with_sparsity(config, weight), 0, state, lambda now: None)
        ends.append(sparsity(view_of(state, training_data(), config, seed=0)).item())
        steps = {name: len(values) for name, values in state.losses.items()}
        counted = {"sparsity": 2 if late else 4} if weight else {}
        assert steps == {"flow": 4, "heatmap": 4} | counted
    assert ends[1] < ends[0]


@pytest.mark.parametrize("recordable", [True, False])
def test_the_stranger_s_loss_is_recorded_where_its_term_says_so(
    recordable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Term(sparsity, "sparsity_weight").recordable, "which is what a stranger forgets"
    term = Term(sparsity, "sparsity_weight", late=True, recordable=recordable)
    monkeypatch.setitem(TERMS, "sparsity", term)
    monkeypatch.setattr(loop, "makes_maps", lambda features: False)
    config = with_sparsity(TINY_FAST, 1.0)
    names = due(config.training, config.training.steps - 1)
    assert names == ("flow", "heatmap", "sparsity")
    assert can_be_recorded(names, config, on_cuda()) == recordable
