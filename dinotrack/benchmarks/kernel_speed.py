"""Kernels against their plain twins and the obvious PyTorch formulation: agreement, time, memory,
share of the peak.

python -m dinotrack.benchmarks.kernel_speed [--dry-run] [--out FILE.json]. On CUDA it takes minutes
and exits with 1 where a goal is missed; elsewhere only the twins are timed. --dry-run: everything
once, tiny, on the CPU, kernels in
Triton's interpreter. Times are of the device: on CUDA the host runs ahead, unless what is timed
waits for the device.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.benchmarks.machine import environment
from dinotrack.config import PAPER
from dinotrack.correlation import KERNELS_VARIABLE, correlation_maps
from dinotrack.errors import InputError
from dinotrack.geometry import Grid
from dinotrack.kernels import tiles
from dinotrack.kernels.contrast import log_sum_exp_torch, log_sum_exp_triton
from dinotrack.kernels.match import best_cells_torch, best_cells_triton, match_torch, match_triton
from dinotrack.kernels.mutual import mutual_nearest_torch, mutual_nearest_triton
from dinotrack.model import Tracker

HELP = "kernels: agreement with their twins, time, memory, share of the peak"
TEMPERATURE = 0.1  # of InfoNCE
PAIRS = 2**24  # that a twin holds at a time
HEAD_START = 10_000_000  # cycles that the GPU idles before a timing, so that the host can run ahead
AGREE = {
    torch.float32: 1e-4,
    torch.float16: 5e-3,
    torch.bfloat16: 3e-2,
}  # of gradients, relative to the largest

Row = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """What is compared: `queries` in each of `frames` maps of rows x cols cells, and `points` with
    all cells."""

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


PAPER_SIZES = Sizes("paper", 8, 512, 67, 121, 1024, 1024, 8192, 20)
SLIM_SIZES = replace(PAPER_SIZES, name="slim", channels=128)
CPU_SIZES = Sizes("cpu", 2, 64, 60, 107, 96, 128, 1024, 7)
TINY_SIZES = Sizes("tiny", 2, 2, 3, 4, 8, 3, 16, 1)


@dataclass(frozen=True)
class Goal:
    """What a kernel has to reach on a GPU, at the paper's sizes."""

    name: str
    value: float
    goal: float

    @property
    def passed(self) -> bool:
        return self.value >= self.goal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--dry-run", action="store_true", help="everything once, tiny, in Triton's interpreter"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures there, as JSON")


def run(args: argparse.Namespace, say: Say) -> Row:
    """Says and returns the machine, agreement, timings and goals.

    Raises InputError where kernels can't be run dry.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and not args.dry_run else "cpu")
    if args.dry_run and not (tiles.AVAILABLE and tiles.INTERPRETED):
        raise InputError(
            "a dry run needs Triton's interpreter; install triton and set TRITON_INTERPRET=1"
        )
    sizes = (
        [PAPER_SIZES, SLIM_SIZES]
        if device.type == "cuda"
        else [TINY_SIZES if args.dry_run else CPU_SIZES]
    )
    kernels = device.type == "cuda" or args.dry_run
    agreement = check_agreement(device, tiny=args.dry_run) if kernels else []
    for row in agreement:
        say(
            f"{row['what']:<22} {row['dtype']:<9} differs by {row['error']:.1e}, allowed {row['allowed']:.0e}"
        )
    timings = [row for size in sizes for row in measure(device, size, kernels)]
    for row in timings:
        say(_line(row))
    goals = judge(timings) if device.type == "cuda" else []
    for goal in goals:
        say(
            f"{'reached' if goal.passed else 'MISSED '} {goal.name}: {goal.value:.2f}, at least {goal.goal:g}"
        )
    report = {
        "machine": _machine(device),
        "agreement": agreement,
        "timings": timings,
        "goals": [asdict(goal) | {"passed": goal.passed} for goal in goals],
    }
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return report


def passed(report: Row) -> bool:
    """Whether all kernels agree with their twins and reach their goals."""
    return all(row["error"] <= row["allowed"] for row in report["agreement"]) and all(
        goal["passed"] for goal in report["goals"]
    )


def judge(timings: Sequence[Row]) -> list[Goal]:
    """The goals, from timings at the paper's sizes."""
    row = {(r["what"], r["side"]): r for r in timings if r["sizes"]["name"] == "paper"}

    def faster(what: str) -> float:
        return float(row[what, "obvious"]["ms"] / row[what, "kernel"]["ms"])

    size = row["mutual nearest", "kernel"]["sizes"]
    matrix = (size["rows"] * size["cols"]) ** 2 * 2 / 2**20  # MiB, in half precision
    return [
        Goal("best cells, share of the matmul peak", row["best cells", "kernel"]["share"], 0.5),
        Goal("match, times the eager path", faster("match"), 5.0),
        Goal("match and its gradients, times the eager path", faster("match + gradients"), 5.0),
        Goal("mutual nearest, times the matrix", faster("mutual nearest"), 3.0),
        Goal(
            "mutual nearest, the matrix's memory by its own",
            matrix / row["mutual nearest", "kernel"]["peak_mb"],
            2.0,
        ),
        Goal("InfoNCE and its gradients, times the matrix", faster("InfoNCE + gradients"), 2.0),
    ]


