"""The training loop.

A student sees changed, cropped and masked views; its teacher is the moving average of the student.
"""

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.errors import Argument, InputError
from dinotrack.geometry import Grid, patch_grid
from dinotrack.maps import FeatureMaps
from dinotrack.pretraining import checkpoints, losses
from dinotrack.pretraining.network import Network
from dinotrack.pretraining.recipes import PretrainConfig
from dinotrack.pretraining.views import PretrainBatch, stream
from dinotrack.tensor_files import load_tensors

WATCHED = 512
"""Local tokens that uniformity and the spread are taken from."""

Numbers = dict[str, Float[Tensor, ""]]
"""Losses and indicators by name."""


@dataclass
class PretrainState:
    """All that training changes."""

    student: Network
    teacher: Network
    optimizer: torch.optim.Optimizer
    step: int = 0


def start(config: PretrainConfig, seed: int, device: torch.device) -> PretrainState:
    """A student before its first step, and its copy.

    The ViT's weights are the same for every seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        student = Network(config).to(device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    matrices = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return PretrainState(student, teacher, torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98)))


def train(
    config: PretrainConfig,
    seed: int,
    state: PretrainState,
    on_step: Callable[[PretrainState, dict[str, float]], bool],
    progress: Callable[[int], float] | None = None,
) -> PretrainState:
    """Train from state.step to config.steps.

    on_step: is given each step's numbers, and ends the run by returning True. progress: step -> how
    much of the run is over, 0 to 1, which the schedules follow; by default step / config.steps.
    """
    device = next(state.student.parameters()).device
    for batch in stream(config, seed, state.step):
        over = progress(state.step) if progress else state.step / config.steps
        rate = learning_rate(config, over)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        numbers = train_step(config, state, batch.to(device))
        update_teacher(state, momentum(config, over))
        state.step += 1
        if on_step(state, {**numbers, "rate": rate}):
            break
    return state


def train_step(
    config: PretrainConfig, state: PretrainState, batch: PretrainBatch
) -> dict[str, float]:
    """One step of the student. Returns the losses and indicators."""
    device = batch.views.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        total, numbers = objective(config, state, batch)
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.student.parameters(), config.clip)
    state.optimizer.step()
    values = torch.stack([total.detach(), norm, *(v.float() for v in numbers.values())]).tolist()
    return dict(zip(("total", "gradient", *numbers), values, strict=True))


def objective(
    config: PretrainConfig, state: PretrainState, batch: PretrainBatch
) -> tuple[Float[Tensor, ""], Numbers]:
    """The sum of the terms, and each of them with the indicators."""
    student = state.student
    teacher = state.teacher
    summary, tokens = student(batch.views, batch.windows, batch.masks)
    crop_summary, _ = student(batch.crops, batch.crop_windows)
    with torch.no_grad():
        whole_summary, whole_tokens = teacher(batch.views, batch.windows)
        targets = losses.sinkhorn(teacher.dino_head(whole_summary), config.teacher_temperature)
        hidden = teacher.ibot_head(teacher.vit.norm(whole_tokens[batch.masks]))
        hidden_targets = losses.sinkhorn(hidden, config.teacher_temperature)
    temperature = config.student_temperature
    scores = student.dino_head(summary)
    dino = losses.dino_loss(targets, scores, student.dino_head(crop_summary), temperature)
    masked = student.ibot_head(student.vit.norm(tokens[batch.masks]))
    ibot = losses.cross_entropy(hidden_targets, masked, temperature)
    dense, indicators = dense_terms(config, tokens, batch)
    total = config.dino_weight * dino + config.ibot_weight * ibot + config.dense_weight * dense
    other_view = scores.roll(len(scores) // 2, 0)
    return total, {
        "dense": dense.detach(),
        "dino": dino.detach(),
        "ibot": ibot.detach(),
        "entropy": losses.teacher_entropy(targets),
        "kl": losses.collapse_kl(targets, other_view, temperature),
        **indicators,
    }


def dense_terms(
    config: PretrainConfig, tokens: Float[Tensor, "V cells C"], batch: PretrainBatch
) -> tuple[Float[Tensor, ""], Numbers]:
    """The dense contrastive term, both ways between the views, and what is watched of the local
    tokens of the views."""
    side = batch.views.shape[-1]
    grid = patch_grid(side, side, config.patch, config.patch)
    both = tokens.float().transpose(1, 2).unflatten(2, (grid.rows, grid.cols))
    maps = [FeatureMaps(values, grid) for values in both.chunk(2)]
    places = batch.points.unbind(2)
    valid = batch.valid
    for mask, xy in zip(batch.masks.chunk(2), places, strict=True):
        valid = valid & ~mask.gather(1, nearest_cells(grid, xy))
    points = [grid.sample(view.values, xy) for view, xy in zip(maps, places, strict=True)]
    temperature = config.dense_temperature
    terms = [
        losses.dense_loss(points[a], maps[b], places[b], valid, temperature)
        for a, b in ((0, 1), (1, 0))
    ]
    flat = tokens.detach().flatten(0, 1)
    some = flat[:: max(len(flat) // WATCHED, 1)]
    return torch.stack(terms).mean(), {
        "found": losses.found_share(points[0], maps[1], places[1], valid),
        "alignment": losses.alignment(points[0][valid], points[1][valid]),
        "uniformity": losses.uniformity(some),
        "std": losses.feature_std(some),
    }


def nearest_cells(grid: Grid, xy: Float[Tensor, "B N 2"]) -> Int[Tensor, "B N"]:
    """Indices of the cells nearest to positions in px; the outer ones for places outside."""
    column, row = grid.to_index(xy).round().long().unbind(-1)
    return row.clamp(0, grid.rows - 1) * grid.cols + column.clamp(0, grid.cols - 1)


@torch.no_grad()
def update_teacher(state: PretrainState, momentum: float) -> None:
    """Move the teacher towards the student: an exponential moving average."""
    pairs = zip(state.teacher.parameters(), state.student.parameters(), strict=True)
    for mine, other in pairs:
        mine.lerp_(other, 1 - momentum)


def learning_rate(config: PretrainConfig, over: float) -> float:
    """A line up, then a cosine down. over: how much of the run is over, 0 to 1."""
    if over < config.warmup:
        return config.rate * (over + 1e-3) / (config.warmup + 1e-3)
    part = (over - config.warmup) / (1 - config.warmup)
    fall = config.rate - config.final_rate
    return config.final_rate + fall * (1 + math.cos(math.pi * min(part, 1.0))) / 2


def momentum(config: PretrainConfig, over: float) -> float:
    """The teacher's momentum: a cosine from `momentum` to `final_momentum`."""
    rise = config.final_momentum - config.momentum
    return config.final_momentum - rise * (1 + math.cos(math.pi * min(over, 1.0))) / 2


