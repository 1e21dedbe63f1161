"""TAP-Vid's and RoboTAP's own pickles: clips, and what is asked about them."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from dinotrack import metrics
from dinotrack.benchmarks.pickles import read_pickle
from dinotrack.benchmarks.truth import AnnotatedClip, PointTruth
from dinotrack.errors import InputError
from dinotrack.metrics import TAPVID_SIDE, Annotation, Mode
from dinotrack.working import resize


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
    except (ValueError, TypeError, KeyError, OSError, Image.DecompressionBombError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{file}: clip {key} isn't as TAP-Vid's are ({reason}); get the file anew"
        ) from error


def _checked(value: Mapping[str, Any]) -> Entry:
    frames = _decode(value["video"])
    points = np.asarray(value["points"], float)
    occluded = np.asarray(value["occluded"]).astype(bool)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"its video is {frames.dtype} {list(frames.shape)}")
    if occluded.shape[1:] != (len(frames),) or points.shape != (*occluded.shape, 2):
        shapes = f"points {list(points.shape)}, occluded {list(occluded.shape)}"
        raise ValueError(f"it has {len(frames)} frames, {shapes}")
    if not np.isfinite(points[~occluded]).all():
        raise ValueError("a visible point has no position")
    return Entry(frames, points, occluded)


def _decode(video: np.ndarray | Sequence[Any]) -> np.ndarray:
    """Frames [T, H, W, 3] of an array, or of a list or an array of encoded images."""
    if isinstance(video, np.ndarray) and video.dtype == np.uint8:
        return video
    return np.stack([_image(frame) for frame in video])


def _image(frame: Any) -> np.ndarray:
    if not isinstance(frame, bytes):
        return np.asarray(frame)
    return np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"))
