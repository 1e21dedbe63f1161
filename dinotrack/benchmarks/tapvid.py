"""TAP-Vid's and RoboTAP's own pickles: clips, and what is asked about them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from dinotrack import metrics
from dinotrack.benchmarks.pickles import read_pickle
from dinotrack.benchmarks.truth import AnnotatedClip, PointTruth
from dinotrack.errors import InputError
from dinotrack.media.images import read_pages
from dinotrack.media.levels import as_rgb
from dinotrack.metrics import TAPVID_SIDE, Annotation, Mode
from dinotrack.working import resize

MOST_BYTES = 1 << 32
"""Of the frames of a clip, which are held in memory."""


@dataclass(frozen=True)
class Entry:
    """A clip as TAP-Vid publishes it."""

    frames: UInt8[np.ndarray, "T H W 3"]
    points: Float[np.ndarray, "N T 2"]
    """(x, y) as fractions of the frame."""
    occluded: Bool[np.ndarray, "N T"]


def tapvid_clips(file: Path, labels: Mapping[Mode, str], shrink: bool) -> Iterator[AnnotatedClip]:
    """The clips of one pickle, one truth for each mode in `labels` (mode -> data set).

    The file holds {name: entry} or [entry, ...]; an entry has video, uint8 [T, H, W, 3] or T
    encoded images, points [N, T, 2], fractions of the frame, and occluded [N, T]. shrink: frames
    are resized to 256 x 256. Where no point is ever seen, nothing is asked and the clip is left
    out. Raises InputError for a file of another kind.
    """
    held = read_pickle(file)
    entries = dict(enumerate(held)) if isinstance(held, list) else held
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{file}: holds no clips; give one of TAP-Vid's .pkl files")
    for key, value in entries.items():
        entry = _read_entry(file, key, value)
        frames = _shrunk(entry.frames) if shrink else entry.frames
        size = frames.shape[1], frames.shape[2]
        truths = [tapvid_truth(label, entry, size, mode) for mode, label in labels.items()]
        asked = tuple(truth for truth in truths if len(truth.queries))
        if asked:
            yield AnnotatedClip(_clip_name(file, key, shrink), frames, asked)


def tapvid_truth(dataset: str, entry: Entry, size: tuple[int, int], mode: Mode) -> PointTruth:
    """What TAP-Vid asks of an entry, in px of frames of `size` (H, W).

    TAP-Vid's 0 is the edge of the frame and ours is the centre of its first pixel, so that
    px = x W - 0.5. Errors are the same in both.
    """
    edge = np.array((size[1], size[0]), float)
    xy = entry.points * edge - 0.5
    visible = ~entry.occluded
    queries, rows = metrics.sample_queries(xy, visible, mode)
    queries[:, 1:] = queries[:, 1:].clip(-0.5, edge - 0.5)  # some were marked a hair outside
    points = Annotation(queries.astype(np.float32), xy[rows], visible[rows], mode)
    return PointTruth(dataset, points, size)


def _clip_name(file: Path, key: Any, shrink: bool) -> str:
    """A name that may be part of a path."""
    label = f"{key:04d}" if isinstance(key, int) else re.sub(r"[^\w.-]", "_", str(key))
    return f"{file.stem}-{label}" + (f"-{TAPVID_SIDE}" if shrink else "")


def _shrunk(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T 256 256 3"]:
    side = TAPVID_SIDE
    if frames.shape[1:3] == (side, side):
        return frames
    resized = resize(frames, (side, side), "area").permute(0, 2, 3, 1)
    return np.ascontiguousarray(resized.numpy())


def _read_entry(file: Path, key: Any, value: Any) -> Entry:
    """Raises InputError where the clip `key` of a file is not as TAP-Vid's are."""
    try:
        return _checked(value)
    except MemoryError as error:
        raise InputError(f"{file}: clip {key} doesn't fit into memory; leave it out") from error
    except (ValueError, TypeError, KeyError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{file}: clip {key} isn't as TAP-Vid's are ({reason}); get the file anew"
        ) from error


def _checked(value: Mapping[str, Any]) -> Entry:
    frames = _decode(value["video"])
    points = _array(value, "points").astype(float)
    occluded = _array(value, "occluded").astype(bool)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"its video is {frames.dtype} {list(frames.shape)}")
    if occluded.shape[1:] != (len(frames),) or points.shape != (*occluded.shape, 2):
        shapes = f"points {list(points.shape)}, occluded {list(occluded.shape)}"
        raise ValueError(f"it has {len(frames)} frames, {shapes}")
    if not np.isfinite(points[~occluded]).all():
        raise ValueError("a visible point has no position")
    return Entry(frames, points, occluded)


def _array(value: Mapping[str, Any], name: str) -> np.ndarray:
    """Lists are not made arrays, as a small pickle can hold lists of any number of references."""
    held = value[name]
    if not isinstance(held, np.ndarray):
        raise TypeError(f"its {name} are a {type(held).__name__}, not an array")
    return held


def _decode(video: np.ndarray | Sequence[Any]) -> np.ndarray:
    """Frames [T, H, W, 3] of an array, or of a list or an array of encoded images.

    Many frames may be one and the same picture, so what they take is known before they are made.
    """
    if isinstance(video, np.ndarray):
        if 0 in video.shape:
            raise ValueError(f"its video is {video.dtype} {list(video.shape)}")
        if video.dtype == np.uint8:
            return video
    frames: np.ndarray | None = None
    for t, encoded in enumerate(video):
        frame = _frame(encoded, len(video), None if frames is None else frames.shape[1:])
        if frames is None:
            frames = np.empty((len(video), *frame.shape), frame.dtype)
        frames[t] = frame
    if frames is None:
        raise ValueError("its video has no frames")
    return frames


def _frame(encoded: Any, count: int, shape: tuple[int, ...] | None) -> np.ndarray:
    """One of `count` frames, which is of the shape of those before it."""

    def look(size: tuple[int, int]) -> None:
        height, width = size
        if shape is not None and shape[:2] != size:
            raise ValueError(
                f"a frame is {width} x {height}, the first one {shape[1]} x {shape[0]}"
            )
        if count * height * width * 3 > MOST_BYTES:
            raise InputError(f"its {count} frames of {width} x {height} fill the memory")

    if isinstance(encoded, bytes):
        return np.asarray(as_rgb(next(read_pages(encoded, look))))
    frame = np.asarray(encoded)
    if frame.ndim != 3:
        raise ValueError(f"a frame is {frame.dtype} {list(frame.shape)}")
    look((frame.shape[0], frame.shape[1]))
    return frame
