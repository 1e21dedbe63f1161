"""Best buddies: golden numbers, brute force with torchvision's suppression, and videos without any
buddy."""

import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from dinotrack.buddies import (
    Buddies,
    ambiguity,
    ambiguity_weight,
    best_buddies,
    cosine_weight,
    find_buddies,
    nearest_chain,
    video_buddies,
)
from dinotrack.chains import Chains
from dinotrack.config import FAST, PAPER, BuddyConfig, override
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.pairs import sampled_pairs
from dinotrack.run import Run
from tests.dense import chains_of, random_chains, table_of
from tests.golden import Golden, tensors
from tests.noise import draw

GOLDEN_GRID = Grid(39, 49, 7.0, 7.0)
GRID = Grid(5, 6, 7.0, 6.5)


def maps_of(seed: int, frames: int, channels: int) -> FeatureMaps:
    return FeatureMaps(draw(seed, frames, channels, GRID.rows, GRID.cols), GRID)


def no_chains(frames: int) -> Chains:
    return chains_of(torch.zeros(0, frames, 2), torch.zeros(0, frames, dtype=torch.bool))


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def assert_golden(found: Buddies, numbers: dict[str, Tensor], prefix: str) -> None:
    assert_close(found.source, numbers[f"{prefix}/source_coords"])
    assert_close(found.target, numbers[f"{prefix}/target_coords"])
    assert_close(found.cosine, numbers[f"{prefix}/cos_sims"])


def test_golden_buddies_and_ambiguity(golden: Golden) -> None:
    numbers = tensors(golden("best_buddies"))
    maps = FeatureMaps(numbers["features"], GOLDEN_GRID)
    found = find_buddies(maps, no_chains(3), BuddyConfig())
    assert sorted(found) == [(i, j) for i in range(3) for j in range(3) if i != j]
    for (i, j), buddies in found.items():
        assert buddies.frame_pair == (i, j)
        assert_golden(buddies, numbers, f"{i}_{j}")
        assert_close(buddies.ambiguity, numbers[f"{i}_{j}/r"])


def golden_pairs(golden: Golden) -> Iterator[tuple[dict[str, Tensor], Chains, int, int]]:
    """Golden numbers, and the chains of frames i and j alone: made by hand, some of the three
    frames' have holes."""
    numbers = tensors(golden("buddies_flow_filter"))
    for i, j in itertools.permutations(range(3), 2):
        xy = numbers["trajectories"][:, [i, j]]
        valid = ~xy.isnan().any(dim=-1)
        there = valid.any(dim=1)
        yield numbers, chains_of(xy[there], valid[there]), i, j


def where_flow_is_blind(buddies: Buddies, chains: Chains) -> Buddies:
    """The buddies that flow does not know more about, by all distances to all chains."""
    xy, valid = table_of(chains)

    def known(points: Tensor, here: int, there: int) -> Tensor:
        distances = torch.cdist(points.double(), xy[:, here].double())
        nearest = distances.masked_fill(~valid[:, here], torch.inf).argmin(dim=1)
        return valid[nearest, there] & valid[:, here].any()

    i, j = buddies.frame_pair
    return buddies.keep_where(~known(buddies.source, i, j) & ~known(buddies.target, j, i))


def test_golden_flow_filter(golden: Golden) -> None:
    """What the search is compared with below drops the very buddies that the reference drops."""
    for numbers, chains, i, j in golden_pairs(golden):
        before = (
            numbers[f"before/{i}_{j}/{k}"] for k in ("source_coords", "target_coords", "cos_sims")
        )
        source, target, cosine = before
        buddies = Buddies(source, target, cosine, torch.zeros_like(cosine), (0, 1))
        assert_golden(where_flow_is_blind(buddies, chains), numbers, f"after/{i}_{j}")


def test_golden_search_with_the_flow_filter(golden: Golden) -> None:
    maps = FeatureMaps(torch.from_numpy(golden("best_buddies")["features"]), GOLDEN_GRID)
    for numbers, chains, i, j in golden_pairs(golden):
        found = find_buddies(maps[torch.tensor([i, j])], chains, BuddyConfig())
        assert_golden(found[0, 1], numbers, f"after/{i}_{j}")
        assert_golden(found[1, 0], numbers, f"after/{j}_{i}")


