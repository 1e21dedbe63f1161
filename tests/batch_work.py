"""What a worker of a batch does in tests: the text of a "video" says what becomes of it.

`python -m tests.batch_work ARGS...` is `dinotrack batch ARGS...` with such workers.
"""

import os
import signal
import sys
import time
from argparse import Namespace
from pathlib import Path

from dinotrack import cli
from dinotrack.commands import track
from dinotrack.errors import InputError
from dinotrack.locks import locked
from dinotrack.terminal import outputs, requests

PATIENCE = 60.0
"""Seconds that a slow video takes, unless it was begun before."""


def work(args: Namespace) -> bool:
    """Do what the text of a video says, and leave a record as a run does."""
    out = Path(args.out)
    out.mkdir(exist_ok=True)
    with locked(out):
        if requests.is_done(out, args):
            return False
        begun = (out / "begun").exists()
        (out / "begun").touch()
        _suffer(args.video.read_text().strip(), begun, args.video)
        with (out / "times.txt").open("a") as file:
            file.write("done\n")
        record = {
            "request": requests.request_of(args),
            "points": 4,
            "visible": 0.5,
            "seconds": {"fit": 1.5, "track": 0.25},
            "outputs": {"times.txt": ""},
            "complete": True,
        }
        outputs.write_record(out, record)
    return True


def _suffer(what: str, begun: bool, video: Path) -> None:
    if what == "broken":
        raise InputError(f"{video.name} is broken; give another file")
    if what == "bug":
        raise ZeroDivisionError("of a test")
    if what == "killed" or (what == "killed once" and not begun):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "slow" and not begun:
        time.sleep(PATIENCE)


if __name__ == "__main__":
    from tests import batch_work  # whose function other processes can import, unlike that of main

    track.run_once = batch_work.work
    sys.exit(cli.main(["batch", *sys.argv[1:]]))
