"""python -m dinotrack.pretraining --recipe cpu --out weights/dinotrack_vit.safetensors: the ViT,
from nothing."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dinotrack.defaults import LARGEST_SEED
from dinotrack.errors import InputError
from dinotrack.files import make_folder, replacing
from dinotrack.pretraining import checkpoints, trainer
from dinotrack.pretraining.network import export
from dinotrack.pretraining.recipes import RECIPES, PretrainConfig
from dinotrack.terminal import console, parsing

PRINTED = 20
"""Steps to a line."""
SAVED_SECONDS = 300.0
"""Between checkpoints."""
INTERRUPTED = "interrupted; the same command with --resume goes on from the last checkpoint"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code, as `console.run` says."""
    return console.run(lambda: _run(_parser().parse_args(argv)), INTERRUPTED)


class Journal:
    """Where a run's time and numbers go: printed lines, checkpoints and the log.

    The journal also knows how much of the run is over, by steps or by the time that was given.
    """

    def __init__(
        self, args: argparse.Namespace, config: PretrainConfig, before: float, log: list[Any]
    ) -> None:
        """before: seconds that earlier parts of this run took. log: what they noted."""
        self.args = args
        self.config = config
        self.before = before
        self.log = log
        self.started = time.monotonic()
        self.saved = self.started
        self._turn_page()

    @property
    def seconds(self) -> float:
        """Spent on this run, earlier parts included."""
        return self.before + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """How much of the run is over: by steps, or by time where --minutes was given."""
        by_steps = step / self.config.steps
        minutes: float = self.args.minutes
        return max(by_steps, self.seconds / 60 / minutes) if minutes else by_steps

    def on_step(self, state: trainer.PretrainState, numbers: dict[str, float]) -> bool:
        """Note a step's numbers; whether the run is over."""
        self.recent.append(numbers)
        _, pictures = self.config.shapes[(state.step - 1) % len(self.config.shapes)]
        self.pictures += pictures
        done = state.step >= self.config.steps or self.progress(state.step) >= 1
        if state.step % PRINTED == 0 or done:
            self._tell(state.step)
        if done or time.monotonic() - self.saved > SAVED_SECONDS:
            self.store(state)
            self.saved = time.monotonic()
        return done

    def store(self, state: trainer.PretrainState) -> None:
        """Write the checkpoint, the teacher's ViT as it is now, and the log, into one folder."""
        args = self.args
        path = checkpoint(args.out)
        trainer.save(path, state, self.config, args.seed, seconds=self.seconds, log=self.log)
        facts = {
            "recipe": args.recipe,
            "seed": args.seed,
            "steps": state.step,
            "seconds": round(self.seconds),
        }
        export(state.teacher, self.config, args.out, **facts)
        with replacing(args.out.with_suffix(".json")) as part:
            part.write_text(json.dumps(self.log, indent=1))

    def _tell(self, step: int) -> None:
        """Print and log the means since the last line."""
        count = len(self.recent)
        names = self.recent[0]
        means = {name: sum(numbers[name] for numbers in self.recent) / count for name in names}
        rate = self.pictures / (time.monotonic() - self.since)
        entry = {"step": step, "seconds": round(self.seconds, 1), "images_per_second": rate}
        self.log.append(entry | means)
        text = " ".join(f"{name} {value:.3g}" for name, value in means.items())
        place = f"step {step}/{self.config.steps} {self.seconds / 60:.1f} min"
        print(f"{place} {rate:.2f} images/s {text}", flush=True)
        self._turn_page()

    def _turn_page(self) -> None:
        self.recent: list[dict[str, float]] = []
        self.pictures = 0
        self.since = time.monotonic()


def checkpoint(out: Path) -> Path:
    """Where the state of a run that writes `out` lies."""
    return out.with_suffix(checkpoints.SUFFIX)


def _run(args: argparse.Namespace) -> int:
    make_folder(args.out.parent)
    changes = {"steps": args.steps, "workers": args.workers}
    given = {name: value for name, value in changes.items() if value is not None}
    config = RECIPES[args.recipe].replace(**given)
    device = _device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    path = checkpoint(args.out)
    facts: dict[str, Any] = {}
    if args.resume and path.exists():
        state, facts = trainer.load(path, config, args.seed, device)
    else:
        state = trainer.start(config, args.seed, device)
    journal = Journal(args, config, facts.get("seconds", 0.0), facts.get("log", []))
    if state.step < config.steps:
        trainer.train(config, args.seed, state, journal.on_step, journal.progress)
    return 0


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} can't be used here; choose cpu, or leave --device out"
        ) from error
    return device


def _parser() -> parsing.Parser:
    parser = parsing.Parser(prog="python -m dinotrack.pretraining", description=__doc__)
    add = parser.add_argument
    weights = parsing.file_named(".safetensors")
    add("--recipe", choices=RECIPES, default="cpu")
    add("--out", type=weights, default=Path("weights/dinotrack_vit.safetensors"))
    add("--steps", type=parsing.whole(1), help="instead of the recipe's")
    end = "end after so long; the schedules follow the clock"
    add("--minutes", type=parsing.real(0), default=0.0, help=end)
    add("--device", default="", help="default: CUDA where there is one")
    add("--threads", type=parsing.whole(1), help="CPU threads of the training process")
    painters = "processes that paint; 0: the training process itself"
    add("--workers", type=parsing.whole(0), help=painters)
    add("--seed", type=parsing.whole(0, LARGEST_SEED), default=0)
    add("--resume", action="store_true", help="go on from the checkpoint beside --out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
