"""How the camera moved, as the picture tells it: where the background of one frame lies in another.

Corners of the picture are followed from each frame to the next by sparse optical flow, there and
back, and RANSAC fits the homography that most of them obey. Whatever fills most of the picture's
corners counts as the background. The tracks themselves are not asked, because often all of them
lie on a thing that moves.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from dinotrack.media.frames import Frame, Frames, each_frame

WIDE = 480
"""Px: frames are looked at no wider than this."""
CORNERS = 600
"""That are followed in a frame."""
QUALITY = 0.005
"""The least response of a corner, as a share of the best one's."""
APART = 5.0
"""Px between two corners."""
AGREES = 0.5
"""Px: a corner that misses itself by more, there and back, was lost."""
REACH = 1.0
"""Px: how near a corner must come to where the homography puts it."""
ENOUGH = 12
"""Corners that obey a homography; with fewer nobody knows how the camera moved."""
FAR = 0.5
"""Of the diagonal: no corner of the picture moves further in one frame, unless the shot ends."""
WINDOW = (15, 15)
"""Px: what surrounds a corner and is followed with it."""

Grey = UInt8[np.ndarray, "H W"]
Homography = Float[np.ndarray, "3 3"]


def camera_path(frames: Frames) -> Float[np.ndarray, "T 3 3"]:
    """For each frame, the homography from its px to those of the first frame's background.

    Where the picture does not tell how the camera moved, as at a cut, it counts as still.
    """
    ratio = min(1.0, WIDE / frames.shape[2])
    to_small = _area_scale(ratio)
    steps = []
    before = None
    for frame in each_frame(frames):
        now = _small_grey(frame, ratio)
        step = np.eye(3) if before is None else _step_back(before, now)
        steps.append(np.linalg.inv(to_small) @ step @ to_small)
        before = now
    path = [np.eye(3)]
    for step in steps[1:]:
        further = path[-1] @ step
        path.append(further / further[2, 2])
    return np.stack(path)


def between(path: Float[np.ndarray, "T 3 3"], before: int, now: int) -> Homography:
    """The homography from px of one frame's background to those of another one."""
    return np.asarray(np.linalg.inv(path[now]) @ path[before])


def moved(xy: Float[np.ndarray, "N 2"], homography: Homography) -> Float[np.ndarray, "N 2"]:
    """Positions under a homography; what has no finite position keeps none."""
    with np.errstate(all="ignore"):
        lifted = np.column_stack((xy, np.ones(len(xy)))) @ homography.T
        return np.asarray(lifted[:, :2] / lifted[:, 2:])


def _step_back(before: Grey, now: Grey) -> Homography:
    """The homography from a frame's px to those of the frame before."""
    corners = cv2.goodFeaturesToTrack(now, CORNERS, QUALITY, APART)
    still: Homography = np.eye(3)
    if corners is None or len(corners) < ENOUGH:
        return still
    found, there, _ = cv2.calcOpticalFlowPyrLK(
        now, before, corners, np.empty_like(corners), winSize=WINDOW
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        before, now, found, np.empty_like(corners), winSize=WINDOW
    )
    missed = np.linalg.norm(back - corners, axis=-1)[:, 0]
    sure = (there[:, 0] > 0) & (again[:, 0] > 0) & (missed < AGREES)
    if sure.sum() < ENOUGH:
        return still
    homography, obeying = cv2.findHomography(corners[sure], found[sure], cv2.RANSAC, REACH)
    if homography is None or obeying.sum() < ENOUGH or _leaps(homography, now.shape):
        return still
    return np.asarray(homography)


def _leaps(homography: Homography, size: tuple[int, ...]) -> bool:
    """Whether a homography takes a corner of the picture further than a camera does."""
    height, width = size
    corners = np.array(((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)), float)
    shift = np.linalg.norm(moved(corners, homography) - corners, axis=1)
    return not bool((shift < FAR * math.hypot(height, width)).all())


def _small_grey(frame: Frame, ratio: float) -> Grey:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if ratio < 1:
        size = max(1, round(grey.shape[1] * ratio)), max(1, round(grey.shape[0] * ratio))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _area_scale(ratio: float) -> Homography:
    """What takes px to those of a picture of another size, whose edges are the same edges."""
    shift = 0.5 * ratio - 0.5
    return np.array(((ratio, 0, shift), (0, ratio, shift), (0, 0, 1)))
