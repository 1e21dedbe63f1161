"""What a report is of: a fit, its tracks, and what was noted while they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.features import make_backbone
from dinotrack.fitted import Fitted
from dinotrack.maps import FeatureMaps
from dinotrack.report.likeness import map_row, moments, raw_features
from dinotrack.report.truth import Truth
from dinotrack.tracks import Tracks

LOOKED_AT = 12
"""Frames whose features are shown, spread evenly over the video."""
POINTS = 3
"""Points that are looked at where nobody chose some."""
FRAMES = 4
"""Frames of each."""
LEAPS = 32.0
"""Px at 256 x 256, to which errors are capped, so that one leap isn't all that counts."""


@dataclass(frozen=True, eq=False)
class Story:
    """All that sections tell of."""

    name: str
    """Of the page."""
    fitted: Fitted
    tracks: Tracks
    record: Mapping[str, Any] = field(default_factory=dict)
    """What run.json holds; nothing in it is relied upon."""
    truth: Truth | None = None
    points: Sequence[int] = ()
    """The points to look at; none: those that `looked_at` chooses."""
    frames: Sequence[int] = ()
    """The frames to look at them in; none: those in which they are least sure."""

    @cached_property
    def error(self) -> Float[np.ndarray, "N T"] | None:
        """Px at 256 x 256; None without a truth."""
        return None if self.truth is None else self.truth.error(self.tracks)

    @cached_property
    def doubt(self) -> Float[np.ndarray, " N"]:
        """How bad each point is, the worst one highest.

        With a truth that is the mean error in frames that truly show the point, and points of which
        the truth knows nothing are the best. Otherwise it is how undecided confidence is on
        average: a point that is surely hidden is as good as one that is surely seen.
        """
        if self.truth is None or self.error is None:
            return np.asarray(undecided(self.tracks.confidence).mean(axis=1))
        known = self.truth.visible
        total = (self.error.clip(max=LEAPS) * known).sum(axis=1)
        return np.where(known.any(axis=1), total / known.sum(axis=1).clip(min=1), -1.0)

    @cached_property
    def order(self) -> list[int]:
        """All points, the worst first."""
        return [int(n) for n in np.argsort(-self.doubt, kind="stable")]

    @property
    def looked_at(self) -> list[int]:
        """The points that were chosen; else the worst one, the one in the middle and the best."""
        if self.points:
            return list(self.points)
        last = len(self.order) - 1
        places = np.linspace(0, last, min(POINTS, len(self.order))).round().astype(int)
        return [self.order[place] for place in places]

    def moments(self, n: int) -> list[int]:
        """The frames in which a point is looked at, besides its own: those that were chosen, else
        those in which it is worst, or else one from the other end of the video."""
        if self.frames:
            return list(self.frames)
        if self.truth is None or self.error is None:
            bad = undecided(self.tracks.confidence[n])
            seen = np.ones(len(bad), bool)
        else:
            bad, seen = self.error[n], self.truth.visible[n].copy()
        own = int(self.tracks.queries[n, 0])
        seen[own] = False
        chosen = moments(bad, seen, FRAMES)
        return chosen or [len(seen) - 1 - own if len(seen) > 1 else own]

    @cached_property
    def shown(self) -> list[int]:
        """Frames that are not blank, at most LOOKED_AT, spread evenly."""
        every = self.fitted.learnt.timeline.shown
        places = np.linspace(0, len(every) - 1, min(LOOKED_AT, len(every))).round().astype(int)
        return [every[place] for place in dict.fromkeys(places.tolist())]

    @property
    def rows(self) -> Int[Tensor, " S"]:
        """Where the maps of these frames stand among all maps."""
        return torch.tensor([map_row(self.fitted, t) for t in self.shown])

    @cached_property
    def refined(self) -> FeatureMaps:
        """Refined features of the shown frames."""
        return self.fitted.maps[self.rows.to(self.fitted.maps.device)]

    @cached_property
    def raw(self) -> FeatureMaps | None:
        """Features of the same frames as the ViT gives them; None without a ViT."""
        backbone = make_backbone(self.fitted.config.backbone, self.fitted.run.device)
        return None if backbone is None else raw_features(self.fitted, backbone, self.rows)

    @property
    def features(self) -> dict[str, FeatureMaps]:
        """Features of the shown frames, raw where there are such, and refined."""
        if self.raw is None:
            return {"refined": self.refined}
        return {"raw": self.raw, "refined": self.refined}

    def numbers(self, name: str) -> dict[str, float]:
        """The numbers by name that the record holds under a name; whatever else stands there is
        left out."""
        held = self.record.get(name)
        if not isinstance(held, dict):
            return {}
        return {
            str(key): float(value)
            for key, value in held.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }


def undecided(confidence: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """How likely the likelier answer is to be wrong: 0 for a confidence of 0 or 1, 0.5 for 0.5."""
    return np.asarray(np.minimum(confidence, 1 - confidence), float)
