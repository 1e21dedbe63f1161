"""Times everything: kernels, the stages over the length of the clip, long clips, the paper's steps,
its inference.

Each part's result goes into the same JSON file as soon as it is there. --table writes short
Markdown tables, of this run or of several such files.
"""

import argparse
import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dinotrack.benchmarks import (
    against_paper,
    against_reference,
    machine,
    report,
    speed_report,
    stages,
)
from dinotrack.benchmarks.datasets import Clip, open_datasets
from dinotrack.config import override, parse_assignment, preset
from dinotrack.features import SHIPPED
from dinotrack.pipeline import choose_config, choose_device, fit
from dinotrack.video import read_video

HELP = "seconds and memory: kernels, stages, long clips, against the paper"
EXAMPLES = """\
parts:
  stages     every stage over clips of --frames frames, with the exponent of growth and peak memory;
  a process each long       the same on --long clips, and on each --video
  paper      --preset (quality) against a faithful stepping of `paper`, on --clip
  inference  --preset (fast): tracking with visibility against the reference's granularity
  kernels    each kernel against plain PyTorch

examples:
  speed --parts stages --repeats 3 --out stages.json
  speed --parts long --long --video my.mp4 --steps 200
  speed --parts paper --clip DIR/frames --area 100000
  speed --parts inference --data DIR --eval-clip horsejump-high --models runs/fits
  speed --from stages.json paper.json --table performance.md
"""

Say = Callable[[str], None]
Row = dict[str, Any]
FEW = 20  # steps, where the fit itself is not judged
KERNELS = "dinotrack.benchmarks.kernel_speed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLES
    add = parser.add_argument
    add(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=[*PARTS],
        metavar="PART",
        help="see below (all)",
    )
    add("--preset", metavar="NAME", help="ours (fast; in `paper`, quality)")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change ours, as in track.py",
    )
    add("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    add("--seed", type=int, default=0, metavar="N", help="of generated clips and of fits (0)")
    add(
        "--out",
        type=Path,
        default=Path("speed.json"),
        metavar="FILE",
        help="JSON to write (speed.json)",
    )
    add("--table", type=Path, metavar="FILE", help="also write Markdown")
    add(
        "--from",
        nargs="+",
        type=Path,
        dest="earlier",
        metavar="FILE",
        help="run nothing: one --table of these JSONs",
    )
    few = f"of the fits in stages, long and inference; 0: the preset's own, as in inference with --models ({FEW})"
    add("--steps", type=_natural, metavar="N", help=few)
    add(
        "--points",
        type=_positive,
        default=256,
        metavar="N",
        help="tracked in stages and paper (256)",
    )
    add(
        "--repeats",
        type=_positive,
        default=1,
        metavar="N",
        help="of stages and inference, interleaved (1)",
    )
    add(
        "--frames",
        nargs="+",
        type=_positive,
        default=[25, 50, 100, 200],
        metavar="T",
        help="stages (25 50 100 200)",
    )
    add(
        "--size",
        type=_size,
        default=(480, 854),
        metavar="HxW",
        help="of generated clips but the long ones (480x854)",
    )
    add(
        "--again",
        action="store_true",
        help="stages: run each a second time, with the first one's cache",
    )
    long = [stages.Shape(1000, (480, 854)), stages.Shape(60, (2160, 3840))]
    add(
        "--long",
        nargs="*",
        type=_shape,
        default=long,
        metavar="TxHxW",
        help="(1000x480x854 60x2160x3840)",
    )
    add("--video", nargs="+", type=Path, default=[], metavar="FILE", help="long: these too")
    add(
        "--clip-frames",
        type=_positive,
        metavar="T",
        help="of the generated clips of paper (30) and inference (50)",
    )
    add(
        "--clip",
        type=Path,
        metavar="PATH",
        help="paper: a video or a folder of frames (a generated clip)",
    )
    add(
        "--paper-steps",
        type=_positive,
        metavar="N",
        help="paper: timed of each (200 on CUDA, else 8)",
    )
    add(
        "--area",
        type=_positive,
        metavar="PX",
        help="paper: working pixels of both (476 x 854, whatever the aspect)",
    )
    add("--backbone", default=SHIPPED, metavar="NAME", help=f"paper: of both ({SHIPPED})")
    add(
        "--accuracy",
        type=Path,
        metavar="DIR",
        help="paper: also accuracy, on the clips of DIR/eval",
    )
    add("--clips", nargs="+", default=[], metavar="NAME", help="--accuracy: only these")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="inference: folder that holds eval/ (a generated clip)",
    )
    add("--eval-clip", metavar="NAME", help="inference: a clip of --data (its first)")
    add(
        "--models",
        type=Path,
        metavar="DIR",
        help="inference: keep fits as DIR/CLIP-SEED, and use those there",
    )
    add(
        "--query-points",
        type=_positive,
        default=100,
        metavar="N",
        help="inference: points tracked (100)",
    )
    add(
        "--oracle-points",
        type=_positive,
        metavar="N",
        help="inference: of these by the oracle (all on CUDA, else 4)",
    )
    add(
        "--anchors",
        type=_positive,
        default=8,
        metavar="N",
        help="inference: of matching with few anchors (8)",
    )


