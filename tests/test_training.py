"""What a step draws, which terms it adds up, and that a fit can stop anywhere and go on."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dinotrack import training
from dinotrack.buddies import best_buddies
from dinotrack.config import FAST, PAPER, QUALITY, Config, TrainingConfig, override
from dinotrack.errors import InputError
from dinotrack.geometry import Grid, patch_grid
from dinotrack.model import Tracker
from dinotrack.training import (
    Material,
    State,
    View,
    draw_frame_pairs,
    draw_frames,
    draw_pairs,
    draw_points,
    fit,
    learning_rates,
    start,
    step_losses,
)
from dinotrack.trajectories import Chains
from tests.dense import chains_of, table_of

LENGTH, HEIGHT, WIDTH = 6, 56, 70
SHIFT = (2.0, 1.0)
"""px a frame, the whole picture's motion."""

TINY_PAPER = override(
    PAPER,
    {
        "model.widths": (4, 4, 4),
        "model.refiner_width": 3,
        "training.batch": 16,
        "training.contrastive_points": 8,
    },
)
TINY_FAST = override(
    FAST,
    {
        "model.widths": (8, 8),
        "model.dims": 8,
        "model.blocks": 1,
        "training.batch": 32,
        "training.steps": 30,
    },
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moving_picture() -> Tensor:
    """uint8 [T, 3, H, W]: one texture, shifted by SHIFT each frame."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    frames = []
    for t in range(LENGTH):
        u, v = x - SHIFT[0] * t, y - SHIFT[1] * t
        waves = [
            torch.sin(u / 5) * torch.cos(v / 7),
            torch.cos(u / 9 + v / 6),
            torch.sin((u - v) / 11),
        ]
        frames.append(torch.stack([128 + 90 * w for w in waves]))
    return torch.stack(frames).to(torch.uint8)


def straight_chains(starts: Tensor) -> Chains:
    """Chains that move with the picture from frame 0 on, as far as they stay in it."""
    t = torch.arange(LENGTH)
    xy = starts[:, None] + t[None, :, None] * torch.tensor(SHIFT)
    valid = (xy[..., 0] <= WIDTH - 1) & (xy[..., 1] <= HEIGHT - 1)
    return chains_of(xy, valid)


def material(config: Config, channels: int = 0) -> Material:
    """A clip whose left half is foreground; with `channels`, random frozen features and their
    buddies."""
    y, x = torch.meshgrid(torch.arange(2, HEIGHT, 6), torch.arange(2, WIDTH, 6), indexing="ij")
    chains = straight_chains(torch.stack((x, y), dim=-1).reshape(-1, 2).float())
    masks = torch.zeros(LENGTH, HEIGHT, WIDTH, dtype=torch.bool)
    masks[..., : WIDTH // 2] = True
    tracker = Tracker(config.model, channels or None)
    cells = patch_grid(HEIGHT, WIDTH, 14, 7) if channels else None
    grid = tracker.grid((HEIGHT, WIDTH), cells)
    features, buddies = None, {}
    if cells:
        features = torch.randn(LENGTH, channels, cells.rows, cells.cols, generator=seeded(5))
        pairs = [(i, j) for i in range(LENGTH) for j in range(LENGTH) if i != j]
        buddies = {p: best_buddies(features[p[0]], features[p[1]], cells, p) for p in pairs}
    on = chains.first[:, 0] < WIDTH // 2
    return Material(moving_picture(), features, cells, grid, chains, on, masks, buddies)


def fresh(config: Config, channels: int = 0) -> State:
    torch.manual_seed(3)
    return start(Tracker(config.model, channels or None), config.training)


def without_chains(known: Material) -> Material:
    nothing = chains_of(torch.zeros(0, LENGTH, 2), torch.zeros(0, LENGTH, dtype=torch.bool))
    return replace(known, chains=nothing, chain_foreground=torch.zeros(0, dtype=torch.bool))


def with_foreground(known: Material, foreground: bool) -> Material:
    return replace(known, chain_foreground=torch.full_like(known.chain_foreground, foreground))


def is_foreground(known: Material, frame: Tensor, xy: Tensor) -> Tensor:
    """The kind of the chain through each xy [B, 2] in its frame: bool [B]."""
    positions, valid = table_of(known.chains)
    near = (positions[:, frame] - xy).norm(dim=-1).masked_fill(~valid[:, frame], torch.inf)
    assert (near.amin(0) == 0).all()
    return known.chain_foreground[near.argmin(0)]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_pairs_are_foreground_and_all_lie_on_one_chain(shared: bool, seed: int) -> None:
    known = material(TINY_FAST)
    pairs = draw_pairs(
        known, TrainingConfig(batch=40, frames=3, shared_frames=shared), seeded(seed)
    )
    assert pairs is not None
    assert len(pairs.source) == len(pairs.target) == 40
    assert (pairs.source_frame != pairs.target_frame).all()
    # the clip moves as one, so a place and its frame tell the chain
    steps = (pairs.target_frame - pairs.source_frame)[:, None] * torch.tensor(SHIFT)
    torch.testing.assert_close(pairs.target, pairs.source + steps)
    kinds = is_foreground(known, pairs.source_frame, pairs.source)
    assert kinds.sum() == 20
    assert kinds.tolist() == is_foreground(known, pairs.target_frame, pairs.target).tolist()
    halves = [
        set(torch.cat((pairs.source_frame[k], pairs.target_frame[k])).tolist())
        for k in (kinds, ~kinds)
    ]
    assert all(len(h) <= 3 for h in halves)
    assert len(halves[0] | halves[1]) <= (3 if shared else 6)


@pytest.mark.parametrize("foreground", [True, False])
def test_a_half_without_labels_leaves_its_places(foreground: bool) -> None:
    known = with_foreground(material(TINY_FAST), foreground)
    pairs = draw_pairs(known, TrainingConfig(batch=40), seeded())
    assert pairs is not None
    assert len(pairs.source) == 40


def test_an_odd_batch_is_drawn_whole() -> None:
    pairs = draw_pairs(material(TINY_FAST), TrainingConfig(batch=7), seeded())
    assert pairs is not None
    assert len(pairs.source) == 7


def test_no_labels_no_pairs() -> None:
    known = material(TINY_FAST)
    assert draw_pairs(without_chains(known), TrainingConfig(), seeded()) is None
    once = replace(known, chains=_seen_once(known.chains))
    assert draw_pairs(once, TrainingConfig(), seeded()) is None
    assert (
        step_losses(fresh(TINY_FAST).tracker, once, TINY_FAST, 0, seeded(), torch.device("cpu"))
        == {}
    )


def random_chains(count: int, rng: torch.Generator) -> Chains:
    """Some of one frame, which are never drawn."""
    start = torch.randint(LENGTH, (count,), generator=rng)
    length = 1 + (torch.rand(count, generator=rng) * (LENGTH - start)).long()
    return Chains(torch.rand(int(length.sum()), 2, generator=rng) * 50, start, length, LENGTH)


def drawn_from_a_table(
    known: Material, config: TrainingConfig, rng: torch.Generator
) -> list[Tensor]:
    """`draw_pairs` from a table of chains and frames: source frames and places, target frames and
    places."""
    xy, valid = table_of(known.chains)
    start, end = known.chains.start.tolist(), known.chains.end.tolist()
    while True:
        first = draw_frames(LENGTH, config, rng)
        second = first if config.shared_frames else draw_frames(LENGTH, config, rng)
        kinds = [(first, known.chain_foreground), (second, ~known.chain_foreground)]
        halves = [
            (frames, (kind & (valid[:, frames].sum(dim=1) > 1)).nonzero()[:, 0])
            for frames, kind in kinds
        ]
        parts = []
        for (frames, ids), (_, others) in zip(halves, halves[::-1], strict=True):
            if not len(ids):
                continue
            ids = torch.tensor(sorted(ids.tolist(), key=lambda row: (start[row], -end[row])))
            count = config.batch // 2 if len(others) else config.batch
            rows = ids[torch.randint(len(ids), (count,), generator=rng)]
            luck = torch.rand((count, len(frames)), generator=rng)
            luck[~valid[rows][:, frames]] = -1
            source, target = frames[luck.topk(2, dim=1).indices].unbind(1)
            parts.append((source, xy[rows, source], target, xy[rows, target]))
        if parts:
            return [torch.cat(column) for column in zip(*parts, strict=True)]


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_draws_are_those_from_a_table(shared: bool, gap: int) -> None:
    config = TrainingConfig(batch=10, frames=3, shared_frames=shared, max_gap=gap)
    for seed in range(40):
        chains = random_chains(1 + 7 * (seed % 4), seeded(seed))
        foreground = torch.rand(len(chains.start), generator=seeded(seed)) < 0.4
        known = replace(material(TINY_FAST), chains=chains, chain_foreground=foreground)
        rng, other = seeded(seed), seeded(seed)
        pairs = draw_pairs(known, config, rng)
        if pairs is None:
            continue
        expected = drawn_from_a_table(known, config, other)
        found = [pairs.source_frame, pairs.source, pairs.target_frame, pairs.target]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert torch.equal(rng.get_state(), other.get_state())


@pytest.mark.parametrize("gap", [0, 1, 4, 100])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 40])
def test_frames_are_different_and_near(length: int, gap: int) -> None:
    config = TrainingConfig(frames=4, max_gap=gap)
    seen = set()
    for seed in range(30):
        frames = draw_frames(length, config, seeded(seed)).tolist()
        assert frames == sorted(set(frames))
        assert set(frames) <= set(range(length))
        near = gap or length
        assert any(all(abs(t - centre) <= near for t in frames) for centre in frames)
        assert len(frames) >= min(4, length, 1 + near)
        seen |= set(frames)
    assert length == 40 or seen == set(range(length))


def test_frame_pairs_are_ordered_and_different() -> None:
    pairs = draw_frame_pairs(torch.tensor([1, 4, 9]), seeded())
    assert sorted(pairs) == [(1, 4), (1, 9), (4, 1), (4, 9), (9, 1), (9, 4)]
    assert len({tuple(draw_frame_pairs(torch.tensor([1, 4, 9]), seeded(n))) for n in range(9)}) > 1
    assert draw_frame_pairs(torch.tensor([3]), seeded()) == []


def test_of_sampled_frame_pairs_those_with_buddies_are_taken() -> None:
    settings = {"training.frames": LENGTH, "training.contrastive_pairs": 1}
    every, sampled = (
        override(TINY_PAPER, settings),
        override(TINY_PAPER, settings | {"buddies.near": 1}),
    )
    known = material(every, channels=6)
    known = replace(known, buddies={(4, 2): known.buddies[4, 2]})
    tracker = fresh(every, channels=6).tracker
    for config, most in ((every, 2), (sampled, 8)):
        terms = [
            step_losses(tracker, known, config, 0, seeded(n), torch.device("cpu")) for n in range(8)
        ]
        taken = sum(bool(t["buddies"] > 0) for t in terms)
        assert taken <= most
    assert taken == 8


@pytest.mark.parametrize(("rows", "inside"), [(0, 0), (1, 70), (9, 70), (10, 100)])
def test_points_lie_on_the_mask_in_their_share(rows: int, inside: int) -> None:
    mask = torch.zeros(10, 20, dtype=torch.bool)
    mask[:rows] = True
    points = draw_points(mask, 100, 0.7, seeded())
    assert points.shape == (100, 2)
    assert mask[points[:, 1].long(), points[:, 0].long()].sum() == inside


def test_paper_s_learning_rates() -> None:
    for step in (0, 39, 40, 79, 80, 4001, 9999):
        assert learning_rates(PAPER.training, step) == (
            pytest.approx(1e-2 * 0.999 ** (step // 40)),
            1e-2,
        )


@pytest.mark.parametrize("steps", [1, 2, 7, 400])
def test_cosine_warms_up_then_falls(steps: int) -> None:
    config = TrainingConfig(steps=steps, schedule="cosine", learning_rate=2e-3)
    both = [learning_rates(config, step) for step in range(steps)]
    rates = [a for a, b in both if a == b]
    assert len(rates) == steps
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0
    assert max(rates) <= 2e-3
    if steps == 400:
        assert (peak, rates[40], rates[220]) == (40, 2e-3, pytest.approx(1e-3))
        assert rates[-1] < 1e-7


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"training\.schedule=linear"):
        learning_rates(TrainingConfig(schedule="linear"), 0)
    with pytest.raises(InputError, match=r"training\.optimizer=sgd"):
        start(Tracker(TINY_FAST.model, None), TrainingConfig(optimizer="sgd"))


ALWAYS = {"flow", "buddies", "norm", "angle"}
LATE = {"refined_buddies", "cycle"}


@pytest.mark.parametrize(("step", "names"), [(0, ALWAYS), (4999, ALWAYS), (5000, ALWAYS | LATE)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_terms_of_the_paper(step: int, names: set[str], precision: str) -> None:
    config = override(TINY_PAPER, {"training.precision": precision, "training.cycle_error": 1e3})
    known, tracker = material(config, 6), fresh(config, 6).tracker
    # away from its start, where nothing is added and the regularisers are flat
    torch.nn.init.normal_(tracker.delta_dino.layers[-2].weight)
    terms = step_losses(tracker, known, config, step, seeded(1), torch.device("cpu"))
    assert terms.keys() == names
    for name, term in terms.items():
        assert term.isfinite(), name
        tracker.zero_grad()
        term.backward(retain_graph=True)
        gradients = [p.grad for p in tracker.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in gradients), name
        assert any(g.abs().max() > 0 for g in gradients), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_regularisers_start_at_zero(precision: str) -> None:
    """Nothing is added to the frozen features at first, and they are not rounded to the networks'
    precision."""
    config = override(
        TINY_PAPER,
        {"training.precision": precision, "training.norm_weight": 1, "training.angle_weight": 1},
    )
    terms = step_losses(
        fresh(config, 6).tracker, material(config, 6), config, 0, seeded(), torch.device("cpu")
    )
    assert max(terms["norm"].item(), terms["angle"].item()) < 1e-6


WEIGHTS = {
    "flow": "flow_weight",
    "heatmap": "heatmap_weight",
    "buddies": "buddy_weight",
    "refined_buddies": "refined_buddy_weight",
    "cycle": "cycle_weight",
    "norm": "norm_weight",
    "angle": "angle_weight",
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_terms_are_in_proportion_to_their_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"training.{WEIGHTS[name]}"
    base = override(
        TINY_PAPER,
        {"training.heatmap_weight": 1.0, "training.late": 0.0, "training.cycle_error": 1e3},
    )
    known, tracker = material(base, 6), fresh(base, 6).tracker
    torch.nn.init.normal_(tracker.delta_dino.layers[-2].weight)

    def terms(weight: float) -> dict[str, Tensor]:
        return step_losses(
            tracker, known, override(base, {key: weight}), 0, seeded(1), torch.device("cpu")
        )

    one, three, none = terms(1.0), terms(3.0), terms(0.0)
    assert one.keys() == WEIGHTS.keys()
    assert none.keys() == WEIGHTS.keys() - {name}
    torch.testing.assert_close(three[name], 3 * one[name])


def test_without_a_vit_there_is_nothing_to_regularise() -> None:
    config = override(TINY_PAPER, {"model.dims": 6, "training.late": 0.0})
    terms = step_losses(
        fresh(config).tracker, material(config), config, 0, seeded(), torch.device("cpu")
    )
    assert terms.keys() == {"flow", "refined_buddies", "cycle"}


def ignore(state: State) -> None:
    """Nothing to do after a step."""


def weights_of(state: State) -> dict[str, Tensor]:
    return state.tracker.state_dict()


@pytest.mark.parametrize(
    ("config", "channels"), [(TINY_FAST, 0), (TINY_PAPER, 6)], ids=["fast", "paper"]
)
def test_a_continued_fit_is_the_one_that_never_stopped(config: Config, channels: int) -> None:
    config = override(config, {"training.steps": 6})
    known, state = material(config, channels), fresh(config, channels)
    kept: list[tuple[dict[str, Tensor], dict[str, object], dict[str, list[float]]]] = []

    def keep(now: State) -> None:
        if now.step == 2:
            kept.append(
                copy.deepcopy((now.tracker.state_dict(), now.optimizer.state_dict(), now.losses))
            )

    fit(known, config, 7, state, keep)
    continued = fresh(config, channels)
    torch.rand(5)  # nothing hangs on the global random numbers
    weights, optimizer, losses = kept[0]
    continued.tracker.load_state_dict(weights)
    continued.optimizer.load_state_dict(optimizer)
    continued.step, continued.terms = (
        2,
        {name: list(torch.tensor(values)) for name, values in losses.items()},
    )
    fit(known, config, 7, continued, ignore)
    assert (state.step, continued.step) == (6, 6)
    assert state.losses == continued.losses
    assert all(torch.equal(v, weights_of(continued)[k]) for k, v in weights_of(state).items())


def test_seeds_differ_and_repeat() -> None:
    config = override(TINY_FAST, {"training.steps": 2})
    known = material(config)
    runs = []
    for seed in (0, 0, 1):
        state = fresh(config)
        fit(known, config, seed, state, ignore)
        runs.append(state.losses)
    assert runs[0] == runs[1] != runs[2]


def test_the_loss_falls() -> None:
    steps: list[int] = []
    state = fresh(TINY_FAST)
    fit(material(TINY_FAST), TINY_FAST, 0, state, lambda now: steps.append(now.step))
    assert steps == list(range(1, 31))
    assert state.losses.keys() == {"flow", "heatmap"}
    for values in state.losses.values():
        assert len(values) == 30
        assert all(math.isfinite(v) for v in values)
        assert sum(values[-5:]) < 0.8 * sum(values[:5])


def test_features_are_read_in_each_points_own_frame() -> None:
    maps, grid = torch.randn(4, 3, 5, 6, generator=seeded(1)), Grid(5, 6, 4, 1.5)
    view = View(torch.tensor([2, 3, 7, 9]), maps, grid, (20, 24))
    frame, xy = torch.tensor([9, 2, 7, 9, 3]), 20 * torch.rand(5, 2, generator=seeded(2))
    expected = [
        grid.sample(maps[[2, 3, 7, 9].index(t)][None], xy[k][None, None])[0, 0]
        for k, t in enumerate(frame)
    ]
    torch.testing.assert_close(view.embed(frame, xy), torch.stack(expected))


@pytest.mark.parametrize(
    ("config", "alike"),
    [(FAST, True), (QUALITY, True), (PAPER, False)],
    ids=["fast", "quality", "paper"],
)
def test_which_steps_are_recorded(
    config: Config, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = SimpleNamespace(device=torch.device("cuda"))
    for kernels in (True, False):
        monkeypatch.setattr(training, "on_triton", lambda _, kernels=kernels: kernels)
        assert training._records(config, there) == (alike and kernels)
        assert not training._records(config, torch.zeros(1))
        assert not training._records(override(config, {"model.whole_map": True}), there)
        for changed in (
            {"training.recorded": False},
            {"training.norm_weight": 1},
            {"training.cycle_weight": 1},
        ):
            assert not training._records(override(config, changed), there)


def test_steps_that_can_be_recorded_are_those_that_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded on CUDA, called plainly."""
    monkeypatch.setattr(training, "Recorded", lambda function: function)
    states = []
    for recorded in (False, True):
        monkeypatch.setattr(training, "_records", lambda *_, recorded=recorded: recorded)
        states.append(fresh(TINY_FAST))
        fit(material(TINY_FAST), override(TINY_FAST, {"training.steps": 3}), 0, states[-1], ignore)
    assert states[0].losses == states[1].losses
    assert all(torch.equal(v, weights_of(states[1])[k]) for k, v in weights_of(states[0]).items())


@pytest.mark.gpu
def test_recorded_steps_are_plain_ones() -> None:
    """But for the order of sums, which CUDA does not keep."""
    config, losses = (
        override(TINY_FAST, {"training.precision": "bfloat16", "training.steps": 10}),
        [],
    )
    for recorded in (True, False):
        torch.manual_seed(3)
        state = start(Tracker(config.model, None).to("cuda"), config.training)
        fit(material(config), override(config, {"training.recorded": recorded}), 0, state, ignore)
        losses.append(torch.tensor([state.losses[name] for name in ("flow", "heatmap")]))
    torch.testing.assert_close(*losses, rtol=0.05, atol=0)
    assert len(losses[0][0].unique()) == 10  # none is overwritten by the next


def test_kernels_learn_what_maps_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same terms and gradients where no map is kept, here in Triton's interpreter."""
    pytest.importorskip("triton", reason="Triton is not on this machine")
    known, found = material(TINY_FAST), {}
    for side in ("torch", "triton"):
        monkeypatch.setenv("DINOTRACK_KERNELS", side)
        state = fresh(TINY_FAST)
        terms = step_losses(state.tracker, known, TINY_FAST, 0, seeded(), torch.device("cpu"))
        torch.stack(list(terms.values())).sum().backward()
        found[side] = [*terms.values(), *(p.grad for p in state.tracker.parameters())]
    for plain, fused in zip(*found.values(), strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("config", [QUALITY, PAPER, FAST], ids=lambda c: c.preset)
def test_both_networks_learn_under_every_preset(config: Config) -> None:
    config = override(
        config, {"model.widths": (4, 4), "model.dims": 4, "training.steps": 1, "training.batch": 8}
    )
    state = fresh(config)
    before = copy.deepcopy(weights_of(state))
    fit(material(config), config, 0, state, ignore)
    assert [g["lr"] for g in state.optimizer.param_groups] == list(
        learning_rates(config.training, 0)
    )
    for part in ("delta_dino", "refiner"):
        changed = [
            not torch.equal(v, before[k])
            for k, v in weights_of(state).items()
            if k.startswith(part)
        ]
        assert any(changed), part


@pytest.mark.parametrize(
    "emptied", [without_chains, lambda known: replace(known, chains=_seen_once(known.chains))]
)
def test_without_chains_there_is_nothing_to_fit(emptied: Callable[[Material], Material]) -> None:
    state = fresh(TINY_FAST)
    before = copy.deepcopy(weights_of(state))
    fit(
        emptied(material(TINY_FAST)),
        TINY_FAST,
        0,
        state,
        lambda now: pytest.fail("a step without labels"),
    )
    assert (state.step, state.losses) == (0, {})
    assert all(torch.equal(v, before[k]) for k, v in weights_of(state).items())


def _seen_once(chains: Chains) -> Chains:
    return Chains(chains.first, chains.start, torch.ones_like(chains.length), chains.frames)


def test_a_finished_fit_stays_as_it_is() -> None:
    state = fresh(TINY_FAST)
    state.step = TINY_FAST.training.steps
    fit(material(TINY_FAST), TINY_FAST, 0, state, lambda now: pytest.fail("a step too many"))


def test_steps_that_find_no_labels_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a long clip of few chains most draws of frames miss them; the fit goes on."""
    monkeypatch.setattr("dinotrack.training.DRAWS", 0)
    config = override(TINY_FAST, {"training.steps": 2})
    state = fresh(config)
    fit(material(config), config, 0, state, ignore)
    assert (state.step, state.losses) == (2, {})
