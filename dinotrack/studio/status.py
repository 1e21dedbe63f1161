"""How far a fit and other long work are, as pages are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class FitStatus:
    """How far the fit of a project is."""

    status: str = "none"
    """none, running, stopping, stopped, done or failed."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What `fits.settings_json` gives."""
    step: int = 0
    """Steps that were trained."""
    stage: str | None = None
    """What is done now, as progress calls it."""
    done: int = 0
    total: int = 0
    began: tuple[float, int] = (0.0, 0)
    """When the stage began, and with how much done."""
    problem: str | None = None
    """Why the last fit failed."""
    preview: bool = False
    """Whether tracks are those of a fit that is not finished."""

    @property
    def is_under_way(self) -> bool:
        """Whether somebody works on it."""
        return self.status in ("running", "stopping")

    def at(self, stage: str, done: int, total: int, now: float) -> FitStatus:
        """The status once a stage has come so far."""
        began = self.began if stage == self.stage else (now, done)
        step = done if stage == "fit" else self.step
        return replace(self, stage=stage, done=done, total=total, began=began, step=step)

    def seconds_left(self, now: float) -> float | None:
        """Until the stage ends, at the rate it had so far; None while nobody knows."""
        since, first = self.began
        if self.stage is None or not first < self.done <= self.total:
            return None
        return (now - since) / (self.done - first) * (self.total - self.done)

    def as_json(self, now: float) -> dict[str, Any]:
        """The status as it travels."""
        left = self.seconds_left(now) if self.is_under_way else None
        return {
            "status": self.status,
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "seconds_left": None if left is None else round(left, 1),
            "step": self.step,
            "steps": self.settings.get("steps", 0),
            "settings": dict(self.settings),
            "problem": self.problem,
            "preview": self.preview,
        }


@dataclass(frozen=True)
class Job:
    """Long work that is no fit: load, track, teach, overlay or report."""

    what: str
    done: int
    total: int

    def as_json(self) -> dict[str, Any]:
        """The job as it travels."""
        return {"what": self.what, "done": self.done, "total": self.total}


class Seldom:
    """Says whether it is time again to tell of something that changes all the time."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last = -seconds

    def __call__(self) -> bool:
        now = self._clock()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
