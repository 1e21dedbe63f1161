"""Fits every clip that has truth, tracks the truth's queries, and scores the tracks (metrics.py).

Clips: eval/davis/*/ (TAP-Vid and BADJA) and eval/*.npz (layers) of the data folder; without one, the demo in videos/.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from dinotrack import metrics
from dinotrack.config import parse_assignment
from dinotrack.errors import InputError
from dinotrack.tracks import Tracks

HELP = "positions and visibility against truth"
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "timm", "numpy", "kornia")
COLUMNS = {
    "average_jaccard": "AJ", "average_pts_within_thresh": "delta", "occlusion_accuracy": "OA",
    "recall_mean": "recall", "after_occlusion": "after", "pck": "PCK", "within_3": "in 3 px",
}  # fmt: skip

Array = npt.NDArray[Any]
Say = Callable[[str], None]
Row = dict[str, Any]


class Fitted(Protocol):
    """A tracker fitted to one video."""

    def track(self, queries: Array) -> Tracks: ...


class Fit(Protocol):
    """`dinotrack.fit`, or what stands in for it in a test."""

    def __call__(
        self,
        video: Path,
        *,
        preset: str | None,
        settings: Mapping[str, Any],
        seed: int,
        device: str,
        folder: Path | None,
        resume: bool,
    ) -> Fitted: ...


@dataclass(frozen=True)
class Truth:
    """One truth file (EVALUATION.md). kind: tapvid, badja, layers or demo; means are taken over each kind."""

    kind: str
    arrays: Mapping[str, Array]

    @property
    def queries(self) -> Array:
        """float32 [N, 3], (t, x, y)."""
        return self.arrays["query"]

    def score(self, xy: Array, visible: Array) -> dict[str, float]:
        """The metrics of predictions [N, T', 2] and [N, T'], T' >= the truth's T; later frames are not judged."""
        t = self.arrays
        size = (int(t["size"][0]), int(t["size"][1]))
        frames = t["visible"].shape[1]
        xy, visible = xy[:, :frames], visible[:, :frames]
        if self.kind == "badja":
            first = int(t["annotated"][0])
            return metrics.badja_metrics(t["keypoints"], t["visible"], t["area"], first, xy, size)
        mode: metrics.Mode = "strided" if "mode" in t and str(t["mode"]) == "strided" else "first"
        return metrics.track_metrics(self.queries, t["tracks"], t["visible"], xy, visible, size, mode)


@dataclass(frozen=True)
class Clip:
    """A video and the truth files about it."""

    name: str
    video: Path
    truths: tuple[Truth, ...]


def find_clips(data: Path, only: Sequence[str] = ()) -> list[Clip]:
    """The clips of a data folder, or the project's demo where it has no eval/; `only` those names, if any given.

    Raises InputError where nothing is found.
    """
    if (data / "eval").is_dir():
        folders = sorted(path.parent for path in (data / "eval" / "davis").glob("*/frames"))
        clips = [Clip(f.name, f / "frames", _truths([f / "tapvid.npz", f / "badja.npz"])) for f in folders]
        files = sorted((data / "eval").glob("*.npz"))
        clips += [Clip(f.stem, f.with_suffix(".mp4"), _truths([f], kind="layers")) for f in files]
    else:
        demo = ROOT / "videos" / "demo.npz"
        clips = [Clip("demo", demo.with_suffix(".mp4"), _truths([demo], kind="demo"))]
    names = {clip.name for clip in clips if clip.truths}
    if missing := set(only) - names:
        raise InputError(f"no clip named {', '.join(sorted(missing))}; there are {', '.join(sorted(names)) or 'none'}")
    if not names:
        raise InputError(f"no truth files under {data}; point --data at a folder that holds eval/")
    return [clip for clip in clips if clip.truths and (not only or clip.name in only)]


def evaluate(clip: Clip, seed: int, fit: Callable[[Path, int], Fitted], save: Path | None = None) -> list[Row]:
    """Fits a clip once, tracks the queries of all its truth files together, and scores each: one row a file."""
    yardstick = dis_seconds(clip.video)
    start = time.perf_counter()
    fitted = fit(clip.video, seed)
    fitted_at = time.perf_counter()
    tracks = fitted.track(np.concatenate([truth.queries for truth in clip.truths]))
    seconds = {"fit_s": fitted_at - start, "track_s": time.perf_counter() - fitted_at, "dis_s": yardstick}
    rows, begin = [], 0
    for truth in clip.truths:
        part = slice(begin, begin + len(truth.queries))
        begin = part.stop
        xy, visible = tracks.xy[part], tracks.visible[part]
        name = clip.name if truth is clip.truths[0] else f"{clip.name}-{truth.kind}"
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(save / f"{name}-{seed}.npz", tracks=xy, visible=visible, queries=tracks.queries[part])
        rows.append({"clip": name, "kind": truth.kind, "seed": seed, **truth.score(xy, visible), **seconds})
    return rows


def means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The mean of each kind of truth over clips and seeds ("tapvid") and, of several seeds, each ("tapvid seed 0")."""
    groups: dict[str, list[Row]] = {}
    several = len({row["seed"] for row in rows}) > 1
    for row in rows:
        for name in (row["kind"], f"{row['kind']} seed {row['seed']}")[: 1 + several]:
            groups.setdefault(name, []).append({k: v for k, v in row.items() if k not in ("clip", "kind", "seed")})
    return {name: metrics.mean_metrics(group) for name, group in groups.items()}


