"""One moving, deforming, opaque thing of a clip, and the map from the frame to its texture.

That map is G_t = D_t o (camera_t o motion_t)^-1: a similarity, then a sinusoidal displacement D_t.
The picture is the texture sampled at G_t of every pixel. A point q of the layer lies in the frame
where G_t(p) = q, solved on the same map, so the truth of the tracks is exact.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Vector = Float[np.ndarray, " 4"]
Matrix = Float[np.ndarray, "3 3"]
Positions = Float[np.ndarray, "*places 2"]

ROUNDS = 25
"""Of the inversion of D_t. Each leaves at most 0.3 of the error: 25 end below 1e-9 px."""


@dataclass(frozen=True)
class Motion:
    """A similarity that changes with time.

    Each of (x, y, angle, log scale) is offset + amplitude sin(2 pi frequency t + phase).
    """

    offset: Vector
    amplitude: Vector
    frequency: Vector
    phase: Vector

    def matrix(self, t: float) -> Matrix:
        """The similarity at frame t, from a thing's own coordinates to those it moves in."""
        swing = self.amplitude * np.sin(2 * np.pi * self.frequency * t + self.phase)
        x, y, angle, log_scale = self.offset + swing
        cosine, sine = np.exp(log_scale) * np.array((np.cos(angle), np.sin(angle)))
        return np.array(((cosine, -sine, x), (sine, cosine, y), (0, 0, 1)))


@dataclass(frozen=True)
class Layer:
    """One opaque textured thing. Its coordinates are px from the centre of its texture."""

    rgba: UInt8[np.ndarray, "n n 4"]
    motion: Motion
    wave: Vector
    """The deformation: amplitude in px, radians a px, radians a frame, phase."""

    def deform(self, u: Positions, t: float) -> Positions:
        """The displacement D_t(u) - u.

        Amplitude x radians a px stays under 0.3, so D_t is one to one.
        """
        amplitude, spatial, temporal, phase = self.wave
        swapped = u[..., ::-1]
        angle = spatial * swapped + temporal * t + phase * np.array((1, 2))
        return np.asarray(amplitude * np.sin(angle))

    def from_frame(self, xy: Positions, t: float, camera: Matrix) -> Positions:
        """G_t: frame px -> layer px."""
        inverse = np.linalg.inv(camera @ self.motion.matrix(t))
        u = xy @ inverse[:2, :2].T + inverse[:2, 2]
        return np.asarray(u + self.deform(u, t))

    def to_frame(self, q: Positions, t: float, camera: Matrix) -> Positions:
        """The inverse of `from_frame`: layer px -> frame px."""
        u = q
        for _ in range(ROUNDS):
            u = q - self.deform(u, t)
        forward = camera @ self.motion.matrix(t)
        return np.asarray(u @ forward[:2, :2].T + forward[:2, 2])

    def sample(self, q: Float[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "h w 4"]:
        """The texture at layer px; transparent outside."""
        if not q.size:
            return np.zeros((*q.shape[:-1], 4), np.uint8)
        centre = (len(self.rgba) - 1) / 2
        x, y = np.moveaxis(q + centre, -1, 0).astype(np.float32)
        outside = cv2.BORDER_CONSTANT
        return np.asarray(cv2.remap(self.rgba, x, y, cv2.INTER_CUBIC, borderMode=outside))

    def box(self, t: float, camera: Matrix, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a frame of size (H, W), outside which the layer cannot be seen."""
        forward = camera @ self.motion.matrix(t)
        scale = np.sqrt(np.linalg.det(forward[:2, :2]))
        radius = len(self.rgba) / 2 * np.sqrt(2) + 2 * self.wave[0]
        reach = radius * scale + 2
        low = forward[:2, 2] - reach
        high = forward[:2, 2] + reach
        height, width = size
        return _within(low[1], high[1], height), _within(low[0], high[0], width)


def _within(low: float, high: float, side: int) -> slice:
    """From low to high, as far as that lies on a side of the frame."""
    first = max(int(low), 0)
    return slice(first, max(min(int(high), side), first))
