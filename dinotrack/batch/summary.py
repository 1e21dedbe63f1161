"""How far a batch is: a table with a row for each video, and the time that is left."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dinotrack.batch import events
from dinotrack.batch.events import Event
from dinotrack.batch.jobs import Job
from dinotrack.errors import printable
from dinotrack.files import replacing

SUMMARY = "summary.csv"
HEADER = ("name", "video", "state", "seconds", "points", "visible", "folder", "error")
WAITING = "waiting"
"""The state of a video to which nothing has happened."""


def write(folder: Path, jobs: Iterable[Job]) -> dict[str, Event]:
    """Write the table of some jobs, as the events in the folder of their batch tell; the last event
    of each job. Raises InputError where it can't be written."""
    with events.alone(folder):
        found = events.last_of_each(events.read(folder))
        text = table(rows(jobs, found))
        with replacing(folder / SUMMARY, durable=False) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return found


def rows(jobs: Iterable[Job], found: Mapping[str, Event]) -> Iterator[tuple[object, ...]]:
    """What the table says of each job. found: the last event of each, by its name."""
    for job in jobs:
        event = found.get(job.name)
        state = event.state if event is not None else WAITING
        facts = event.facts if event is not None else {}
        numbers = (_number(facts.get(key)) for key in ("seconds", "points", "visible"))
        error = printable(str(facts.get("error", "")))
        yield job.name, job.video, state, *numbers, job.out, error


def table(lines: Iterable[Sequence[object]]) -> str:
    """Rows as CSV below the header, with line ends as editors of all systems have them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(lines)
    return text.getvalue()


def seconds_left(
    taken: Sequence[float], running: Sequence[float], waiting: int, slots: int
) -> float | None:
    """How long a batch still takes, by the mean of what its videos took; None before one is done.

    taken: the seconds of each that is done; running: those since each of the others has begun;
    waiting: how many have not begun; slots: how many run at a time.
    """
    if not taken:
        return None
    mean = sum(taken) / len(taken)
    begun = [max(mean - since, 0.0) for since in running]
    at_once = max(min(slots, len(running) + waiting), 1)
    return max((sum(begun) + mean * waiting) / at_once, max(begun, default=0.0))


def _number(value: Any) -> str:
    """A number of a table; empty where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.10g}"
