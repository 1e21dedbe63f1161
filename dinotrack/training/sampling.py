"""What there is to learn from a video, and what a step draws from it (docs/method.md 5).

A step draws a few frames, then pairs of positions that a flow chain connects in two of them. All
random numbers come from the generator that the caller hands over, so a step can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dinotrack.buddies import Buddies
from dinotrack.chains import Chains
from dinotrack.config import TrainingConfig
from dinotrack.labels import Supervision
from dinotrack.maps import FeatureMaps
from dinotrack.pairs import Pair
from dinotrack.training.lessons import Lesson

DRAWS = 20
"""How often frames are drawn before a step goes without labels, as none of them share any."""


class Labels(NamedTuple):
    """B pairs of positions: where a point is in one frame, and where it is in another."""

    source_frame: Int[Tensor, " B"]
    source: Float[Tensor, "B 2"]
    """Px of the working frame, as the targets."""
    target_frame: Int[Tensor, " B"]
    target: Float[Tensor, "B 2"]

    def at(self, rows: Int[Tensor, " M"]) -> Labels:
        """Some of the pairs, by their numbers."""
        return Labels(*(column[rows] for column in self))

    @staticmethod
    def joined(parts: Sequence[Labels]) -> Labels:
        """The pairs of several, one after the other."""
        return Labels(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


class Batch(NamedTuple):
    """What one step looks at."""

    frame_numbers: Int[Tensor, " F"]
    """Which frames of the video these are, ascending."""
    frames: UInt8[Tensor, "F 3 H W"]
    """The frames themselves, or what is seen of them through a window."""
    features: Float[Tensor, "F C h w"] | None
    """The frozen features of the whole frames; None without a ViT."""
    labels: Labels
    """In px of what is seen."""
    corner: Float[Tensor, " 2"] | None = None
    """(x, y) px, in the whole frame, of the window's first pixel; None without a window."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device. The host does not wait for the copies."""
        moved: Batch = tree_map_only(Tensor, partial(_copy, device=device), self)
        return moved


