"""Golden numbers, those of the reference implementation, and how far from them ours may be."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Shaped
from torch import Tensor

Golden = Callable[[str], dict[str, np.ndarray]]
"""The fixture `golden`: from the name of a golden file to its arrays."""


def tensors(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Shaped[Tensor, "..."]]:
    """The arrays whose names start with a prefix, without it in their names."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def agree(found: npt.ArrayLike, expected: npt.ArrayLike, tolerance: float = 1e-4) -> None:
    """Differences are a small share of the largest expected number."""
    ours = np.asarray(found)
    golden = np.asarray(expected)
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() <= tolerance * np.abs(golden).max()
