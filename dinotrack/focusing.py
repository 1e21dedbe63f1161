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
from dinotrack.training.stored import Stored


def focused(fitted: Fitted, asked: Float[np.ndarray, "N 3"], folder: Path | None) -> Fitted:
    """A finished fit that looks at some points above all, and is kept so in its folder, if any.

    asked: checked rows of (t, x, y), px of the video. What was learned from is let go.
    """
    if folder is None:
        attentive = fitted.focus(asked)
    else:
        attentive = refocused(fitted, asked, folder)
        keep(folder, fitted, attentive)
    return replace(attentive, learnt=replace(attentive.learnt, learned_from=None))


def refocused(fitted: Fitted, asked: Float[np.ndarray, "N 3"], folder: Path) -> Fitted:
    """A fit of a folder as it is when it looks at some points above all, and at no others.

    Where the fit from before it looked at others is lost, that is a DinotrackWarning.
    """
    lessons = fitted.state.lessons
    if not lessons or not is_focus(lessons[-1]) or fitted.focus_on(asked) == lessons[-1]:
        return fitted.focus(asked)
    where = history.fit_before(folder, len(lessons))
    kept = _kept_before(where, fitted)
    if kept is None:
        lost = f"{where} does not hold the fit from before other points were looked at; "
        effect = "it goes on from after that, so that tracks differ from those of a new folder"
        warnings.warn(DinotrackWarning(lost + effect), stacklevel=2)
        return fitted.focus(asked)
    before = pipeline.recall(fitted.video, fitted.run, kept)
    return replace(fitted, learnt=replace(before, masks=fitted.learnt.masks)).focus(asked)


def keep(folder: Path, there: Fitted, now: Fitted) -> None:
    """Put a fit that looks at points in the place of the one that lies in its folder.

    Where it can't be kept, that is a DinotrackWarning.
    """
    if now.state.lessons == there.state.lessons:
        return
    try:
        if len(now.state.lessons) < len(there.state.lessons):
            history.go_back(folder, len(there.state.lessons))
        elif checkpoint.is_kept(folder):
            history.put_taught(folder, there.state, now.state, there.identity)
        else:
            checkpoint.put(folder, now.state, now.identity)
    except InputError as error:
        unkept = f"{folder} keeps the fit from before these points were looked at ({error}); "
        effect = "tracks do not suffer, but the next run looks at the points again"
        warnings.warn(DinotrackWarning(unkept + effect), stacklevel=2)


def _kept_before(where: Path, fitted: Fitted) -> Stored | None:
    """The fit from before the last lesson of another, if it is there and whole."""
    try:
        kept = checkpoint.find(where, fitted.identity)
    except InputError:
        return None
    if kept is None or kept.lessons != fitted.state.lessons[:-1] or kept.step != fitted.steps:
        return None
    return kept
