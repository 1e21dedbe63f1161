"""How much is worked on at a time, and what happens where a GPU's memory is too short for it.

Every limit of this kind stands here, so that one file tells what bounds memory. No result depends
on these numbers, except for the last bits of sums that a device takes in another order.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from dinotrack.errors import DinotrackWarning

Thing = TypeVar("Thing")
Result = TypeVar("Result")

MOST = 16
"""Frames that a network sees at a time on a GPU at most. More at a time is no faster on any GPU."""
VIT_FRAMES = 4
"""Frames that the ViT sees at a time where nobody tells how much memory is free, as on a CPU."""
VIT_LAYERS_HELD = 16
"""Values that a block of the ViT, its attention and its MLP, holds for a token and a channel."""
CNN_FRAMES = 4
"""Frames that Delta-DINO sees at a time where nobody tells how much memory is free."""
CNN_LAYERS_HELD = 4
"""Layers that Delta-DINO holds at a time, none larger than its widest one at a frame's own size."""
JOINED_QUERIES = 128
"""Queries that are joined at a time, each with its support points and one map for each of them."""
ANCHORED_QUERIES = 16
"""Queries whose visibility is decided at a time. Each has a map for every pair of a frame and an
anchor."""
CYCLE_FRAMES = 32
"""Frames at a time in which a track's features are taken, to be located in the query's own frame.
Each query then holds as many features."""
MAP_VALUES = 2**22
"""Values of correlation maps, or of a layer of the refiner, that are held at a time where positions
are read from whole maps: 16 MiB, about what a CPU's cache takes."""
COSINES = 2**24
"""Cosines that are held at a time where only the best ones are wanted: 64 MiB in float32."""
HELD_BYTES = 2**30
"""What may be held beside a video so that single points are tracked sooner, again and again."""
KERNEL_VECTORS = 2**14
"""Vectors that the kernels locate at a time where no gradient is wanted. Each holds a window of up
to 10 KiB."""
SOFTMAX_ENTRIES = 2**23
"""Entries of the softmax of InfoNCE that are held at a time on the way back: 16 MiB in half
precision."""


def in_chunks(
    work: Callable[[slice], Result], count: int, chunk: int, what: str
) -> Iterator[tuple[slice, Result]]:
    """Pairs (part, work(part)) for parts of `count` things, at most `chunk` at a time, in order.

    Where a GPU's memory runs out in `work`, the work goes on with half as many things at a time,
    and a DinotrackWarning says so. The plural `what` names the things in this warning. Raises
    torch.OutOfMemoryError where even one thing is too much.
    """
    start = 0
    while start < count:
        part = slice(start, min(start + chunk, count))
        result = _attempt(work, part)
        if result is None:
            tried = part.stop - start
            chunk = (tried + 1) // 2
            warnings.warn(
                f"the GPU's memory is too short for {tried} {what} at a time; "
                f"going on with {chunk}",
                DinotrackWarning,
                stacklevel=2,
            )
            continue
        yield part, result[0]
        start = part.stop


def _attempt(work: Callable[[slice], Result], part: slice) -> tuple[Result] | None:
    """The result in a tuple, or None where memory ran out.

    The error is caught in a function of its own, because as long as the error lives it holds all
    that `work` had made.
    """
    try:
        return (work(part),)
    except torch.OutOfMemoryError:
        if part.stop - part.start == 1:
            raise
        return None


def fitting(device: torch.device, each: int, otherwise: int) -> int:
    """How many things go at a time, if each takes `each` bytes to work on.

    On CUDA these are as many as fill half of the free memory, at least 1 and at most MOST. Other
    devices do not tell how much memory is free, and `otherwise` is the answer there.
    """
    if device.type != "cuda":
        return otherwise
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST, free // (2 * each)))


def in_threads(
    work: Callable[[Thing], Result], things: Iterable[Thing], threads: int
) -> Iterator[Result]:
    """work(thing) for all things, in their order, several at a time.

    It pays where the work leaves Python alone, as OpenCV does. The things are made one after the
    other, no more than are worked on.
    """
    if threads == 1:
        yield from map(work, things)
        return
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[Result]] = deque()
        for thing in things:
            if len(begun) == threads:
                yield begun.popleft().result()
            begun.append(pool.submit(work, thing))
        while begun:
            yield begun.popleft().result()
