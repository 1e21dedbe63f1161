"""Spoiled inputs for every reader: `python -m tests.fuzz --inputs 1000000 --seed 0`.

Whatever a user's file or argument holds, a reader answers with sound data or with InputError. Each
input is made from the seed, the name of its target and its number alone, so each finding can be
run again: `python -m tests.fuzz --again TARGET:SEED:NUMBER`. What was found stands in test_fuzz.py
as a test of its own.
"""

import argparse
import collections
import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import Any

from dinotrack.errors import InputError
from tests.fuzz_targets import Target, scratch, targets

MEMORY = 4 << 30
"""Bytes that reading may take beyond what the program has when it begins."""
SECONDS = 10.0
"""No input takes longer."""
SHOWN = 3
"""Findings of one kind that are printed."""


class TooLong(BaseException):
    """An input took longer than SECONDS. Nothing that catches Exception catches this."""


@dataclass
class Counts:
    """What came of the inputs of one target."""

    inputs: int = 0
    refused: int = 0
    taken: int = 0
    seconds: float = 0.0
    findings: dict[str, list[str]] = field(default_factory=dict)
    """By the kind of exception and where it was raised: how to run each again."""


def run(target: Target, name: str, seed: int, count: int) -> Counts:
    """Give a target `count` inputs."""
    counts = Counts(count)
    started = time.perf_counter()
    for number in range(count):
        made = target.make(Random(f"{name}:{seed}:{number}"))
        wrong = attempt(target, made)
        if wrong is None:
            counts.taken += 1
        elif isinstance(wrong, InputError):
            counts.refused += 1
        else:
            again = f"{name}:{seed}:{number}"
            counts.findings.setdefault(_kind(wrong), []).append(again)
            if len(counts.findings[_kind(wrong)]) <= SHOWN:
                print(f"{again}: {_kind(wrong)}: {str(wrong)[:300]}\n    {repr(made)[:1000]}")
    counts.seconds = time.perf_counter() - started
    return counts


def attempt(target: Target, made: Any) -> BaseException | None:
    """What one input raises: None where it is taken, InputError where it is refused."""
    with warnings.catch_warnings(), _alarm():
        warnings.simplefilter("ignore")
        try:
            target.attempt(made)
        except (Exception, TooLong) as error:
            return error
        except SystemExit as leaving:  # as of --help
            return None if not leaving.code else RuntimeError(f"exit {leaving.code}")
    return None


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raise TooLong in whatever takes too long, where the system can."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what libraries written in C say of damaged files from filling the screen."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        with os.fdopen(kept, "wb", closefd=False) as screen:
            faulthandler.enable(screen)
            yield
    finally:
        faulthandler.disable()
        os.dup2(kept, 2)
        os.close(kept)


def _kind(error: BaseException) -> str:
    """The kind of an exception, and the last line of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "dinotrack" in frame.filename.split("tests")[-1]]
    place = f"{ours[-1].filename.rpartition('dinotrack/')[2]}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {place}"


def shares(named: dict[str, Target], inputs: int) -> dict[str, int]:
    """How many inputs each target gets, at least one."""
    total = sum(target.share for target in named.values())
    return {name: max(1, round(inputs * target.share / total)) for name, target in named.items()}


def fuzz(inputs: int, seed: int, only: str = "") -> dict[str, Counts]:
    """Give all targets, or those whose name begins with `only`, so many inputs together."""
    with scratch() as folder, _silence():
        named = {k: v for k, v in targets(folder).items() if k.startswith(only)}
        counts = shares(named, inputs)
        return {name: run(target, name, seed, counts[name]) for name, target in named.items()}


def again(which: str) -> None:
    """Run one input again, and let what it raises through."""
    name, seed, number = which.rsplit(":", 2)
    with scratch() as folder:
        target = targets(folder)[name]
        made = target.make(Random(f"{name}:{seed}:{number}"))
        print(repr(made))
        target.attempt(made)


def limit_memory() -> None:
    """So that an input that asks for all memory is found, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


def main(argv: Sequence[str] | None = None) -> int:
    """The command. The exit code is 1 where anything was found."""
    about = "Give every reader spoiled inputs."
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=about)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name begins so")
    parser.add_argument("--again", metavar="TARGET:SEED:NUMBER", help="run one input again")
    args = parser.parse_args(argv)
    limit_memory()
    if args.again:
        if args.again.count(":") < 2:
            parser.error("--again takes TARGET:SEED:NUMBER, as a finding names it")
        again(args.again)
        return 0
    results = fuzz(args.inputs, args.seed, args.only)
    if not results:
        parser.error(f"no target's name begins with {args.only!r}")
    found: collections.Counter[str] = collections.Counter()
    print(f"{'target':<24}{'inputs':>9}{'refused':>9}{'taken':>9}{'findings':>9}{'seconds':>9}")
    for name, counts in results.items():
        wrong = {kind: len(cases) for kind, cases in counts.findings.items()}
        found.update({f"{name}: {kind}": count for kind, count in wrong.items()})
        print(
            f"{name:<24}{counts.inputs:>9}{counts.refused:>9}{counts.taken:>9}"
            f"{sum(wrong.values()):>9}{counts.seconds:>9.1f}"
        )
    total = sum(counts.inputs for counts in results.values())
    print(f"{total} inputs, {sum(found.values())} exceptions that are no InputError")
    for kind, count in found.most_common():
        print(f"{count:>9}  {kind}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
