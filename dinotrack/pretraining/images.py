"""Pictures painted by ourselves, in layers: things with outline, matter and shading over worlds
full of such things.

A `Pool` keeps some hundreds of them and paints them anew little by little; each is a function of
(seed, index, step) alone, so that a run can be repeated and resumed. `pair_scene` puts some into a
`synthesis.scene.Scene` whose frames 0 and 1 are two views: every layer moves in its own way between
them, so that what is around a thing changes.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dinotrack.pretraining.recipes import PretrainConfig
from dinotrack.synthesis.layers import Layer, Motion
from dinotrack.synthesis.scene import Scene
from dinotrack.synthesis.textures import TEXTURES, blob, octaves, rounded, texture

Array = npt.NDArray[Any]
Generator = np.random.Generator

SHADOW = 110  # alpha of the darkest shadow, below scene.OPAQUE: what lies in it is still seen


class Pool:
    """Painted things (uint8 [n, n, 4]) and worlds (uint8 [side, side, 4], opaque), renewed as the
    run goes on."""

    def __init__(self, config: PretrainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._things: dict[int, tuple[int, Array]] = {}
        self._worlds: dict[int, tuple[int, Array]] = {}

    def thing(self, index: int, step: int) -> Array:
        """Thing `index` of the config's `materials`, as it is at that step."""
        version = self._version(index, self.config.materials, step)
        if self._things.get(index, (-1,))[0] != version:
            rng = np.random.default_rng((self.seed, 0, index, version))
            self._things[index] = version, paint_thing(self.config.thing_radius, rng)
        return self._things[index][1]

    def world(self, index: int, step: int) -> Array:
        """World `index` of the config's `worlds`, as it is at that step."""
        version = self._version(index, self.config.worlds, step)
        if self._worlds.get(index, (-1,))[0] != version:
            rng = np.random.default_rng((self.seed, 1, index, version))
            # The things in it are its own and not the pool's at that step, or it would depend on
            # who asked first.
            things = [
                paint_thing(self.config.thing_radius, rng) for _ in range(int(rng.integers(3, 9)))
            ]
            self._worlds[index] = version, paint_world(self.config.world_side, things, rng)
        return self._worlds[index][1]

    def _version(self, index: int, count: int, step: int) -> int:
        """How often it has been painted anew: all indices take turns over `refresh` steps."""
        return (step + index * self.config.refresh // count) // self.config.refresh


def colours(count: int, rng: Generator) -> Array:
    """Colours as in nature: much luminance, little chroma, most of it between warm and cold.
    float32 [count, 3]."""
    grey = rng.uniform(0.08, 0.95, count)
    spread = rng.choice((0.03, 0.1, 0.22), p=(0.3, 0.5, 0.2))
    warm, green = rng.normal(0.02, 1, 2)[:, None] * spread + 0.5 * spread * rng.standard_normal(
        (2, count)
    )
    rgb = np.stack((grey + warm, grey + 0.6 * green, grey - warm - 0.4 * green), -1)
    return np.asarray(255 * rgb.clip(0, 1), np.float32)


def matter(size: int, rng: Generator) -> Array:
    """What a thing is made of, uint8 [size, size, 3]: one of many textures, or one that turns into
    another."""
    image = _plain_matter(size, rng)
    if rng.uniform() < 0.25:
        other = _plain_matter(size, rng)
        amount = (0.5 + rng.uniform(1, 4) * octaves(size, rng)).clip(0, 1)[..., None]
        image = (image + amount * (other - image.astype(np.float32))).astype(np.uint8)
    if rng.uniform() < 0.35:  # many real surfaces hardly show a texture
        mean = image.reshape(-1, 3).mean(0)
        image = (mean + rng.uniform(0.1, 0.5) * (image - mean)).astype(np.uint8)
    return image


def _plain_matter(size: int, rng: Generator) -> Array:
    kinds = [*TEXTURES, *MATTERS]
    kind = kinds[rng.choice(len(kinds))]
    if kind in TEXTURES:
        return texture(kind, size, rng.uniform() ** 2, rng)
    image = MATTERS[kind](size, colours(6, rng), rng)
    image = image * (1 + rng.uniform(0, 0.3) * octaves(size, rng)[..., None])
    return np.asarray(
        cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7).clip(0, 255).astype(np.uint8)
    )


