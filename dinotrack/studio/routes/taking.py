"""What is taken away: files of other programs, the overlay and the report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from dinotrack.errors import InputError
from dinotrack.formats import FORMATS, check_writable
from dinotrack.overlay import STYLES
from dinotrack.studio.engine import ExportWishes
from dinotrack.studio.routes.common import At, ids_from, slowly
from dinotrack.studio.routes.looks import Ids

LARGEST_START = 999_999_999

router = APIRouter(prefix="/api/projects/{project}")


class Taken(FileResponse):
    """A file to keep, whose folder is removed once it is sent."""

    def __init__(self, path: Path, name: str) -> None:
        """name: what the browser is to call it."""
        super().__init__(path, media_type="application/octet-stream", filename=name)
        self._folder = path.parent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or as much of it as is taken."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(shutil.rmtree, self._folder, ignore_errors=True)


@router.get("/export/{format}", response_class=FileResponse)
async def export(
    request: Request,
    opened: At,
    format: str,
    points: Ids = None,
    start_frame: Annotated[int | None, Query(ge=-LARGEST_START, le=LARGEST_START)] = None,
    only_visible: bool = False,
) -> Taken:
    """The tracks as a file of another program."""
    check_writable(format)
    wanted = ids_from(points)
    chosen = None if wanted is None else opened.ids_of(wanted)
    if chosen == () or not opened.ids_of(None):
        raise InputError("there are no points to write; place some first")
    wishes = ExportWishes(chosen, start_frame, only_visible)
    path = await slowly(request, lambda: opened.engine.export(format, wishes))
    return Taken(path, f"{opened.project.name}_{format}{FORMATS[format].ending}")


@router.get("/overlay", response_class=FileResponse)
async def overlay(request: Request, opened: At, style: str = "trails") -> Taken:
    """A video with the tracks drawn over it."""
    if style not in STYLES:
        raise InputError(f"the overlay has no such style; choose one of {', '.join(STYLES)}")
    path = await slowly(request, lambda: opened.engine.overlay(style))
    return Taken(path, f"{opened.project.name}_{style}.mp4")


@router.get("/report", response_class=FileResponse)
async def report(request: Request, opened: At) -> Taken:
    """A page that shows what the fit did, and how well."""
    path = await slowly(request, lambda: opened.engine.report())
    return Taken(path, f"{opened.project.name}_report.html")
