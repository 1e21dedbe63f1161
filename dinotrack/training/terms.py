"""The terms of the loss: which losses a step adds up, with which weights, and since when.

A term is a function of what a step sees. It takes from there what a pure function of `losses` asks
for. To add a loss of your own: write the function there, give its weight a name in
config.TrainingConfig, and add an entry to TERMS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack import losses
from dinotrack.buddies import Buddies, ambiguity_weight, best_buddies, cosine_weight
from dinotrack.config import TrainingConfig
from dinotrack.geometry import to_unit
from dinotrack.losses import Scalar
from dinotrack.training.sampling import draw_buddies, draw_points
from dinotrack.training.view import StepView


def flow(step: StepView) -> Scalar:
    """How far from the flow chains the tracker locates their points."""
    size = step.refined.size
    predicted = to_unit(step.tracker.locate_by(step.correlation), size)
    target = to_unit(step.labels.target, size)
    return losses.flow_loss(predicted, target, step.config.training.huber_delta)


def heatmap(step: StepView) -> Scalar:
    """The cross-entropy between all correlations of a point and where its flow chain goes."""
    temperature = step.config.training.heatmap_temperature
    return losses.heatmap_loss(step.correlation.log_softmax_at(step.labels.target, temperature))


def buddies(step: StepView) -> Scalar:
    """The contrastive loss of the best buddies that the frozen features have found in the video.

    They weigh by how unambiguous and how similar they are to the frozen features.
    """
    training = step.config.training
    pairs = step.frame_pairs
    if step.config.buddies.near:  # buddies are known of sampled pairs only: take those
        pairs = [pair for pair in pairs if pair in step.buddies]
    parts = [_nothing(step)]
    for pair in pairs[: training.contrastive_pairs]:
        if pair not in step.buddies:
            continue
        drawn = draw_buddies(step.buddies[pair], step.masks[pair[0]], training, step.rng)
        unambiguous = ambiguity_weight(drawn.ambiguity, step.config.buddies)
        weight = unambiguous * cosine_weight(drawn.cosine)
        parts.append(_contrast(step, drawn, weight) / training.buddy_scale)
    return torch.stack(parts).sum()


def refined_buddies(step: StepView) -> Scalar:
    """The same for best buddies of the refined features, which are found anew in each step.

    They weigh by their similarity alone.
    """
    training = step.config.training
    refined = step.refined
    parts = [_nothing(step)]
    for pair in step.frame_pairs[: training.contrastive_pairs]:
        rows = refined.row[pair[0]], refined.row[pair[1]]
        with torch.no_grad():
            found = best_buddies(refined.maps, rows, pair)
        if len(found.source):
            drawn = draw_buddies(found, step.masks[pair[0]], training, step.rng)
            loss = _contrast(step, drawn, cosine_weight(drawn.cosine))
            parts.append(loss / training.refined_buddy_scale)
    return torch.stack(parts).sum()


def cycle(step: StepView) -> Scalar:
    """How far points move that return close to where they started, after there and back.

    Where the tracker finds such a point becomes the label of the way there, and where the point
    started becomes the label of the way back.
    """
    training = step.config.training
    refined = step.refined
    pairs = step.frame_pairs[: training.contrastive_pairs]
    if not pairs:
        return _nothing(step)
    device = refined.maps.device
    points = [draw_points(step.masks[i], training, step.rng) for i, _ in pairs]
    origin = torch.cat(points).to(device)
    counts = torch.tensor([len(some) for some in points])
    source, target = torch.tensor(pairs).T.repeat_interleave(counts, dim=1).to(device)

    def ask(
        frame: Int[Tensor, " N"], xy: Float[Tensor, "N 2"], other: Int[Tensor, " N"]
    ) -> Float[Tensor, "N 2"]:
        vectors = refined.at(frame, xy)
        return step.tracker.locate(vectors, refined.maps, refined.rows(other))

    there = ask(source, origin, target)
    back = ask(target, there.detach(), source)
    distance = (back.detach() - origin).norm(dim=-1)
    kept = distance < training.cycle_error
    to = to_unit(there[kept], refined.size)
    home = to_unit(back[kept], refined.size)
    start = to_unit(origin[kept], refined.size)
    weight = training.cycle_gamma ** distance[kept]
    return losses.cycle_loss(to, to.detach(), home, start, weight, training.huber_delta)


def norm(step: StepView) -> Scalar:
    """How far refinement changes the lengths of the ViT's features."""
    assert step.frozen is not None
    return losses.norm_regularizer(step.refined.maps.values, step.frozen.values)