def _smooth(size: int, palette: Array, rng: Generator) -> Array:
    """A gradient between two colours."""
    x, y = _turned(size, rng)
    amount = (0.5 + (x + 0.3 * y) / size).clip(0, 1)[..., None]
    return np.asarray(palette[0] + amount * (palette[1] - palette[0]))


def _checks(size: int, palette: Array, rng: Generator) -> Array:
    """Tiles, bricks and checks with joints, each a little different."""
    x, y = _turned(size, rng)
    width, height = np.exp(rng.uniform(np.log(6), np.log(40), 2))
    row = np.floor(y / height)
    x = x + (row % 2) * width * rng.choice((0.0, 0.5))
    column = np.floor(x / width)
    key = (row * 57 + column * 131).astype(int) % 64
    bricks = palette[rng.integers(0, 3, 64)] * rng.uniform(0.8, 1.15, (64, 1))
    joint = ((x / width - column) * width < 1.5) | ((y / height - row) * height < 1.5)
    return np.asarray(np.where((joint & (rng.uniform() < 0.6))[..., None], palette[4], bricks[key]))


def _spots(size: int, palette: Array, rng: Generator) -> Array:
    """Spots of one colour on another, like fur and leaves."""
    noise = octaves(size, rng) + rng.uniform(-0.2, 0.2)
    amount = (0.5 + rng.uniform(3, 12) * noise).clip(0, 1)[..., None]
    return np.asarray(palette[0] + amount * (palette[1] - palette[0]))


def _strokes(size: int, palette: Array, rng: Generator) -> Array:
    """Many thin strokes in about one direction, like grass and hair."""
    image = np.tile(palette[0], (size, size, 1))
    angle, spread = rng.uniform(0, np.pi), rng.uniform(0.05, 1.0)
    length = rng.uniform(0.05, 0.3) * size
    for _ in range(int(rng.uniform(0.5, 1.5) * size * size / (12 * length + 1))):
        start = rng.uniform(0, size, 2)
        turn = angle + spread * rng.standard_normal()
        end = start + length * np.array((np.cos(turn), np.sin(turn)))
        colour = palette[rng.integers(1, 5)] * rng.uniform(0.8, 1.2)
        cv2.line(image, _at(start), _at(end), colour.tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)
    return image


def _signs(size: int, palette: Array, rng: Generator) -> Array:
    """Letters and numbers, as on cloth and walls."""
    image = np.tile(palette[0], (size, size, 1)).astype(np.uint8)  # OpenCV writes into bytes only
    for _ in range(int(rng.integers(3, 14))):
        text = "".join(chr(c) for c in rng.integers(48, 91, rng.integers(1, 6)))
        scale = rng.uniform(0.3, 1.6)
        colour = palette[rng.integers(1, 6)].tolist()
        font = int(rng.integers(0, 8))
        cv2.putText(
            image, text, _at(rng.uniform(-0.1, 0.9, 2) * size), font, scale, colour, 2, cv2.LINE_AA
        )
    return image


def _polygons(size: int, palette: Array, rng: Generator) -> Array:
    """Dead leaves with corners: straight-edged shapes with power-law sizes, as of buildings and
    rocks."""
    image = np.tile(palette[0], (size, size, 1))
    smallest, largest = 4.0, max(size / 3, 6.0)
    for _ in range(int(size * size / 250)):
        radius = rng.uniform(largest**-1.6, smallest**-1.6) ** (-1 / 1.6)
        corners = rng.uniform(0, size, 2) + radius * rng.uniform(
            -1, 1, (int(rng.integers(3, 6)), 2)
        )
        colour = palette[rng.integers(len(palette))] * rng.uniform(0.7, 1.2)
        cv2.fillPoly(image, [corners.astype(np.int32)], colour.tolist(), cv2.LINE_AA)
    return image


MATTERS = {
    "smooth": _smooth,
    "checks": _checks,
    "spots": _spots,
    "strokes": _strokes,
    "signs": _signs,
    "polygons": _polygons,
}


