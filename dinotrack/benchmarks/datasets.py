"""Clips with truth, from where they are published: TAP-Vid, BADJA, the shared folder, the
generator.

A data set is named NAME[:PATH][,KEY=VALUE...]; see `HELP`.
"""

import inspect
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dinotrack import metrics
from dinotrack.benchmarks.pickles import read_pickle
from dinotrack.errors import InputError
from dinotrack.synthesis import generate
from dinotrack.video import natural_key, resize

ROOT = Path(__file__).resolve().parents[2]
NEAR = 8.0  # px at 256 x 256: how near confidence promises to be
SIDE = 256  # px: both sides of TAP-Vid's frames

HELP = """\
data sets, NAME[:PATH][,KEY=VALUE...]:
  davis      TAP-Vid points of DATA/eval/davis/CLIP/frames, in tapvid.npz beside it
  badja      joints of the same frames, in badja.npz
  layers     DATA/eval/CLIP.mp4 and .npz, written by python -m dinotrack.synthesis
  demo       the demo clip of this repository
  tapvid:PATH[,mode=strided][,size=256]
             TAP-Vid or RoboTAP as published: a .pkl, or a folder of them. mode is first or strided
             (both: first+strided); size is 256 (frames are resized to 256 x 256) or native
  synthetic[:seed=0][,difficulty=1][,frames=48][,size=480x854][,...]
             clips made on the spot, by any argument of dinotrack.synthesis.generate; seed=0+1+2
             makes three
DATA is --data. Queries, unless said otherwise, are those of the truth files."""

OPTION = re.compile(r"(\w+)=(.*)")
LEAST = {"size": 32, "frames": 2, "points": 1}  # of the generator's arguments; others are 0 or more

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Truth:
    """What is known about a clip (EVALUATION.md). dataset: means are taken over each.

    arrays: tracks [N, T, 2] px of the clip's frames, visible [N, T], query [N, 3] (t, x, y), size
    (H, W), perhaps mode
    "first" or "strided"; or as BADJA keypoints [N, T, 2], visible, query, size, annotated [K], area
    [T].
    """

    dataset: str
    arrays: Mapping[str, Array]

    @property
    def queries(self) -> Array:
        """float32 [N, 3], (t, x, y)."""
        return self.arrays["query"]

    @property
    def frames(self) -> int:
        """T. Later frames of the clip are not judged."""
        return int(self.arrays["visible"].shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.arrays["size"][0]), int(self.arrays["size"][1])

    @property
    def mode(self) -> metrics.Mode:
        """Which frames TAP-Vid judges."""
        return "strided" if str(self.arrays.get("mode", "")) == "strided" else "first"

    def score(self, xy: Array, visible: Array) -> dict[str, float]:
        """The metrics of predictions [N, T', 2] and [N, T'], T' >= T."""
        t = self.arrays
        xy, visible = xy[:, : self.frames], visible[:, : self.frames]
        if "keypoints" in t:
            first = int(t["annotated"][0])
            return metrics.badja_metrics(
                t["keypoints"], t["visible"], t["area"], first, xy, self.size
            )
        return metrics.track_metrics(
            self.queries, t["tracks"], t["visible"], xy, visible, self.size, self.mode
        )

    def certainty(self, xy: Array, confidence: Array) -> tuple[Array, Array]:
        """(confidence [M], visible and near bool [M]) of the judged frames of predictions [N, T',
        2] and [N, T'].

        M = 0 for BADJA, which says nothing of what is hidden.
        """
        t = self.arrays
        if "keypoints" in t:
            return np.zeros(0), np.zeros(0, bool)
        error = np.subtract(xy[:, : self.frames], t["tracks"], dtype=float)
        near = np.linalg.norm(metrics.scale_to_256(error, self.size), axis=-1) < NEAR
        judged = metrics.evaluated_frames(self.queries, self.frames, self.mode)
        return confidence[:, : self.frames][judged], (near & t["visible"])[judged]


