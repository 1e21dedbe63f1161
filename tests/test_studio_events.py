"""Live updates of the studio: every browser sees the newest, and none holds up another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from dinotrack.studio import events
from tests.studio_fake import Studio, studio_in

POINT = {"t": 1, "x": 2.25, "y": 3.5}
PATIENCE = 10.0


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio on this machine."""
    with studio_in(tmp_path) as made:
        yield made


class Listener:
    """A browser that listens to the events of the run. It runs in a loop of its own."""

    def __init__(self, studio: Studio, path: str | None = None) -> None:
        self.studio = studio
        self.path = path or f"{studio.at}/events"
        self.status = 0
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.body = b""
        self.is_over = False
        self.reads = asyncio.Event()
        """Cleared, it takes nothing more."""
        self.reads.set()
        self._gone = asyncio.Event()
        self.task = asyncio.create_task(self._listen())

    async def next(self) -> tuple[str, Any]:
        """The next event: its name and its data."""
        return await asyncio.wait_for(self.events.get(), PATIENCE)

    async def leave(self) -> None:
        """Close the window."""
        self._gone.set()
        self.reads.set()
        await asyncio.wait_for(self.task, PATIENCE)

    async def _listen(self) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": self.path,
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8765")],
        }
        await self.studio.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.is_over = not message.get("more_body", False)
        self.body += message["body"]
        *whole, self.body = self.body.split(b"\n\n")
        for event in map(bytes.decode, whole):
            if event.startswith("event: "):
                name, _, data = event.removeprefix("event: ").partition("\ndata: ")
                self.events.put_nowait((name, json.loads(data)))
            else:
                self.events.put_nowait(("comment", event))


def in_a_loop(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story of listeners to its end, and not for ever."""
    asyncio.run(asyncio.wait_for(story(), 30))


def test_the_state_comes_first_and_then_what_happens(studio: Studio) -> None:
    async def story() -> None:
        listener = Listener(studio)
        name, state = await listener.next()
        assert (name, listener.status) == ("state", 200)
        assert state == json.loads(studio.get("").text)
        await asyncio.to_thread(studio.edit, "add", points=[POINT])
        told = dict([await listener.next(), await listener.next()])
        assert told["tracks"] == {"versions": {"0": 2}}
        document = studio.get("").json()
        assert told["document"] == {
            key: document[key] for key in ("revision", "document", "undo", "redo")
        }
        await asyncio.to_thread(studio.post, "fit")
        assert (await listener.next())[1]["status"] == "done"
        studio.session.publish("job", None)
        assert await listener.next() == ("job", None)
        await listener.leave()
        assert not studio.hub.listeners

    in_a_loop(story)


def test_two_browsers_see_one_state(studio: Studio) -> None:
    async def story() -> None:
        listeners = [Listener(studio), Listener(studio)]
        for listener in listeners:
            await listener.next()
        with ThreadPoolExecutor(2) as pool:  # each of them edits, too
            for number in range(20):
                pool.submit(studio.edit, "add", points=[POINT | {"x": number / 4}])
        found = []
        for listener in listeners:
            document: Any = {"revision": 0}
            while document["revision"] < 20:
                name, data = await listener.next()
                document = data if name == "document" else document
            found.append(document)
            await listener.leave()
        assert found[0] == found[1]
        assert len(found[0]["document"]["points"]) == 20

    in_a_loop(story)


def test_revisions_never_go_back(studio: Studio) -> None:
    async def story() -> None:
        listener = Listener(studio)
        await listener.next()
        with ThreadPoolExecutor(4) as pool:
            for _ in range(40):
                pool.submit(studio.edit, "add", points=[POINT])
        seen = [0]
        while seen[-1] < 40:
            name, data = await listener.next()
            if name == "document":
                seen.append(data["revision"])
        assert seen == sorted(set(seen))
        await listener.leave()

    in_a_loop(story)


def test_a_slow_reader_gets_the_newest_and_holds_nobody_up(studio: Studio) -> None:
    async def story() -> None:
        slow, quick = Listener(studio), Listener(studio)
        for listener in (slow, quick):
            await listener.next()
        slow.reads.clear()
        for number in range(500):
            studio.session.publish("fit", {"step": number})
            if number % 100 == 0:
                assert (await quick.next())[1]["step"] <= number
        while (await quick.next())[1]["step"] < 499:
            pass
        assert slow.events.empty()
        slow.reads.set()
        steps = [(await slow.next())[1]["step"]]
        while steps[-1] < 499:
            steps.append((await slow.next())[1]["step"])
        assert len(steps) <= 3  # what was on its way, and the newest
        for listener in (slow, quick):
            await listener.leave()

    in_a_loop(story)


def test_a_reader_that_takes_nothing_is_let_go(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STALLED_SECONDS", 0.05)

    async def story() -> None:
        listener = Listener(studio)
        await listener.next()
        listener.reads.clear()
        studio.session.publish("fit", {})
        await asyncio.wait_for(listener.task, PATIENCE)
        assert not studio.hub.listeners

    in_a_loop(story)


def test_silence_is_broken_by_comments(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.01)

    async def story() -> None:
        listener = Listener(studio)
        while (await listener.next())[0] != "comment":
            pass
        await listener.leave()

    in_a_loop(story)


def test_refuses_too_many_listeners(studio: Studio) -> None:
    async def story() -> None:
        listeners = [Listener(studio) for _ in range(events.MOST_LISTENERS)]
        for listener in listeners:
            await listener.next()
        refused = Listener(studio)
        await asyncio.wait_for(refused.task, PATIENCE)
        assert refused.status == 409
        assert json.loads(refused.body) == {"problem": "32 windows are open; close one of them"}
        await listeners.pop().leave()
        again = Listener(studio)
        assert (await again.next())[0] == "state"
        for listener in (*listeners, again):
            await listener.leave()
        assert not studio.hub.listeners

    in_a_loop(story)


def test_browsers_that_come_and_go_leave_nothing_behind(studio: Studio) -> None:
    async def story() -> None:
        before = len(asyncio.all_tasks())
        for _ in range(100):
            listener = Listener(studio)
            if _ % 2:
                await listener.next()
            await listener.leave()
        assert not studio.hub.listeners
        assert len(asyncio.all_tasks()) == before

    in_a_loop(story)


def test_all_are_let_go_when_the_studio_ends(studio: Studio) -> None:
    async def story() -> None:
        listeners = [Listener(studio), Listener(studio)]
        for listener in listeners:
            await listener.next()
        studio.hub.close()
        for listener in listeners:
            await asyncio.wait_for(listener.task, PATIENCE)
            assert listener.is_over
        late = Listener(studio)
        await asyncio.wait_for(late.task, PATIENCE)
        assert not studio.hub.listeners

    in_a_loop(story)


def test_refuses_events_of_no_project(studio: Studio) -> None:
    async def story() -> None:
        listener = Listener(studio, "/api/projects/0123456789abcdef/events")
        await asyncio.wait_for(listener.task, PATIENCE)
        assert listener.status == 404

    in_a_loop(story)


def test_a_state_that_fails_leaves_nothing_behind(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> dict[str, Any]:
        raise RuntimeError("a bug")

    studio.get("")
    monkeypatch.setattr(type(studio.session), "status", broken)

    async def story() -> None:
        listener = Listener(studio)
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(listener.task, PATIENCE)
        assert listener.status == 500
        assert not studio.hub.listeners

    in_a_loop(story)
    monkeypatch.undo()
