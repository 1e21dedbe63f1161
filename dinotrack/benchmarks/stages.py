"""Seconds and peak memory of every stage of the pipeline, over clips of growing length, and on long
and large ones.

Each run has a process of its own, from the file to the overlay.
"""

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dinotrack.benchmarks.datasets import Truth
from dinotrack.benchmarks.machine import Apart, cache_in, in_fresh_process, spread
from dinotrack.pipeline import fit, peak_memory
from dinotrack.render import render
from dinotrack.synthesis import generate
from dinotrack.synthesis.scene import FPS, build_scene
from dinotrack.video import write_video

Row = dict[str, Any]
Say = Callable[[str], None]

JUDGED = 0.05  # seconds: what takes less at the greatest length says nothing of growth
DIFFERENT = 10**8  # pixels of different frames in a long clip; beyond, they are played to and fro
WHOLE, WHOLE_BUT_FIT = "whole", "whole but fit"


@dataclass(frozen=True)
class Work:
    """One run of the pipeline. truth: gives the queries, and judges; None: a grid of side x side
    points instead."""

    video: Path
    folder: Path
    """The cache and the overlay go there."""
    preset: str | None
    settings: Mapping[str, Any]
    device: str
    seed: int
    truth: Truth | None = None
    side: int = 8


@dataclass(frozen=True)
class Shape:
    """Frames of (H, W) px."""

    frames: int
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.size[1]} x {self.size[0]}"


def run_pipeline(work: Work) -> Row:
    """Read, fit, track, draw: seconds and peak MB by stage, and the metrics where there is a truth.

    peak_mb: the most this process had held by the end of each stage; start: before the first one.
    """
    start, begun = peak_memory() / 2**20, time.perf_counter()
    with cache_in(work.folder / "cache"):
        fitted = fit(
            work.video,
            preset=work.preset,
            settings=work.settings,
            device=work.device,
            seed=work.seed,
        )
        queries = None if work.truth is None else work.truth.queries
        tracks = fitted.track(queries, grid=work.side)
        with fitted.watch.stage("overlay"):
            render(fitted.video, tracks, work.folder / "overlay.mp4")
    whole = time.perf_counter() - begun
    seconds = fitted.record["seconds"]
    totals = {WHOLE: whole, WHOLE_BUT_FIT: whole - seconds.get("fit", 0.0)}
    row: Row = {
        "frames": len(fitted.video.frames),
        "size": list(fitted.video.size),
        "points": len(tracks.queries),
        "steps": fitted.record["steps_trained_now"],
        "seconds": seconds | totals,
        "peak_mb": {
            "start": start,
            **fitted.record["peak_megabytes"],
            WHOLE: peak_memory() / 2**20,
        },
        "cache_mb": sum(
            file.stat().st_size for file in (work.folder / "cache").rglob("*") if file.is_file()
        )
        / 2**20,
    }
    if torch.cuda.is_available():
        row["gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return row | (
        {} if work.truth is None else {"metrics": work.truth.score(tracks.xy, tracks.visible)}
    )


def write_clip(path: Path, shape: Shape, points: int, seed: int) -> Truth:
    """A generated clip as a video file, and the truth about it."""
    clip = generate(shape.size, shape.frames, seed=seed, points=points)
    write_video(path, clip.frames, clip.fps)
    arrays = {
        "tracks": clip.tracks,
        "visible": clip.visible,
        "query": clip.queries,
        "size": np.array(shape.size),
    }
    return Truth("synthetic", arrays)