def run(args: argparse.Namespace, say: Say) -> Row:
    """Runs the parts, says one line a measurement, writes and returns the report."""
    if args.earlier:
        reports = [report.read_json(path, ("runs", "parts"), "speed") for path in args.earlier]
        text = speed_report.markdown(reports, machine.command())
        if args.table:
            report.write(args.table, text)
        say(f"wrote {args.table}" if args.table else text)
        return {"runs": [one for known in reports for one in known["runs"]]}
    settings = dict(parse_assignment(text) for text in args.set)
    choose_config(
        args.preset or "fast", settings, choose_device(args.device)
    )  # complain before anything runs
    about = {
        "command": machine.command(),
        **machine.describe(),
        "settings": settings,
        "device": args.device,
    }
    result: Row = {"runs": [about], "parts": {}}
    for name in [
        part for part in PARTS if part in args.parts
    ]:  # fresh processes first, while this one is small
        say(f"{name}:")
        result["parts"][name] = PARTS[name](args, settings, say)
        report.write(args.out, report.to_json(result))
        if args.table:
            report.write(args.table, speed_report.markdown([result], about["command"]))
    say(f"wrote {args.out}" + (f" and {args.table}" if args.table else ""))
    return result


def run_stages(
    args: argparse.Namespace,
    settings: Row,
    say: Say,
    apart: machine.Apart = machine.in_fresh_process,
) -> Row:
    """Part `stages`."""
    with tempfile.TemporaryDirectory() as folder:
        work = _work(args, settings, Path(folder))
        lengths = sorted(set(args.frames))
        result = stages.measure_growth(
            work, lengths, args.size, args.points, args.repeats, args.again, say, apart
        )
    for stage, row in result["summary"]["stages"].items():
        if row["exponent"] is not None:
            say(f"{stage}: grows with the length to the power {row['exponent']:.2f}")
    return {"preset": work.preset, **result}


def run_long(
    args: argparse.Namespace,
    settings: Row,
    say: Say,
    apart: machine.Apart = machine.in_fresh_process,
) -> Row:
    """Part `long`."""
    with tempfile.TemporaryDirectory() as folder:
        work = _work(args, settings, Path(folder))
        return {
            "preset": work.preset,
            "rows": stages.measure_long(work, args.long, args.video, say, apart),
        }


