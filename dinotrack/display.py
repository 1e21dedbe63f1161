"""What a terminal shows of a run: progress, warnings and errors, a line or a bar each."""

import contextlib
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from threading import current_thread, main_thread
from typing import Any, TextIO

from tqdm import tqdm

from dinotrack.errors import DinotrackWarning, on_command_line

QUIET_SECONDS = 30.0
"""Between two lines about one stage, where they go into a file."""

FLAGS = {"folder": "--out", "video": "VIDEO"}
"""What the command line calls the arguments of the API that have other names there."""


class Display:
    """Shows progress: one bar a stage on a terminal, and now and then a short line elsewhere.

    A Display is a `Progress`. Where `interrupted` is set, it ends the run at the next report.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self.stage = ""
        self.bar: Any = None
        self.since = 0.0
        self.told = 0.0
        self.interrupted = False

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self._close()
            self._open(stage, done, total)
        if self.terminal:
            self.bar.total = total
            self.bar.update(done - self.bar.n)
        elif done == total or time.monotonic() - self.told > QUIET_SECONDS:
            self._tell(done, total)
        if done == total:
            self._close()
        if self.interrupted:
            raise KeyboardInterrupt

    def _open(self, stage: str, done: int, total: int) -> None:
        self.stage = stage
        self.since = time.monotonic()
        self.told = self.since
        if self.terminal:
            columns, lines = shutil.get_terminal_size()  # unlike tqdm, it takes 0 for unknown
            name = f"{stage:<10}"
            size = {"ncols": columns - 1, "nrows": lines}
            self.bar = tqdm(desc=name, total=total, initial=done, file=self.stream, **size)

    def _tell(self, done: int, total: int) -> None:
        self.told = time.monotonic()
        taken = self.told - self.since
        self.stream.write(f"{self.stage}: {done} of {total}, {taken:.1f} s\n")
        self.stream.flush()

    def _close(self) -> None:
        self.stage = ""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def say(message: str) -> None:
    """One line on stderr, above the bar if there is one."""
    tqdm.write(f"dinotrack: {message}", file=sys.stderr)


def say_of(kind: str, message: BaseException) -> None:
    """An error or a warning as one line, in the words of the command line."""
    say(f"{kind}: {on_command_line(message, **FLAGS)}")


@contextlib.contextmanager
def interrupted_between_steps(display: Display) -> Iterator[None]:
    """Let the first Ctrl-C in a fit wait for the step's end, so that no half step is kept."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or current_thread() is not main_thread():
        yield
        return

    def handle(*_: object) -> None:
        if display.interrupted or display.stage != "fit":
            raise KeyboardInterrupt
        display.interrupted = True

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Our warnings as one line each, always; those of others as Python shows them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def one_line(message: Warning | str, *place: Any, **more: Any) -> None:
            if isinstance(message, DinotrackWarning):
                say_of("warning", message)
            else:
                show(message, *place, **more)

        warnings.simplefilter("always", DinotrackWarning)
        warnings.showwarning = one_line
        yield