def write_long_clip(path: Path, shape: Shape, seed: int) -> int:
    """A long or large generated clip as a video file, one frame in memory at a time -> how many
    frames differ.

    Frames take the generator long, so at most DIFFERENT pixels are made, and played to and fro.
    """
    different = min(shape.frames, max(2, DIFFERENT // math.prod(shape.size)))
    scene = build_scene(shape.size, 4, seed)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{t}.npy" for t in range(different)]
        for t, file in enumerate(files):
            np.save(file, scene.render(t)[0])
        write_video(path, (np.load(files[t]) for t in to_and_fro(different, shape.frames)), FPS)
    return different


def to_and_fro(different: int, count: int) -> Iterator[int]:
    """0, 1, ..., different - 1, different - 2, ..., 1, 0, 1, ...: `count` of them."""
    cycle = [*range(different), *range(different - 2, 0, -1)]
    return itertools.islice(itertools.cycle(cycle), count)


def measure_growth(
    work: Work,
    lengths: Sequence[int],
    size: tuple[int, int],
    points: int,
    repeats: int,
    again: bool,
    say: Say,
    apart: Apart = in_fresh_process,
) -> Row:
    """`work` on generated clips of these lengths, `repeats` times over: rows, and a summary of
    them.

    again: each run is followed by a second one of the same video, settings and seed, which finds
    the first one's cache.
    """
    clips = {}
    for length in lengths:
        video = work.folder / f"{length}.mp4"
        clips[length] = replace(
            work,
            video=video,
            truth=apart(write_clip, video, Shape(length, size), points, work.seed),
        )
    rows: list[Row] = []
    for repeat, length in itertools.product(range(repeats), lengths):
        with tempfile.TemporaryDirectory(dir=work.folder) as folder:
            for run in ("first", "again")[: 2 if again else 1]:
                row = apart(run_pipeline, replace(clips[length], folder=Path(folder)))
                rows.append({"repeat": repeat, "run": run, **row})
                say(line(f"{length} frames, {run} run", row))
    first = [row for row in rows if row["run"] == "first"]
    return {"rows": rows, "summary": summarise(first)}


def measure_long(
    work: Work,
    shapes: Sequence[Shape],
    videos: Sequence[Path],
    say: Say,
    apart: Apart = in_fresh_process,
) -> list[Row]:
    """`work` on generated clips of these shapes and on the user's own; a run that dies is a row
    that says so."""
    rows = []
    for source in (*shapes, *videos):
        with tempfile.TemporaryDirectory(dir=work.folder) as folder:
            video, made = Path(str(source)), {}
            if isinstance(source, Shape):
                video = Path(folder) / "clip.mp4"
                made = {"different_frames": apart(write_long_clip, video, source, work.seed)}
            name = str(source) if isinstance(source, Shape) else video.name
            try:
                row = apart(run_pipeline, replace(work, video=video, folder=Path(folder)))
                say(line(name, row))
            except (RuntimeError, MemoryError) as error:
                row = {"failed": str(error)}
                say(f"{name}: failed, {error}")
            rows.append({"clip": name, **made, **row})
    return rows


def summarise(rows: Sequence[Row]) -> Row:
    """By stage: medians and spreads of seconds, highest peak MB and the exponents of growth over
    the rows' lengths.

    exponent: over all lengths; exponent_long: without those under a quarter of the greatest.
    memory_growth: of the peak, in percent, over the same lengths as exponent_long.
    """
    lengths = sorted({row["frames"] for row in rows})
    of = {length: [row for row in rows if row["frames"] == length] for length in lengths}
    late = [length for length in lengths if 4 * length >= lengths[-1]]
    stages = {}
    for stage in dict.fromkeys(name for row in rows for name in row["seconds"]):
        taken = {t: [row["seconds"].get(stage, 0.0) for row in part] for t, part in of.items()}
        median = {t: spread(values)["median"] for t, values in taken.items()}
        stages[stage] = {
            "seconds": list(median.values()),
            "iqr": [spread(values)["iqr"] for values in taken.values()],
            "exponent": growth_exponent(median),
            "exponent_long": growth_exponent({t: median[t] for t in late}),
        }
    peak = {t: max(row["peak_mb"][WHOLE] for row in part) for t, part in of.items()}
    growth = {
        "from": late[0],
        "to": late[-1],
        "percent": 100 * (peak[late[-1]] / peak[late[0]] - 1),
    }
    summary = {
        "lengths": lengths,
        "stages": stages,
        "peak_mb": list(peak.values()),
        "memory_growth": growth,
    }
    on_gpu = [max(row.get("gpu_mb", 0.0) for row in part) for part in of.values()]
    return summary | ({"gpu_mb": on_gpu} if any(on_gpu) else {})


def growth_exponent(seconds: Mapping[int, float]) -> float | None:
    """p of seconds ~ length^p, by least squares of the logarithms; None where there is too little
    to judge by.

    seconds: by length. Too little: one length, or under JUDGED seconds at the greatest.
    """
    known = {length: value for length, value in sorted(seconds.items()) if value > 0}
    if len(known) < 2 or [*known.values()][-1] < JUDGED:
        return None
    slope: float = np.polyfit(np.log([*known]), np.log([*known.values()]), 1)[0]
    return float(slope)


def line(name: str, row: Row) -> str:
    """One run for people."""
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in row["seconds"].items())
    return f"{name}: seconds {stages}; peak {row['peak_mb'][WHOLE]:.0f} MB; cache {row['cache_mb']:.1f} MB"
