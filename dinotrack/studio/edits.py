"""What can be done to a document: for each kind of edit a pure function, edit x document ->
document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from dinotrack.errors import InputError, shown
from dinotrack.studio.document import (
    MOST_POINTS,
    Clip,
    Conflict,
    Document,
    Lesson,
    Point,
    by_id,
    called,
)
from dinotrack.studio.shapes import (
    Accept,
    Add,
    Correct,
    Hide,
    Move,
    Place,
    Recolour,
    Remove,
    Rename,
    Shape,
    Show,
    Teach,
    Uncorrect,
)

MOST_LESSONS = 100


def apply(document: Document, edit: Shape, clip: Clip) -> Document:
    """The document after an edit. Raises InputError where the edit does not apply."""
    return EDITS[kind_of(edit)](document, edit, clip)


def kind_of(edit: Shape) -> str:
    """The name of an edit in `EDITS`."""
    return str(cast(Any, edit).kind)


def title(document: Document, edit: Shape) -> str:
    """What an undo of an edit says it is about; document: the one before the edit."""
    known = by_id(document)
    match edit:
        case Add(points=points):
            return "add " + ("a point" if len(points) == 1 else f"{len(points)} points")
        case Remove(ids=ids) | Recolour(ids=ids) | Accept(ids=ids):
            some = called(known[ids[0]]) if len(set(ids)) == 1 else f"{len(set(ids))} points"
            return f"{kind_of(edit)} {some}"
        case Move(id=one):
            return f"move {called(known[one])}"
        case Teach():
            return "teach"
    return f"{kind_of(edit)} {called(known[cast(Any, edit).id])}"


# --- what each of them does


def _add(document: Document, edit: Add, clip: Clip) -> Document:
    total = len(document.points) + len(edit.points)
    if total > MOST_POINTS:
        raise Conflict(f"{total} points are too many; at most {MOST_POINTS} can be placed")
    made = []
    for number, new in enumerate(edit.points, document.next_id):
        _check_place(new, clip)
        name = _checked_name(new.name)
        made.append(Point(number, new.t, new.x, new.y, name=name, colour=new.colour))
    points = (*document.points, *made)
    return replace(document, points=points, next_id=document.next_id + len(made))


def _remove(document: Document, edit: Remove, clip: Clip) -> Document:
    gone = {point.id for point in _known(document, edit.ids)}
    points = tuple(point for point in document.points if point.id not in gone)
    return replace(document, points=points)


def _place(document: Document, edit: Move, clip: Clip) -> Document:
    _check_place(edit, clip)
    (point,) = _known(document, [edit.id])
    corrections = tuple(other for other in point.corrections if other[0] != edit.t)
    moved = replace(point, t=edit.t, x=edit.x, y=edit.y, corrections=corrections)
    return _with(document, [moved])


def _rename(document: Document, edit: Rename, clip: Clip) -> Document:
    (point,) = _known(document, [edit.id])
    return _with(document, [replace(point, name=_checked_name(edit.name))])


def _colour(document: Document, edit: Recolour, clip: Clip) -> Document:
    points = _known(document, edit.ids)
    return _with(document, [replace(point, colour=edit.colour) for point in points])


def _correct(document: Document, edit: Correct, clip: Clip) -> Document:
    _check_place(edit, clip)
    (point,) = _known(document, [edit.id])
    if edit.t == point.t:
        return _with(document, [replace(point, x=edit.x, y=edit.y)])
    others = [other for other in point.corrections if other[0] != edit.t]
    corrections = tuple(sorted([*others, (edit.t, edit.x, edit.y)]))
    return _with(document, [replace(point, corrections=corrections)])


def _uncorrect(document: Document, edit: Uncorrect, clip: Clip) -> Document:
    (point,) = _known(document, [edit.id])
    corrections = tuple(other for other in point.corrections if other[0] != edit.t)
    if corrections == point.corrections:
        raise Conflict(f"{called(point)} has no correction in frame {edit.t} to take back")
    return _with(document, [replace(point, corrections=corrections)])


def _hide(document: Document, edit: Hide, clip: Clip) -> Document:
    _check_stretch(edit.t, edit.u, clip)
    (point,) = _known(document, [edit.id])
    return _with(document, [replace(point, hidden=_merged([*point.hidden, (edit.t, edit.u)]))])


def _show(document: Document, edit: Show, clip: Clip) -> Document:
    _check_stretch(edit.t, edit.u, clip)
    (point,) = _known(document, [edit.id])
    left = []
    for first, last in point.hidden:
        left += [(first, min(last, edit.t - 1)), (max(first, edit.u + 1), last)]
    return _with(document, [replace(point, hidden=_merged(left))])


def _accept(document: Document, edit: Accept, clip: Clip) -> Document:
    points = _known(document, edit.ids)
    return _with(document, [replace(point, accepted=edit.accepted) for point in points])


def _teach(document: Document, edit: Teach, clip: Clip) -> Document:
    told = tuple(point.placed for point in document.points if point.corrections)
    if not told:
        raise Conflict("there is nothing to teach yet; correct a point in a further frame first")
    if len(document.lessons) >= MOST_LESSONS:
        raise Conflict(f"{MOST_LESSONS} lessons are the most that a fit is taught")
    return replace(document, lessons=(*document.lessons, Lesson(told)))


EDITS: dict[str, Callable[[Document, Any, Clip], Document]] = {
    "add": _add,
    "remove": _remove,
    "place": _place,
    "rename": _rename,
    "colour": _colour,
    "correct": _correct,
    "uncorrect": _uncorrect,
    "hide": _hide,
    "show": _show,
    "accept": _accept,
    "teach": _teach,
}
"""The kind of an edit -> what it makes of a document; each raises InputError where it can't."""