def test_golden_weights(golden: Golden) -> None:
    numbers = tensors(golden("losses"))
    assert_close(ambiguity_weight(numbers["ambiguity"], BuddyConfig()), numbers["ambiguity_weight"])
    assert_close(cosine_weight(numbers["cosine"]), numbers["cosine_weight"])


def plain_ambiguity(vector: Tensor, features: Tensor, grid: Grid, config: BuddyConfig) -> float:
    """One direction for one cell, with torchvision's non-maximum suppression."""
    scores = F.cosine_similarity(vector[None], features.flatten(1).T, dim=1)
    scores, index = scores.sort(descending=True)
    scores, index = scores[: config.candidates], index[: config.candidates]
    centres = grid.centres()[index]
    survivors = nms(
        torch.cat((centres - config.box, centres + config.box), dim=1), scores, config.overlap
    )
    return 0.0 if len(survivors) < 2 else (scores[survivors[1]] / scores[survivors[0]]).item()


@pytest.mark.parametrize(
    "config",
    [
        BuddyConfig(candidates=9, box=6, overlap=0.2),
        BuddyConfig(candidates=30, box=10, overlap=0.5),
        BuddyConfig(candidates=12, box=20, overlap=0.1),  # most have a single survivor
        BuddyConfig(candidates=400, box=4, overlap=0.0),
    ],
)
def test_ambiguity_agrees_with_suppression_by_torchvision(config: BuddyConfig) -> None:
    maps = maps_of(0, 2, 4)
    one, other = maps.values
    buddies = best_buddies(maps, (0, 1))
    found = ambiguity(buddies, maps, config)
    for source, target, r in zip(buddies.source, buddies.target, found, strict=True):
        (j, i), (m, k) = (GRID.to_index(p).round().int().tolist() for p in (source, target))
        there = plain_ambiguity(one[:, i, j], other, GRID, config)
        back = plain_ambiguity(other[:, k, m], one, GRID, config)
        assert r.item() == pytest.approx(max(there, back), abs=1e-5)


def test_a_lonely_survivor_is_not_ambiguous() -> None:
    maps = maps_of(2, 2, 4)
    assert (ambiguity(best_buddies(maps, (0, 1)), maps, BuddyConfig(box=300)) == 0).all()


def test_maps_of_some_frames_keep_the_numbers_of_the_video() -> None:
    maps = maps_of(3, 6, 4)
    some = maps[torch.tensor([1, 4])]
    found, expected = best_buddies(some, (1, 0), frame_pair=(4, 1)), best_buddies(maps, (4, 1))
    assert found.frame_pair == expected.frame_pair == (4, 1)
    assert torch.equal(found.source, expected.source)
    assert torch.equal(found.target, expected.target)


def test_the_search_filters_and_measures_every_pair() -> None:
    maps, chains, config = maps_of(7, 4, 6), random_chains(25, 4, seed=8), BuddyConfig(box=8)
    found = find_buddies(maps, chains, config)
    kept = []
    for i, j in itertools.permutations(range(4), 2):
        every = best_buddies(maps, (i, j))
        expected = where_flow_is_blind(every, chains)
        kept.append(len(expected.cosine) / len(every.cosine))
        assert ((i, j) in found) == (len(expected.cosine) > 0)
        if (i, j) in found:
            assert torch.equal(found[i, j].source, expected.source)
            assert torch.equal(found[i, j].target, expected.target)
            r = ambiguity(expected, maps, config)
            torch.testing.assert_close(found[i, j].ambiguity, r, rtol=0, atol=1e-6)
    assert any(0 < share < 1 for share in kept)


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_the_nearest_chain_agrees_with_all_distances(count: int) -> None:
    chains, points = random_chains(count, 3, seed=14), GRID.centres()
    xy, valid = table_of(chains)
    distances = (points[:, None] - xy[None, :, 2]).norm(dim=-1).masked_fill(~valid[:, 2], torch.inf)
    expected = distances.argmin(dim=1) if valid[:, 2].any() else torch.full((len(points),), -1)
    assert torch.equal(nearest_chain(points, chains, 2), expected)


