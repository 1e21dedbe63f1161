"""Which frames are compared: against all pairs told one by one, and that there are few of them."""

import math

import pytest

from dinotrack.pairs import is_sampled, sampled_pairs


@pytest.mark.parametrize("near", [0, 1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5, 33, 70])
def test_pairs_are_those_that_are_sampled(frames: int, near: int) -> None:
    pairs = [(i, j) for i in range(frames) for j in range(i + 1, frames)]
    assert sampled_pairs(frames, near) == [pair for pair in pairs if is_sampled(*pair, near)]
    if near == 0:
        assert sampled_pairs(frames, near) == pairs


def test_near_ones_always_and_far_ones_more_and_more_rarely() -> None:
    pairs = sampled_pairs(200, 4)
    starts = {gap: [i for i, j in pairs if j - i == gap] for gap in range(1, 200)}
    for gap in (1, 2, 3, 4, 8):
        assert starts[gap] == list(range(200 - gap))
    assert starts[16] == list(range(0, 184, 2))
    assert starts[32] == list(range(0, 168, 4))
    assert starts[128] == [0, 16, 32, 48, 64]
    assert sum(map(len, starts.values())) == sum(
        len(starts[gap]) for gap in (1, 2, 3, 4, 8, 16, 32, 64, 128)
    )


@pytest.mark.parametrize("near", [1, 3, 4, 10])
def test_they_grow_linearly(near: int) -> None:
    counts = {frames: len(sampled_pairs(frames, near)) for frames in (50, 100, 200, 1000, 4000)}
    assert all(n < (near + 3) * frames for frames, n in counts.items())
    assert math.log(counts[200] / counts[50], 4) < 1.15
