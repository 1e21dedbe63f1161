"""Work in parts, and what happens where a GPU's memory is too short, with a GPU that is made up."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dinotrack import chunks
from dinotrack.chunks import fitting, in_chunks, in_threads
from dinotrack.config import FAST
from dinotrack.errors import DinotrackWarning
from dinotrack.features import extract_features
from dinotrack.model import Tracker
from dinotrack.refinement import refine_video
from tests.fakes import FakeBackbone


class Short:
    """Works on at most `room` things at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked: list[int] = []

    def __call__(self, part: slice) -> list[int]:
        self.asked.append(part.stop - part.start)
        if self.asked[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(part.start, part.stop))


@pytest.mark.parametrize(("count", "chunk"), [(0, 4), (1, 4), (8, 4), (9, 4), (5, 100), (3, 1)])
def test_parts_cover_everything_once(count: int, chunk: int) -> None:
    parts = list(in_chunks(Short(chunk), count, chunk, "frames"))
    assert [n for _, numbers in parts for n in numbers] == list(range(count))
    assert all(numbers == list(range(part.start, part.stop)) for part, numbers in parts)
    assert all(len(numbers) == chunk for _, numbers in parts[:-1])


def test_too_much_is_halved_until_it_fits_and_said() -> None:
    work = Short(3)
    with pytest.warns(DinotrackWarning) as told:
        parts = list(in_chunks(work, 23, 16, "frames"))
    assert [n for _, numbers in parts for n in numbers] == list(range(23))
    assert work.asked == [16, 8, 4, *[2] * 11, 1]
    assert [str(w.message).partition("too short for ")[2] for w in told] == [
        f"{n} frames at a time; going on with {n // 2}" for n in (16, 8, 4)
    ]


def test_a_last_part_that_does_not_fit_is_halved_too() -> None:
    with pytest.warns(DinotrackWarning, match=r"5 frames at a time; going on with 3"):
        parts = list(in_chunks(Short(4), 5, 16, "frames"))
    assert [len(numbers) for _, numbers in parts] == [3, 2]


def test_where_even_one_is_too_much_there_is_no_way() -> None:
    with pytest.warns(DinotrackWarning), pytest.raises(torch.OutOfMemoryError):
        list(in_chunks(Short(0), 4, 2, "frames"))


def test_other_errors_pass() -> None:
    def broken(part: slice) -> None:
        raise ValueError(part)

    with pytest.raises(ValueError, match="slice"):
        list(in_chunks(broken, 4, 2, "frames"))


@pytest.mark.parametrize(("free", "expected"), [(0, 1), (100, 1), (1000, 5), (10**9, chunks.MOST)])
def test_as_many_as_half_of_the_free_memory_takes(
    free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**10))
    assert fitting(torch.device("cuda"), 100, 4) == expected
    assert fitting(torch.device("cpu"), 100, 4) == 4


def memory_for_two(work: Callable[..., Any]) -> Callable[..., Any]:
    """The work, which runs out of memory where it is given more than two frames."""

    def short(frames: Tensor, *others: object) -> object:
        if len(frames) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(frames, *others)

    return short


@pytest.fixture
def frames() -> Tensor:
    dice = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (7, 3, 24, 32), dtype=torch.uint8, generator=dice)


def test_features_are_the_same_in_smaller_parts(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = FakeBackbone()
    config = replace(FAST.backbone, components=0)
    (expected,) = extract_features(backbone, frames, [1], config)
    short = memory_for_two(backbone.__call__)  # bound before the patch
    monkeypatch.setattr(FakeBackbone, "__call__", lambda self, *inputs: short(*inputs))
    with pytest.warns(DinotrackWarning, match="4 frames at a time; going on with 2"):
        (found,) = extract_features(backbone, frames, [1], config)
    torch.testing.assert_close(found, expected)


def test_refined_maps_are_the_same_in_smaller_parts(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(replace(FAST.model, widths=(4, 4), dims=4, blocks=0), None)
    expected = refine_video(tracker, frames, None)
    monkeypatch.setattr(tracker, "refine", memory_for_two(tracker.refine))
    with pytest.warns(DinotrackWarning, match="4 frames at a time; going on with 2"):
        found = refine_video(tracker, frames, None)
    assert found.grid == expected.grid
    torch.testing.assert_close(found.values, expected.values)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_threads_keep_the_order(threads: int, count: int) -> None:
    def slow_at_first(thing: int) -> int:
        time.sleep(0.002 * (count - thing))
        return thing * thing

    assert list(in_threads(slow_at_first, range(count), threads)) == [n * n for n in range(count)]


@pytest.mark.parametrize("threads", [1, 3])
def test_things_are_made_when_a_thread_is_free(threads: int) -> None:
    made: list[int] = []
    done: list[int] = []

    def things() -> Iterator[int]:
        for n in range(9):
            assert n - len(done) <= threads
            made.append(n)
            yield n

    for result in in_threads(lambda n: n, things(), threads):
        done.append(result)
    assert made == done


@pytest.mark.parametrize("threads", [1, 2])
def test_what_fails_in_a_thread_is_raised(threads: int) -> None:
    def work(thing: int) -> int:
        if thing == 2:
            raise ValueError("two")
        return thing

    with pytest.raises(ValueError, match="two"):
        list(in_threads(work, range(5), threads))