@dataclass(frozen=True)
class Clip:
    """A video, a path or RGB uint8 [T, H, W, 3], and the truths about it."""

    name: str
    video: Path | Array
    truths: tuple[Truth, ...]


@dataclass(frozen=True)
class Request:
    """A data set as it was asked for: its name, the path and the options behind it, and the data
    folder."""

    text: str
    path: Path | None
    options: Mapping[str, str]
    data: Path

    def expect(self, *known: str, path: bool = False) -> None:
        """Raises InputError for options that aren't `known`, and where there is a path or none
        against `path`."""
        if path != (self.path is not None):
            raise InputError(
                f"data set {self.text!r} {'needs a' if path else 'takes no'} path; see --help"
            )
        if unknown := sorted(self.options.keys() - set(known)):
            right = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"data set {self.text!r} has no option {unknown[0]!r}; {right}")


Loader = Callable[[Request], Iterable[Clip]]
"""A list where looking is cheap; else an iterator, so that one clip at a time is in memory."""


def davis(request: Request) -> list[Clip]:
    """TAP-Vid points of the shared folder."""
    return _beside_frames(request, "davis", "tapvid.npz")


def badja(request: Request) -> list[Clip]:
    """Animal joints of the shared folder."""
    return _beside_frames(request, "badja", "badja.npz")


def layers(request: Request) -> list[Clip]:
    """Generated clips of the shared folder."""
    request.expect()
    files = sorted((request.data / "eval").glob("*.npz"))
    return [
        Clip(file.stem, file.with_suffix(".mp4"), (_read_truth("layers", file),)) for file in files
    ]


def demo(request: Request) -> list[Clip]:
    """This repository's own clip."""
    request.expect()
    file = ROOT / "videos" / "demo.npz"
    return [Clip("demo", file.with_suffix(".mp4"), (_read_truth("demo", file),))]


def tapvid(request: Request) -> Iterator[Clip]:
    """TAP-Vid's and RoboTAP's own pickles, one shard at a time."""
    request.expect("mode", "size", path=True)
    assert request.path is not None
    modes = request.options.get("mode", "strided").split("+")
    size = request.options.get("size", str(SIDE))
    if not set(modes) <= {"first", "strided"} or size not in (str(SIDE), "native"):
        raise InputError(
            f"data set {request.text!r}: mode is first or strided, size is {SIDE} or native"
        )
    whole = request.path.is_dir()
    files = sorted(request.path.glob("*.pkl"), key=natural_key) if whole else [request.path]
    if not files or not files[0].is_file():
        raise InputError(
            f"{request.path}: holds no .pkl; give one of TAP-Vid's files, or the folder they are in"
        )
    labels = {mode: f"{request.path.stem} {mode} {size}" for mode in modes}
    return (clip for file in files for clip in tapvid_clips(file, labels, size == str(SIDE)))


def synthetic(request: Request) -> Iterator[Clip]:
    """Clips that the generator makes now."""
    known = {
        key: parameter.default for key, parameter in inspect.signature(generate).parameters.items()
    }
    request.expect(*known)
    options = {"points": "256"} | dict(request.options)
    seeds = options.pop("seed", "0").split("+")
    varied = [
        {
            key: _parse(request, key, text, known[key])
            for key, text in (options | {"seed": seed}).items()
        }
        for seed in seeds
    ]
    name = "-".join(
        [
            "synthetic",
            *(f"{key}-{text}" for key, text in sorted(request.options.items()) if key != "seed"),
        ]
    )
    return (
        _generated(request.text, f"{name}-seed-{arguments['seed']}", arguments)
        for arguments in varied
    )


DATASETS: dict[str, Loader] = {
    "davis": davis,
    "badja": badja,
    "layers": layers,
    "demo": demo,
    "tapvid": tapvid,
    "synthetic": synthetic,
}

SHARED = {"davis": "davis/*/tapvid.npz", "badja": "davis/*/badja.npz", "layers": "*.npz"}
"""Where eval/ of a data folder holds truth."""


