"""The result of tracking, as users get it."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Tracks:
    """Trajectories of N points over T frames, in pixels of the original video.

    (0, 0) is the centre of the top-left pixel. Rows are in the order in which the points were
    asked for. Two are equal where all their numbers are.
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
    """Frames a second; the mean where the rate varies."""
    uneven_times: Float[np.ndarray, " T"] | None = None
    """float64: when each frame is shown, where the rate varies. None: frame t is shown at t / fps.
    """

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        """float64: when each frame is shown, in seconds."""
        if self.uneven_times is not None:
            return self.uneven_times
        return np.arange(self.visible.shape[1]) / self.fps

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are equal; what is no number equals what is no number."""
        if not isinstance(other, Tracks):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)


def _same(ours: object, theirs: object) -> bool:
    """Whether two arrays, numbers or Nones are equal."""
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        numbers = ours.dtype.kind == "f" and theirs.dtype.kind == "f"
        return np.array_equal(ours, theirs, equal_nan=numbers)
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        return False
    return ours == theirs
