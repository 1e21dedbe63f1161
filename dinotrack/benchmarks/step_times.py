"""Seconds of the steps of several fits, which take turns, phase by phase."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dinotrack.benchmarks.machine import clock
from dinotrack.benchmarks.report import Say
from dinotrack.config import Config
from dinotrack.errors import InputError
from dinotrack.pipeline import Prepared
from dinotrack.run import Run
from dinotrack.training import loop
from dinotrack.training.graphs import UNRECORDED
from dinotrack.training.loop import State
from dinotrack.training.terms import due

BLOCKS = 20
"""Into so many blocks the timed steps are cut, and the contenders take turns."""


@dataclass(frozen=True)
class Trial:
    """How the two are timed."""

    steps: int
    """Of each phase of each contender."""
    points: int
    """That are tracked in the end."""
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Contender:
    """A run that is ready for the first step of its fit."""

    run: Run
    fit: Prepared


@dataclass(frozen=True)
class Phase:
    """A part of a contender's steps in which all are alike."""

    contender: str
    name: str
    first: int
    """Its first step."""
    length: int
    """How many steps there are."""


@dataclass(frozen=True)
class Block:
    """Some steps in a row that were timed."""

    step: float
    """Seconds of one."""
    before: float
    """Seconds that a fit takes besides, to begin and, on CUDA, to record."""


def phases(name: str, config: Config) -> list[Phase]:
    """Before and after the late losses begin; one phase where there are none."""
    training = config.training
    steps = training.steps
    late = math.ceil(training.late * steps)
    alike = due(training, 0) == due(training, late)
    if alike or not 1 < late < steps - 1:
        return [Phase(name, "all", 0, steps)]
    return [Phase(name, "early", 0, late), Phase(name, "late", late, steps - late)]


def untimed(device: torch.device) -> int:
    """First steps of a block that are not timed: on CUDA, until those of a fit are replays of a
    recorded one."""
    return 1 if device.type != "cuda" else UNRECORDED + 2


def time_steps(ready: Mapping[str, Contender], trial: Trial, say: Say) -> dict[Phase, list[Block]]:
    """Blocks of steps of each phase of each contender, who take turns.

    On CUDA the first turn doesn't count. The late steps are those of a network that the steps timed
    here have taught, and no others. Raises InputError for a phase that is too short.
    """
    block = max(2, trial.steps // BLOCKS)
    turns = max(1, trial.steps // block)
    skipped = untimed(trial.device)
    known = [phase for name, one in ready.items() for phase in phases(name, one.run.config)]
    for phase in known:
        if phase.length <= skipped:
            raise InputError(
                f"{phase.contender} has {phase.length} steps alike, too few to be timed; "
                "take more training.steps"
            )
    blocks: dict[Phase, list[Block]] = {phase: [] for phase in known}
    for turn in range(-1 if trial.device.type == "cuda" else 0, turns):
        for phase in known:
            contender = ready[phase.contender]
            count = min(block, phase.length - skipped)
            starts = phase.length - count - skipped + 1
            contender.fit.state.step = phase.first + (turn + 1) * count % starts
            taken = take_steps(contender, count)
            if turn >= 0:
                blocks[phase].append(taken)
        say(f"block {turn + 1} of {turns}, {block} steps each: {_latest(blocks)}")
    return blocks


def take_steps(contender: Contender, count: int) -> Block:
    """Times `count` steps of a fit, after the untimed ones, from the step that the state is at.

    Raises InputError without labels.
    """
    run = contender.run
    skipped = untimed(run.device)
    fit = contender.fit
    first = fit.state.step + skipped
    marks = [clock(run.device)]

    def on_step(state: State) -> None:
        if state.step in (first, first + count):
            marks.append(clock(run.device))

    loop.fit(fit.data, run.config, run.seed, fit.state, on_step, until=first + count)
    if len(marks) < 3:
        raise InputError(
            "no point of this clip could be followed from any frame to the next; "
            "choose another --clip"
        )
    start, one, end = marks
    step = (end - one) / count
    return Block(step, max(0.0, one - start - skipped * step))


def listed(seconds: Mapping[str, float]) -> str:
    """Seconds by name, for people."""
    return ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items())


def _latest(blocks: Mapping[Phase, list[Block]]) -> str:
    """The last block of each phase, for people."""
    steps = {
        f"{phase.contender} {phase.name}": timed[-1].step
        for phase, timed in blocks.items()
        if timed
    }
    return f"seconds a step {listed(steps) or 'not counted'}"
