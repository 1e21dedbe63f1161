"""The command `dinotrack studio`: how it begins, where it listens, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from dinotrack import cli
from dinotrack.errors import InputError
from dinotrack.locks import locked
from dinotrack.studio import serving
from dinotrack.studio.journal import JOURNAL, read_journal
from tests.studio_fake import FRAMES, FakeSession, write_frames, write_run

PATIENCE = 20.0
LOCAL = "127.0.0.1"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeSession]:
    """The sessions that the command makes, which need no networks; it runs in an empty folder."""
    made: list[FakeSession] = []

    def make(*parts: Any) -> FakeSession:
        made.append(FakeSession(*parts))
        return made[-1]

    monkeypatch.setattr("dinotrack.studio.session.Session", make)
    monkeypatch.chdir(tmp_path)
    return made


def ask(address: str, path: str = "api/projects", edit: dict[str, Any] | None = None) -> Any:
    """What the studio at an address answers."""
    request = urllib.request.Request(f"{address}{path}")
    if edit is not None:
        request.data = json.dumps(edit).encode()
        request.headers |= {"Content-type": "application/json", "X-dinotrack": "1"}
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def run_until(
    argv: list[str], story: Callable[[str], Any], capfd: pytest.CaptureFixture[str]
) -> tuple[int, Any, str]:
    """Run the command, tell a story to the address that it prints, and interrupt it.

    Returns its code, what the story returned, and all that was printed.
    """
    said = ""

    def tell() -> Any:
        nonlocal said
        try:
            until = time.monotonic() + PATIENCE
            while (found := re.search(r"http://\S+(?=;)", said)) is None:
                assert time.monotonic() < until, said
                time.sleep(0.02)
                said += "".join(capfd.readouterr())
            return story(found[0])
        finally:
            signal.raise_signal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        told: Future[Any] = pool.submit(tell)
        code = cli.main(["studio", *argv, "--no-browser", "--port", "0"])
    return code, told.result(), said + "".join(capfd.readouterr())


def test_a_run_from_the_command_line(
    quick: list[FakeSession], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "elsewhere", "clip", write_frames(tmp_path / "frames"))

    def story(address: str) -> Any:
        listing = ask(address)
        at = f"api/projects/{listing['opened']}"
        ask(address, f"{at}/edits", {"kind": "add", "points": [{"t": 0, "x": 1, "y": 1}]})
        stream = urllib.request.urlopen(f"{address}{at}/events", timeout=PATIENCE)
        assert stream.readline() == b"event: state\n"
        return listing, stream  # which is still open when it is interrupted

    code, (listing, stream), said = run_until([str(run)], story, capfd)
    stream.read()
    stream.close()
    assert code == 130
    assert re.search(r"^the studio is at http://127.0.0.1:\d+/; Ctrl-C closes it$", said, re.M)
    assert said.endswith("an unfinished fit goes on next time\n")
    assert "Traceback" not in said
    assert [each["name"] for each in listing["projects"]] == ["clip"]
    assert [session.is_closed for session in quick] == [True]
    assert len(read_journal(run / JOURNAL).history.document.points) == 1
    with locked(run):
        pass


def test_a_video_gets_the_folder_that_a_run_of_it_would_use(
    quick: list[FakeSession], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = write_frames(tmp_path / "my" / "frames")
    code, listing, _ = run_until([str(video), "--runs", "mine"], ask, capfd)
    assert code == 130
    assert [each["frames"] for each in listing["projects"]] == [FRAMES]
    beginning = read_journal(tmp_path / "mine" / "my" / JOURNAL).beginning
    assert beginning.video == str(video)
    # and then the folder alone is enough
    code, again, _ = run_until(["mine/my"], ask, capfd)
    assert (code, again["opened"]) == (130, listing["opened"])


def test_nobody_who_waits_holds_the_end_up(
    quick: list[FakeSession], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, "clip", write_frames(tmp_path / "frames"))
    waiting: list[threading.Thread] = []

    def story(address: str) -> None:
        at = f"api/projects/{ask(address)['opened']}"
        quick[0].may_go_on.clear()
        for kind in ("raw", "refined"):
            thread = threading.Thread(target=refused, args=(address, f"{at}/pictures/{kind}/0"))
            thread.start()
            waiting.append(thread)
        time.sleep(0.2)

    def refused(address: str, path: str) -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(address, path)

    code, _, said = run_until([str(run)], story, capfd)
    for thread in waiting:
        thread.join(PATIENCE)
    assert code == 130
    assert "Traceback" not in said


def test_nothing_is_named(
    quick: list[FakeSession], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, listing, _ = run_until([], ask, capfd)
    assert (code, listing) == (130, {"projects": [], "opened": None})
    assert [*tmp_path.iterdir()] == []


def test_another_host_needs_the_token_that_is_printed(
    quick: list[FakeSession], capfd: pytest.CaptureFixture[str]
) -> None:
    def story(address: str) -> Any:
        token = address.partition("?token=")[2]
        assert len(token) > 30
        port = address.split(":")[2].partition("/")[0]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(f"http://{LOCAL}:{port}/")
        jar = urllib.request.HTTPCookieProcessor()
        opener = urllib.request.build_opener(jar)
        opener.open(f"http://{LOCAL}:{port}/?token={token}", timeout=PATIENCE).close()
        with opener.open(f"http://{LOCAL}:{port}/api/projects", timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    code, listing, _ = run_until(["--host", "0.0.0.0"], story, capfd)
    assert (code, listing["projects"]) == (130, [])


WRONG = {
    "nothing.mp4": "no such file or folder",
    "empty": "holds no image that can be read",
    "text.mp4": "text.mp4",
    "run": "does not say where its video lies",
    "--max-frames=0": "out of range",
    "--port=65536": "out of range",
    "--host=nowhere.invalid": "no address of this machine",
    "--host=192.0.2.1": "can't listen at 192.0.2.1",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(
    what: str, quick: list[FakeSession], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert cli.main(["studio", what, "--no-browser"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("dinotrack: error: ")]
    assert WRONG[what] in line
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_project_that_is_in_use(
    quick: list[FakeSession], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, "clip", write_frames(tmp_path / "frames"))
    with locked(run):
        assert cli.main(["studio", str(run), "--no-browser"]) == 2
    assert "is in use by another run of this process" in capfd.readouterr().err


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dinotrack.commands.studio.find_spec", lambda name: None)
    assert cli.main(["studio"]) == 2
    assert "pip install '.[studio]'" in capfd.readouterr().err


# --- where it listens


def test_a_port_that_is_taken_gives_way_to_the_next() -> None:
    with serving.listening(LOCAL, 0) as first:
        port = first.socket.getsockname()[1]
        with serving.listening(LOCAL, port) as second:
            assert port < second.socket.getsockname()[1] < port + serving.TRIED


def test_ports_that_are_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TRIED", 1)
    with serving.listening(LOCAL, 0) as first:
        port = first.socket.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"ports {port} to {port} are all taken"),
            serving.listening(LOCAL, port),
        ):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "::1"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    try:
        with serving.listening(host, 0) as place:
            assert place.token is None
            port = place.socket.getsockname()[1]
            name = f"[{host}]" if ":" in host else host
            assert place.address == f"http://{name}:{port}/"
            assert host in place.hosts
    except InputError:
        pytest.skip("this machine has no such address")


def test_every_start_has_another_token() -> None:
    with serving.listening("0.0.0.0", 0) as one, serving.listening("0.0.0.0", 0) as other:
        assert one.token
        assert other.token
        assert one.token != other.token
        assert "0.0.0.0" not in one.address
        assert one.address.endswith(f"/?token={one.token}")


def test_the_browser_is_opened_where_there_are_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    came = threading.Event()

    def open_(address: str) -> None:
        opened.append(address)
        came.set()

    monkeypatch.setattr("webbrowser.open", open_)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    serving.show("http://nowhere/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    serving.show("http://here/")
    assert came.wait(PATIENCE)
    assert opened == ["http://here/"]


def test_a_socket_is_closed_in_the_end() -> None:
    with serving.listening(LOCAL, 0) as place:
        taken: socket.socket = place.socket
    assert taken.fileno() == -1