def _turned(size: int, rng: Generator) -> tuple[Array, Array]:
    """Coordinates from the centre along two turned axes, [size, size] each."""
    axis = np.arange(size, dtype=np.float32) - size / 2
    cosine, sine = np.cos(angle := rng.uniform(0, np.pi)), np.sin(angle)
    return cosine * axis[None] + sine * axis[:, None], cosine * axis[:, None] - sine * axis[None]


def _at(xy: Array) -> tuple[int, int]:
    return int(xy[0]), int(xy[1])


def outline(radius: int, rng: Generator) -> Array:
    """The alpha of a thing, uint8 [2 radius + 1, 2 radius + 1]: a blob, a body with limbs, a
    polygon, a frame."""
    kind = rng.choice(
        ("blob", "limbs", "polygon", "frame", "pole"), p=(0.45, 0.25, 0.15, 0.05, 0.1)
    )
    if kind == "blob":
        return blob(radius, rng)
    alpha, middle = np.zeros((2 * radius + 1, 2 * radius + 1), np.uint8), np.full(2, float(radius))
    if kind == "limbs":
        for _ in range(int(rng.integers(3, 8))):
            _limb(alpha, middle + 0.2 * radius * rng.standard_normal(2), rng)
        axes = _at(radius * rng.uniform(0.15, 0.45, 2) + 1)
        cv2.ellipse(alpha, _at(middle), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    elif kind == "pole":
        for _ in range(int(rng.integers(1, 4))):
            ends = middle + radius * rng.uniform(-0.9, 0.9, (2, 2))
            thick = max(int(radius * rng.uniform(0.04, 0.2)), 2)
            cv2.line(alpha, _at(ends[0]), _at(ends[1]), 255, thick, cv2.LINE_AA)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        reach = radius * rng.uniform(0.5, 0.95, len(angles))
        corners = middle + np.stack((np.cos(angles), np.sin(angles)), -1) * reach[:, None]
        cv2.fillPoly(alpha, [corners.astype(np.int32)], 255, cv2.LINE_AA)
        if kind == "frame":
            inner = middle + (corners - middle) * rng.uniform(0.5, 0.85)
            cv2.fillPoly(alpha, [inner.astype(np.int32)], 0, cv2.LINE_AA)
    return alpha


def _limb(alpha: Array, start: Array, rng: Generator) -> None:
    """A limb that gets thinner, painted into alpha."""
    radius = len(alpha) / 2
    angle, thick = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.08, 0.3)
    for _ in range(int(rng.integers(2, 5))):
        angle += 0.6 * rng.standard_normal()
        end = start + radius * rng.uniform(0.15, 0.4) * np.array((np.cos(angle), np.sin(angle)))
        end = end.clip(0.08 * radius, 1.92 * radius)
        cv2.line(alpha, _at(start), _at(end), 255, max(int(thick), 2), cv2.LINE_AA)
        start, thick = end, thick * 0.75


def paint_thing(radii: tuple[float, float], rng: Generator) -> Array:
    """One thing, uint8 [n, n, 4] RGBA, its radius log-uniform in radii."""
    radius = int(np.exp(rng.uniform(*np.log(radii))))
    alpha = outline(radius, rng)
    rgb = matter(len(alpha), rng)
    if rng.uniform() < 0.3:  # a part of another matter, as clothes and faces are
        part = outline(max(int(radius * rng.uniform(0.3, 0.7)), 4), rng)
        _paste(rgb, np.dstack((matter(len(part), rng), part)), rng.uniform(0.3, 1.7, 2) * radius)
    style = rng.uniform()
    if style < 0.4:
        rgb = rounded(rgb, alpha)
    elif style < 0.75:
        rgb = lit(rgb, alpha, rng)
    return np.dstack((rgb, alpha))


