"""What users call an array, as numpy's: lists, tensors of any device and kind, masked arrays."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from dinotrack.errors import InputError


def plain_array(values: Any, what: str) -> npt.NDArray[Any]:
    """Any kind of array as numpy's own, its values as they are.

    Tensors may lie on any device and need gradients; bfloat16 becomes float32. Raises InputError,
    which calls the values `what`, where they are no array, such as rows of different lengths or the
    name of a file, and where an array hides some of its values behind a mask.
    """
    if isinstance(values, str | bytes | os.PathLike):
        raise InputError(f"{what}: give the numbers themselves; `dinotrack.formats` reads files")
    try:
        array = np.asanyarray(_from_tensor(values))
    except Exception as error:  # rows of different lengths, and whatever an object's own way raises
        raise InputError(
            f"{what}: can't be read as an array; give one of numpy's, with rows of one length"
        ) from error
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.getmaskarray(array).any():
            raise InputError(
                f"{what}: is a masked array that hides {int(array.mask.sum())} of its values; "
                "give one without holes"
            )
        return np.asarray(array.data)
    return np.asarray(array)


def _from_tensor(values: Any) -> Any:
    """A tensor as numpy's array; anything else as it is. Torch is not loaded for this."""
    if not (hasattr(values, "detach") and hasattr(values, "cpu")):
        return values
    tensor = values.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # which numpy does not know
        tensor = tensor.float()
    return tensor.resolve_conj().resolve_neg().numpy()
