"""Writing files so that nobody ever meets half of one."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from dinotrack.errors import Argument, InputError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, whose file takes the place of `path` on success.

    A reader therefore meets the old file or the whole new one. The temporary name is this process's
    and thread's own, so two writers do not disturb each other. Nothing is left of a failed attempt.

    Raises InputError where the file can't be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{threading.get_native_id()}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def make_folder(folder: Path, *advice: str | Argument) -> None:
    """Make a folder, with its parents, and try whether files can be written into it.

    Whatever is about to compute for minutes calls this first. Raises InputError where the folder
    can't be made or takes no files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(folder, error, *advice) from error


def unwritable(path: str | Path, error: OSError, *advice: str | Argument) -> InputError:
    """The error that says why a file or a folder can't be written, and what to do.

    advice: parts of the message; by default "choose another place".
    """
    problem = f"{path}: can't be written ({error.strerror or error}); "
    return InputError(problem, *(advice or ("choose another place",)))
