"""What the command lines say: lines of text on streams that may be gone, full, or of few letters.

Saying something never ends a run. Whatever can't be written is dropped, and what a stream has no
letters for is written as Python writes it in quotes.
"""

import contextlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from tqdm import tqdm

from dinotrack.errors import DinotrackWarning, InputError, on_command_line, printable
from dinotrack.interrupts import ENDING, as_interrupts, held
from dinotrack.mishaps import lacks_memory

OUT_OF_MEMORY = "out of memory; give a smaller video, or ask for less at once"
FLAGS = {"folder": "--out", "video": "VIDEO"}
"""What the command line calls the arguments of the API that have other names there."""


def run(work: Callable[[], int], interrupted: str) -> int:
    """Run what a command line does, tell how it ended, and give the exit code.

    That is what `work` returns; 2 for what the user can mend; 1 for a bug of ours; and 128 and the
    number of a signal that ended it, so 130 for Ctrl-C.

    interrupted: what is said then, unless the exception has a note that says it better.
    """
    with unfailing_streams(), warnings_as_lines(), as_interrupts():
        try:
            return work()
        except InputError as error:
            say_of("error", error)
            return 2
        except KeyboardInterrupt as stop:
            with contextlib.suppress(KeyboardInterrupt), held():  # a second one adds nothing
                say(getattr(stop, "__notes__", [interrupted])[0])
            return 128 + int(getattr(stop, "signal", signal.SIGINT))
        except Exception as error:
            if lacks_memory(error):
                say(f"error: {OUT_OF_MEMORY}")
                return 2
            say_bug(error)
            return 1


class Unfailing(io.TextIOBase):
    """A stream that takes every text and never complains, whatever becomes of the one behind it.

    That one may be None, as `sys.stderr` is where the shell has closed it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream behind."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self._stream is not None:
            spelt = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
            with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
                self._stream.write(spelt)
        return len(text)

    def flush(self) -> None:
        """Pass on what waits, if that can be done."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream behind is a terminal."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """The number of the file behind. Raises OSError where there is none."""
        if self._stream is None:
            raise OSError("there is no file")
        return self._stream.fileno()


@contextlib.contextmanager
def unfailing_streams() -> Iterator[None]:
    """Nothing that is printed inside, by us or by a library, can raise because of its stream."""
    out = cast(TextIO, Unfailing(sys.stdout))
    err = cast(TextIO, Unfailing(sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def say(message: str) -> None:
    """One line on stderr, above the bar if there is one."""
    tqdm.write(f"dinotrack: {printable(message)}", file=sys.stderr)


def say_of(kind: str, message: BaseException) -> None:
    """An error or a warning as one line, in the words of the command line."""
    say(f"{kind}: {on_command_line(message, **FLAGS)}")


def say_bug(error: Exception) -> None:
    """The traceback of an error of ours, and where it is wanted."""
    sys.stderr.write("".join(traceback.format_exception(error)))
    say("that is a bug of ours; please report it together with the lines above")


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


# --- a process of ours


def fill_closed_streams() -> None:
    """Give a place to standard streams that the shell has closed.

    Otherwise the next file that is opened, such as the tracks, takes the number of stderr, and
    what libraries of C complain of is written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def end_quietly() -> None:
    """Write what still waits in stdout and stderr, or drop it, and heed no signal any more: the end
    of Python would tell of both at length."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _drop(stream)


def _drop(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
