"""Tables that pandas wrote into HDF5 files, read without pandas.

pandas itself would unpickle whatever a file holds. Here only numbers and texts are read; the names
of columns, which one of its two kinds of files pickles, are taken from what can't run code.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float

from dinotrack.errors import InputError
from dinotrack.formats.hdf5 import array, open_h5, texts_of
from dinotrack.formats.opening import Unreadable

KEY = "df_with_missing"
"""What DeepLabCut calls its table."""

Column = tuple[str, ...]
"""The labels of a column, of each level one."""


NONE = b"N."
"""The pickle of None, which pandas writes where an axis has no name; it takes nothing for it too.
"""


def copy_plain(source: Path, target: Path) -> None:
    """Copy what pandas wrote, but neither pickles nor the time at which it did."""
    import h5py

    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def copy(name: str, item: Any) -> None:
            is_group = isinstance(item, h5py.Group)
            made = new.require_group(name) if is_group else new.create_dataset(name, data=item[()])
            for key, value in item.attrs.items():
                if value != NONE:
                    kind = item.attrs.get_id(key).dtype  # which says in which code a text is
                    made.attrs.create(key, value, dtype=kind)

        copy("/", old)
        old.visititems(copy)


class _TextsAlone(pickle.Unpickler):
    """Lists, tuples, texts and numbers of a pickle; classes and functions are refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise Unreadable("it holds objects of Python, which are not run")


def holds_frame(path: Path) -> bool:
    """Whether a file holds such a table."""
    try:
        with open_h5(path, "a table of pandas") as file:
            return KEY in file
    except (InputError, ImportError):
        return False


def read_frame(file: Any) -> tuple[list[Column], list[str], Float[np.ndarray, "T columns"]]:
    """The labels of the columns, those of the rows, and float64 numbers of DeepLabCut's table."""
    group = file[KEY]
    if group.attrs.get("pandas_type") == b"frame_table":
        return _appendable(group)
    columns: list[Column] = []
    blocks = []
    for i in range(int(group.attrs["nblocks"])):
        columns += _labels(group, f"block{i}_items")
        blocks.append(array(group, f"block{i}_values", "fiu", 2).astype(np.float64))
    rows = _labels(group, "axis1")
    values = np.concatenate(blocks, axis=1)
    if values.shape != (len(rows), len(columns)):
        raise Unreadable("its table is not as large as it says")
    return columns, [row[-1] for row in rows], values


def _labels(group: Any, name: str) -> list[Column]:
    """The labels of an axis, of one level or of several."""
    if f"{name}_nlevels" not in group.attrs:
        return [(label,) for label in _level(group, name)]
    levels = []
    for i in range(int(group.attrs[f"{name}_nlevels"])):
        known = _level(group, f"{name}_level{i}")
        levels.append([known[code] for code in array(group, f"{name}_label{i}", "iu", 1).tolist()])
    return list(zip(*levels, strict=True))


def _level(group: Any, name: str) -> list[str]:
    if group[name].dtype.kind in "iu":
        return [str(number) for number in array(group, name, "iu", 1).tolist()]
    return texts_of(group, name)


def _appendable(group: Any) -> tuple[list[Column], list[str], Float[np.ndarray, "T columns"]]:
    """The other kind of file, as DeepLabCut writes it after a network's predictions."""
    records = array(group, "table", "V", 1)
    pickled = group["table"].attrs["values_block_0_kind"]
    columns = _TextsAlone(io.BytesIO(bytes(pickled))).load()
    values = records["values_block_0"].astype(np.float64)
    if values.shape != (len(records), len(columns)):
        raise Unreadable("its table is not as large as it says")
    return (
        [tuple(map(str, column)) for column in columns],
        [str(number) for number in records["index"].tolist()],
        values,
    )
