"""How a run is watched: stages report that they move on, and what they take is noted.

Progress is a plain callback, so the library itself prints nothing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); a stage is over when done == total."""


def silent(stage: str, done: int, total: int) -> None:
    """The default callback: says nothing."""


Tick = Callable[[int], None]
"""Called by a part of a stage as tick(frames), with the frames that it is done with since the last
call."""


def unheard(frames: int) -> None:
    """The default tick: counts nothing."""


@dataclass
class Meter:
    """Counts what a stage has done, in whole and in parts of things, and reports it.

    It never goes back, also where work has to be done again.
    """

    progress: Progress
    stage: str
    total: int
    done: float = 0.0
    """So many things were finished."""
    told: int = 0

    def __post_init__(self) -> None:
        self.progress(self.stage, 0, self.total)

    def ticker(self, things: float) -> Tick:
        """A tick that counts so many things for each frame."""

        def tick(frames: int) -> None:
            self.done += things * frames
            # only `reach` ends a stage, as sums of parts are not exact
            self._tell(min(int(self.done), self.total - 1))

        return tick

    def reach(self, done: int) -> None:
        """So many things are finished now, whatever the parts have counted."""
        self.done = done
        self._tell(done)

    def _tell(self, done: int) -> None:
        if done > self.told:
            self.told = done
            self.progress(self.stage, done, self.total)


@dataclass(frozen=True)
class Watch:
    """Passes the progress of stages on, and notes the seconds and the peak memory of each."""

    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    peak_megabytes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note what happens inside under the name of a stage."""
        since = time.perf_counter()
        yield
        taken = time.perf_counter() - since
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        self.peak_megabytes[name] = peak_memory() / 2**20


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes; 0 on Windows, which does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
