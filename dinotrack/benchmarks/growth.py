"""How the seconds and the memory of the pipeline grow with the length of the clip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dinotrack.benchmarks.machine import spread
from dinotrack.benchmarks.stages import WHOLE, PipelineRun

JUDGED = 0.05
"""Seconds: what takes less at the greatest length says nothing of growth."""


@dataclass(frozen=True)
class StageGrowth:
    """How the seconds of one stage grow with the length of the clip."""

    seconds: tuple[float, ...]
    """The median at each length."""
    iqr: tuple[float, ...]
    """The interquartile range at each length."""
    exponent: float | None
    """p of seconds ~ frames^p over all lengths; None where there is too little to judge by."""
    exponent_long: float | None
    """The same from a quarter of the greatest length on."""


@dataclass(frozen=True)
class Growth:
    """How what the pipeline takes grows with the length of the clip."""

    lengths: tuple[int, ...]
    stages: Mapping[str, StageGrowth]
    peak_mb: tuple[float, ...]
    """The highest at each length."""
    gpu_mb: tuple[float, ...] | None
    late: int
    """The least length that is a quarter of the greatest or more."""

    @property
    def memory_percent(self) -> float:
        """By how much the peak grows from the length `late` to the greatest one."""
        first = self.peak_mb[self.lengths.index(self.late)]
        return 100 * (self.peak_mb[-1] / first - 1)


def summarise(rows: Sequence[PipelineRun]) -> Growth:
    """Medians, spreads and exponents of growth of some runs on clips of several lengths."""
    by_length = {
        length: [row for row in rows if row.frames == length]
        for length in sorted({row.frames for row in rows})
    }
    lengths = tuple(by_length)
    late = next(length for length in lengths if 4 * length >= lengths[-1])
    stages = dict.fromkeys(stage for row in rows for stage in row.seconds)
    on_gpu = tuple(max(row.gpu_mb or 0.0 for row in part) for part in by_length.values())
    return Growth(
        lengths=lengths,
        stages={stage: _stage_growth(stage, by_length, late) for stage in stages},
        peak_mb=tuple(max(row.peak_mb[WHOLE] for row in part) for part in by_length.values()),
        gpu_mb=on_gpu if any(on_gpu) else None,
        late=late,
    )


def _stage_growth(
    stage: str, by_length: Mapping[int, Sequence[PipelineRun]], late: int
) -> StageGrowth:
    spreads = {
        length: spread([row.seconds.get(stage, 0.0) for row in rows])
        for length, rows in by_length.items()
    }
    medians = {length: known.median for length, known in spreads.items()}
    return StageGrowth(
        seconds=tuple(medians.values()),
        iqr=tuple(known.iqr for known in spreads.values()),
        exponent=growth_exponent(medians),
        exponent_long=growth_exponent({t: value for t, value in medians.items() if t >= late}),
    )


def growth_exponent(seconds: Mapping[int, float]) -> float | None:
    """p of seconds ~ length^p, by least squares of the logarithms.

    seconds: by length. None where there is too little to judge by: one length, or under JUDGED
    seconds at the greatest.
    """
    known = {length: value for length, value in sorted(seconds.items()) if value > 0}
    lengths = list(known)
    values = list(known.values())
    if len(known) < 2 or values[-1] < JUDGED:
        return None
    exponent, _ = np.polyfit(np.log(lengths), np.log(values), 1)
    return float(exponent)
