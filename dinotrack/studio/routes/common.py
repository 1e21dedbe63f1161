"""What all routes share: the project that an address names, and where slow work is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, cast

import anyio
from fastapi import Depends, HTTPException, Path, Request
from starlette.concurrency import run_in_threadpool

from dinotrack.studio.workspace import Opened, Workspace

T = TypeVar("T")


def workspace_of(request: Request) -> Workspace:
    """The workspace of the application."""
    return cast(Workspace, request.app.state.workspace)


ProjectId = Annotated[str, Path(max_length=64)]


async def opened_of(request: Request, project: ProjectId) -> Opened:
    """The project that an address names. Raises HTTPException where there is none."""
    workspace = workspace_of(request)
    try:
        return await run_in_threadpool(workspace.get, project)
    except LookupError:
        raise HTTPException(404, "there is no such project; it may have been moved") from None


At = Annotated[Opened, Depends(opened_of)]
In = Annotated[Workspace, Depends(workspace_of)]


async def slowly(request: Request, work: Callable[[], T]) -> T:
    """What work gives that waits for a session. It has threads of its own, so that everything else
    is answered meanwhile."""
    return await anyio.to_thread.run_sync(work, limiter=request.app.state.limiter)


def ids_from(text: str | None) -> tuple[int, ...] | None:
    """Ids with commas between. Raises HTTPException."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isascii() and word.isdecimal() and len(word) < 17 for word in words):
        raise HTTPException(422, "ids are whole numbers with commas between")
    return tuple(dict.fromkeys(map(int, words)))


def check_frame(opened: Opened, t: int) -> None:
    """Raise HTTPException for a frame that the video does not have."""
    frames = len(opened.video.frames)
    if not 0 <= t < frames:
        raise HTTPException(404, f"there is no such frame; the last one is {frames - 1}")


Answer = dict[str, Any]
"""What is sent as JSON."""
