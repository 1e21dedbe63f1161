"""What speaks for a point being visible where it was put, and how sure that makes us.

No single observation tells reliably whether a point is occluded or lost. So several are collected,
each of which means something on its own, and a logistic regression turns them into a probability.
Its weights were fitted to truth (`python -m dinotrack.benchmarks calibrate`). See docs/method.md 8
"Evidence and confidence".
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack import chunks
from dinotrack.config import ConfidenceConfig
from dinotrack.flow import VideoFlow
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.progress import Tick, unheard
from dinotrack.queries import Queries


@dataclass(frozen=True)
class Evidence:
    """What speaks for N points in T frames; of several points, each is their mean."""

    cosine: Float[Tensor, "N T"]
    """Similarity of the feature there to the one that is looked for."""
    cycle_error: Float[Tensor, "N T"]
    """Log(1 + px) between the query and where the feature there is found in the query's frame."""
    followed: Float[Tensor, "N T"]
    """Whether flow from the query got there unbroken: 0 or 1."""
    distinctness: Float[Tensor, "N T"]
    """How much higher the frame's best match scores than its second best; 0 or more."""
    likeness: Float[Tensor, "N T"]
    """How much the flow's place looks as the query's patch does, in [-1, 1]; 0 where flow is not
    followed."""
    disagreement: Float[Tensor, "N T"]
    """Mean log(1 + px) between the track and where flow from and to its neighbours leads."""
    cuts: frozenset[int] = frozenset()
    """The frames that begin a new shot, in which the frame before is no neighbour."""

    def terms(self) -> dict[str, Float[Tensor, "N T"]]:
        """What the regression adds up, under the names that the weights have in the config."""
        return {
            "bias": torch.ones_like(self.cosine),
            "cosine": self.cosine,
            "cycle_error": self.cycle_error,
            "followed": self.followed,
            "distinctness": self.distinctness,
            "likeness": self.likeness,
            "disagreement": self.disagreement,
            "neighbours": neighbours(self.cosine, self.cuts),
        }

    def regressors(self) -> Float[Tensor, "N T 8"]:
        """The terms, one after the other."""
        return _stacked(self.terms())

    def confidence(self, config: ConfidenceConfig) -> Float[Tensor, "N T"]:
        """The probability of being visible and within 8 px of the truth at 256 x 256."""
        terms = self.terms()
        named = [getattr(config, name) for name in terms]
        weights = torch.tensor(named, dtype=torch.float32, device=self.cosine.device)
        return contrasted(_stacked(terms) @ weights, config).sigmoid()


def contrasted(score: Float[Tensor, "N T"], config: ConfidenceConfig) -> Float[Tensor, "N T"]:
    """Scores (log-odds) that are seen against those of the same point where it looks visible.

    Some points look clearer than others throughout, so that what is little for the one is much for
    the other. A share of what a point's median has above config.usual, or below it, is taken from
    all of its scores. The median is that of the frames from a confidence of config.visible on,
    however few; a point without any keeps its scores.
    """
    seen = torch.where(score.sigmoid() >= config.visible, score, torch.nan)
    median = seen.nanquantile(0.5, dim=1, keepdim=True).nan_to_num(config.usual)
    return score - config.contrast * (median - config.usual)


def in_other_shots(
    confidence: Float[Tensor, "N T"],
    query_frame: Int[Tensor, " N"],
    cuts: frozenset[int],
    sure: float,
    visible: float,
) -> Float[Tensor, "N T"]:
    """Confidence in a video of several shots, which begin at the cuts.

    Most shots show another place than the query's own, where look-alikes are all that there is to
    find. A point is thus taken to be in another shot only where it is surely seen in one of the
    shot's frames, from a confidence of `sure` on. Elsewhere in other shots the odds are divided by
    what would make a confidence of `sure` no more than `visible`.
    """
    if not cuts:
        return confidence
    odds = torch.logit(confidence, eps=1e-6)
    excess = torch.logit(torch.tensor((sure, visible)), eps=1e-6)
    doubted = torch.sigmoid(odds - (excess[0] - excess[1]).clamp(min=0).to(odds.device))
    edges = [0, *sorted(cuts), confidence.shape[1]]
    shots = []
    for start, end in itertools.pairwise(edges):
        shot = confidence[:, start:end]
        own = (query_frame >= start) & (query_frame < end)
        known = own | (shot >= sure).any(dim=1)
        shots.append(torch.where(known[:, None], shot, doubted[:, start:end]))
    return torch.cat(shots, dim=1)


def _stacked(terms: dict[str, Float[Tensor, "N T"]]) -> Float[Tensor, "N T 8"]:
    return torch.stack([term.float() for term in terms.values()], dim=-1)


class Joined(NamedTuple):
    """Where N points were put in each of T frames, and what speaks for it."""

    xy: Float[Tensor, "N T 2"]
    """Px."""
    evidence: Evidence


def cycle_errors(
    tracker: Tracker,
    maps: FeatureMaps,
    queries: Queries,
    xy: Float[Tensor, "N T 2"],
    tick: Tick = unheard,
) -> Float[Tensor, "N T"]:
    """How far (px) from its query the feature at xy is found in the query's own frame."""
    frames, which = queries.frame.unique(return_inverse=True)
    own_maps = maps[frames]
    errors = xy.new_zeros(xy.shape[:2])
    for start in range(0, xy.shape[1], chunks.CYCLE_FRAMES):
        part = slice(start, start + chunks.CYCLE_FRAMES)
        vectors = maps[part].along(xy[:, part])
        rows = which.repeat_interleave(vectors.shape[1])
        found = tracker.locate(vectors.flatten(0, 1), own_maps, rows)
        off = found.view(*vectors.shape[:2], 2) - queries.xy[:, None]
        errors[:, part] = off.norm(dim=-1)
        tick(vectors.shape[1])
    return errors


def disagreement(flow: VideoFlow, xy: Float[Tensor, "N T 2"]) -> Float[Tensor, "N T"]:
    """How badly tracks agree with flow: log(1 + px) between them, mean of a frame's neighbours.

    Neighbours are of the same shot. A frame without any has 0.
    """
    frames = xy.shape[1]
    ahead = xy.new_zeros(xy.shape[:2])
    behind = xy.new_zeros(xy.shape[:2])
    sides = xy.new_zeros(frames)
    for t in range(frames - 1):
        if flow.is_cut(t, t + 1):
            continue
        there = flow.between(t, t + 1).move(xy[:, t])
        back = flow.between(t + 1, t).move(xy[:, t + 1])
        ahead[:, t] = (there - xy[:, t + 1]).norm(dim=-1).log1p()
        behind[:, t + 1] = (back - xy[:, t]).norm(dim=-1).log1p()
        sides[t : t + 2] += 1
    return (ahead + behind) / sides.clamp(min=1)


def neighbours(
    values: Float[Tensor, "N T"], cuts: frozenset[int] = frozenset()
) -> Float[Tensor, "N T"]:
    """The mean of the frames before and after; at the ends, of the only one and the own frame.

    cuts: frames that begin a new shot. Each shot has ends of its own.
    """
    padded = F.pad(values[:, None], (1, 1), mode="replicate")[:, 0]
    before = padded[:, :-2].clone()
    after = padded[:, 2:].clone()
    for cut in cuts:
        before[:, cut] = values[:, cut]
        after[:, cut - 1] = values[:, cut - 1]
    return (before + after) / 2
