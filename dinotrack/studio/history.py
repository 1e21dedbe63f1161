"""A document with its past and its future: what undo and redo go through."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dinotrack.studio.document import Clip, Conflict, Document
from dinotrack.studio.edits import apply, title
from dinotrack.studio.shapes import Shape

MOST_STEPS = 2000
"""That can be undone; older ones are kept in the journal alone."""


@dataclass(frozen=True)
class Step:
    """An edit that was made, or undone."""

    title: str
    document: Document
    """The other side of the step: before an edit that can be undone, after one that was."""


@dataclass(frozen=True)
class History:
    """A document and how it came to be."""

    document: Document
    past: tuple[Step, ...] = ()
    future: tuple[Step, ...] = ()
    revision: int = 0
    """How many edits, undos and redos were made so far."""

    @property
    def undo(self) -> str | None:
        """What the next undo is about."""
        return self.past[-1].title if self.past else None

    @property
    def redo(self) -> str | None:
        """What the next redo is about."""
        return self.future[-1].title if self.future else None

    def edited(self, edit: Shape, clip: Clip) -> History:
        """The history after an edit; the same one where the edit changes nothing.

        Raises InputError where the edit does not apply.
        """
        document = apply(self.document, edit, clip)
        if document == self.document:
            return self
        step = Step(title(self.document, edit), self.document)
        return History(document, (*self.past, step)[-MOST_STEPS:], (), self.revision + 1)

    def undone(self) -> History:
        """The history with the last step taken back. Raises Conflict where there is none."""
        if not self.past:
            raise Conflict("there is nothing to undo")
        *past, step = self.past
        future = (*self.future, Step(step.title, self.document))
        return self._at(step, tuple(past), future)

    def redone(self) -> History:
        """The history with a step made again. Raises Conflict where none was taken back."""
        if not self.future:
            raise Conflict("there is nothing to redo")
        *future, step = self.future
        past = (*self.past, Step(step.title, self.document))
        return self._at(step, past, tuple(future))

    def _at(self, step: Step, past: tuple[Step, ...], future: tuple[Step, ...]) -> History:
        """The history at the other side of a step. Ids that were given stay given."""
        document = replace(step.document, next_id=self.document.next_id)
        return History(document, past, future, self.revision + 1)
