"""python -m dinotrack.pretraining.start: the weights a fit without a ViT starts from.

A fit on one video has a minute to learn what a feature is. What holds for all videos, that a feature survives another
light, blur and background and is found nowhere else, can be learnt once. It is learnt here from nothing, and as in a
fit, by the cross-entropy of correlations against the true cell; but the pictures are painted, and the truth is exact.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as pack
from torch import Tensor

from dinotrack.config import FAST, ModelConfig
from dinotrack.correlation import correlation_maps
from dinotrack.errors import InputError
from dinotrack.losses import heatmap_loss
from dinotrack.model import DeltaDino
from dinotrack.pretraining.losses import found_share
from dinotrack.pretraining.recipes import RECIPES, PretrainConfig
from dinotrack.pretraining.trainer import learning_rate
from dinotrack.pretraining.views import Batch, stream
from dinotrack.video import replacing

TEMPERATURE = 0.05  # of the correlations, as training.heatmap_temperature
PRINTED = 20  # steps to a line
SAVED = 200  # steps between checkpoints

RECIPE = RECIPES["cpu"].replace(
    shapes=((192, 4),), locals=0, masked_pictures=0.0, points=96, steps=3000, rate=2e-3, weight_decay=1e-2, refresh=400
)
"""About an hour and a half on one CPU core."""


@dataclass
class State:
    """All that training changes."""

    network: DeltaDino
    optimizer: torch.optim.Optimizer
    step: int = 0


def start(model: ModelConfig, config: PretrainConfig, seed: int) -> State:
    """The CNN before its first step."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = DeltaDino(model, model.dims)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    return State(network, optimizer)


def train(config: PretrainConfig, seed: int, state: State, on_step: Callable[[State, float, float], None]) -> None:
    """Train in place to config.steps; on_step gets each step's loss, and the share of points found to a cell."""
    for batch in stream(config, seed, state.step):
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config, state.step / config.steps)
        loss, found = objective(state.network, batch)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
        state.optimizer.step()
        state.step += 1
        on_step(state, loss.item(), found.item())


def objective(network: DeltaDino, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of correlations, both ways between the two views of each picture, and the share of points found."""
    grid = network.grid(*batch.views.shape[-2:])
    maps = network(batch.views).chunk(2)
    terms = []
    points = [grid.sample(m, xy) for m, xy in zip(maps, batch.points.unbind(2), strict=True)]
    picture, point = batch.valid.nonzero().unbind(1)
    for source, target in ((0, 1), (1, 0)):
        correlation = correlation_maps(points[source][picture, point], maps[target], picture)
        log_map = (correlation / TEMPERATURE).flatten(1).log_softmax(1).view_as(correlation)
        terms.append(heatmap_loss(log_map, batch.points[picture, point, target], grid))
    found = found_share(points[0].detach(), maps[1].detach(), grid, batch.points[:, :, 1], batch.valid)
    return torch.stack(terms).mean(), found


def export(network: DeltaDino, path: Path, **facts: object) -> None:
    """Write the CNN, float16 safetensors; what came before, as JSON, in the metadata."""
    tensors = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(pack(tensors, {name: json.dumps(value) for name, value in facts.items()}))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. 0; 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m dinotrack.pretraining.start", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("weights/dinotrack_cnn.safetensors"))
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside --out")
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
    config = RECIPE.replace(steps=args.steps)
    checkpoint = args.out.with_suffix(".pt")
    state = start(FAST.model, config, args.seed)
    if args.resume:
        _restore(state, checkpoint)
    since, recent = time.monotonic(), []

    def on_step(state: State, loss: float, found: float) -> None:
        recent.append((loss, found))
        if state.step % PRINTED == 0 or state.step == config.steps:
            means = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
            minutes = (time.monotonic() - since) / 60
            print(
                f"step {state.step}/{config.steps} {minutes:.1f} min loss {means[0]:.3f} found {means[1]:.3f}",
                flush=True,
            )
            recent.clear()
        if state.step % SAVED == 0 or state.step == config.steps:
            export(state.network, args.out, steps=state.step, seed=args.seed)
            content = {"network": state.network.state_dict(), "optimizer": state.optimizer.state_dict()}
            with replacing(checkpoint) as part:
                torch.save({**content, "step": state.step}, part)

    train(config, args.seed, state, on_step)


def _restore(state: State, path: Path) -> None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step = content["step"]
    except Exception as error:
        raise InputError(f"can't go on from {path}; start anew without --resume") from error


if __name__ == "__main__":
    sys.exit(main())
