"""The command line: which command is meant, and how it ends.

`dinotrack VIDEO` is one run. Every other command begins with a word of `COMMANDS`.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from dinotrack.commands import track
from dinotrack.errors import InputError
from dinotrack.terminal import console
from dinotrack.terminal.arguments import COMMANDS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    0: all went well; 2: the user can mend it; 1: a bug of ours; 128 and the number of a signal that
    ended it, so 130 for Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) == 1 and words[0] in COMMANDS and os.path.exists(words[0]):
        return console.run(lambda: _tell_apart(words[0]), "")
    if not words or words[0] not in COMMANDS:
        return console.run(lambda: track.run(words), track.BEGINS_AGAIN)
    command = importlib.import_module(f"dinotrack.commands.{words[0]}")
    return console.run(lambda: int(command.run(words[1:])), command.INTERRUPTED)


def _tell_apart(word: str) -> int:
    """Raise InputError for the name of a video that is also that of a command."""
    raise InputError(
        f"{word} is a command, which takes more words, and a file or folder here; "
        f"to track that, write .{os.sep}{word}"
    )
