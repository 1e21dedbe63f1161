"""What ends a run that began well, told so that the user can mend it: memory that is too short, and
numbers that are not finite."""

import contextlib
import os
import re
from collections.abc import Iterator

from dinotrack.config import PRESETS, Config, flatten
from dinotrack.errors import InputError, setting

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
PIECE = re.compile(rf"allocate ([\d.]+) ({'|'.join(UNITS)})")
"""How NumPy, OpenCV and PyTorch say what they could not have."""
SIGNS = (
    "out of memory",
    "can't allocate memory",
    "Failed to allocate",
    "Cannot allocate memory",
    "failed to map segment",
    "Storage size calculation overflowed",
    "integer multiplication overflow",
)
"""In messages of PyTorch, OpenCV and the system, whose errors for it are those for much else. A
segment is a part of a library that is being loaded. The last two are of sizes that no machine could
have."""
SLOWER = 1e-3
"""A learning rate at which no fit went astray."""


@contextlib.contextmanager
def enough_memory(config: Config) -> Iterator[None]:
    """Turn a lack of memory inside, be it the GPU's, into an InputError that says what to make
    smaller."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, InputError) or not lacks_memory(error):
            raise
        raise _too_short(error, config) from error
    except Exception as error:
        if type(error).__module__ != "cv2" or not lacks_memory(error):
            raise
        raise _too_short(error, config) from error


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be had."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in SIGNS)


def _too_short(error: BaseException, config: Config) -> InputError:
    found = PIECE.search(str(error))
    piece = ""
    if found is not None:
        size = float(found[1]) * UNITS[found[2]]
        piece = f" for a piece of {size / 1e9:.1f} GB{_of_all()}"
    key, value = _smaller(config)
    wanted = f"the memory is too short{piece}; make {key} smaller, as with "
    return InputError(wanted, setting(key, value))


def _of_all() -> str:
    """How much memory the machine has, where the system tells."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return ""
    return f" (this machine has {size / 1e9:.1f} GB)"


def _smaller(config: Config) -> tuple[str, object]:
    """The setting that is farthest above its preset's, with the preset's value; else the frame's
    area and half of it."""
    presets = flatten(PRESETS.get(config.preset, config))
    ratios = {
        key: _size(value) / max(_size(presets[key]), 1.0) for key, value in flatten(config).items()
    }
    key = max(ratios, key=lambda name: ratios[name])
    if ratios[key] > 1:
        return key, presets[key]
    return "video.area", max(config.video.area // 2, 1)


def _size(value: object) -> float:
    """How large a setting is, where that is a matter of sizes."""
    if isinstance(value, tuple):
        return max(map(_size, value)) * len(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0.0
    return float(value)


def astray(what: str, config: Config) -> InputError:
    """The error that says that something is not finite, as `what` does in the plural."""
    slower = min(config.training.learning_rate / 10, SLOWER)
    return InputError(
        f"{what} are not finite, as the fit went astray; fit again and learn more slowly, as with ",
        setting("training.learning_rate", slower),
    )