def find_clips(data: Path, only: Sequence[str] = ()) -> list[Clip]:
    """The clips of a data folder, or the project's demo where it has no eval/; `only` those names,
    if any given.

    Raises InputError where nothing is found.
    """
    return list(open_datasets((), data, only))


def open_datasets(texts: Sequence[str], data: Path, only: Sequence[str] = ()) -> Iterator[Clip]:
    """The clips of the data sets named, one after another; without names, as `find_clips`.

    Truths of several sets about one video come as one clip. Raises InputError for a set or a clip
    that isn't there; of a clip in a set that is read piece by piece, this is known only at the end.
    """
    found = [_open(text, data) for text in dict.fromkeys(texts or _default(data))]
    listed = _merge(clip for clips in found if isinstance(clips, list) for clip in clips)
    names = {clip.name for clip in listed}
    if all(isinstance(clips, list) for clips in found):
        _refuse_missing(only, names)
    lazy = itertools.chain.from_iterable(clips for clips in found if not isinstance(clips, list))
    for clip in itertools.chain(listed, lazy):
        names.add(clip.name)
        if not only or clip.name in only:
            yield clip
    if not names:
        raise InputError(
            f"nothing is asked of any clip of {', '.join(texts)}; give other data sets"
        )
    _refuse_missing(only, names)


def tapvid_clips(file: Path, labels: Mapping[str, str], shrink: bool) -> Iterator[Clip]:
    """The clips of one of TAP-Vid's pickles, one truth for each mode in `labels` (mode -> data
    set).

    The file holds {name: entry} or [entry, ...]; an entry has video, uint8 [T, H, W, 3] or T
    encoded images, points [N, T, 2], fractions of the frame, and occluded [N, T]. shrink: frames
    are resized to 256 x 256.
    A clip of which nothing is asked, as nothing is seen, is left out. Raises InputError for a file
    of another kind.
    """
    held = read_pickle(file)
    entries = dict(enumerate(held)) if isinstance(held, list) else held
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{file}: holds no clips; give one of TAP-Vid's .pkl files")
    for key, entry in entries.items():
        label = f"{key:04d}" if isinstance(key, int) else re.sub(r"[^\w.-]", "_", str(key))
        try:
            frames, points, hidden = _checked(entry)
        except (ValueError, TypeError, KeyError, OSError, Image.DecompressionBombError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{file}: clip {key} isn't as TAP-Vid's are ({reason}); get the file anew"
            ) from error
        if shrink and frames.shape[1:3] != (SIDE, SIDE):
            frames = np.ascontiguousarray(
                resize(frames, (SIDE, SIDE), "area").permute(0, 2, 3, 1).numpy()
            )
        truths = tuple(
            tapvid_truth(labels[mode], points, hidden, frames.shape[1:3], mode) for mode in labels
        )
        if asked := tuple(truth for truth in truths if len(truth.queries)):
            yield Clip(f"{file.stem}-{label}{f'-{SIDE}' if shrink else ''}", frames, asked)


def tapvid_truth(
    dataset: str, points: Array, hidden: Array, size: tuple[int, int], mode: Any
) -> Truth:
    """Points [N, T, 2], fractions of the frame, and hidden [N, T] -> truth in px of frames of
    `size` (H, W).

    A fraction of 0 is the frame's edge and ours is the centre of its first pixel: px = x W - 0.5.
    Errors don't change.
    """
    edge = np.array((size[1], size[0]), float)
    xy = points * edge - 0.5
    queries, rows = metrics.sample_queries(xy, ~hidden, mode)
    queries[:, 1:] = queries[:, 1:].clip(-0.5, edge - 0.5)  # some were marked a hair outside
    arrays = {"tracks": xy[rows], "visible": ~hidden[rows], "query": queries.astype(np.float32)}
    return Truth(dataset, arrays | {"size": np.array(size), "mode": np.array(mode)})


