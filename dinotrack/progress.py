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