def lit(image: Array, alpha: Array, rng: Generator) -> Array:
    """The texture of a bulging shape under a lamp from one side. uint8 [n, n, 3]."""
    depth = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5)
    top = depth.max() + 1e-3
    height = cv2.GaussianBlur(np.sqrt(1 - (1 - depth / top) ** 2) * top, (0, 0), 1 + 0.1 * top)
    slope = (
        np.stack((cv2.Sobel(height, cv2.CV_32F, 1, 0), cv2.Sobel(height, cv2.CV_32F, 0, 1)), -1) / 8
    )
    angle = rng.uniform(0, 2 * np.pi)
    facing = -(slope @ np.array((np.cos(angle), np.sin(angle)), np.float32)) + rng.uniform(0.3, 1.0)
    shade = rng.uniform(0.35, 0.7) + 0.6 * (facing / np.sqrt(1 + (slope**2).sum(-1))).clip(0, 1)
    gloss = rng.choice((0.0, 80.0)) * (facing - facing.max() + 0.15).clip(0, 0.15) / 0.15
    return np.asarray((image * shade[..., None] + gloss[..., None]).clip(0, 255).astype(np.uint8))


def paint_world(side: int, things: list[Array], rng: Generator) -> Array:
    """A background, uint8 [side, side, 4]: some matter, and dead leaves of the things in power-law
    sizes before it."""
    half = matter(
        side // 2, rng
    )  # at half the size, as backgrounds are mostly coarser, and four times as fast
    world = cv2.resize(half, (side, side), interpolation=cv2.INTER_CUBIC)
    world = (
        (world + rng.uniform(0, 8) * rng.standard_normal((side, side, 1)))
        .clip(0, 255)
        .astype(np.uint8)
    )
    for _ in range(int(rng.choice((0, 8, 30, 80), p=(0.1, 0.25, 0.35, 0.3)))):
        thing = things[rng.integers(len(things))]
        zoom = rng.uniform(2.5**-1.5, 0.25**-1.5) ** (-1 / 1.5)
        turn: Array = cv2.getRotationMatrix2D(
            ((len(thing) - 1) / 2,) * 2, rng.uniform(0, 360), zoom
        )
        size = int(len(thing) * zoom) + 3
        turn[:, 2] += (size - len(thing)) / 2
        placed = cv2.warpAffine(thing, turn, (size, size), flags=cv2.INTER_AREA)
        tint = rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
        placed[..., :3] = (placed[..., :3] * tint).clip(0, 255)
        _paste(world, placed, rng.uniform(0, side, 2))
    return np.dstack((world, np.full((side, side), 255, np.uint8)))


