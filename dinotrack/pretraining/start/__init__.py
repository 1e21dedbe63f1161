"""The CNN that a fit starts from (`python -m dinotrack.pretraining.start` trains it).

A fit has a minute to learn what the features of one video are. What holds for all videos can be
learnt once: that a feature survives another light, blur and background, and is found nowhere else.
The CNN learns it here from nothing and with the losses of a fit. But the clips come from
`dinotrack.synthesis`, ever new ones, and the labels are their exact truth.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dinotrack.config import FAST, Config, override
from dinotrack.delta_dino import DeltaDino, memory_format
from dinotrack.geometry import rescale
from dinotrack.model import Tracker
from dinotrack.pretraining.correspondences import known_correspondences
from dinotrack.pretraining.things import paint_thing
from dinotrack.pretraining.views import photometric
from dinotrack.synthesis.scene import Scene, build_scene
from dinotrack.tensor_files import write_tensors
from dinotrack.training import loop
from dinotrack.training.loop import State, loss_gradients, take_step
from dinotrack.training.sampling import Labels
from dinotrack.training.terms import due, weighted_losses
from dinotrack.training.view import RefinedFrames, StepView, refined_maps

STREAMS = 16
"""Steps draw from so many series of scenes in turn, so that as many processes can paint them."""
SCENES = 6
"""Scenes of a series that steps draw from."""

RECIPE = override(
    FAST,
    {
        "training.steps": 5000,
        "training.frames": 4,
        "training.matrix_rate": 2.0,
        "training.flow_weight": 0.0,
    },
)
"""An hour on two CPU cores, with --painters 1. The Huber loss is left out because no match is near enough
for it at first."""


@dataclass(frozen=True)
class Shots:
    """What the clips are like."""

    size: tuple[int, int] = (240, 432)  # (H, W) px
    renewed: int = 6  # steps of a series to a new scene
    gap: float = 40.0  # frames between the first shot of a scene and the others, at most
    points: int = 128  # known correspondences of each two shots
    layers: tuple[int, int] = (3, 9)  # from, below
    difficulty: tuple[float, float] = (0.5, 2.0)
    # Scenes are made that much larger than `size`, at which they are seen.
    scales: tuple[float, ...] = (0.6, 1.0, 1.0, 1.6)
    painted: float = 0.5  # share of the things that are painted as the ViT's pictures are
    radius: tuple[float, float] = (0.06, 0.4)  # of these, as a share of the frame's height
    photometric: float = 0.5  # strength of all changes of light and colour


SHOTS = Shots()


@dataclass(frozen=True)
class Drawn(Dataset[tuple[Float[Tensor, "F 3 H W"], Labels]]):
    """What `draw` returns, step by step."""

    shots: Shots
    frames: int
    seed: int

    def __getitem__(self, step: int) -> tuple[Float[Tensor, "F 3 H W"], Labels]:
        return draw(self.shots, self.frames, self.seed, step)


def train(
    config: Config,
    shots: Shots,
    seed: int,
    state: State,
    on_step: Callable[[State], None],
    painters: int = 0,
) -> None:
    """Train in place up to config.training.steps, and call on_step after each step.

    painters: processes that paint the frames of the next steps; 0: this one. The answer is the
    same.
    """
    training = config.training
    device = next(state.tracker.parameters()).device
    drawn = Drawn(shots, training.frames, seed)
    steps = range(state.step, training.steps)
    for frames, labels in DataLoader(drawn, None, sampler=steps, num_workers=painters):
        there = Labels(*(column.to(device) for column in labels))
        view = _view(state.tracker, config, frames.to(device), there)
        found = weighted_losses(view, due(training, state.step))
        take_step(state, loss_gradients(state.tracker, found), training)
        on_step(state)


def _view(
    tracker: Tracker, config: Config, frames: Float[Tensor, "F 3 H W"], labels: Labels
) -> StepView:
    """What the losses see of some frames, in which nothing is known but the labels."""
    count, _, height, width = frames.shape
    device = frames.device
    frames = frames.contiguous(memory_format=memory_format(device))
    maps = refined_maps(tracker, frames, None, config.training)
    numbers = torch.arange(count, device=device)
    refined = RefinedFrames(numbers, maps, (height, width))
    masks = torch.zeros(count, height, width, dtype=torch.bool, device=device)
    return StepView(tracker, config, refined, None, labels, masks, {}, torch.Generator())


def draw(shots: Shots, count: int, seed: int, step: int) -> tuple[Float[Tensor, "F 3 H W"], Labels]:
    """`count` frames of one scene in [0, 1], and where points of one frame are in the others.

    They depend on the seed and the step alone.
    """
    rng = np.random.default_rng((seed, 1, step))
    turn, stream = divmod(step, STREAMS)
    number = turn // shots.renewed + int(rng.integers(SCENES))
    scene = _scene(shots, seed, stream, number)
    first = rng.uniform(0, 200)
    times = [first, *(first + rng.uniform(-shots.gap, shots.gap, count - 1))]
    frames, tops = zip(*(scene.render(t) for t in times), strict=True)
    parts: list[Labels] = []
    for i, j in combinations(range(count), 2):
        both = tops[i], tops[j]
        when = times[i], times[j]
        known, valid = known_correspondences(scene, both, shots.points, rng, when)
        ends = rescale(torch.from_numpy(known[valid]), scene.size, shots.size)
        in_i, in_j = ends.unbind(1)
        frame_i = torch.full((len(ends),), i)
        frame_j = torch.full((len(ends),), j)
        parts.append(Labels(frame_i, in_i, frame_j, in_j))
        parts.append(Labels(frame_j, in_j, frame_i, in_i))
    dice = torch.Generator().manual_seed(int(rng.integers(2**62)))
    clean = _resized(frames, shots.size)
    return photometric(clean, shots.photometric, dice), Labels.joined(parts)


def _resized(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], size: tuple[int, int]
) -> Float[Tensor, "F 3 H W"]:
    """Rendered frames at a size (H, W), in [0, 1]."""
    height, width = size
    area = cv2.INTER_AREA
    pictures = np.stack([cv2.resize(f, (width, height), interpolation=area) for f in frames])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@lru_cache(maxsize=STREAMS * SCENES)
def _scene(shots: Shots, seed: int, stream: int, number: int) -> Scene:
    """A scene of one of a run's series."""
    rng = np.random.default_rng((seed, 0, stream, number))
    scale = rng.choice(shots.scales)
    height, width = (round(side * scale) for side in shots.size)
    layers = int(rng.integers(*shots.layers))
    difficulty = rng.uniform(*shots.difficulty)
    scene = build_scene((height, width), layers, int(rng.integers(2**31)), difficulty)
    low, high = (max(share * height, 4.0) for share in shots.radius)
    things = [
        replace(thing, rgba=paint_thing((low, high), rng))
        if rng.uniform() < shots.painted
        else thing
        for thing in scene.layers[1:]
    ]
    return replace(scene, layers=(scene.layers[0], *things))


def begin(config: Config, seed: int, device: torch.device | None = None) -> State:
    """The networks before their first step, on a device; by default on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        tracker = Tracker(config.model, None)
    return loop.initial_state(tracker.to(device or "cpu"), config.training)


def export(network: DeltaDino, path: Path, **facts: object) -> None:
    """Write the CNN as float16 safetensors, with facts about its training as JSON in its header."""
    tensors = {name: value.half().cpu() for name, value in network.state_dict().items()}
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, metadata)
