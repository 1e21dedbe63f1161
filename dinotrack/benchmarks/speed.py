"""Times everything: kernels, the stages over the length of the clip, long clips, the paper's steps,
its inference.

Each part's result goes into the same JSON file as soon as it is there. --table writes short
Markdown tables, of this run or of several such files.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dinotrack.benchmarks import (
    against_paper,
    against_reference,
    equal_time,
    machine,
    options,
    outputs,
    records,
    report,
    speed_options,
    speed_report,
    stages,
)
from dinotrack.benchmarks.against_paper import PaperPart
from dinotrack.benchmarks.against_reference import InferencePart
from dinotrack.benchmarks.datasets import find_clips, generated_clip, open_datasets
from dinotrack.benchmarks.equal_time import Pace
from dinotrack.benchmarks.growth import summarise
from dinotrack.benchmarks.kernel_speed.part import KernelsPart, measure_kernels
from dinotrack.benchmarks.methods import Configuration, Options
from dinotrack.benchmarks.report import Say
from dinotrack.benchmarks.speed_options import FEW
from dinotrack.benchmarks.speed_parts import Part, Parts, SpeedReport
from dinotrack.benchmarks.stages import GrowthPlan, LongPart, StagesPart
from dinotrack.benchmarks.step_times import Trial
from dinotrack.benchmarks.summary import Row
from dinotrack.benchmarks.truth import AnnotatedClip
from dinotrack.config import override, preset
from dinotrack.options import choose_config, choose_device
from dinotrack.video import Video, read_video

HELP = "seconds and memory: kernels, stages, long clips, against the paper"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    speed_options.add_arguments(parser, [*PARTS])


def run(args: argparse.Namespace, say: Say) -> list[SpeedReport]:
    """Runs the parts, says one line a measurement, writes and returns the report; or, with --from,
    the earlier ones.

    Wrong settings are told before anything runs. Parts whose runs have processes of their own come
    first, while this process is small.
    """
    if args.earlier:
        earlier = [records.read_json(path, SpeedReport, "speed") for path in args.earlier]
        outputs.tabulate(args, speed_report.markdown(earlier), say)
        return earlier
    settings = options.settings(args)
    choose_config(args.preset or "fast", settings, choose_device(args.device))
    measured = SpeedReport((machine.describe(settings, args.device),), Parts())
    for name, part in PARTS.items():
        if name in args.parts:
            say(f"{name}:")
            known = {**vars(measured.parts), name: part(args, say)}
            measured = replace(measured, parts=Parts(**known))
            outputs.write(args, measured, lambda one: speed_report.markdown([one]))
    outputs.say_written(args, say)
    return [measured]


def run_stages(
    args: argparse.Namespace, say: Say, apart: machine.Apart = machine.in_fresh_process
) -> StagesPart:
    """Part `stages`."""
    lengths = tuple(sorted(set(args.frames)))
    plan = GrowthPlan(lengths, args.size, args.points, args.seed, args.repeats, args.again)
    part = stages.measure_growth(_ours(args), plan, say, apart)
    growth = summarise([row for row in part.rows if row.run == "first"])
    for name, stage in growth.stages.items():
        if stage.exponent is not None:
            say(f"{name}: grows with the length to the power {stage.exponent:.2f}")
    return part


def run_long(
    args: argparse.Namespace, say: Say, apart: machine.Apart = machine.in_fresh_process
) -> LongPart:
    """Part `long`."""
    return stages.measure_long(_ours(args), args.seed, args.long, args.video, say, apart)


def run_paper(args: argparse.Namespace, say: Say) -> PaperPart:
    """Part `paper`."""
    name = args.preset or "quality"
    settings = options.settings(args)
    device = choose_device(args.device)
    steps = args.paper_steps or (200 if device.type == "cuda" else 8)
    video = _paper_video(args)
    equal = against_paper.equal_settings(video, args.area, args.backbone)
    ours = override(preset(name), {**settings, **equal})
    paper = override(preset("paper"), equal)
    trial = Trial(steps, args.points, args.seed, device)
    part = against_paper.compare(video, ours, paper, trial, say)
    if args.accuracy is None:
        return part
    pace = Pace(part.paper.step, args.paper_seconds)
    return replace(part, accuracy=tuple(_equal_time(args, name, pace, say)))


def run_inference(args: argparse.Namespace, say: Say) -> InferencePart:
    """Part `inference`."""
    device = choose_device(args.device)
    clip = _inference_clip(args)
    truths = clip.point_truths
    ours = _ours(args, 0 if args.models else FEW, args.models)
    fitted = ours.fit(clip.name, clip.video, args.seed)
    oracle = args.oracle_points or (args.query_points if device.type == "cuda" else 4)
    plan = against_reference.InferencePlan(args.query_points, oracle, args.anchors, args.repeats)
    truth = truths[0] if truths else None
    return against_reference.compare(clip.name, fitted, truth, plan, say)


def run_kernels(args: argparse.Namespace, say: Say) -> KernelsPart:
    """Part `kernels`."""
    return measure_kernels(False, say)


PARTS: dict[str, Callable[[argparse.Namespace, Say], Part]] = {
    "stages": run_stages,
    "long": run_long,
    "paper": run_paper,
    "inference": run_inference,
    "kernels": run_kernels,
}


def _ours(args: argparse.Namespace, steps: int = FEW, models: Path | None = None) -> Configuration:
    """Our tracker as it is fitted. steps: where --steps doesn't say; 0: the preset's own."""
    steps = steps if args.steps is None else args.steps
    settings = options.settings(args) | ({"training.steps": str(steps)} if steps else {})
    chosen = Options(settings, args.device, models)
    return Configuration(args.preset or "fast", chosen)


def _paper_video(args: argparse.Namespace) -> Video:
    """The video that the contenders are timed on."""
    if args.clip is not None:
        return read_video(args.clip)
    clip = _generated(args, 30, 1)
    return replace(read_video(clip.video), name="generated")


def _equal_time(args: argparse.Namespace, name: str, pace: Pace, say: Say) -> list[Row]:
    """Accuracy of both on the clips of --accuracy. name: our preset."""
    rows = []
    for clip in find_clips(args.accuracy, args.clips):
        video = read_video(clip.video)
        equal = against_paper.equal_settings(video, args.area, args.backbone)
        settings = {**options.settings(args), **equal}
        ours = Configuration(name, Options(settings, args.device))
        paper = Configuration("paper", Options(equal, args.device))
        for row in equal_time.compare_accuracy(clip, ours, paper, args.seed, pace):
            steps = f"{row.numbers['steps']:.0f} steps"
            found = f"{steps}, {report.shares(row.numbers)}"
            say(f"{row.method} {row.dataset} {row.clip}: {found}")
            rows.append(row)
    return rows


def _inference_clip(args: argparse.Namespace) -> AnnotatedClip:
    """The clip that is tracked through: one of --data, or a generated one."""
    if args.data is None:
        return _generated(args, 50, args.query_points)
    names = () if args.eval_clip is None else (args.eval_clip,)
    return next(open_datasets((), args.data, names))


def _generated(args: argparse.Namespace, frames: int, points: int) -> AnnotatedClip:
    """A generated clip with its truth, of `frames` frames unless --clip-frames says otherwise."""
    length = args.clip_frames or frames
    height, width = args.size
    name = f"synthetic-{length}-frames-of-{height}x{width}-seed-{args.seed}"
    arguments = {"size": args.size, "frames": length, "seed": args.seed, "points": points}
    return generated_clip("synthetic", name, arguments)
