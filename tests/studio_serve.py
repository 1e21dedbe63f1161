"""python -m tests.studio_serve ARGS: `dinotrack studio ARGS` with a session that needs no networks,
so that a test can start it and kill it many times."""

from __future__ import annotations

import sys

from dinotrack import cli
from dinotrack.studio import session
from tests.studio_fake import FakeSession

if __name__ == "__main__":
    session.Session = FakeSession  # type: ignore[misc, assignment]
    sys.exit(cli.main(["studio", *sys.argv[1:]]))
