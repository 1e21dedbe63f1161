"""Moving, deforming, opaque layers under a moving camera, and the exact paths of points on them.

Each layer has one map from frame to layer, G_t = D_t o (camera_t o motion_t)^-1: a similarity, then
a sinusoidal displacement D_t. The picture is the texture read at G_t of every pixel; a point q of
the layer lies where G_t(p) = q, solved on the same map.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dinotrack.synthesis.textures import TEXTURES, blob, rounded, texture

Array = npt.NDArray[Any]

FPS = 24.0
OPAQUE = 127  # alpha above which a layer hides what lies below


@dataclass(frozen=True)
class Clip:
    """A clip and the truth about it.

    frames: uint8 [T, H, W, 3] RGB. tracks: float32 [N, T, 2] px, (x, y), exact also where hidden.
    visible: bool [N, T].
    queries: float32 [N, 3], (t, x, y), the first visible frame of each point. layer: int [N], 0 the
    background, then from far to near. fps: frames a second.
    """

    frames: Array
    tracks: Array
    visible: Array
    queries: Array
    layer: Array
    fps: float


@dataclass(frozen=True)
class Motion:
    """(x, y, angle, log scale) of a similarity, each offset + amplitude sin(2 pi frequency t +
    phase); all [4]."""

    offset: Array
    amplitude: Array
    frequency: Array
    phase: Array

    def matrix(self, t: float) -> Array:
        """[3, 3], from the moving thing's own coordinates to those it moves in."""
        swing = self.amplitude * np.sin(2 * np.pi * self.frequency * t + self.phase)
        x, y, angle, log_scale = self.offset + swing
        cosine, sine = np.exp(log_scale) * np.array((np.cos(angle), np.sin(angle)))
        return np.array(((cosine, -sine, x), (sine, cosine, y), (0, 0, 1)))


