"""What a style draws: tracks, and what is known of their video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from dinotrack.media.frames import Frames
from dinotrack.overlay.camera import camera_path
from dinotrack.overlay.marks import Colour, rainbow
from dinotrack.tracks import Tracks


@dataclass(frozen=True, eq=False)
class Scene:
    """Tracks as they are drawn."""

    tracks: Tracks
    trail: int | None = None
    """How many frames of a point's way are drawn; None: as many as the style likes."""
    frames: Frames | None = None
    """All frames of the video, for styles that look at more than one. Without them the camera
    counts as still."""

    def trail_or(self, usual: int) -> int:
        """How many frames of a way to draw, where a style usually draws so many."""
        return usual if self.trail is None else self.trail

    @cached_property
    def colours(self) -> list[Colour]:
        """One for each point, by where it was asked for."""
        return rainbow(self.tracks)

    @cached_property
    def camera(self) -> Float[np.ndarray, "T 3 3"]:
        """For each frame, the homography from its px to those of the first frame's background.

        It is found when a style first asks.
        """
        if self.frames is None:
            return np.tile(np.eye(3), (self.tracks.visible.shape[1], 1, 1))
        return camera_path(self.frames)
