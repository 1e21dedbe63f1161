"""The six losses of the method and one of our own: tensors in, scalar out, one pure function a term
(METHOD 5).

Weights of the terms are the caller's. A term without any point is a zero that still backpropagates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.correlation import info_nce
from dinotrack.geometry import Grid


def huber(predicted: Tensor, target: Tensor, delta: float) -> Tensor:
    """Huber distance per coordinate: d^2 / 2 up to delta, then delta (|d| - delta / 2) (METHOD 5).

    predicted, target [N, 2], in the [-1, 1] scale of `geometry.to_unit` -> [N, 2].
    """
    return F.huber_loss(predicted, target, reduction="none", delta=delta)


def flow_loss(predicted: Tensor, target: Tensor, delta: float) -> Tensor:
    """Mean Huber distance between predicted positions and those of the flow chains (METHOD 5
    "flow").

    predicted, target [N, 2], in the [-1, 1] scale -> scalar.
    """
    return huber(predicted, target, delta).sum() / max(predicted.numel(), 1)


def heatmap_loss(log_map: Tensor, xy: Tensor, grid: Grid) -> Tensor:
    """Cross-entropy of correspondence maps against target positions; ours, not the paper's (METHOD,
    the CPU sketch).

    A position is shared bilinearly among the four cells around it: its loss is the bilinear sample
    of -log_map there. log_map [N, h, w] natural logarithms, xy [N, 2] px, clamped to the outer
    cells -> scalar, the mean over points.
    """
    return -grid.sample(log_map[:, None], xy[:, None]).sum() / max(len(xy), 1)


def buddy_loss(
    source: Tensor,
    target: Tensor,
    source_cells: Tensor,
    target_cells: Tensor,
    weight: Tensor,
    temperature: float,
    scale: float,
) -> Tensor:
    """Contrastive loss of one frame pair's best buddies, or refined best buddies (METHOD 5
    "best-buddy contrastive").

    InfoNCE from each point over all cells of the other frame, in both directions; half their
    weighted sum, by scale.
    The loss of a step is the sum of this over its frame pairs.
    source, target [N, C] refined features at the buddies, source_cells [P, C], target_cells [Q, C]
    at all cells of their frames, weight [N] -> scalar.
    """
    there = info_nce(source, target, target_cells, temperature)
    back = info_nce(target, source, source_cells, temperature)
    return (weight * (there + back)).sum() / (2 * scale)


def cycle_loss(
    there: Tensor,
    there_label: Tensor,
    back: Tensor,
    back_label: Tensor,
    distance: Tensor,
    gamma: float,
    delta: float,
) -> Tensor:
    """Huber distance to positions that proved cycle-consistent (METHOD 5 "cycle consistency").

    there, back [N, 2]: predictions in the other frame and back in their own, in the [-1, 1] scale;
    labels likewise. distance [N] px between a start and its return: a point weighs gamma^distance,
    whatever the others weigh.
    Mean over points, coordinates and both directions -> scalar.
    """
    errors = huber(there, there_label, delta) + huber(back, back_label, delta)
    return (gamma ** distance[:, None] * errors).sum() / max(2 * errors.numel(), 1)


def norm_regularizer(refined: Tensor, raw: Tensor) -> Tensor:
    """How far refinement changes the features' norms: mean of |norm ratio - 1| (METHOD 5 "norm").

    refined, raw [B, C, h, w] -> scalar.
    """
    ratio: Tensor = torch.linalg.vector_norm(refined, dim=1) / torch.linalg.vector_norm(
        raw, dim=1
    ).clamp(min=1e-8)
    return (ratio - 1).abs().sum() / max(ratio.numel(), 1)


def angle_regularizer(refined: Tensor, raw: Tensor) -> Tensor:
    """How far refinement turns the features: mean of |cosine - 1| (METHOD 5 "angle").

    refined, raw [B, C, h, w] -> scalar.
    """
    cosine = F.cosine_similarity(refined, raw, dim=1)
    return (cosine - 1).abs().sum() / max(cosine.numel(), 1)