def dis_seconds(video: Path) -> float:
    """Seconds that OpenCV's DIS flow takes over the consecutive pairs of a video: how fast this machine is just now."""
    from dinotrack.video import read_video

    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in read_video(video).frames]
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = time.perf_counter()
    for a, b in itertools.pairwise(frames):
        flow.calc(a, b, None)
    return time.perf_counter() - start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    default = os.environ.get("DINOTRACK_DATA", str(ROOT.parent / "shared"))
    parser.add_argument("--data", type=Path, default=Path(default), help="folder that holds eval/ (DINOTRACK_DATA)")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only these clips")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="fit each clip once per seed")
    parser.add_argument("--preset", help="fast, quality or paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change settings")
    parser.add_argument("--out", type=Path, default=Path("accuracy.json"), help="JSON to write (accuracy.json)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="keep fits as DIR/CLIP-SEED, and use those there")
    parser.add_argument("--save", type=Path, metavar="DIR", help="also write each prediction as DIR/CLIP-SEED.npz")


def run(args: argparse.Namespace, say: Say, fit: Fit | None = None) -> dict[str, Any]:
    """Runs the benchmark, says one line a clip and the means, writes (after every clip) and returns the report."""
    settings = dict(parse_assignment(text) for text in args.set)
    clips = find_clips(args.data, args.clips)
    fit_video = _dinotrack_fit() if fit is None else fit

    def fit_one(video: Path, seed: int) -> Fitted:
        name = video.parent.name if video.name == "frames" else video.stem
        kept = args.models / f"{name}-{seed}" if args.models else None
        options = {"preset": args.preset, "settings": settings, "seed": seed, "device": args.device}
        return fit_video(video, **options, folder=kept, resume=True)

    report: dict[str, Any] = {"about": about(args, settings), "means": {}, "clips": []}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for seed, clip in itertools.product(args.seeds, clips):
        for row in evaluate(clip, seed, fit_one, args.save):
            report["clips"].append(row)
            say(line(f"{row['clip']} seed {seed}", row))
        report["means"] = means(report["clips"])
        args.out.write_text(json.dumps(_finite(report), indent=1) + "\n")
    for name, mean in report["means"].items():
        say(line(f"mean {name}", mean))
    say(f"wrote {args.out}")
    return report


def about(args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured, with what, on what."""
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "preset": args.preset,
        "settings": dict(settings),
        "seeds": args.seeds,
        "device": args.device,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "opencv": cv2.__version__}
        | {name: version(name) for name in PACKAGES},
    }


def line(name: str, row: Mapping[str, Any]) -> str:
    """One row for people: percent, and seconds."""
    shares = [f"{label} {100 * row[key]:5.1f}" for key, label in COLUMNS.items() if not np.isnan(row.get(key, np.nan))]
    seconds = f"fit {row['fit_s']:.1f} s, track {row['track_s']:.1f} s, DIS {row['dis_s']:.2f} s"
    return f"{name:<28} {'  '.join(shares)}  {seconds}"


def _dinotrack_fit() -> Fit:
    from dinotrack import fit  # here, so that scoring needs nothing of the tracker

    return fit


def _truths(files: Iterable[Path], kind: str = "") -> tuple[Truth, ...]:
    found = []
    for path in files:
        if path.is_file():
            with np.load(path) as file:
                found.append(Truth(kind or path.stem, dict(file)))
    return tuple(found)


def _finite(value: Any) -> Any:
    """NaN -> null, which JSON has."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and np.isnan(value) else value
