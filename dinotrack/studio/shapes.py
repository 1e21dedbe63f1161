"""Edits as they travel: frozen values whose shape is checked when they are read from JSON.

They come from a page or from the journal. Whether one applies to a document and a video is found
out when it is applied (edits.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dinotrack.errors import InputError, printable
from dinotrack.studio.document import MOST_POINTS

LONGEST_NAME = 200
LARGEST_ID = 2**53 - 1
"""The largest whole number that a browser tells from its neighbours."""

Number = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Name = Annotated[str, Field(max_length=LONGEST_NAME)] | None
Colour = Annotated[str, Field(pattern="^#[0-9a-f]{6}$")] | None
Ids = Annotated[list[Number], Field(min_length=1, max_length=MOST_POINTS)]


class Shape(BaseModel):
    """Something that comes as JSON: nothing in it may be missing, of another type, or too much."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Place(Shape):
    """A position in a frame."""

    t: Number
    x: float
    y: float


class NewPoint(Place):
    """A point that is to be made."""

    name: Name = None
    colour: Colour = None


class Add(Shape):
    """Make points."""

    kind: Literal["add"] = "add"
    points: Annotated[list[NewPoint], Field(min_length=1, max_length=MOST_POINTS)]


class Remove(Shape):
    """Remove points."""

    kind: Literal["remove"] = "remove"
    ids: Ids


class Move(Place):
    """Place a point elsewhere: in its query's frame or in another one."""

    kind: Literal["place"] = "place"
    id: Number


class Rename(Shape):
    """Call a point otherwise."""

    kind: Literal["rename"] = "rename"
    id: Number
    name: Name


class Recolour(Shape):
    """Give points another colour."""

    kind: Literal["colour"] = "colour"
    ids: Ids
    colour: Colour


class Correct(Place):
    """Say where a point is in a frame."""

    kind: Literal["correct"] = "correct"
    id: Number


class Uncorrect(Shape):
    """Take a correction back."""

    kind: Literal["uncorrect"] = "uncorrect"
    id: Number
    t: Number


class Hide(Shape):
    """Say that a point can't be seen from frame t to frame u."""

    kind: Literal["hide"] = "hide"
    id: Number
    t: Number
    u: Number


class Show(Shape):
    """Take back that a point can't be seen from frame t to frame u."""

    kind: Literal["show"] = "show"
    id: Number
    t: Number
    u: Number


class Accept(Shape):
    """Say that tracks were looked at and found right, or take that back."""

    kind: Literal["accept"] = "accept"
    ids: Ids
    accepted: bool


class Teach(Shape):
    """Have the fit learn from all corrections and hidden stretches."""

    kind: Literal["teach"] = "teach"


Edit = Annotated[
    Add | Remove | Move | Rename | Recolour | Correct | Uncorrect | Hide | Show | Accept | Teach,
    Field(discriminator="kind"),
]
ANY_EDIT: TypeAdapter[Shape] = TypeAdapter(Edit)


def read_edit(line: str | bytes) -> Shape:
    """An edit from its JSON. Raises InputError where it is none."""
    try:
        return ANY_EDIT.validate_json(line)
    except ValidationError as error:
        raise InputError(problem_of(error.errors())) from None


def written(edit: Shape) -> str:
    """An edit as one line of JSON, which `read_edit` reads back."""
    return json.dumps(edit.model_dump(exclude_none=False), ensure_ascii=True)


def problem_of(errors: Sequence[Any]) -> str:
    """One sentence about what pydantic found wrong, the first of it."""
    first = errors[0]
    words = [str(part) for part in first["loc"] if part != "body"]
    place = printable(".".join(words)[:100])
    said = str(first["msg"])
    said = said[:1].lower() + said[1:]
    return f"{place}: {printable(said)}" if place else f"what was sent is wrong: {printable(said)}"
