"""python -m dinotrack.pretraining.start: train the CNN that a fit starts from."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dinotrack.config import override
from dinotrack.defaults import LARGEST_SEED
from dinotrack.errors import InputError
from dinotrack.files import make_folder
from dinotrack.options import choose_device
from dinotrack.pretraining import checkpoints, start
from dinotrack.tensor_files import load_tensors
from dinotrack.terminal import console, parsing
from dinotrack.training.loop import State

PRINTED = 20
"""Steps to a line."""
SAVED = 200
"""Steps between checkpoints."""


INTERRUPTED = "interrupted; the same command with --resume goes on from the last checkpoint"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code, as `console.run` says."""
    return console.run(lambda: _run(_parser().parse_args(argv)), INTERRUPTED)


def _parser() -> parsing.Parser:
    parser = parsing.Parser(prog="python -m dinotrack.pretraining.start", description=start.__doc__)
    add = parser.add_argument
    weights = parsing.file_named(".safetensors")
    add("--out", type=weights, default=Path("weights/dinotrack_cnn.safetensors"))
    add("--steps", type=parsing.whole(1), default=start.RECIPE.training.steps)
    add("--seed", type=parsing.whole(0, LARGEST_SEED), default=0)
    add("--threads", type=parsing.whole(1), help="CPU threads")
    painters = "processes that paint the pictures of coming steps (0: none but this one)"
    add("--painters", type=parsing.whole(0), default=0, metavar="N", help=painters)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(auto)")
    add("--resume", action="store_true", help="go on from the checkpoint beside --out")
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.threads:
        torch.set_num_threads(args.threads)
    make_folder(args.out.parent)
    config = override(start.RECIPE, {"training.steps": args.steps})
    steps = config.training.steps
    checkpoint = args.out.with_suffix(checkpoints.SUFFIX)
    state = start.begin(config, args.seed, choose_device(args.device))
    if args.resume:
        _restore(state, checkpoint)
    since = time.monotonic()

    def on_step(state: State) -> None:
        last = state.step == steps
        if state.step % PRINTED == 0 or last:
            means = [
                f"{name} {np.mean(values[-PRINTED:]):.3f}" for name, values in state.losses.items()
            ]
            minutes = (time.monotonic() - since) / 60
            print(f"step {state.step}/{steps} {minutes:.1f} min", *means, flush=True)
        if state.step % SAVED == 0 or last:
            start.export(state.tracker.delta_dino, args.out, steps=state.step, seed=args.seed)
            _save(state, checkpoint)

    start.train(config, start.SHOTS, args.seed, state, on_step, args.painters)
    return 0


def _save(state: State, path: Path) -> None:
    networks = {"tracker": state.tracker}
    checkpoints.save(path, networks, state.optimizer, {"step": state.step})


def _restore(state: State, path: Path) -> None:
    try:
        tensors, about = load_tensors(path)
        checkpoints.fill(tensors, {"tracker": state.tracker}, state.optimizer)
        state.step = about["step"]
    except Exception as error:
        raise InputError(f"can't go on from {path}; start anew without --resume") from error


if __name__ == "__main__":
    sys.exit(main())
