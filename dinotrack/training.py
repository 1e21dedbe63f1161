"""Fit one video: draw labels, predict, compare, step (METHOD 5; paper section 3.3)."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dinotrack import losses
from dinotrack.buddies import Buddies, ambiguity_weight, best_buddies, cosine_weight
from dinotrack.config import Config, TrainingConfig
from dinotrack.correlation import correlation_maps, log_sum_exp, normalise, on_triton
from dinotrack.errors import InputError
from dinotrack.geometry import Grid, to_unit
from dinotrack.graphs import Recorded
from dinotrack.model import Tracker, memory_format
from dinotrack.muon import Muon
from dinotrack.trajectories import Chains, Lots

DRAWS = 20  # tries to find frames that share labels before a step goes without them
WARM_UP = 0.1  # share of the steps in which the cosine schedule rises


@dataclass(frozen=True)
class Material:
    """What one video gives to learn from. T frames of (H, W) working px."""

    frames: Tensor
    """uint8 [T, 3, H, W]."""
    features: Tensor | None
    """[T, C, ., .], frozen, on `feature_grid`; both None without a ViT."""
    feature_grid: Grid | None
    grid: Grid
    """Of the refined features."""
    chains: Chains
    """Flow chains, the pseudo-labels."""
    chain_foreground: Tensor
    """bool [N], one a chain."""
    masks: Tensor
    """bool [T, H, W], the foreground."""
    buddies: dict[tuple[int, int], Buddies]
    """Best buddies of ordered frame pairs."""

    @cached_property
    def lots(self) -> tuple[Lots, Lots]:
        """The chains of the foreground, and the others, to draw from."""
        kinds = self.chain_foreground, ~self.chain_foreground
        return Lots.of(self.chains, kinds[0].nonzero()[:, 0]), Lots.of(
            self.chains, kinds[1].nonzero()[:, 0]
        )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the working frames."""
        return int(self.frames.shape[-2]), int(self.frames.shape[-1])


@dataclass
class State:
    """All that a fit changes; saved and continued as a whole. The one mutable thing of a fit."""

    tracker: Tracker
    optimizer: torch.optim.Optimizer
    step: int = 0
    terms: dict[str, list[Tensor]] = field(default_factory=dict)
    """The weighted terms of the loss at each step that had them: scalars, left where they were
    computed."""

    @property
    def losses(self) -> dict[str, list[float]]:
        """The terms as numbers; on a GPU this waits for the last step."""
        return {name: torch.stack(values).tolist() for name, values in self.terms.items()}


def start(tracker: Tracker, config: TrainingConfig) -> State:
    """A state before the first step. Raises InputError for an unknown optimizer."""
    cnn: dict[str, Any] = {"params": tracker.delta_dino.parameters()}
    groups = [cnn, {"params": tracker.refiner.parameters()}]
    options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "muon":
        cnn["matrix_rate"] = config.matrix_rate
        on_cuda = next(tracker.parameters()).device.type == "cuda"
        return State(tracker, Muon(groups, **options, recorded=config.recorded and on_cuda))
    optimizers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if config.optimizer not in optimizers:
        known = ", ".join((*optimizers, "muon"))
        raise InputError(f"training.optimizer={config.optimizer} is unknown; choose one of {known}")
    return State(tracker, optimizers[config.optimizer](groups, **options))


def fit(
    material: Material, config: Config, seed: int, state: State, on_step: Callable[[State], None]
) -> None:
    """Train `state` in place until config.training.steps, calling on_step after each step.

    Every step draws from its own random numbers, so a fit continued from any step is the fit that
    never stopped.
    Without a single chain there is nothing to learn, and the state stays as it is.
    """
    training = config.training
    tracker, device = state.tracker, next(state.tracker.parameters()).device
    if not bool((material.chains.length > 1).any()):
        return
    tracker.train()
    alike = _records(config, next(tracker.parameters()))
    recorded = Recorded(partial(_flow_slopes, tracker, material, config)) if alike else None
    while state.step < training.steps:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + state.step)
        if recorded is None:
            descend(
                state, step_losses(tracker, material, config, state.step, rng, device), training
            )
        else:
            batch = draw_batch(material, training, rng)
            terms, slopes = ({}, []) if batch is None else recorded(*batch.to(device))
            take_step(
                state, {name: value.clone() for name, value in terms.items()}, slopes, training
            )
        on_step(state)


