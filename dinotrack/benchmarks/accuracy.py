"""Runs any methods on any data sets and scores their tracks (metrics.py): a JSON file and, with
--table, Markdown.

By default our tracker, with the preset this machine takes by itself, on the davis, badja and layers
clips of --data; on the demo clip where there are none.
"""

import argparse
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from dinotrack.benchmarks import (
    accuracy_report,
    corrections,
    datasets,
    machine,
    options,
    outputs,
    records,
    report,
    summary,
)
from dinotrack.benchmarks.corrections_report import CorrectionsReport
from dinotrack.benchmarks.machine import Circumstances
from dinotrack.benchmarks.methods import METHODS, Method, Options, make_method
from dinotrack.benchmarks.report import Say
from dinotrack.benchmarks.summary import AccuracyReport, Group, Row
from dinotrack.benchmarks.truth import AnnotatedClip
from dinotrack.certainty import Certainty
from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.media.frames import each_frame
from dinotrack.metrics import Scores
from dinotrack.options import choose_config, choose_device
from dinotrack.progress import peak_memory
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
  accuracy --data DIR --models DIR --corrections 3 --teach --out c.json --table corrections.md
                                                         what corrections from the truth bring
  accuracy --from a.json b.json --table results.md       a table of earlier runs; of equal rows the
                                                         last one counts

"""

MakeMethod = Callable[[str, Options], Method]


@dataclass(frozen=True)
class Measured:
    """What one method did on one truth with one seed."""

    row: Row
    certainty: Certainty
    """Of the judged observations."""


@dataclass
class Ledger:
    """All that was measured so far."""

    run: Circumstances
    rows: list[Row] = field(default_factory=list)
    certainties: dict[Group, list[Certainty]] = field(default_factory=dict)
    pooled: dict[Group, Scores] = field(default_factory=dict)

    def add(self, measured: Measured) -> None:
        """Take one more measurement in."""
        group = measured.row.group
        known = self.certainties.setdefault(group, [])
        known.append(measured.certainty)
        self.rows.append(measured.row)
        self.pooled[group] = Certainty.pooled(known).scores()

    def report(self) -> AccuracyReport:
        """What is known now."""
        return AccuracyReport(
            (self.run,), tuple(self.rows), summary.summarise(self.rows, self.pooled)
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES + datasets.HELP
    options.add_datasets(parser)
    options.add_data(parser)
    options.add_settings(parser)
    options.add_models(parser)
    add = parser.add_argument
    names = f"{', '.join(METHODS)}, PRESET/ABLATION or file:FOLDER (see below)"
    add("--methods", nargs="+", default=[], metavar="NAME", help=names)
    seeds = "run every clip once per seed (0)"
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help=seeds)
    save = "also write predictions as DIR/METHOD/CLIP-SEED.npz"
    add("--save", type=Path, metavar="DIR", help=save)
    corrections.add_arguments(parser)
    outputs.add_arguments(parser, "accuracy")


def run(
    args: argparse.Namespace, say: Say, make: MakeMethod = make_method
) -> AccuracyReport | CorrectionsReport:
    """Runs the benchmark, says one line a row and the means, writes and returns the report."""
    if args.corrections is not None:
        return corrections.run(args, say, make)
    if args.teach:
        raise InputError("--teach teaches corrections; give --corrections K as well")
    if args.earlier:
        earlier = [records.read_json(path, AccuracyReport, "accuracy") for path in args.earlier]
        merged = summary.merge(earlier)
        outputs.tabulate(args, accuracy_report.markdown(merged), say)
        return merged
    measured = _measure_all(args, say, make)
    for mean in measured.means:
        say(line(f"mean {mean.method} {mean.dataset}", mean.mean))
    outputs.say_written(args, say)
    return measured


def evaluate(
    clip: AnnotatedClip, name: str, method: Method, seed: int, save: Path | None = None
) -> list[Measured]:
    """Runs the method called `name` on a clip once, for the queries of all its truths together, and
    scores each.

    save: the folder where predictions are written, a file for each truth.
    """
    queries = np.concatenate([truth.queries for truth in clip.truths])
    tracks, costs = _run_measured(clip, method, queries, seed)
    measured = []
    begin = 0
    for number, truth in enumerate(clip.truths):
        part = slice(begin, begin + len(truth.queries))
        begin = part.stop
        if save is not None:
            file = clip.name if number == 0 else f"{clip.name}-{slug(truth.dataset)}"
            save_predictions(save / f"{file}-{seed}.npz", tracks, part)
        scores = truth.score(tracks.xy[part], tracks.visible[part])
        certainty = truth.certainty(tracks.xy[part], tracks.confidence[part])
        numbers = scores | certainty.scores() | costs
        row = Row(name, truth.dataset, clip.name, seed, numbers)
        measured.append(Measured(row, certainty))
    return measured


def save_predictions(path: Path, tracks: Tracks, part: slice) -> None:
    """Write some of the tracks as `file:FOLDER` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            tracks=tracks.xy[part],
            visible=tracks.visible[part],
            confidence=tracks.confidence[part],
            queries=tracks.queries[part],
        )


