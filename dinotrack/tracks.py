"""The result of tracking, as users get it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Tracks:
    """Trajectories of N points over T frames, in pixels of the original video.

    (0, 0) is the centre of the top-left pixel. Rows are in the order in which the points were
    asked for.
    """

    xy: Float[np.ndarray, "N T 2"]
    """float32 (x, y), finite everywhere, where a point is hidden too."""
    visible: Bool[np.ndarray, "N T"]
    confidence: Float[np.ndarray, "N T"]
    """float32 in [0, 1]: the probability that a point is visible and within 8 px of the truth, in
    a video scaled to 256 x 256."""
    queries: Float[np.ndarray, "N 3"]
    """float32 (t, x, y)."""
    size: tuple[int, int]
    """(H, W) of the video."""
    fps: float
    """Frames a second."""
