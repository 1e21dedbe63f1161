"""Steps that look at frames through a window, so that each costs less and a fit takes more of them
(docs/method.md 8 "Windows").

All frames of a step are seen through the same window. It lies where some label is, and the step
learns from the labels of which both ends are seen.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dinotrack.config import Config
from dinotrack.delta_dino import delta_grid, least_side
from dinotrack.training.sampling import Batch, Labels, TrainingData, batch_of, draw_labels

LEAST_SIDE = 64
"""Px of a window's side, as less shows too little; smaller frames are seen whole."""


def draw_windowed_batch(data: TrainingData, config: Config, rng: torch.Generator) -> Batch | None:
    """What a step sees through a window with training.window of the frame's sides; None where no
    draw found labels.

    Windows lie on whole cells of the CNN. The data, and with it the batch, lie on the CPU.

    Where the window is as large as the frame, or too small for the labels that were drawn, the step
    sees whole frames.
    """
    training = config.training
    size, cell = window_of(data.size, config)
    windows = data.size[0] * data.size[1] / (size[0] * size[1])
    drawn = draw_labels(data, replace(training, batch=round(training.batch * windows)), rng)
    if drawn is None:
        return None
    corner = draw_corner(drawn, data.size, size, cell, rng)
    seen = seen_through(drawn, corner, size)
    if size == data.size or not len(seen.source):
        return batch_of(data, taken(drawn, training.batch, rng))
    return through(batch_of(data, taken(seen, training.batch, rng)), corner, size)


def through(whole: Batch, corner: Float[Tensor, " 2"], size: tuple[int, int]) -> Batch:
    """A batch of whole frames, seen through a window of (H, W) px that begins at a corner (x, y).

    The labels are those of the window already.
    """
    x, y = (int(side) for side in corner.tolist())
    frames = whole.frames[:, :, y : y + size[0], x : x + size[1]]
    return whole._replace(frames=frames.contiguous(), corner=corner)


def window_of(size: tuple[int, int], config: Config) -> tuple[tuple[int, int], int]:
    """(H, W) px of a step's window in frames of size (H, W), and px of the cells it lies on."""
    cell = int(delta_grid(config.model, *size).stride)
    least = max(LEAST_SIDE, least_side(config.model))
    return window_size(size, config.training.window, cell, least), cell


def window_size(size: tuple[int, int], share: float, cell: int, least: int) -> tuple[int, int]:
    """(H, W) px of a window with that share of both sides of a frame of size (H, W).

    It is made of whole cells, of `least` px a side or more, and no larger than the frame.
    """
    height, width = (min(max(cell * round(share * side / cell), least), side) for side in size)
    return height, width


def draw_corner(
    labels: Labels,
    size: tuple[int, int],
    window: tuple[int, int],
    cell: int,
    rng: torch.Generator,
) -> Float[Tensor, " 2"]:
    """(x, y) px of the first pixel of a window around one of some labels, drawn at random.

    The label's ends lie evenly around the window's middle, unless the frame ends before. size,
    window: (H, W) of both.
    """
    drawn = int(torch.randint(len(labels.source), (1,), generator=rng))
    middle = (labels.source[drawn] + labels.target[drawn]) / 2
    half = torch.tensor((window[1] / 2, window[0] / 2))
    room = torch.tensor((float(size[1] - window[1]), float(size[0] - window[0])))
    corner = torch.minimum((middle - half).clamp(min=0), room)
    return (corner / cell).floor() * cell


def seen_through(labels: Labels, corner: Float[Tensor, " 2"], window: tuple[int, int]) -> Labels:
    """The labels of which both ends are seen through a window of (H, W) px, in px of the window."""
    moved = labels._replace(source=labels.source - corner, target=labels.target - corner)
    last = torch.tensor((window[1] - 1.0, window[0] - 1.0))
    ends = torch.stack((moved.source, moved.target))
    inside = ((ends >= 0) & (ends <= last)).all(dim=-1).all(dim=0)
    return moved.at(inside.nonzero()[:, 0])


def taken(labels: Labels, count: int, rng: torch.Generator) -> Labels:
    """`count` of some labels, drawn at random; where these are fewer, all of them in turn."""
    order = torch.randperm(len(labels.source), generator=rng)
    return labels.at(order[torch.arange(count) % len(order)])