def _open(text: str, data: Path) -> Iterable[Clip]:
    """The clips of one data set."""
    name, _, rest = text.partition(":")
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    parts = rest.split(",")
    options = {match[1]: match[2] for part in parts if (match := OPTION.fullmatch(part))}
    path = ",".join(part for part in parts if not OPTION.fullmatch(part))
    clips = DATASETS[name](Request(text, Path(path) if path else None, options, data))
    if clips == []:
        raise InputError(
            f"no truth of {name} under {data}; point --data at a folder that holds eval/"
        )
    return clips


def _default(data: Path) -> list[str]:
    """What a data folder holds, or the demo."""
    if not (data / "eval").is_dir():
        return ["demo"]
    names = [name for name, pattern in SHARED.items() if any((data / "eval").glob(pattern))]
    if not names:
        raise InputError(f"no truth files under {data}; point --data at a folder that holds eval/")
    return names


def _merge(clips: Iterable[Clip]) -> list[Clip]:
    """One clip a video, in the order they came."""
    merged: dict[Any, Clip] = {}
    for clip in clips:
        before = merged[clip.video].truths if clip.video in merged else ()
        merged[clip.video] = Clip(clip.name, clip.video, before + clip.truths)
    return list(merged.values())


def _refuse_missing(only: Sequence[str], names: set[str]) -> None:
    if missing := set(only) - names:
        raise InputError(
            f"no clip named {', '.join(sorted(missing))}; there are {', '.join(sorted(names)) or 'none'}"
        )


def _beside_frames(request: Request, dataset: str, file: str) -> list[Clip]:
    request.expect()
    found = sorted((request.data / "eval" / "davis").glob(f"*/{file}"))
    return [Clip(f.parent.name, f.parent / "frames", (_read_truth(dataset, f),)) for f in found]


def _read_truth(dataset: str, path: Path) -> Truth:
    with np.load(path) as file:
        return Truth(dataset, dict(file))


def _parse(request: Request, key: str, text: str, like: Any) -> Any:
    """An argument of the generator, of the type its default has."""
    whole = like if isinstance(like, tuple) else (like,)
    parts = text.split("x") if isinstance(like, tuple) else [text]
    try:
        values = tuple(type(one)(part) for one, part in zip(whole, parts, strict=True))
    except ValueError:
        values = ()
    if not values or not all(LEAST.get(key, 0) <= value < math.inf for value in values):
        raise InputError(
            f"data set {request.text!r}: {key}={text} can't be; write it like {key}={_shown(like)}"
        )
    return values if isinstance(like, tuple) else values[0]


def _shown(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _generated(dataset: str, name: str, arguments: Mapping[str, Any]) -> Clip:
    clip = generate(**arguments)
    size = np.array(clip.frames.shape[1:3])
    arrays = {"tracks": clip.tracks, "visible": clip.visible, "query": clip.queries, "size": size}
    return Clip(name, clip.frames, (Truth(dataset, arrays),))


def _checked(entry: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """(frames uint8 [T, H, W, 3], points [N, T, 2], hidden bool [N, T]) of an entry of a pickle."""
    frames, points = _decode(entry["video"]), np.asarray(entry["points"], float)
    hidden = np.asarray(entry["occluded"]).astype(bool)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"its video is {frames.dtype} {list(frames.shape)}")
    if hidden.shape[1:] != (len(frames),) or points.shape != (*hidden.shape, 2):
        raise ValueError(
            f"{len(frames)} frames, points {list(points.shape)}, occluded {list(hidden.shape)}"
        )
    if not np.isfinite(points[~hidden]).all():
        raise ValueError("a visible point has no position")
    return frames, points, hidden


def _decode(video: Any) -> Array:
    """Frames [T, H, W, 3] of an array, or of a list or an array of encoded images."""
    if isinstance(video, np.ndarray) and video.dtype == np.uint8:
        return video
    images = [
        Image.open(io.BytesIO(f)).convert("RGB") if isinstance(f, bytes) else f for f in video
    ]
    return np.stack([np.asarray(image) for image in images])
