"""Whether two values are the same to the last bit, and of the same types, all the way down."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def same(a: Any, b: Any) -> bool:
    """Arrays and tensors need the same dtype; objects are the same if their attributes are."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, torch.nn.Module):
        return same(a.state_dict(), b.state_dict())
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dict__"):
        return same(vars(a), vars(b))
    return bool(a == b)
