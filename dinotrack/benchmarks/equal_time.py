"""Accuracy of two configurations after equal seconds of fitting, or others of the paper's."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from dinotrack.benchmarks.accuracy import evaluate
from dinotrack.benchmarks.machine import fresh_cache
from dinotrack.benchmarks.methods import Configuration, seconds_of_learning
from dinotrack.benchmarks.summary import Row
from dinotrack.benchmarks.truth import AnnotatedClip
from dinotrack.tracks import Tracks


@dataclass(frozen=True)
class Effort:
    """What a fit took."""

    seconds: float
    """Of its steps."""
    steps: int


@dataclass(frozen=True)
class Pace:
    """How long the paper's configuration may be fitted, and how fast it is."""

    step: float
    """Seconds that one of its steps takes."""
    seconds: float | None = None
    """None: as long as ours took."""


@dataclass(frozen=True)
class Watched:
    """A method (benchmarks.methods) that notes what each of its fits took."""

    configuration: Configuration
    fits: list[Effort] = field(default_factory=list)

    def __call__(
        self,
        clip: str,
        video: Path | UInt8[np.ndarray, "T H W 3"],
        queries: Float[np.ndarray, "N 3"],
        seed: int,
    ) -> Tracks:
        with fresh_cache():
            fitted = self.configuration.fit(clip, video, seed)
            tracks = fitted.focus(queries).track(queries)
        self.fits.append(Effort(seconds_of_learning(fitted), fitted.steps))
        return tracks


def compare_accuracy(
    clip: AnnotatedClip, ours: Configuration, paper: Configuration, seed: int, pace: Pace
) -> list[Row]:
    """Both on a clip with truth, the paper's with as many steps as its seconds hold.

    Of each row, `steps` and `fit_seconds` are numbers too.
    """
    rows = _judged(clip, "ours", ours, seed)
    seconds = pace.seconds or rows[0].numbers["fit_seconds"]
    steps = max(1, round(seconds / pace.step))
    settings = {**paper.options.settings, "training.steps": steps}
    shorter = replace(paper, options=replace(paper.options, settings=settings))
    return rows + _judged(clip, "paper", shorter, seed)


def _judged(clip: AnnotatedClip, name: str, configuration: Configuration, seed: int) -> list[Row]:
    method = Watched(configuration)
    measured = evaluate(clip, name, method, seed)
    (effort,) = method.fits
    return [
        one.row.with_numbers(fit_seconds=effort.seconds, steps=effort.steps) for one in measured
    ]
