"""Runs any methods on any data sets and scores their tracks (metrics.py): a JSON file and, with
--table, Markdown.

By default our tracker, with the preset this machine takes by itself, on the davis, badja and layers
clips of --data; on the demo clip where there are none.
"""

import argparse
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from dinotrack import metrics
from dinotrack.benchmarks import datasets, machine, report
from dinotrack.benchmarks.datasets import Clip
from dinotrack.benchmarks.methods import METHODS, Method, Options, make_method
from dinotrack.config import parse_assignment
from dinotrack.pipeline import choose_config, choose_device, peak_memory
from dinotrack.tracks import Tracks
from dinotrack.video import read_video

HELP = "positions, visibility and confidence against truth"
EXAMPLES = """\
methods: PRESET/ABLATION is one of our presets with one part taken out or changed, as
fast/without-joining; a wrong name lists all. file:FOLDER are anyone's tracks, FOLDER/CLIP-SEED.npz
or CLIP.npz with `tracks` [N, T, 2] px, `visible` [N, T] and perhaps `confidence` [N, T], a row for
each query, as --save writes them; give them one data set at a time.

examples:
  accuracy --data DIR                                    our tracker on what DIR/eval holds
  accuracy --methods fast dis still --datasets davis badja --seeds 0 1 2 --out a.json
  accuracy --datasets tapvid:tapvid_davis.pkl,mode=first synthetic:difficulty=2,seed=0+1
  accuracy --methods file:predictions --datasets davis   someone else's tracks: predictions/CLIP.npz
  accuracy --from a.json b.json --table results.md       one table of earlier runs; nothing is run

"""

Array = npt.NDArray[Any]
Say = Callable[[str], None]
Row = report.Row
MakeMethod = Callable[[str, Options], Method]


@dataclass(frozen=True)
class Measured:
    """What one method did on one truth with one seed. confidence [M], correct bool [M]: of the
    judged frames."""

    row: Row
    confidence: Array
    correct: Array


def evaluate(
    clip: Clip, name: str, method: Method, seed: int, save: Path | None = None
) -> list[Measured]:
    """Runs the method called `name` on a clip once, for the queries of all its truths together, and
    scores each.

    save: the folder where predictions are written, a file for each truth.
    """
    queries = np.concatenate([truth.queries for truth in clip.truths])
    tracks, costs = _run_measured(clip, method, queries, seed)
    out, begin = [], 0
    for truth in clip.truths:
        part = slice(begin, begin + len(truth.queries))
        begin = part.stop
        xy, visible, confidence = tracks.xy[part], tracks.visible[part], tracks.confidence[part]
        if save is not None:
            file = clip.name if truth is clip.truths[0] else f"{clip.name}-{slug(truth.dataset)}"
            arrays = {
                "tracks": xy,
                "visible": visible,
                "confidence": confidence,
                "queries": tracks.queries[part],
            }
            save.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(save / f"{file}-{seed}.npz", **arrays)  # type: ignore[arg-type]
        sure, correct = truth.certainty(xy, confidence)
        row = {"method": name, "dataset": truth.dataset, "clip": clip.name, "seed": seed}
        row |= truth.score(xy, visible) | judge_confidence(sure, correct) | costs
        out.append(Measured(row, sure, correct))
    return out


def judge_confidence(confidence: Array, correct: Array) -> dict[str, float]:
    """Calibration error and AUROC of confidence [M] against bool [M]; NaN where there is nothing to
    judge."""
    return {
        "ece": metrics.calibration_error(confidence, correct),
        "auroc": metrics.auroc(confidence, correct),
    }


def dis_seconds(video: Path | Array) -> float:
    """Seconds that OpenCV's DIS flow takes over the consecutive pairs of a video: how fast this
    machine is just now."""
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in read_video(video).frames]
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = time.perf_counter()
    for a, b in itertools.pairwise(frames):
        flow.calc(a, b, None)
    return time.perf_counter() - start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.formatter_class, parser.epilog = (
        argparse.RawDescriptionHelpFormatter,
        EXAMPLES + datasets.HELP,
    )
    default = os.environ.get("DINOTRACK_DATA", str(datasets.ROOT.parent / "shared"))
    add = parser.add_argument
    rivals = ", ".join(METHODS)
    add(
        "--methods",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"{rivals}, PRESET/ABLATION or file:FOLDER (see below)",
    )
    add(
        "--datasets",
        nargs="+",
        default=[],
        metavar="SET",
        help="see below (all three of --data, or the demo)",
    )
    add(
        "--data",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help="folder that holds eval/ (DINOTRACK_DATA)",
    )
    add(
        "--clips",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these clips, as the report names them",
    )
    add(
        "--seeds",
        nargs="+",
        type=int,
        default=[0],
        metavar="N",
        help="run every clip once per seed (0)",
    )
    add("--device", default="auto", help="auto, cpu, cuda or mps (auto)")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings, as in track.py",
    )
    add(
        "--out",
        type=Path,
        default=Path("accuracy.json"),
        metavar="FILE",
        help="JSON to write (accuracy.json)",
    )
    add("--table", type=Path, metavar="FILE", help="also write Markdown")
    add(
        "--models",
        type=Path,
        metavar="DIR",
        help="keep fits as DIR/CLIP-SEED, and use those there; a DIR per preset",
    )
    add(
        "--save",
        type=Path,
        metavar="DIR",
        help="also write predictions as DIR/METHOD/CLIP-SEED.npz",
    )
    merge = "run nothing: merge what --out wrote earlier into one --table; of equal rows the last file's count"
    add("--from", nargs="+", type=Path, dest="earlier", metavar="FILE", help=merge)


