"""Evidence is what it says, and confidence is the weighted sum of it."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some

from dinotrack import chunks
from dinotrack.config import ConfidenceConfig, MemoryConfig
from dinotrack.tracking.evidence import (
    Evidence,
    contrasted,
    cycle_errors,
    disagreement,
    neighbours,
)
from dinotrack.tracking.memory import remember
from tests.moving import (
    peaked_tracker,
    plain_step,
    random_flow,
    shifted_maps,
    some_queries,
)


def test_disagreement_is_what_flow_and_path_are_apart() -> None:
    frames = 4
    flow = random_flow(frames, 3.0, 5)
    xy = torch.rand((3, frames, 2), generator=torch.Generator().manual_seed(1)) * 40
    found = disagreement(flow, xy)
    for n, t in itertools.product(range(3), range(frames)):
        off = []
        if t + 1 < frames:
            off.append(float((plain_step(flow, xy[n, t], t, t + 1)[0] - xy[n, t + 1]).norm()))
        if t > 0:
            off.append(float((plain_step(flow, xy[n, t], t, t - 1)[0] - xy[n, t - 1]).norm()))
        assert float(found[n, t]) == pytest.approx(float(np.log1p(off).mean()), abs=1e-4)


def test_neighbours_are_the_frames_before_and_after() -> None:
    found = neighbours(torch.tensor([[1.0, 2.0, 4.0, 8.0]]))
    assert found.tolist() == [[1.5, 2.5, 5.0, 6.0]]
    assert neighbours(torch.tensor([[3.0]])).tolist() == [[3.0]]


def test_cycle_errors_are_distances_in_the_querys_own_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = 5
    tracker, maps, queries = peaked_tracker(), shifted_maps(frames), some_queries(frames, 6)
    xy = torch.rand((6, frames, 2), generator=torch.Generator().manual_seed(2)) * 40
    monkeypatch.setattr(chunks, "CYCLE_FRAMES", 2)
    with torch.no_grad():
        found = cycle_errors(tracker, maps, queries, xy)
        for n, t in itertools.product(range(6), range(frames)):
            own = int(queries.frame[n])
            vector = maps.at(t, xy[n : n + 1, t])
            place = tracker.locate(vector, maps[own : own + 1], torch.tensor([0]))
            off = (place[0] - queries.xy[n]).norm()
            torch.testing.assert_close(found[n, t], off, atol=1e-3, rtol=1e-4)


def test_confidence_is_a_logistic_regression_on_what_is_named() -> None:
    rng = torch.Generator().manual_seed(0)
    evidence = Evidence(*torch.rand((6, 2, 3), generator=rng))
    config = ConfidenceConfig(contrast=0.0)
    others = ("visible", "taught", "contrast", "usual")
    names = [field.name for field in fields(config) if field.name not in others]
    assert list(evidence.terms()) == names
    found = evidence.confidence(config)
    for n, t in itertools.product(range(2), range(3)):
        beside = neighbours(evidence.cosine)[n, t]
        score = (
            config.bias
            + config.cosine * evidence.cosine[n, t]
            + config.cycle_error * evidence.cycle_error[n, t]
            + config.followed * evidence.followed[n, t]
            + config.distinctness * evidence.distinctness[n, t]
            + config.likeness * evidence.likeness[n, t]
            + config.disagreement * evidence.disagreement[n, t]
            + config.neighbours * beside
        )
        assert float(found[n, t]) == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-6)
    surer = evidence.confidence(replace(config, bias=config.bias + 1))
    assert (surer > found).all()


SCORES = some.lists(some.floats(-9, 9, width=32), min_size=1, max_size=12)


@given(score=SCORES, contrast=some.floats(0, 1), usual=some.floats(-3, 3))
def test_scores_are_seen_against_those_of_the_point_where_it_looks_visible(
    score: list[float], contrast: float, usual: float
) -> None:
    config = ConfidenceConfig(visible=0.4, contrast=contrast, usual=usual)
    seen = [one for one in score if 1 / (1 + math.exp(-one)) >= 0.4]
    taken = contrast * (float(np.median(seen)) - usual) if seen else 0.0
    found = contrasted(torch.tensor([score]), config)
    assert found[0].tolist() == pytest.approx([one - taken for one in score], abs=1e-4)


@pytest.mark.parametrize("frames", [1, 3, 30])
def test_a_point_that_is_seen_shortly_gains_nothing_elsewhere(frames: int) -> None:
    score = torch.full((1, 100), -1.0)
    score[0, :frames] = 4.0
    assert (contrasted(score, ConfidenceConfig()) < score).all()
    hidden = torch.full((1, 100), -1.0)
    assert torch.equal(contrasted(hidden, ConfidenceConfig()), hidden)


def test_confidence_is_of_contrasted_scores() -> None:
    evidence = Evidence(*torch.rand((6, 2, 30), generator=torch.Generator().manual_seed(0)))
    config = ConfidenceConfig(contrast=0.5, usual=1.0)
    plain = evidence.confidence(replace(config, contrast=0.0)).logit()
    expected = contrasted(plain, config).sigmoid()
    assert not torch.allclose(expected, plain.sigmoid(), atol=1e-3)
    torch.testing.assert_close(evidence.confidence(config), expected)


def test_only_what_was_surely_seen_elsewhere_is_remembered() -> None:
    config = MemoryConfig(weight=2.0, confidence=0.8)
    vectors = F.normalize(torch.randn(3, 6), dim=1)
    seen = torch.randn(3, 5, 6)
    confidence = torch.tensor(
        [[1.0, 0.9, 0.1, 0.85, 0.0], [0.1, 1.0, 0.2, 0.3, 0.4], [0.9, 0.9, 1.0, 0.9, 0.9]]
    )
    own = torch.tensor([0, 1, 2])
    found = remember(vectors, F.normalize(seen, dim=2).unbind(1), confidence, own, config)
    for n in range(3):
        unit = [
            seen[n, t] / seen[n, t].norm()
            for t in range(5)
            if confidence[n, t] >= 0.8 and t != int(own[n])
        ]
        expected = vectors[n] + (2.0 * torch.stack(unit).mean(0) if unit else 0.0)
        torch.testing.assert_close(found[n], expected / expected.norm())
