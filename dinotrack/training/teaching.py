"""Steps that learn from points which a hand corrected (docs/method.md 8 "Teaching").

A step takes a taught point, two of the frames in which its place is known, and further frames as
any step does. It learns from all pairs of places that the lesson knows in these frames, and from
the labels of flow there, so that what was learnt before is not forgotten.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Int
from torch import Tensor

from dinotrack.config import Config
from dinotrack.training.lessons import Lesson
from dinotrack.training.sampling import Batch, Labels, TrainingData, batch_of, draw_labels_in
from dinotrack.training.windows import draw_corner, seen_through, taken, through, window_of

REPEATS = 8
"""How often one label of a lesson is seen in a step, at most. A lesson may know few places in the
frames of a step, and more of the same would drown the labels of flow."""


def draw_taught_batch(
    data: TrainingData, lesson: Lesson, config: Config, rng: torch.Generator, *, windowed: bool
) -> Batch:
    """What a step of teaching looks at, on the device of the data: the CPU.

    windowed: whether frames are seen through a window, around the taught point of the step.
    """
    pair = draw_pair(lesson, rng)
    frames = _frames_of(pair, len(data.frames), config.training.frames, rng)
    taught = labels_in(lesson, frames)
    size, cell = window_of(data.size, config)
    area = data.size[0] * data.size[1] / (size[0] * size[1]) if windowed else 1.0
    followed = draw_labels_in(data, (frames, frames), round(config.training.batch * area), rng)
    if windowed and size != data.size:
        corner = draw_corner(pair, data.size, size, cell, rng)
        seen = seen_through(taught, corner, size)
        if len(seen.source):
            nearby = None if followed is None else seen_through(followed, corner, size)
            return through(batch_of(data, _mixed(seen, nearby, config, rng)), corner, size)
    return batch_of(data, _mixed(taught, followed, config, rng))


def draw_pair(lesson: Lesson, rng: torch.Generator) -> Labels:
    """One label: a taught point in two frames, each drawn by its weight."""
    point = torch.randint(len(lesson.xy), (1,), generator=rng)
    frames = torch.multinomial(lesson.weight[point[0]], 2, generator=rng)
    source, target = lesson.xy[point[0], frames]
    return Labels(frames[:1], source[None], frames[1:], target[None])


def labels_in(lesson: Lesson, frames: Int[Tensor, " F"]) -> Labels:
    """All pairs of places of a point that a lesson knows in some frames, in both directions."""
    parts = []
    for source, target in itertools.permutations(frames.tolist(), 2):
        both = (lesson.known[:, source] & lesson.known[:, target]).nonzero()[:, 0]
        ends = (torch.full_like(both, source), torch.full_like(both, target))
        parts.append(Labels(ends[0], lesson.xy[both, source], ends[1], lesson.xy[both, target]))
    return Labels.joined(parts)


def _frames_of(pair: Labels, length: int, count: int, rng: torch.Generator) -> Int[Tensor, " F"]:
    """The two frames of a label and others of the video, ascending; `count` or fewer."""
    others = torch.randperm(length, generator=rng)[: max(count - 2, 0)]
    every: Int[Tensor, " F"] = torch.cat((pair.source_frame, pair.target_frame, others)).unique()
    return every


def _mixed(taught: Labels, followed: Labels | None, config: Config, rng: torch.Generator) -> Labels:
    """As many labels as a step has, config.teaching.share of them taught, the others of flow."""
    batch = config.training.batch
    if followed is None or not len(followed.source):
        return taken(taught, batch, rng)
    count = min(round(config.teaching.share * batch), REPEATS * len(taught.source))
    ours = taken(taught, count, rng)
    return Labels.joined((ours, taken(followed, batch - count, rng)))
