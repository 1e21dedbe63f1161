"""The result of tracking."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Tracks:
    """Trajectories of N points over T frames, in pixels of the original video.

    xy: float32 [N, T, 2], (x, y); (0, 0) is the centre of the top-left pixel; finite everywhere.
    visible: bool [N, T].
    confidence: float32 [N, T] in [0, 1]: probability of being visible and within 8 px of the truth
    at 256 x 256.
    queries: float32 [N, 3], (t, x, y); rows in the order they were asked for.
    size: (H, W) of the video.
    fps: frames a second.
    """

    xy: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]
    size: tuple[int, int]
    fps: float
