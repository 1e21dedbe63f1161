"""What `kernel_speed` measures, as Markdown."""

from collections.abc import Mapping

from dinotrack.benchmarks.kernel_speed.part import KernelsPart
from dinotrack.benchmarks.kernel_speed.timing import PEAK, Timing
from dinotrack.benchmarks.report import spread_around, table

SIDES = ("obvious", "twin", "kernel")
"""Who does an operation: obvious PyTorch, the kernel's plain twin, and the kernel."""


def show_kernels(part: KernelsPart) -> list[str]:
    """A row for each operation at each size, and the goals."""
    operations: dict[tuple[str, str], dict[str, Timing]] = {}
    peaks = []
    for timing in part.timings:
        if timing.side == PEAK:
            peaks.append(_peak(timing))
        else:
            key = timing.sizes.name, timing.what
            operations.setdefault(key, {})[timing.side] = timing
    rows = [[size, what, *_operation(sides)] for (size, what), sides in operations.items()]
    header = ["size", "operation", *(f"{side}, ms" for side in SIDES)]
    header += ["obvious / ours", "of the matmul peak"]
    measured = ", ".join(dict.fromkeys(peaks))
    ours = "Ours is the kernel, or its twin without a GPU."
    goals = [f"- {goal.name}: {goal.value:.2f}, of {goal.goal:g} or more" for goal in part.goals]
    out = [f"{ours} Measured peaks: {measured}.", table(header, rows)]
    return [*out, "\n".join(goals)] if goals else out


def _operation(sides: Mapping[str, Timing]) -> list[str]:
    """One operation: the time of each side, and how ours compares."""
    times = [
        spread_around(sides[side].ms, sides[side].iqr_ms, 3) if side in sides else "-"
        for side in SIDES
    ]
    ours = sides.get("kernel", sides["twin"])
    faster = f"{sides['obvious'].ms / ours.ms:.1f}"
    return [*times, faster, "-" if ours.share is None else f"{100 * ours.share:.0f} %"]


def _peak(timing: Timing) -> str:
    if timing.tflops is not None:
        return f"{timing.tflops:.3g} TFLOP/s"
    return f"{timing.gb_per_s:.3g} GB/s copied"
