"""dinotrack studio: a page in the browser to place, track, mend and teach points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dinotrack.errors import InputError, printable
from dinotrack.interrupts import held
from dinotrack.terminal import parsing
from dinotrack.terminal.display import Display

if TYPE_CHECKING:
    from dinotrack.studio.workspace import Workspace

INTERRUPTED = "the studio is closed; every edit is kept, and an unfinished fit goes on next time"
NEEDED = ("fastapi", "uvicorn")
PORT = 8765
MOST_PORTS = 65535


def run(argv: Sequence[str]) -> int:
    """Serve the studio until it is interrupted, and print where it is."""
    args = _parser().parse_args(argv)
    if any(find_spec(name) is None for name in NEEDED):
        raise InputError(
            "the studio needs more than is installed; call: pip install '.[studio]' "
            "where dinotrack was installed from"
        )
    with held():  # what Ctrl-C meets while it is being loaded may crash, or lose it
        from dinotrack.studio import serving
        from dinotrack.studio.events import Hub
        from dinotrack.studio.session import Session
        from dinotrack.studio.workspace import Limits, Workspace

    limits = Limits(args.max_upload << 20, args.max_frames)
    workspace = Workspace(args.runs, Session, Hub(), limits)
    try:
        _begin(workspace, args.what)
        with serving.listening(args.host, args.port) as place:
            app = serving.app_at(workspace, place)
            with serving.served(app, place, workspace) as ended:
                print(printable(f"the studio is at {place.address}; Ctrl-C closes it"), flush=True)
                if not args.no_browser:
                    serving.show(place.address)
                while not ended.wait(0.5):  # without an end, some systems heed no signal
                    pass
    finally:
        workspace.close()
    raise InputError("the studio ended by itself; the lines above may say why")


def _parser() -> argparse.ArgumentParser:
    parser = parsing.Parser(
        prog="dinotrack studio",
        description="Open a page in the browser to place, track, mend and teach points "
        "(docs/studio.md).",
    )
    add = parser.add_argument
    kinds = "a video, or the folder of a run (default: choose in the page)"
    add("what", nargs="?", type=parsing.path, metavar="VIDEO|RUN", help=kinds)
    where = "the folder whose runs the page offers, and where uploads go (default runs)"
    add("--runs", type=parsing.path, default=Path("runs"), metavar="DIR", help=where)
    host = "the address to listen at (default 127.0.0.1, for this machine alone)"
    add("--host", default="127.0.0.1", metavar="HOST", help=host)
    port = f"the port, or the next one that is free (default {PORT})"
    add("--port", type=parsing.whole(0, MOST_PORTS), default=PORT, metavar="N", help=port)
    add("--no-browser", action="store_true", help="do not open the browser")
    size = "how large an uploaded video may be, in MB (default 2000)"
    add("--max-upload", type=parsing.whole(1), default=2000, metavar="MB", help=size)
    count = "how many frames an uploaded video may have (default 2000)"
    add("--max-frames", type=parsing.whole(1), default=2000, metavar="N", help=count)
    return parser


def _begin(workspace: Workspace, what: Path | None) -> None:
    """Open what was named on the command line. Raises InputError."""
    from dinotrack.studio import projects

    projects.clear(workspace.runs)
    if what is None:
        return
    is_run = projects.is_project(what)
    folder = what if is_run else projects.folder_of(what, workspace.runs)
    with Display(sys.stderr) as display:
        workspace.begin(projects.Project(folder), None if is_run else what, display)
