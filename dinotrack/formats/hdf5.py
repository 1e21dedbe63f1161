"""HDF5 files of others, opened so that they lead nowhere else and hold no more than they can.

Only numbers and texts are read. What Python's pickle wrote into attributes stays bytes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.formats.opening import Unreadable, opened

MOST_VALUES = 1 << 26
"""Of one array, which a small file may claim to hold."""
MOST_BYTES = 1 << 30
"""Of the same, as texts may be long."""


@contextlib.contextmanager
def open_h5(path: Path, kind: str) -> Iterator[Any]:
    """An h5py.File. Raises InputError, which says that the file is not `kind`, where it is none,
    and where it leads to other files."""
    import h5py

    with opened(path, kind) as raw, h5py.File(raw, "r") as file:
        _look_around(file)
        yield file


def array(group: Any, name: str, kinds: str, sides: int) -> npt.NDArray[Any]:
    """The numbers, or texts as bytes, of an array with so many sides.

    kinds: numpy's letters of what it may hold. Texts have a fixed length; libhdf5 never comes to
    an end with some damaged ones that have none. Raises Unreadable for another array.
    """
    import h5py

    found = group.get(name)
    if not isinstance(found, h5py.Dataset):
        raise Unreadable(f"it has no array {name}")
    if found.dtype.kind not in kinds or found.ndim != sides:
        raise Unreadable(f"its {name} is {found.dtype} {list(found.shape)}")
    count = math.prod(found.shape)
    if count > MOST_VALUES or count * found.dtype.itemsize > MOST_BYTES:
        raise Unreadable(f"its {name} is larger than memory is for ({count} values)")
    return np.asarray(found[()])


def texts_of(group: Any, name: str) -> list[str]:
    """A list of texts."""
    return [value.decode("utf-8", "replace") for value in array(group, name, "S", 1).tolist()]


def _look_around(file: Any) -> None:
    """Raise Unreadable where a file leads to another one."""
    import h5py

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            links = (item.get(key, getlink=True) for key in item)
            away = any(isinstance(link, h5py.ExternalLink) for link in links)
        else:
            away = bool(getattr(item, "external", None)) or getattr(item, "is_virtual", False)
        if away:
            raise Unreadable("it leads to another file, which is not followed")

    look("/", file)
    file.visititems(look)
