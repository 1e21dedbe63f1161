"""Methods of optical flow: from two batches of frames to where every pixel goes.

A method is a function of first and second frames. `FLOWS` names what makes it for a config and a
device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack import state_dicts, weights
from dinotrack.config import FlowConfig
from dinotrack.errors import InputError

ByteFrames = UInt8[Tensor, "B 3 H W"]
Displacement = Float[Tensor, "B 2 H W"]
"""(dx, dy) in px of the frames, float32."""

FlowFunction = Callable[[ByteFrames, ByteFrames], Displacement]
"""From first frames to second ones: where each pixel of the first ones goes."""

DIS_MIN_SIDE = 16
"""Px. OpenCV's DIS refuses sides under 12 px, and crashes on long frames under 16 px."""
THREADED = ("dis",)
"""Methods that use several cores best if pairs of frames go side by side."""
RAFT_MIN_SIDE = 128
"""Px. torchvision's RAFT correlates four scales of a map that is an eighth of the frame."""
RAFT_MULTIPLE = 8
"""Px. RAFT's frames have sides of multiples of this."""


def resize_flow(
    displacement: Float[Tensor, "B 2 H W"], size: tuple[int, int]
) -> Float[Tensor, "B 2 h w"]:
    """Displacements in px of their own frame, in px of a frame of another size (h, w)."""
    height, width = displacement.shape[-2:]
    if (height, width) == size:
        return displacement
    ratio = displacement.new_tensor((size[1] / width, size[0] / height))
    resized = F.interpolate(displacement, size, mode="bilinear", antialias=True)
    return resized * ratio[:, None, None]


def dis(config: FlowConfig, device: torch.device) -> FlowFunction:
    """OpenCV's Dense Inverse Search (Kroeger et al. 2016) on grey frames, on the CPU."""

    def estimate(first: ByteFrames, second: ByteFrames) -> Displacement:
        return dis_from(None, first, second, config)

    return estimate


def dis_from(
    start: Displacement | None, first: ByteFrames, second: ByteFrames, config: FlowConfig
) -> Displacement:
    """DIS's flow, which looks around a known flow, too, where there is one."""
    height, width = first.shape[-2:]
    size = max(height, DIS_MIN_SIDE), max(width, DIS_MIN_SIDE)
    method = _dis_method(config, size)
    starts: list[Any] = [None] * len(first)
    if start is not None:
        starts = list(resize_flow(start, size).permute(0, 2, 3, 1).contiguous().numpy())
    pairs = zip(_grey(first, size), _grey(second, size), starts, strict=True)
    flows = [method.calc(a, b, start) for a, b, start in pairs]
    displacement = torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)
    return resize_flow(displacement, (height, width)).to(first.device)


def _dis_method(config: FlowConfig, size: tuple[int, int]) -> Any:
    """OpenCV's object, which keeps a state of its frames' size and so serves one call."""
    method: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(config.finest_scale)
    method.setVariationalRefinementAlpha(config.smoothness)
    if config.coarsest_scale:
        # a patch must fit into the coarsest frame
        most = int(math.log2(min(size) / method.getPatchSize()))
        wanted = max(config.coarsest_scale, config.finest_scale)
        method.setCoarsestScale(min(wanted, most))
    return method


def _grey(frames: UInt8[Tensor, "B 3 H W"], size: tuple[int, int]) -> list[npt.NDArray[Any]]:
    """Grey frames of that size (H, W). Merging planes in OpenCV is faster than moving axes."""
    merged = [cv2.merge(list(frame.numpy())) for frame in frames.cpu()]
    grey: list[Any] = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in merged]
    return [image if image.shape == size else cv2.resize(image, size[::-1]) for image in grey]


def raft_small(config: FlowConfig, device: torch.device) -> FlowFunction:
    """torchvision's small RAFT (Teed and Deng 2020)."""
    from torchvision.models.optical_flow import raft_small as network

    return _raft(network(), "raft_small", config, device)


def raft_large(config: FlowConfig, device: torch.device) -> FlowFunction:
    """torchvision's RAFT (Teed and Deng 2020), the paper's flow."""
    from torchvision.models.optical_flow import raft_large as network

    return _raft(network(), "raft_large", config, device)


def raft_origin(name: str) -> weights.Origin:
    """Where the weights of a RAFT come from."""
    from torchvision.models import optical_flow

    if name == "raft_small":
        return weights.Origin("RAFT small", url=optical_flow.Raft_Small_Weights.C_T_V2.url)
    return weights.Origin("RAFT large", url=optical_flow.Raft_Large_Weights.C_T_SKHT_V2.url)


def _raft(
    model: torch.nn.Module, name: str, config: FlowConfig, device: torch.device
) -> FlowFunction:
    path = weights.obtain(raft_origin(name))
    state_dicts.load_into(model, state_dicts.read(path), path)
    return raft_estimator(model.to(device), config.updates)


def raft_estimator(model: torch.nn.Module, updates: int) -> FlowFunction:
    """An estimator from a RAFT network.

    Frames are scaled to [-1, 1], and padded with their border to sides that RAFT takes.
    """
    model.eval().requires_grad_(False)
    device = next(model.parameters()).device

    def estimate(first: ByteFrames, second: ByteFrames) -> Displacement:
        height, width = first.shape[-2:]
        left, right = _padding(width)
        top, bottom = _padding(height)
        pair = torch.stack((first, second)).to(device).float() / 127.5 - 1
        padded = F.pad(pair.flatten(0, 1), (left, right, top, bottom), mode="replicate")
        one, two = padded.chunk(2)
        displacement: Displacement = model(one, two, num_flow_updates=updates)[-1]
        return displacement[..., top : top + height, left : left + width]

    return estimate


def _padding(side: int) -> tuple[int, int]:
    """What to add before and after a side so that RAFT takes it."""
    wanted = max(-(-side // RAFT_MULTIPLE) * RAFT_MULTIPLE, RAFT_MIN_SIDE)
    before = (wanted - side) // 2
    return before, wanted - side - before


FLOWS: dict[str, Callable[[FlowConfig, torch.device], FlowFunction]] = {
    "dis": dis,
    "raft_small": raft_small,
    "raft_large": raft_large,
}
"""Name -> what gives the function of two frames on a device."""


def resolve_flow_name(name: str, device: torch.device, required: bool = False) -> str:
    """The name in `FLOWS` that is meant. A name of `FLOWS` means itself.

    "auto" means raft_large on CUDA, whose weights may be downloaded, and dis elsewhere. Where
    these weights can't be had, "auto" settles for dis with a DinotrackWarning, unless they
    are `required`. Raises InputError for an unknown name, and for what is missing though it must be
    there.
    """
    if name in FLOWS:
        return name
    if name != "auto":
        raise InputError(f"unknown flow {name!r}; choose one of auto, {', '.join(FLOWS)}")
    if device.type != "cuda":
        return "dis"
    path = weights.obtain_or_warn(raft_origin("raft_large"), "using dis flow", required=required)
    return "dis" if path is None else "raft_large"
