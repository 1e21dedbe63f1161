"""python -m dinotrack VIDEO: the command line, and what the installed command runs.

Ctrl-C may come while modules are still being loaded. So all that takes time to load is loaded where
that is heeded.
"""

import contextlib
import os
import sys

INTERRUPTED = 130
"""The exit code that shells give a program which Ctrl-C has ended."""


def entry() -> None:
    """Run the command line in a process of its own, and end that."""
    try:
        from dinotrack.interrupts import held

        with held():  # as a half loaded module may lose the exception
            from dinotrack import cli
            from dinotrack.terminal import console

        console.fill_closed_streams()
        try:
            code = cli.main()
        finally:  # also of --help, which ends by itself
            console.end_quietly()
    except KeyboardInterrupt:
        _leave()
    sys.exit(code)


def _leave() -> None:
    """End at once, before anything was begun or after all was told. Python itself would tell of it
    at length."""
    with contextlib.suppress(OSError, ValueError, AttributeError, KeyboardInterrupt):
        sys.stderr.write("dinotrack: interrupted\n")
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    entry()
