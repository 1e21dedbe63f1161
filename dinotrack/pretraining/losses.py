"""The terms of the pretraining, and what is watched meanwhile: tensors in, scalar out."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.maps import FeatureMaps

Scalar = Float[Tensor, ""]
Scores = Float[Tensor, "N K"]
"""Of N tokens for K prototypes."""
Tokens = Float[Tensor, "N C"]


@torch.no_grad()
def sinkhorn(scores: Scores, temperature: float, rounds: int = 3) -> Scores:
    """The teacher's scores -> targets, by Sinkhorn-Knopp (Caron et al. 2020; as in DINOv2, Oquab et
    al. 2023).

    Every row sums to 1, and every prototype gets about the same share of the batch, so that no one
    can take all.
    """
    log = scores.float() / temperature
    for _ in range(rounds):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


def cross_entropy(target: Scores, scores: Scores, temperature: float) -> Scalar:
    """Mean over rows of H(target, softmax(scores / temperature)); 0 where there is no row."""
    log = F.log_softmax(scores.float() / temperature, -1)
    return -(target * log).sum(-1).sum() / max(len(target), 1)


def dino_loss(
    targets: Scores, views: Scores, crops: Float[Tensor, "L K"], temperature: float
) -> Scalar:
    """DINO (Caron et al. 2021): from every other view the student predicts what the teacher says of
    a view.

    targets: the teacher's, of all first views, then all second ones. views: the student's scores of
    the same. crops: the student's scores of small crops, some for each picture. The loss is the
    mean over all pairs of views.
    """
    count = len(targets) // 2
    swapped = targets.roll(count, 0)
    total = 2 * cross_entropy(swapped, views, temperature)
    pairs = 2
    for crop in crops.split(count):
        for target in targets.split(count):
            total = total + cross_entropy(target, crop, temperature)
            pairs += 1
    return total / pairs


def dense_scores(
    points: Float[Tensor, "B N C"], maps: FeatureMaps, xy: Float[Tensor, "B N 2"]
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N cells"]]:
    """Cosines of points with their places xy (px) in the maps of B pictures, and with all B h w
    cells there are.

    In a point's own picture the cells less than one cell away from its place have -inf: they share
    content with the place and are no negatives.
    """
    grid = maps.grid
    points = F.normalize(points, dim=-1)
    cells = F.normalize(maps.values.flatten(2), dim=1)
    place = F.normalize(grid.sample(maps.values, xy), dim=-1)
    everything = torch.einsum("bnc,dcm->bndm", points, cells)
    centre = grid.to_index(grid.centres(xy.device))
    near = ((grid.to_index(xy)[:, :, None] - centre).abs() < 1).all(-1)  # [B, N, h w]
    own = torch.eye(len(maps), dtype=torch.bool, device=maps.device)[:, None, :, None]
    everything = everything.masked_fill(near[:, :, None] & own, -torch.inf)
    return (points * place).sum(-1), everything.flatten(2)


def dense_loss(
    points: Float[Tensor, "B N C"],
    maps: FeatureMaps,
    xy: Float[Tensor, "B N 2"],
    valid: Bool[Tensor, "B N"],
    temperature: float,
) -> Scalar:
    """InfoNCE (van den Oord et al. 2018) over known correspondences: a point's token must find its
    place.

    points: tokens of one view. maps: those of the other view, where the points lie at xy (px).
    Negatives are all other cells of the other view, and all cells of the other pictures.
    """
    positive, everything = dense_scores(points, maps, xy)
    scores = torch.cat((positive[..., None], everything), -1).float() / temperature
    losses = scores.logsumexp(-1) - scores[..., 0]
    return (losses * valid).sum() / valid.sum().clamp(min=1)


@torch.no_grad()
def found_share(
    points: Float[Tensor, "B N C"],
    maps: FeatureMaps,
    xy: Float[Tensor, "B N 2"],
    valid: Bool[Tensor, "B N"],
) -> Scalar:
    """Share of the valid points that find themselves in the other view.

    The most similar cell of their own picture then lies less than a cell from the truth, xy px.
    """
    cells = F.normalize(maps.values.flatten(2), dim=1)
    scores = torch.einsum("bnc,bcm->bnm", F.normalize(points, dim=-1), cells)
    best = maps.grid.centres(xy.device)[scores.argmax(-1)]
    hit = ((best - xy).abs() < maps.grid.stride).all(-1) & valid
    return hit.sum() / valid.sum().clamp(min=1)


@torch.no_grad()
def teacher_entropy(targets: Scores) -> Scalar:
    """Mean entropy of the teacher's targets, nats.

    DINO's first sign of collapse: at log K the teacher says nothing.
    """
    return -(targets * targets.clamp(min=1e-12).log()).sum(-1).mean()


@torch.no_grad()
def collapse_kl(targets: Scores, scores: Scores, temperature: float) -> Scalar:
    """Mean KL(teacher || student), nats.

    DINO's second sign of collapse: 0 where both say the same always.
    """
    return cross_entropy(targets, scores, temperature) - teacher_entropy(targets)


@torch.no_grad()
def feature_std(tokens: Tokens) -> Scalar:
    """Spread of tokens on the unit sphere, times sqrt(C): 0 where they collapsed, about 1 where all
    directions are alike."""
    unit = F.normalize(tokens.float(), dim=-1)
    spread: Scalar = unit.std(0).mean() * unit.shape[-1] ** 0.5
    return spread


@torch.no_grad()
def alignment(first: Tokens, second: Tokens) -> Scalar:
    """Mean squared distance of positives on the unit sphere (Wang and Isola 2020); lower is
    better."""
    apart = F.normalize(first.float(), dim=-1) - F.normalize(second.float(), dim=-1)
    return apart.square().sum(-1).mean()


@torch.no_grad()
def uniformity(tokens: Tokens, t: float = 2.0) -> Scalar:
    """log E exp(-t |u - v|^2) over pairs of tokens on the unit sphere (Wang and Isola 2020); lower
    is better."""
    unit = F.normalize(tokens.float(), dim=-1)
    return (-t * torch.pdist(unit).square()).exp().mean().log()
