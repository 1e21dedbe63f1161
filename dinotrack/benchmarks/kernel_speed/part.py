"""All that the benchmark of the kernels finds, and the goals that kernels have to reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dinotrack.benchmarks.kernel_speed.agreement import Agreement, check_agreement
from dinotrack.benchmarks.kernel_speed.operations import (
    CPU_SIZES,
    PAPER_SIZES,
    SLIM_SIZES,
    TINY_SIZES,
)
from dinotrack.benchmarks.kernel_speed.timing import Timing, measure
from dinotrack.benchmarks.report import Say
from dinotrack.errors import InputError
from dinotrack.kernels import tiles


@dataclass(frozen=True)
class Goal:
    """What a kernel has to reach on a GPU, at the paper's sizes."""

    name: str
    value: float
    goal: float
    passed: bool


@dataclass(frozen=True)
class KernelsPart:
    """All that was measured of the kernels."""

    timings: tuple[Timing, ...]
    goals: tuple[Goal, ...]
    agreement: tuple[Agreement, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all kernels agree with their twins and reach their goals."""
        agree = all(row.passed for row in self.agreement)
        return agree and all(goal.passed for goal in self.goals)


def measure_kernels(dry_run: bool, say: Say) -> KernelsPart:
    """Says and returns agreement, timings and goals.

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
    return KernelsPart(tuple(timings), tuple(goals), tuple(agreement))


def judge(timings: Sequence[Timing]) -> list[Goal]:
    """The goals, from timings at the paper's sizes."""
    known = {(row.what, row.side): row for row in timings if row.sizes.name == PAPER_SIZES.name}

    def faster(what: str) -> float:
        return known[what, "obvious"].ms / known[what, "kernel"].ms

    mutual = known["mutual nearest", "kernel"]
    matrix_mb = mutual.sizes.cells**2 * 2 / 2**20  # in half precision
    share = known["best cells", "kernel"].share
    assert share is not None
    assert mutual.peak_mb is not None
    wanted = [
        ("best cells, share of the matmul peak", share, 0.5),
        ("locate, times the eager path", faster("locate"), 5.0),
        ("locate and its gradients, times the eager path", faster("locate + gradients"), 5.0),
        ("mutual nearest, times the matrix", faster("mutual nearest"), 3.0),
        ("mutual nearest, the matrix's memory by its own", matrix_mb / mutual.peak_mb, 2.0),
        ("InfoNCE and its gradients, times the matrix", faster("InfoNCE + gradients"), 2.0),
    ]
    return [Goal(name, value, goal, value >= goal) for name, value, goal in wanted]
