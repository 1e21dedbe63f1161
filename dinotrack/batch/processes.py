"""A fresh process for each job, on this machine."""

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dinotrack.batch.jobs import Job
from dinotrack.batch.protocol import (
    FINE,
    Begun,
    Ended,
    Plan,
    processors,
    sentence,
    share_of_threads,
    was_killed,
)

ROOT = Path(__file__).resolve().parent.parent.parent
"""The folder that holds this package."""
LOOK_SECONDS = 0.05
"""Between two looks at the workers."""
GRACE_SECONDS = 30.0
"""For workers to keep what they have learnt, before they are killed."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""What libraries read how many threads they may have from."""
SAID = 1 << 16
"""Bytes at the end of a log in which the error stands."""


@dataclass(frozen=True)
class Running:
    """A worker."""

    job: Job
    process: "subprocess.Popen[bytes]"


def in_slots(jobs: Iterator[Job], plan: Plan) -> Generator[Begun | Ended, None, None]:
    """As many videos at a time as there are slots, each with a GPU and threads of its own."""
    free = deque(range(plan.slots or 1))
    running: dict[int, Running] = {}
    again: deque[Job] = deque()
    killed: Counter[str] = Counter()
    try:
        while True:
            while free and (job := again.popleft() if again else next(jobs, None)) is not None:
                slot = free.popleft()
                running[slot] = _start(job, plan, _environment(plan, slot))
                yield Begun(job)
            if not running:
                return
            slot, code = _next_ended(running)
            job = running.pop(slot).job
            free.append(slot)
            if was_killed(code) and killed[job.name] < plan.retries:
                killed[job.name] += 1
                again.append(job)
                continue
            yield Ended(job, code, error_of(code, plan.log_of(job)))
    finally:
        _stop(running.values())


def error_of(code: int, log: Path) -> str:
    """Why a worker failed, by its exit code and its log; empty where it did not."""
    if code in FINE:
        return ""
    said = b""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - SAID, 0))
        said = file.read()
    return sentence(code, said.decode(errors="backslashreplace"))


def _environment(plan: Plan, slot: int) -> dict[str, str]:
    """The variables of the worker in a slot."""
    variables = dict(os.environ)
    slots = plan.slots or 1
    is_shared = slots > 1 and THREADS[0] not in variables
    if plan.threads or is_shared:
        threads = plan.threads or share_of_threads(processors(), slots)
        variables |= dict.fromkeys(THREADS, str(threads))
    if plan.gpus:
        variables["CUDA_VISIBLE_DEVICES"] = plan.gpus[slot % len(plan.gpus)]
    if ROOT.name != "site-packages":  # a checkout, which other processes may not find
        paths = (str(ROOT), variables.get("PYTHONPATH", ""))
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return variables


def _start(job: Job, plan: Plan, variables: Mapping[str, str]) -> Running:
    """A worker that does a job. It is in a session of its own, so that Ctrl-C reaches it through us
    alone, once."""
    command = [sys.executable, "-m", "dinotrack.batch.worker", job.name]
    with plan.log_of(job).open("wb") as log:
        process = subprocess.Popen(
            command,
            env=dict(variables),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended before it read that
        process.stdin.write(pickle.dumps((plan.work, job.args)))
        process.stdin.flush()
    return Running(job, process)


def _next_ended(running: Mapping[int, Running]) -> tuple[int, int]:
    """Wait for a worker to end; its slot and its exit code."""
    while True:
        for slot, worker in running.items():
            code = worker.process.poll()
            if code is not None:
                _close(worker)
                return slot, code
        time.sleep(LOOK_SECONDS)


def _stop(workers: Iterable[Running]) -> None:
    """End workers, and wait until they have kept what they learnt."""
    workers = list(workers)
    try:
        for worker in workers:
            _close(worker)  # which ends it, as `worker` says
        until = time.monotonic() + GRACE_SECONDS
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(until - time.monotonic(), 0.0))
    finally:
        for worker in workers:
            worker.process.kill()  # nothing happens to one that has ended
            worker.process.wait()


def _close(worker: Running) -> None:
    assert worker.process.stdin is not None
    with contextlib.suppress(OSError):  # what it was not told yet
        worker.process.stdin.close()