# --- agreement
# ----------------------------------------------------------------------------------------------------


def check_agreement(device: torch.device, tiny: bool) -> list[Row]:
    """Largest differences of kernels from their twins, values and gradients, and what is allowed.

    33 channels: no multiple of any tile. bfloat16 on CUDA only, as Triton's interpreter does it
    wrongly.
    """
    size = replace(TINY_SIZES, channels=33) if tiny else Sizes("odd", 3, 37, 13, 17, 33, 41, 0, 0)
    rows = []
    with torch.backends.cudnn.flags(enabled=False):  # which rounds the twin's convolutions to TF32
        for dtype in AGREE if device.type == "cuda" else (torch.float32, torch.float16):
            rows += [
                {"dtype": str(dtype).removeprefix("torch."), **row}
                for row in _agreement(size, device, dtype)
            ]
    return rows


def _agreement(size: Sizes, device: torch.device, dtype: torch.dtype) -> Iterator[Row]:
    vectors, maps, index = _scene(size, device, dtype)
    with torch.no_grad():
        pairs = zip(
            best_cells_triton(vectors, maps, index),
            best_cells_torch(vectors, maps, index, PAIRS),
            strict=True,
        )
        yield _differ("best cells", pairs, 1e-5)
        a, b = (m.flatten(1).T.contiguous() for m in maps[:2])
        found, expected = mutual_nearest_triton(a, b), mutual_nearest_torch(a, b, PAIRS)
        same = len(found[0]) == len(expected[0])
        yield _differ(
            "mutual nearest", zip(found, expected, strict=True) if same else [(a, a + 1)], 1e-5
        )
    filters = _tracker(size, device, whole=False).refiner.filters()
    reach = PAPER.model.radius / 7
    inputs = vectors.requires_grad_(), maps.requires_grad_()
    one = match_triton(*inputs, index, filters, 1.0, reach)
    two = match_torch(*inputs, index, filters, 1.0, reach, PAIRS)
    yield _differ("match", [(one, two)], 1e-3)
    yield _differ(
        "match's gradients",
        zip(_slopes(one, inputs), _slopes(two, inputs), strict=True),
        AGREE[dtype],
        True,
    )
    inputs = vectors, a.requires_grad_()
    one, two = log_sum_exp_triton(*inputs, TEMPERATURE), log_sum_exp_torch(*inputs, TEMPERATURE)
    yield _differ("InfoNCE", [(one, two)], 1e-4)
    yield _differ(
        "InfoNCE's gradients",
        zip(_slopes(one, inputs), _slopes(two, inputs), strict=True),
        AGREE[dtype],
        True,
    )


def _differ(what: str, pairs: Any, allowed: float, relative: bool = False) -> Row:
    """The largest difference in pairs of tensors; relative: to the largest value of the second."""
    errors = [
        ((one - two).abs().amax() / (two.abs().amax().clamp(min=1e-12) if relative else 1)).item()
        for one, two in ((one.detach().double(), two.detach().double()) for one, two in pairs)
        if one.numel()
    ]
    return {"what": what, "error": float(torch.tensor([0.0, *errors]).amax()), "allowed": allowed}


def _slopes(result: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, result.numel(), device=result.device).view_as(result)
    return torch.autograd.grad((result * weight).sum(), inputs)


# --- timings
# ------------------------------------------------------------------------------------------------------


