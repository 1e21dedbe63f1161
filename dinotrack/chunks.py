"""Much work a part at a time, as large as memory allows."""

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from dinotrack.errors import DinotrackWarning

Result = TypeVar("Result")

MOST = 16
"""More at a time is no faster on any GPU."""


def in_chunks(
    work: Callable[[slice], Result], count: int, chunk: int, what: str
) -> Iterator[tuple[slice, Result]]:
    """(part, work(part)) for parts of `count` things, at most `chunk` at a time, in order.

    Where a GPU's memory runs out in `work`, it goes on with half as many at a time, and a
    DinotrackWarning says so;
    what: what these things are, for its words. Raises torch.OutOfMemoryError where even one is too
    much.
    """
    start = 0
    while start < count:
        part = slice(start, min(start + chunk, count))
        result = _attempt(work, part)
        if result is None:
            chunk = (part.stop - start + 1) // 2
            warnings.warn(
                f"the GPU's memory is too short for {part.stop - start} {what} at a time; going on with {chunk}",
                DinotrackWarning,
                stacklevel=2,
            )
            continue
        yield part, result[0]
        start = part.stop


def _attempt(work: Callable[[slice], Result], part: slice) -> tuple[Result] | None:
    """The result in a tuple, or None where memory ran out; on return the error no longer holds what
    `work` had."""
    try:
        return (work(part),)
    except torch.OutOfMemoryError:
        if part.stop - part.start == 1:
            raise
        return None


def fitting(device: torch.device, each: int, otherwise: int) -> int:
    """How many things that take `each` bytes to work on go at a time: as many as fill half of a
    CUDA GPU's free memory.

    At least 1, at most MOST; `otherwise` on other devices, whose free memory nobody tells.
    """
    if device.type != "cuda":
        return otherwise
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST, free // (2 * each)))
