"""How tracks can be drawn over a frame: a style is one function and one line in `STYLES`.

README lists the styles by the first sentences of these functions.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dinotrack.media.frames import Frame
from dinotrack.overlay import marks
from dinotrack.overlay.camera import between, moved
from dinotrack.overlay.scene import Scene
from dinotrack.tracks import Tracks

Style = Callable[[Frame, Scene, int], Frame]
"""Called as style(frame, scene, t); gives a new frame and leaves the given one as it is."""

TRAIL = 12
"""Frames of a point's way that are drawn behind it."""
LONG_TRAIL = 40
"""The same where the camera's motion is taken out, so that ways are smooth and few."""
AHEAD = 5
"""Frames that an arrow looks ahead."""
UNEVEN = 2.0
"""Px: two steps of a point that follow each other differ by so much at any speed."""


def draw_trails(frame: Frame, scene: Scene, t: int) -> Frame:
    """Points, coloured by where they start, and behind each the way it came, fading."""
    tracks = scene.tracks
    length = scene.trail_or(TRAIL)
    ways = marks.draw_ways(
        frame, tracks, t, length, lambda s: tracks.xy[:, s], lambda s: scene.colours
    )
    return marks.draw_dots(ways, tracks, t, scene.colours)


def draw_points(frame: Frame, scene: Scene, t: int) -> Frame:
    """Points alone: a dot for each visible one, a thin ring for each hidden one."""
    return marks.draw_dots(frame, scene.tracks, t, scene.colours)


def draw_rainbow(frame: Frame, scene: Scene, t: int) -> Frame:
    """Long trails that stay where they are on the background, however the camera moves.

    As in the videos of the paper, a way is drawn through the places that it passed in the scene,
    and not through those of the picture. Where the point is now lies at its end.
    """
    tracks = scene.tracks
    camera = scene.camera
    length = scene.trail_or(LONG_TRAIL)
    ways = marks.draw_ways(
        frame,
        tracks,
        t,
        length,
        lambda s: moved(tracks.xy[:, s], between(camera, s, t)),
        lambda s: scene.colours,
    )
    return marks.draw_dots(ways, tracks, t, scene.colours)


def draw_heat(frame: Frame, scene: Scene, t: int) -> Frame:
    """Points and trails coloured by confidence: dark blue for 0, yellow for 1."""
    tracks = scene.tracks
    confidence = tracks.confidence
    length = scene.trail_or(TRAIL)
    ways = marks.draw_ways(
        frame,
        tracks,
        t,
        length,
        lambda s: tracks.xy[:, s],
        lambda s: marks.heat_colours(confidence[:, s]),
    )
    return marks.draw_dots(ways, tracks, t, marks.heat_colours(confidence[:, t]))


def draw_arrows(frame: Frame, scene: Scene, t: int) -> Frame:
    """An arrow from each visible point to where it gets in five frames at its present speed.

    `Scene.trail` is the number of frames that arrows look ahead.
    """
    ways = speeds(scene.tracks, t) * scene.trail_or(AHEAD)
    pointed = marks.draw_arrows(frame, scene.tracks, t, ways, scene.colours)
    return marks.draw_dots(pointed, scene.tracks, t, scene.colours)


def speeds(tracks: Tracks, t: int) -> Float[np.ndarray, "N 2"]:
    """How fast points move in frame t, px a frame: the mean of the steps to it and from it.

    0 where a point is hidden in one of these frames, and where the two steps differ by more than
    they are long, as those of a point that was lost and found again do.
    """
    last = tracks.visible.shape[1] - 1
    before, after = max(t - 1, 0), min(t + 1, last)
    known = tracks.visible[:, before] & tracks.visible[:, t] & tracks.visible[:, after]
    with np.errstate(invalid="ignore"):
        first = tracks.xy[:, t] - tracks.xy[:, before]
        second = tracks.xy[:, after] - tracks.xy[:, t]
        mean = (first + second) / max(after - before, 1)
        if before < t < after:
            apart = np.linalg.norm(second - first, axis=1)
            known &= apart <= np.linalg.norm(mean, axis=1) + UNEVEN
    return np.where(known[:, None], mean, 0)


STYLES: dict[str, Style] = {
    "trails": draw_trails,
    "points": draw_points,
    "rainbow": draw_rainbow,
    "heat": draw_heat,
    "arrows": draw_arrows,
}
"""How tracks can be drawn."""
