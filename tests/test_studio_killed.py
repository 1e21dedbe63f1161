"""The studio killed with -9 at any moment: what was answered is there again, and nothing is stuck.

The server is the real one, in a process of its own; `studio_serve.py` gives it the session that
needs no networks.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from dinotrack.studio.document import Clip
from dinotrack.studio.edits import apply
from dinotrack.studio.journal import JOURNAL, read_journal
from dinotrack.studio.projects import Project
from dinotrack.studio.shapes import read_edit
from tests.studio_fake import FRAMES, HEIGHT, WIDTH, gif, write_frames, write_run

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
CLIP = Clip(FRAMES, WIDTH, HEIGHT)
GONE = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)
"""What a request meets whose server is killed. ValueError: half of an answer is no JSON."""


class Server:
    """A studio in a process of its own."""

    def __init__(self, folder: Path, run: Path) -> None:
        command = [sys.executable, "-m", "tests.studio_serve", str(run), "--port", "0"]
        with (folder / "said.txt").open("wb") as said:
            self.process = subprocess.Popen(
                [*command, "--no-browser", "--runs", str(run.parent)],
                cwd=ROOT,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + PATIENCE
        while (found := re.search(r"http://\S+(?=;)", (folder / "said.txt").read_text())) is None:
            assert self.process.poll() is None, (folder / "said.txt").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        self.address = found[0]
        self.at = f"{self.address}api/projects/{Project(run).id}"

    def ask(self, path: str = "", body: dict[str, Any] | bytes | None = None) -> Any:
        """What it answers. Raises one of `GONE` where it is killed meanwhile."""
        request = urllib.request.Request(f"{self.at}{path}")
        if body is not None:
            is_video = isinstance(body, bytes)
            kind = "application/octet-stream" if is_video else "application/json"
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.headers |= {"Content-type": kind, "X-dinotrack": "1"}
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> int:
        """End it as Ctrl-C does; its code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


def kill_soon(server: Server, seconds: float) -> subprocess.Popen[bytes]:
    """Have another process kill a server in so many seconds."""
    code = f"import os, time; time.sleep({seconds}); os.kill({server.process.pid}, 9)"
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def edit(number: int) -> dict[str, Any]:
    """An edit like no other."""
    if number == 0:
        return {"kind": "add", "points": [{"t": 0, "x": 1, "y": 1}] * 3}
    t = 1 + number % (FRAMES - 1)
    return {"kind": "correct", "id": number % 3, "t": t, "x": number % 15 + number / 1e6, "y": 1}


def killed_and_back(folder: Path, kills: int) -> dict[str, Any]:
    """Edit a project without a break while its server is killed again and again; what was found.

    Raises AssertionError where an edit is lost that was answered, or one is there that nobody made.
    """
    run = write_run(folder / "runs", "clip", write_frames(folder / "frames"))
    chance = random.Random(0)
    answered, unanswered = 0, 0
    for _ in range(kills):
        server = Server(folder, run)
        killer = kill_soon(server, chance.uniform(0.05, 0.6))
        with contextlib.suppress(*GONE):
            while True:
                revision = server.ask("/edits", edit(answered))["revision"]
                answered += 1
                assert revision == answered
        killer.wait()
        server.kill()
        kept = read_journal(run / JOURNAL).history
        assert kept.revision in (answered, answered + 1)  # the last one was made and not answered
        unanswered += kept.revision - answered
        answered = kept.revision
        document = read_journal(run / JOURNAL).beginning.document
        for number in range(answered):
            document = apply(document, read_edit(json.dumps(edit(number))), CLIP)
        assert kept.document == document
    server = Server(folder, run)
    state = server.ask()
    assert state["document"] == document.as_json()
    assert state["revision"] == answered
    assert server.ask("/undo", {})["revision"] == answered + 1
    assert server.interrupt() == 130
    return {"kills": kills, "answered": answered, "made but not answered": unanswered}


def test_killed_between_edits(tmp_path: Path) -> None:
    found = killed_and_back(tmp_path, kills=1)
    assert found["answered"] > 10


@pytest.mark.slow
def test_killed_ten_times_between_edits(tmp_path: Path) -> None:
    print("\n", killed_and_back(tmp_path, kills=10))


@pytest.mark.slow
def test_killed_while_it_receives_a_video(tmp_path: Path) -> None:
    """What is left of an upload is gone after the next start, and no lock is left."""
    run = write_run(tmp_path / "runs", "clip", write_frames(tmp_path / "frames"))
    server = Server(tmp_path, run)
    host = server.address.removeprefix("http://").rstrip("/")
    line = http.client.HTTPConnection(host, timeout=PATIENCE)
    line.putrequest("POST", "/api/projects?name=sent.gif")
    kind = {"X-Dinotrack": "1", "Content-Type": "application/octet-stream"}
    for name, value in (kind | {"Content-Length": "3000000"}).items():
        line.putheader(name, value)
    line.endheaders()
    line.send(bytes(2 << 20))
    until = time.monotonic() + PATIENCE
    while not any((tmp_path / "runs").glob("sent/.video.gif.*.part")):
        assert time.monotonic() < until
        time.sleep(0.02)
    server.kill()
    line.close()
    server = Server(tmp_path, run)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["clip"]
    upload = urllib.request.Request(f"{server.address}api/projects?name=sent.gif", gif(), kind)
    with urllib.request.urlopen(upload, timeout=PATIENCE) as answer:
        assert json.loads(answer.read())["id"]
    assert server.interrupt() == 130


@pytest.mark.slow
def test_two_studios_and_one_project(tmp_path: Path) -> None:
    """The second one is told so, and may have it once the first is gone, however that went."""
    run = write_run(tmp_path / "runs", "clip", write_frames(tmp_path / "frames"))
    first = Server(tmp_path, run)
    second = subprocess.run(
        [sys.executable, "-m", "dinotrack", "studio", str(run), "--no-browser"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert f"is in use by process {first.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    first.kill()
    again = Server(tmp_path, run)
    assert again.ask()["revision"] == 0
    assert again.interrupt() == 130
