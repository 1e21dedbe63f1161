"""How the jobs of a queue are done: one executor is one function, and one line in EXECUTORS.

An executor takes jobs one by one, as it has room for them, and yields what becomes of them. It does
each in a process of its own, so that no crash, be it a segmentation fault or the end by the system
for lack of memory, ever takes more than one video with it. The default does so too, as a process
takes a few seconds to start, and a video takes minutes. Nor is anything of one video, such as
memory or settings of a library, still there for the next.

A worker that was killed is started again, up to `Plan.retries` times, and its fit goes on from
where it was saved last. However an executor ends, it ends its workers first, and these keep what
they have learnt.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from dinotrack.batch.jobs import Job
from dinotrack.batch.processes import in_slots
from dinotrack.batch.protocol import Begun, Ended, Plan
from dinotrack.batch.ray_tasks import on_ray

Executor = Callable[[Iterator[Job], Plan], Generator[Begun | Ended, None, None]]


def one_by_one(jobs: Iterator[Job], plan: Plan) -> Generator[Begun | Ended, None, None]:
    """One video after the other, each with the whole machine, as `dinotrack VIDEO` has it."""
    return in_slots(jobs, replace(plan, slots=1, gpus=(), threads=None))


EXECUTORS: dict[str, Executor] = {
    "one": one_by_one,
    "slots": in_slots,
    "ray": on_ray,
}
"""Name -> the function that does jobs."""
