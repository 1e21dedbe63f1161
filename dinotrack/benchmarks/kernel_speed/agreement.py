"""How far kernels differ from their plain twins, in values and gradients."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Num
from torch import Tensor

from dinotrack.benchmarks.kernel_speed.operations import (
    STRIDE,
    TEMPERATURE,
    TINY_SIZES,
    Operands,
    Sizes,
    make_operands,
    make_tracker,
)
from dinotrack.config import PAPER
from dinotrack.kernels.contrast import log_sum_exp_torch, log_sum_exp_triton
from dinotrack.kernels.locate import locate_torch, locate_triton
from dinotrack.kernels.mutual import mutual_nearest_torch, mutual_nearest_triton
from dinotrack.kernels.nearest import best_cells_torch, best_cells_triton

CHANNELS = 33
"""No multiple of any tile."""
ODD_SIZES = Sizes("odd", 3, 37, 13, 17, CHANNELS, 41, 0, 0)
ALLOWED_GRADIENTS = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Differences of gradients, relative to the largest, in each precision."""


Values = Num[Tensor, "..."]
Compared = Iterable[tuple[Values, Values]]
"""What a kernel finds, and what its twin finds."""


@dataclass(frozen=True)
class Agreement:
    """How far a kernel differs from its twin."""

    dtype: str
    what: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """False also where the difference is not a number."""
        return self.error <= self.allowed


def check_agreement(device: torch.device, tiny: bool) -> list[Agreement]:
    """The largest differences of kernels from their twins, and what is allowed.

    bfloat16 is checked on CUDA only, as Triton's interpreter computes it wrongly.
    """
    size = replace(TINY_SIZES, channels=CHANNELS) if tiny else ODD_SIZES
    dtypes = [torch.float32, torch.float16]
    if device.type == "cuda":
        dtypes.append(torch.bfloat16)
    rows = []
    with torch.backends.cudnn.flags(enabled=False):  # which rounds the twin's convolutions to TF32
        for dtype in dtypes:
            operands = make_operands(size, device, dtype)
            rows += [*_nearest(operands), *_locate(operands, size), *_contrast(operands)]
    return rows


def _nearest(operands: Operands) -> Iterator[Agreement]:
    agreement = partial(Agreement, _name(operands))
    inputs = operands.vectors, operands.maps, operands.index
    cells = zip(best_cells_triton(*inputs), best_cells_torch(*inputs), strict=True)
    yield agreement("best cells", _difference(cells), 1e-5)
    a, b = operands.cells(0), operands.cells(1)
    found = mutual_nearest_triton(a, b)
    expected = mutual_nearest_torch(a, b)
    same_count = len(found[0]) == len(expected[0])
    error = _difference(zip(found, expected, strict=True)) if same_count else 1.0
    yield agreement("mutual nearest", error, 1e-5)


def _locate(operands: Operands, size: Sizes) -> Iterator[Agreement]:
    agreement = partial(Agreement, _name(operands))
    filters = make_tracker(size, operands.vectors.device, whole=False).refiner.filters()
    reach = PAPER.model.radius / STRIDE
    inputs = operands.vectors.clone().requires_grad_(), operands.maps.clone().requires_grad_()
    found = locate_triton(*inputs, operands.index, filters, 1.0, reach)
    expected = locate_torch(*inputs, operands.index, filters, 1.0, reach)
    yield agreement("locate", _difference([(found, expected)]), 1e-3)
    error = _relative_difference(_gradients(found, expected, inputs))
    yield agreement("locate's gradients", error, ALLOWED_GRADIENTS[operands.vectors.dtype])


def _contrast(operands: Operands) -> Iterator[Agreement]:
    agreement = partial(Agreement, _name(operands))
    inputs = operands.vectors.clone().requires_grad_(), operands.cells(0).requires_grad_()
    found = log_sum_exp_triton(*inputs, TEMPERATURE)
    expected = log_sum_exp_torch(*inputs, TEMPERATURE)
    yield agreement("InfoNCE", _difference([(found, expected)]), 1e-4)
    error = _relative_difference(_gradients(found, expected, inputs))
    yield agreement("InfoNCE's gradients", error, ALLOWED_GRADIENTS[operands.vectors.dtype])


def _name(operands: Operands) -> str:
    return str(operands.vectors.dtype).removeprefix("torch.")


def _gradients(
    found: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"], inputs: tuple[Values, ...]
) -> Compared:
    """Gradients of both results, weighted alike, to each input."""
    weight = torch.linspace(-1, 1, found.numel(), device=found.device).view_as(found)
    one = torch.autograd.grad((found * weight).sum(), inputs)
    other = torch.autograd.grad((expected * weight).sum(), inputs)
    return zip(one, other, strict=True)


def _difference(compared: Compared) -> float:
    """The largest difference of a pair; not a number where any is not."""
    errors = [_largest(one.detach().double() - other.detach().double()) for one, other in compared]
    return float(torch.tensor([0.0, *errors]).amax())


def _relative_difference(compared: Compared) -> float:
    """The largest difference of a pair, as a share of the second's largest value."""
    errors = [
        _largest(one.double() - other.double()) / max(_largest(other.double()), 1e-12)
        for one, other in compared
    ]
    return float(torch.tensor([0.0, *errors]).amax())


def _largest(values: Float[Tensor, "*shape"]) -> float:
    """The largest magnitude, 0 of nothing."""
    return values.abs().amax().item() if values.numel() else 0.0
