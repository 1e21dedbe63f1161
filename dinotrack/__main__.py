"""python -m dinotrack VIDEO: the command line, and what the installed command runs.

Ctrl-C may come while modules are still being loaded. So all that takes time to load is loaded where
that is heeded.
"""

import contextlib
import sys

INTERRUPTED = 130
"""The exit code that shells give a program which Ctrl-C has ended."""


def entry() -> None:
    """Run the command line in a process of its own, and end that."""
    try:
        from dinotrack import cli, console
    except KeyboardInterrupt:
        sys.exit(_before_anything())
    console.fill_closed_streams()
    try:
        code = cli.main()
    except KeyboardInterrupt:  # a second one, while the first was being told of
        code = INTERRUPTED
    finally:
        console.end_quietly()
    sys.exit(code)


def _before_anything() -> int:
    with contextlib.suppress(OSError, ValueError, KeyboardInterrupt):
        print("dinotrack: interrupted before it began", file=sys.stderr, flush=True)
    return INTERRUPTED


if __name__ == "__main__":
    entry()
