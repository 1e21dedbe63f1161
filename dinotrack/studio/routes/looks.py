"""What can be looked at: frames, tracks, and pictures of what the networks see."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from dinotrack.studio.routes.common import Answer, At, check_frame, ids_from, slowly
from dinotrack.studio.shapes import LARGEST_ID

KEPT_SECONDS = 600
"""For which a browser need not ask for a frame again. The video may be another one tomorrow."""

Frame = Annotated[int, Path(ge=0, le=LARGEST_ID)]
Ids = Annotated[str | None, Query(max_length=60_000)]
Kind = Literal["correspondence", "correlation", "raw", "refined"]

router = APIRouter(prefix="/api/projects/{project}")


@router.get("/frames/{t}.jpg", response_class=Response)
def frame(opened: At, t: Frame) -> Response:
    """A frame of the video as JPEG."""
    check_frame(opened, t)
    kept = {"cache-control": f"private, max-age={KEPT_SECONDS}, immutable"}
    return Response(opened.engine.frame(t), media_type="image/jpeg", headers=kept)


@router.get("/tracks")
def tracks(opened: At, ids: Ids = None) -> Answer:
    """The tracks that are there, of some points or all; a point that was removed has none."""
    wanted = ids_from(ids)
    there = set(opened.ids_of(None))
    asked = None if wanted is None else [id for id in wanted if id in there]
    return {"tracks": opened.engine.tracks(asked)}


@router.get("/pictures/{kind}/{t}", response_class=Response)
async def picture(
    request: Request,
    opened: At,
    kind: Kind,
    t: Frame,
    point: Annotated[int | None, Query(ge=0, le=LARGEST_ID)] = None,
) -> Response:
    """What the networks see in a frame, of a point or of all of it."""
    check_frame(opened, t)
    if point is not None:
        opened.ids_of((point,))
    image = await slowly(request, lambda: opened.engine.picture(kind, t, point))
    return Response(image, media_type=_type_of(image))


def _type_of(image: bytes) -> str:
    return "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
