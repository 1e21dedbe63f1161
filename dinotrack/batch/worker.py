"""The process in which one job is done.

    python -m dinotrack.batch.worker NAME

What to do comes through stdin, from the batch, which then keeps that open for as long as it lives.
Its end, even by kill -9, is thus known here, and is heeded like SIGTERM: what was learnt is kept.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
from argparse import Namespace

from dinotrack.batch.protocol import FOUND_DONE, IN_USE, Work
from dinotrack.interrupts import held
from dinotrack.locks import InUse
from dinotrack.terminal import console

INTERRUPTED = "interrupted"


def main() -> int:
    """Do what stdin says; the exit code."""
    with held():
        console.fill_closed_streams()
        work, args = pickle.load(sys.stdin.buffer)
        _end_with(_kept_from_children(sys.stdin.fileno()))
    try:
        return code_of(work, args)
    finally:
        console.end_quietly()


def code_of(work: Work, args: Namespace) -> int:
    """Do a job in this process, as a command line does; the exit code."""

    def run() -> int:
        try:
            return 0 if work(args) else FOUND_DONE
        except InUse:
            return IN_USE

    return console.run(run, INTERRUPTED)


def _kept_from_children(stdin: int) -> int:
    """Another number for stdin, which becomes empty, so that no program started here reads it."""
    kept = os.dup(stdin)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, stdin)
    os.close(nowhere)
    return kept


def _end_with(pipe: int) -> None:
    """End this process, as SIGTERM does, when a pipe ends."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(pipe, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    try:
        ended = main()
    except KeyboardInterrupt:
        ended = 128 + signal.SIGINT
    sys.exit(ended)
