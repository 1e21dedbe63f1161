"""Kernels against their plain twins and the obvious PyTorch formulation.

What is reported is agreement, time, memory, and the share of the machine's peak.

python -m dinotrack.benchmarks.kernel_speed [--dry-run] [--out FILE.json]. On CUDA it takes minutes
and exits with 1 where a goal is missed; elsewhere only the twins are timed. --dry-run: everything
once, tiny, on the CPU, kernels in Triton's interpreter. Times are of the device: on CUDA the host
runs ahead, unless what is timed waits for the device.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dinotrack.benchmarks.kernel_agreement import Agreement, check_agreement
from dinotrack.benchmarks.kernel_operations import (
    CPU_SIZES,
    PAPER_SIZES,
    SLIM_SIZES,
    TINY_SIZES,
    Sizes,
    operations,
)
from dinotrack.errors import InputError
from dinotrack.kernels import tiles

HEAD_START = 10_000_000
"""Cycles that the GPU idles before a timing, so that the host can run ahead."""
UNCOUNTED = 3
"""Calls before the timings, in which kernels are compiled and memory is claimed."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Time:
    """How long one thing takes."""

    ms: float
    """Median."""
    iqr_ms: float
    """Interquartile range."""
    peak_mb: float | None = None
    """Memory that it takes on CUDA, MiB."""


@dataclass(frozen=True)
class Timing:
    """How long one operation takes in one of its forms, or how high a peak of the machine is."""

    what: str
    side: str
    """obvious, twin or kernel; peak for the machine's."""
    dtype: str
    sizes: Sizes
    time: Time
    share: float | None = None
    """Of the measured matmul peak, where products are what takes the time."""
    tflops: float | None = None
    gb_per_s: float | None = None

    def as_row(self) -> dict[str, Any]:
        """All that is known of it, flat."""
        row = {**asdict(self), **asdict(self.time)}
        del row["time"]
        return {key: value for key, value in row.items() if value is not None}

    def line(self) -> str:
        """For people."""
        extra = []
        if self.share is not None:
            extra.append(f"{self.share:.0%} of matmul")
        if self.tflops is not None:
            extra.append(f"{self.tflops:.3g} TFLOP/s")
        if self.gb_per_s is not None:
            extra.append(f"{self.gb_per_s:.3g} GB/s")
        if self.time.peak_mb is not None:
            extra.append(f"{math.ceil(self.time.peak_mb)} MiB")
        spread = f"{self.time.ms:10.3f} ms ± {self.time.iqr_ms:.3f}"
        return f"{self.sizes.name:<6} {self.what:<20} {self.side:<8} {spread}  {', '.join(extra)}"


@dataclass(frozen=True)
class Goal:
    """What a kernel has to reach on a GPU, at the paper's sizes."""

    name: str
    value: float
    goal: float

    @property
    def passed(self) -> bool:
        return self.value >= self.goal


