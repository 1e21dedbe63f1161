"""The terms of the pretraining and what is watched meanwhile: tensors in, scalar out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.geometry import Grid


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """Teacher's scores [N, K] -> targets [N, K], by Sinkhorn-Knopp (Caron et al. 2020, as DINOv2,
    Oquab et al. 2023).

    Every row sums to 1, and every prototype gets about the same share of the batch, so that no one
    can take all.
    """
    log = scores.float() / temperature
    for _ in range(rounds):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


def cross_entropy(target: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Mean over rows of H(target, softmax(scores / temperature)); both [N, K]. 0 where there is no
    row."""
    log = F.log_softmax(scores.float() / temperature, -1)
    return -(target * log).sum(-1).sum() / max(len(target), 1)


def dino_loss(targets: Tensor, views: Tensor, crops: Tensor, temperature: float) -> Tensor:
    """DINO (Caron et al. 2021): the student predicts, from every other view, what the teacher says
    of a view.

    targets: [2 B, K], of both views. views: student's scores [2 B, K]. crops: [L B, K]. Mean over
    all pairs of views.
    """
    count = len(targets) // 2
    swapped = targets.roll(count, 0)
    total, pairs = 2 * cross_entropy(swapped, views, temperature), 2
    for crop in crops.split(count):
        for target in targets.split(count):
            total, pairs = total + cross_entropy(target, crop, temperature), pairs + 1
    return total / pairs


def dense_scores(points: Tensor, maps: Tensor, grid: Grid, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of points [B, N, C] with their places xy [B, N, 2] px in maps [B, C, h, w], and with
    all cells there are.

    Returns positive [B, N] and all [B, N, B h w]. Cells less than one cell away from the place have
    -inf in the own
    picture: they share content with it and are no negatives.
    """
    points, cells = F.normalize(points, dim=-1), F.normalize(maps.flatten(2), dim=1)
    place = F.normalize(grid.sample(maps, xy), dim=-1)
    everything = torch.einsum("bnc,dcm->bndm", points, cells)
    centre = grid.to_index(grid.centres(xy.device))
    near = ((grid.to_index(xy)[:, :, None] - centre).abs() < 1).all(-1)  # [B, N, h w]
    own = torch.eye(len(maps), dtype=torch.bool, device=maps.device)[:, None, :, None]
    everything = everything.masked_fill(near[:, :, None] & own, -torch.inf)
    return (points * place).sum(-1), everything.flatten(2)


def dense_loss(
    points: Tensor, maps: Tensor, grid: Grid, xy: Tensor, valid: Tensor, temperature: float
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over known correspondences: a point's token must find its
    place.

    points: tokens [B, N, C] of one view. maps: [B, C, h, w] of the other, where they lie at xy [B,
    N, 2] px.
    valid: bool [B, N]. Negatives: all other cells of the other view, and all cells of the other
    pictures.
    """
    positive, everything = dense_scores(points, maps, grid, xy)
    scores = torch.cat((positive[..., None], everything), -1).float() / temperature
    losses = scores.logsumexp(-1) - scores[..., 0]
    return (losses * valid).sum() / valid.sum().clamp(min=1)


@torch.no_grad()
def found_share(points: Tensor, maps: Tensor, grid: Grid, xy: Tensor, valid: Tensor) -> Tensor:
    """Share of the valid points whose most similar cell of their own picture lies less than a cell
    from the truth."""
    scores = torch.einsum(
        "bnc,bcm->bnm", F.normalize(points, dim=-1), F.normalize(maps.flatten(2), dim=1)
    )
    best = grid.centres(xy.device)[scores.argmax(-1)]
    hit = ((best - xy).abs() < grid.stride).all(-1) & valid
    return hit.sum() / valid.sum().clamp(min=1)


@torch.no_grad()
def teacher_entropy(targets: Tensor) -> Tensor:
    """Mean entropy of the teacher's targets [N, K], nats.

    DINO's first sign of collapse: at log K it says nothing.
    """
    return -(targets * targets.clamp(min=1e-12).log()).sum(-1).mean()


@torch.no_grad()
def collapse_kl(targets: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Mean KL(teacher || student), nats.

    DINO's second sign of collapse: 0 where both say the same always.
    """
    return cross_entropy(targets, scores, temperature) - teacher_entropy(targets)


@torch.no_grad()
def feature_std(tokens: Tensor) -> Tensor:
    """Spread of tokens [N, C] on the unit sphere, times sqrt(C): 0 collapsed, about 1 in all
    directions alike."""
    unit = F.normalize(tokens.float(), dim=-1)
    spread: Tensor = unit.std(0).mean() * unit.shape[-1] ** 0.5
    return spread


@torch.no_grad()
def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance on the unit sphere of positives, [N, C] each (Wang and Isola 2020).

    Lower is better.
    """
    return (
        (F.normalize(first.float(), dim=-1) - F.normalize(second.float(), dim=-1))
        .square()
        .sum(-1)
        .mean()
    )


@torch.no_grad()
def uniformity(tokens: Tensor, t: float = 2.0) -> Tensor:
    """log E exp(-t |u - v|^2) over pairs of tokens [N, C] on the unit sphere (Wang and Isola 2020).
    Lower is better."""
    unit = F.normalize(tokens.float(), dim=-1)
    return (-t * torch.pdist(unit).square()).exp().mean().log()
