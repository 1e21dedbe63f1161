"""Clips with truth, from where they are published: TAP-Vid, BADJA, the shared folder, the
generator.

A data set is named NAME[:PATH][,KEY=VALUE...]; see `HELP`. Another one is a function of a Request,
and one line in `DATASETS`.
"""

import inspect
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinotrack.benchmarks.tapvid import tapvid_clips
from dinotrack.benchmarks.truth import AnnotatedClip, PointTruth, read_truth
from dinotrack.errors import InputError
from dinotrack.media.numbering import in_order
from dinotrack.metrics import TAPVID_SIDE, Annotation, Mode
from dinotrack.synthesis import generate

ROOT = Path(__file__).resolve().parents[2]
"""The folder of this repository."""
FOLDER_VARIABLE = "DINOTRACK_DATA"

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
LEAST = {"size": 32, "frames": 2, "points": 1}
"""The least that arguments of the generator may be. Others may be 0."""


@dataclass(frozen=True)
class Request:
    """A data set as it was asked for."""

    text: str
    """All of it: NAME[:PATH][,KEY=VALUE...]."""
    path: Path | None
    options: Mapping[str, str]
    data: Path
    """The folder that holds eval/."""

    def expect(self, *known: str, path: bool = False) -> None:
        """Raises InputError for an option that isn't `known`, and for a path that is missing or,
        where the data set takes none, was given."""
        if path != (self.path is not None):
            wrong = "needs a path" if path else "takes no path"
            raise InputError(f"data set {self.text!r} {wrong}; see --help")
        unknown = sorted(self.options.keys() - set(known))
        if unknown:
            right = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"data set {self.text!r} has no option {unknown[0]!r}; {right}")


Loader = Callable[[Request], Iterable[AnnotatedClip]]
"""Gives a list where looking is cheap; else an iterator, so that one clip at a time is in
memory."""


def data_folder() -> Path:
    """The folder of real clips and truth: $DINOTRACK_DATA, else `shared` beside this repository."""
    return Path(os.environ.get(FOLDER_VARIABLE) or ROOT.parent / "shared")


def davis(request: Request) -> list[AnnotatedClip]:
    """TAP-Vid points of the shared folder."""
    return _beside_frames(request, "davis", "tapvid.npz")


def badja(request: Request) -> list[AnnotatedClip]:
    """Animal joints of the shared folder."""
    return _beside_frames(request, "badja", "badja.npz")


def layers(request: Request) -> list[AnnotatedClip]:
    """Generated clips of the shared folder."""
    request.expect()
    files = sorted((request.data / "eval").glob("*.npz"))
    return [_beside_video("layers", file) for file in files]


def demo(request: Request) -> list[AnnotatedClip]:
    """This repository's own clip."""
    request.expect()
    return [_beside_video("demo", ROOT / "videos" / "demo.npz")]


def tapvid(request: Request) -> Iterator[AnnotatedClip]:
    """TAP-Vid's and RoboTAP's own pickles, one shard at a time."""
    request.expect("mode", "size", path=True)
    assert request.path is not None
    size = request.options.get("size", str(TAPVID_SIDE))
    if size not in (str(TAPVID_SIDE), "native"):
        raise InputError(f"data set {request.text!r}: size is {TAPVID_SIDE} or native")
    labels = {mode: f"{request.path.stem} {mode} {size}" for mode in _modes(request)}
    files = [request.path]
    if not request.path.exists():
        raise InputError(f"{request.path}: no such file or folder; check the path")
    if request.path.is_dir():
        files = in_order(file for file in request.path.glob("*.pkl") if file.is_file())
    if not files or not files[0].is_file():
        raise InputError(
            f"{request.path}: holds no .pkl; give one of TAP-Vid's files, or the folder they are in"
        )
    return (clip for file in files for clip in tapvid_clips(file, labels, size != "native"))