def save(path: Path, state: PretrainState, config: PretrainConfig, seed: int, **facts: Any) -> None:
    """Write all that `load` needs to go on, in one atomic step."""
    about = {
        "config": _plain(config),
        "seed": seed,
        "step": state.step,
        "facts": facts,
    }
    checkpoints.save(path, _networks(state), state.optimizer, about)


def load(
    path: Path, config: PretrainConfig, seed: int, device: torch.device
) -> tuple[PretrainState, dict[str, Any]]:
    """A state that was saved, and the facts.

    Raises InputError where the state belongs to other settings or can't be read.
    """
    anew = ("start anew without ", Argument("resume"))
    try:
        tensors, about = load_tensors(path)
        saved, saved_seed = about["config"], about["seed"]
        step, facts = about["step"], about["facts"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"can't read the checkpoint {path}; ", *anew) from error
    ours = _plain(config) | {"workers": saved.get("workers")}
    if saved != ours or saved_seed != seed:
        raise InputError(f"{path} was trained with other settings; give the same ones, or ", *anew)
    state = start(config, seed, device)
    checkpoints.fill(tensors, _networks(state), state.optimizer)
    state.step = step
    return state, facts


def _networks(state: PretrainState) -> dict[str, torch.nn.Module]:
    return {"student": state.student, "teacher": state.teacher}


def _plain(config: PretrainConfig) -> dict[str, Any]:
    """The settings as they come back from JSON."""
    known: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return known
