"""The machine that a benchmark runs on: what it is, its clock, processes of their own and caches of
their own."""

import contextlib
import datetime
import multiprocessing
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dinotrack.cache import FOLDER_VARIABLE

PACKAGES = ("torch", "torchvision", "timm", "numpy", "kornia")


def command() -> str:
    """The command line that this process was started with."""
    return f"python -m dinotrack.benchmarks {shlex.join(sys.argv[1:])}"


def describe() -> dict[str, Any]:
    """When, and on what machine with which versions. load: processes that wanted a CPU over the
    last minute."""
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "opencv": cv2.__version__}
        | {name: version(name) for name in PACKAGES},
    }


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and interquartile range."""
    low, median, high = np.percentile(values, (25, 50, 75)).tolist()
    return {"median": median, "iqr": high - low}


Apart = Callable[..., Any]
"""apart(function, *arguments): its result."""


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, computed in a new process, whose peak memory is then its own.

    Linux counts what the parent holds into it, so the parent should stay small. Raises what the
    function raises, and
    RuntimeError where the process is killed, as for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """An environment variable has that value meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def cache_in(folder: Path) -> contextlib.AbstractContextManager[None]:
    """The package's cache lies in that folder meanwhile."""
    return environment(FOLDER_VARIABLE, str(folder))


@contextlib.contextmanager
def fresh_cache() -> Iterator[Path]:
    """The package's cache is an empty folder meanwhile, so that nothing is known from before."""
    with tempfile.TemporaryDirectory() as folder, cache_in(Path(folder)):
        yield Path(folder)
