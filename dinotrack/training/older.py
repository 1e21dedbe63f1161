"""Fits as they were stored at first: a zip of PyTorch's, checkpoint.pt.

They are read, and written anew in today's form at the next save. No code in them is ever run.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from dinotrack.files import regular
from dinotrack.tensor_files import NAMES, DamagedFile
from dinotrack.training.stored import KIND, OPTIMIZER, WEIGHTS

AnyTensor = Shaped[Tensor, "..."]


def load(path: Path) -> tuple[dict[str, AnyTensor], dict[str, Any]]:
    """The tensors of a fit and what the file says of it, in today's form, as version 0.

    Raises DamagedFile, InputError where the path is no regular file, and OSError where it can't be
    read.
    """
    size = regular(path).stat().st_size
    _check_whole(path, size)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(content["about"])
        weights, optimizer = content["weights"], content["optimizer"]["state"]
        tensors = {f"{WEIGHTS}{name}": values for name, values in weights.items()}
        for number, kept in optimizer.items():
            tensors |= {f"{OPTIMIZER}{number}.{name}": values for name, values in kept.items()}
    except Exception as error:  # what torch raises has other bases from version to version
        raise DamagedFile("it is no fit of an older version") from error
    if not isinstance(about, Mapping) or not all(_plain(v, size) for v in tensors.values()):
        raise DamagedFile("it is no fit of an older version")
    return tensors, {**about, "kind": KIND, "version": 0}


def _check_whole(path: Path, size: int) -> None:
    """torch does not look at the sums of a zip, nor at how large its parts say they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
            if not stored or sum(part.file_size for part in parts) > size:
                raise DamagedFile("its parts are larger than the file")
            if archive.testzip() is not None:
                raise DamagedFile("its content is not what was written")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile("it is not a whole file") from error


def _plain(values: object, size: int) -> bool:
    """Whether something is a tensor of plain numbers that takes no more memory than the file has.

    Quantized numbers, for one, know none of what is asked of them later.
    """
    if not isinstance(values, Tensor) or values.layout != torch.strided:
        return False
    if values.dtype not in NAMES:
        return False
    return values.device.type == "cpu" and values.numel() * values.itemsize <= size
