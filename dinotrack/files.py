"""Writing files so that nobody ever meets half of one, and looking at paths before their use."""

import contextlib
import errno
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dinotrack.errors import Argument, InputError, cause_of
from dinotrack.interrupts import held

PART = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)
"""The names of unfinished files, of which no user's file has one."""
LONG_NAME = 200
"""Bytes of a name that leave room for what makes it the name of an unfinished file."""
BLOCK = 4096
"""Bytes that are written in order to try a folder, as a full disk still takes empty files."""
NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
"""How file systems say that they know no fsync."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What a path may be besides a regular file."""


@contextlib.contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """A temporary file in the folder of `path`, which takes the place of `path` on success.

    A reader therefore meets the old file or the whole new one. The temporary file is empty, new,
    and of a name that nobody can foretell, so two writers do not disturb each other and no link
    that lies there is followed. Nothing is left of a failed attempt.

    durable: whether what was written is on the disk before it takes the place, so that a power cut
    leaves the old file or the new one. Otherwise it may leave an empty one.

    Raises InputError where the file can't be written.
    """
    path = Path(path)
    part = path.parent / f".{_shortened(path.name)}.{secrets.token_hex(8)}.part"
    is_ours = False
    try:
        with held():  # so that it is known whether there is one
            _create(part, path)
            is_ours = True
        yield part
        if durable:
            _to_disk(part)
        os.replace(part, path)
    except BrokenPipeError:  # no file breaks so: it is the caller's own stream
        raise
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if is_ours:
            with contextlib.suppress(OSError):
                part.unlink()


def sweep(folder: Path, age: float = 0.0) -> None:
    """Remove what `replacing` left in a folder when a run was killed.

    Whoever writes into the folder at this moment loses a file. So it is for those who hold the
    folder's lock, or for files that were not touched for `age` seconds.
    """
    before = time.time() - age
    with contextlib.suppress(OSError):
        for path in leftovers(folder):
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime <= before:
                    path.unlink()


def leftovers(folder: Path) -> Iterator[Path]:
    """What `replacing` left in a folder when a run was killed, or is about to finish. Raises
    OSError where the folder can't be listed."""
    for path in folder.iterdir():
        if PART.fullmatch(path.name):
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def regular(path: str | Path) -> Path:
    """The path of a regular file, which can be read to its end.

    The path is looked at and not opened, as opening a named pipe may wait for ever. Raises
    InputError where there is no file, or a folder, a pipe, a socket or a device.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path} doesn't exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({cause_of(error)})") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is {KINDS.get(stat.S_IFMT(mode), 'no file')}; give a file")
    return path


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths are the same file, links of both kinds followed.

    The paths of files that do not exist yet are compared.
    """
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    one, other = (os.path.normcase(os.path.realpath(path)) for path in (one, other))
    return one == other


def make_folder(folder: Path, *advice: str | Argument) -> None:
    """Make a folder, with its parents, and try whether files can be written into it.

    Whatever is about to compute for minutes calls this first. Raises InputError where the folder
    can't be made or takes no files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try(folder)
    except (OSError, ValueError) as error:
        raise unwritable(folder, error, *advice) from error
    except RecursionError:  # Python makes the parents one within another
        deep = OSError("it lies too deep")
        raise unwritable(folder, deep, *advice) from None


def check_outputs(paths: Iterable[str | Path], *advice: str | Argument) -> None:
    """Try whether files can be written, in folders that exist, without touching them.

    Raises InputError for the first that is a folder or another thing that no file can replace, or
    whose folder takes no files.
    """
    for path in map(Path, paths):
        try:
            _refuse_irregular(path)
            _try(path.parent)
        except (OSError, ValueError) as error:
            raise unwritable(path, error, *advice) from error


def unwritable(
    path: str | Path, error: OSError | ValueError, *advice: str | Argument
) -> InputError:
    """The error that says why a file or a folder can't be written, and what to do.

    advice: parts of the message; by default "choose another place".
    """
    problem = f"{path}: can't be written ({cause_of(error)}); "
    return InputError(problem, *(advice or ("choose another place",)))


def _create(part: Path, path: Path) -> None:
    """An empty file that is to become `path`. Raises InputError where there can be none."""
    try:
        _refuse_irregular(path)
        # Unlike those of `tempfile`, it gets the permissions that the user's umask gives.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def _refuse_irregular(path: Path) -> None:
    """Raise OSError where `path` is there and no regular file: a rename would put it away."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(f"it is {KINDS.get(stat.S_IFMT(mode), 'no file')}")


def _try(folder: Path) -> None:
    """Raise OSError where a folder takes no files, or its disk not one block more."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(BLOCK))


def _to_disk(path: Path) -> None:
    """Wait until a file is on the disk; a full disk may tell no earlier."""
    with path.open("r+b") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in NO_SYNC:
                raise


def _shortened(name: str) -> str:
    return name if len(os.fsencode(name)) <= LONG_NAME else name[: LONG_NAME // 4]
