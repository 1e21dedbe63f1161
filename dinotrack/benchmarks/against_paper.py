"""A preset of ours against a faithful stepping of the paper's configuration (METHOD), as ratios of
seconds.

Both see the same working frames, backbone and flow, in one process, and step on the same chains and
best buddies. What leads up to the fit, and what follows it, is measured with each configuration as
it is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt
import torch

from dinotrack import training
from dinotrack.benchmarks.accuracy import evaluate
from dinotrack.benchmarks.datasets import Clip
from dinotrack.benchmarks.machine import clock, fresh_cache, spread
from dinotrack.benchmarks.methods import Configuration
from dinotrack.checkpoint import Identity
from dinotrack.config import PAPER, Config, VideoConfig
from dinotrack.errors import InputError
from dinotrack.graphs import UNRECORDED
from dinotrack.inference import refine_video
from dinotrack.pipeline import Fitted, Sight, Watch, begin, look, make_tools, prepare
from dinotrack.tracks import Tracks
from dinotrack.video import Video, working_size

Row = dict[str, Any]
Say = Callable[[str], None]

PARTS = 20  # blocks that the steps are timed in, the contenders taking turns


@dataclass(frozen=True)
class Contender:
    """A configuration that is ready to be fitted to a video."""

    config: Config
    sight: Sight
    material: training.Material
    watch: Watch


@dataclass(frozen=True)
class Phase:
    """A part of a contender's steps, in which all are alike: from step `first` on, `length` of
    them."""

    contender: str
    name: str
    first: int
    length: int


@dataclass(frozen=True)
class Block:
    """Some steps in a row. step: seconds of one. before: what a fit takes besides, to begin and, on
    CUDA, to record."""

    step: float
    before: float


def equal_settings(video: Video, area: int | None, backbone: str) -> dict[str, Any]:
    """What makes any two configurations see the same: the paper's working frame, or one of that
    area; ViT and flow."""
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


def compare(
    video: Video,
    ours: Config,
    paper: Config,
    steps: int,
    points: int,
    seed: int,
    device: torch.device,
    say: Say,
) -> Row:
    """Seconds of both: each step, what leads up to the fit, what follows, and the whole; and paper
    / ours."""
    make_ready(
        replace(video, frames=video.frames[:2]), ours, seed, device
    )  # what only first calls cost is nobody's
    ready: dict[str, Contender] = {}
    for name, config in (("paper", paper), ("ours", ours)):
        ready[name] = make_ready(video, config, seed, device)
        say(f"{name}: before the fit, seconds {_listed(ready[name].watch.seconds)}")
    theirs, own = ready["paper"].material, ready["ours"].material
    labels = {
        name: getattr(theirs, name) for name in ("chains", "chain_foreground", "masks", "buddies")
    }
    ready["ours"] = replace(ready["ours"], material=replace(own, **labels))
    states = {
        name: begin(one.config, one.sight, seed, device, learns=True) for name, one in ready.items()
    }
    timed = time_steps(ready, states, steps, seed, device, say)
    result: Row = {
        "size": list(ready["paper"].sight.size),
        "frames": len(video.frames),
        "points": points,
    }
    for name, one in ready.items():
        points_tracked = follow(video, one, states[name], points, seed)
        parts = [phase for phase in timed if phase.contender == name]
        result[name] = account(one, {phase: timed[phase] for phase in parts})
        result["points"] = points_tracked
        say(f"{name}: {describe(result[name])}")
    ratio = {key: result["paper"][key] / result["ours"][key] for key in ("step", "whole")}
    say(f"paper / ours: {ratio['step']:.1f} x a step, {ratio['whole']:.1f} x the whole run")
    return result | {"ratio": ratio}


def make_ready(video: Video, config: Config, seed: int, device: torch.device) -> Contender:
    """All that comes before the first step, with its seconds; nothing is taken from a cache."""
    watch, tools = Watch(), make_tools(config, device, named=False)
    sight = look(video, config, tools, watch)
    grid = begin(config, sight, seed, device, learns=False).tracker.grid(
        sight.size, sight.feature_grid
    )
    return Contender(config, sight, prepare(config, sight, tools, grid, seed, None, watch), watch)


def phases(name: str, config: Config) -> list[Phase]:
    """Before and after the late losses begin; one phase where there are none."""
    steps, late = config.training.steps, math.ceil(config.training.late * config.training.steps)
    if not 1 < late < steps - 1 or not (
        config.training.refined_buddy_weight or config.training.cycle_weight
    ):
        return [Phase(name, "all", 0, steps)]
    return [Phase(name, "early", 0, late), Phase(name, "late", late, steps - late)]


def time_steps(
    ready: Mapping[str, Contender],
    states: Mapping[str, training.State],
    steps: int,
    seed: int,
    device: torch.device,
    say: Say,
) -> dict[Phase, list[Block]]:
    """Blocks of steps of each phase of each contender, who take turns; on CUDA the first turn
    doesn't count.

    Raises InputError for a phase that is too short.
    The late steps are those of a network that the steps timed here have taught, no longer.
    """
    block = max(2, steps // PARTS)
    turns = max(1, steps // block)
    known = [phase for name, one in ready.items() for phase in phases(name, one.config)]
    if short := [phase for phase in known if phase.length <= untimed(device)]:
        raise InputError(
            f"{short[0].contender} has {short[0].length} steps alike, too few to be timed; take more training.steps"
        )
    blocks: dict[Phase, list[Block]] = {phase: [] for phase in known}
    for turn in range(-1 if device.type == "cuda" else 0, turns):
        for phase in known:
            count = min(block, phase.length - untimed(device))
            state, one = states[phase.contender], ready[phase.contender]
            state.step = phase.first + (turn + 1) * count % (
                phase.length - count - untimed(device) + 1
            )
            taken = take_steps(one, state, count, seed, device)
            blocks[phase] += [taken] * (turn >= 0)
        done = {
            f"{phase.contender} {phase.name}": timed[-1].step
            for phase, timed in blocks.items()
            if timed
        }
        say(
            f"block {turn + 1} of {turns}, {block} steps each: seconds a step {_listed(done) or 'not counted'}"
        )
    return blocks


class _Enough(Exception):
    """Ends a fit after the steps that were wanted."""


def untimed(device: torch.device) -> int:
    """Steps that come before the timed ones of a block; on CUDA until those of a fit are replays of
    a recorded one."""
    return 1 if device.type != "cuda" else UNRECORDED + 2


def take_steps(
    contender: Contender, state: training.State, count: int, seed: int, device: torch.device
) -> Block:
    """Times the `count` steps of the fit that follow the untimed ones, which follow the one that
    the state is at.

    Raises InputError without labels.
    """
    skipped, marks = untimed(device), [clock(device)]
    first = state.step + skipped

    def on_step(state: training.State) -> None:
        if state.step in (first, first + count):
            marks.append(clock(device))
        if state.step == first + count:
            raise _Enough

    try:
        training.fit(contender.material, contender.config, seed, state, on_step)
    except _Enough:
        start, one, end = marks
        step = (end - one) / count
        return Block(step, max(0.0, one - start - skipped * step))
    raise InputError(
        "no point of this clip could be followed from any frame to the next; choose another --clip"
    )


def follow(
    video: Video, contender: Contender, state: training.State, points: int, seed: int
) -> int:
    """Refines and tracks a grid of points, as many as a square has, with their seconds -> how
    many."""
    sight, material, watch = contender.sight, contender.material, contender.watch
    with watch.stage("refine"):
        maps = refine_video(state.tracker, sight.frames, sight.features, sight.feature_grid)
    state.tracker.eval()
    identity = Identity(contender.config, seed, "")
    fitted = Fitted(
        video, identity, state, maps, material.grid, sight.flow, sight.frames, watch, state.step
    )
    return len(fitted.track(grid=math.ceil(math.sqrt(points))).queries)


def account(contender: Contender, timed: Mapping[Phase, list[Block]]) -> Row:
    """Seconds of a contender: phases, a step on average, all steps (extrapolated), stages around
    them, the whole."""
    steps = contender.config.training.steps
    before = spread([block.before for blocks in timed.values() for block in blocks])["median"]
    around = contender.watch.seconds | {"before the first step": before}
    taken = {phase: spread([block.step for block in blocks]) for phase, blocks in timed.items()}
    fit = sum(phase.length * known["median"] for phase, known in taken.items())
    return {
        "preset": contender.config.preset,
        "steps": steps,
        "seconds_a_step": {
            phase.name: {**known, "share": phase.length / steps, "blocks": len(timed[phase])}
            for phase, known in taken.items()
        },
        "step": fit / steps,
        "fit": fit,
        "stages": around,
        "whole": fit + sum(around.values()),
    }


def describe(row: Row) -> str:
    """One contender for people."""
    steps = ", ".join(
        f"{name} {1e3 * part['median']:.1f} ms" for name, part in row["seconds_a_step"].items()
    )
    fit = f"a step {steps}; {row['steps']} steps {row['fit']:.0f} s"
    return f"{fit}; around them, seconds {_listed(row['stages'])}; whole {row['whole']:.0f} s"


@dataclass(frozen=True)
class Watched:
    """A method (benchmarks.methods) that notes how long each of its fits, and their steps, took."""

    configuration: Configuration
    fits: list[Row] = field(default_factory=list)

    def __call__(self, clip: str, video: Any, queries: npt.NDArray[Any], seed: int) -> Tracks:
        with fresh_cache():
            fitted = self.configuration.fit(clip, video, seed)
            tracks = fitted.track(queries)
        self.fits.append(
            {"fit_seconds": fitted.record["seconds"].get("fit", 0.0), "steps": fitted.steps}
        )
        return tracks


def compare_accuracy(
    clip: Clip,
    both: Mapping[str, tuple[str, Mapping[str, Any]]],
    step: float,
    seed: int,
    device: str,
) -> list[Row]:
    """Both on a clip with truth: ours as it is, the paper's with the steps that the same seconds of
    fitting hold.

    both: preset and settings of "ours" and "paper". step: seconds that one of the paper's steps
    takes.
    """
    name, settings = both["ours"]
    ours = Watched(Configuration(name, settings, device, None))
    rows = [measured.row for measured in evaluate(clip, "ours", ours, seed)]
    name, settings = both["paper"]
    steps = max(1, round(ours.fits[0]["fit_seconds"] / step))
    paper = Watched(Configuration(name, {**settings, "training.steps": steps}, device, None))
    rows += [measured.row for measured in evaluate(clip, "paper", paper, seed)]
    fits = {"ours": ours.fits[0], "paper": paper.fits[0]}
    return [{**row, **fits[row["method"]]} for row in rows]


def _listed(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items())
