"""Optical flow: where every pixel of a frame is in another frame.

Flow is a value here: one can sample it, follow it, and ask how far a point misses itself after
going there and back. A method of flow is a function of two batches of frames, and `FLOWS` names
what makes it for a config and a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, starmap
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinotrack import state_dicts, weights
from dinotrack.chunks import in_threads
from dinotrack.config import FlowConfig
from dinotrack.errors import InputError
from dinotrack.geometry import inside, pixel_grid
from dinotrack.progress import Progress, silent
from dinotrack.run import Run
from dinotrack.video import Video
from dinotrack.working import Resized, flow_frames

ByteFrames = UInt8[Tensor, "B 3 H W"]
Frame = UInt8[Tensor, "3 H W"]
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


class Step(NamedTuple):
    """Where flow takes N points, and how well it agrees with the way back."""

    xy: Float[Tensor, "N 2"]
    """Px, possibly outside the frame."""
    error: Float[Tensor, " N"]
    """The cycle error |F(p) + B(p + F(p))|, px. The way back of a point that has left the frame is
    read at the border."""

    def holds(self, cycle_error: float, size: tuple[int, int]) -> Bool[Tensor, " N"]:
        """Whether flow can be believed: less than so many px off on the way back, and still in
        the frame of that size (H, W)."""
        return (self.error < cycle_error) & inside(self.xy, size)


@dataclass(frozen=True)
class Flow:
    """The motion from one frame to another."""

    displacement: Float[Tensor, "2 H W"]
    """(dx, dy) px of any float type."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames."""
        return int(self.displacement.shape[-2]), int(self.displacement.shape[-1])

    def at(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Displacements at positions (px), bilinear; outside the frame that of the border."""
        grid = pixel_grid(*self.size)
        return grid.sample(self.displacement.float()[None], xy.float()[None])[0]

    def move(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Where positions (px) go: float32, possibly outside the frame."""
        return xy + self.at(xy)

    def step(self, back: Flow, xy: Float[Tensor, "N 2"]) -> Step:
        """Where positions (px) go, and how far they miss themselves after the way back."""
        there = self.at(xy)
        moved = xy + there
        error = (there + back.at(moved)).square().sum(dim=-1).sqrt()
        return Step(moved, error)


@dataclass(frozen=True)
class VideoFlow:
    """The motion between neighbouring frames of a whole video, both ways, in working px."""

    forward: Float[Tensor, "M 2 H W"]
    """M = T - 1: from frame t to t + 1."""
    backward: Float[Tensor, "M 2 H W"]
    """From frame t + 1 to t."""
    cuts: frozenset[int] = frozenset()
    """The frames, 1 or later, that begin a new shot. What flow says between such a frame and the
    one before it means nothing."""

    @property
    def frame_count(self) -> int:
        """Frames of the video."""
        return len(self.forward) + 1

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames."""
        return int(self.forward.shape[-2]), int(self.forward.shape[-1])

    def to(self, device: torch.device) -> VideoFlow:
        """The same flow on a device."""
        return VideoFlow(self.forward.to(device), self.backward.to(device), self.cuts)

    def is_cut(self, t: int, u: int) -> bool:
        """Whether frame t and its neighbour u are of different shots."""
        return max(t, u) in self.cuts

    def between(self, t: int, u: int) -> Flow:
        """Flow from a frame to the next or the previous one."""
        assert abs(t - u) == 1, f"frames {t} and {u} are no neighbours"
        return Flow(self.forward[t] if u > t else self.backward[u])

    def step(self, xy: Float[Tensor, "N 2"], t: int, u: int) -> Step:
        """Where positions (px) of frame t are in its neighbour u.

        Across a cut the cycle error is infinite, so that nobody believes it.
        """
        step = self.between(t, u).step(self.between(u, t), xy)
        if self.is_cut(t, u):
            return step._replace(error=torch.full_like(step.error, torch.inf))
        return step


@dataclass(frozen=True)
class FlowEstimator:
    """Computes flow between any two frames of one video."""

    frames: UInt8[Tensor, "T 3 H W"] | Resized
    """What flow is computed on: the working frames, or larger ones that are made when needed."""
    size: tuple[int, int]
    """(H, W) of the working frames, in whose px flow is told."""
    estimate: FlowFunction
    method: str
    """Its name in `FLOWS`."""

    def between(self, t: int, u: int) -> tuple[Flow, Flow]:
        """Flow from frame t to u, and from u to t."""
        first, second = _both_orders(self.frames[t], self.frames[u])
        there, back = resize_flow(self.estimate(first, second), self.size).to(first.device)
        return Flow(there), Flow(back)

    def neighbours(self, progress: Progress = silent) -> VideoFlow:
        """Flow between all neighbours, where the frames lie; empty tensors for one frame.

        float16 keeps motion of under 32 px to 1/64 px.
        """
        pairs = len(self.frames) - 1
        shape = 2, pairs, 2, *self.size
        flows = torch.empty(shape, dtype=torch.float16, device=self.frames[0].device)
        progress("flow", 0, pairs)
        both = starmap(_both_orders, pairwise(self.frames[t] for t in range(pairs + 1)))
        threads = torch.get_num_threads() if self.method in THREADED else 1
        found = in_threads(lambda both: self.estimate(*both), both, threads)
        for t, both_ways in enumerate(found):
            # torch works here alone, as each thread would start threads of its own
            flows[:, t] = resize_flow(both_ways, self.size)
            progress("flow", t + 1, pairs)
        return VideoFlow(forward=flows[0], backward=flows[1])


def _both_orders(first: Frame, second: Frame) -> UInt8[Tensor, "2 2 3 H W"]:
    """What flow leads from, there and back, and where to."""
    return torch.stack((torch.stack((first, second)), torch.stack((second, first))))


def make_flow_estimator(
    video: Video, frames: UInt8[Tensor, "T 3 H W"], chosen: Sequence[int], run: Run
) -> FlowEstimator:
    """What computes the flow between those frames of a video that are chosen.

    frames: their working frames. Flow sees larger frames than the networks do, where
    config.flow.area is larger.
    """
    config = run.config
    name = resolve_flow_name(config.flow.name, run.device, required=run.required)
    seen = flow_frames(video, frames, chosen, config.video, config.flow.area)
    size = int(frames.shape[-2]), int(frames.shape[-1])
    with run.stage("flow"):  # a network may have to be loaded
        estimate = FLOWS[name](config.flow, run.device)
    return FlowEstimator(seen, size, estimate, name)


def video_flow(estimator: FlowEstimator, run: Run) -> VideoFlow:
    """The stage: flow between all neighbouring frames, computed unless it is known."""

    def compute() -> dict[str, Float[Tensor, "M 2 H W"]]:
        flow = estimator.neighbours(run.progress)
        return {"forward": flow.forward, "backward": flow.backward}

    key = {
        **asdict(run.config.flow),
        "name": estimator.method,
        "size": estimator.size,
        "computed_at": list(estimator.frames[0].shape),
        "filter": run.config.video.filter,
    }
    with run.stage("flow"):
        known = run.cache.remember("flow", key, compute, run.progress)
        return VideoFlow(known["forward"], known["backward"])


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
        height, width = first.shape[-2:]
        size = max(height, DIS_MIN_SIDE), max(width, DIS_MIN_SIDE)
        method = _dis_method(config, size)
        pairs = zip(_grey(first, size), _grey(second, size), strict=True)
        flows = [method.calc(a, b, None) for a, b in pairs]
        displacement = torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)
        return resize_flow(displacement, (height, width)).to(first.device)

    return estimate


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
