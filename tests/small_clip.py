"""A clip of five points for files of other programs: at corners, with gaps, and with hard names."""

from __future__ import annotations

import numpy as np

from dinotrack.tracks import Tracks

SIZES = [(3, 3), (5, 9)]
"""(H, W) px. The first is small enough to count on one's fingers; the second tells H from W."""
FRAMES = 12
FPS = 24000 / 1001
NAMES = ("nose", "eyeL", "eyeR", "tail", "b5")
SEEN = (
    "oooooooooooo",
    "ooo.oooooooo",
    "oooooo...ooo",
    "..o.ooo....o",
    "o..oooo.o...",
)
"""Where each point is visible: always; with a gap of one frame; of several; late, with both kinds;
alone in the first frame, alone between gaps, and not at the end."""
HOSTILE = (
    'my "best" point',
    "[exec touch /tmp/x] $env {",
    "}\\ '); alert(1) --]] Übergröße 点",
    "tip\nof # 1, 2; 3",
    "tip\nof # 1, 2; 3",
)
"""Names that programs could take for code, or for the end of something, and one name twice."""


def clip(size: tuple[int, int], names: tuple[str, ...] = NAMES) -> Tracks:
    """Five points: one at each corner, where it is the centre of a pixel in the first frame, and
    one in the middle. They drift by parts of a pixel, each its own way."""
    height, width = size
    x = np.array((0, width - 1, 0, width - 1, (width - 1) / 2))
    y = np.array((0, 0, height - 1, height - 1, (height - 1) / 2))
    places = np.stack((x, y), -1)
    drift = np.array(((0.013, 0.017), (-0.019, 0.011), (0.023, -0.007), (-0.029, -0.031), (0, 0)))
    xy = places[:, None] + np.arange(FRAMES)[:, None] * drift[:, None] * 8 / 7  # no end of decimals
    visible = np.array([[letter == "o" for letter in row] for row in SEEN])
    first = visible.argmax(1)
    queries = np.concatenate((first[:, None], xy[np.arange(len(xy)), first]), -1)
    confidence = np.linspace(0.1, 0.9, visible.size).reshape(visible.shape)
    return Tracks(
        xy=xy.astype(np.float32),
        visible=visible,
        confidence=confidence.astype(np.float32),
        queries=queries.astype(np.float32),
        size=size,
        fps=FPS,
        names=names,
    )
