"""Files of tensors that know themselves: what they hold, and whether that is what was written.

The format is safetensors, which any reader of it takes. Its metadata says what the file is (JSON)
and holds a digest over all of it, so that a file that was cut, damaged or put in the place of
another is found out. A file is read and never mapped into memory, as mapped memory goes away when
another process cuts the file.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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

AnyTensor = Shaped[Tensor, "..."]


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
    ready = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    largest_first = sorted(ready, key=lambda name: (-ready[name].itemsize, name))
    told = json.dumps(about, sort_keys=True)
    header: dict[str, Any] = {METADATA: {"about": told, "sha256": _digest(told, ready)}}
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
    """The tensors of a file, on the CPU, and what the file is.

    The tensors are the caller's own and lie in one piece of memory. Raises DamagedFile where the
    file is not as `save_tensors` wrote it, InputError where the path is no regular file, and
    OSError where it can't be read.
    """
    content = _read(regular(path))
    try:
        header, data = _split(content)
        told, digest = header[METADATA]["about"], header[METADATA]["sha256"]
        tensors = dict(_take_apart(header, data))
        about = json.loads(told)
        found = _digest(told, tensors)
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedFile("it is no file of tensors of ours, or not a whole one") from error
    if found != digest:
        raise DamagedFile("its content is not what was written")
    return tensors, about


def _read(path: Path) -> UInt8[np.ndarray, " N"]:
    with path.open("rb") as file:
        size = path.stat().st_size
        try:
            content = np.empty(size, np.uint8)
        except MemoryError:
            raise DamagedFile("it is larger than the memory") from None
        if file.readinto(content.data) != size:
            raise DamagedFile("it was cut while it was read")
    return content


def _split(content: UInt8[np.ndarray, " N"]) -> tuple[dict[str, Any], UInt8[Tensor, " M"]]:
    """The header of a file and what follows it."""
    start = PREFIX + int.from_bytes(content[:PREFIX].tobytes(), "little")
    header = json.loads(content[PREFIX:start].tobytes())
    return header, torch.from_numpy(content)[start:]


def _take_apart(
    header: Mapping[str, Any], data: UInt8[Tensor, " M"]
) -> Iterator[tuple[str, AnyTensor]]:
    """The tensors that a header describes. Raises ValueError or RuntimeError for a wrong one."""
    done = 0
    for name, described in header.items():
        if name == METADATA:
            continue
        dtype, shape = DTYPES[described["dtype"]], described["shape"]
        start, end = described["data_offsets"]
        if start != done or end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(name)
        yield name, data[start:end].view(dtype).reshape(shape)
        done = end
    if done != len(data):
        raise ValueError("something follows the tensors")


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
