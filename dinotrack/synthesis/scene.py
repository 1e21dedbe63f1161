"""Layers before a background under a moving camera: the frames, and the exact paths of points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from dinotrack.synthesis.layers import Layer, Matrix, Motion, Vector
from dinotrack.synthesis.textures import TEXTURES, blob, rounded, texture

FPS = 24.0
OPAQUE = 127
"""Alpha above which a layer hides what lies below."""


@dataclass(frozen=True)
class Scene:
    """All that a clip is rendered from."""

    size: tuple[int, int]
    """(H, W) of the frames."""
    layers: tuple[Layer, ...]
    """The first is the background; later ones are nearer."""
    camera: Motion

    def view(self, t: float) -> Matrix:
        """World -> frame at frame t; both have their origin at the top-left pixel when the camera
        rests."""
        centre = np.eye(3)
        centre[:2, 2] = (np.array(self.size[::-1]) - 1) / 2
        return np.asarray(centre @ self.camera.matrix(t) @ np.linalg.inv(centre))

    def render(self, t: float) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """Frame t, and the index of the layer that is seen at each pixel."""
        height, width = self.size
        frame = np.zeros((height, width, 3), np.float32)
        top = np.zeros((height, width), np.uint8)
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(float)
        camera = self.view(t)
        for index, layer in enumerate(self.layers):
            box = layer.box(t, camera, self.size)
            rgba = layer.sample(layer.from_frame(pixels[box], t, camera))
            alpha = rgba[..., 3:].astype(np.float32) / 255
            frame[box] += alpha * (rgba[..., :3] - frame[box])
            top[box][rgba[..., 3] > OPAQUE] = index
        return np.rint(frame).astype(np.uint8), top

    def tracks(
        self, points: Float[np.ndarray, "N 2"], layer: Int[np.ndarray, " N"], frames: int
    ) -> tuple[Float[np.ndarray, "N T 2"], Bool[np.ndarray, "N T"]]:
        """Where points of the layers are in each frame, float32 px, and whether they are seen."""
        xy = np.zeros((len(points), frames, 2), np.float32)
        visible = np.ones((len(points), frames), bool)
        for t in range(frames):
            camera = self.view(t)
            for index, own in enumerate(self.layers):
                mine = layer == index
                xy[mine, t] = own.to_frame(points[mine], t, camera)
            for index, other in enumerate(self.layers):
                rgba = other.sample(other.from_frame(xy[:, None, t], t, camera))
                covers = rgba[:, 0, 3] > OPAQUE
                visible[:, t] &= ~(covers & (layer < index))
        limit = np.array(self.size[::-1]) - 1
        inside = ((xy >= 0) & (xy <= limit)).all(-1)
        return xy, visible & inside


def build_scene(size: tuple[int, int], layers: int, seed: int, difficulty: float = 1.0) -> Scene:
    """A scene of `layers` things before a background.

    Speeds and deformations grow with difficulty; 0 is a still.
    """
    height, width = size
    # A generator for each: what a thing is like does not depend on the others.
    of_camera, *of_layers = np.random.default_rng(seed).spawn(layers + 2)
    swing = difficulty * np.array((0.06 * width, 0.05 * height, 0.04, 0.06))
    camera = Motion(np.zeros(4), swing, *_rhythm(of_camera, 1 / 90, 1 / 45))
    kinds = list(TEXTURES)
    things = [_background(size, kinds[0], difficulty, of_layers[0])]
    for k, rng in enumerate(of_layers[1:], 1):
        things.append(_thing(size, kinds[k % len(kinds)], difficulty, rng))
    return Scene(size, tuple(things), camera)


def _thing(size: tuple[int, int], kind: str, difficulty: float, rng: np.random.Generator) -> Layer:
    height, width = size
    radius = max(int(min(size) * rng.uniform(0.25, 0.45)), 2)
    alpha = blob(radius, rng)
    rgb = rounded(texture(kind, len(alpha), 1.0, rng), alpha)
    reach = (0.22 * width, 0.15 * height, 0.35, 0.12)
    amplitude = difficulty * rng.uniform(0.6, 1.2, 4) * reach
    place = rng.uniform(0.2, 0.8, 2) * (width, height)
    offset = np.array((*place, rng.uniform(-0.5, 0.5), 0))
    motion = Motion(offset, amplitude, *_rhythm(rng, 1 / 60, 1 / 30))
    return Layer(np.dstack((rgb, alpha)), motion, _wave(radius, 0.5 * difficulty, rng))


def _background(
    size: tuple[int, int], kind: str, difficulty: float, rng: np.random.Generator
) -> Layer:
    """An opaque layer wide enough to fill every frame that the camera may see."""
    height, width = size
    side = int(np.hypot(height, width) * (1.1 + 0.3 * difficulty)) + 16
    rgb = texture(kind, side, 0.0, rng)
    alpha = np.full((side, side), 255, np.uint8)
    centre = np.array(((width - 1) / 2, (height - 1) / 2, 0, 0))
    still = Motion(centre, np.zeros(4), np.zeros(4), np.zeros(4))
    return Layer(np.dstack((rgb, alpha)), still, np.zeros(4))


def _rhythm(rng: np.random.Generator, slow: float, fast: float) -> tuple[Vector, Vector]:
    """Frequencies (cycles a frame) and phases of the four parts of a motion."""
    return rng.uniform(slow, fast, 4), rng.uniform(0, 2 * np.pi, 4)


def _wave(radius: float, strength: float, rng: np.random.Generator) -> Vector:
    """A slow wave about as long as the layer is wide.

    Its gradient is at most 0.3, whatever the strength.
    """
    spatial = rng.uniform(0.6, 1.0) * np.pi / radius
    gradient = min(strength * rng.uniform(0.2, 0.5), 0.3)
    temporal = rng.uniform(0.1, 0.3)
    return np.array((gradient / spatial, spatial, temporal, rng.uniform(0, 2 * np.pi)))
