"""One writer to a folder at a time, and no lock outlives its holder."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dinotrack.errors import InputError, on_command_line
from dinotrack.locks import HOLDER, LOCK, locked

HOLD = """
import signal, sys
from dinotrack.locks import locked
signal.signal(signal.SIGINT, signal.default_int_handler)  # which some shells ignore
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lock until its input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], text=True, **pipes)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate()
        process.wait()


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught, locked(folder):
        pytest.fail("two hold one lock")
    assert on_command_line(caught.value, folder="--out").endswith("choose another --out")
    return str(caught.value)


def test_who_comes_second_is_told_who_is_there_and_since_when(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        who = f"process {process.pid} on {socket.gethostname()} since "
        told = refusal(tmp_path)
        assert told.startswith(f"{tmp_path} is in use by {who}")
        assert told.endswith("; wait for it, or choose another folder")
        assert time.strftime("%H:") in told or time.strftime("%M") == "00"
        (tmp_path / "other").mkdir()
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path):
        pass
    assert not (tmp_path / HOLDER).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_lock_ends_with_its_process(tmp_path: Path, name: str) -> None:
    with another_process(tmp_path) as process:
        process.stderr = None
        process.send_signal(getattr(signal, name))
        process.wait()
        with locked(tmp_path):
            assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()


def test_a_lock_ends_with_what_it_surrounds_however_that_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.name != LOCK] == []


def test_two_runs_of_one_process_do_not_share_a_folder(tmp_path: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert "in use by another run of this process since" in refusal(tmp_path)
    done.set()
    thread.join()
    with locked(tmp_path):
        assert "in use by another run of this process since" in refusal(tmp_path)


TOLD = {"pid": 7, "host": "there", "since": 0.0}


@pytest.mark.parametrize(
    ("text", "who"),
    [
        (json.dumps(TOLD), "process 7 on there since 19"),
        (json.dumps({**TOLD, "host": "a\x1b[2Jb\nc"}), r"process 7 on a\x1b[2Jb c since"),
        (json.dumps({**TOLD, "host": "h" * 500}), "process 7 on " + "h" * 64 + " since"),
        (json.dumps({**TOLD, "pid": "7; rm"}), "another process;"),
        (json.dumps({**TOLD, "since": 1e300}), "another process;"),
        (json.dumps({**TOLD, "since": float("nan")}), "another process;"),
        (json.dumps({**TOLD, "pid": float("inf")}), "another process;"),
        (json.dumps([1]), "another process;"),
        ("[" * 900, "another process;"),
        ("", "another process;"),
        ("half {", "another process;"),
        ("\udcff", "another process;"),
        (None, "another process;"),
    ],
)
def test_what_stands_beside_a_lock_is_not_trusted(
    tmp_path: Path, text: str | None, who: str
) -> None:
    with locked(tmp_path):
        (tmp_path / HOLDER).unlink()
        if text is not None:
            (tmp_path / HOLDER).write_bytes(text.encode(errors="surrogateescape"))
        told = refusal(tmp_path)
    assert f"is in use by {who}" in told
    assert told.isprintable()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_a_pipe_beside_a_lock_does_not_hold_anybody_up(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / HOLDER).unlink()
        os.mkfifo(tmp_path / HOLDER)
        assert "is in use by another process;" in refusal(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="of Unix")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_nothing_can_be_locked_all_goes_on(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert not (tmp_path / HOLDER).exists()


def test_where_no_file_can_be_made_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).mkdir()
    with locked(tmp_path):
        pass
    with locked(tmp_path / "absent"):
        pass
    assert not (tmp_path / "absent").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_planted_link_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for name in (LOCK, HOLDER):
        (tmp_path / name).symlink_to("mine")
    with locked(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("text", ["mine", "[1, 2]", '{"pid": 1}', "\0" * 9000])
def test_a_file_of_the_user_beside_a_lock_stays(tmp_path: Path, text: str) -> None:
    for name in (LOCK, HOLDER):
        (tmp_path / name).write_text(text)
    with locked(tmp_path):
        assert "is in use by another process" in refusal(tmp_path)
    assert [(tmp_path / name).read_text() for name in (LOCK, HOLDER)] == [text, text]


@pytest.mark.parametrize("text", ["", json.dumps(TOLD)])
def test_what_a_killed_run_left_beside_a_lock_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / HOLDER).write_text(text)
    with locked(tmp_path):
        assert "is in use by another run of this process" in refusal(tmp_path)
    assert not (tmp_path / HOLDER).exists()