@dataclass(frozen=True)
class Layer:
    """One opaque textured thing.

    Its coordinates are px from the centre of `rgba` (uint8 [n, n, 4]).
    """

    rgba: Array
    motion: Motion
    wave: Array  # deformation: amplitude px, radians a px, radians a frame, phase

    def deform(self, u: Array, t: float) -> Array:
        """The displacement D_t(u) - u of [..., 2].

        Amplitude x radians a px stays under 0.3, so D_t is one to one.
        """
        amplitude, spatial, temporal, phase = self.wave
        return np.asarray(
            amplitude * np.sin(spatial * u[..., ::-1] + temporal * t + phase * np.array((1, 2)))
        )

    def from_frame(self, xy: Array, t: float, camera: Array) -> Array:
        """G_t: frame px [..., 2] -> layer px."""
        inverse = np.linalg.inv(camera @ self.motion.matrix(t))
        u = xy @ inverse[:2, :2].T + inverse[:2, 2]
        return np.asarray(u + self.deform(u, t))

    def to_frame(self, q: Array, t: float, camera: Array) -> Array:
        """The inverse of `from_frame`.

        Each round leaves at most 0.3 of the error: 25 end below 1e-9 px.
        """
        u = q
        for _ in range(25):
            u = q - self.deform(u, t)
        forward = camera @ self.motion.matrix(t)
        return np.asarray(u @ forward[:2, :2].T + forward[:2, 2])

    def read(self, q: Array) -> Array:
        """The texture at layer px [h, w, 2], uint8 [h, w, 4]; transparent outside."""
        if not q.size:
            return np.zeros((*q.shape[:-1], 4), np.uint8)
        x, y = np.moveaxis(q + (len(self.rgba) - 1) / 2, -1, 0).astype(np.float32)
        return np.asarray(
            cv2.remap(self.rgba, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
        )

    def box(self, t: float, camera: Array, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the frame outside which the layer cannot be seen."""
        forward = camera @ self.motion.matrix(t)
        reach = (len(self.rgba) / 2 * np.sqrt(2) + 2 * self.wave[0]) * np.sqrt(
            np.linalg.det(forward[:2, :2])
        ) + 2
        low, high = forward[:2, 2] - reach, forward[:2, 2] + reach
        x0, y0 = (max(int(v), 0) for v in low)
        return slice(y0, max(min(int(high[1]), size[0]), y0)), slice(
            x0, max(min(int(high[0]), size[1]), x0)
        )


@dataclass(frozen=True)
class Scene:
    """All that a clip is rendered from. layers[0] is the background; later ones are nearer."""

    size: tuple[int, int]
    layers: tuple[Layer, ...]
    camera: Motion

    def view(self, t: float) -> Array:
        """World -> frame at frame t, [3, 3]; both have their origin at the top-left pixel when the
        camera rests."""
        centre = np.eye(3)
        centre[:2, 2] = (np.array(self.size[::-1]) - 1) / 2
        return np.asarray(centre @ self.camera.matrix(t) @ np.linalg.inv(centre))

    def render(self, t: float) -> tuple[Array, Array]:
        """Frame t, uint8 [H, W, 3], and the index of the layer seen at each pixel, uint8 [H, W]."""
        height, width = self.size
        frame, top = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.uint8)
        grid, camera = (
            np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(float),
            self.view(t),
        )
        for index, layer in enumerate(self.layers):
            box = layer.box(t, camera, self.size)
            rgba = layer.read(layer.from_frame(grid[box], t, camera))
            alpha = rgba[..., 3:].astype(np.float32) / 255
            frame[box] += alpha * (rgba[..., :3] - frame[box])
            top[box][rgba[..., 3] > OPAQUE] = index
        return np.rint(frame).astype(np.uint8), top

    def tracks(self, points: Array, layer: Array, frames: int) -> tuple[Array, Array]:
        """Points [N, 2] of layers [N] -> positions, float32 [N, frames, 2], and whether seen, bool
        [N, frames]."""
        xy, visible = (
            np.zeros((len(points), frames, 2), np.float32),
            np.ones((len(points), frames), bool),
        )
        for t in range(frames):
            camera = self.view(t)
            for index, own in enumerate(self.layers):
                mine = layer == index
                xy[mine, t] = own.to_frame(points[mine], t, camera)
            for index, other in enumerate(self.layers):
                cover = other.read(other.from_frame(xy[:, None, t], t, camera))[:, 0, 3] > OPAQUE
                visible[:, t] &= ~(cover & (layer < index))
        limit = np.array(self.size[::-1]) - 1
        return xy, visible & ((xy >= 0) & (xy <= limit)).all(-1)


def build_scene(size: tuple[int, int], layers: int, seed: int, difficulty: float = 1.0) -> Scene:
    """A scene of `layers` things before a background.

    Speeds and deformations grow with difficulty; 0 is a still.
    """
    rng, *rngs = np.random.default_rng(seed).spawn(
        layers + 2
    )  # one each: a thing does not depend on the others
    camera = Motion(
        np.zeros(4),
        difficulty * np.array((0.06 * size[1], 0.05 * size[0], 0.04, 0.06)),
        *_rhythm(rng, 1 / 90, 1 / 45),
    )
    kinds = [list(TEXTURES)[k % len(TEXTURES)] for k in range(layers + 1)]
    things = [_background(size, kinds[0], difficulty, rngs[0])]
    for kind, rng in zip(kinds[1:], rngs[1:], strict=True):
        radius = max(int(min(size) * rng.uniform(0.25, 0.45)), 2)
        alpha = blob(radius, rng)
        rgb = rounded(texture(kind, len(alpha), 1.0, rng), alpha)
        reach = difficulty * rng.uniform(0.6, 1.2, 4) * (0.22 * size[1], 0.15 * size[0], 0.35, 0.12)
        offset = np.array((*(rng.uniform(0.2, 0.8, 2) * size[::-1]), rng.uniform(-0.5, 0.5), 0))
        motion = Motion(offset, reach, *_rhythm(rng, 1 / 60, 1 / 30))
        things.append(Layer(np.dstack((rgb, alpha)), motion, _wave(radius, 0.5 * difficulty, rng)))
    return Scene(size, tuple(things), camera)


def generate(
    size: tuple[int, int] = (480, 854),
    frames: int = 48,
    layers: int = 4,
    seed: int = 0,
    points: int = 64,
    difficulty: float = 1.0,
    light: float = 0.0,
    noise: float = 0.0,
    blur: float = 0.0,
) -> Clip:
    """A clip of `frames` frames of `size` (H, W) with `points` tracked points; the same arguments
    give the same bytes.

    difficulty scales all motion. light: relative swing of the exposure. noise: deviation of sensor
    noise, grey levels.
    blur: Gaussian, px. Points are spread evenly over the layers, as far as these are seen; each is
    visible somewhere.
    Fewer come back where the picture has not as many.
    """
    scene = build_scene(size, layers, seed, difficulty)
    rng = np.random.default_rng((seed, 1))
    at, layer = _choose_points(scene, frames, points, rng)
    xy, visible = scene.tracks(at, layer, frames)
    seen = visible.any(
        1
    )  # rounding on an outline can hide a point in the one frame it was picked in
    xy, visible, layer = xy[seen], visible[seen], layer[seen]
    first = visible.argmax(1)
    queries = np.concatenate((first[:, None], xy[np.arange(len(xy)), first]), axis=1)
    video = np.stack(
        [_develop(scene.render(t)[0], t, light, noise, blur, rng) for t in range(frames)]
    )
    return Clip(video, xy, visible, queries.astype(np.float32), layer, FPS)


def _choose_points(
    scene: Scene, frames: int, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Layer positions [count, 2] and layers [count] of pixels seen in random frames, layers taking
    turns."""
    found: list[list[Array]] = [[] for _ in scene.layers]
    for t in rng.integers(frames, size=min(frames, 8)):
        top, camera = scene.render(int(t))[1], scene.view(int(t))
        for index, layer in enumerate(scene.layers):
            y, x = np.nonzero(top == index)
            pick = rng.permutation(len(x))[:count]
            q = layer.from_frame(np.stack((x, y), -1)[pick].astype(float), int(t), camera)
            found[index].append(q[layer.read(q[:, None])[:, 0, 3] == 255])
    pools = [rng.permutation(np.concatenate(part)) for part in found]
    rank = np.concatenate([np.arange(len(pool)) for pool in pools])
    layer_of = np.repeat(np.arange(len(pools)), [len(pool) for pool in pools])
    chosen = np.sort(np.argsort(rank, kind="stable")[:count])
    return np.concatenate(pools)[chosen], layer_of[chosen]


def _background(
    size: tuple[int, int], kind: str, difficulty: float, rng: np.random.Generator
) -> Layer:
    """An opaque layer wide enough to fill every frame the camera may see."""
    side = int(np.hypot(*size) * (1.1 + 0.3 * difficulty)) + 16
    rgb = texture(kind, side, 0.0, rng)
    centre = np.array(((size[1] - 1) / 2, (size[0] - 1) / 2, 0, 0))
    motion = Motion(centre, np.zeros(4), np.zeros(4), np.zeros(4))
    return Layer(np.dstack((rgb, np.full((side, side), 255, np.uint8))), motion, np.zeros(4))


def _rhythm(rng: np.random.Generator, slow: float, fast: float) -> tuple[Array, Array]:
    """Frequencies (cycles a frame) and phases of the four parts of a motion."""
    return rng.uniform(slow, fast, 4), rng.uniform(0, 2 * np.pi, 4)


def _wave(radius: float, strength: float, rng: np.random.Generator) -> Array:
    """A slow wave about as long as the layer is wide; slope at most 0.3 whatever the strength."""
    spatial = rng.uniform(0.6, 1.0) * np.pi / radius
    slope = min(strength * rng.uniform(0.2, 0.5), 0.3)
    return np.array((slope / spatial, spatial, rng.uniform(0.1, 0.3), rng.uniform(0, 2 * np.pi)))


def _develop(
    frame: Array, t: int, light: float, noise: float, blur: float, rng: np.random.Generator
) -> Array:
    """What the camera makes of a frame: exposure, blur, noise."""
    out = frame.astype(np.float32) * (1 + light * np.sin(2 * np.pi * t / 40))
    if blur:
        out = cv2.GaussianBlur(out, (0, 0), blur)
    if noise:
        out = out + noise * rng.standard_normal(out.shape)
    return np.asarray(np.rint(out).clip(0, 255).astype(np.uint8))
