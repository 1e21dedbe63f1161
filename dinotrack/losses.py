"""The losses: each is one pure function from tensors to a number (docs/method.md 5).

Six losses are the paper's, and the cross-entropy is ours. How much each weighs in a step is not
decided here but by `training.terms`, with the weights of the config. A loss of no points is a zero
that can still be differentiated.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dinotrack.correlation import info_nce

Scalar = Float[Tensor, ""]

LEAST_FEATURE_NORM = 1e-8
"""Norms of the ViT's features below this count as this, so that no ratio divides by zero."""


def huber(
    predicted: Float[Tensor, "N 2"], target: Float[Tensor, "N 2"], delta: float
) -> Float[Tensor, "N 2"]:
    """Huber distance of each coordinate: d^2 / 2 up to delta, then delta (|d| - delta / 2).

    Positions are in the [-1, 1] scale of `geometry.to_unit`, here and in all losses below.
    """
    return F.huber_loss(predicted, target, reduction="none", delta=delta)


def flow_loss(
    predicted: Float[Tensor, "N 2"], target: Float[Tensor, "N 2"], delta: float
) -> Scalar:
    """Mean Huber distance between predicted positions and those of the flow chains ("flow")."""
    return huber(predicted, target, delta).sum() / max(predicted.numel(), 1)


def heatmap_loss(log_probability: Float[Tensor, " N"]) -> Scalar:
    """Cross-entropy of correspondence maps: the mean of -log of what they hold at the targets.

    It is ours, not the paper's (docs/method.md 8). The Huber distance looks only around the best
    match and so learns nothing from a match that is far off; the cross-entropy does.
    """
    return -log_probability.sum() / max(len(log_probability), 1)


def buddy_loss(
    source: Float[Tensor, "N C"],
    target: Float[Tensor, "N C"],
    source_cells: Float[Tensor, "P C"],
    target_cells: Float[Tensor, "Q C"],
    weight: Float[Tensor, " N"],
    temperature: float,
) -> Scalar:
    """Contrastive loss of the best buddies of a pair of frames ("best-buddy contrastive").

    InfoNCE compares each buddy with all cells of the other frame, in both directions. The loss is
    half the weighted sum of both, and the loss of a step is its sum over pairs of frames.

    source, target: refined features at the two ends of each buddy.
    source_cells, target_cells: refined features at all cells of the two frames.
    """
    there = info_nce(source, target, target_cells, temperature)
    back = info_nce(target, source, source_cells, temperature)
    return (weight * (there + back)).sum() / 2


def cycle_loss(
    there: Float[Tensor, "N 2"],
    there_label: Float[Tensor, "N 2"],
    back: Float[Tensor, "N 2"],
    back_label: Float[Tensor, "N 2"],
    weight: Float[Tensor, " N"],
    delta: float,
) -> Scalar:
    """Huber distance to positions that proved cycle-consistent ("cycle consistency").

    there, back: predictions in the other frame, and from there back in the first one; the labels
    likewise. The loss is the mean over points, coordinates and both directions, where each point
    counts with its weight, whatever the others weigh.
    """
    errors = huber(there, there_label, delta) + huber(back, back_label, delta)
    return (weight[:, None] * errors).sum() / max(2 * errors.numel(), 1)


def norm_regularizer(refined: Float[Tensor, "B C h w"], raw: Float[Tensor, "B C h w"]) -> Scalar:
    """How far refinement changes the norms of features: mean of |ratio of norms - 1| ("norm")."""
    norm: Float[Tensor, "B h w"] = torch.linalg.vector_norm(refined, dim=1)
    raw_norm: Float[Tensor, "B h w"] = torch.linalg.vector_norm(raw, dim=1)
    ratio = norm / raw_norm.clamp(min=LEAST_FEATURE_NORM)
    return (ratio - 1).abs().sum() / max(ratio.numel(), 1)


def angle_regularizer(refined: Float[Tensor, "B C h w"], raw: Float[Tensor, "B C h w"]) -> Scalar:
    """How far refinement turns features: mean of |cosine - 1| ("angle")."""
    cosine = F.cosine_similarity(refined, raw, dim=1)
    return (cosine - 1).abs().sum() / max(cosine.numel(), 1)
