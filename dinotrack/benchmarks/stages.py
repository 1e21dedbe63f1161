"""Seconds and peak memory of every stage of the pipeline, over clips of growing length, and on long
and large ones.

Each run has a process of its own, from the file to the overlay.
"""

import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dinotrack.api import render
from dinotrack.benchmarks.datasets import generated_clip
from dinotrack.benchmarks.machine import Apart, cache_in, in_fresh_process
from dinotrack.benchmarks.methods import Configuration, seconds_of_learning
from dinotrack.benchmarks.report import Say
from dinotrack.benchmarks.truth import PointTruth
from dinotrack.errors import InputError
from dinotrack.media.encoding import write_video
from dinotrack.metrics import Scores
from dinotrack.points import choose_queries
from dinotrack.progress import peak_memory
from dinotrack.synthesis.scene import FPS, build_scene

DIFFERENT = 10**8
"""Pixels of different frames in a long clip; beyond these, frames are played to and fro."""
MEGABYTE = 2**20
WHOLE = "whole"
WHOLE_BUT_FIT = "whole but fit"


@dataclass(frozen=True)
class Shape:
    """The length and size of a video."""

    frames: int
    size: tuple[int, int]
    """(H, W) px."""

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.size[1]} x {self.size[0]}"


@dataclass(frozen=True)
class GrowthPlan:
    """The clips on which growth is measured, and how often."""

    lengths: tuple[int, ...]
    """Frames of each clip, ascending."""
    size: tuple[int, int]
    """(H, W) of all clips."""
    points: int
    seed: int
    """Of clips and of fits."""
    repeats: int
    again: bool
    """Whether each run is followed by a second one that finds the cache of the first."""


@dataclass(frozen=True)
class Work:
    """One run of the pipeline."""

    configuration: Configuration
    seed: int
    video: Path
    folder: Path
    """The cache and the overlay go there."""
    truth: PointTruth | None = None
    """Gives the queries, and judges. None: a grid of points is tracked, and nothing is judged."""


@dataclass(frozen=True)
class PipelineRun:
    """What one run took."""

    frames: int
    size: tuple[int, int]
    """(H, W) of the video."""
    points: int
    steps: int
    seconds: Mapping[str, float]
    """By stage, and those of the whole run."""
    peak_mb: Mapping[str, float]
    """The most that the process had held by the end of each stage; start: before the first one."""
    cache_mb: float
    gpu_mb: float | None = None
    metrics: Scores | None = None
    """None without a truth."""
    repeat: int = 0
    run: str = "first"
    """Or "again": the second run, which finds the cache of the first."""
    clip: str = ""
    """The name of a long clip."""
    different_frames: int | None = None
    """How many frames of a generated long clip differ."""


@dataclass(frozen=True)
class Failure:
    """A run that died."""

    clip: str
    failed: str
    """Why."""


@dataclass(frozen=True)
class StagesPart:
    """Runs on clips of several lengths."""

    preset: str
    rows: tuple[PipelineRun, ...]


@dataclass(frozen=True)
class LongPart:
    """Runs on long and large clips."""

    preset: str
    rows: tuple[PipelineRun | Failure, ...]


def run_pipeline(work: Work) -> PipelineRun:
    """Read, fit, track, draw, with the seconds and the peak memory of each stage."""
    truth = work.truth
    start = peak_memory() / MEGABYTE
    begun = time.perf_counter()
    with cache_in(work.folder / "cache"):
        fitted = work.configuration.fit(work.video.stem, work.video, work.seed)
        queries = choose_queries(fitted.video, grid=8) if truth is None else truth.queries
        tracks = fitted.focus(queries).track(queries)
        with fitted.run.watch.stage("overlay"):
            render(fitted.video, tracks, work.folder / "overlay.mp4")
    whole = time.perf_counter() - begun
    seconds: dict[str, float] = fitted.record["seconds"]
    peaks: dict[str, float] = fitted.record["peak_megabytes"]
    but_fit = whole - seconds_of_learning(fitted)
    on_gpu = torch.cuda.is_available()
    return PipelineRun(
        frames=len(fitted.video.frames),
        size=fitted.video.size,
        points=len(tracks.queries),
        steps=fitted.steps_trained_now,
        seconds={**seconds, WHOLE: whole, WHOLE_BUT_FIT: but_fit},
        peak_mb={"start": start, **peaks, WHOLE: peak_memory() / MEGABYTE},
        cache_mb=_bytes_in(work.folder / "cache") / MEGABYTE,
        gpu_mb=torch.cuda.max_memory_allocated() / MEGABYTE if on_gpu else None,
        metrics=None if truth is None else truth.score(tracks.xy, tracks.visible),
    )