def _known(document: Document, ids: Iterable[int]) -> list[Point]:
    """The points with these ids, each once. Raises Conflict where one is not there."""
    points = by_id(document)
    wanted = list(dict.fromkeys(ids))
    for one in wanted:
        if one not in points:
            raise Conflict(f"there is no point {one}; it may have been removed in another window")
    return [points[one] for one in wanted]


def _with(document: Document, changed: Iterable[Point]) -> Document:
    """The document with some points as they are now."""
    new = {point.id: point for point in changed}
    return replace(document, points=tuple(new.get(point.id, point) for point in document.points))


def _check_place(place: Place, clip: Clip) -> None:
    """Raise InputError for a place outside the video."""
    _check_frame(place.t, clip)
    for value, name, side in ((place.x, "x", clip.width), (place.y, "y", clip.height)):
        if not -0.5 <= value <= side - 0.5:
            raise InputError(
                f"{name} = {shown(value)} lies outside the picture; "
                f"it may be from -0.5 to {side - 0.5:g}"
            )


def _check_stretch(first: int, last: int, clip: Clip) -> None:
    """Raise InputError for frames that are not in the video, or in the wrong order."""
    _check_frame(first, clip)
    _check_frame(last, clip)
    if last < first:
        raise InputError(f"frame {last} comes before frame {first}; give the first one first")


def _check_frame(t: int, clip: Clip) -> None:
    if not 0 <= t < clip.frames:
        raise InputError(f"there is no frame {shown(t)}; the last one is {clip.frames - 1}")


def _checked_name(name: str | None) -> str | None:
    """A name without blanks around it; None for an empty one. Raises InputError."""
    if name is None or not name.strip():
        return None
    if not name.isprintable():
        raise InputError(f"the name {shown(name)} holds what can't be shown; leave that out")
    return name.strip()


def _merged(stretches: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Stretches of frames in order, those that meet or overlap as one, empty ones left out."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(stretch for stretch in stretches if stretch[0] <= stretch[1]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