def synthetic(request: Request) -> Iterator[AnnotatedClip]:
    """Clips that the generator makes now."""
    parameters = inspect.signature(generate).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    request.expect(*defaults)
    options = {"points": "256"} | dict(request.options)
    seeds = options.pop("seed", "0").split("+")
    given = sorted((key, text) for key, text in request.options.items() if key != "seed")
    name = "-".join(["synthetic", *(f"{key}-{text}" for key, text in given)])
    varied = [
        {key: _parse(request, key, text, defaults[key]) for key, text in one.items()}
        for one in (options | {"seed": seed} for seed in seeds)
    ]
    return (
        generated_clip(request.text, f"{name}-seed-{arguments['seed']}", arguments)
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


def find_clips(data: Path, only: Sequence[str] = ()) -> list[AnnotatedClip]:
    """The clips of a data folder, or the demo where the folder has no eval/.

    only: the names of those that are wanted; all where it is empty. Raises InputError where
    nothing is found.
    """
    return list(open_datasets((), data, only))


def open_datasets(
    texts: Sequence[str], data: Path, only: Sequence[str] = ()
) -> Iterator[AnnotatedClip]:
    """The clips of the data sets named, one after another; without names, as `find_clips`.

    Truths of several sets about one video come as one clip. Raises InputError for a set or a clip
    that isn't there; of a clip in a set that is read piece by piece, this is known only at the end.
    """
    found = [_open(text, data) for text in dict.fromkeys(texts or _default(data))]
    lists = [clips for clips in found if isinstance(clips, list)]
    streams = [clips for clips in found if not isinstance(clips, list)]
    listed = _merge(itertools.chain.from_iterable(lists))
    names = {clip.name for clip in listed}
    if not streams:
        _refuse_missing(only, names)
    for clip in itertools.chain(listed, *streams):
        names.add(clip.name)
        if not only or clip.name in only:
            yield clip
    if not names:
        sets = ", ".join(texts)
        raise InputError(f"nothing is asked of any clip of {sets}; give other data sets")
    _refuse_missing(only, names)


def generated_clip(dataset: str, name: str, arguments: Mapping[str, Any]) -> AnnotatedClip:
    """A clip of the generator, with its truth. arguments: of dinotrack.synthesis.generate."""
    made = generate(**arguments)
    points = Annotation(made.queries, made.tracks, made.visible, "first")
    size = made.frames.shape[1], made.frames.shape[2]
    return AnnotatedClip(name, made.frames, (PointTruth(dataset, points, size),))


def _open(text: str, data: Path) -> Iterable[AnnotatedClip]:
    """The clips of one data set."""
    name, _, rest = text.partition(":")
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    parts = rest.split(",")
    matches = [match for part in parts if (match := OPTION.fullmatch(part))]
    options = {match[1]: match[2] for match in matches}
    path = ",".join(part for part in parts if not OPTION.fullmatch(part))
    clips = DATASETS[name](Request(text, Path(path) if path else None, options, data))
    if clips == []:
        raise InputError(
            f"no truth of {name} under {data}; point --data at a folder that holds eval/"
        )
    return clips


def _default(data: Path) -> list[str]:
    """The data sets that a data folder holds, or the demo."""
    if not (data / "eval").is_dir():
        return ["demo"]
    names = [name for name, pattern in SHARED.items() if any((data / "eval").glob(pattern))]
    if not names:
        raise InputError(f"no truth files under {data}; point --data at a folder that holds eval/")
    return names


def _merge(clips: Iterable[AnnotatedClip]) -> list[AnnotatedClip]:
    """One clip a video, in the order they came. Listed clips are files, which are compared by
    path."""
    merged: dict[Any, AnnotatedClip] = {}
    for clip in clips:
        before = merged[clip.video].truths if clip.video in merged else ()
        merged[clip.video] = AnnotatedClip(clip.name, clip.video, before + clip.truths)
    return list(merged.values())


def _refuse_missing(only: Sequence[str], names: set[str]) -> None:
    missing = sorted(set(only) - names)
    if missing:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"no clip named {', '.join(missing)}; there are {known}")


def _beside_frames(request: Request, dataset: str, file: str) -> list[AnnotatedClip]:
    """Clips of frames in a folder, with their truth in a file beside it."""
    request.expect()
    found = sorted((request.data / "eval" / "davis").glob(f"*/{file}"))
    return [
        AnnotatedClip(path.parent.name, path.parent / "frames", (read_truth(dataset, path),))
        for path in found
    ]


def _beside_video(dataset: str, file: Path) -> AnnotatedClip:
    """The clip of a video whose truth is an .npz beside it."""
    return AnnotatedClip(file.stem, file.with_suffix(".mp4"), (read_truth(dataset, file),))


def _modes(request: Request) -> list[Mode]:
    known: dict[str, Mode] = {"first": "first", "strided": "strided"}
    wanted = request.options.get("mode", "strided").split("+")
    if not set(wanted) <= known.keys():
        raise InputError(f"data set {request.text!r}: mode is first or strided")
    return [known[name] for name in wanted]


def _parse(request: Request, key: str, text: str, default: Any) -> Any:
    """An argument of the generator, of the type its default has."""
    single = not isinstance(default, tuple)
    like = (default,) if single else default
    parts = [text] if single else text.split("x")
    try:
        values = tuple(type(one)(part) for one, part in zip(like, parts, strict=True))
    except ValueError:
        values = ()
    if not values or not all(LEAST.get(key, 0) <= value < math.inf for value in values):
        example = "x".join(map(str, like))
        raise InputError(
            f"data set {request.text!r}: {key}={text} can't be; write it like {key}={example}"
        )
    return values[0] if single else values
