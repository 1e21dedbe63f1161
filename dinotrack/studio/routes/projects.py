"""Which projects there are, a new one by upload, and the state of one, live."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

import dinotrack
from dinotrack.backbones import BACKBONES
from dinotrack.config import PRESETS
from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.flow_methods import FLOWS
from dinotrack.formats import FORMATS, check_writable
from dinotrack.locks import locked
from dinotrack.overlay import STYLES
from dinotrack.studio import projects
from dinotrack.studio.events import EventStream
from dinotrack.studio.routes.common import Answer, At, In

BLOCK = 1 << 20
"""Bytes of an upload that are written at a time."""

router = APIRouter(prefix="/api")


@router.get("/settings")
def settings(workspace: In) -> Answer:
    """What can be chosen, and the limits."""
    limits = workspace.limits
    return {
        "formats": [
            {"name": name, "suffix": each.ending, "what": each.program}
            for name, each in FORMATS.items()
            if _is_writable(name)
        ],
        "presets": [*PRESETS],
        "backbones": ["auto", "none", *BACKBONES],
        "flows": ["auto", *FLOWS],
        "styles": [*STYLES],
        "version": dinotrack.__version__,
        "max_upload": limits.bytes,
        "max_frames": limits.frames,
    }


@router.get("/projects")
def listing(workspace: In) -> Answer:
    """The projects, and the one that was named at the start."""
    return workspace.listing()


@router.post("/projects")
async def upload(
    request: Request, workspace: In, name: Annotated[str, Query(min_length=1, max_length=255)]
) -> Answer:
    """Make a project of a video, which is the body."""
    suffix = projects.suffix_of(name)
    folder = await run_in_threadpool(projects.new_folder, workspace.runs, name)
    try:
        with locked(folder):
            await _receive(request, folder / f"{projects.UPLOADED}{suffix}")
    except BaseException:  # also where the browser left
        projects.remove(folder)
        raise
    return {"id": await run_in_threadpool(workspace.accept, folder)}


@router.get("/projects/{project}")
def state(opened: At) -> Answer:
    """All that a page has to know of a project."""
    return opened.state()


@router.get("/projects/{project}/events", response_class=Response)
async def events(opened: At, workspace: In) -> EventStream:
    """What happens to a project, as it happens."""
    return EventStream(workspace.hub, opened.project.id, opened.state)


async def _receive(request: Request, path: Path) -> None:
    """Write the body of a request into a file. Raises InputError where there is none."""
    with replacing(path) as part, part.open("wb") as file:
        block = bytearray()
        async for chunk in request.stream():
            block += chunk
            if len(block) >= BLOCK:
                await run_in_threadpool(file.write, bytes(block))
                block.clear()
        await run_in_threadpool(file.write, bytes(block))
        if not file.tell():
            raise InputError("the video is empty; send another")


def _is_writable(name: str) -> bool:
    with contextlib.suppress(InputError):
        check_writable(name)
        return True
    return False