def run(args: argparse.Namespace, say: Say, make: MakeMethod = make_method) -> dict[str, Any]:
    """Runs the benchmark, says one line a row and the means, writes and returns the report."""
    command = machine.command()
    if args.earlier:
        merged = report.merge([report.read_report(path) for path in args.earlier])
        text = report.markdown(merged, command)
        if args.table:
            report.write(args.table, text)
        say(f"wrote {args.table}" if args.table else text)
        return merged
    result = _measure_all(args, say, make, {"command": command, **about(args)})
    for mean in result["means"]:
        say(line(f"mean {mean['method']} {mean['dataset']}", mean["mean"]))
    say(f"wrote {args.out}" + (f" and {args.table}" if args.table else ""))
    return result


def about(args: argparse.Namespace) -> dict[str, Any]:
    """What was measured, with what, on what."""
    settings = dict(parse_assignment(text) for text in args.set)
    return {**machine.describe(), "settings": settings, "seeds": args.seeds, "device": args.device}


def line(name: str, row: Mapping[str, Any]) -> str:
    """One row for people: percent, seconds and memory."""
    shares = [
        f"{label} {100 * row[key]:.1f}"
        for key, label in report.SHARES.items()
        if not np.isnan(row.get(key, np.nan))
    ]
    costs = f"{row['seconds']:.1f} s (DIS {row['dis_s']:.2f} s), {row['peak_mb']:.0f} MB"
    return f"{name:<32} {'  '.join(shares)}  {costs}"


def slug(name: str) -> str:
    """A name as one part of a path."""
    return re.sub(r"[^\w.-]+", "-", name)


def _measure_all(
    args: argparse.Namespace, say: Say, make: MakeMethod, about: Row
) -> dict[str, Any]:
    """Every method with every seed on every clip, one clip after another, as a data set may be too
    large for memory.

    The files are written anew after each run of a method, so that nothing is lost.
    """
    options = Options(settings=about["settings"], device=args.device, models=args.models)
    names = args.methods or [choose_config(None, None, choose_device(args.device)).preset]
    methods = {
        name: make(name, options) for name in names
    }  # before anything runs: a wrong name costs no time
    rows: list[Row] = []
    samples: dict[report.Group, list[tuple[Array, Array]]] = {}
    pooled: dict[report.Group, dict[str, float]] = {}
    result: dict[str, Any] = {}
    for clip in datasets.open_datasets(args.datasets, args.data, args.clips):
        for name, seed in itertools.product(methods, dict.fromkeys(args.seeds)):
            for measured in evaluate(
                clip, name, methods[name], seed, args.save and args.save / slug(name)
            ):
                rows.append(measured.row)
                say(line(f"{name} {measured.row['dataset']} {clip.name} seed {seed}", measured.row))
                key = report.group(measured.row)
                part = samples.setdefault(key, [])
                part.append((measured.confidence, measured.correct))
                pooled[key] = judge_confidence(
                    *(np.concatenate(arrays) for arrays in zip(*part, strict=True))
                )
            result = {"runs": [about], "rows": rows, **report.summarise(rows, pooled)}
            report.write(args.out, report.to_json(result))
            if args.table:
                report.write(args.table, report.markdown(result, about["command"]))
    return result


def _run_measured(
    clip: Clip, method: Method, queries: Array, seed: int
) -> tuple[Tracks, dict[str, float]]:
    """A method's tracks, and what they cost.

    The yardstick is taken right before, as machines are noisy.
    """
    costs = {"dis_s": dis_seconds(clip.video)}
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    start = time.perf_counter()
    tracks = method(clip.name, clip.video, queries, seed)
    costs |= {"seconds": time.perf_counter() - start, "peak_mb": peak_memory() / 2**20}
    return tracks, costs | (
        {"gpu_mb": (torch.cuda.max_memory_allocated() - before) / 2**20} if on_gpu else {}
    )
