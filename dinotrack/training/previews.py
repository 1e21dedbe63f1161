"""When a fit is shown while it is trained: before its first step, and then ever more seldom."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

from dinotrack.config import TrainingConfig
from dinotrack.training.loop import State, initial_state

FIRST = 5.0
"""Seconds of training before the second preview. Each further one comes after twice as many."""
WORK_PER_PREVIEW = 8.0
"""Seconds of training for each second that earlier previews took, but for the one before the first
step: so they make a fit longer by about an eighth at most."""


@dataclass
class Previews:
    """Shows copies of one fit, whose own numbers stay what they would be without."""

    show: Callable[[State], None] | None
    """None: nobody looks."""
    config: TrainingConfig
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._begun: float | None = None
        self._next = 0.0
        self._taken = 0.0

    def show_if_due(self, state: State) -> None:
        """Show the fit, where it was trained for long enough since it was last shown.

        The last step is not shown, as the fit itself comes next.
        """
        if self.show is None or not 0 <= state.step < self.config.steps:
            return
        begun = self.clock()
        trained = 0.0 if self._begun is None else begun - self._begun - self._taken
        if trained < max(self._next, WORK_PER_PREVIEW * self._taken):
            return
        self.show(snapshot(state, self.config))
        if self._begun is None:
            self._begun = self.clock()
        else:
            self._taken += self.clock() - begun
        self._next = max(FIRST, 2 * trained)


def snapshot(state: State, config: TrainingConfig) -> State:
    """A state of its own that is as another is now."""
    tracker = copy.deepcopy(state.tracker)
    own = initial_state(tracker, config)
    own.optimizer.load_state_dict(copy.deepcopy(state.optimizer.state_dict()))
    own.step = state.step
    own.lessons = state.lessons
    own.curves = {name: list(values) for name, values in state.curves.items()}
    return own
