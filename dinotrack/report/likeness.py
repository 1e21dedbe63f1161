"""How similar the cells of a frame are to a query: what a fit knows of where a point may be.

Letters: N queries, S frames of the video.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.backbones import Backbone
from dinotrack.correlation import correlation_maps
from dinotrack.features import extract_features
from dinotrack.fitted import Fitted
from dinotrack.geometry import rescale
from dinotrack.maps import FeatureMaps
from dinotrack.media.frames import one_frame
from dinotrack.report import pictures
from dinotrack.report.pictures import WIDE, Colour, Picture, Place

WIDE_RING = 10
"""Px: the radius of a ring around what lies in a map, so that it can be seen."""
MOMENTS = 5
"""Frames of a point that are looked at."""
APART = 3
"""Frames between these, as neighbours look alike."""


def map_row(fitted: Fitted, t: int) -> int:
    """Which of the feature maps is that of frame t. A blank frame, which has none, takes the next
    one's."""
    shown = fitted.learnt.timeline.shown
    return min(bisect.bisect_left(shown, t), len(shown) - 1)


def raw_features(fitted: Fitted, backbone: Backbone, rows: Int[Tensor, " S"]) -> FeatureMaps:
    """What the ViT of a fit gives for some of the frames that have maps, before any refinement."""
    frames = fitted.frames[rows.to(fitted.frames.device)]
    config = fitted.config.backbone
    (values,) = extract_features(backbone, frames, [backbone.layer], config)
    return FeatureMaps(values, backbone.grid(*fitted.flow.size))


@torch.no_grad()
def correlations(
    fitted: Fitted, queries: Float[np.ndarray, "N 3"], t: int
) -> Float[Tensor, "N h w"]:
    """Cosines between the features at queries (t, x, y), px of the video, and all cells of a frame
    t."""
    rows = queries.astype(np.float32)
    rows[:, 0] = [map_row(fitted, int(frame)) for frame in queries[:, 0]]
    vectors = fitted.maps.at_queries(fitted.working_queries(rows))
    row = map_row(fitted, t)
    return correlation_maps(vectors, fitted.maps[row : row + 1].values)


@torch.no_grad()
def correspondences(fitted: Fitted, cosines: Float[Tensor, "N h w"]) -> Float[Tensor, "N h w"]:
    """The correspondence maps of correlation maps: probabilities, which sum to 1."""
    return fitted.state.tracker.correspondence(cosines).exp()


@torch.no_grad()
def located(fitted: Fitted, cosines: Float[Tensor, "N h w"]) -> Float[np.ndarray, "N 2"]:
    """Where the soft-argmax around the best cell lies in correlation maps, px of the video."""
    found = fitted.state.tracker.locate_in_maps(cosines, fitted.maps.grid)
    return rescale(found, fitted.flow.size, fitted.video.size).cpu().numpy()


def best_cells(fitted: Fitted, queries: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N S 2"]:
    """Where in every frame the feature most similar to the query's lies: px of the video, a cell
    coarse."""
    centres = fitted.maps.grid.centres(fitted.maps.device)
    best = [
        correlations(fitted, queries, t).flatten(1).argmax(dim=1)
        for t in range(len(fitted.video.frames))
    ]
    xy = torch.stack([centres[cells] for cells in best], dim=1)
    return rescale(xy, fitted.flow.size, fitted.video.size).cpu().numpy()


def heat_picture(
    fitted: Fitted,
    values: Float[Tensor, "h w"],
    t: int,
    marks: Iterable[tuple[Place | None, Colour]],
    wide: int = WIDE,
) -> Picture:
    """A map of the refined features' cells over frame t, with rings around places in px of the
    video, as far as they are known.

    wide: the width of the picture, px.
    """
    frame = one_frame(fitted.video.frames, t)
    level = values.cpu().numpy()
    picture = pictures.heat(frame, level, fitted.maps.grid, fitted.flow.size, wide)
    scale = wide / fitted.video.size[1]
    for place, colour in marks:
        if place is not None:
            pictures.mark(picture, (place + 0.5) * scale - 0.5, colour, WIDE_RING)
    return picture


def moments(
    error: Float[np.ndarray, " T"], where: Bool[np.ndarray, " T"], count: int = MOMENTS
) -> list[int]:
    """The frames of the largest errors, APART or more from each other, in time's order.

    where: the frames that may be chosen.
    """
    chosen: list[int] = []
    for t in np.argsort(-error, kind="stable").tolist():
        alone = all(abs(t - other) >= APART for other in chosen)
        if where[t] and alone and len(chosen) < count:
            chosen.append(t)
    return sorted(chosen)
