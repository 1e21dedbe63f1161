"""Each job as a task of Ray, on this machine or on all machines of a cluster.

Ray counts processors and GPUs, of which a task may take a part, and starts a task again that was
killed. A task runs in a process of Ray of its own (`max_calls=1`), which does the job as one slot
of `processes` does, in a worker below it: one that computes in PyTorch does not always hear
`ray.cancel`, and a process that only waits does. And a worker whose process of Ray is killed still
keeps what it has learnt. Tasks are given to Ray only as it has room for them, so that a batch that
is interrupted has none waiting there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from dinotrack.batch.jobs import Job
from dinotrack.batch.processes import GRACE_SECONDS, in_slots
from dinotrack.batch.protocol import (
    Begun,
    Ended,
    Plan,
    processors,
    share_of_threads,
    was_killed,
)
from dinotrack.errors import InputError, printable
from dinotrack.interrupts import ENDING, held

LOOK_SECONDS = 0.2
"""Between two looks at the tasks, and at the cluster, which may have grown."""
TOLD_SECONDS = 1.0
"""Until a task is told again that it shall end."""
KNOCK_SECONDS = 10.0
"""Until a machine that does not answer is given up."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""With this, Ray takes 127.0.0.1 for the address of this machine, so that nobody else reaches it.
It has no other way to ask for that: `_node_ip_address` of 127.0.0.1 is replaced."""
OUT_OF_MEMORY = "RAY_task_oom_retries"
"""The variable that says how often Ray starts a task again that took too much memory; without it,
for ever."""
LOST = 137
"""The exit code of a worker that was killed, as Ray does not tell by what."""


class Killed(Exception):
    """The worker of a task was killed. args: why, and its exit code."""

    @property
    def code(self) -> int:
        """That of the worker."""
        return int(self.args[1])

    def __str__(self) -> str:
        return str(self.args[0])


def done(job: Job, plan: Plan) -> Ended:
    """The task: do a job in one slot. Raises Killed, for Ray to start it again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # by which Ray tells of a cancel
    alone = replace(plan, slots=1, gpus=(), retries=0)
    for each in in_slots(iter((job,)), alone):
        if isinstance(each, Ended):
            ended = each
    if was_killed(ended.code):
        raise Killed(ended.error, ended.code)
    return ended


def on_ray(jobs: Iterator[Job], plan: Plan) -> Generator[Begun | Ended, None, None]:
    """As many videos at a time as the cluster has processors and GPUs for."""
    with _cluster(plan) as ray:
        share, threads = _needs(ray, plan)
        options = {"num_cpus": threads, "num_gpus": share, "max_retries": plan.retries}
        task = ray.remote(max_calls=1, retry_exceptions=[Killed], **options)(done)
        running: dict[Any, Job] = {}
        try:
            while True:
                room = _room(ray, plan, share, threads) - len(running)
                while room > 0 and (job := next(jobs, None)) is not None:
                    room -= 1
                    running[task.remote(job, replace(plan, threads=threads))] = job
                    yield Begun(job)
                if not running:
                    return
                time.sleep(LOOK_SECONDS)  # where signals are heard, as they are not in ray.wait
                ended, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
                for reference in ended:
                    yield _ended(ray, reference, running.pop(reference))
        finally:
            _stop(ray, list(running))


@contextlib.contextmanager
def _cluster(plan: Plan) -> Iterator[Any]:
    """Ray, connected to a cluster. One of our own ends with us, and is reached from this machine
    alone."""
    if plan.address is None:
        os.environ.update(LOOPBACK)  # before Ray is loaded, which heeds it only then
    with held():
        try:
            import ray
        except ImportError:
            advice = "install it by pip install ray, or give --jobs instead"
            raise InputError(f"--ray needs Ray, which is not here; {advice}") from None
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        _connect(ray, plan)
        for number, handler in handlers.items():  # Ray takes SIGTERM for itself
            signal.signal(number, handler)
        yield ray
    finally:
        ray.shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _connect(ray: Any, plan: Plan) -> None:
    """Raises InputError where there is no such cluster, and where others could reach our own."""
    os.environ.setdefault(OUT_OF_MEMORY, str(plan.retries))
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if plan.address is None:
        own = {"address": "local", "num_cpus": processors(), "include_dashboard": False}
        ray.init(**own, **quiet)
        places = [str(node["NodeManagerAddress"]) for node in ray.nodes()]
        if not all(place.startswith("127.") or place == "::1" for place in places):
            raise InputError(
                f"Ray listens on {places[0]}, where others may reach it; start a cluster by "
                "`ray start --head`, if that is wanted, and give --ray auto"
            )
        return
    try:
        _knock(plan.address)
        ray.init(address=plan.address, **quiet)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = printable((str(error).splitlines() or [""])[0])
        problem = f"no Ray cluster answers at {plan.address} ({reason})"
        advice = "start one by `ray start --head`, or give --ray without an address"
        raise InputError(f"{problem}; {advice}") from error


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT, which Ray itself finds out in minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _needs(ray: Any, plan: Plan) -> tuple[float, int]:
    """How much of a GPU each task takes, and how many processors. Raises InputError where no
    machine has so much."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = max(machine.get("GPU", 0.0) for machine in machines)
    cpus = max(machine.get("CPU", 0.0) for machine in machines)
    share = plan.gpu_share
    if share is None:
        share = 1.0 if gpus else 0.0
    if share > gpus:
        raise InputError(
            f"--gpu-share {share:g}: the machines of the cluster have {gpus:g} GPUs; take less"
        )
    if plan.threads is not None:
        if plan.threads > cpus:
            has = f"the machines of the cluster have {cpus:g} processors"
            raise InputError(f"--threads {plan.threads}: {has}; take fewer")
        return share, plan.threads
    at_once = plan.slots or (int(gpus / share) if share else int(cpus))
    return share, share_of_threads(cpus, at_once)


def _room(ray: Any, plan: Plan, share: float, threads: int) -> int:
    """How many tasks the cluster has room for, those that run included."""
    has = ray.cluster_resources()
    rooms = [has.get("CPU", 0.0) / threads]
    if share:
        rooms.append(has.get("GPU", 0.0) / share)
    if plan.slots is not None:
        rooms.append(plan.slots)
    return max(int(min(rooms)), 1)


def _ended(ray: Any, reference: Any, job: Job) -> Ended:
    """What became of a task. Whatever went wrong with it, or with its machine, is its own."""
    try:
        ended: Ended = ray.get(reference)
        return ended
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Killed):
            return Ended(job, error.cause.code, str(error.cause))
        return Ended(job, 1, f"it can't be done there: {printable(str(error.cause or error))}")
    except ray.exceptions.RayError as error:
        kind = type(error).__name__
        return Ended(job, LOST, f"its process of Ray was lost again and again ({kind})")


def _stop(ray: Any, references: list[Any]) -> None:
    """End tasks, and wait until they have kept what they learnt.

    A task hears of it as of Ctrl-C. Now and then one does not, so it is told again.
    """
    until = time.monotonic() + GRACE_SECONDS
    while references and time.monotonic() < until:
        for reference in references:
            ray.cancel(reference)
        count = len(references)
        _, references = ray.wait(references, num_returns=count, timeout=TOLD_SECONDS)
