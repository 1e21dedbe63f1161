"""What the tracker saw where it looked for a point: maps of the frame before and after the refiner,
with the match, the answer, and the truth."""

from __future__ import annotations

import html
from collections.abc import Iterator

import numpy as np

from dinotrack.media.frames import one_frame
from dinotrack.report import markup, pictures
from dinotrack.report.likeness import correlations, correspondences, heat_picture, located
from dinotrack.report.pictures import FOUND, MATCH, TRUE
from dinotrack.report.story import Story

ROOT = 0.25
"""The power of a correspondence map that is drawn."""
GUIDE = (
    "For some points, each in the frames in which it is least sure: its surroundings, the "
    "correlation map (cosines between the point's feature and each cell) and the correspondence "
    "map (the same after the refiner and its softmax, of which the fourth root is drawn, as nearly "
    "all of it may lie in one cell). Both run from dark (the frame's median) to bright (its best). "
    "Blue ring: the match, which is the mean of the correspondence map around "
    "the best cell. Red ring: the track, which also knows how the picture moves. "
)


def answers_section(story: Story) -> str:
    """The maps of the points that are looked at."""
    if not len(story.tracks.queries):
        return markup.paragraph("No point was tracked.")
    guide = GUIDE + (
        "Green ring: the truth. Errors are px at 256 x 256." if story.truth is not None else ""
    )
    return markup.paragraph(guide) + "".join(_point(story, n) for n in story.looked_at)


def _point(story: Story, n: int) -> str:
    tracks = story.tracks
    t, x, y = tracks.queries[n].tolist()
    name = tracks.point_names[n] if tracks.names else f"point {n}"
    heading = f"<h3>{html.escape(name)}: asked for in frame {round(t)} at ({x:.1f}, {y:.1f})</h3>"
    frame = one_frame(story.fitted.video.frames, round(t))
    crop = pictures.crop(frame, np.array((x, y), float), None)
    query = markup.figure(crop, f"the query, frame {round(t)}", "third")
    moments = "".join(markup.row(_moment(story, n, moment)) for moment in story.moments(n))
    return heading + markup.row((query, f"<div>{moments}</div>"))


def _moment(story: Story, n: int, t: int) -> Iterator[str]:
    """The surroundings and the two maps of a point in a frame."""
    fitted, tracks = story.fitted, story.tracks
    found = tracks.xy[n, t].astype(float)
    true = None if story.truth is None else story.truth.place(n, t)
    cosines = correlations(fitted, tracks.queries[n : n + 1], t)
    chances = correspondences(fitted, cosines)
    match = located(fitted, cosines)[0].astype(float)
    marks = ((true, TRUE), (match, MATCH), (found, FOUND))
    hidden = "" if tracks.visible[n, t] else ", hidden"
    off = "" if true is None or story.error is None else f", {story.error[n, t]:.1f} px off"
    sure = f"frame {t}: confidence {tracks.confidence[n, t]:.2f}{hidden}{off}"
    crop = pictures.crop(one_frame(fitted.video.frames, t), true, found)
    yield markup.figure(crop, sure, "third")
    best = f"correlation map, {cosines.max():.2f} at the best"
    yield markup.figure(heat_picture(fitted, cosines[0], t, marks), best, "third")
    peak = f"correspondence map, {100 * chances.max():.1f} % in the best cell"
    yield markup.figure(heat_picture(fitted, chances[0] ** ROOT, t, marks), peak, "third")
