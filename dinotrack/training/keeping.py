"""When a fit is written: by time, however its work ends, and only where its numbers are finite."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.interrupts import held
from dinotrack.mishaps import astray
from dinotrack.training.checkpoint import Store
from dinotrack.training.loop import State
from dinotrack.training.stored import is_finite

WORK_PER_SAVE = 20.0
"""Seconds of work for each second that the last save took: on a slow disk it is saved more seldom,
and saving takes a twentieth of the time, as long as MOST_WORK allows."""
MOST_WORK = 15.0
"""Seconds of work after which a slow disk is no reason to wait longer: a run that is killed then
loses less than 20 s, the step that was being taken and the save included."""


@dataclass
class Keeper:
    """Writes one fit, again and again, while it is trained."""

    store: Store
    seconds: float
    """Of work between two saves."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._kept = self.store.step
        self._since = self.clock()
        self._taken = 0.0
        self._told = False

    def keep_if_due(self, state: State) -> None:
        """Write the fit where enough time has passed since it was last written."""
        slow = min(WORK_PER_SAVE * self._taken, MOST_WORK)
        if self.clock() - self._since >= max(self.seconds, slow):
            self.keep(state, "the fit goes on, and writing it is tried again later")

    def keep_last(self, state: State) -> None:
        """Write the fit after its last step."""
        self._told = False
        self.keep(state, "the fit goes on to tracks, but it is not kept")

    def keep_what_is_whole(self, state: State) -> None:
        """Write what is there when work ends early, if it is more than what was written last."""
        with held():
            if state.is_whole and state.step > self._kept and is_finite(state):
                self._told = False
                self.keep(state, f"what was learnt after step {self._kept} is lost")

    def keep(self, state: State, otherwise: str) -> None:
        """Write the fit. Where that fails, a DinotrackWarning says what happens otherwise, once.

        Raises InputError where its numbers are not finite, and writes nothing.
        """
        if not is_finite(state):
            config = self.store.identity.config
            raise astray(f"by step {state.step} the numbers of the fit", config)
        begun = self.clock()
        try:
            self.store.save(state)
            self._kept = state.step
        except InputError as error:
            if not self._told:
                warnings.warn(DinotrackWarning(*error.args, f"; {otherwise}"), stacklevel=2)
            self._told = True
        self._since = self.clock()
        self._taken = self._since - begun
