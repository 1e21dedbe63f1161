"""One writer to a folder at a time: a lock that says whose it is.

The lock is the kernel's, on the file .lock in the folder. It ends with the process that holds it,
however that ends, so no lock is ever stale. Who holds it stands beside it, in .lock.json, for the
message alone. A file of the user's that happens to have that name stays as it is.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinotrack.errors import Argument, InputError, printable
from dinotrack.files import regular, replacing

LOCK = ".lock"
HOLDER = ".lock.json"
LONGEST_NOTE = 1000
"""Characters that are read of it."""


class InUse(InputError):
    """Somebody else holds the lock of a folder."""


@contextlib.contextmanager
def locked(folder: str | Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder that exists.

    patience: seconds to wait for it. Raises InUse where somebody else still holds it then, in
    another process or in this one. Where the folder takes no files, or its file system knows no
    locks, nothing is locked and all goes on.
    """
    folder = Path(folder)
    lock = _acquired(folder, patience)
    if lock is None:
        yield
        return
    with lock:
        note = folder / HOLDER
        if _is_free(note):
            _say_who(note)
        try:
            yield
        finally:
            if _told(note) is not None:
                with contextlib.suppress(OSError):
                    note.unlink()


def _acquired(folder: Path, patience: float) -> contextlib.AbstractContextManager[object] | None:
    """The lock of a folder, held until the end of its `with`; None where nothing can be locked."""
    import filelock

    lock = filelock.FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        return lock.acquire(timeout=patience) if folder.is_dir() else None
    except filelock.Timeout:
        raise _in_use(folder) from None
    except OSError:
        return None


def _is_free(note: Path) -> bool:
    """Whether a note can lie there without taking the place of a file of the user's.

    After a power cut, one of ours may be empty.
    """
    try:
        return note.lstat().st_size == 0 or _told(note) is not None
    except OSError:
        return True


def _say_who(note: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    with contextlib.suppress(InputError), replacing(note, durable=False) as part:
        part.write_text(json.dumps(holder))


def _in_use(folder: Path) -> InUse:
    who = _holder(folder)
    return InUse(
        f"{folder} is in use by {who}; wait for it, or choose another ", Argument("folder")
    )


def _holder(folder: Path) -> str:
    """Who holds a lock, as far as the note beside it can be read."""
    told = _told(folder / HOLDER)
    if told is None:
        return "another process"
    pid, host, started = told
    today = started[:3] == time.localtime()[:3]
    clock = time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", started)
    if (pid, host) == (os.getpid(), socket.gethostname()):
        return f"another run of this process since {clock}"
    return f"process {pid} on {printable(host[:64])} since {clock}"


def _told(note: Path) -> tuple[int, str, time.struct_time] | None:
    """What a note says: process, host and since when. None for another file: any words may stand
    there."""
    try:
        with regular(note).open(encoding="utf-8") as file:
            told: Any = json.loads(file.read(LONGEST_NOTE))
        return int(told["pid"]), str(told["host"]), time.localtime(float(told["since"]))
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
