"""Best buddies: cells of two frames that are each other's nearest neighbour, where flow is blind.

Flow says nothing across an occlusion, and that is where a fit needs to learn most. Cells whose
frozen features choose each other across all of two frames are likely to show the same point
(`docs/method.md` 3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.chains import Chains
from dinotrack.config import BuddyConfig
from dinotrack.correlation import best_matches, mutual_nearest
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.pairs import Pair, sampled_pairs
from dinotrack.progress import Progress, silent
from dinotrack.run import Run

_EXACT_TREE = 4
"""OpenCV's FLANN_INDEX_KDTREE_SINGLE."""


@dataclass(frozen=True)
class Buddies:
    """K best buddies of an ordered pair of frames, with the source cells row by row."""

    source: Float[Tensor, "K 2"]
    """Centres of the cells in the first frame, px."""
    target: Float[Tensor, "K 2"]
    """Centres of the cells in the second frame, px."""
    cosine: Float[Tensor, " K"]
    ambiguity: Float[Tensor, " K"]
    """The r of the function `ambiguity`: 0 without a rival, 1 where another place matches too."""
    frame_pair: Pair

    def keep_where(self, keep: Bool[Tensor, " K"] | Int[Tensor, " R"]) -> Buddies:
        """Those where `keep` is true, or those of some rows in that order."""
        return replace(
            self,
            source=self.source[keep],
            target=self.target[keep],
            cosine=self.cosine[keep],
            ambiguity=self.ambiguity[keep],
        )

    def mirrored(self) -> Buddies:
        """The same buddies seen from the other frame."""
        order = self.target[:, 0].argsort(stable=True)
        order = order[self.target[order, 1].argsort(stable=True)]
        first, second = self.frame_pair
        turned = replace(self, source=self.target, target=self.source, frame_pair=(second, first))
        return turned.keep_where(order)


def video_buddies(features: FeatureMaps | None, chains: Chains, run: Run) -> dict[Pair, Buddies]:
    """The stage: best buddies of a video, where the fit learns from them and a ViT sees them."""
    if features is None or not run.config.training.buddy_weight:
        return {}
    with run.stage("buddies"):
        near = features.to(run.device)
        return find_buddies(near, chains, run.config.buddies, run.seed, run.progress)