def measure(device: torch.device, size: Sizes, kernels: bool) -> list[Row]:
    """Times of each operation: `obvious` PyTorch, the `twin` and, if kernels, the `kernel`; and the
    machine's peaks.

    Each row: what, side, dtype, sizes, ms (median), iqr_ms, peak_mb (CUDA) and, where products are
    what it does, the share of the measured matmul peak. Half precision on CUDA, float32 elsewhere.
    """
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    common = {"dtype": str(dtype).removeprefix("torch."), "sizes": asdict(size)}
    peaks = [row | common for row in _peaks(device, dtype, size)]
    flops = peaks[0]["tflops"]
    rows = []
    for what, work, sides in _operations(device, dtype, size):
        for side, function in sides.items():
            if side != "kernel" or kernels:
                row = {"what": what, "side": side, **common, **_timed(function, device, size.runs)}
                rows.append(row | ({"share": work / row["ms"] / 1e9 / flops} if work else {}))
    return peaks + rows


def _operations(
    device: torch.device, dtype: torch.dtype, size: Sizes
) -> Iterator[tuple[str, float, dict[str, Callable[[], object]]]]:
    """(what, floating-point operations of its products or 0, what to call for each side)."""
    vectors, maps, index = _scene(size, device, dtype)
    cells, count = size.rows * size.cols, size.frames * size.queries
    yield (
        "best cells",
        2.0 * count * cells * size.channels,
        {
            "obvious": lambda: _obvious_best(vectors, maps, size),
            "twin": lambda: best_cells_torch(vectors, maps, index, PAIRS),
            "kernel": lambda: best_cells_triton(vectors, maps, index),
        },
    )
    yield from _match_operations(vectors, maps, index, size)
    a, b = (m.flatten(1).T.contiguous() for m in maps[:2])
    yield (
        "mutual nearest",
        2.0 * cells * cells * size.channels,
        {
            "obvious": lambda: _obvious_mutual(a, b),
            "twin": lambda: mutual_nearest_torch(a, b, PAIRS),
            "kernel": lambda: mutual_nearest_triton(a, b),
        },
    )
    points, others = vectors[: size.points].clone().requires_grad_(), a.clone().requires_grad_()
    forms = {"obvious": _obvious_contrast, "twin": log_sum_exp_torch, "kernel": log_sum_exp_triton}
    yield (
        "InfoNCE + gradients",
        6.0 * len(points) * cells * size.channels,
        {side: _with_gradients(form, points, others) for side, form in forms.items()},
    )


def _match_operations(
    vectors: Tensor, maps: Tensor, index: Tensor, size: Sizes
) -> Iterator[tuple[str, float, dict[str, Callable[[], object]]]]:
    """The whole of a match, from features of any length, under autocast; `obvious`: whole maps, as
    in the reference."""
    device, grid = vectors.device, Grid(size.rows, size.cols, 7.0, 7.0)
    whole, part = _tracker(size, device, whole=True), _tracker(size, device, whole=False)
    inputs = vectors.clone().requires_grad_(), maps.clone().requires_grad_()

    def call(side: str, gradients: bool) -> object:
        half = (
            torch.autocast(device.type, vectors.dtype) if device.type == "cuda" else nullcontext()
        )
        with _forced("triton" if side == "kernel" else "torch"), torch.set_grad_enabled(gradients):
            with half:
                if side == "obvious":
                    found = whole.locate(correlation_maps(*inputs, index), grid)
                else:
                    found = part.match(*inputs, index, grid)
            learned = [*inputs, *(whole if side == "obvious" else part).refiner.parameters()]
            return torch.autograd.grad(found.sum(), learned) if gradients else found

    for what, gradients in (("match", False), ("match + gradients", True)):
        yield (
            what,
            0.0,
            {side: partial(call, side, gradients) for side in ("obvious", "twin", "kernel")},
        )


def _obvious_best(vectors: Tensor, maps: Tensor, size: Sizes) -> object:
    products = vectors.view(size.frames, size.queries, -1) @ maps.flatten(2)
    return products.max(dim=-1)


def _obvious_mutual(a: Tensor, b: Tensor) -> object:
    products = a @ b.T
    row, column = products.max(dim=1), products.max(dim=0)
    mutual = (column.indices[row.indices] == torch.arange(len(a), device=a.device)).nonzero()[:, 0]
    return mutual, row.indices[mutual], row.values[mutual].float()


def _obvious_contrast(vectors: Tensor, cells: Tensor, temperature: float) -> Tensor:
    return torch.logsumexp((vectors @ cells.T).float() / temperature, dim=-1)