def write_clip(path: Path, shape: Shape, points: int, seed: int) -> PointTruth:
    """Write a generated clip as a video file, and give the truth about it."""
    arguments = {"size": shape.size, "frames": shape.frames, "seed": seed, "points": points}
    clip = generated_clip("synthetic", path.stem, arguments)
    assert not isinstance(clip.video, Path)
    write_video(path, clip.video, FPS)
    (truth,) = clip.point_truths
    return truth


def write_long_clip(path: Path, shape: Shape, seed: int) -> int:
    """Write a long or large generated clip, one frame in memory at a time; how many frames differ.

    The generator takes long for a frame, so at most DIFFERENT pixels are made, and played to and
    fro.
    """
    different = min(shape.frames, max(2, DIFFERENT // math.prod(shape.size)))
    scene = build_scene(shape.size, 4, seed)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{t}.npy" for t in range(different)]
        for t, file in enumerate(files):
            np.save(file, scene.render(t)[0])
        frames = (np.load(files[t]) for t in to_and_fro(different, shape.frames))
        write_video(path, frames, FPS)
    return different


def to_and_fro(different: int, count: int) -> Iterator[int]:
    """0, 1, ..., different - 1, different - 2, ..., 1, 0, 1, ...: `count` of them."""
    cycle = [*range(different), *range(different - 2, 0, -1)]
    return itertools.islice(itertools.cycle(cycle), count)


def measure_growth(
    configuration: Configuration, plan: GrowthPlan, say: Say, apart: Apart = in_fresh_process
) -> StagesPart:
    """Run the pipeline on generated clips of each length, as often as the plan says."""
    rows: list[PipelineRun] = []
    runs = ("first", "again") if plan.again else ("first",)
    with tempfile.TemporaryDirectory() as folder:
        clips = {
            length: _growth_work(configuration, plan, length, Path(folder), apart)
            for length in plan.lengths
        }
        for repeat, length in itertools.product(range(plan.repeats), plan.lengths):
            with tempfile.TemporaryDirectory(dir=folder) as own:
                work = replace(clips[length], folder=Path(own))
                for run in runs:
                    row: PipelineRun = apart(run_pipeline, work)
                    rows.append(replace(row, repeat=repeat, run=run))
                    say(line(f"{length} frames, {run} run", row))
    return StagesPart(configuration.preset, tuple(rows))


def _growth_work(
    configuration: Configuration, plan: GrowthPlan, length: int, folder: Path, apart: Apart
) -> Work:
    """A generated clip of a length."""
    video = folder / f"{length}.mp4"
    shape = Shape(length, plan.size)
    truth: PointTruth = apart(write_clip, video, shape, plan.points, plan.seed)
    return Work(configuration, plan.seed, video, folder, truth)


def measure_long(
    configuration: Configuration,
    seed: int,
    shapes: Sequence[Shape],
    videos: Sequence[Path],
    say: Say,
    apart: Apart = in_fresh_process,
) -> LongPart:
    """Run the pipeline on generated clips of these shapes, and on the user's own videos."""
    sources: list[Shape | Path] = [*shapes, *videos]
    rows: list[PipelineRun | Failure] = []
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            row = _measure_one(configuration, seed, source, Path(folder), apart)
        if isinstance(row, Failure):
            say(f"{row.clip}: failed, {row.failed}")
        else:
            say(line(row.clip, row))
        rows.append(row)
    return LongPart(configuration.preset, tuple(rows))


def _measure_one(
    configuration: Configuration, seed: int, source: Shape | Path, folder: Path, apart: Apart
) -> PipelineRun | Failure:
    """A generated clip of a shape, or a video; a run that dies says so."""
    different: int | None = None
    if isinstance(source, Shape):
        name = str(source)
        video = folder / "clip.mp4"
        different = apart(write_long_clip, video, source, seed)
    else:
        name = source.name
        video = source
    try:
        row: PipelineRun = apart(run_pipeline, Work(configuration, seed, video, folder))
    except (RuntimeError, MemoryError, InputError) as error:
        return Failure(name, str(error))
    return replace(row, clip=name, different_frames=different)


def line(name: str, run: PipelineRun) -> str:
    """One run for people."""
    seconds = ", ".join(f"{stage} {value:.2f}" for stage, value in run.seconds.items())
    memory = f"peak {run.peak_mb[WHOLE]:.0f} MB; cache {run.cache_mb:.1f} MB"
    return f"{name}: seconds {seconds}; {memory}"


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
