"""Each job as a task of Ray, on this machine or on all machines of a cluster.

A task runs in a worker of its own (`max_calls=1`), so that nothing of one video is left for the
next, and a GPU's memory is free again. Ray counts processors and GPUs, of which a task may take a
part, and starts tasks again whose worker was killed. Tasks are given to Ray only as it has room for
them, so that a batch that is interrupted has none waiting there.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

from dinotrack.batch.jobs import Job
from dinotrack.batch.processes import GRACE_SECONDS, error_of
from dinotrack.batch.protocol import Begun, Ended, Plan, processors, share_of_threads
from dinotrack.batch.worker import code_of_logged
from dinotrack.errors import InputError, printable
from dinotrack.interrupts import ENDING, held

LOOK_SECONDS = 1.0
"""Between two looks at the cluster, which may have grown."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""With this, Ray takes 127.0.0.1 for the address of this machine, so that nobody else reaches it.
It has no other way to ask for that: `_node_ip_address` of 127.0.0.1 is replaced."""
OUT_OF_MEMORY = "RAY_task_oom_retries"
"""The variable that says how often Ray starts a task again that took too much memory; without it,
for ever."""
LOST = 137
"""The exit code of a worker that was killed, as Ray does not tell by what."""


def on_ray(jobs: Iterator[Job], plan: Plan) -> Generator[Begun | Ended, None, None]:
    """As many videos at a time as the cluster has processors and GPUs for."""
    with _cluster(plan) as ray:
        share, threads = _needs(ray, plan)
        task = ray.remote(code_of_logged).options(
            num_cpus=threads, num_gpus=share, max_calls=1, max_retries=plan.retries
        )
        running: dict[Any, Job] = {}
        try:
            while True:
                room = _room(ray, plan, share, threads) - len(running)
                while room > 0 and (job := next(jobs, None)) is not None:
                    room -= 1
                    reference = task.remote(plan.work, job.args, plan.log_of(job))
                    running[reference] = job
                    yield Begun(job)
                if not running:
                    return
                ended, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS)
                for reference in ended:
                    yield _ended(ray, reference, running.pop(reference), plan)
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
            advice = "install it by pip install 'dinotrack[ray]', or give --jobs instead"
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
    """Raises InputError where there is no such cluster."""
    os.environ.setdefault(OUT_OF_MEMORY, str(plan.retries))
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if plan.address is not None:
        try:
            ray.init(address=plan.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [""])[0]
            problem = f"no Ray cluster answers at {plan.address} ({printable(reason)})"
            advice = "start one by `ray start --head`, or give --ray without an address"
            raise InputError(f"{problem}; {advice}") from error
        return
    own = {"address": "local", "num_cpus": processors(), "include_dashboard": False}
    ray.init(**own, **quiet)


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


def _ended(ray: Any, reference: Any, job: Job, plan: Plan) -> Ended:
    """What became of a task. Whatever went wrong with it, or with its machine, is its own."""
    try:
        code = int(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        return Ended(job, 1, f"a bug of ours: {printable(str(error.cause or error))}")
    except ray.exceptions.RayError as error:
        kind = type(error).__name__
        return Ended(job, LOST, f"its worker was lost again and again ({kind} of Ray)")
    return Ended(job, code, error_of(code, plan.log_of(job)))


def _stop(ray: Any, references: list[Any]) -> None:
    """End tasks, and wait until they have kept what they learnt."""
    if not references:
        return
    for reference in references:
        ray.cancel(reference)  # which is as Ctrl-C there
    ray.wait(references, num_returns=len(references), timeout=GRACE_SECONDS)
