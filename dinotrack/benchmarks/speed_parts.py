"""The parts of a speed report."""

from dataclasses import dataclass

from dinotrack.benchmarks.against_paper import PaperPart
from dinotrack.benchmarks.against_reference import InferencePart
from dinotrack.benchmarks.kernel_speed.part import KernelsPart
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.benchmarks.stages import LongPart, StagesPart


@dataclass(frozen=True)
class Parts:
    """What was measured; None for what was not."""

    stages: StagesPart | None = None
    long: LongPart | None = None
    paper: PaperPart | None = None
    inference: InferencePart | None = None
    kernels: KernelsPart | None = None


Part = StagesPart | LongPart | PaperPart | InferencePart | KernelsPart


@dataclass(frozen=True)
class SpeedReport:
    """All that was measured in one run."""

    runs: tuple[Circumstances, ...]
    parts: Parts
