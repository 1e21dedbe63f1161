"""What a terminal or a file shows of the progress of a run: a bar or a few lines for each stage."""

import shutil
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from dinotrack.terminal.console import Unfailing

SOON_SECONDS = 3.0
"""Until the first line about a stage, where lines go into a file; what ends sooner needs none."""
QUIET_SECONDS = 30.0
"""Between two further lines about it."""
BAR_SECONDS = 0.2
"""Between two looks of a bar."""


class Display:
    """Shows progress: one bar a stage on a terminal, and now and then a short line elsewhere.

    A Display is a `Progress`. The time left is reckoned from the rate since the stage began. What
    happens to the stream never raises here.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = Unfailing(stream)
        self.clock = clock
        self.terminal = self.stream.isatty()
        self.stage = ""
        self.bar: Any = None
        self.first = 0
        self.since = 0.0
        self.next_line = 0.0

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self._close()
            self._open(stage, done, total)
        over = done >= total > 0  # 0: nobody knows yet
        if self.terminal:
            self.bar.total = total or None
            self.bar.update(done - self.bar.n)
        elif over or self.clock() >= self.next_line:
            self._tell(done, total)
        if over:
            self._close()

    def _open(self, stage: str, done: int, total: int) -> None:
        self.stage = stage
        self.first = done
        self.since = self.clock()
        self.next_line = self.since + SOON_SECONDS
        if self.terminal:
            self.bar = self._new_bar(done, total)

    def _new_bar(self, done: int, total: int) -> Any:
        columns, lines = shutil.get_terminal_size()  # unlike tqdm, it takes 0 for unknown
        return tqdm(
            desc=f"{self.stage:<10}",
            total=total or None,
            initial=done,
            file=self.stream,
            ncols=columns - 1,
            nrows=lines,
            mininterval=BAR_SECONDS,
            miniters=1,
            smoothing=0,  # the rate of the whole stage, as single updates take unlike times
        )

    def _tell(self, done: int, total: int) -> None:
        now = self.clock()
        taken = now - self.since
        line = f"{self.stage}: {done} of {total}, {taken:.1f} s"
        if self.first < done < total:
            left = taken / (done - self.first) * (total - done)
            line += f", about {in_words(left)} left"
        self.stream.write(line + "\n")
        self.stream.flush()
        self.next_line = now + QUIET_SECONDS

    def _close(self) -> None:
        self.stage = ""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def in_words(seconds: float) -> str:
    """A length of time in the unit that suits it: 50 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
