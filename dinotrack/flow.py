"""Optical flow: a frame pair -> where every pixel moves.

Flow as a value one can sample, follow and check.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import optical_flow as raft

from dinotrack import weights
from dinotrack.config import FlowConfig
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.geometry import pixel_grid
from dinotrack.progress import Progress, silent
from dinotrack.video import Resized

Estimator = Callable[[Tensor, Tensor], Tensor]
"""first, second: uint8 [B, 3, H, W] -> displacement float32 [B, 2, H, W], (dx, dy) in px of these
frames."""

DIS_MIN_SIDE = 16  # OpenCV's DIS refuses sides under 12 px, and under 16 px it crashes (segfault) on long frames
RAFT_MIN_SIDE = 128  # torchvision's RAFT correlates four scales of a map an eighth the size
RAFT_MULTIPLE = 8


@dataclass(frozen=True)
class Flow:
    """The motion from one frame to another. displacement: [2, H, W] px, (dx, dy); float16 or
    float32."""

    displacement: Tensor

    def at(self, xy: Tensor) -> Tensor:
        """Displacement at xy [N, 2] px, bilinear, of the nearest pixel outside the frame: float32
        [N, 2] px."""
        grid = pixel_grid(*self.displacement.shape[-2:])
        return grid.sample(self.displacement.float()[None], xy.float()[None])[0]

    def move(self, xy: Tensor) -> Tensor:
        """Where xy [N, 2] px go: float32 [N, 2] px, possibly outside the frame."""
        return xy + self.at(xy)

    def cycle_error(self, back: "Flow", xy: Tensor) -> Tensor:
        """How far xy [N, 2] px miss themselves after there and `back`, |F(p) + B(p + F(p))|:
        float32 [N] px.

        A point that leaves the frame reads `back` at its border; what that means is the caller's to
        say.
        """
        there = self.at(xy)
        return (there + back.at(xy + there)).square().sum(dim=-1).sqrt()


@dataclass(frozen=True)
class ConsecutiveFlow:
    """Flow between neighbouring frames, in working px (dx, dy).

    forward: [T - 1, 2, h, w], frame t -> t + 1. backward: [T - 1, 2, h, w], frame t + 1 -> t.
    """

    forward: Tensor
    backward: Tensor


def pair_flow(
    first: Tensor, second: Tensor, estimator: Estimator, working_size: tuple[int, int]
) -> tuple[Flow, Flow]:
    """Flow first -> second and second -> first, of two frames uint8 [3, H, W], in working px at
    working_size (h, w)."""
    forth, back = _both_ways(first, second, estimator, working_size)
    return Flow(forth), Flow(back)


def consecutive_flow(
    frames: Tensor | Resized,
    estimator: Estimator,
    working_size: tuple[int, int],
    progress: Progress = silent,
    dtype: torch.dtype = torch.float16,
) -> ConsecutiveFlow:
    """Flow between consecutive frames both ways (METHOD 1), computed at the frames' own size, told
    in working px.

    frames: uint8 [T, 3, H, W]. working_size: (h, w). The result lies on the frames' device. float16
    keeps motion of under 32 px to 1/64 px. One frame gives empty tensors.
    """
    pairs = len(frames) - 1
    first = frames[0]
    flows = torch.empty(2, pairs, 2, *working_size, dtype=dtype, device=first.device)
    for t in range(pairs):
        second = frames[t + 1]
        flows[:, t] = _both_ways(first, second, estimator, working_size)
        first = second
        progress("flow", t + 1, pairs)
    return ConsecutiveFlow(forward=flows[0], backward=flows[1])


def _both_ways(
    first: Tensor, second: Tensor, estimator: Estimator, working_size: tuple[int, int]
) -> Tensor:
    pair = torch.stack((first, second))
    return resize_flow(estimator(pair, pair.flip(0)).to(first.device), working_size)


def resize_flow(displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """Displacement [B, 2, H, W] px of its own frame -> [B, 2, *size] px of a frame of that size (h,
    w)."""
    height, width = displacement.shape[-2:]
    if (height, width) == size:
        return displacement
    ratio = torch.tensor(
        (size[1] / width, size[0] / height), dtype=displacement.dtype, device=displacement.device
    )
    resized = F.interpolate(displacement, size, mode="bilinear", antialias=True)
    return resized * ratio[:, None, None]


def dis(config: FlowConfig, device: torch.device, offline: bool) -> Estimator:
    """OpenCV's Dense Inverse Search (Kroeger et al. 2016) on grey frames; no weights, on CPU."""

    def estimate(first: Tensor, second: Tensor) -> Tensor:
        method: Any = cv2.DISOpticalFlow.create(
            cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
        )  # it keeps state of its frames' size
        method.setFinestScale(config.finest_scale)
        method.setVariationalRefinementAlpha(config.smoothness)
        height, width = first.shape[-2:]
        size = max(height, DIS_MIN_SIDE), max(width, DIS_MIN_SIDE)
        if config.coarsest_scale:
            most = int(
                math.log2(min(size) / method.getPatchSize())
            )  # a patch must fit into the coarsest frame
            method.setCoarsestScale(min(max(config.coarsest_scale, config.finest_scale), most))
        flows = [
            method.calc(a, b, None)
            for a, b in zip(_grey(first, size), _grey(second, size), strict=True)
        ]
        displacement = torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)
        return resize_flow(displacement, (height, width)).to(first.device)

    return estimate


