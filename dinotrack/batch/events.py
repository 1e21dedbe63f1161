"""What happened to the jobs of a batch: one JSON line an event, in a file that only grows.

Several batches may write into one file, on several machines. Each line is appended while the lock
of the folder logs/ beside it is held. A line that somebody was killed at is mended then: it is cut
off where it was half written.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinotrack.errors import InputError, cause_of
from dinotrack.files import unwritable
from dinotrack.locks import InUse, locked

EVENTS = "events.jsonl"
LOGS = "logs"
"""The folder of what each worker said."""
PATIENCE = 30.0
"""Seconds to wait for others who write an event or a summary, which takes them no second."""
LONGEST_LINE = 1 << 20
"""Bytes at the end of the file in which its last line begins."""

STATES: dict[str, str] = {
    "begun": "running",
    "done": "done",
    "skipped": "done",
    "failed": "failed",
    "in use": "in use by another process",
    "interrupted": "interrupted",
}
"""Each kind of event -> the state in which a video is after it."""


@dataclass(frozen=True)
class Event:
    """What happened to a job."""

    kind: str
    """One of STATES."""
    name: str
    """That of the job."""
    video: str
    facts: dict[str, Any] = field(default_factory=dict)
    """Of a job that is done: seconds, points, visible. Of one that failed: seconds, error, log."""

    @property
    def state(self) -> str:
        """The state of the video after it."""
        return STATES.get(self.kind, self.kind)


def append(folder: Path, event: Event, when: str) -> None:
    """Write an event to the end of the file in the folder of a batch. when: the time, as text.

    Raises InputError where it can't be written.
    """
    line = json.dumps({"time": when, "event": event.kind, "name": event.name} | _rest(event))
    path = folder / EVENTS
    try:
        with alone(folder), path.open("a+b", buffering=0) as file:
            _mend(file.fileno())
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError as error:
        raise unwritable(path, error) from error


def read(folder: Path) -> Iterator[Event]:
    """The events of a batch up to now, the earliest first. What is no event is passed over."""
    try:
        with (folder / EVENTS).open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
                    yield _event(json.loads(line))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{folder / EVENTS}: can't be read ({cause_of(error)})") from error


def last_of_each(events: Iterable[Event]) -> dict[str, Event]:
    """The last event of each job, by its name."""
    return {event.name: event for event in events}


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else writes events or a summary inside. If somebody holds on for longer than PATIENCE,
    it is done without."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(InUse):
            stack.enter_context(locked(folder / LOGS, patience=PATIENCE))
        yield


def _rest(event: Event) -> dict[str, Any]:
    return {"video": event.video, **event.facts}


def _event(values: dict[str, Any]) -> Event:
    facts = {key: value for key, value in values.items() if key not in _FIXED}
    return Event(str(values["event"]), str(values["name"]), str(values.get("video", "")), facts)


_FIXED = ("time", "event", "name", "video")


def _mend(file: int) -> None:
    """Cut off a last line that was half written, or give it the end that it lacks."""
    size = os.fstat(file).st_size
    begin = max(size - LONGEST_LINE, 0)
    os.lseek(file, begin, os.SEEK_SET)
    tail = os.read(file, LONGEST_LINE)
    half = tail[tail.rfind(b"\n") + 1 :]
    if not half:
        return
    try:
        json.loads(half)
        os.write(file, b"\n")
    except ValueError:
        os.ftruncate(file, size - len(half))
