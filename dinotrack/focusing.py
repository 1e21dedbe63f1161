"""Fits that look at the points which are asked for, as they are kept in folders.

A folder holds the fit that its points were tracked with, and beside it the one from before. Other
points then start from that, so that what came before them changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dinotrack import pipeline
from dinotrack.fitted import Fitted
from dinotrack.training import checkpoint, history
from dinotrack.training.lessons import is_focus


def focused(fitted: Fitted, asked: Float[np.ndarray, "N 3"], folder: Path | None) -> Fitted:
    """A finished fit that looks at some points above all, and is kept so in its folder, if any.

    asked: checked rows of (t, x, y), px of the video.

    Raises InputError where the folder is in use, can't be written, or holds another fit by now.
    """
    if folder is None:
        return fitted.focus(asked)
    lessons = fitted.state.lessons
    if fitted.focus_on(asked) in lessons:
        return fitted
    if lessons and is_focus(lessons[-1]) and history.go_back(folder, len(lessons)):
        before = pipeline.recall(fitted.video, fitted.run, checkpoint.read(folder))
        fitted = replace(fitted, learnt=before)
    attentive = fitted.focus(asked)
    if attentive is not fitted:
        history.put_taught(folder, fitted.state, attentive.state, fitted.identity)
    return attentive