def _copy(part: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    if device.type == "cuda" and part.device.type == "cpu":
        return part.pin_memory().to(device, non_blocking=True)
    return part.to(device)


@dataclass(frozen=True)
class TrainingData:
    """Everything that one video gives to learn from."""

    frames: UInt8[Tensor, "T 3 H W"]
    """The working frames."""
    features: FeatureMaps | None
    """Frozen features of a ViT; None without one."""
    supervision: Supervision
    """Chains of flow, from which pairs of positions are drawn, and the foreground."""
    buddies: Mapping[Pair, Buddies]
    """Best buddies of ordered pairs of frames."""
    lesson: Lesson | None = None
    """What corrections teach; None in a fit."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the working frames."""
        return int(self.frames.shape[-2]), int(self.frames.shape[-1])

    @property
    def has_labels(self) -> bool:
        """Whether any chain is seen in two frames. Without one there is nothing to learn."""
        return bool((self.supervision.chains.length > 1).any())

    @cached_property
    def foreground(self) -> ChainPool:
        """The chains of the foreground, to draw from."""
        return ChainPool.of(self.supervision.chains, self.supervision.on_foreground.nonzero()[:, 0])

    @cached_property
    def background(self) -> ChainPool:
        """The other chains, to draw from."""
        return ChainPool.of(
            self.supervision.chains, (~self.supervision.on_foreground).nonzero()[:, 0]
        )


@dataclass(frozen=True)
class ChainPool:
    """Chains in an order in which those that a draw wants are found without looking at all.

    They are ordered by their start and, of equal ones, by their end, the last first. Of the chains
    that start in a frame, those that reach another frame are then the first few.
    """

    rows: Int[Tensor, " K"]
    """Which chains these are, in that order."""
    keys: Int[Tensor, " K"]
    """Ascending numbers that say that order."""
    first: Int[Tensor, " T"]
    """How many of the chains start before each frame."""

    @classmethod
    def of(cls, chains: Chains, rows: Int[Tensor, " K"]) -> ChainPool:
        """Some of the chains."""
        every = chains.frame_count + 1
        keys = chains.start[rows] * every + chains.frame_count - chains.end[rows]
        ordered, order = keys.sort(stable=True)
        first = torch.searchsorted(ordered, torch.arange(chains.frame_count) * every)
        return cls(rows[order], ordered, first)

    def seen_twice(self, frames: Int[Tensor, " F"]) -> Int[Tensor, " T"]:
        """How many of the chains that start in each frame are valid in two or more of some frames.

        The frames are ascending.
        """
        length = len(self.first)
        starts = torch.arange(length)
        # A chain is seen twice if it reaches the drawn frame after its first one; none reaches
        # `length`.
        following = torch.cat((frames[1:], frames.new_full((2,), length)))
        reached = following[torch.searchsorted(frames, starts)]
        last = torch.searchsorted(self.keys, starts * (length + 1) + length - reached)
        return last - self.first

    def pick(self, counts: Int[Tensor, " T"], numbers: Int[Tensor, " M"]) -> Int[Tensor, " M"]:
        """The chains with some numbers among those that `seen_twice` has counted."""
        until = counts.cumsum(0)
        start = torch.searchsorted(until, numbers, right=True)
        before = (until - counts)[start]
        return self.rows[self.first[start] + numbers - before]


@dataclass(frozen=True)
class _Half:
    """One half of a batch: chains of one kind, and the frames that they are drawn in."""

    pool: ChainPool
    frame_numbers: Int[Tensor, " F"]

    @cached_property
    def counts(self) -> Int[Tensor, " T"]:
        """The chains that can be drawn, by the frame in which they start."""
        return self.pool.seen_twice(self.frame_numbers)

    @cached_property
    def total(self) -> int:
        """How many chains can be drawn."""
        return int(self.counts.sum())

    def draw(self, chains: Chains, count: int, rng: torch.Generator) -> Labels:
        """Chains, drawn with replacement, each in two different frames in which it is valid."""
        numbers = torch.randint(self.total, (count,), generator=rng)
        rows = self.pool.pick(self.counts, numbers)
        luck = torch.rand((count, len(self.frame_numbers)), generator=rng)
        valid = chains.seen_in(self.frame_numbers[:, None], rows).T
        luckiest = luck.masked_fill(~valid, -1).topk(2, dim=1).indices
        source, target = self.frame_numbers[luckiest].unbind(1)
        return Labels(source, chains.at(rows, source), target, chains.at(rows, target))


def draw_batch(data: TrainingData, config: TrainingConfig, rng: torch.Generator) -> Batch | None:
    """What a step looks at, on the device of the data; None where no draw found labels."""
    labels = draw_labels(data, config, rng)
    return None if labels is None else batch_of(data, labels)


def batch_of(data: TrainingData, labels: Labels) -> Batch:
    """The whole frames that some labels are in, and what else a step sees of them."""
    numbers = torch.unique(torch.cat((labels.source_frame, labels.target_frame)))
    features = None if data.features is None else data.features.values[numbers]
    return Batch(numbers, data.frames[numbers], features, labels)


def draw_labels(data: TrainingData, config: TrainingConfig, rng: torch.Generator) -> Labels | None:
    """A batch of labels, half of them foreground.

    Each half is drawn in frames of its own, or both in the same with config.shared_frames. A half
    without labels leaves its places to the other. None where no draw of frames found labels.
    """
    length = len(data.frames)
    for _ in range(DRAWS):
        first = draw_frames(length, config, rng)
        second = first if config.shared_frames else draw_frames(length, config, rng)
        labels = draw_labels_in(data, (first, second), config.batch, rng)
        if labels is not None:
            return labels
    return None


def draw_labels_in(
    data: TrainingData,
    frames: tuple[Int[Tensor, " F"], Int[Tensor, " G"]],
    count: int,
    rng: torch.Generator,
) -> Labels | None:
    """So many labels, half of them foreground; None where these frames share none.

    frames: those in which the foreground is drawn, and those of the background, ascending.
    """
    foreground = _Half(data.foreground, frames[0])
    background = _Half(data.background, frames[1])
    half = count // 2
    shares = [
        (foreground, half if background.total else count),
        (background, count - half if foreground.total else count),
    ]
    parts = [one.draw(data.supervision.chains, share, rng) for one, share in shares if one.total]
    return Labels.joined(parts) if parts else None


def draw_frames(length: int, config: TrainingConfig, rng: torch.Generator) -> Int[Tensor, " F"]:
    """config.frames different frames of a video of that length, or all of a shorter one, ascending.

    With config.max_gap they lie at most that far from one of them.
    """
    if not config.max_gap:
        return torch.randperm(length, generator=rng)[: config.frames].sort().values
    centre = int(torch.randint(length, (1,), generator=rng))
    low = max(0, centre - config.max_gap)
    high = min(length - 1, centre + config.max_gap)
    others = torch.tensor([t for t in range(low, high + 1) if t != centre], dtype=torch.long)
    chosen = others[torch.randperm(len(others), generator=rng)[: config.frames - 1]]
    return torch.cat((torch.tensor([centre]), chosen)).sort().values


def draw_frame_pairs(frames: Int[Tensor, " F"], rng: torch.Generator) -> list[Pair]:
    """All ordered pairs of different frames of a step, shuffled."""
    known = frames.tolist()
    pairs = [(i, j) for i in known for j in known if i != j]
    return [pairs[k] for k in torch.randperm(len(pairs), generator=rng).tolist()]


def draw_points(
    mask: Bool[Tensor, "H W"], config: TrainingConfig, rng: torch.Generator
) -> Float[Tensor, "P 2"]:
    """config.contrastive_points pixels of a frame, drawn with replacement.

    A share of config.contrastive_foreground lies in the mask, unless there is nothing in the mask,
    or nothing outside of it, to draw from.
    """
    count = config.contrastive_points
    inside = mask.nonzero()
    outside = (~mask).nonzero()
    wanted = round(count * config.contrastive_foreground)
    shares = [
        (inside, wanted if len(outside) else count),
        (outside, count - wanted if len(inside) else count),
    ]
    parts = [
        pixels[torch.randint(len(pixels), (share,), generator=rng)]
        for pixels, share in shares
        if len(pixels)
    ]
    return torch.cat(parts)[:, [1, 0]].float()


def draw_buddies(
    buddies: Buddies, mask: Bool[Tensor, "H W"], config: TrainingConfig, rng: torch.Generator
) -> Buddies:
    """config.contrastive_points of the best buddies of two frames, or all where they are fewer.

    A share of config.contrastive_foreground starts in the mask of the first frame, as far as there
    are enough in it and outside of it.
    """
    height, width = mask.shape
    x, y = buddies.source.cpu().round().long().unbind(-1)
    inside = mask[y.clamp(0, height - 1), x.clamp(0, width - 1)]
    order = torch.randperm(len(inside), generator=rng)
    front = order[inside[order]]
    rest = order[~inside[order]]
    count = config.contrastive_points
    wanted = round(count * config.contrastive_foreground)
    kept = front[: max(wanted, count - len(rest))]
    kept = torch.cat((kept, rest[: count - len(kept)]))
    return buddies.keep_where(kept.to(buddies.source.device))
