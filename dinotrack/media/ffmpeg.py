"""FFmpeg, the program: where it is, how it is run and ended, and what it says.

FFmpeg (imageio's binary) does the decoding, not OpenCV, for three reasons: it reads AV1 and HDR
rightly, it goes on after a damaged packet, and it says what is wrong with a file.

What FFmpeg says is for people. It quotes titles, names and comments of the file, and whoever made
the file chose these. Nothing is therefore read out of it but what is wrong (`complaint`), and what
our own filter said under a name that no file can foretell.
"""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO, Any

import imageio_ffmpeg

from dinotrack.errors import InputError, cause_of, printable
from dinotrack.interrupts import held

LEAST = "5.1"
"""The oldest FFmpeg that knows all that we ask for."""
LEAST_LIBAVUTIL = (57, 28)
"""The same by its library, as builds from a repository have no version."""
INSTALL = "install one with pip install -U imageio-ffmpeg and unset IMAGEIO_FFMPEG_EXE"
QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel")


def program() -> str:
    """The path of FFmpeg. Raises InputError where there is none."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise InputError(f"FFmpeg is missing; {INSTALL}") from error


@contextlib.contextmanager
def running(
    arguments: Sequence[str], log: IO[bytes], level: str = "error", **channels: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg, running with some arguments; it is ended at the end of the block, however that comes.

    log: where it writes what it says. level: how much that is. channels: what `subprocess.Popen`
    takes, by default nothing to read and a pipe to write to. It runs in a session of its own, so
    that a Ctrl-C in the terminal reaches us alone, and we end it when we are ready.

    Raises InputError where FFmpeg can't be started.
    """
    path = program()
    command = [path, *QUIET, f"level+{level}", *arguments]
    usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "start_new_session": True}
    options = {**usual, **channels}
    process = None
    try:
        with held():  # a signal while it is being started would leave it without an owner
            process = _started(command, stderr=log, **options)
        yield process
    finally:
        if process is not None:
            _end(process)


def _started(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=_environment(), **options)
    except OSError as error:
        problem = f"FFmpeg can't be started from {command[0]} ({cause_of(error)}); {INSTALL}"
        raise InputError(problem) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    with held():
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def check(encoder: str = "") -> None:
    """See whether FFmpeg is there, and new enough; where one is named, whether it has an encoder.

    Raises InputError which says what is wrong.
    """
    version = _answer("-version")
    found = re.search(r"^ffmpeg version (\S+)", version)
    library = re.search(r"^libavutil +(\d+)\. *(\d+)", version, re.MULTILINE)
    if not found or not library:
        raise InputError(f"{program()} is no FFmpeg; {INSTALL}")
    name = f"FFmpeg {printable(found[1])} ({program()})"
    if (int(library[1]), int(library[2])) < LEAST_LIBAVUTIL:
        raise InputError(f"{name} is too old, as {LEAST} is the least that will do; {INSTALL}")
    if encoder and f"Encoder {encoder}" not in _answer("-hide_banner", "-h", f"encoder={encoder}"):
        raise InputError(f"{name} was built without {encoder}; {INSTALL}")


def said(log: IO[bytes]) -> str:
    """What FFmpeg has written into its log so far.

    FFmpeg may be writing, and shares its place in the file with us: to seek would make it write
    over what it said before.
    """
    if hasattr(os, "pread"):
        content = os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0)
    else:
        log.seek(0)
        content = log.read()
    return content.decode(errors="replace")


def complaint(text: str) -> str:
    """FFmpeg's first error in a log, on one line, or "".

    Time stamps out of order, of which outputs complain, are no damage.
    """
    pattern = r"^(?!\[(?:rawvideo|framecrc) )(?:\[[^\]]*@[^\]]*\] )*\[(?:error|fatal)\] (.*)$"
    errors = re.findall(pattern, text, re.MULTILINE)
    return printable(errors[0].strip().rstrip(".")) if errors else ""


def _environment() -> dict[str, str]:
    """Ours, without colours in what FFmpeg says."""
    kept = {key: text for key, text in os.environ.items() if key != "AV_LOG_FORCE_COLOR"}
    return kept | {"AV_LOG_FORCE_NOCOLOR": "1"}


def _answer(*question: str) -> str:
    path = program()
    try:
        run = subprocess.run(
            [path, *question], stdin=subprocess.DEVNULL, capture_output=True, env=_environment(),
            timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise InputError(f"FFmpeg can't be started from {path} ({reason}); {INSTALL}") from error
    return run.stdout.decode(errors="replace")
