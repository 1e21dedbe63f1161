"""Changes of the document: edits, undo and redo."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from dinotrack.studio.routes.common import Answer, At
from dinotrack.studio.shapes import Edit

router = APIRouter(prefix="/api/projects/{project}")


@router.post("/edits")
def edit(opened: At, edit: Annotated[Edit, Body()]) -> Answer:
    """Make an edit, which is on the disk once this is answered."""
    return opened.edit(edit)


@router.post("/undo")
def undo(opened: At) -> Answer:
    """Take the last step back."""
    return opened.undo()


@router.post("/redo")
def redo(opened: At) -> Answer:
    """Make a step again."""
    return opened.redo()
