"""From rows of measurements to means and spreads, and several runs as one.

A row is what one method did on one clip with one seed, judged by one data set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from dinotrack import metrics
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.benchmarks.records import build
from dinotrack.metrics import Scores

K = TypeVar("K", bound=Hashable)

PEAKS = ("peak_mb", "gpu_mb")
"""Numbers of which the highest counts, not the mean."""
POOLED = ("ece", "auroc")
"""Numbers that are no mean over clips: they are taken over the observations of all clips."""


@dataclass(frozen=True)
class Group:
    """The rows that are summed up as one: those of a method and seed on a data set."""

    method: str
    dataset: str
    seed: int


@dataclass(frozen=True)
class Row:
    """What a method did with one seed."""

    method: str
    dataset: str
    clip: str | None
    """None: all clips of the data set."""
    seed: int
    numbers: Scores
    """Metrics and costs by name; NaN for what could not be judged."""

    @property
    def group(self) -> Group:
        """What the row is summed up with."""
        return Group(self.method, self.dataset, self.seed)

    def with_numbers(self, **more: float) -> Row:
        """The same with further numbers."""
        return replace(self, numbers=self.numbers | more)

    def plain(self) -> dict[str, Any]:
        """All in one flat object."""
        labels = {"method": self.method, "dataset": self.dataset, "seed": self.seed}
        return labels | ({} if self.clip is None else {"clip": self.clip}) | self.numbers

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> Row:
        """The inverse of `plain`."""
        labels = ("method", "dataset", "clip", "seed")
        numbers = {name: value for name, value in values.items() if name not in labels}
        return Row(
            build(str, values["method"]),
            build(str, values["dataset"]),
            build(str | None, values.get("clip")),
            build(int, values["seed"]),
            build(Scores, numbers),
        )


@dataclass(frozen=True)
class Mean:
    """What a method did with several seeds."""

    method: str
    dataset: str
    clip: str | None
    """None: all clips of the data set."""
    seeds: tuple[int, ...]
    mean: Scores
    """Of peaks the highest."""
    spread: Scores
    """The standard deviation (n - 1) of what two seeds or more have."""


@dataclass(frozen=True)
class AccuracyReport:
    """All that was measured, in one run or in several."""

    runs: tuple[Circumstances, ...]
    rows: tuple[Row, ...]
    seeds: tuple[Row, ...]
    """One for each group: means over its clips, and how many these are (`clips`)."""

    @property
    def means(self) -> list[Mean]:
        """One for each method and data set."""
        return across_seeds(self.seeds)

    def plain(self) -> dict[str, Any]:
        """With the means, for who reads the JSON."""
        return {"runs": self.runs, "rows": self.rows, "seeds": self.seeds, "means": self.means}

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> AccuracyReport:
        """The inverse of `plain`."""
        return AccuracyReport(
            build(tuple[Circumstances, ...], values["runs"]),
            build(tuple[Row, ...], values["rows"]),
            build(tuple[Row, ...], values["seeds"]),
        )


def summarise(rows: Iterable[Row], pooled: Mapping[Group, Scores]) -> tuple[Row, ...]:
    """The mean over the clips of each group.

    pooled: calibration error and AUROC of each group over the observations of all its clips, which
    the rows don't tell.
    """
    groups = _grouped(rows, lambda row: row.group)
    return tuple(_mean_over_clips(key, part, pooled.get(key, {})) for key, part in groups.items())


def _mean_over_clips(key: Group, rows: Sequence[Row], pooled: Scores) -> Row:
    numbers: Scores = {"clips": len(rows)}
    numbers |= metrics.mean_metrics([_without(row.numbers, POOLED) for row in rows])
    for name in PEAKS:
        if name in rows[0].numbers:
            numbers[name] = max(row.numbers[name] for row in rows)
    return Row(key.method, key.dataset, None, key.seed, numbers | pooled)


def across_seeds(rows: Iterable[Row]) -> list[Mean]:
    """Mean and spread over the seeds of all rows of one method, data set and clip."""
    groups = _grouped(rows, lambda row: (row.method, row.dataset, row.clip))
    return [_mean_over_seeds(part) for part in groups.values()]


def _mean_over_seeds(rows: Sequence[Row]) -> Mean:
    mean: Scores = {}
    spread: Scores = {}
    for name in dict.fromkeys(name for row in rows for name in row.numbers):
        known = [row.numbers[name] for row in rows if name in row.numbers]
        values = [value for value in known if not np.isnan(value)]
        if values and name in PEAKS:
            mean[name] = max(values)
        elif values:
            mean[name] = float(np.mean(values))
            if len(values) > 1:
                spread[name] = float(np.std(values, ddof=1))
    one = rows[0]
    seeds = tuple(row.seed for row in rows)
    return Mean(one.method, one.dataset, one.clip, seeds, mean, spread)


def merge(reports: Sequence[AccuracyReport]) -> AccuracyReport:
    """Several runs as one report. Of rows with equal method, data set, clip and seed the last one
    counts.

    Pooled numbers stay where all rows of a group come from one run. Elsewhere they are left out, as
    the observations that they would be taken over are not kept.
    """
    latest: dict[tuple[Group, str | None], tuple[int, Row]] = {}
    for index, report in enumerate(reports):
        latest |= {(row.group, row.clip): (index, row) for row in report.rows}
    sources: dict[Group, set[int]] = {}
    for index, row in latest.values():
        sources.setdefault(row.group, set()).add(index)
    pooled = {
        mean.group: _only(mean.numbers, POOLED)
        for index, report in enumerate(reports)
        for mean in report.seeds
        if sources[mean.group] == {index}
    }
    rows = tuple(row for _, row in latest.values())
    runs = tuple(run for report in reports for run in report.runs)
    return AccuracyReport(runs, rows, summarise(rows, pooled))


def _grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Rows by key, in the order they came."""
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _only(numbers: Scores, names: Collection[str]) -> Scores:
    return {name: value for name, value in numbers.items() if name in names}


def _without(numbers: Scores, names: Collection[str]) -> Scores:
    return {name: value for name, value in numbers.items() if name not in names}
