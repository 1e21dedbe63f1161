"""Reads pickles of plain containers and NumPy arrays, and nothing else: a pickle from elsewhere may
not run code.

Nothing that a pickle names is ever imported or called. The few names that arrays are pickled with
stand for the small builders below, as NumPy's own `__setstate__` trusts its caller: a forged dtype
makes it read any memory.
"""

import copyreg
import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError, cause_of

Array = npt.NDArray[Any]

PLAIN = (str, bytes, bytearray, int, float, np.generic, type(None))
DTYPES = re.compile(r"[?O]|b1|O8|[iu][1248]|f[248]|[SU][1-9]\d*")
"""Elements of no size are not among them: any number of these takes no room in a file."""


def read_pickle(path: Path) -> Any:
    """What a pickle holds: dict, list, tuple, str, bytes, numbers, None, and arrays of numbers,
    text or bytes.

    Arrays may be read-only. Raises InputError for a file that can't be read, is cut short or is no
    pickle, and for a pickle that asks for anything else, which the message names.
    """
    copyreg.clear_extension_cache()  # what is cached there is found without find_class
    try:
        with path.open("rb") as file:
            return _thaw(_Unpickler(file).load(), {})
    except OSError as error:
        raise InputError(f"{path}: can't be read ({cause_of(error)}); check the path") from error
    except Exception as error:  # a damaged or hostile pickle can raise anything
        reason = str(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"{path}: is no sound pickle of plain arrays ({reason}); get it anew from its publisher"
        ) from error


class _Dtype:
    """Stands for numpy.dtype while a pickle is read."""

    __slots__ = ("dtype",)

    def __init__(self, code: str) -> None:
        if not DTYPES.fullmatch(code):
            raise pickle.UnpicklingError(f"it asks for arrays of {code!r}")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *parts = state
        if parts[:3] != [None, None, None]:
            raise pickle.UnpicklingError("it asks for arrays of records")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for numpy.ndarray while a pickle is read: it is known only once its state comes."""

    __slots__ = ("array",)
    array: Array

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, column_major, data = state
        self.array = _build(data, dtype, shape, "F" if column_major else "C")


class _Unpickler(pickle.Unpickler):
    """Knows only the names that arrays and bytes are pickled with."""

    def find_class(self, module: str, name: str) -> Any:
        package, _, rest = module.partition(".")
        if package == "numpy":
            # NumPy 2 writes numpy._core for what NumPy 1 calls numpy.core
            module = f"numpy.{rest.removeprefix('_')}".rstrip(".")
        known: dict[str, Callable[..., Any] | None] = {
            "numpy.ndarray": None,  # only ever an argument, and never looked at
            "numpy.dtype": self._dtype,
            "numpy.core.multiarray._reconstruct": self._reconstruct,
            "numpy.core.multiarray.scalar": self._scalar,
            "numpy.core.numeric._frombuffer": self._from_buffer,
            "_codecs.encode": self._encode,
            "__builtin__.bytes": self._empty,
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which was not run")
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it asks for an object kept elsewhere, {pid!r}")

    def _dtype(self, code: str, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _reconstruct(self, *_: Any) -> _Array:
        return _Array()

    def _from_buffer(self, data: Any, dtype: _Dtype, shape: Sequence[int], order: str) -> _Array:
        made = _Array()
        made.array = _build(data, dtype, shape, order)
        return made

    def _scalar(self, dtype: _Dtype, data: bytes) -> Any:
        return _build(data, dtype, (1,), "C")[0]

    def _encode(self, text: str, encoding: str) -> bytes:
        """Protocols 0 to 2 write bytes as text."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
        return text.encode("latin1")

    def _empty(self) -> bytes:
        """They write no bytes as a call without arguments."""
        return b""


def _build(data: Any, dtype: _Dtype, shape: Sequence[int], order: Any) -> Array:
    """The array of a buffer, or of a list of bytes."""
    if not dtype.dtype.hasobject:
        return np.ndarray(tuple(shape), dtype.dtype, buffer=data, order=order)
    if not all(isinstance(element, bytes) for element in data):
        raise pickle.UnpicklingError("it holds an array of objects that aren't bytes")
    flat = np.empty(len(data), object)
    flat[:] = data
    return flat.reshape(tuple(shape), order=order)


def _thaw(value: Any, done: dict[int, Any]) -> Any:
    """The same containers with arrays for their stand-ins.

    done: results by id, as one container may stand in several places.
    """
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, PLAIN):
        return value
    if type(value) not in (dict, list, tuple):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
    if id(value) not in done:
        if isinstance(value, dict):
            done[id(value)] = {_thaw(key, done): _thaw(part, done) for key, part in value.items()}
        else:
            done[id(value)] = type(value)(_thaw(part, done) for part in value)
    return done[id(value)]