def run_paper(args: argparse.Namespace, settings: Row, say: Say) -> Row:
    """Part `paper`."""
    device, name = choose_device(args.device), args.preset or "quality"
    steps = args.paper_steps or (200 if device.type == "cuda" else 8)
    video = read_video(_generated(args, 30, 1).video if args.clip is None else args.clip)
    equal = against_paper.equal_settings(video, args.area, args.backbone)
    configs = override(preset(name), settings | equal), override(preset("paper"), equal)
    result = against_paper.compare(video, *configs, steps, args.points, args.seed, device, say)
    result |= {
        "backbone": args.backbone,
        "clip": video.name if args.clip else "generated",
        "steps_timed": steps,
    }
    result["papers_own_size"] = args.area is None
    if args.accuracy is None:
        return result
    rows: list[Row] = []
    for clip in open_datasets((), args.accuracy, args.clips):
        equal = against_paper.equal_settings(read_video(clip.video), args.area, args.backbone)
        both = {"ours": (name, settings | equal), "paper": ("paper", equal)}
        found = against_paper.compare_accuracy(
            clip, both, result["paper"]["step"], args.seed, args.device
        )
        for row in found:
            say(
                f"{row['method']} {row['dataset']} {row['clip']}: {row['steps']} steps, {speed_report.shares(row)}"
            )
        rows += found
    return result | {"accuracy": rows}


def run_inference(args: argparse.Namespace, settings: Row, say: Say) -> Row:
    """Part `inference`."""
    device = choose_device(args.device)
    names = () if args.eval_clip is None else (args.eval_clip,)
    clip = (
        _generated(args, 50, args.query_points)
        if args.data is None
        else next(open_datasets((), args.data, names))
    )
    truth = next((truth for truth in clip.truths if "tracks" in truth.arrays), None)
    oracle = args.oracle_points or (args.query_points if device.type == "cuda" else 4)
    work = _work(args, settings, Path(), steps=0 if args.models else FEW)
    folder = args.models and args.models / f"{clip.name}-{args.seed}"
    options: Row = {
        "preset": work.preset,
        "settings": work.settings,
        "seed": args.seed,
        "device": args.device,
    }
    fitted = fit(clip.video, **options, folder=folder, resume=True)
    result = against_reference.compare(
        fitted, truth, args.query_points, oracle, args.anchors, args.repeats, say
    )
    return {"clip": clip.name, **result}


def run_kernels(args: argparse.Namespace, settings: Row, say: Say) -> Row:
    """Part `kernels`."""
    if importlib.util.find_spec(KERNELS) is None:
        say(f"{KERNELS} is missing; nothing is measured")
        return {"missing": KERNELS}
    measured: Row = importlib.import_module(KERNELS).run(
        argparse.Namespace(dry_run=False, out=None), say
    )
    return measured


PARTS: dict[str, Callable[[argparse.Namespace, Row, Say], Row]] = {
    "stages": run_stages,
    "long": run_long,
    "paper": run_paper,
    "inference": run_inference,
    "kernels": run_kernels,
}


def _work(args: argparse.Namespace, settings: Row, folder: Path, steps: int = FEW) -> stages.Work:
    """What the runs of our pipeline have in common. steps: where --steps doesn't say."""
    steps = steps if args.steps is None else args.steps
    settings = settings | ({"training.steps": steps} if steps else {})
    return stages.Work(Path(), folder, args.preset or "fast", settings, args.device, args.seed)


def _generated(args: argparse.Namespace, frames: int, points: int) -> Clip:
    """A generated clip with its truth, of `frames` frames unless --clip-frames says otherwise."""
    height, width = args.size
    options = f"frames={args.clip_frames or frames},size={height}x{width},seed={args.seed},points={points}"
    return next(open_datasets([f"synthetic:{options}"], Path()))


def _natural(text: str) -> int:
    if int(text) < 0:
        raise ValueError
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, width = map(_positive, text.split("x"))
    return height, width


def _shape(text: str) -> stages.Shape:
    frames, _, size = text.partition("x")
    return stages.Shape(_positive(frames), _size(size))