def angle(step: StepView) -> Scalar:
    """How far refinement turns the ViT's features."""
    assert step.frozen is not None
    return losses.angle_regularizer(step.refined.maps.values, step.frozen.values)


def _nothing(step: StepView) -> Scalar:
    """A zero that can be differentiated."""
    return step.refined.maps.values.sum() * 0


def _contrast(step: StepView, drawn: Buddies, weight: Float[Tensor, " K"]) -> Scalar:
    """The contrastive loss of best buddies of one pair of frames."""
    refined = step.refined
    device = refined.maps.device
    grid = refined.maps.grid
    source_map = refined.maps.values[refined.row[drawn.frame_pair[0]]]
    target_map = refined.maps.values[refined.row[drawn.frame_pair[1]]]
    source = grid.sample(source_map[None], drawn.source.to(device)[None])[0]
    target = grid.sample(target_map[None], drawn.target.to(device)[None])[0]
    source_cells = source_map.flatten(1).T
    target_cells = target_map.flatten(1).T
    temperature = step.config.training.contrastive_temperature
    return losses.buddy_loss(
        source, target, source_cells, target_cells, weight.to(device), temperature
    )


def _always(step: StepView) -> bool:
    return True


def _knows_buddies(step: StepView) -> bool:
    return bool(step.buddies)


def _is_bound(step: StepView) -> bool:
    return step.frozen is not None


@dataclass(frozen=True)
class Term:
    """One term of the loss."""

    loss: Callable[[StepView], Scalar]
    weight: str
    """The field of TrainingConfig that the loss is multiplied by; 0 leaves the term out."""
    late: bool = False
    """Whether the term starts only after the share config.training.late of the steps."""
    recordable: bool = False
    """Whether a CUDA graph can hold the term: it draws no random numbers, copies nothing from the
    host, and its sizes depend on no value, so that nobody waits for the device."""
    windowed: bool = False
    """Whether the term looks at nothing but labels, so that a window of the frames is enough."""
    applies: Callable[[StepView], bool] = _always
    """Whether there is anything in a step for the term to look at."""


TERMS: dict[str, Term] = {
    "flow": Term(flow, "flow_weight", recordable=True, windowed=True),
    "heatmap": Term(heatmap, "heatmap_weight", recordable=True, windowed=True),
    "buddies": Term(buddies, "buddy_weight", applies=_knows_buddies),
    "refined_buddies": Term(refined_buddies, "refined_buddy_weight", late=True),
    "cycle": Term(cycle, "cycle_weight", late=True),
    "norm": Term(norm, "norm_weight", recordable=True, applies=_is_bound),
    "angle": Term(angle, "angle_weight", recordable=True, applies=_is_bound),
}
"""All terms, by the names that losses are reported under, in the order in which they are added and
draw random numbers."""


def due(config: TrainingConfig, step: int) -> tuple[str, ...]:
    """The terms that count at a step."""
    late = step >= config.late * config.steps
    return tuple(
        name
        for name, term in TERMS.items()
        if getattr(config, term.weight) and (late or not term.late)
    )


def weighted_losses(step: StepView, names: Iterable[str]) -> dict[str, Scalar]:
    """The weighted losses of a step, by name; those that find nothing to look at are left out."""
    found: dict[str, Scalar] = {}
    for name in names:
        term = TERMS[name]
        if term.applies(step):
            found[name] = getattr(step.config.training, term.weight) * term.loss(step)
    return found
