"""How long each operation takes in each of its forms, and how high the machine's peaks are."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from dinotrack.benchmarks.kernel_speed.operations import Sizes, operations

HEAD_START = 10_000_000
"""Cycles that the GPU idles before a timing, so that the host can run ahead."""
PEAK = "peak"
"""The side of a timing that says what the machine can do."""
UNCOUNTED = 3
"""Calls before the timings, in which kernels are compiled and memory is claimed."""


@dataclass(frozen=True)
class Time:
    """How long one thing takes."""

    ms: float
    """Median."""
    iqr_ms: float
    """Interquartile range."""
    peak_mb: float | None = None
    """Memory that it takes on CUDA, MiB."""


@dataclass(frozen=True, kw_only=True)
class Timing(Time):
    """How long one operation takes in one of its forms, or how high a peak of the machine is."""

    what: str
    side: str
    """obvious, twin or kernel; PEAK for the machine's."""
    sizes: Sizes
    dtype: str = ""
    share: float | None = None
    """Of the measured matmul peak, where products are what takes the time."""
    tflops: float | None = None
    """Of a peak: matrix products."""
    gb_per_s: float | None = None
    """Of a peak: copies within memory."""

    def line(self) -> str:
        """For people."""
        extra = []
        if self.share is not None:
            extra.append(f"{self.share:.0%} of matmul")
        if self.tflops is not None:
            extra.append(f"{self.tflops:.3g} TFLOP/s")
        if self.gb_per_s is not None:
            extra.append(f"{self.gb_per_s:.3g} GB/s")
        if self.peak_mb is not None:
            extra.append(f"{math.ceil(self.peak_mb)} MiB")
        spread = f"{self.ms:10.3f} ms ± {self.iqr_ms:.3f}"
        return f"{self.sizes.name:<6} {self.what:<20} {self.side:<8} {spread}  {', '.join(extra)}"


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
            about = partial(Timing, what=operation.what, side=side, sizes=size, dtype=name)
            rows.append(about(**vars(taken), share=share))
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
    peak = partial(Timing, side=PEAK, sizes=size, dtype=name)
    return (
        peak(**vars(product), what="matmul", tflops=tflops),
        peak(**vars(copied), what="copy", gb_per_s=gb_per_s),
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
