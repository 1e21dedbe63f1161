"""What the benchmark of the kernels compares: sizes, features, and each operation in three forms.

`obvious` is what one writes in PyTorch without a second thought, with all cosines in memory. `twin`
is the plain path of devices without CUDA. `kernel` is the Triton kernel.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.benchmarks.machine import environment
from dinotrack.config import PAPER
from dinotrack.correlation import KERNELS_VARIABLE, correlation_maps
from dinotrack.geometry import Grid
from dinotrack.kernels.contrast import log_sum_exp_torch, log_sum_exp_triton
from dinotrack.kernels.mutual import mutual_nearest_torch, mutual_nearest_triton
from dinotrack.kernels.nearest import best_cells_torch, best_cells_triton
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker

TEMPERATURE = 0.1
"""Of InfoNCE."""
STRIDE = 7.0
"""px between cells, and from the frame's corner to the first one."""


@dataclass(frozen=True)
class Sizes:
    """What is compared: `queries` in each of `frames` maps, and `points` with all cells."""

    name: str
    frames: int
    queries: int
    rows: int
    cols: int
    channels: int
    points: int
    matmul: int
    """Side of the square matrices whose product is the peak."""
    runs: int
    """Timings of each thing, after three that don't count."""

    @property
    def cells(self) -> int:
        """Cells of one map."""
        return self.rows * self.cols


PAPER_SIZES = Sizes("paper", 8, 512, 67, 121, 1024, 1024, 8192, 20)
SLIM_SIZES = replace(PAPER_SIZES, name="slim", channels=128)
CPU_SIZES = Sizes("cpu", 2, 64, 60, 107, 96, 128, 1024, 7)
TINY_SIZES = Sizes("tiny", 2, 2, 3, 4, 8, 3, 16, 1)


@dataclass(frozen=True)
class Operands:
    """Features of unit length that are compared."""

    vectors: Float[Tensor, "N C"]
    maps: Float[Tensor, "B C h w"]
    """Channels last."""
    index: Int[Tensor, " N"]
    """The map of each vector, in order."""

    def cells(self, frame: int) -> Float[Tensor, "P C"]:
        """All features of one map."""
        return self.maps[frame].flatten(1).T.contiguous()


@dataclass(frozen=True)
class Operation:
    """One thing that kernels do."""

    what: str
    flops: float
    """Floating-point operations of its products; 0 where products are not what takes the time."""
    sides: Mapping[str, Callable[[], object]]
    """obvious, twin and kernel: what to call."""


def make_operands(size: Sizes, device: torch.device, dtype: torch.dtype) -> Operands:
    """Random features of these sizes, always the same."""
    dice = torch.Generator().manual_seed(0)
    vectors = torch.randn(size.frames * size.queries, size.channels, generator=dice)
    maps = torch.randn(size.frames, size.channels, size.rows, size.cols, generator=dice)
    vectors = F.normalize(vectors.to(device), dim=1).to(dtype)
    maps = F.normalize(maps.to(device), dim=1).to(dtype)
    index = torch.arange(size.frames, device=device).repeat_interleave(size.queries)
    return Operands(vectors, maps.contiguous(memory_format=torch.channels_last), index)


def make_tracker(size: Sizes, device: torch.device, whole: bool) -> Tracker:
    """The paper's refiner, the same for `whole` maps and for discs.

    The tracker's network is not used and therefore small.
    """
    torch.manual_seed(0)
    config = replace(PAPER.model, whole_map=whole, widths=(4, 4, 4))
    tracker = Tracker(config, size.channels)
    tracker.refiner.start_as_identity()
    return tracker.to(device)


