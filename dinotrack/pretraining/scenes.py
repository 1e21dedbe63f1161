"""Two views of a painted scene.

A `Pool` keeps some hundreds of painted things and paints them anew little by little. `pair_scene`
puts some of them into a `synthesis.scene.Scene` whose frames 0 and 1 are the two views: every layer
moves in its own way between them, so that what is around a thing changes.
"""

import cv2
import numpy as np
from jaxtyping import Float

from dinotrack.pretraining.recipes import PretrainConfig
from dinotrack.pretraining.things import Thing, World, paint_thing, paint_world
from dinotrack.synthesis.layers import Layer, Motion, Vector
from dinotrack.synthesis.scene import Scene

Generator = np.random.Generator

SHADOW = 110
"""Alpha of the darkest shadow, below scene.OPAQUE: what lies in a shadow is still seen."""


class Pool:
    """Painted things, and opaque worlds, renewed as the run goes on.

    Each is a function of (seed, index, step) alone, so that a run can be repeated and resumed.
    """

    def __init__(self, config: PretrainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._things: dict[int, tuple[int, Thing]] = {}
        self._worlds: dict[int, tuple[int, World]] = {}

    def thing(self, index: int, step: int) -> Thing:
        """Thing `index` of the config's `materials`, as it is at that step."""
        version = self._version(index, self.config.materials, step)
        if self._things.get(index, (-1,))[0] != version:
            rng = np.random.default_rng((self.seed, 0, index, version))
            self._things[index] = version, paint_thing(self.config.thing_radius, rng)
        return self._things[index][1]

    def world(self, index: int, step: int) -> World:
        """World `index` of the config's `worlds`, as it is at that step."""
        version = self._version(index, self.config.worlds, step)
        if self._worlds.get(index, (-1,))[0] != version:
            rng = np.random.default_rng((self.seed, 1, index, version))
            # The things in it are its own and not the pool's at that step, or it would depend on
            # who asked first.
            count = int(rng.integers(3, 9))
            things = [paint_thing(self.config.thing_radius, rng) for _ in range(count)]
            self._worlds[index] = version, paint_world(self.config.world_side, things, rng)
        return self._worlds[index][1]

    def _version(self, index: int, count: int, step: int) -> int:
        """How often it has been painted anew: all indices take turns over `refresh` steps."""
        return (step + index * self.config.refresh // count) // self.config.refresh


def pair_scene(pool: Pool, config: PretrainConfig, side: int, step: int, rng: Generator) -> Scene:
    """A scene of which frames 0 and 1, side x side px, are two views of the same things."""
    camera, focus, zoom = _cameras(config, side, rng)
    middle = (side - 1) / 2
    still = Motion(np.array((middle, middle, 0, 0)), np.zeros(4), np.zeros(4), np.zeros(4))
    world = pool.world(int(rng.integers(config.worlds)), step)
    layers = [Layer(world, still, np.zeros(4))]
    shift = config.shift * side / zoom
    spread = np.array((shift, shift, config.turn, 0.5 * config.zoom_change))
    for _ in range(int(rng.integers(1, config.layers + 1))):
        thing = pool.thing(int(rng.integers(config.materials)), step)
        place = middle + focus + rng.uniform(-0.55, 0.55, 2) * side / zoom
        layers += _moved(thing, place, spread, rng)
    return Scene((side, side), tuple(layers), camera)


def _moved(
    thing: Thing, place: Float[np.ndarray, " 2"], spread: Vector, rng: Generator
) -> list[Layer]:
    """A thing that lies at `place` in frame 0 and elsewhere in frame 1, some with a shadow.

    spread: deviation of the change of x, y, angle and log scale.
    """
    first = np.array((*place, rng.uniform(0, 2 * np.pi), rng.normal(0, 0.3)))
    change = rng.standard_normal(4) * spread
    wave = _wave(len(thing) / 2, rng)
    layers = []
    if rng.uniform() < 0.3:
        shade = np.zeros_like(thing)
        soft = cv2.GaussianBlur(thing[..., 3], (0, 0), 2 + len(thing) / 30)
        shade[..., 3] = soft * (SHADOW / 255)
        aside = np.array((*(0.15 * len(thing) * rng.standard_normal(2)), 0, 0))
        start = first + aside
        layers.append(Layer(shade, _between(start, start + change), wave))
    layers.append(Layer(thing, _between(first, first + change), wave))
    return layers


def _cameras(
    config: PretrainConfig, side: int, rng: Generator
) -> tuple[Motion, Float[np.ndarray, " 2"], float]:
    """The cameras of the two views; where the first one looks, world px from the centre; and its
    zoom."""
    reach = 1.45 * side / config.world_side  # so that the world fills a turned view
    low = max(config.zoom[0], reach)
    high = max(config.zoom[1], reach)
    zoom = np.exp(rng.uniform(np.log(low), np.log(high)))
    change = np.exp(config.zoom_change * rng.standard_normal())
    second_zoom = np.clip(zoom * change, low, high)
    angle = rng.uniform(-0.8, 0.8)
    second_angle = angle + config.turn * rng.standard_normal()
    slack = (config.world_side - 1.42 * side / min(zoom, second_zoom)) / 2
    focus = rng.uniform(-slack, slack, 2)
    second_focus = focus + config.shift * side / zoom * rng.standard_normal(2)
    first = _camera(focus, zoom, angle)
    second = _camera(second_focus.clip(-slack, slack), second_zoom, second_angle)
    return _between(first, second), focus, float(zoom)


def _camera(focus: Float[np.ndarray, " 2"], zoom: float, angle: float) -> Vector:
    """The similarity of a camera that looks at `focus`."""
    cosine = np.cos(angle)
    sine = np.sin(angle)
    turn = zoom * np.array(((cosine, -sine), (sine, cosine)))
    return np.array((*(-turn @ focus), angle, np.log(zoom)))


def _between(first: Vector, second: Vector) -> Motion:
    """The motion that is at `first` in frame 0 and at `second` in frame 1."""
    return Motion(first, second - first, np.full(4, 0.25), np.zeros(4))


def _wave(radius: float, rng: Generator) -> Vector:
    """A deformation whose gradient stays below the 0.3 that keeps the layer's map one to one."""
    spatial = rng.uniform(0.6, 1.5) * np.pi / radius
    amplitude = rng.uniform(0, 0.25) / spatial
    temporal = rng.uniform(0.3, 3)
    return np.array((amplitude, spatial, temporal, rng.uniform(0, 2 * np.pi)))