def test_the_nearest_chain_is_found_exactly_far_from_the_origin() -> None:
    xy = torch.tensor([[4000.0, 3000.02], [4000.0, 2999.99], [4000.0, 3000.0]])
    chains = Chains(
        xy, start=torch.tensor([0, 0, 1]), length=torch.tensor([1, 1, 1]), frame_count=2
    )
    points = torch.tensor([[4000.0, 3000.0]]).expand(30, -1)
    assert (nearest_chain(points, chains, 0) == 1).all()


def test_only_as_many_pairs_as_asked_for() -> None:
    features = maps_of(9, 6, 4)
    found = find_buddies(features, no_chains(6), BuddyConfig(max_pairs=8), seed=1)
    assert len(found) == 8
    assert all((j, i) in found for i, j in found)
    again = find_buddies(features, no_chains(6), BuddyConfig(max_pairs=8), seed=1)
    assert list(again) == list(found)
    assert list(find_buddies(features, no_chains(6), BuddyConfig(max_pairs=8), seed=2)) != list(
        found
    )


def test_sampled_pairs_are_searched_in_both_orders() -> None:
    features = maps_of(9, 9, 4)
    every = find_buddies(features, no_chains(9), BuddyConfig())
    found = find_buddies(features, no_chains(9), BuddyConfig(near=2))
    assert set(found) == {pair for i, j in sampled_pairs(9, 2) for pair in ((i, j), (j, i))} & set(
        every
    )
    assert all(torch.equal(found[pair].source, every[pair].source) for pair in found)
    few = find_buddies(features, no_chains(9), BuddyConfig(near=2, max_pairs=6))
    assert len(few) == 6
    assert set(few) <= set(found)


def test_half_precision_features() -> None:
    values = maps_of(10, 3, 8).values.half()
    found = find_buddies(FeatureMaps(values, GRID), no_chains(3), BuddyConfig())
    expected = find_buddies(FeatureMaps(values.float(), GRID), no_chains(3), BuddyConfig())
    for pair, buddies in found.items():
        assert buddies.cosine.dtype == torch.float32
        assert torch.equal(buddies.source, expected[pair].source)
        assert torch.equal(buddies.ambiguity, expected[pair].ambiguity)


def everywhere(frames: int) -> Chains:
    """Static chains in every cell: flow explains everything."""
    xy = GRID.centres()[:, None].expand(-1, frames, -1)
    return chains_of(xy, torch.ones(len(xy), frames, dtype=torch.bool))


@pytest.mark.parametrize(
    ("features", "chains"),
    [(maps_of(11, 3, 4), everywhere(3)), (maps_of(12, 1, 4), no_chains(1))],
)
def test_a_video_without_buddies(features: FeatureMaps, chains: Chains) -> None:
    assert find_buddies(features, chains, BuddyConfig()) == {}


def test_a_black_video_gives_nothing_harmful() -> None:
    black = FeatureMaps(torch.zeros(2, 4, 5, 6), GRID)
    found = find_buddies(black, no_chains(2), BuddyConfig())
    for buddies in found.values():
        assert buddies.ambiguity.isfinite().all()
        assert (
            ambiguity_weight(buddies.ambiguity, BuddyConfig()) * cosine_weight(buddies.cosine) == 0
        ).all()


def test_progress_reaches_the_end() -> None:
    calls = []
    find_buddies(
        maps_of(13, 3, 4),
        no_chains(3),
        BuddyConfig(),
        progress=lambda *call: calls.append(call),
    )
    assert calls == [("buddies", n, 3) for n in range(4)]


def test_the_stage_searches_where_the_fit_learns_from_buddies() -> None:
    maps, chains, cpu = maps_of(14, 3, 4), random_chains(9, 3, seed=15), torch.device("cpu")
    run = Run(override(PAPER, {"buddies.max_pairs": 3}), cpu, seed=5)
    found = video_buddies(maps, chains, run)
    expected = find_buddies(maps, chains, run.config.buddies, seed=5)
    assert list(found) == list(expected) != []
    assert all(torch.equal(found[pair].source, expected[pair].source) for pair in found)
    assert video_buddies(None, chains, run) == {}
    assert video_buddies(maps, chains, Run(FAST, cpu)) == {}