def find_buddies(
    maps: FeatureMaps,
    chains: Chains,
    config: BuddyConfig,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[Pair, Buddies]:
    """Best buddies of a video where flow is blind, with their ambiguity, by pair of frames.

    Flow knows more than a pair of buddies where the chain that is nearest to either of them, in its
    frame, is valid in the frame of the other; such pairs are left out.

    maps: frozen features of all frames, on the device that is to do the work. The chains may lie
    elsewhere.

    Frames are paired in both orders: the sampled pairs (`pairs.sampled_pairs` with config.near), or
    config.max_pairs of them (made even) that are drawn by the seed. Pairs of frames without buddies
    are left out, so there may be none at all.
    """
    pairs = _frame_pairs(len(maps), config, seed)
    progress("buddies", 0, len(pairs))
    centres = maps.grid.centres(maps.device)
    nearest = [nearest_chain(centres, chains, t) for t in range(len(maps))] if pairs else []
    found: dict[Pair, Buddies] = {}
    for done, (i, j) in enumerate(pairs, start=1):
        known_i = _valid_in(chains, nearest[i], j).to(maps.device)
        known_j = _valid_in(chains, nearest[j], i).to(maps.device)
        buddies = best_buddies(maps, (i, j))
        source, target = _cell(buddies.source, maps.grid), _cell(buddies.target, maps.grid)
        buddies = buddies.keep_where(~(known_i[source] | known_j[target]))
        if len(buddies.cosine):
            buddies = replace(buddies, ambiguity=ambiguity(buddies, maps, config))
            found[i, j] = buddies
            found[j, i] = buddies.mirrored()
        progress("buddies", done, len(pairs))
    return found


def best_buddies(maps: FeatureMaps, rows: Pair, frame_pair: Pair | None = None) -> Buddies:
    """Mutual nearest neighbours among the cells of two maps, wherever flow sees them.

    rows: which two of the maps. frame_pair: the numbers of these frames in the video, where the
    maps are not those of the whole video.

    Ambiguity is left at 0, as only buddies that stay are worth measuring it (`ambiguity`).
    """
    source, target, cosine = mutual_nearest(_tokens(maps, rows[0]), _tokens(maps, rows[1]))
    centres = maps.grid.centres(maps.device)
    unmeasured = torch.zeros_like(cosine)
    return Buddies(centres[source], centres[target], cosine, unmeasured, frame_pair or rows)


def nearest_chain(points: Float[Tensor, "K 2"], chains: Chains, frame: int) -> Int[Tensor, " K"]:
    """The row of the chain nearest to each point (px), among those valid in the frame.

    Where no chain is valid in the frame, the row is -1. The answer is exact and comes from a k-d
    tree on the CPU: at the paper's size, all distances would be 8,000 x 400,000 in each frame.
    """
    there = chains.seen_in(frame).nonzero()[:, 0]
    if len(there) == 0 or len(points) == 0:
        return torch.full((len(points),), -1, device=there.device)
    places = chains.at(there, frame).cpu().numpy()
    tree = cv2.flann.Index(places, {"algorithm": _EXACT_TREE})
    nearest, _ = tree.knnSearch(points.cpu().numpy(), 1, params={})
    rows = torch.from_numpy(nearest[:, 0]).long()
    return there[rows.to(there.device)]


def ambiguity(buddies: Buddies, maps: FeatureMaps, config: BuddyConfig) -> Float[Tensor, " K"]:
    """How well another place matches than the one that was found, r (`docs/method.md` 3).

    It is the score of the best rival place over that of the best match, 0 without a rival; of both
    directions the larger one counts. maps: those of the whole video.
    """
    cells_i, cells_j = (_tokens(maps, frame) for frame in buddies.frame_pair)
    source, target = _cell(buddies.source, maps.grid), _cell(buddies.target, maps.grid)
    there = _rivalry(cells_i[source], cells_j, maps.grid, config)
    back = _rivalry(cells_j[target], cells_i, maps.grid, config)
    return torch.maximum(there, back)


def ambiguity_weight(ambiguity: Float[Tensor, " K"], config: BuddyConfig) -> Float[Tensor, " K"]:
    """sigmoid(steepness (1 - r) - offset): nearly 1 without a rival, nearly 0 among many alike."""
    return torch.sigmoid(config.steepness * (1 - ambiguity) - config.offset)


def cosine_weight(cosine: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """max(0, 2 cos^3)."""
    return (2 * cosine**3).clamp(min=0)


def _frame_pairs(frames: int, config: BuddyConfig, seed: int) -> list[Pair]:
    """The pairs i < j that are searched.

    Each pair serves both orders, so that half of config.max_pairs, rounded up, are drawn.
    """
    pairs = sampled_pairs(frames, config.near)
    if config.max_pairs > 0:
        dice = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(pairs), generator=dice)[: (config.max_pairs + 1) // 2]
        pairs = [pairs[k] for k in drawn.sort().values.tolist()]
    return pairs


def _valid_in(chains: Chains, nearest: Int[Tensor, " K"], frame: int) -> Bool[Tensor, " K"]:
    """Whether the chains of these rows are valid in the frame. A row of -1 is no chain."""
    known = torch.zeros_like(nearest, dtype=torch.bool)
    some = nearest >= 0
    known[some] = chains.seen_in(frame, nearest[some])
    return known


def _tokens(maps: FeatureMaps, row: int) -> Float[Tensor, "cells C"]:
    """The features of one frame, row by row."""
    return maps.values[row].flatten(1).T


def _cell(xy: Float[Tensor, "K 2"], grid: Grid) -> Int[Tensor, " K"]:
    """The number, row by row, of the cell that is centred at a position (px)."""
    column, row = grid.to_index(xy).round().long().unbind(-1)
    return row * grid.cols + column


def _rivalry(
    vectors: Float[Tensor, "K C"], cells: Float[Tensor, "cells C"], grid: Grid, config: BuddyConfig
) -> Float[Tensor, " K"]:
    """The second score that survives non-maximum suppression over the best one, in one direction.

    Only the best box can have suppressed a candidate that outscores the second survivor. The second
    survivor is therefore the best candidate that overlaps the best box little enough, and no loop
    is needed. Where only one box survives the answer is 0. Where even the best match is no match
    (cosine <= 0) everything is a rival, and the answer is 1.
    """
    index, score = best_matches(vectors, cells, config.candidates)
    places = grid.centres(cells.device)[index]
    side = 2 * config.box
    apart = (places - places[:, :1]).abs()
    common = (side - apart).clamp(min=0).prod(dim=-1)
    overlap = common / (2 * side**2 - common)
    best = score[:, 0]
    second = score.masked_fill(overlap > config.overlap, -torch.inf).amax(dim=1)
    alone = second.isinf()
    ratio = torch.where(alone, torch.zeros_like(best), second / best)
    return torch.where(best > 0, ratio, torch.ones_like(best))
