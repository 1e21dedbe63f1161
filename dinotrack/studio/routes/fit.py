"""The fit: begun, stopped, and how it went."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from pydantic import Field

from dinotrack.studio.engine import FitWishes
from dinotrack.studio.routes.common import Answer, At
from dinotrack.studio.shapes import Shape

LONGEST_NAME = 100
MOST_STEPS = 10_000_000

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] | None

router = APIRouter(prefix="/api/projects/{project}")


class Wishes(Shape):
    """How a fit is to be made; null for what is usual."""

    preset: Name = None
    backbone: Name = None
    flow: Name = None
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None
    again: bool = False


@router.post("/fit")
def fit(opened: At, wishes: Annotated[Wishes, Body()]) -> Answer:
    """Begin a fit, or go on with it."""
    opened.engine.fit(FitWishes(**wishes.model_dump()))
    return {"fit": opened.engine.status()["fit"]}


@router.post("/stop")
def stop(opened: At) -> Answer:
    """Stop a fit and keep what it has learnt."""
    opened.engine.stop()
    return {"fit": opened.engine.status()["fit"]}


@router.get("/losses")
def losses(opened: At) -> Answer:
    """The losses of the fit by step."""
    return {"losses": opened.engine.losses()}