def operations(device: torch.device, dtype: torch.dtype, size: Sizes) -> Iterator[Operation]:
    """All that the kernels do, at these sizes."""
    operands = make_operands(size, device, dtype)
    vectors, maps, index = operands.vectors, operands.maps, operands.index
    yield Operation(
        "best cells",
        2.0 * len(vectors) * size.cells * size.channels,
        {
            "obvious": lambda: _obvious_best(vectors, maps, size),
            "twin": lambda: best_cells_torch(vectors, maps, index),
            "kernel": lambda: best_cells_triton(vectors, maps, index),
        },
    )
    yield from _locate_operations(operands, size)
    a, b = operands.cells(0), operands.cells(1)
    yield Operation(
        "mutual nearest",
        2.0 * size.cells * size.cells * size.channels,
        {
            "obvious": lambda: _obvious_mutual(a, b),
            "twin": lambda: mutual_nearest_torch(a, b),
            "kernel": lambda: mutual_nearest_triton(a, b),
        },
    )
    points = vectors[: size.points].clone().requires_grad_()
    cells = a.clone().requires_grad_()
    forms = {"obvious": _obvious_contrast, "twin": log_sum_exp_torch, "kernel": log_sum_exp_triton}
    yield Operation(
        "InfoNCE + gradients",
        6.0 * len(points) * size.cells * size.channels,
        {side: partial(_with_gradients, form, points, cells) for side, form in forms.items()},
    )


def _locate_operations(operands: Operands, size: Sizes) -> Iterator[Operation]:
    """Locating as a whole, from features of any length, under autocast.

    `obvious` makes whole correspondence maps, as the reference implementation does.
    """
    device = operands.vectors.device
    grid = Grid(size.rows, size.cols, STRIDE, STRIDE)
    whole = make_tracker(size, device, whole=True)
    part = make_tracker(size, device, whole=False)
    vectors = operands.vectors.clone().requires_grad_()
    maps = operands.maps.clone().requires_grad_()

    def find(side: str) -> Float[Tensor, "N 2"]:
        on_cuda = device.type == "cuda"
        half = torch.autocast(device.type, vectors.dtype) if on_cuda else nullcontext()
        with half:
            if side == "obvious":
                return whole.locate_in(correlation_maps(vectors, maps, operands.index), grid)
            return part.locate(vectors, FeatureMaps(maps, grid), operands.index)

    def call(side: str, gradients: bool) -> object:
        chosen = environment(KERNELS_VARIABLE, "triton" if side == "kernel" else "torch")
        tracker = whole if side == "obvious" else part
        with chosen, torch.set_grad_enabled(gradients):
            found = find(side)
            learned = [vectors, maps, *tracker.refiner.parameters()]
            return torch.autograd.grad(found.sum(), learned) if gradients else found

    for what, gradients in (("locate", False), ("locate + gradients", True)):
        sides = {side: partial(call, side, gradients) for side in ("obvious", "twin", "kernel")}
        yield Operation(what, 0.0, sides)


def _obvious_best(
    vectors: Float[Tensor, "N C"], maps: Float[Tensor, "B C h w"], size: Sizes
) -> object:
    products = vectors.view(size.frames, size.queries, -1) @ maps.flatten(2)
    return products.max(dim=-1)


def _obvious_mutual(a: Float[Tensor, "P C"], b: Float[Tensor, "Q C"]) -> object:
    products = a @ b.T
    row = products.max(dim=1)
    column = products.max(dim=0)
    own = torch.arange(len(a), device=a.device)
    mutual = (column.indices[row.indices] == own).nonzero()[:, 0]
    return mutual, row.indices[mutual], row.values[mutual].float()


def _obvious_contrast(
    vectors: Float[Tensor, "N C"], cells: Float[Tensor, "P C"], temperature: float
) -> Float[Tensor, " N"]:
    return torch.logsumexp((vectors @ cells.T).float() / temperature, dim=-1)


Contrast = Callable[[Float[Tensor, "N C"], Float[Tensor, "P C"], float], Float[Tensor, " N"]]
"""InfoNCE of vectors among all cells, before its positives are taken off."""


def _with_gradients(
    form: Contrast,
    points: Float[Tensor, "N C"],
    cells: Float[Tensor, "P C"],
) -> object:
    total = form(points, cells, TEMPERATURE).sum()
    return torch.autograd.grad(total, (points, cells))
