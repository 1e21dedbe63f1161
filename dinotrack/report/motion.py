"""The first sections: the overlay as a video inside the page, and all trajectories at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dinotrack.media.encoding import write_video
from dinotrack.media.frames import Frame, each_frame, one_frame
from dinotrack.overlay import STYLES, Scene
from dinotrack.overlay.camera import between, moved
from dinotrack.overlay.marks import draw_dots, draw_ways
from dinotrack.report import markup
from dinotrack.report.pictures import Picture, shrunk
from dinotrack.report.story import Story
from dinotrack.tracks import Tracks

SIZES = ((720, 24), (560, 26), (420, 28), (320, 31), (240, 34))
"""Px of width, and x264's quality (more is worse): the first that is small enough is taken."""
MOST_BYTES = 4_000_000
"""Of the video in the page."""
WIDE = 560
"""Px: the width of the pictures of trajectories."""
NO_FADING = 50
"""So many times the video's length: over such a length, ways hardly fade."""


def overlay_section(story: Story) -> str:
    """The overlay, smaller than the video."""
    for width, quality in SIZES:
        content = small_overlay(story, width, quality)
        if len(content) <= MOST_BYTES:
            source = markup.embedded(content, "video/mp4")
            shown = f'<video src="{source}" controls loop muted playsinline></video>'
            return shown + markup.paragraph(
                "Points are coloured by where they start; hidden ones are hollow, and trails show "
                "the last frames."
            )
    return markup.paragraph(
        "The video is too long to be shown in a page; overlay.mp4, which a run writes, shows it."
    )


def small_overlay(story: Story, width: int, quality: int) -> bytes:
    """The overlay as an .mp4, no wider than that."""
    video = story.fitted.video
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overlay.mp4"
        frames = _drawn(story, width)
        write_video(path, frames, video.fps, video.uneven_times, quality)
        return path.read_bytes()


def _drawn(story: Story, width: int) -> Iterator[Frame]:
    tracks = None
    for t, frame in enumerate(each_frame(story.fitted.video.frames)):
        small = shrunk(frame, width)
        if tracks is None:
            tracks = story.tracks.resized(small.shape[:2])
            scene = Scene(tracks)
        yield STYLES["trails"](small, scene, t)


def trajectories_section(story: Story) -> str:
    """All ways over the first frame: as they are in the picture, and on its background."""
    scene = Scene(story.tracks, frames=story.fitted.video.frames)
    first = one_frame(story.fitted.video.frames, 0)
    plain = _all_ways(first, story.tracks, None)
    steady = _all_ways(first, story.tracks, scene)
    pictures = (
        markup.figure(plain, "in the picture"),
        markup.figure(steady, "on the background: the camera's motion is taken out"),
    )
    return markup.row(pictures) + markup.paragraph(
        "Each line is the way of a point through all frames that show it, over the first frame. "
        "In the second picture, what stands still in the scene is a dot, and only what moves has a "
        "way."
    )


def _all_ways(first: Frame, tracks: Tracks, scene: Scene | None) -> Picture:
    """The ways of all points through the whole video. scene: whose camera's motion is taken out."""
    small = shrunk(first, WIDE)
    resized = tracks.resized(small.shape[:2])
    camera = None if scene is None else scene.camera

    def places(t: int) -> Float[np.ndarray, "N 2"]:
        if camera is None:
            return resized.xy[:, t]
        steady = moved(tracks.xy[:, t], between(camera, t, 0))
        ratio = small.shape[1] / first.shape[1], small.shape[0] / first.shape[0]
        return np.asarray((steady + 0.5) * ratio - 0.5)

    colours = Scene(tracks).colours
    last = tracks.visible.shape[1] - 1
    length = NO_FADING * (last + 1)
    ways = draw_ways(small, resized, last, length, places, lambda t: colours)
    return draw_dots(ways, resized, 0, colours)
