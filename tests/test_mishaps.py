"""What ends a run that began well is told so that one can mend it."""

import errno
import os

import numpy as np
import pytest
import torch

from dinotrack.config import FAST, Config, override
from dinotrack.errors import InputError
from dinotrack.mishaps import astray, enough_memory, lacks_memory

WIDE = override(FAST, {"model.widths": (4000, 16000), "training.batch": 512})


def by_numpy() -> None:
    np.empty(2**62, np.uint8)


def by_torch() -> None:
    torch.empty(2**61, dtype=torch.uint8)


def by_a_size_beyond_all() -> None:
    torch.empty(2**62, 2**62, dtype=torch.uint8)


def by_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")


@pytest.mark.parametrize("work", [by_numpy, by_torch, by_a_size_beyond_all, by_the_gpu])
def test_a_lack_of_memory_says_what_to_make_smaller(work) -> None:
    with pytest.raises(InputError, match=r"the memory is too short") as error, enough_memory(WIDE):
        work()
    said = str(error.value)
    assert "make model.widths smaller, as with settings={'model.widths': (48, 96)}" in said
    assert "\n" not in said
    if work is by_the_gpu:
        assert "a piece of 21.5 GB" in said


@pytest.mark.parametrize("config", [FAST, Config("own")])
def test_without_a_large_setting_frames_are_made_smaller(config: Config) -> None:
    with pytest.raises(InputError, match=r"\{'video.area': 52488\}"), enough_memory(config):
        raise MemoryError


@pytest.mark.parametrize("error", [InputError("x"), RuntimeError("a bug"), OSError(5, "x")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, enough_memory(FAST):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_the_system_too_may_lack_memory(error: Exception) -> None:
    """As when a library is loaded, or a program is started."""
    assert lacks_memory(error)


def test_what_went_astray_learns_more_slowly() -> None:
    fast = override(FAST, {"training.learning_rate": 1e30})
    assert "{'training.learning_rate': 0.001}" in str(astray("the tracks", fast))
    assert "{'training.learning_rate': 0.0002}" in str(astray("the tracks", FAST))
