"""Best buddies: cells of two frames that are each other's nearest neighbour, where flow is blind
(METHOD 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import torch
from torch import Tensor

from dinotrack.config import BuddyConfig
from dinotrack.correlation import best_matches, mutual_nearest
from dinotrack.geometry import Grid
from dinotrack.pairs import sampled_pairs
from dinotrack.progress import Progress, silent
from dinotrack.trajectories import Chains

_EXACT_TREE = 4  # OpenCV's FLANN_INDEX_KDTREE_SINGLE


@dataclass(frozen=True)
class Buddies:
    """K best buddies of an ordered pair of frames, source cells row by row."""

    source: Tensor
    """float32 [K, 2] px: cell centres in the first frame."""
    target: Tensor
    """float32 [K, 2] px: cell centres in the second frame."""
    cosine: Tensor
    """float32 [K]."""
    ambiguity: Tensor
    """float32 [K]: r, 0 for a match without a rival, 1 where another place matches as well; see
    `ambiguity`."""
    frames: tuple[int, int]

    def keep_where(self, keep: Tensor) -> Buddies:
        """Those where keep is true (bool [K]), or those rows in that order (long)."""
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
        i, j = self.frames
        return replace(self, source=self.target, target=self.source, frames=(j, i)).keep_where(
            order
        )


def best_buddies(
    features_i: Tensor, features_j: Tensor, grid: Grid, frames: tuple[int, int] = (0, 1)
) -> Buddies:
    """Mutual nearest neighbours among the cells of two frames: features [C, h, w] of any float
    type, on `grid`.

    Ambiguity is left at 0: measure it with `ambiguity` once the buddies are filtered.
    """
    source, target, cosine = mutual_nearest(features_i.flatten(1).T, features_j.flatten(1).T)
    centres = grid.centres(features_i.device)
    return Buddies(centres[source], centres[target], cosine, torch.zeros_like(cosine), frames)


def flow_filter(buddies: Buddies, chains: Chains) -> Buddies:
    """Keep a buddy where the chain nearest to either end, in its frame, is not valid in the frame
    of the other end."""
    i, j = buddies.frames
    known_i = _valid_in(chains, nearest_chain(buddies.source, chains, i), j)
    known_j = _valid_in(chains, nearest_chain(buddies.target, chains, j), i)
    return buddies.keep_where(~(known_i | known_j).to(buddies.source.device))


def nearest_chain(points: Tensor, chains: Chains, frame: int) -> Tensor:
    """The chain nearest to each point [K, 2] px among those valid in the frame: long [K], -1 where
    there is none.

    Exact, by a k-d tree on the CPU: at the paper's size, all distances would be 8,000 x 400,000 a
    frame.
    """
    there = chains.seen_in(frame).nonzero()[:, 0]
    if len(there) == 0 or len(points) == 0:
        return torch.full((len(points),), -1, device=there.device)
    tree = cv2.flann.Index(chains.at(there, frame).cpu().numpy(), {"algorithm": _EXACT_TREE})
    nearest, _ = tree.knnSearch(points.cpu().numpy(), 1, params={})
    return there[torch.from_numpy(nearest[:, 0]).to(there.device).long()]


def ambiguity(
    buddies: Buddies, features_i: Tensor, features_j: Tensor, grid: Grid, config: BuddyConfig
) -> Tensor:
    """r [K] of each buddy: score of the best rival place over that of the best match, the larger of
    both directions."""
    cells_i, cells_j = features_i.flatten(1).T, features_j.flatten(1).T
    there = _rivalry(cells_i[_cell(buddies.source, grid)], cells_j, grid, config)
    back = _rivalry(cells_j[_cell(buddies.target, grid)], cells_i, grid, config)
    return torch.maximum(there, back)


def ambiguity_weight(ambiguity: Tensor, config: BuddyConfig) -> Tensor:
    """sigmoid(slope (1 - r) - offset): nearly 1 for a match without a rival, nearly 0 for one of
    many."""
    return torch.sigmoid(config.slope * (1 - ambiguity) - config.offset)


def cosine_weight(cosine: Tensor) -> Tensor:
    """max(0, 2 cos^3)."""
    return (2 * cosine**3).clamp(min=0)


def find_buddies(
    features: Tensor,
    grid: Grid,
    chains: Chains,
    config: BuddyConfig,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[tuple[int, int], Buddies]:
    """Best buddies of a video where flow is blind, with their ambiguity: {(i, j): buddies from
    frame i to j}.

    features: [T, C, h, w] of any float type, on `grid`, on the device that shall do the work;
    chains may lie elsewhere.
    Pairs of frames, in both orders: the sampled ones (`pairs.sampled_pairs` with config.near), or
    config.max_pairs of them (made even) drawn by seed. Pairs without buddies are left out: the
    result may be empty.
    """
    pairs = _frame_pairs(len(features), config, seed)
    centres = grid.centres(features.device)
    nearest = [nearest_chain(centres, chains, t) for t in range(len(features))] if pairs else []
    found: dict[tuple[int, int], Buddies] = {}
    for done, (i, j) in enumerate(pairs, start=1):
        known_i = _valid_in(chains, nearest[i], j).to(features.device)
        known_j = _valid_in(chains, nearest[j], i).to(features.device)
        buddies = best_buddies(features[i], features[j], grid, (i, j))
        known = known_i[_cell(buddies.source, grid)] | known_j[_cell(buddies.target, grid)]
        buddies = buddies.keep_where(~known)
        if len(buddies.cosine):
            buddies = replace(
                buddies, ambiguity=ambiguity(buddies, features[i], features[j], grid, config)
            )
            found[i, j], found[j, i] = buddies, buddies.mirrored()
        progress("buddies", done, len(pairs))
    return found


def _frame_pairs(frames: int, config: BuddyConfig, seed: int) -> list[tuple[int, int]]:
    """Pairs i < j; each serves both orders, so half of config.max_pairs, rounded up, where that is
    set."""
    pairs = sampled_pairs(frames, config.near)
    if config.max_pairs > 0:
        drawn = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
        pairs = [pairs[k] for k in drawn[: (config.max_pairs + 1) // 2].sort().values.tolist()]
    return pairs


def _valid_in(chains: Chains, nearest: Tensor, frame: int) -> Tensor:
    """Whether the chains of these numbers (long [K], -1: none) are valid in the frame: bool [K]."""
    known = torch.zeros_like(nearest, dtype=torch.bool)
    some = nearest >= 0
    known[some] = chains.seen_in(frame, nearest[some])
    return known


def _cell(xy: Tensor, grid: Grid) -> Tensor:
    """Number, row by row, of the cell centred at xy [K, 2] px: long [K]."""
    column, row = grid.to_index(xy).round().long().unbind(-1)
    return row * grid.cols + column


def _rivalry(vectors: Tensor, cells: Tensor, grid: Grid, config: BuddyConfig) -> Tensor:
    """Score of the second survivor of non-maximum suppression over the best score, 0 where only one
    survives.

    vectors [K, C], cells [P, C] -> [K]. Only the best box can have suppressed a candidate that
    outscores the second
    survivor, which therefore is the best candidate that overlaps the best box little enough: no
    loop is needed.
    Where even the best match is no match (cosine <= 0), everything is a rival: 1.
    """
    index, score = best_matches(vectors, cells, config.candidates)
    places = grid.centres(cells.device)[index]
    side = 2 * config.box
    common = (side - (places - places[:, :1]).abs()).clamp(min=0).prod(dim=-1)
    overlap = common / (2 * side**2 - common)
    best = score[:, 0]
    second = score.masked_fill(overlap > config.overlap, -torch.inf).amax(dim=1)
    ratio = torch.where(second.isinf(), torch.zeros_like(best), second / best)
    return torch.where(best > 0, ratio, torch.ones_like(best))
