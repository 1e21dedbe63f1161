"""Tracking with visibility: what `Fitted.track` does, and matching with few anchors, against the
reference's granularity (benchmarks.reference), in seconds and, where there is a truth, in
accuracy."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dinotrack.benchmarks import reference
from dinotrack.benchmarks.datasets import Truth
from dinotrack.benchmarks.machine import clock, spread
from dinotrack.benchmarks.speed_report import SCORES, shares
from dinotrack.config import override
from dinotrack.formats import grid_queries
from dinotrack.geometry import rescale
from dinotrack.pipeline import Fitted
from dinotrack.tracks import Tracks

Row = dict[str, Any]
Say = Callable[[str], None]
Array = npt.NDArray[Any]


def compare(
    fitted: Fitted,
    truth: Truth | None,
    points: int,
    oracle_points: int,
    anchors: int,
    repeats: int,
    say: Say,
) -> Row:
    """Seconds of `points` points through the whole video, by each way to track them, and how many
    times the oracle's.

    The first queries are the truth's, others fill up. The oracle tracks `oracle_points` of the
    truth's, evenly spread, and its seconds are scaled up, as its queries don't depend on each
    other; all are scored on these. anchors: the most that "match" uses.
    """
    queries = choose_queries(fitted, truth, points)
    known = len(queries) if truth is None else min(len(queries), len(truth.queries))
    chosen = np.unique(np.linspace(0, known - 1, min(oracle_points, known)).round().astype(int))
    xy, visible, each = track_one_by_one(fitted, queries[chosen])
    oracle = {
        "points": len(chosen),
        "seconds": len(queries) * float(np.mean(each)),
        "seconds_a_point": spread(each),
    }
    rows: Row = {"reference": oracle | score(truth, chosen, xy, visible)}
    few = override(fitted.config, {"inference.method": "match", "inference.max_anchors": anchors})
    for name, way in {
        "own": fitted,
        "match": replace(fitted, identity=replace(fitted.identity, config=few)),
    }.items():
        tracks, seconds = time_tracking(way, queries, repeats)
        row: Row = {"method": way.config.inference.method, **_median(seconds)}
        row["ratio"] = oracle["seconds"] / row["seconds"]
        rows[name] = row | score(truth, chosen, tracks.xy[chosen], tracks.visible[chosen])
    for name, row in rows.items():
        say(f"{name}: {describe(row)}")
    about = {
        "preset": fitted.config.preset,
        "steps": fitted.steps,
        "anchors": anchors,
        "points": len(queries),
    }
    return {**about, "frames": len(fitted.frames), "size": list(fitted.frames.shape[-2:]), **rows}


def choose_queries(fitted: Fitted, truth: Truth | None, points: int) -> Array:
    """`points` queries, float32 [points, 3]: the truth's, and after them a grid's of the first
    frame."""
    side = int(np.ceil(np.sqrt(points)))
    grid = grid_queries(side, fitted.video.size, 0)
    return (grid if truth is None else np.concatenate((truth.queries, grid)))[:points].astype(
        np.float32
    )


def track_one_by_one(fitted: Fitted, queries: Array) -> tuple[Array, Array, list[float]]:
    """The oracle's tracks of queries [N, 3] in px of the video -> xy [N, T, 2], visible [N, T],
    seconds of each."""
    device, size = fitted.maps.device, (int(fitted.frames.shape[-2]), int(fitted.frames.shape[-1]))
    asked = torch.from_numpy(queries).to(device)
    inner = torch.cat((asked[:, :1], rescale(asked[:, 1:], fitted.video.size, size)), dim=1)
    arguments = fitted.state.tracker, fitted.maps, fitted.grid
    found, seconds = [], []
    for warm, query in enumerate(torch.cat((inner[:1], inner))):
        start = clock(device)
        track = reference.track_points(*arguments, query[None], fitted.config.inference)
        if warm:
            seconds.append(clock(device) - start)
            found.append(track)
    xy = rescale(torch.cat([xy for xy, _ in found]), size, fitted.video.size)
    return xy.cpu().numpy(), torch.cat([visible for _, visible in found]).cpu().numpy(), seconds


def time_tracking(fitted: Fitted, queries: Array, repeats: int) -> tuple[Tracks, list[float]]:
    """The tracks of all queries together, and the seconds of each repeat, after one query that
    doesn't count."""
    device = fitted.maps.device
    tracks, seconds = fitted.track(queries[:1]), []
    for _ in range(repeats):
        start = clock(device)
        tracks = fitted.track(queries)
        seconds.append(clock(device) - start)
    return tracks, seconds


def score(truth: Truth | None, rows: Array, xy: Array, visible: Array) -> dict[str, float]:
    """TAP-Vid's metrics of predictions for some rows of a truth; {} without one."""
    if truth is None:
        return {}
    some = {name: truth.arrays[name][rows] for name in ("tracks", "visible", "query")}
    scores = replace(truth, arrays={**truth.arrays, **some}).score(xy, visible)
    return {name: scores[name] for name in SCORES}


def describe(row: Mapping[str, Any]) -> str:
    """One way to track for people."""
    ratio = (
        f", {row['ratio']:.1f} x the reference"
        if "ratio" in row
        else f", by {row['points']} points"
    )
    return f"{row['seconds']:.2f} s{ratio}" + (f", {shares(row)}" if SCORES[0] in row else "")


def _median(seconds: list[float]) -> dict[str, float]:
    known = spread(seconds)
    return {"seconds": known["median"], "iqr": known["iqr"]}
