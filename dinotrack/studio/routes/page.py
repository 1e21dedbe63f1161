"""The page itself: files that come with the package, and no others."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException
from starlette.responses import FileResponse

PAGE = Path(__file__).parent.parent / "page"
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

router = APIRouter()


@router.get("/", response_class=FileResponse)
def index() -> FileResponse:
    """The page."""
    return file("index.html")


@router.get("/page/{name}", response_class=FileResponse)
def file(name: str) -> FileResponse:
    """A file of the page."""
    known = {path.name: path for path in PAGE.glob("*") if path.suffix in TYPES}
    if name not in known:
        raise HTTPException(404, "the page has no such file")
    path = known[name]
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})
