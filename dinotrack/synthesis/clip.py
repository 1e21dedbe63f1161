"""A clip and the truth about it, from a scene and what the camera makes of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from dinotrack.media.frames import Frame, Frames
from dinotrack.synthesis.scene import FPS, Scene, build_scene

LOOKS = 8
"""Frames that points are picked in, at most."""


@dataclass(frozen=True)
class Clip:
    """A clip and the truth about it. T frames, N points."""

    frames: Frames
    tracks: Float[np.ndarray, "N T 2"]
    """float32 (x, y) px, exact also where a point is hidden."""
    visible: Bool[np.ndarray, "N T"]
    queries: Float[np.ndarray, "N 3"]
    """float32 (t, x, y): the first visible frame of each point."""
    layer: Int[np.ndarray, " N"]
    """What a point lies on: 0 the background, then from far to near."""
    fps: float
    """Frames a second."""


def generate(
    size: tuple[int, int] = (480, 854),
    frames: int = 48,
    layers: int = 4,
    seed: int = 0,
    points: int = 64,
    difficulty: float = 1.0,
    *,
    light: float = 0.0,
    noise: float = 0.0,
    blur: float = 0.0,
) -> Clip:
    """A clip of moving, deforming, occluding things. The same arguments give the same bytes.

    size: (H, W) px. layers: things before the background. difficulty: scales all motion. light:
    relative swing of the exposure. noise: deviation of the sensor's noise, grey levels. blur:
    deviation of a Gaussian, px.

    The points are spread evenly over the layers, as far as these are seen, and each is visible in
    some frame. Fewer come back where the picture has not as many.
    """
    scene = build_scene(size, layers, seed, difficulty)
    rng = np.random.default_rng((seed, 1))
    at, layer = _choose_points(scene, frames, points, rng)
    xy, visible = scene.tracks(at, layer, frames)
    # Rounding on an outline can hide a point in the one frame that it was picked in.
    seen = visible.any(1)
    xy, visible, layer = xy[seen], visible[seen], layer[seen]
    first = visible.argmax(1)
    queries = np.concatenate((first[:, None], xy[np.arange(len(xy)), first]), axis=1)
    pictures = [_develop(scene.render(t)[0], t, light, noise, blur, rng) for t in range(frames)]
    return Clip(np.stack(pictures), xy, visible, queries.astype(np.float32), layer, FPS)


def _choose_points(
    scene: Scene, frames: int, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "N 2"], Int[np.ndarray, " N"]]:
    """Layer positions and layers of at most `count` pixels that are seen in random frames.

    Layers take turns, so that each gives about as many points.
    """
    found: list[list[Float[np.ndarray, "M 2"]]] = [[] for _ in scene.layers]
    for t in rng.integers(frames, size=min(frames, LOOKS)).tolist():
        _, top = scene.render(t)
        camera = scene.view(t)
        for index, layer in enumerate(scene.layers):
            y, x = np.nonzero(top == index)
            pick = rng.permutation(len(x))[:count]
            pixels = np.stack((x, y), -1)[pick].astype(float)
            q = layer.from_frame(pixels, t, camera)
            opaque = layer.sample(q[:, None])[:, 0, 3] == 255
            found[index].append(q[opaque])
    pools = [rng.permutation(np.concatenate(part)) for part in found]
    lengths = [len(pool) for pool in pools]
    layer_of = np.repeat(np.arange(len(pools)), lengths)
    turn = np.concatenate([np.arange(length) for length in lengths])
    chosen = np.sort(np.argsort(turn, kind="stable")[:count])
    return np.concatenate(pools)[chosen], layer_of[chosen]


def _develop(
    frame: Frame, t: int, light: float, noise: float, blur: float, rng: np.random.Generator
) -> Frame:
    """What the camera makes of a frame: exposure, blur, noise."""
    out = frame.astype(np.float32) * (1 + light * np.sin(2 * np.pi * t / 40))
    if blur:
        out = cv2.GaussianBlur(out, (0, 0), blur)
    if noise:
        out = out + noise * rng.standard_normal(out.shape)
    return np.asarray(np.rint(out).clip(0, 255).astype(np.uint8))
