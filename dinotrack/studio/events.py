"""Live updates: what happens to a project goes to every browser that looks at it.

Events are published from any thread and never wait for a reader. Of each kind of event only the
newest one waits for a reader, as it tells all that there is to tell; so a slow reader misses steps
in between and takes no memory. One that takes nothing at all is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dinotrack.studio.document import Conflict

MOST_LISTENERS = 32
QUIET_SECONDS = 15.0
"""Until a comment is sent, so that nobody takes the silence for the end."""
STALLED_SECONDS = 30.0
"""For which a reader may take nothing."""


class Mailbox:
    """What waits to be sent to one browser. Its owner reads it in the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: dict[str, str] = {}
        self.is_closed = False

    def put(self, event: str, data: str) -> None:
        """Leave an event, in the place of an older one of its kind. From any thread."""
        with self._lock:
            self._waiting.pop(event, None)
            self._waiting[event] = data
        self._wake()

    def close(self) -> None:
        """Say that nothing more will come. From any thread."""
        self.is_closed = True
        self._wake()

    async def wait(self, seconds: float) -> None:
        """Until something came, or so long."""
        with anyio.move_on_after(seconds):
            await self._came.wait()

    def take(self) -> bytes:
        """All that waits, as it is sent; nothing where nothing came."""
        self._came.clear()
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        return b"".join(
            format_sse_event(event=event, data_str=data) for event, data in waiting.items()
        )

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
            self._loop.call_soon_threadsafe(self._came.set)


class Hub:
    """All browsers that listen, by what they listen to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._boxes: list[tuple[str, Mailbox]] = []
        self._is_closed = False

    def publish(self, topic: str, event: str, data: dict[str, Any] | None) -> None:
        """Tell all who listen to a topic. From any thread; returns at once."""
        with self._lock:
            boxes = [box for name, box in self._boxes if name == topic]
        if boxes:
            text = as_text(data)
            for box in boxes:
                box.put(event, text)

    @contextlib.contextmanager
    def listening(self, topic: str) -> Iterator[Mailbox]:
        """A mailbox for what is published inside. Raises Conflict where too many listen."""
        box = Mailbox()
        with self._lock:
            if len(self._boxes) >= MOST_LISTENERS:
                raise Conflict(f"{MOST_LISTENERS} windows are open; close one of them")
            self._boxes.append((topic, box))
            box.is_closed = self._is_closed
        try:
            yield box
        finally:
            with self._lock:
                self._boxes = [each for each in self._boxes if each[1] is not box]

    @property
    def listeners(self) -> Counter[str]:
        """How many listen to each topic."""
        with self._lock:
            return Counter(topic for topic, _ in self._boxes)

    def close(self) -> None:
        """Let all who listen go."""
        with self._lock:
            self._is_closed = True
            boxes = [box for _, box in self._boxes]
        for box in boxes:
            box.close()


class EventStream(Response):
    """A stream of the events of a topic, after the whole state."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, topic: str, state: Callable[[], dict[str, Any]]) -> None:
        """state: gives what is sent first of all; it is called in another thread."""
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._hub = hub
        self._topic = topic
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the browser leaves, or the studio ends."""
        with self._hub.listening(self._topic) as box:
            first = await run_in_threadpool(lambda: as_text(self._state()))
            box.put("state", first)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_it_leaves, receive, tasks.cancel_scope)
                with contextlib.suppress(TimeoutError):
                    await self._send(box, send)
                tasks.cancel_scope.cancel()

    async def _send(self, box: Mailbox, send: Send) -> None:
        """Raises TimeoutError where the browser takes nothing for too long."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        while not box.is_closed:
            await box.wait(QUIET_SECONDS)
            body = box.take() or KEEPALIVE_COMMENT
            with anyio.fail_after(STALLED_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def as_text(data: dict[str, Any] | None) -> str:
    """Data as JSON on one line."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


async def _until_it_leaves(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
