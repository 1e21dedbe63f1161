"""A preset of ours against a faithful stepping of the paper's configuration, as ratios of seconds.

Both see the same working frames, backbone and flow, in one process, and step on the same chains and
best buddies. What leads up to the fit, and what follows it, is measured with each configuration as
it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from dinotrack import pipeline
from dinotrack.benchmarks.machine import spread
from dinotrack.benchmarks.methods import Settings
from dinotrack.benchmarks.report import Say
from dinotrack.benchmarks.step_times import Block, Contender, Phase, Trial, listed, time_steps
from dinotrack.benchmarks.summary import Row
from dinotrack.config import PAPER, Config, VideoConfig
from dinotrack.points import grid_queries
from dinotrack.queries import Queries
from dinotrack.run import Run
from dinotrack.video import Video
from dinotrack.working import working_size


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of one phase."""

    median: float
    iqr: float
    share: float
    """Of all steps that are of this phase."""
    blocks: int
    """That were timed."""


@dataclass(frozen=True)
class Account:
    """Seconds of one contender."""

    preset: str
    steps: int
    seconds_a_step: Mapping[str, StepTime]
    """By phase."""
    step: float
    """The mean over all steps."""
    fit: float
    """All steps, extrapolated."""
    stages: Mapping[str, float]
    """What is around them."""
    whole: float


@dataclass(frozen=True)
class Ratio:
    """The paper's seconds by ours."""

    step: float
    whole: float


@dataclass(frozen=True)
class PaperPart:
    """Both contenders on one video."""

    clip: str
    backbone: str
    size: tuple[int, int]
    """(H, W) of the working frames."""
    frames: int
    points: int
    steps_timed: int
    paper: Account
    ours: Account
    accuracy: tuple[Row, ...] = ()
    """Of both on clips with truth, after so many seconds of fitting (equal_time.py)."""

    @property
    def papers_own_size(self) -> bool:
        """Whether frames are as large as the paper's."""
        return self.size == (PAPER.video.height, PAPER.video.width)

    @property
    def ratio(self) -> Ratio:
        """The paper's seconds by ours."""
        return Ratio(self.paper.step / self.ours.step, self.paper.whole / self.ours.whole)


def equal_settings(video: Video, area: int | None, backbone: str) -> Settings:
    """The settings by which any two configurations see the same.

    These are the ViT, the flow, and the working frame: the paper's, or one of `area` px.
    """
    size = PAPER.video.height, PAPER.video.width
    if area is not None:
        size = working_size(video.size, VideoConfig(area=area, multiple=7, min_side=56))
    return {
        "video.height": size[0],
        "video.width": size[1],
        "video.filter": PAPER.video.filter,
        "backbone.name": backbone,
        "backbone.layer": PAPER.backbone.layer,
        "backbone.stride": PAPER.backbone.stride,
        "flow.name": "dis",
    }


def compare(video: Video, ours: Config, paper: Config, trial: Trial, say: Say) -> PaperPart:
    """Seconds of both: each step, what leads up to the fit, what follows, and the whole.

    What only first calls cost is nobody's, so two frames are made ready before.
    """
    make_ready(replace(video, frames=video.frames[:2]), ours, trial)
    ready: dict[str, Contender] = {}
    for name, config in (("paper", paper), ("ours", ours)):
        ready[name] = make_ready(video, config, trial)
        say(f"{name}: before the fit, seconds {listed(ready[name].run.watch.seconds)}")
    ready["ours"] = _with_labels_of(ready["ours"], ready["paper"])
    timed = time_steps(ready, trial, say)
    accounts: dict[str, Account] = {}
    for name, one in ready.items():
        track_grid(video, one, trial.points)
        own = {phase: blocks for phase, blocks in timed.items() if phase.contender == name}
        accounts[name] = account(one.run, own)
        say(f"{name}: {describe(accounts[name])}")
    result = PaperPart(
        clip=video.name,
        backbone=paper.backbone.name,
        size=ready["paper"].fit.inputs.size,
        frames=len(video.frames),
        points=len(_grid(video, trial.points)),
        steps_timed=trial.steps,
        paper=accounts["paper"],
        ours=accounts["ours"],
    )
    ratio = result.ratio
    say(f"paper / ours: {ratio.step:.1f} x a step, {ratio.whole:.1f} x the whole run")
    return result


def make_ready(video: Video, config: Config, trial: Trial) -> Contender:
    """All that comes before the first step, with its seconds; nothing is taken from a cache."""
    run = Run(config, trial.device, trial.seed)
    return Contender(run, pipeline.prepare(video, run))


def track_grid(video: Video, contender: Contender, points: int) -> None:
    """Refines all frames, and tracks a grid of points, with their seconds."""
    run = contender.run
    inputs, state = contender.fit.inputs, contender.fit.state
    queries = _grid(video, points).rescaled(video.size, inputs.size)
    pipeline.track(pipeline.ready_to_track(inputs, state, run), queries, run)


def account(run: Run, timed: Mapping[Phase, list[Block]]) -> Account:
    """Seconds of a contender, from its timed blocks and the stages around the fit."""
    steps = run.config.training.steps
    before = spread([block.before for blocks in timed.values() for block in blocks])
    around = {**run.watch.seconds, "before the first step": before.median}
    times = {phase: spread([block.step for block in blocks]) for phase, blocks in timed.items()}
    fit = sum(phase.length * known.median for phase, known in times.items())
    return Account(
        preset=run.config.preset,
        steps=steps,
        seconds_a_step={
            phase.name: StepTime(known.median, known.iqr, phase.length / steps, len(timed[phase]))
            for phase, known in times.items()
        },
        step=fit / steps,
        fit=fit,
        stages=around,
        whole=fit + sum(around.values()),
    )


def describe(account: Account) -> str:
    """One contender for people."""
    steps = ", ".join(
        f"{name} {1e3 * known.median:.1f} ms" for name, known in account.seconds_a_step.items()
    )
    fit = f"a step {steps}; {account.steps} steps {account.fit:.0f} s"
    around = f"around them, seconds {listed(account.stages)}"
    return f"{fit}; {around}; whole {account.whole:.0f} s"


def _with_labels_of(contender: Contender, other: Contender) -> Contender:
    """The contender, who learns from the other one's labels."""
    theirs = other.fit.data
    data = replace(contender.fit.data, supervision=theirs.supervision, buddies=theirs.buddies)
    return replace(contender, fit=replace(contender.fit, data=data))


def _grid(video: Video, points: int) -> Queries:
    """A grid of points of the first frame, as many as a square has, in px of the video."""
    side = math.ceil(math.sqrt(points))
    return Queries.from_rows(torch.from_numpy(grid_queries(side, video.size, 0)))
