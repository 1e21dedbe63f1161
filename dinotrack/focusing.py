"""Fits that look at the points which are asked for, as they are kept in folders.

A folder holds the fit that its points were tracked with, and beside it the one from before. Other
points then start from that, so that what came before them changes nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dinotrack import pipeline
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.fitted import Fitted
from dinotrack.training import checkpoint, history
from dinotrack.training.lessons import is_focus


def focused(fitted: Fitted, asked: Float[np.ndarray, "N 3"], folder: Path | None) -> Fitted:
    """A finished fit that looks at some points above all, and is kept so in its folder, if any.

    asked: checked rows of (t, x, y), px of the video. Where it can't be kept, that is a
    DinotrackWarning.

    Raises InputError where the fit from before is damaged.
    """
    if folder is None:
        return fitted.focus(asked)
    if fitted.focus_on(asked) in fitted.state.lessons:
        return fitted
    before = _before(fitted, folder)
    attentive = before.focus(asked)
    try:
        if attentive is not before:
            history.put_taught(folder, fitted.state, attentive.state, fitted.identity)
        elif before is not fitted:
            history.go_back(folder, len(fitted.state.lessons))
    except InputError as error:
        unkept = f"what the fit learned of these points is not kept ({error}); give it room, or "
        again = "it is learned again the next time"
        warnings.warn(DinotrackWarning(unkept + again), stacklevel=2)
    return attentive


def _before(fitted: Fitted, folder: Path) -> Fitted:
    """The fit as it was before it looked at other points, where that is kept."""
    lessons = fitted.state.lessons
    if not lessons or not is_focus(lessons[-1]):
        return fitted
    kept = checkpoint.find(history.fit_before(folder, len(lessons)), fitted.identity)
    if kept is None:
        return fitted
    return replace(fitted, learnt=pipeline.recall(fitted.video, fitted.run, kept))
