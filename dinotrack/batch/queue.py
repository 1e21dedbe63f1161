"""The queue of a batch: what is done is passed over, and all else is done, whatever happens to the
video before."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

from dinotrack.batch.events import Event
from dinotrack.batch.executors import Executor
from dinotrack.batch.jobs import Job
from dinotrack.batch.protocol import FOUND_DONE, IN_USE, Begun, Ended, Plan
from dinotrack.locks import InUse, locked
from dinotrack.terminal import requests

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
"""Seconds until a video that somebody else is at is looked at again; each time they double."""


def worked(
    jobs: Iterable[Job], execute: Executor, plan: Plan, pause: Callable[[float], None] = time.sleep
) -> Generator[Event, None, None]:
    """Do all jobs, and tell what happens to each as it happens.

    A job that another process is at waits until all others are done, and is then looked at again
    and again: by then it is done, or nobody is at it any more. However this ends, no worker lives
    on.
    """
    waiting = list(jobs)
    seconds = FIRST_PAUSE
    told: set[str] = set()
    while waiting:
        left = []
        for job in waiting:
            if requests.is_done(job.out, job.args):
                yield _event("skipped", job, facts_of(job))
            else:
                left.append(job)
        waiting = []
        with closing(_round(left, execute, plan, waiting)) as events:
            yield from events
        for job in waiting:
            if job.name not in told:
                yield _event("in use", job)
        told |= {job.name for job in waiting}
        if waiting:
            pause(seconds)
            seconds = min(2 * seconds, LONGEST_PAUSE)


def _round(
    jobs: Iterable[Job], execute: Executor, plan: Plan, in_use: list[Job]
) -> Generator[Event, None, None]:
    """Do each job once. Those that somebody else is at are added to in_use."""
    since: dict[str, float] = {}

    def free() -> Iterator[Job]:
        for job in jobs:
            if _is_in_use(job):
                in_use.append(job)
            else:
                yield job

    with closing(execute(free(), plan)) as happened:
        for each in happened:
            job = each.job
            if isinstance(each, Begun):
                since[job.name] = time.monotonic()
                yield _event("begun", job)
            elif each.code == IN_USE:
                in_use.append(job)
            else:
                yield _outcome(each, time.monotonic() - since[job.name], plan)


def _outcome(ended: Ended, taken: float, plan: Plan) -> Event:
    """What became of a job. taken: seconds from its begin."""
    job = ended.job
    if ended.code == FOUND_DONE:
        return _event("skipped", job, facts_of(job))
    if ended.code == 0:
        return _event("done", job, facts_of(job))
    log = str(plan.log_of(job))
    return _event("failed", job, {"seconds": round(taken, 3), "error": ended.error, "log": log})


def facts_of(job: Job) -> dict[str, Any]:
    """What the record of a finished run says of it, as far as it says it."""
    record = requests.record_in(job.out)
    facts: dict[str, Any] = {key: record[key] for key in ("points", "visible") if key in record}
    seconds = record.get("seconds")
    if isinstance(seconds, dict):
        facts["seconds"] = round(sum(seconds.values()), 3)
    return facts


def _event(kind: str, job: Job, facts: dict[str, Any] | None = None) -> Event:
    return Event(kind, job.name, str(job.video), facts or {})


def _is_in_use(job: Job) -> bool:
    """Whether another process is at a job at this moment."""
    try:
        with locked(job.out):
            return False
    except InUse:
        return True
