"""CUDA graphs: thousands of small kernels, which take longer to launch than to run, are launched at
once."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

UNRECORDED = 3
"""Calls before one is recorded. In these, kernels are compiled and their tile sizes chosen."""


CallTensors = list[Shaped[Tensor, "..."] | None]
"""The tensors of a call, None where an argument or a part of it is None."""
Record = tuple[Callable[[], None], CallTensors, Any]
"""What replays a call, where it finds its inputs, and where it leaves its result."""


class Recorded:
    """A function of tensors on CUDA that is recorded once and then replayed.

    Its arguments are tensors, None, or tuples of these. The function must be pure, except that it
    may read weights that change; it must neither wait for the device, nor copy from the host, nor
    draw random numbers. Calls with tensors of other shapes are recorded for themselves. The next
    replay overwrites what the last one returned, so callers copy what they keep.

    torch.cuda.make_graphed_callables would take one set of shapes only, and would record forward
    and backward apart.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self._calls: dict[Hashable, int] = {}
        self._records: dict[Hashable, Record] = {}

    def __call__(self, *arguments: Any) -> Any:
        """The function's result."""
        inputs, form = tree_flatten(arguments)
        key = tuple(None if tensor is None else (tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self._records:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] <= UNRECORDED:
                return self.function(*arguments)
            self._records[key] = self._record(inputs, form)
        replay, places, result = self._records[key]
        for place, tensor in zip(places, inputs, strict=True):
            if place is not None:
                place.copy_(tensor)
        replay()
        return result

    def _record(self, inputs: CallTensors, form: Any) -> Record:
        """Record a call with inputs like these. Nothing is computed yet."""
        places = [None if tensor is None else tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self.function(*tree_unflatten(places, form))
        return graph.replay, places, result
