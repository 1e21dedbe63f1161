"""Comparisons of features against loops over single vectors, and golden numbers of the contrastive
loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack import chunks, correlation
from dinotrack.correlation import (
    Correlation,
    best_matches,
    correlation_maps,
    info_nce,
    locate,
    makes_maps,
    mutual_nearest,
    normalise,
)
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from tests.golden import Golden, tensors
from tests.noise import draw

GRID = Grid(4, 6, 7.0, 6.5)


@pytest.fixture(params=[1, 50, 2**24])
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons in groups of one, of a few, and all at once."""
    monkeypatch.setattr(chunks, "COSINES", request.param)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([torch.stack([F.cosine_similarity(x, y, dim=0) for y in b]) for x in a])


def test_normalise_makes_unit_vectors_and_leaves_zeros() -> None:
    features = draw(0, 3, 5, 2)
    features[1, :, 1] = 0
    norms = normalise(features.half(), dim=1).norm(dim=1)
    torch.testing.assert_close(
        norms, torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), rtol=0, atol=1e-6
    )


def test_each_query_meets_the_map_it_belongs_to() -> None:
    queries, maps, index = draw(0, 7, 5), draw(1, 3, 5, 4, 6), torch.tensor([2, 0, 2, 2, 0, 0, 2])
    found = correlation_maps(queries, maps, index)
    expected = torch.stack(
        [
            F.cosine_similarity(q[:, None, None], maps[b], dim=0)
            for q, b in zip(queries, index, strict=True)
        ]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_one_map_needs_no_index() -> None:
    queries, maps = draw(2, 4, 5), draw(3, 1, 5, 3, 2)
    found = correlation_maps(queries, maps)
    assert torch.equal(found, correlation_maps(queries, maps, torch.zeros(4, dtype=torch.long)))
    assert correlation_maps(queries[:0], maps).shape == (0, 3, 2)
    assert correlation_maps(queries[:0], maps, torch.zeros(0, dtype=torch.long)).shape == (0, 3, 2)


def test_gradients_of_correlation_maps() -> None:
    queries, maps, index = (
        draw(4, 5, 3).requires_grad_(),
        draw(5, 2, 3, 2, 4).requires_grad_(),
        torch.tensor([1, 0, 1, 1, 0]),
    )
    weights = draw(6, 5, 2, 4)
    found = torch.autograd.grad(
        (correlation_maps(queries, maps, index) * weights).sum(), (queries, maps)
    )
    plain = F.cosine_similarity(queries[:, :, None, None], maps[index], dim=1)
    expected = torch.autograd.grad((plain * weights).sum(), (queries, maps))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def compare(shared: bool) -> Correlation:
    """Seven queries of three maps."""
    index = torch.tensor([2, 0, 2, 2, 0, 0, 2])
    return Correlation(draw(0, 7, 5), FeatureMaps(draw(1, 3, 5, 4, 6), GRID), index, shared)


@pytest.mark.parametrize("shared", [True, False])
def test_a_correlation_locates(shared: bool) -> None:
    asked = compare(shared)
    found = asked.located(None, 0.1, 1.5)
    values = asked.maps.values
    assert torch.equal(found, locate(asked.vectors, values, asked.index, None, 0.1, 1.5))
    assert torch.equal(asked.cosines, correlation_maps(asked.vectors, values, asked.index))


def test_a_target_is_shared_among_four_cells() -> None:
    asked = compare(shared=True)
    x, y = GRID.origin, GRID.origin
    # between four cells, on a cell, beyond the outer cells: which clamps to the first row and the
    # last column
    places = [(x + 7 * 2.25, y + 7 * 1.5), (x + 7, y + 14), (x + 7 * 4, -9.0), (99.0, y + 21)]
    xy = torch.tensor(places)[[0, 1, 2, 3, 0, 1, 2]]
    found = asked.log_softmax_at(xy, 0.2)
    maps = (asked.cosines / 0.2).flatten(1).log_softmax(1).view(7, 4, 6)

    def expected(log_map: Tensor, place: int) -> Tensor:
        if place == 0:
            above = 0.75 * log_map[1, 2] + 0.25 * log_map[1, 3]
            below = 0.75 * log_map[2, 2] + 0.25 * log_map[2, 3]
            return 0.5 * (above + below)
        return {1: log_map[2, 1], 2: log_map[0, 4], 3: log_map[3, 5]}[place]

    truth = [
        expected(log_map, place) for log_map, place in zip(maps, [0, 1, 2, 3, 0, 1, 2], strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(truth))


def test_on_a_cpu_one_correlation_map_serves_all_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(
        correlation,
        "correlation_maps",
        lambda *inputs: made.append(inputs) or correlation_maps(*inputs),
    )
    asked = compare(shared=True)
    assert makes_maps(asked.maps.values)
    asked.located(None, 0.1, 1.5)
    asked.log_softmax_at(torch.zeros(7, 2), 0.1)
    assert len(made) == 1
    compare(shared=False).located(None, 0.1, 1.5)
    assert len(made) == 1


@pytest.mark.parametrize("count", [1, 5])
def test_best_matches_come_best_first(chunked: None, count: int) -> None:
    queries, features = draw(9, 6, 4), draw(10, 11, 4)
    index, cosine = best_matches(queries, features, count)
    expected = cosines(queries, features).sort(dim=1, descending=True)
    assert torch.equal(index, expected.indices[:, :count])
    torch.testing.assert_close(cosine, expected.values[:, :count], rtol=0, atol=1e-6)


def test_of_few_features_all_are_best_matches(chunked: None) -> None:
    queries, features = draw(9, 6, 4), draw(10, 11, 4)
    assert best_matches(queries, features, 50)[0].shape == (6, 11)
    assert best_matches(queries[:0], features, 5)[0].shape == (0, 5)


@pytest.mark.parametrize(("p", "q"), [(17, 23), (23, 17), (1, 5), (6, 1)])
def test_mutual_nearest_neighbours(chunked: None, p: int, q: int) -> None:
    a, b = draw(11, p, 3), draw(12, q, 3)
    expected = cosines(a, b)
    pairs = [
        (i, j)
        for i in range(p)
        for j in range(q)
        if expected[i].argmax() == j and expected[:, j].argmax() == i
    ]
    rows, columns, cosine = mutual_nearest(a, b)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == pairs
    torch.testing.assert_close(cosine, expected[rows, columns], rtol=0, atol=1e-6)


def test_ties_give_each_cell_at_most_one_partner(chunked: None) -> None:
    rows, columns, cosine = mutual_nearest(torch.ones(6, 3), torch.ones(8, 3))
    assert len(rows.unique()) == len(rows)
    assert len(columns.unique()) == len(columns)
    torch.testing.assert_close(cosine, torch.ones(len(rows)))


def test_nothing_has_no_neighbours() -> None:
    for a, b in ((draw(0, 0, 3), draw(1, 4, 3)), (draw(0, 4, 3), draw(1, 0, 3))):
        assert [len(x) for x in mutual_nearest(a, b)] == [0, 0, 0]


def test_info_nce_golden(golden: Golden) -> None:
    numbers = tensors(golden("losses"))
    temperature = float(numbers["temperature"])
    for one, other in (("source", "target"), ("target", "source")):
        found = info_nce(
            numbers[f"{one}_bb"], numbers[f"{other}_bb"], numbers[f"{other}_all"], temperature
        )
        expected = numbers[f"contrastive_{one}_{other}"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_info_nce_is_a_cross_entropy_where_the_positive_is_a_cell() -> None:
    source = draw(13, 5, 4).requires_grad_()
    cells, where = draw(14, 9, 4), torch.tensor([3, 0, 8, 3, 5])
    found = info_nce(source, cells[where], cells, 0.1)
    logits = F.cosine_similarity(source[:, None], cells[None], dim=-1) / 0.1
    expected = F.cross_entropy(logits, where, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(loss.sum(), source)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
