"""CUDA graphs: what is thousands of small kernels, which take longer to launch than to run, is
launched at once."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

UNRECORDED = 3
"""Calls before one is recorded, in which kernels are compiled and their tile sizes chosen."""


class Recorded:
    """A function of tensors on CUDA, whose calls are replays of a recorded one.

    The function must be pure, but for what it reads of weights, and must neither wait for the
    device nor copy from the host. Calls with tensors of other shapes are recorded for themselves.
    What a replay returns is overwritten by the next one. (torch.cuda.make_graphed_callables takes
    one set of shapes, and records forward and backward apart.)
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self._calls: dict[Hashable, int] = {}
        self._records: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor | None], Any]] = {}

    def __call__(self, *inputs: Tensor | None) -> Any:
        """The function's result."""
        key = tuple(None if tensor is None else (tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self._records:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] <= UNRECORDED:
                return self.function(*inputs)
            self._records[key] = self._record(inputs)
        graph, places, result = self._records[key]
        for place, tensor in zip(places, inputs, strict=True):
            if place is not None and tensor is not None:
                place.copy_(tensor)
        graph.replay()
        return result

    def _record(
        self, inputs: tuple[Tensor | None, ...]
    ) -> tuple[torch.cuda.CUDAGraph, list[Tensor | None], Any]:
        """Nothing is computed yet; where replays find their inputs and leave their result."""
        places = [None if tensor is None else tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self.function(*places)
        return graph, places, result