def _records(config: Config, there: Tensor) -> bool:
    """Whether steps are alike, so that they can be recorded: those of labels alone, by kernels that
    make no maps."""
    training = config.training
    others = [
        f.name
        for f in fields(training)
        if f.name.endswith("_weight") and f.name not in ("flow_weight", "heatmap_weight")
    ]
    possible = (
        training.recorded
        and there.device.type == "cuda"
        and on_triton(there)
        and not config.model.whole_map
    )
    return possible and not any(getattr(training, name) for name in others)


def descend(state: State, terms: Mapping[str, Tensor], config: TrainingConfig) -> None:
    """One step, in place, down the sum of the terms; without any, it only counts."""
    take_step(state, terms, slopes_of(state.tracker, terms), config)


def slopes_of(tracker: Tracker, terms: Mapping[str, Tensor]) -> list[Tensor | None]:
    """Gradients of the sum of the terms, one a parameter; None where it has none."""
    if not terms:
        return []
    total = torch.stack(list(terms.values())).sum()
    return list(torch.autograd.grad(total, list(tracker.parameters()), allow_unused=True))


def take_step(
    state: State,
    terms: Mapping[str, Tensor],
    slopes: Sequence[Tensor | None],
    config: TrainingConfig,
) -> None:
    """One step, in place, along the gradients of the parameters; without any, it only counts."""
    for group, rate in zip(
        state.optimizer.param_groups, learning_rates(config, state.step), strict=True
    ):
        group["lr"] = rate
    if slopes:
        for parameter, slope in zip(state.tracker.parameters(), slopes, strict=True):
            parameter.grad = slope
        if config.gradient_clip:
            nn.utils.clip_grad_norm_(state.tracker.parameters(), config.gradient_clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    for name, value in terms.items():
        state.terms.setdefault(name, []).append(value.detach())


def learning_rates(config: TrainingConfig, step: int) -> tuple[float, float]:
    """Learning rates of Delta-DINO and of the refiner at a step (METHOD 5; the cosine schedule is
    ours)."""
    if config.schedule == "step":
        return config.learning_rate * config.decay ** (
            step // config.decay_every
        ), config.learning_rate
    if config.schedule != "cosine":
        raise InputError(f"training.schedule={config.schedule} is unknown; choose step or cosine")
    warm = max(1.0, WARM_UP * config.steps)
    if step < warm:
        rate = (step + 1) / (warm + 1)
    else:
        rate = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(config.steps - warm, 1)))
    return config.learning_rate * rate, config.learning_rate * rate


