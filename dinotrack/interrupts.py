"""Signals that end a run: when they may end it, and what must be whole first.

Ctrl-C is one of several: a shell that closes sends SIGHUP, a batch system SIGTERM. Through the
Python functions they do what they always do there, but for a moment later (`held`); the command
line lets all of them end a run as Ctrl-C does (`as_interrupts`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
ENDING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
"""The signals that ask a process to end, as far as the platform knows them."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to end."""

    def __init__(self, number: int):
        """number: the signal's."""
        super().__init__(number)
        self.signal = number


@contextmanager
def held() -> Iterator[None]:
    """Let signals that come inside take effect at the end, whatever they do by then.

    What is inside is thus whole or not begun. Signals reach the main thread alone, so that in
    another there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hold = _Hold()
    try:
        hold.begin()
        yield
    finally:
        hold.end()


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Let each of the signals raise `Interrupted` in the main thread, as Ctrl-C does.

    What the caller ignores, as `nohup` does SIGHUP, or handles in its own way stays as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in ENDING}
    replaced = {number: handler for number, handler in before.items() if handler in ours}
    try:
        for number in replaced:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


class _Hold:
    """Takes note of signals instead of acting on them, until it ends."""

    def __init__(self) -> None:
        self._came: list[int] = []
        self._over = False
        handlers = {number: signal.getsignal(number) for number in ENDING}
        # None: a handler that is not Python's, which could not be put back
        unheld = (None, signal.SIG_IGN)
        self._before = {n: handler for n, handler in handlers.items() if handler not in unheld}

    def begin(self) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def end(self) -> None:
        self._over = True
        try:
            self._put_back()
        except BaseException:  # of a signal that came just now
            self._put_back()
            raise
        for number in dict.fromkeys(self._came):
            signal.raise_signal(number)

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._over:
            self._came.append(number)
            return
        signal.signal(number, self._before[number])
        signal.raise_signal(number)
