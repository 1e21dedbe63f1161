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

from dinotrack.errors import InputError
from dinotrack.pretraining import trainer
from dinotrack.pretraining.network import export
from dinotrack.pretraining.recipes import RECIPES, PretrainConfig

PRINTED = 20  # steps to a line
SAVED_SECONDS = 300.0  # between checkpoints


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. 0; 2 for what the user can mend; 130 for Ctrl-C."""
    try:
        _run(_parser().parse_args(argv))
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; the same command with --resume goes on from the last checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


class Run:
    """Where a run's time and numbers go: a line each PRINTED steps, checkpoints, the log, the end
    of the time given."""

    def __init__(
        self, args: argparse.Namespace, config: PretrainConfig, before: float, log: list[Any]
    ) -> None:
        self.args = args
        self.config = config
        self.before = before  # seconds an earlier part of this run took
        self.log = log
        self.started = self.saved = time.monotonic()
        self.recent: list[dict[str, float]] = []
        self.since = time.monotonic()
        self.pictures = 0

    @property
    def seconds(self) -> float:
        """Spent on this run, earlier parts included."""
        return self.before + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """How much of the run is over: by steps, or by time where --minutes was given."""
        by_steps = step / self.config.steps
        return (
            max(by_steps, self.seconds / 60 / self.args.minutes) if self.args.minutes else by_steps
        )

    def on_step(self, state: trainer.State, numbers: dict[str, float]) -> bool:
        self.recent.append(numbers)
        self.pictures += self.config.shapes[(state.step - 1) % len(self.config.shapes)][1]
        done = state.step >= self.config.steps or self.progress(state.step) >= 1
        if state.step % PRINTED == 0 or done:
            self._tell(state.step)
        if done or time.monotonic() - self.saved > SAVED_SECONDS:
            self.store(state)
            self.saved = time.monotonic()
        return done

    def _tell(self, step: int) -> None:
        means = {
            name: sum(r[name] for r in self.recent) / len(self.recent) for name in self.recent[0]
        }
        rate = self.pictures / (time.monotonic() - self.since)
        self.log.append(
            {"step": step, "seconds": round(self.seconds, 1), "images_per_second": rate, **means}
        )
        text = " ".join(f"{name} {value:.3g}" for name, value in means.items())
        print(
            f"step {step}/{self.config.steps} {self.seconds / 60:.1f} min {rate:.2f} images/s {text}",
            flush=True,
        )
        self.recent, self.pictures, self.since = [], 0, time.monotonic()

    def store(self, state: trainer.State) -> None:
        """The checkpoint, the teacher's ViT as it is now, and the log, beside each other."""
        args = self.args
        trainer.save(
            checkpoint(args.out), state, self.config, args.seed, seconds=self.seconds, log=self.log
        )
        facts = {
            "recipe": args.recipe,
            "seed": args.seed,
            "steps": state.step,
            "seconds": round(self.seconds),
        }
        export(state.teacher, self.config, args.out, **facts)
        args.out.with_suffix(".json").write_text(json.dumps(self.log, indent=1))


def checkpoint(out: Path) -> Path:
    """Where the state of a run that writes `out` lies."""
    return out.with_suffix(".pt")


def _run(args: argparse.Namespace) -> None:
    config = RECIPES[args.recipe]
    changes = {"steps": args.steps, "workers": args.workers}
    config = config.replace(**{name: value for name, value in changes.items() if value is not None})
    device = _device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    path = checkpoint(args.out)
    if args.resume and path.exists():
        state, facts = trainer.load(path, config, args.seed, device)
    else:
        state, facts = trainer.start(config, args.seed, device), {}
    run = Run(args, config, facts.get("seconds", 0.0), facts.get("log", []))
    if state.step < config.steps:
        trainer.train(config, args.seed, state, run.on_step, run.progress)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} can't be used here; choose cpu, or leave --device out"
        ) from error
    return device


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dinotrack.pretraining", description=__doc__)
    parser.add_argument("--recipe", choices=RECIPES, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("weights/dinotrack_vit.safetensors"))
    parser.add_argument("--steps", type=_positive, help="instead of the recipe's")
    parser.add_argument(
        "--minutes",
        type=float,
        default=0.0,
        help="end after so long; the schedules follow the clock",
    )
    parser.add_argument("--device", default="", help="default: CUDA where there is one")
    parser.add_argument("--threads", type=_positive, help="CPU threads of the training process")
    parser.add_argument(
        "--workers", type=int, help="processes that paint; 0: none beside the training"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint beside --out"
    )
    return parser


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
