"""Files of tensors that know themselves: what they hold, and whether that is what was written.

The format is safetensors, which any reader of it takes. Its metadata says what the file is (JSON)
and holds a digest over all of it, so that a file that was cut, damaged or put in the place of
another is found out. A file is read and never mapped into memory, as mapped memory goes away when
another process cuts the file.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from dinotrack.files import regular, replacing

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What safetensors calls the types of numbers."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"
PREFIX = 8
"""Bytes that hold the length of the header; the header is padded to a multiple of it."""

LONGEST_HEADER = 100_000_000
"""Bytes, as every reader of the format has it."""

AnyTensor = Shaped[Tensor, "..."]


_WRONG = (LookupError, AttributeError, TypeError, ValueError, RuntimeError)
"""What taking a file apart raises where it is not as it should be."""


class DamagedFile(ValueError):
    """A file of tensors that is not as it was written. The message gives the reason."""


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, AnyTensor],
    about: Mapping[str, Any],
    durable: bool = True,
) -> None:
    """Write tensors, and what the file is, in one atomic step. The same give the same bytes.

    about: plain JSON values. durable: as for `files.replacing`.

    Raises InputError where the file can't be written.
    """
    ready = _ready(tensors)
    told = json.dumps(about, sort_keys=True)
    write_tensors(path, ready, {"about": told, "sha256": _digest(told, ready)}, durable)


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, AnyTensor],
    metadata: Mapping[str, str],
    durable: bool = True,
) -> None:
    """Write a plain safetensors file in one atomic step. The same give the same bytes.

    The library's own writers give the metadata another order each time.

    Raises InputError where the file can't be written.
    """
    ready = _ready(tensors)
    largest_first = sorted(ready, key=lambda name: (-ready[name].itemsize, name))
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))}
    end = 0
    for name in largest_first:  # so that all of them lie at multiples of their size
        values = ready[name]
        start, end = end, end + values.nbytes
        dtype, shape = NAMES[values.dtype], list(values.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % PREFIX)
    with replacing(path, durable) as part, part.open("wb") as file:
        file.write(len(text).to_bytes(PREFIX, "little"))
        file.write(text)
        for name in largest_first:
            file.write(_bytes(ready[name]))


def load_tensors(path: str | Path) -> tuple[dict[str, AnyTensor], dict[str, Any]]:
    """The tensors of a file of ours, on the CPU, and what the file is.

    Raises DamagedFile where the file is not as `save_tensors` wrote it, and what `read_tensors`
    raises.
    """
    tensors, metadata = read_tensors(path)
    try:
        told, digest = metadata["about"], metadata["sha256"]
        about = dict(json.loads(told))
        found = _digest(told, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedFile("it does not say what it is") from error
    if found != digest:
        raise DamagedFile("its content is not what was written")
    return tensors, about


def read_tensors(path: str | Path) -> tuple[dict[str, AnyTensor], dict[str, str]]:
    """The tensors of any safetensors file, on the CPU, and its metadata.

    The tensors are the caller's own and lie in one piece of memory.

    Raises DamagedFile for what is no such file or not a whole one, InputError where the path is no
    regular file, and OSError where it can't be read.
    """
    path = regular(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _header(file, size)
            data = _rest(file, size)
        metadata = header.pop(METADATA, {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError(METADATA)
        return dict(_take_apart(header, data)), metadata
    except _WRONG as error:
        raise DamagedFile("it is no file of tensors, or not a whole one") from error
    except MemoryError:
        raise DamagedFile("it is larger than the memory") from None


def _header(file: BinaryIO, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(PREFIX), "little")
    if length > min(size - PREFIX, LONGEST_HEADER):
        raise DamagedFile("it is no file of tensors, or not a whole one")
    header: dict[str, Any] = json.loads(file.read(length))
    return header


def _rest(file: BinaryIO, size: int) -> UInt8[Tensor, " N"]:
    """What follows the header, at a place in memory that suits all types."""
    content = np.empty(size - file.tell(), np.uint8)
    if file.readinto(content.data) != len(content):  # type: ignore[attr-defined]
        raise DamagedFile("it was cut while it was read")
    return torch.from_numpy(content)


def _take_apart(
    header: Mapping[str, Any], data: UInt8[Tensor, " N"]
) -> Iterator[tuple[str, AnyTensor]]:
    """The tensors that a header describes. Raises one of _WRONG for a header that is wrong."""
    done = 0
    for name, described in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = DTYPES[described["dtype"]], described["shape"]
        start, end = described["data_offsets"]
        if start != done or end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(name)
        content = data[start:end]
        aligned = content if start % dtype.itemsize == 0 else content.clone()
        yield name, aligned.view(dtype).reshape(shape)
        done = end
    if done != len(data):
        raise ValueError("something follows the tensors")


def _ready(tensors: Mapping[str, AnyTensor]) -> dict[str, AnyTensor]:
    return {name: values.detach().cpu().contiguous() for name, values in tensors.items()}


def _digest(told: str, tensors: Mapping[str, AnyTensor]) -> str:
    """Over what the file is, and names, types, shapes and numbers of tensors."""
    names = sorted(tensors)
    described = [(name, NAMES[tensors[name].dtype], list(tensors[name].shape)) for name in names]
    digest = hashlib.sha256(json.dumps([told, described]).encode())
    for name in names:
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _bytes(values: AnyTensor) -> memoryview:
    return values.reshape(-1).view(torch.uint8).numpy().data
