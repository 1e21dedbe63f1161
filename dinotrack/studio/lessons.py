"""Fits that were taught: each lesson of the document makes one from the one before, and is kept.

The folder of a taught fit, model/taught-<hash>, is called after the bytes of the fit that was
taught first and after all lessons since, so the same lessons find it again, as undo and redo do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from dinotrack import api
from dinotrack.errors import InputError, cause_of
from dinotrack.fitted import Fitted
from dinotrack.progress import Progress
from dinotrack.studio.document import Lesson
from dinotrack.studio.following import corrections_of, hidden_of
from dinotrack.training import checkpoint

DIGITS = 16
"""Of a hash, in the name of a folder."""


def taught(base: Fitted, folder: Path, lessons: Sequence[Lesson], progress: Progress) -> Fitted:
    """A fit after some lessons, as it is kept, or taught now and kept.

    folder: where the base is kept. Raises InputError where a lesson teaches nothing. Where a taught
    fit can't be written, it is not kept.
    """
    kept = [folder / f"taught-{name}" for name in _names(folder, lessons)]
    known = next((n for n in range(len(kept), 0, -1) if checkpoint.is_kept(kept[n - 1])), 0)
    fitted = base
    if known:
        fitted = api.load(kept[known - 1], base.video, base.run.device, progress)
    for lesson, place in zip(lessons[known:], kept[known:], strict=True):
        fitted = _learnt(fitted, lesson, progress)
        with contextlib.suppress(InputError):  # a full disk
            fitted.save(place)
    return fitted


def _learnt(fitted: Fitted, lesson: Lesson, progress: Progress) -> Fitted:
    """A fit after one more lesson."""
    points = lesson.points
    return fitted.teach(
        corrections_of(points),
        queries=[[point.t, point.x, point.y] for point in points],
        hidden=hidden_of(points),
        progress=progress,
    )


def _names(folder: Path, lessons: Sequence[Lesson]) -> list[str]:
    """What the fit after each of the lessons is called: a hash of all that made it. Raises
    InputError where the fit that was taught first is not kept."""
    try:
        digest = hashlib.sha256((folder / checkpoint.FILE).read_bytes())
    except OSError as error:
        problem = f"the fit is not kept, and can't be taught ({cause_of(error)}); "
        raise InputError(problem, "make room for it, and fit again") from error
    names = []
    for lesson in lessons:
        digest.update(json.dumps(lesson.as_json(), sort_keys=True).encode())
        names.append(digest.hexdigest()[:DIGITS])
    return names
