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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dinotrack.cache import FOLDER_VARIABLE

PACKAGES = ("torch", "torchvision", "timm", "numpy", "kornia", "triton")


@dataclass(frozen=True)
class Circumstances:
    """When, on what machine, and with which versions and settings something was measured."""

    command: str
    when: str
    cpus: int | None
    gpu: str | None
    machine: str
    versions: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the preset, {"training.steps": "100"}."""
    device: str = "auto"
    """As it was asked for: auto, cpu, cuda or mps."""
    seeds: tuple[int, ...] = ()
    threads: int | None = None
    load: float | None = None
    """Processes that wanted a CPU over the last minute before; None where nobody tells."""


@dataclass(frozen=True)
class Spread:
    """Several timings of one thing, in seconds."""

    median: float
    iqr: float
    """Interquartile range."""


def describe(settings: Mapping[str, Any], device: str, seeds: Sequence[int] = ()) -> Circumstances:
    """The circumstances of what is measured now, in this process."""
    return Circumstances(
        command=command(),
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cpus=os.cpu_count(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        machine=platform.machine(),
        versions=_versions(),
        settings=dict(settings),
        device=device,
        seeds=tuple(seeds),
        threads=torch.get_num_threads(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def command() -> str:
    """The command line that this process was started with."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def _versions() -> dict[str, str]:
    """Versions of what is installed of PACKAGES, and of what brings no such record."""
    known = {"python": platform.python_version(), "opencv": cv2.__version__}
    if torch.version.cuda:
        known["cuda"] = torch.version.cuda
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def spread(seconds: Sequence[float]) -> Spread:
    """Median and interquartile range."""
    low, median, high = np.percentile(seconds, (25, 50, 75)).tolist()
    return Spread(median, high - low)


Apart = Callable[..., Any]
"""apart(function, *arguments): its result."""


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, computed in a new process, whose peak memory is then its own.

    Linux counts what the parent holds into that peak, so the parent should stay small. Raises what
    the function raises, and RuntimeError where the process is killed, as for want of memory.
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
