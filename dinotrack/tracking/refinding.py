"""Patches that flow has lost, looked for again near the path.

Behind an occlusion flow can't be followed, and matches alone are as coarse as the cells of the
feature map. But near the path the query's own patch can be located to a tenth of a pixel, if we
allow for how it may have changed while it was not seen: it is tried at several sizes and angles,
from the shape that it had when it was last followed. See docs/method.md 8 "Finding lost patches
again".
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.config import RefindingConfig
from dinotrack.progress import Tick, unheard
from dinotrack.tracking.flow_chain import QueryChains
from dinotrack.tracking.patches import Aligned, Patches, align


class Refound(NamedTuple):
    """Where lost patches were looked for, and what was found."""

    near: Float[Tensor, "N T 2"]
    """Px, where the search began."""
    places: Float[Tensor, "N T 2"]
    """Px, where the patch is; where the search began, if it found nothing or was not made."""
    found: Bool[Tensor, "N T"]
    sharpness: Float[Tensor, "N T"]
    """How precise the place is: 0 as a match, 1 as where flow followed the patch; 0 where nothing
    was found."""


def refind(
    patches: Patches,
    chain: QueryChains,
    xy: Float[Tensor, "N T 2"],
    config: RefindingConfig,
    before: Refound | None = None,
    tick: Tick = unheard,
) -> Refound:
    """Where near xy the queries' patches are, in the frames to which flow did not follow them.

    before: what an earlier search found. Where xy has hardly moved since, its answer stays.
    """
    before = _nothing(xy) if before is None else before
    anew = ~chain.followed & ((xy - before.near).norm(dim=-1) > config.moved)
    found = before.found & ~anew
    places = torch.where(found[..., None], before.places, xy)
    sharpness = torch.where(found, before.sharpness, 0.0)
    nearest = chain.nearest()
    anchor = chain.anchor.gather(1, nearest)
    lost = anew & patches.textured[anchor]
    for t in range(xy.shape[1]):
        rows = lost[:, t].nonzero()[:, 0]
        if len(rows):
            shape = chain.shape[rows, nearest[rows, t]]
            seen = search(patches[anchor[rows, t]], t, xy[rows, t], shape, config)
            places[rows, t] = seen.xy
            found[rows, t] = seen.likeness >= config.likeness
            way = max(config.sharp - config.likeness, 1e-6)
            sharpness[rows, t] = ((seen.likeness - config.likeness) / way).clamp(0, 1)
        tick(1)
    return Refound(xy, places, found, sharpness)


def _nothing(xy: Float[Tensor, "N T 2"]) -> Refound:
    """What is known before any search: it began nowhere near."""
    none = torch.zeros(xy.shape[:2], dtype=torch.bool, device=xy.device)
    return Refound(torch.full_like(xy, torch.inf), xy, none, none.float())


def search(
    patches: Patches,
    t: int,
    xy: Float[Tensor, "N 2"],
    shape: Float[Tensor, "N 2 2"],
    config: RefindingConfig,
) -> Aligned:
    """Where frame t looks most like patches that may have changed since they had a shape.

    Each way to change them is aligned from xy. Where none ends within config.search px, the answer
    is xy itself, with a likeness of -1.
    """
    changes = _changes(config, xy.device)
    ways = len(changes)
    count = len(xy)
    each = torch.arange(count, device=xy.device)
    start = xy.repeat(ways, 1)
    aligned = align(patches[each.repeat(ways)], t, start, (shape @ changes).flatten(0, 1))

    near = (aligned.xy - start).norm(dim=-1) < config.search
    likeness = torch.where(near, aligned.likeness, -1.0)
    best = likeness.view(ways, count).max(dim=0)
    places = aligned.xy.view(ways, count, 2)[best.indices, each]
    anywhere = (best.values > -1)[:, None]
    return Aligned(torch.where(anywhere, places, xy), best.values)


def _changes(config: RefindingConfig, device: torch.device) -> Float[Tensor, "W 1 2 2"]:
    """Every zoom with every turn, as matrices."""
    matrices = []
    for zoom, angle in itertools.product(config.zooms, config.turns):
        cosine = zoom * math.cos(angle)
        sine = zoom * math.sin(angle)
        matrices.append(((cosine, -sine), (sine, cosine)))
    return torch.tensor(matrices, device=device)[:, None]
