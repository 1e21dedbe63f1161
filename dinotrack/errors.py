"""What can go wrong that the user can mend, told apart from our own bugs.

An error or a warning is one sentence that says what is wrong and what to do. Often the thing to do
is to give an argument, and its name depends on the door the user came through: what is
`resume=True` in Python is `--resume` on the command line. A message is therefore given in parts,
the text as it is and each argument as an `Argument`:

    raise InputError(f"{folder} holds an unfinished fit; go on with ", Argument("resume", True))

`str(error)` then speaks of the API, and a command line prints `on_command_line(error)` instead.
A function that adds to the message of another error passes on its parts:
`InputError(*error.args, "; or ...")`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STEERING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of characters that a terminal obeys or can't show, instead of showing them:
control and format characters, bytes of a name that are no text, and line ends."""

LONGEST = 40
"""Letters of a wrong value that a message repeats."""


@dataclass(frozen=True)
class Argument:
    """An argument of the public functions that a message asks for, as `resume=True`.

    Without a value the message speaks of the argument itself, as in "choose another folder".
    """

    name: str
    value: Any = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"


def setting(key: str, value: Any) -> Argument:
    """One changed number of the method, such as `settings={'backbone.name': 'none'}`."""
    return Argument("settings", {key: value})


class _Message(Exception):
    """An exception whose arguments are the parts of one sentence: text and `Argument`.

    Its text is `printable`, as Python shows it on a terminal where nobody catches it.
    """

    def __str__(self) -> str:
        return printable("".join(str(part) for part in self.args))


class InputError(_Message, ValueError):
    """Bad input. The message is one sentence: what is wrong and what to do.

    The command line exits with 2.
    """


class DinotrackWarning(_Message, UserWarning):
    """Something the user should know that does not stop the run.

    The command line prints it as one line.
    """


def on_command_line(error: BaseException, **flags: str) -> str:
    """The message of an error or a warning on one line, in the words of a command line.

    There `resume=True` is `--resume`, `query_frame=3` is `--query-frame 3`, and
    `settings={'training.steps': 9}` is `--set training.steps=9`.

    flags: the flags of arguments that a command line calls otherwise, as in `folder="--out"`.
    """
    names = {"settings": "--set", **flags}
    parts = (_flag(part, names) if isinstance(part, Argument) else str(part) for part in error.args)
    return printable("".join(parts))


def printable(text: str) -> str:
    """A text as a terminal may show it, on one line.

    A line end, as in messages of libraries, becomes a space. What names of files may hold to steer
    the terminal is written as Python writes it in quotes, such as `\\x1b`.
    """
    line = re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    return "".join(map(_written_out, line))


def shown(value: Any) -> str:
    """A value that somebody gave, as a message shows it: however long it is, in LONGEST letters."""
    try:
        text = repr(value)
    except Exception:  # whole numbers of thousands of digits, and objects with a broken repr
        kind = "number" if isinstance(value, int) else type(value).__name__
        return f"a {kind} too long to show"
    letters = "".join(letter if letter.isprintable() else "?" for letter in text)
    return letters if len(letters) <= LONGEST else f"{letters[: LONGEST - 3]}..."


def cause_of(error: Exception) -> str:
    """Why a file or a folder can't be had, in the system's words and without its numbers."""
    return getattr(error, "strerror", None) or str(error)


def _written_out(character: str) -> str:
    steers = unicodedata.category(character) in STEERING
    return character.encode("unicode_escape").decode() if steers else character


def _flag(argument: Argument, names: Mapping[str, str]) -> str:
    flag = names.get(argument.name, "--" + argument.name.replace("_", "-"))
    if argument.value is None or argument.value is True:
        return flag
    if isinstance(argument.value, dict):
        pairs = [f"{key}={_text(value)}" for key, value in argument.value.items()]
        return " ".join((flag, *pairs))
    return f"{flag} {_text(argument.value)}"


def _text(value: Any) -> str:
    """A value as it is typed after "=": true, none, 8.5 or 64,128."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(_text(part) for part in value)
    return str(value)
