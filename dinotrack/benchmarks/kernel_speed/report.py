"""All that the benchmark of the kernels finds, and the goals that kernels have to reach."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dinotrack.benchmarks.kernel_speed.agreement import Agreement, check_agreement
from dinotrack.benchmarks.kernel_speed.operations import (
    CPU_SIZES,
    PAPER_SIZES,
    SLIM_SIZES,
    TINY_SIZES,
)
from dinotrack.benchmarks.kernel_speed.timing import Timing, measure
from dinotrack.errors import InputError
from dinotrack.kernels import tiles

Say = Callable[[str], None]
"""Tells the user one line."""


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
