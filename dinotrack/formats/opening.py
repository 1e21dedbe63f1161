"""Opening files that users name, and saying in plain words where one is not what it should be."""

import contextlib
import errno
import io
from collections.abc import Iterator
from pathlib import Path

from dinotrack.errors import InputError, cause_of
from dinotrack.files import regular


class Unreadable(ValueError):
    """A file is not what it should be. The message is the reason, as a part of a sentence."""


@contextlib.contextmanager
def opened(path: Path, kind: str) -> Iterator[io.BufferedReader]:
    """A file, open for reading; whatever goes wrong with it inside becomes an InputError.

    kind: what the file should be, as in "a table of queries". Libraries have many ways to say that
    a file is damaged: numpy alone lets through errors of tokenize, ast, zipfile, zlib and struct.
    So every exception counts as that, and what stands inside should be the library's call alone.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError):
        pass  # `regular` says what is wrong
    try:
        with regular(path).open("rb") as file:
            yield file
    except InputError:
        raise
    except Unreadable as error:
        raise InputError(f"{path}: can't be read as {kind}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: takes more memory than there is; give a smaller file") from error
    except Exception as error:
        raise InputError(f"{path}: can't be read as {kind}: {_reason(error)}") from error


def size_of(file: io.BufferedReader) -> int:
    """Bytes of an open file, which then stands at its start again."""
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return cause_of(error)
    return "it is damaged, or something else than its name says"