def _grey(frames: Tensor, size: tuple[int, int]) -> list[np.ndarray]:
    images = [
        cv2.cvtColor(cv2.merge(list(f.numpy())), cv2.COLOR_RGB2GRAY) for f in frames.cpu()
    ]  # merges planes fast
    return [
        i if i.shape == size else cv2.resize(i, size[::-1], interpolation=cv2.INTER_LINEAR)
        for i in images
    ]


def raft_small(config: FlowConfig, device: torch.device, offline: bool) -> Estimator:
    """torchvision's small RAFT (Teed & Deng 2020)."""
    return _raft(raft.raft_small(), RAFT_WEIGHTS["raft_small"], config, device, offline)


def raft_large(config: FlowConfig, device: torch.device, offline: bool) -> Estimator:
    """torchvision's RAFT (Teed & Deng 2020), the paper's flow."""
    return _raft(raft.raft_large(), RAFT_WEIGHTS["raft_large"], config, device, offline)


def _raft(
    model: torch.nn.Module,
    source: weights.Source,
    config: FlowConfig,
    device: torch.device,
    offline: bool,
) -> Estimator:
    path = weights.obtain(source, offline)
    weights.load_into(model, weights.read(path), path)
    return raft_estimator(model.to(device), config.updates)


def raft_estimator(model: torch.nn.Module, updates: int) -> Estimator:
    """An estimator from a RAFT network: frames in [-1, 1], padded with their border to sides RAFT
    takes."""
    model.eval().requires_grad_(False)
    device = next(model.parameters()).device

    def estimate(first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[-2:]
        left, right = _padding(width)
        top, bottom = _padding(height)
        pair = torch.stack((first, second)).to(device).float() / 127.5 - 1
        one, two = F.pad(pair.flatten(0, 1), (left, right, top, bottom), mode="replicate").chunk(2)
        displacement: Tensor = model(one, two, num_flow_updates=updates)[-1]
        return displacement[..., top : top + height, left : left + width]

    return estimate


def _padding(side: int) -> tuple[int, int]:
    """What to add before and after a side so that RAFT takes it."""
    wanted = max(-(-side // RAFT_MULTIPLE) * RAFT_MULTIPLE, RAFT_MIN_SIDE)
    before = (wanted - side) // 2
    return before, wanted - side - before


RAFT_WEIGHTS = {
    "raft_small": weights.Source("RAFT small", url=raft.Raft_Small_Weights.C_T_V2.url),
    "raft_large": weights.Source("RAFT large", url=raft.Raft_Large_Weights.C_T_SKHT_V2.url),
}

FLOWS: dict[str, Callable[[FlowConfig, torch.device, bool], Estimator]] = {
    "dis": dis,
    "raft_small": raft_small,
    "raft_large": raft_large,
}


def resolve_flow_name(name: str, device: torch.device, offline: bool = False) -> str:
    """The name in FLOWS that "auto" stands for: raft_large on CUDA where its weights can be had,
    else dis.

    A name of FLOWS is itself. May download the weights. Warns (DinotrackWarning) where auto has to
    settle for dis on
    CUDA. Raises InputError for an unknown name.
    """
    if name in FLOWS:
        return name
    if name != "auto":
        raise InputError(f"unknown flow {name!r}; choose one of auto, {', '.join(FLOWS)}")
    if device.type != "cuda":
        return "dis"
    try:
        weights.obtain(RAFT_WEIGHTS["raft_large"], offline)
    except InputError as missing:
        warnings.warn(f"{missing}; using dis flow instead", DinotrackWarning, stacklevel=2)
        return "dis"
    return "raft_large"


def make_flow(config: FlowConfig, device: torch.device, offline: bool = False) -> Estimator:
    """The estimator config.name asks for, on that device; offline: nothing is downloaded.

    Raises InputError for an unknown name, and for a named RAFT whose weights can't be had.
    """
    return FLOWS[resolve_flow_name(config.name, device, offline)](config, device, offline)