def step_losses(
    tracker: Tracker,
    material: Material,
    config: Config,
    step: int,
    rng: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """The weighted terms of one step, by name; a term of weight zero is not computed. {} where no
    labels were found."""
    training = config.training
    batch = draw_batch(material, training, rng)
    if batch is None:
        return {}
    terms, view, raw = _flow_losses(tracker, material, config, batch.to(device))
    late = step >= training.late * training.steps
    shuffled = draw_frame_pairs(batch.frames, rng)
    links = shuffled[: training.contrastive_pairs]
    if training.buddy_weight and material.buddies:
        searched = (
            [link for link in shuffled if link in material.buddies]
            if config.buddies.near
            else links
        )
        terms["buddies"] = training.buddy_weight * buddy_term(
            view, material, config, searched[: training.contrastive_pairs], rng
        )
    if training.refined_buddy_weight and late:
        terms["refined_buddies"] = training.refined_buddy_weight * refined_buddy_term(
            view, material, config, links, rng
        )
    if training.cycle_weight and late:
        terms["cycle"] = training.cycle_weight * cycle_term(
            tracker, view, material, training, links, rng
        )
    if (
        config.model.fusion == "beside"
    ):  # the ViT's features stay as they are, and the CNN's are bound by nothing
        raw = None
    if raw is not None and training.norm_weight:
        terms["norm"] = training.norm_weight * losses.norm_regularizer(view.maps, raw)
    if raw is not None and training.angle_weight:
        terms["angle"] = training.angle_weight * losses.angle_regularizer(view.maps, raw)
    return terms


class Batch(NamedTuple):
    """What a step looks at: F frames, and label pairs as in `Pairs`."""

    frames: Tensor
    """long [F], ascending."""
    pictures: Tensor
    """uint8 [F, 3, H, W]."""
    features: Tensor | None
    """[F, C, ., .], frozen; None without a ViT."""
    source_frame: Tensor
    source: Tensor
    target_frame: Tensor
    target: Tensor

    def to(self, device: torch.device) -> "Batch":
        """On the device; the host does not wait for the copies."""
        return Batch(*(None if part is None else _copy(part, device) for part in self))  # type: ignore[arg-type]


def _copy(part: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and part.device.type == "cpu":
        return part.pin_memory().to(device, non_blocking=True)
    return part.to(device)


@dataclass(frozen=True)
class Pairs:
    """Label pairs: a chain's position in one frame and in another. frames long [B], xy [B, 2]
    working px."""

    source_frame: Tensor
    source: Tensor
    target_frame: Tensor
    target: Tensor


@dataclass(frozen=True)
class View:
    """Refined maps [F, C, h, w] of the frames long [F] of one step."""

    frames: Tensor
    maps: Tensor
    grid: Grid
    size: tuple[int, int]

    def row(self, frame: Tensor) -> Tensor:
        """Where frames [B] stand in `maps`."""
        return torch.searchsorted(self.frames.to(frame.device), frame)

    def embed(self, frame: Tensor, xy: Tensor) -> Tensor:
        """Features at xy [B, 2] px of frames long [B] -> [B, C]."""
        return self.read(self.maps, self.row(frame).to(self.maps.device), xy.to(self.maps.device))

    def read(self, maps: Tensor, row: Tensor, xy: Tensor) -> Tensor:
        """Values of maps [F, C, h, w] on the grid at xy [B, 2] px of rows long [B] -> [B, C].

        All are read in all maps, and most of it for nothing, so that no size hangs on how frames
        share the points.
        """
        everywhere = self.grid.sample(maps, xy.expand(len(maps), -1, -1))
        return torch.take_along_dim(everywhere, row[None, :, None], dim=0)[0]


def draw_batch(material: Material, config: TrainingConfig, rng: torch.Generator) -> Batch | None:
    """What a step looks at, where the material lies; None where no draw of frames found labels."""
    pairs = draw_pairs(material, config, rng)
    if pairs is None:
        return None
    frames = torch.unique(torch.cat((pairs.source_frame, pairs.target_frame)))
    features = None if material.features is None else material.features[frames]
    labels = pairs.source_frame, pairs.source, pairs.target_frame, pairs.target
    return Batch(frames, material.frames[frames], features, *labels)


def draw_pairs(material: Material, config: TrainingConfig, rng: torch.Generator) -> Pairs | None:
    """A batch of label pairs, half of them foreground, each half from chains seen in two or more of
    its frames.

    A half without any label leaves its places to the other. None where no draw of frames found
    labels.
    """
    length = len(material.frames)
    for _ in range(DRAWS):
        first = draw_frames(length, config, rng)
        second = first if config.shared_frames else draw_frames(length, config, rng)
        counts = [
            lot.seen_twice(frames)
            for lot, frames in zip(material.lots, (first, second), strict=True)
        ]
        totals, half = [int(count.sum()) for count in counts], config.batch // 2
        shares = (
            half if totals[1] else config.batch,
            config.batch - half if totals[0] else config.batch,
        )
        parts = []
        for lot, frames, count, total, share in zip(
            material.lots, (first, second), counts, totals, shares, strict=True
        ):
            if total:
                rows = lot.pick(count, torch.randint(total, (share,), generator=rng))
                parts.append(_draw(material.chains, rows, frames, rng))
        if parts:
            return _join(parts)
    return None


def draw_frames(length: int, config: TrainingConfig, rng: torch.Generator) -> Tensor:
    """config.frames different frames, at most config.max_gap from the first (0: anywhere): long
    [F], sorted."""
    low, high = 0, length - 1
    if config.max_gap:
        centre = int(torch.randint(length, (1,), generator=rng))
        low, high = max(0, centre - config.max_gap), min(length - 1, centre + config.max_gap)
        others = torch.tensor([t for t in range(low, high + 1) if t != centre], dtype=torch.long)
        chosen = others[torch.randperm(len(others), generator=rng)[: config.frames - 1]]
        return torch.cat((torch.tensor([centre]), chosen)).sort().values
    return torch.randperm(length, generator=rng)[: config.frames].sort().values


def draw_frame_pairs(frames: Tensor, rng: torch.Generator) -> list[tuple[int, int]]:
    """All ordered pairs of different frames of the step, shuffled."""
    known = frames.tolist()
    pairs = [(i, j) for i in known for j in known if i != j]
    return [pairs[k] for k in torch.randperm(len(pairs), generator=rng).tolist()]


def flow_terms(
    tracker: Tracker, view: View, pairs: Pairs, config: TrainingConfig
) -> dict[str, Tensor]:
    """How well the chains' positions are predicted: Huber, and the cross-entropy of the
    correspondence map."""
    target, row = pairs.target, view.row(pairs.target_frame)
    vectors = view.embed(pairs.source_frame, pairs.source)
    # kernels find each answer without a map; on a CPU one map that serves both terms is cheaper
    alone = on_triton(view.maps) or not config.heatmap_weight
    correlation = None if alone else correlation_maps(vectors, view.maps, row)
    terms = {}
    if config.flow_weight:
        if correlation is None:
            predicted = tracker.match(vectors, view.maps, row, view.grid)
        else:
            predicted = tracker.locate(correlation, view.grid)
        unit = to_unit(predicted, view.size), to_unit(target, view.size)
        terms["flow"] = config.flow_weight * losses.flow_loss(*unit, config.huber_delta)
    if config.heatmap_weight:
        if correlation is None:
            loss = _heatmap_loss_without_maps(
                view, vectors, target, row, config.heatmap_temperature
            )
        else:
            log_map = (
                (correlation / config.heatmap_temperature)
                .flatten(1)
                .log_softmax(1)
                .view_as(correlation)
            )
            loss = losses.heatmap_loss(log_map, target, view.grid)
        terms["heatmap"] = config.heatmap_weight * loss
    return terms


def _heatmap_loss_without_maps(
    view: View, vectors: Tensor, target: Tensor, row: Tensor, temperature: float
) -> Tensor:
    """`losses.heatmap_loss` of softmax(cosine / temperature): as cosines with cells are linear in
    these, their bilinear sample at the target is the cosine with the sample. vectors [N, C], target
    [N, 2] px, row long [N].

    Each is compared with the cells of all maps, so that no size hangs on how frames share the
    points."""
    units, queries = normalise(view.maps, dim=1), normalise(vectors, dim=1)
    cells = units.to(view.maps.dtype).flatten(2).mT
    totals = torch.stack([log_sum_exp(queries, of_one, temperature) for of_one in cells])
    there = (queries * view.read(units, row, target)).sum(dim=1)
    return (torch.take_along_dim(totals, row[None], dim=0)[0] - there / temperature).sum() / max(
        len(vectors), 1
    )


def buddy_term(
    view: View,
    material: Material,
    config: Config,
    links: Iterable[tuple[int, int]],
    rng: torch.Generator,
) -> Tensor:
    """Best buddies of the step's frame pairs, weighted by how unambiguous and how similar they
    are."""
    parts = [view.maps.sum() * 0]
    for link in links:
        if link not in material.buddies:
            continue
        buddies = _draw_buddies(material.buddies[link], material, config.training, rng)
        weight = ambiguity_weight(buddies.ambiguity, config.buddies) * cosine_weight(buddies.cosine)
        parts.append(_contrast(view, buddies, weight, config.training, config.training.buddy_scale))
    return torch.stack(parts).sum()


def refined_buddy_term(
    view: View,
    material: Material,
    config: Config,
    links: Iterable[tuple[int, int]],
    rng: torch.Generator,
) -> Tensor:
    """The same with buddies of the refined features, weighted by similarity alone."""
    parts = [view.maps.sum() * 0]
    for link in links:
        row = view.row(torch.tensor(link, device=view.frames.device)).tolist()
        with torch.no_grad():
            found = best_buddies(view.maps[row[0]], view.maps[row[1]], view.grid, link)
        if len(found.source):
            buddies = _draw_buddies(found, material, config.training, rng)
            weight = cosine_weight(buddies.cosine)
            parts.append(
                _contrast(
                    view, buddies, weight, config.training, config.training.refined_buddy_scale
                )
            )
    return torch.stack(parts).sum()


def cycle_term(
    tracker: Tracker,
    view: View,
    material: Material,
    config: TrainingConfig,
    links: list[tuple[int, int]],
    rng: torch.Generator,
) -> Tensor:
    """Points that return close to where they started after there and back become labels of both
    ways."""
    device = view.maps.device
    points = [
        draw_points(
            material.masks[i], config.contrastive_points, config.contrastive_foreground, rng
        )
        for i, _ in links
    ]
    if not points:
        return view.maps.sum() * 0
    start_xy = torch.cat(points).to(device)
    source = torch.cat([torch.full((len(p),), i) for p, (i, _) in zip(points, links, strict=True)])
    target = torch.cat([torch.full((len(p),), j) for p, (_, j) in zip(points, links, strict=True)])

    def ask(frame: Tensor, xy: Tensor, other: Tensor) -> Tensor:
        return tracker.match(
            view.embed(frame, xy), view.maps, view.row(other).to(device), view.grid
        )

    there = ask(source, start_xy, target)
    back = ask(target, there.detach(), source)
    distance = (back.detach() - start_xy).norm(dim=-1)
    kept = distance < config.cycle_error
    to, home = to_unit(there[kept], view.size), to_unit(back[kept], view.size)
    origin = to_unit(start_xy[kept], view.size)
    return losses.cycle_loss(
        to, to.detach(), home, origin, distance[kept], config.cycle_gamma, config.huber_delta
    )


def draw_points(mask: Tensor, count: int, foreground: float, rng: torch.Generator) -> Tensor:
    """`count` pixels of a frame, a share `foreground` of them in mask bool [H, W]: float [count, 2]
    px."""
    inside, outside = mask.nonzero(), (~mask).nonzero()
    wanted = round(count * foreground)
    share = [wanted if len(outside) else count, count - wanted if len(inside) else count]
    parts = [
        p[torch.randint(len(p), (n,), generator=rng)]
        for p, n in zip((inside, outside), share, strict=True)
        if len(p)
    ]
    return torch.cat(parts)[:, [1, 0]].float()


def _flow_losses(
    tracker: Tracker, material: Material, config: Config, batch: Batch
) -> tuple[dict[str, Tensor], View, Tensor | None]:
    """The terms of the labels, the refined maps, and the frozen features in float32."""
    maps, raw = _refine(tracker, material, batch.pictures, batch.features, config.training)
    view = View(batch.frames, maps, material.grid, material.size)
    labels = Pairs(batch.source_frame, batch.source, batch.target_frame, batch.target)
    return flow_terms(tracker, view, labels, config.training), view, raw


def _flow_slopes(
    tracker: Tracker, material: Material, config: Config, *batch: Any
) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """The terms of a batch's labels, and the gradients of their sum."""
    terms, _, _ = _flow_losses(tracker, material, config, Batch(*batch))
    return {name: value.detach() for name, value in terms.items()}, slopes_of(tracker, terms)


def _refine(
    tracker: Tracker,
    material: Material,
    pictures: Tensor,
    features: Tensor | None,
    config: TrainingConfig,
) -> tuple[Tensor, Tensor | None]:
    """Refined and frozen features of some frames; where the networks run in half precision the
    refined are kept so."""
    device = pictures.device
    half = (
        config.precision == "bfloat16" and device.type == "cuda"
    )  # CPUs without bfloat16 take fifteen times as long
    frames = (pictures.float() / 255).contiguous(memory_format=memory_format(device))
    raw = None if features is None else features.float()
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        maps = tracker.refine(frames, raw, material.feature_grid)
    return maps.half() if half else maps.float(), raw


def _draw(chains: Chains, rows: Tensor, frames: Tensor, rng: torch.Generator) -> Pairs:
    """Chains of rows long [M], each in two different frames where it is valid."""
    luck = torch.rand((len(rows), len(frames)), generator=rng)
    pick = frames[
        luck.masked_fill(~chains.seen_in(frames[:, None], rows).T, -1).topk(2, dim=1).indices
    ]
    source, target = pick.unbind(1)
    return Pairs(source, chains.at(rows, source), target, chains.at(rows, target))


def _join(parts: list[Pairs]) -> Pairs:
    return Pairs(
        torch.cat([p.source_frame for p in parts]),
        torch.cat([p.source for p in parts]),
        torch.cat([p.target_frame for p in parts]),
        torch.cat([p.target for p in parts]),
    )


def _draw_buddies(
    buddies: Buddies, material: Material, config: TrainingConfig, rng: torch.Generator
) -> Buddies:
    """At most config.contrastive_points buddies, a share config.contrastive_foreground of them on
    the foreground."""
    mask = material.masks[buddies.frames[0]]
    x, y = buddies.source.cpu().round().long().unbind(-1)
    on = mask[y.clamp(0, mask.shape[0] - 1), x.clamp(0, mask.shape[1] - 1)]
    wanted = round(config.contrastive_points * config.contrastive_foreground)
    order = torch.randperm(len(on), generator=rng)
    front, rest = order[on[order]], order[~on[order]]
    kept = front[: max(wanted, config.contrastive_points - len(rest))]
    kept = torch.cat((kept, rest[: config.contrastive_points - len(kept)]))
    return buddies.keep_where(kept.to(buddies.source.device))


def _contrast(
    view: View, buddies: Buddies, weight: Tensor, config: TrainingConfig, scale: float
) -> Tensor:
    device = view.maps.device
    rows = view.row(torch.tensor(buddies.frames, device=view.frames.device)).tolist()
    source_map, target_map = view.maps[rows[0]], view.maps[rows[1]]
    source = view.grid.sample(source_map[None], buddies.source.to(device)[None])[0]
    target = view.grid.sample(target_map[None], buddies.target.to(device)[None])[0]
    cells = source_map.flatten(1).T, target_map.flatten(1).T
    return losses.buddy_loss(
        source, target, *cells, weight.to(device), config.contrastive_temperature, scale
    )
