"""Whether features know a point again: t-SNE of features along trajectories, before and after
refinement (figure 1b of the paper), and how often the nearest feature is of the same point."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.geometry import rescale
from dinotrack.maps import FeatureMaps
from dinotrack.overlay.marks import rainbow
from dinotrack.report import markup
from dinotrack.report.story import Story

MOST_POINTS = 24
"""Whose features are shown."""
LEAST = 12
"""Features; fewer have no neighbourhoods."""
PERPLEXITY = 12.0
"""Neighbours that t-SNE looks at: about as many as a point has features."""
SIDE = 330
"""Px: of a drawing."""
MISSING = "This section needs scikit-learn; install it: pip install scikit-learn"


def neighbours_section(story: Story) -> str:
    """Two drawings side by side, and the share of nearest features that are of the same point."""
    points = chosen_points(story)
    parts, told = [], []
    for name, maps in story.features.items():
        features, owners = along_tracks(story, maps, points)
        if len(owners) < LEAST or len(set(owners.tolist())) < 2:
            return markup.paragraph("Too few points are visible in too few frames for this.")
        share = known_again(features, owners)
        told.append(f"{100 * share:.0f} % of the {name} features")
        if importlib.util.find_spec("sklearn") is not None:
            parts.append(_figure(story, name, embedded(features), owners, points))
    said = (
        f"Features of {len(points)} points in {len(story.shown)} frames that show them, a colour "
        "for each point. Features that are alike lie together, so a tracker that knows its points "
        "has a clump of one colour for each. The nearest other feature is of the same "
        f"point for {' and '.join(told)}. "
    )
    missing = [] if parts else [markup.paragraph(MISSING)]
    return "".join((markup.row(parts), *missing, markup.paragraph(said)))


def chosen_points(story: Story) -> list[int]:
    """Points spread evenly over those that are seen most."""
    seen = story.tracks.visible[:, story.shown].sum(axis=1)
    best = np.flatnonzero(seen >= max(2, np.median(seen))) if len(seen) else seen.astype(int)
    places = np.linspace(0, len(best) - 1, min(MOST_POINTS, len(best))).round().astype(int)
    return [int(n) for n in best[places]]


def along_tracks(
    story: Story, maps: FeatureMaps, points: list[int]
) -> tuple[Float[Tensor, "M C"], Int[np.ndarray, " M"]]:
    """Features of points in those of the shown frames in which they are visible, of unit length,
    and which of the points each is of."""
    tracks = story.tracks
    xy = torch.from_numpy(tracks.xy[points][:, story.shown])
    working = rescale(xy, tracks.size, story.fitted.flow.size)
    features = maps.along(working.to(maps.device)).cpu()
    seen = tracks.visible[points][:, story.shown]
    owners = np.nonzero(seen)[0]
    return F.normalize(features[torch.from_numpy(seen)], dim=1), owners


def known_again(features: Float[Tensor, "M C"], owners: Int[np.ndarray, " M"]) -> float:
    """The share of features whose nearest other one is of the same point."""
    cosines = features @ features.T
    cosines.fill_diagonal_(-2.0)
    nearest = cosines.argmax(dim=1).numpy()
    return float((owners[nearest] == owners).mean())


def embedded(features: Float[Tensor, "M C"]) -> Float[np.ndarray, "M 2"]:
    """t-SNE of features of unit length, each axis from 0 to 1."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=0, method="exact")
    places = method.fit_transform(features.double().numpy())
    low, high = places.min(axis=0), places.max(axis=0)
    return np.asarray((places - low) / np.maximum(high - low, 1e-12), float)


def _figure(
    story: Story,
    name: str,
    places: Float[np.ndarray, "M 2"],
    owners: Int[np.ndarray, " M"],
    points: list[int],
) -> str:
    colours = [f"rgb{colour}" for colour in rainbow(story.tracks.chosen(points))]
    dots = [
        markup.dot(round(SIDE * x, 1), round(SIDE * y, 1), 3.2, colours[owner])
        for (x, y), owner in zip(places.tolist(), owners.tolist(), strict=True)
    ]
    box = f'<rect x="-8" y="-8" width="{SIDE + 16}" height="{SIDE + 16}" class="rule"/>'
    drawing = markup.drawing(-9, -9, SIDE + 18, SIDE + 18, [box, *dots], "chart")
    return f"<figure>{drawing}<figcaption>{name}</figcaption></figure>"
