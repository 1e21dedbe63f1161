"""Which places of two frames of a scene show the same point: the exact truth."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from dinotrack.synthesis.scene import Scene

Top = UInt8[np.ndarray, "H W"]
"""The index of the layer that is seen at each pixel of a frame."""


def known_correspondences(
    scene: Scene,
    tops: tuple[Top, Top],
    count: int,
    rng: np.random.Generator,
    times: tuple[float, float] = (0.0, 1.0),
) -> tuple[Float[np.ndarray, "N 2 2"], Bool[np.ndarray, " N"]]:
    """Known correspondences between two frames of a scene: float32 px, (frame, xy), and validity.

    tops: the layers seen in the two frames. count: N. times: the two frames.

    Half of the points are spread evenly over the picture and half evenly over the layers, as things
    are often small. A correspondence is valid where its point is seen in both frames.
    """
    width = tops[0].shape[1]
    spread = rng.integers(0, tops[0].size, count)
    order = rng.permutation(tops[0].size)[: 8 * count]
    seen = tops[0].ravel()[order]
    turn = np.empty(len(order), int)
    for layer in np.unique(seen):
        turn[seen == layer] = np.arange((seen == layer).sum())
    even = order[np.argsort(turn, kind="stable")][:count]
    most = 2 * count // 3
    both = np.concatenate((even[:most], spread, even[most:]))
    start = np.stack((both % width, both // width), -1).astype(np.float64)
    end, valid = _follow(scene, tops, start, times)
    best = np.argsort(~valid, kind="stable")[:count]
    best = np.resize(best, count)
    return np.stack((start[best], end[best]), 1).astype(np.float32), valid[best]


def _follow(
    scene: Scene,
    tops: tuple[Top, Top],
    start: Float[np.ndarray, "M 2"],
    times: tuple[float, float],
) -> tuple[Float[np.ndarray, "M 2"], Bool[np.ndarray, " M"]]:
    """Where points of the first frame are in the second, and whether they are seen there."""
    layer = tops[0][start[:, 1].astype(int), start[:, 0].astype(int)]
    end = np.zeros_like(start)
    before = scene.view(times[0])
    after = scene.view(times[1])
    for index in np.unique(layer):
        own = scene.layers[index]
        mine = layer == index
        q = own.from_frame(start[mine], times[0], before)
        end[mine] = own.to_frame(q, times[1], after)
    x, y = np.rint(end).astype(int).T
    height, width = tops[1].shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    there = tops[1][y.clip(0, height - 1), x.clip(0, width - 1)]
    return end, inside & (there == layer)