def dis_seconds(video: Path | UInt8[np.ndarray, "T H W 3"]) -> float:
    """Seconds that OpenCV's DIS flow takes over the consecutive pairs of a video.

    They tell how fast this machine is just now.
    """
    frames = each_frame(read_video(video).frames)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = time.perf_counter()
    for a, b in itertools.pairwise(grey):
        flow.calc(a, b, None)
    return time.perf_counter() - start


def line(name: str, numbers: Scores) -> str:
    """One row for people: percent, seconds and memory."""
    seconds = f"{numbers['seconds']:.1f} s (DIS {numbers['dis_s']:.2f} s)"
    return f"{name:<32} {report.shares(numbers)}  {seconds}, {numbers['peak_mb']:.0f} MB"


def slug(name: str) -> str:
    """A name as one part of a path."""
    return re.sub(r"[^\w.-]+", "-", name)


def _measure_all(args: argparse.Namespace, say: Say, make: MakeMethod) -> AccuracyReport:
    """Every method with every seed on every clip, one clip after another, as a data set may be too
    large for memory.

    The files are written anew after each run of a method, so that nothing is lost. Methods are made
    before anything runs, so that a wrong name costs no time.
    """
    settings = options.settings(args)
    device = args.device
    names = args.methods or [choose_config(None, None, choose_device(device)).preset]
    chosen = Options(settings=settings, device=device, models=args.models)
    methods = {name: make(name, chosen) for name in names}
    ledger = Ledger(machine.describe(settings, device, args.seeds))
    for clip in datasets.open_datasets(args.datasets, args.data, args.clips):
        for name, seed in itertools.product(methods, dict.fromkeys(args.seeds)):
            save = args.save and args.save / slug(name)
            for measured in evaluate(clip, name, methods[name], seed, save):
                row = measured.row
                ledger.add(measured)
                say(line(f"{name} {row.dataset} {clip.name} seed {seed}", row.numbers))
            outputs.write(args, ledger.report(), accuracy_report.markdown)
    return ledger.report()


def _run_measured(
    clip: AnnotatedClip, method: Method, queries: Float[np.ndarray, "N 3"], seed: int
) -> tuple[Tracks, Scores]:
    """A method's tracks, and what they cost.

    The yardstick is taken right before, as machines are noisy.
    """
    yardstick = dis_seconds(clip.video)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    start = time.perf_counter()
    tracks = method(clip.name, clip.video, queries, seed)
    seconds = time.perf_counter() - start
    costs: Scores = {"dis_s": yardstick, "seconds": seconds, "peak_mb": peak_memory() / 2**20}
    if on_gpu:
        costs["gpu_mb"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return tracks, costs
