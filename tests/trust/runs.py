"""Runs of the command line as processes of their own: what they said, wrote, and how they ended."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent.parent
TRACK = (sys.executable, str(ROOT / "track.py"))


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    code: its exit code, where 128 + n is the end by signal n, as shells count; None: it was still
    running when its time was up.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    megabytes: float

    @property
    def errors(self) -> list[str]:
        """What was wrong, a line each."""
        return said(self.err, "error: ")

    @property
    def warnings(self) -> list[str]:
        """What the user was told beside, a line each."""
        return said(self.err, "warning: ")

    @property
    def has_traceback(self) -> bool:
        """Whether Python showed its stack, or the run called itself broken."""
        return "Traceback" in self.err or "bug of ours" in self.err or "Exception" in self.err

    @property
    def is_refused(self) -> bool:
        """Whether the run was refused as users are promised: one line, and exit code 2."""
        return self.code == 2 and len(self.errors) == 1 and not self.has_traceback


def said(err: str, kind: str) -> list[str]:
    """The lines of the command line of one kind, without their beginning."""
    beginning = f"dinotrack: {kind}"
    lines = err.replace("\r", "\n").splitlines()
    return [line[len(beginning) :] for line in lines if line.startswith(beginning)]


def environment(place: Path, **more: str) -> dict[str, str]:
    """The variables of a run whose cache and scratch files lie in folders of its own."""
    own = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "DINOTRACK_CACHE": str(place / "cache"),
        "TMPDIR": str(place / "scratch"),
    }
    for folder in (own["DINOTRACK_CACHE"], own["TMPDIR"]):
        Path(folder).mkdir(parents=True, exist_ok=True)
    return {**os.environ, **own, **more}


def start(
    argv: Sequence[str | Path],
    env: Mapping[str, str],
    out: int | IO[Any],
    err: int | IO[Any],
    where: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `track.py` in a session of its own. where: its current folder, if not ours."""
    command = [*TRACK, *map(str, argv)]
    return subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        cwd=where,
    )


def hear_signals() -> None:
    """Take back that this process ignores signals, as its children would ignore them as well.

    Shells start programs in the background that way.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(
    argv: Sequence[str | Path],
    env: Mapping[str, str],
    limit: float = 600,
    addresses: float = 0,
    on_start: Callable[[int], None] | None = None,
    where: Path | None = None,
) -> Outcome:
    """Run `track.py` to its end, or kill it after `limit` seconds.

    addresses: gigabytes that it may address; 0 for no limit. on_start: is told the process id.
    where: the current folder of the run, if not ours.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(argv, env, out, err, where)
        if addresses:
            _limit_addresses(process.pid, addresses)
        if on_start is not None:
            on_start(process.pid)
        code, seconds, megabytes = wait(process, limit)
        return Outcome(code, _text(out), _text(err), seconds, megabytes)


def _limit_addresses(process: int, gigabytes: float) -> None:
    import resource

    limit = int(gigabytes * 1e9)
    resource.prlimit(process, resource.RLIMIT_AS, (limit, limit))


def wait(process: subprocess.Popen[bytes], limit: float) -> tuple[int | None, float, float]:
    """The exit code, seconds from now, and the peak of memory in megabytes, children included.

    A run whose time is up is killed with its children, and has no code.
    """
    since = time.monotonic()
    late = False
    while True:
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
        taken = time.monotonic() - since
        if found:
            break
        if taken > limit and not late:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(status)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return None if late else code, taken, usage.ru_maxrss / 1024


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="backslashreplace")


def make_clip(path: Path, seed: int, *options: str) -> Path:
    """A clip of 12 frames of 96 x 128 that the generator of the project makes."""
    size = ("--size", "96x128", "--frames", "12", "--seed", str(seed))
    command = [sys.executable, "-m", "dinotrack.synthesis", str(path), *size, *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=env, check=True, capture_output=True)
    return path


def digests(folder: Path) -> dict[str, str]:
    """The content of every file below a folder, by its name from there, as hashes.

    run.json tells the time that a run took, so it is left out.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "run.json" and not _is_lock(path)
    }


def _is_lock(path: Path) -> bool:
    """Whether a file only says who works in its folder: processes and times, never results."""
    return path.name.startswith(".lock")


def leftovers(folder: Path) -> list[str]:
    """Unfinished files below a folder, which no run may leave behind."""
    hidden = (path for path in folder.rglob(".*") if path.is_file() and not _is_lock(path))
    parts = (path for path in folder.rglob("*") if path.name.endswith((".part", ".tmp")))
    return sorted({str(path.relative_to(folder)) for path in (*hidden, *parts)})


def processes_of(session: int) -> list[str]:
    """The commands of processes that still live in a session. Empty where there is no /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            found.append(name.partition("(")[2])
    return found