def _paste(image: Array, thing: Array, centre: Array) -> None:
    """Put a thing [n, n, 4] before the image [h, w, 3], in place."""
    x, y = (int(c) - len(thing) // 2 for c in centre)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + len(thing), image.shape[1]), min(y + len(thing), image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    part = thing[y0 - y : y1 - y, x0 - x : x1 - x].astype(np.float32)
    below = image[y0:y1, x0:x1]
    image[y0:y1, x0:x1] = below + part[..., 3:] / 255 * (part[..., :3] - below)


def pair_scene(pool: Pool, config: PretrainConfig, side: int, step: int, rng: Generator) -> Scene:
    """A scene of which frames 0 and 1 are two views of the same things, each moved in its own
    way."""
    camera, focus, zoom = _cameras(config, side, rng)
    still = Motion(np.array(((side - 1) / 2, (side - 1) / 2, 0, 0)), *np.zeros((3, 4)))
    world = pool.world(int(rng.integers(config.worlds)), step)
    layers = [Layer(world, still, np.zeros(4))]
    for _ in range(int(rng.integers(1, config.layers + 1))):
        rgba = pool.thing(int(rng.integers(config.materials)), step)
        place = (side - 1) / 2 + focus + rng.uniform(-0.55, 0.55, 2) * side / zoom
        first = np.array((*place, rng.uniform(0, 2 * np.pi), rng.normal(0, 0.3)))
        spread = (
            config.shift * side / zoom,
            config.shift * side / zoom,
            config.turn,
            0.5 * config.zoom_change,
        )
        change = rng.standard_normal(4) * spread
        wave = _wave(len(rgba) / 2, rng)
        if rng.uniform() < 0.3:
            shade = np.zeros_like(rgba)
            shade[..., 3] = cv2.GaussianBlur(rgba[..., 3], (0, 0), 2 + len(rgba) / 30) * (
                SHADOW / 255
            )
            aside = np.array((*(0.15 * len(rgba) * rng.standard_normal(2)), 0, 0))
            layers.append(Layer(shade, _between(first + aside, first + aside + change), wave))
        layers.append(Layer(rgba, _between(first, first + change), wave))
    return Scene((side, side), tuple(layers), camera)


def _cameras(config: PretrainConfig, side: int, rng: Generator) -> tuple[Motion, Array, float]:
    """The cameras of the two views; the world px, from the centre, the first one looks at; and its
    zoom."""
    reach = 1.45 * side / config.world_side  # so that the world fills a turned view
    low, high = max(config.zoom[0], reach), max(config.zoom[1], reach)
    zoom = np.exp(rng.uniform(np.log(low), np.log(high)))
    zooms = (zoom, np.clip(zoom * np.exp(config.zoom_change * rng.standard_normal()), low, high))
    angle = rng.uniform(-0.8, 0.8)
    angles = (angle, angle + config.turn * rng.standard_normal())
    slack = (config.world_side - 1.42 * side / min(zooms)) / 2
    focus = rng.uniform(-slack, slack, 2)
    foci = (
        focus,
        (focus + config.shift * side / zoom * rng.standard_normal(2)).clip(-slack, slack),
    )
    ends = []
    for z, a, f in zip(zooms, angles, foci, strict=True):
        turn = z * np.array(((np.cos(a), -np.sin(a)), (np.sin(a), np.cos(a))))
        ends.append(np.array((*(-turn @ f), a, np.log(z))))
    return _between(*ends), focus, float(zoom)


def _between(first: Array, second: Array) -> Motion:
    """The motion that is at `first` in frame 0 and at `second` in frame 1."""
    return Motion(first, second - first, np.full(4, 0.25), np.zeros(4))


def _wave(radius: float, rng: Generator) -> Array:
    """A deformation whose slope stays below the 0.3 that keeps the layer's map one to one."""
    spatial = rng.uniform(0.6, 1.5) * np.pi / radius
    return np.array(
        (rng.uniform(0, 0.25) / spatial, spatial, rng.uniform(0.3, 3), rng.uniform(0, 2 * np.pi))
    )


def matches(
    scene: Scene,
    tops: tuple[Array, Array],
    count: int,
    rng: Generator,
    times: tuple[float, float] = (0, 1),
) -> tuple[Array, Array]:
    """Known correspondences between two frames of a scene: float32 [count, 2, 2] px, (frame, xy),
    valid [count].

    tops: the layers seen in the two frames, [H, W] each. Half of the points are spread evenly over
    the picture, half evenly over the layers, as things are often small.
    """
    width = tops[0].shape[1]
    spread = rng.integers(0, tops[0].size, count)
    order = rng.permutation(tops[0].size)[: 8 * count]
    seen = tops[0].ravel()[order]
    rank = np.empty(len(order), int)
    for layer in np.unique(seen):
        rank[seen == layer] = np.arange((seen == layer).sum())
    even = order[np.argsort(rank, kind="stable")][:count]
    both = np.concatenate((even[: 2 * count // 3], spread, even[2 * count // 3 :]))
    start = np.stack((both % width, both // width), -1).astype(np.float64)
    end, valid = _follow(scene, tops, start, times)
    best = np.argsort(~valid, kind="stable")[:count]
    best = np.resize(best, count)
    return np.stack((start[best], end[best]), 1).astype(np.float32), valid[best]


def _follow(
    scene: Scene, tops: tuple[Array, Array], start: Array, times: tuple[float, float]
) -> tuple[Array, Array]:
    """Where points [N, 2] of the first frame are in the second, and whether they are seen there."""
    layer = tops[0][start[:, 1].astype(int), start[:, 0].astype(int)]
    end = np.zeros_like(start)
    before, after = (scene.view(t) for t in times)
    for index in np.unique(layer):
        own, mine = scene.layers[index], layer == index
        end[mine] = own.to_frame(own.from_frame(start[mine], times[0], before), times[1], after)
    x, y = np.rint(end).astype(int).T
    height, width = tops[1].shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return end, inside & (tops[1][y.clip(0, height - 1), x.clip(0, width - 1)] == layer)