def _with_gradients(
    form: Callable[[Tensor, Tensor, float], Tensor], a: Tensor, b: Tensor
) -> Callable[[], object]:
    return lambda: torch.autograd.grad(form(a, b, TEMPERATURE).sum(), (a, b))


def _forced(side: str) -> AbstractContextManager[None]:
    """One side of correlation.py's choice."""
    return environment(KERNELS_VARIABLE, side)


def _scene(size: Sizes, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors [frames queries, C] and maps [frames, C, rows, cols], channels last, of unit length;
    index, in order."""
    dice = torch.Generator().manual_seed(0)
    vectors = torch.randn(size.frames * size.queries, size.channels, generator=dice)
    maps = torch.randn(size.frames, size.channels, size.rows, size.cols, generator=dice)
    maps = (
        F.normalize(maps.to(device), dim=1).to(dtype).contiguous(memory_format=torch.channels_last)
    )
    index = torch.arange(size.frames, device=device).repeat_interleave(size.queries)
    return F.normalize(vectors.to(device), dim=1).to(dtype), maps, index


def _tracker(size: Sizes, device: torch.device, whole: bool) -> Tracker:
    """The paper's refiner, the same whichever; its network isn't used and small."""
    torch.manual_seed(0)
    tracker = Tracker(replace(PAPER.model, whole_map=whole, widths=(4, 4, 4)), size.channels)
    tracker.refiner.start_as_identity()
    return tracker.to(device)


def _peaks(device: torch.device, dtype: torch.dtype, size: Sizes) -> list[Row]:
    """What the machine can do: products of square matrices, and copies within memory."""
    a, b = (torch.randn(size.matmul, size.matmul, device=device, dtype=dtype) for _ in range(2))
    product = _timed(lambda: a @ b, device, size.runs)
    source = torch.zeros(size.matmul**2 * 2, device=device)
    goal = torch.empty_like(source)
    copy = _timed(lambda: goal.copy_(source), device, size.runs)
    return [
        {
            "what": "matmul",
            "side": "peak",
            **product,
            "tflops": 2 * size.matmul**3 / product["ms"] / 1e9,
        },
        {"what": "copy", "side": "peak", **copy, "gb_per_s": 2 * source.nbytes / copy["ms"] / 1e6},
    ]


def _timed(function: Callable[[], object], device: torch.device, runs: int) -> Row:
    """Median and interquartile range of the time, ms, after three that don't count; on CUDA peak
    memory too, MiB."""
    memory: Row = {}
    for k in range(min(3, runs)):
        if device.type == "cuda" and k == min(3, runs) - 1:  # the first calls also try tile sizes
            torch.cuda.synchronize(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            function()
            torch.cuda.synchronize(device)
            memory = {"peak_mb": (torch.cuda.max_memory_allocated(device) - before) / 2**20}
        else:
            function()
    clock = _cuda_ms if device.type == "cuda" else _host_ms
    times = sorted(clock(function) for _ in range(runs))
    low, _, high = statistics.quantiles(times, n=4) if runs > 1 else (0.0, 0.0, 0.0)
    return {"ms": statistics.median(times), "iqr_ms": high - low, **memory}


def _cuda_ms(function: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    torch.cuda._sleep(HEAD_START)
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def _host_ms(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def _machine(device: torch.device) -> Row:
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    triton = tiles.triton.__version__ if tiles.AVAILABLE else None
    return {"device": name, "threads": torch.get_num_threads(), **versions, "triton": triton}


def _line(row: Row) -> str:
    extra = [f"{row['share']:.0%} of matmul"] if "share" in row else []
    extra += [f"{row['tflops']:.3g} TFLOP/s"] if "tflops" in row else []
    extra += [f"{row['gb_per_s']:.3g} GB/s"] if "gb_per_s" in row else []
    extra += [f"{math.ceil(row['peak_mb'])} MiB"] if "peak_mb" in row else []
    spread = f"{row['ms']:10.3f} ms ± {row['iqr_ms']:.3f}"
    return (
        f"{row['sizes']['name']:<6} {row['what']:<20} {row['side']:<8} {spread}  {', '.join(extra)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0, 1 where a goal is missed, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m dinotrack.benchmarks.kernel_speed", description=__doc__
    )
    add_arguments(parser)
    try:
        return (
            0
            if passed(run(parser.parse_args(argv), say=lambda line: print(line, flush=True)))
            else 1
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
