"""What `kernel_speed` measures, as rows and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dinotrack.benchmarks.report import spread_around, table

SIDES = ("obvious", "twin", "kernel")
"""Who does an operation: obvious PyTorch, the kernel's plain twin, and the kernel."""
PEAK = "peak"
"""The side of a row that says what the machine can do."""


@dataclass(frozen=True)
class KernelTiming:
    """How long one side takes for one operation."""

    what: str
    side: str
    ms: float
    """Median."""
    iqr_ms: float
    sizes: Mapping[str, Any]
    """What is compared, and the `name` of these sizes."""
    dtype: str = ""
    share: float | None = None
    """Of the peak of matrix products; None where products are not what it does."""
    peak_mb: float | None = None
    """Memory on CUDA."""
    tflops: float | None = None
    """Of a peak: matrix products."""
    gb_per_s: float | None = None
    """Of a peak: copies within memory."""


@dataclass(frozen=True)
class KernelGoal:
    """What a kernel has to reach, and whether it does."""

    name: str
    value: float
    goal: float
    passed: bool


@dataclass(frozen=True)
class KernelsPart:
    """All that was measured of the kernels."""

    timings: tuple[KernelTiming, ...]
    goals: tuple[KernelGoal, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    agreement: tuple[Mapping[str, Any], ...] = ()


def show_kernels(part: KernelsPart) -> list[str]:
    """A row for each operation at each size, and the goals."""
    operations: dict[tuple[str, str], dict[str, KernelTiming]] = {}
    peaks = []
    for timing in part.timings:
        if timing.side == PEAK:
            peaks.append(_peak(timing))
        else:
            key = str(timing.sizes["name"]), timing.what
            operations.setdefault(key, {})[timing.side] = timing
    rows = [[size, what, *_operation(sides)] for (size, what), sides in operations.items()]
    header = ["size", "operation", *(f"{side}, ms" for side in SIDES)]
    header += ["obvious / ours", "of the matmul peak"]
    measured = ", ".join(dict.fromkeys(peaks))
    ours = "Ours is the kernel, or its twin without a GPU."
    goals = [f"- {goal.name}: {goal.value:.2f}, of {goal.goal:g} or more" for goal in part.goals]
    out = [f"{ours} Measured peaks: {measured}.", table(header, rows)]
    return [*out, "\n".join(goals)] if goals else out


def _operation(sides: Mapping[str, KernelTiming]) -> list[str]:
    """One operation: the time of each side, and how ours compares."""
    times = [
        spread_around(sides[side].ms, sides[side].iqr_ms, 3) if side in sides else "-"
        for side in SIDES
    ]
    ours = sides.get("kernel", sides["twin"])
    faster = f"{sides['obvious'].ms / ours.ms:.1f}"
    return [*times, faster, "-" if ours.share is None else f"{100 * ours.share:.0f} %"]


def _peak(timing: KernelTiming) -> str:
    if timing.tflops is not None:
        return f"{timing.tflops:.3g} TFLOP/s"
    return f"{timing.gb_per_s:.3g} GB/s copied"
