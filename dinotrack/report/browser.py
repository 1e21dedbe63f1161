"""The track browser: what its script (browser.js) needs to know, and the page around it."""

from __future__ import annotations

import html

import numpy as np
from jaxtyping import Float, Int, UInt8

from dinotrack.media.frames import one_frame
from dinotrack.overlay.marks import heat_colours, rainbow
from dinotrack.report import markup
from dinotrack.report.pictures import shrunk
from dinotrack.report.story import Story

MOST_FRAMES = 120
"""That are in the page; of a longer video they are spread evenly."""
MOST_COLUMNS = 300
"""Of a strip; of a longer video, each stands for some frames."""
MOST_POINTS = 1000
"""That can be browsed, the worst ones."""
MOST_BYTES = 4_000_000
"""Of all frames together, as text."""
SIZES = ((640, 70), (480, 66), (360, 62), (240, 55))
"""Px of width and quality of JPEGs: the first that is small enough is taken, or else the last."""
LONGEST_NAME = 120
"""Letters of a point's name that are shown."""
LEVELS = 64
"""Colours of confidence."""

CONTROLS = """<div id="browser"><div>
<div class="stage"><canvas id="picture"></canvas>
<canvas id="zoom" width="320" height="320"></canvas></div>
<div class="controls"><button id="play" type="button" aria-label="play or pause">&#9654;</button>
<input id="time" type="range" min="0" value="0" step="1" aria-label="frame"><span id="clock"></span>
<label><input id="others" type="checkbox" checked> all points</label></div>
<p id="about"></p></div>
<div><div class="controls"><label>first <select id="sort">@SORTS@</select></label>
<input id="search" type="search" placeholder="name" aria-label="points whose name has"></div>
<div id="list"></div></div></div>
<noscript><p>This section needs JavaScript.</p></noscript>"""


def browser_section(story: Story) -> str:
    """A row a point, and the frame in which it is looked at."""
    if not len(story.tracks.queries):
        return markup.paragraph("No point was tracked.")
    guide = (
        "Each row is a point, and its strip runs through the video: the colour is confidence, from "
        "dark blue (0) to yellow (1), and grey where the point is hidden. Click a strip to see the "
        "point in that frame; the small picture is its surroundings, enlarged. The arrow keys "
        "change frame and point. "
    )
    count = len(story.tracks.queries)
    if count > MOST_POINTS:
        guide += f"Only the {MOST_POINTS:,} worst of {count:,} points are listed. "
    if story.truth is not None:
        guide += "The green ring is the truth, and errors are means in px at 256 x 256. "
    worst = "the least sure" if story.truth is None else "the worst"
    sorts = {"worst": worst, "best": "the best", "hidden": "the most hidden", "number": "point 0"}
    options = "".join(
        f'<option value="{key}">{html.escape(words)}</option>' for key, words in sorts.items()
    )
    controls = CONTROLS.replace("@SORTS@", options)
    return markup.paragraph(guide) + controls + markup.island("browsed", browsed(story))


def browsed(story: Story) -> dict[str, object]:
    """What the script needs, as JSON: numbers by the thousand are base64 of their bytes."""
    tracks = story.tracks
    listed = story.order[:MOST_POINTS]
    length = tracks.visible.shape[1]
    frames = _spread(length, MOST_FRAMES)
    columns = _spread(length, MOST_COLUMNS)
    some = tracks.chosen(listed)
    names = some.point_names if tracks.names else [f"point {n}" for n in listed]
    values: dict[str, object] = {
        "size": [tracks.size[1], tracks.size[0]],
        "length": length,
        "frames": frames.tolist(),
        "columns": columns.tolist(),
        "images": _images(story, frames),
        "names": [name[:LONGEST_NAME] for name in names],
        "numbers": listed,
        "colours": [list(colour) for colour in rainbow(some)],
        "heat": [list(colour) for colour in heat_colours(np.linspace(0, 1, LEVELS))],
        "asked": [int(t) for t in some.queries[:, 0]],
        "shares": (100 * some.visible.mean(axis=1)).round().astype(int).tolist(),
        "means": (100 * some.confidence.mean(axis=1)).round().astype(int).tolist(),
        "xy": markup.packed(some.xy[:, frames].astype(np.float32)),
        "states": markup.packed(_states(story, listed, frames)),
        "strips": markup.packed(_states(story, listed, columns)),
    }
    if story.truth is not None and story.error is not None:
        true = np.where(story.truth.visible[..., None], story.truth.xy, np.nan)
        values["true"] = markup.packed(true[listed][:, frames].astype(np.float32))
        errors = story.doubt[listed].round(1).tolist()
        known = [bool(seen.any()) for seen in story.truth.visible[listed]]
        values["errors"] = [
            error if is_known else None for error, is_known in zip(errors, known, strict=True)
        ]
    return values


def _spread(length: int, most: int) -> Int[np.ndarray, " K"]:
    """Frames spread evenly over a video, the first and the last among them."""
    return np.linspace(0, length - 1, min(length, most)).round().astype(int)


def _states(
    story: Story, points: list[int], frames: Int[np.ndarray, " K"]
) -> UInt8[np.ndarray, "N K"]:
    """Of each point in each frame: the level of its confidence, and 128 more where it is
    visible."""
    confidence = story.tracks.confidence[points][:, frames]
    level = _levels(confidence)
    seen = story.tracks.visible[points][:, frames]
    return np.asarray(np.where(seen, level + 128, level), np.uint8)


def _levels(confidence: Float[np.ndarray, "N K"]) -> UInt8[np.ndarray, "N K"]:
    return np.asarray(np.rint(confidence.clip(0, 1) * (LEVELS - 1)), np.uint8)


def _images(story: Story, frames: Int[np.ndarray, " K"]) -> list[str]:
    """The frames as JPEGs, as large as there is room for."""
    images: list[str] = []
    for width, quality in SIZES:
        images = [
            markup.jpeg(shrunk(one_frame(story.fitted.video.frames, t), width), quality)
            for t in frames.tolist()
        ]
        if sum(map(len, images)) <= MOST_BYTES:
            break
    return images
