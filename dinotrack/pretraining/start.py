"""python -m dinotrack.pretraining.start: the CNN a fit starts from.

A fit on one video has a minute to learn what a feature is. What holds for all videos, that a
feature survives another light, blur and background and is found nowhere else, can be learnt once.
It is learnt here from nothing, with the losses of a fit; but the clips are of
`dinotrack.synthesis`, ever new ones, and the labels are their exact truth.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save as pack
from torch import Tensor

from dinotrack import training
from dinotrack.config import FAST, Config, override
from dinotrack.errors import InputError
from dinotrack.geometry import rescale
from dinotrack.model import DeltaDino, Tracker
from dinotrack.pretraining.images import matches, paint_thing
from dinotrack.pretraining.views import photometric
from dinotrack.synthesis.scene import Scene, build_scene
from dinotrack.training import Pairs, State, View
from dinotrack.video import replacing

PRINTED = 20  # steps to a line
SAVED = 200  # steps between checkpoints
SCENES = 40  # scenes that steps draw from

RECIPE = override(
    FAST, {"training.steps": 2400, "training.matrix_rate": 2.0, "training.flow_weight": 0.0}
)
"""Fifty minutes on one CPU core.

Without the Huber loss: no match is near enough for it at first.
"""


@dataclass(frozen=True)
class Shots:
    """What the clips are like."""

    size: tuple[int, int] = (240, 432)  # (H, W) px
    renewed: int = 6  # steps to a new scene
    gap: float = 24.0  # frames between the first shot of a scene and the others, at most
    points: int = 128  # known correspondences of each two shots
    layers: tuple[int, int] = (3, 9)  # from, below
    difficulty: tuple[float, float] = (0.5, 2.0)
    scales: tuple[float, ...] = (
        0.6,
        1.0,
        1.0,
        1.6,
    )  # scenes are made that much larger, and seen at `size`
    painted: float = 0.5  # share of the things that are painted as the ViT's pictures are
    radius: tuple[float, float] = (0.06, 0.4)  # of these, as a share of the frame's height
    photometric: float = 0.5  # strength of all changes of light and colour


SHOTS = Shots()


def train(
    config: Config, shots: Shots, seed: int, state: State, on_step: Callable[[State], None]
) -> None:
    """Train in place to config.training.steps; state.terms gets each step's."""
    grid = state.tracker.grid(shots.size, None)
    while state.step < config.training.steps:
        frames, pairs = draw(shots, config.training.frames, seed, state.step)
        maps = state.tracker.refine(frames, None, grid)
        view = View(torch.arange(len(frames)), maps, grid, shots.size)
        training.descend(
            state, training.flow_terms(state.tracker, view, pairs, config.training), config.training
        )
        on_step(state)


def draw(shots: Shots, count: int, seed: int, step: int) -> tuple[Tensor, Pairs]:
    """`count` frames [F, 3, H, W] in [0, 1] of one scene, and known correspondences; by (seed,
    step) alone."""
    rng = np.random.default_rng((seed, 1, step))
    scene = _scene(shots, seed, step // shots.renewed + int(rng.integers(SCENES)))
    first = rng.uniform(0, 200)
    times = [first, *(first + rng.uniform(-shots.gap, shots.gap, count - 1))]
    frames, tops = zip(*(scene.render(t) for t in times), strict=True)
    sources: list[Tensor] = []
    targets: list[Tensor] = []
    rows: list[Tensor] = []
    for i, j in combinations(range(count), 2):
        known, valid = matches(scene, (tops[i], tops[j]), shots.points, rng, (times[i], times[j]))
        ends = rescale(torch.from_numpy(known[valid]), scene.size, shots.size).unbind(1)
        rows += [
            torch.tensor((i, j)).expand(len(ends[0]), 2),
            torch.tensor((j, i)).expand(len(ends[0]), 2),
        ]
        sources += ends
        targets += ends[::-1]
    source_frame, target_frame = torch.cat(rows).T.contiguous()
    height, width = shots.size
    pictures = np.stack(
        [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames]
    )
    clean = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    dice = torch.Generator().manual_seed(int(rng.integers(2**62)))
    labels = Pairs(source_frame, torch.cat(sources), target_frame, torch.cat(targets))
    return photometric(clean, shots.photometric, dice), labels


@lru_cache(maxsize=SCENES)
def _scene(shots: Shots, seed: int, number: int) -> Scene:
    """Scene `number` of a run."""
    rng = np.random.default_rng((seed, 0, number))
    height, width = (round(side * s) for s in (rng.choice(shots.scales),) for side in shots.size)
    layers, difficulty = int(rng.integers(*shots.layers)), rng.uniform(*shots.difficulty)
    scene = build_scene((height, width), layers, int(rng.integers(2**31)), difficulty)
    low, high = (max(share * height, 4.0) for share in shots.radius)
    things = [
        replace(thing, rgba=paint_thing((low, high), rng))
        if rng.uniform() < shots.painted
        else thing
        for thing in scene.layers[1:]
    ]
    return replace(scene, layers=(scene.layers[0], *things))


def begin(config: Config, seed: int) -> State:
    """The networks before their first step."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        tracker = Tracker(config.model, None)
    return training.start(tracker, config.training)


def export(network: DeltaDino, path: Path, **facts: object) -> None:
    """Write the CNN, float16 safetensors; what came before, as JSON, in the metadata."""
    tensors = {
        name: value.detach().half().contiguous() for name, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(pack(tensors, {name: json.dumps(value) for name, value in facts.items()}))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. 0; 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m dinotrack.pretraining.start", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=Path("weights/dinotrack_cnn.safetensors"))
    parser.add_argument("--steps", type=int, default=RECIPE.training.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint beside --out"
    )
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        _run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    config = override(RECIPE, {"training.steps": args.steps})
    checkpoint = args.out.with_suffix(".pt")
    state = begin(config, args.seed)
    if args.resume:
        _restore(state, checkpoint)
    since = time.monotonic()

    def on_step(state: State) -> None:
        last = state.step == config.training.steps
        if state.step % PRINTED == 0 or last:
            means = [
                f"{name} {np.mean(values[-PRINTED:]):.3f}" for name, values in state.losses.items()
            ]
            minutes = (time.monotonic() - since) / 60
            print(
                f"step {state.step}/{config.training.steps} {minutes:.1f} min", *means, flush=True
            )
        if state.step % SAVED == 0 or last:
            export(state.tracker.delta_dino, args.out, steps=state.step, seed=args.seed)
            content = {
                "tracker": state.tracker.state_dict(),
                "optimizer": state.optimizer.state_dict(),
            }
            with replacing(checkpoint) as part:
                torch.save({**content, "step": state.step}, part)

    train(config, SHOTS, args.seed, state, on_step)


def _restore(state: State, path: Path) -> None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state.tracker.load_state_dict(content["tracker"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step = content["step"]
    except Exception as error:
        raise InputError(f"can't go on from {path}; start anew without --resume") from error


if __name__ == "__main__":
    sys.exit(main())
