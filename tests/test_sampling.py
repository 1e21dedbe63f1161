"""What a step draws: against draws from a table of chains, and what each draw promises."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.buddies import Buddies
from dinotrack.chains import Chains
from dinotrack.config import TrainingConfig
from dinotrack.labels import Supervision
from dinotrack.training.sampling import (
    ChainPool,
    Labels,
    TrainingData,
    draw_batch,
    draw_buddies,
    draw_frame_pairs,
    draw_frames,
    draw_labels,
    draw_points,
)
from tests.dense import random_chains, table_of
from tests.training_clip import LENGTH, SHIFT, seeded, seen_once, training_data, without_chains


def is_foreground(
    known: TrainingData, frame: Int[Tensor, " B"], xy: Float[Tensor, "B 2"]
) -> Bool[Tensor, " B"]:
    """The kind of the chain through each position in its frame."""
    positions, valid = table_of(known.supervision.chains)
    near = (positions[:, frame] - xy).norm(dim=-1).masked_fill(~valid[:, frame], torch.inf)
    assert (near.amin(0) == 0).all()
    return known.supervision.on_foreground[near.argmin(0)]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_labels_are_foreground_and_all_lie_on_one_chain(
    shared: bool, seed: int
) -> None:
    known = training_data()
    config = TrainingConfig(batch=40, frames=3, shared_frames=shared)
    labels = draw_labels(known, config, seeded(seed))
    assert labels is not None
    assert len(labels.source) == len(labels.target) == 40
    assert (labels.source_frame != labels.target_frame).all()
    # the clip moves as one, so a place and its frame tell the chain
    steps = (labels.target_frame - labels.source_frame)[:, None] * torch.tensor(SHIFT)
    torch.testing.assert_close(labels.target, labels.source + steps)
    kinds = is_foreground(known, labels.source_frame, labels.source)
    assert kinds.sum() == 20
    assert kinds.tolist() == is_foreground(known, labels.target_frame, labels.target).tolist()
    halves = [
        set(torch.cat((labels.source_frame[k], labels.target_frame[k])).tolist())
        for k in (kinds, ~kinds)
    ]
    assert all(len(h) <= 3 for h in halves)
    assert len(halves[0] | halves[1]) <= (3 if shared else 6)


@pytest.mark.parametrize("foreground", [True, False])
def test_a_half_without_labels_leaves_its_places(foreground: bool) -> None:
    known = training_data()
    kinds = torch.full_like(known.supervision.on_foreground, foreground)
    known = replace(known, supervision=replace(known.supervision, on_foreground=kinds))
    labels = draw_labels(known, TrainingConfig(batch=40), seeded())
    assert labels is not None
    assert len(labels.source) == 40


def test_an_odd_batch_is_drawn_whole() -> None:
    labels = draw_labels(training_data(), TrainingConfig(batch=7), seeded())
    assert labels is not None
    assert len(labels.source) == 7


def test_no_chains_no_labels() -> None:
    for known in (without_chains(training_data()), seen_once(training_data())):
        assert not known.has_labels
        assert draw_labels(known, TrainingConfig(), seeded()) is None
        assert draw_batch(known, TrainingConfig(), seeded()) is None


def test_a_batch_holds_the_frames_of_its_labels() -> None:
    known = training_data(channels=3)
    batch = draw_batch(known, TrainingConfig(batch=9, frames=2), seeded(1))
    assert batch is not None
    assert known.features is not None
    labels = batch.labels
    named = sorted({*labels.source_frame.tolist(), *labels.target_frame.tolist()})
    assert batch.frame_numbers.tolist() == named
    assert torch.equal(batch.frames, known.frames[named])
    assert batch.features is not None
    assert torch.equal(batch.features, known.features.values[named])


@pytest.mark.parametrize("channels", [0, 3])
def test_a_batch_moves_as_a_whole(channels: int) -> None:
    batch = draw_batch(training_data(channels), TrainingConfig(batch=8), seeded())
    assert batch is not None
    moved = batch.to(torch.device("meta"))
    assert (moved.features is None) == (channels == 0)
    for part in (moved.frame_numbers, moved.frames, *moved.labels):
        assert part.device.type == "meta"
    assert isinstance(moved.labels, Labels)


def drawn_from_a_table(known: TrainingData, config: TrainingConfig, rng: torch.Generator) -> Labels:
    """`draw_labels` from a table of chains and frames."""
    xy, valid = table_of(known.supervision.chains)
    start, end = known.supervision.chains.start.tolist(), known.supervision.chains.end.tolist()
    while True:
        first = draw_frames(LENGTH, config, rng)
        second = first if config.shared_frames else draw_frames(LENGTH, config, rng)
        kinds = [
            (first, known.supervision.on_foreground),
            (second, ~known.supervision.on_foreground),
        ]
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
            return Labels(*(torch.cat(column) for column in zip(*parts, strict=True)))


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_draws_are_those_from_a_table(shared: bool, gap: int) -> None:
    config = TrainingConfig(batch=10, frames=3, shared_frames=shared, max_gap=gap)
    for seed in range(40):
        chains = random_chains(1 + 7 * (seed % 4), LENGTH, seed)
        foreground = torch.rand(len(chains.start), generator=seeded(seed)) < 0.4
        known = training_data()
        labels = Supervision(chains, foreground, known.supervision.masks)
        known = replace(known, supervision=labels)
        rng = seeded(seed)
        other = seeded(seed)
        found = draw_labels(known, config, rng)
        if found is None:
            continue
        expected = drawn_from_a_table(known, config, other)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert torch.equal(rng.get_state(), other.get_state())


@pytest.mark.parametrize("seed", range(8))
def test_a_pool_holds_each_chain_seen_twice_once(seed: int) -> None:
    dice = seeded(seed)
    frames, count = 7, 3 + 9 * seed
    start = torch.randint(frames, (count,), generator=dice)
    length = 1 + (torch.rand(count, generator=dice) * (frames - start)).long()
    chains = Chains(torch.zeros(int(length.sum()), 2), start, length, frames)
    rows = (torch.rand(count, generator=dice) < 0.7).nonzero()[:, 0]
    pool = ChainPool.of(chains, rows)
    for size in range(1, frames + 1):
        drawn = torch.randperm(frames, generator=dice)[:size].sort().values
        valid = torch.stack([chains.seen_in(int(t)) for t in drawn])
        expected = [row for row in rows.tolist() if valid[:, row].sum() > 1]
        counts = pool.seen_twice(drawn)
        assert sorted(pool.pick(counts, torch.arange(int(counts.sum()))).tolist()) == expected


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


@pytest.mark.parametrize(("rows", "inside"), [(0, 0), (1, 70), (9, 70), (10, 100)])
def test_points_lie_on_the_mask_in_their_share(rows: int, inside: int) -> None:
    mask = torch.zeros(10, 20, dtype=torch.bool)
    mask[:rows] = True
    config = TrainingConfig(contrastive_points=100, contrastive_foreground=0.7)
    points = draw_points(mask, config, seeded())
    assert points.shape == (100, 2)
    assert mask[points[:, 1].long(), points[:, 0].long()].sum() == inside


@pytest.mark.parametrize(
    ("inside", "outside", "kept_inside", "kept"),
    [(50, 50, 7, 10), (50, 1, 9, 10), (2, 50, 2, 10), (3, 4, 3, 7), (0, 50, 0, 10)],
)
def test_buddies_lie_on_the_mask_in_their_share(
    inside: int, outside: int, kept_inside: int, kept: int
) -> None:
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[:, :5] = True
    count = inside + outside
    source = torch.tensor([[2.0, 1.0]] * inside + [[7.0, 1.0]] * outside)
    numbers = torch.arange(count).float()
    known = Buddies(source, source, numbers, torch.zeros(count), (0, 1))
    config = TrainingConfig(contrastive_points=10, contrastive_foreground=0.7)
    drawn = draw_buddies(known, mask, config, seeded())
    assert len(drawn.cosine) == len(set(drawn.cosine.tolist())) == kept
    assert (drawn.source[:, 0] == 2).sum() == kept_inside
