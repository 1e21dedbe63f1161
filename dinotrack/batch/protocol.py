"""What is said between the queue and an executor: how to do jobs, and what becomes of them."""

import os
import signal
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dinotrack.batch.jobs import Job

IN_USE = 75
"""The exit code of a worker whose folder somebody else is at; sysexits.h calls it a passing
failure."""
FOUND_DONE = 76
"""That of a worker which found its results there: somebody else had just finished."""

FINE = (0, FOUND_DONE, IN_USE)
"""Exit codes of workers in which nothing went wrong."""

Work = Callable[[Namespace], bool]
"""What a worker does with the arguments of a job: a function that any process can import. It
returns False where there was nothing to do."""


@dataclass(frozen=True)
class Plan:
    """How jobs are done."""

    work: Work
    logs: Path
    """The folder of what each worker says."""
    slots: int | None = None
    """How many at a time; None: as many as there is room for, which is one without Ray."""
    gpus: tuple[str, ...] = ()
    """What CUDA_VISIBLE_DEVICES is in each slot, in turn; empty: as it is."""
    threads: int | None = None
    """Of each worker; None: a share of the processors where there are several workers."""
    retries: int = 2
    """How often a worker that was killed is started again."""
    address: str | None = None
    """Of a Ray cluster; None for one of our own."""
    gpu_share: float | None = None
    """How much of a GPU a worker takes with Ray; None: a whole one, where there are any."""

    def log_of(self, job: Job) -> Path:
        """Where what the worker of a job says is written."""
        return self.logs / f"{job.name}.log"


@dataclass(frozen=True)
class Begun:
    """A worker was started."""

    job: Job


@dataclass(frozen=True)
class Ended:
    """A worker has ended, for good."""

    job: Job
    code: int
    """0 or FOUND_DONE where the results are there, IN_USE, or what went wrong, as a process has it:
    2 for what the user can mend, 1 for a bug, and the negative number of a signal."""
    error: str = ""
    """What went wrong, as one sentence."""


def was_killed(code: int) -> bool:
    """Whether a process was ended by a signal, rather than by itself."""
    return code < 0 or code >= 128


def sentence(code: int, said: str) -> str:
    """Why a worker failed, by its exit code and by what it said."""
    lines = said.splitlines()
    errors = [line.partition("error: ")[2] for line in lines if line.startswith(ERROR)]
    if errors and not was_killed(code):
        return errors[-1]
    if was_killed(code):
        return f"its process was killed ({_signal_name(code)}){_why(code)}"
    ends = [number for number, line in enumerate(lines) if line.startswith(BUG)]
    if ends and ends[-1]:
        return f"a bug of ours: {lines[ends[-1] - 1].strip()}"
    return f"its process ended with exit code {code}; its log may say why"


ERROR = "dinotrack: error: "
BUG = "dinotrack: that is a bug of ours"


def share_of_threads(processors: float, slots: int) -> int:
    """How many threads each of several workers gets."""
    return max(int(processors // max(slots, 1)), 1)


def processors() -> int:
    """How many this process may use: a batch system often grants fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _signal_name(code: int) -> str:
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _why(code: int) -> str:
    is_kill = _signal_name(code) == "SIGKILL"
    return ", as systems do where memory is short; try fewer --jobs" if is_kill else ""