@dataclass(frozen=True)
class Report:
    """All that the benchmark finds."""

    machine: dict[str, Any]
    agreement: list[Agreement]
    timings: list[Timing]
    goals: list[Goal]

    @property
    def passed(self) -> bool:
        """Whether all kernels agree with their twins and reach their goals."""
        agree = all(row.passed for row in self.agreement)
        return agree and all(goal.passed for goal in self.goals)

    def as_row(self) -> dict[str, Any]:
        """As it is written to JSON."""
        return {
            "machine": self.machine,
            "agreement": [asdict(row) for row in self.agreement],
            "timings": [row.as_row() for row in self.timings],
            "goals": [asdict(goal) | {"passed": goal.passed} for goal in self.goals],
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--dry-run", action="store_true", help="everything once, tiny, in Triton's interpreter"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures there, as JSON")


def run(dry_run: bool, say: Say) -> Report:
    """Says and returns the machine, agreement, timings and goals.

    Raises InputError where kernels can't be run dry.
    """
    on_cuda = torch.cuda.is_available() and not dry_run
    device = torch.device("cuda" if on_cuda else "cpu")
    if dry_run and not (tiles.AVAILABLE and tiles.INTERPRETED):
        raise InputError(
            "a dry run needs Triton's interpreter; install triton and set TRITON_INTERPRET=1"
        )
    kernels = on_cuda or dry_run
    agreement = check_agreement(device, tiny=dry_run) if kernels else []
    for row in agreement:
        difference = f"differs by {row.error:.1e}, allowed {row.allowed:.0e}"
        say(f"{row.what:<22} {row.dtype:<9} {difference}")
    sizes = [PAPER_SIZES, SLIM_SIZES]
    if not on_cuda:
        sizes = [TINY_SIZES if dry_run else CPU_SIZES]
    timings = [row for size in sizes for row in measure(device, size, kernels)]
    for timing in timings:
        say(timing.line())
    goals = judge(timings) if on_cuda else []
    for goal in goals:
        reached = "reached" if goal.passed else "MISSED "
        say(f"{reached} {goal.name}: {goal.value:.2f}, at least {goal.goal:g}")
    return Report(_machine(device), agreement, timings, goals)


def judge(timings: Sequence[Timing]) -> list[Goal]:
    """The goals, from timings at the paper's sizes."""
    known = {(row.what, row.side): row for row in timings if row.sizes.name == PAPER_SIZES.name}

    def faster(what: str) -> float:
        return known[what, "obvious"].time.ms / known[what, "kernel"].time.ms

    mutual = known["mutual nearest", "kernel"]
    matrix_mb = mutual.sizes.cells**2 * 2 / 2**20  # in half precision
    share = known["best cells", "kernel"].share
    assert share is not None
    assert mutual.time.peak_mb is not None
    return [
        Goal("best cells, share of the matmul peak", share, 0.5),
        Goal("locate, times the eager path", faster("locate"), 5.0),
        Goal("locate and its gradients, times the eager path", faster("locate + gradients"), 5.0),
        Goal("mutual nearest, times the matrix", faster("mutual nearest"), 3.0),
        Goal(
            "mutual nearest, the matrix's memory by its own", matrix_mb / mutual.time.peak_mb, 2.0
        ),
        Goal("InfoNCE and its gradients, times the matrix", faster("InfoNCE + gradients"), 2.0),
    ]


def measure(device: torch.device, size: Sizes, kernels: bool) -> list[Timing]:
    """The machine's peaks and the times of each operation: obvious, twin and, if kernels, kernel.

    In half precision on CUDA, in float32 elsewhere.
    """
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    name = str(dtype).removeprefix("torch.")
    matmul, copy = _peaks(device, dtype, size)
    assert matmul.tflops is not None
    rows = []
    for operation in operations(device, dtype, size):
        for side, function in operation.sides.items():
            if side == "kernel" and not kernels:
                continue
            taken = timed(function, device, size.runs)
            share = operation.flops / taken.ms / 1e9 / matmul.tflops if operation.flops else None
            rows.append(Timing(operation.what, side, name, size, taken, share))
    return [matmul, copy, *rows]


def _peaks(device: torch.device, dtype: torch.dtype, size: Sizes) -> tuple[Timing, Timing]:
    """What the machine can do: products of square matrices, and copies within memory."""
    name = str(dtype).removeprefix("torch.")
    side = size.matmul
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = timed(lambda: a @ b, device, size.runs)
    source = torch.zeros(side**2 * 2, device=device)
    goal = torch.empty_like(source)
    copied = timed(lambda: goal.copy_(source), device, size.runs)
    tflops = 2 * side**3 / product.ms / 1e9
    gb_per_s = 2 * source.nbytes / copied.ms / 1e6
    return (
        Timing("matmul", "peak", name, size, product, tflops=tflops),
        Timing("copy", "peak", name, size, copied, gb_per_s=gb_per_s),
    )


def timed(function: Callable[[], object], device: torch.device, runs: int) -> Time:
    """The function's time over several runs, after a few that don't count."""
    on_cuda = device.type == "cuda"
    peak_mb = None
    uncounted = min(UNCOUNTED, runs)
    for _ in range(uncounted - 1):  # the first calls also try tile sizes
        function()
    if on_cuda:
        peak_mb = _peak_mb(function, device)
    else:
        function()
    clock = _cuda_ms if on_cuda else _host_ms
    times = sorted(clock(function) for _ in range(runs))
    low, _, high = statistics.quantiles(times, n=4) if runs > 1 else (0.0, 0.0, 0.0)
    return Time(statistics.median(times), high - low, peak_mb)


def _peak_mb(function: Callable[[], object], device: torch.device) -> float:
    """Memory that a call takes on top of what is held, MiB."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _cuda_ms(function: Callable[[], object]) -> float:
    start = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
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


def _machine(device: torch.device) -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": tiles.triton.__version__ if tiles.AVAILABLE else None,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """0, 1 where a goal is missed, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m dinotrack.benchmarks.kernel_speed", description=__doc__
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        report = run(args.dry_run, say=lambda line: print(line, flush=True))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.out is not None:
        args.out.write_text(json.dumps(report.as_row(), indent=1) + "\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
