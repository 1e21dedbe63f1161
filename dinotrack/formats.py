"""Files of other programs: query points and masks in, tracks out.

A format is one function and one line: `QUERY_FORMATS` holds the functions that read queries,
`FORMATS` those that write tracks.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float
from PIL import Image

from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.folders import images_in
from dinotrack.points import query_array
from dinotrack.tracks import Tracks

READ_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile)
"""How numpy, csv, json and Pillow say that a file is not what its name promises."""

# --- queries


def read_queries(path: str | Path) -> Float[np.ndarray, "N 3"]:
    """The query points (t, x, y) of a file, float32.

    Frames count from 0; x and y are in pixels of the video, with (0, 0) the centre of the top-left
    pixel. The file is a CSV with a header that has t, x and y; JSON, a list of [t, x, y]; .npy
    [N, 3]; or .npz with `queries` or `query`. Whether the points lie in a video is for
    `points.check_queries` to say.

    Raises InputError that names the file, and the row, where the file is malformed.
    """
    path = Path(path)
    reader = QUERY_FORMATS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(QUERY_FORMATS)
        raise InputError(f"{path}: queries are read from {known} files; give one of these")
    try:
        rows = reader(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except InputError:
        raise
    except (*READ_ERRORS, csv.Error) as error:
        raise InputError(f"{path}: can't be read as queries ({error})") from error
    if isinstance(rows, np.ndarray):
        return query_array(rows, path)
    queries = [_query_row(row, f"{path}: row {i}") for i, row in enumerate(rows)]
    if not queries:
        raise InputError(f"{path}: holds no query; give at least one row of t, x, y")
    return np.array(queries, np.float32)


def _csv_rows(path: Path) -> list[Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        names = {name.strip().lower(): name for name in reader.fieldnames or ()}
        if not {"t", "x", "y"} <= names.keys():
            raise InputError(f"{path}: its first line is no header with t,x,y; add the line t,x,y")
        return [[row[names[name]] for name in "txy"] for row in reader]


def _json_rows(path: Path) -> list[Any]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError(f"{path}: is no JSON list of lists; give [[t, x, y], ...]")
    return rows


def _npy_rows(path: Path) -> npt.NDArray[Any]:
    return np.asarray(np.load(path))


def _npz_rows(path: Path) -> npt.NDArray[Any]:
    with np.load(path) as file:
        for name in ("queries", "query"):
            if name in file:
                return np.asarray(file[name])
        found = ", ".join(file) or "nothing"
        raise InputError(f"{path}: has neither `queries` nor `query`, only {found}")


QUERY_FORMATS: dict[str, Callable[[Path], Iterable[Any] | npt.NDArray[Any]]] = {
    ".csv": _csv_rows,
    ".json": _json_rows,
    ".npy": _npy_rows,
    ".npz": _npz_rows,
}
"""What queries are read from: the end of a file's name -> the function that reads its rows."""


def _query_row(row: Any, where: str) -> tuple[float, float, float]:
    try:
        t, x, y = (float(value) for value in row)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {row!r} is not three numbers t, x, y") from None
    return t, x, y


# --- masks


def read_mask(path: str | Path, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """A mask image, or .npy [H, W]: true where its value is not zero.

    Raises InputError where its size is not (H, W).
    """
    mask = _mask_values(Path(path))
    if mask.shape != size:
        _refuse_mask(path, mask.shape, size)
    return mask


def read_masks(path: str | Path, length: int, size: tuple[int, int]) -> Bool[np.ndarray, "T H W"]:
    """Masks of all `length` frames of a video of size (H, W).

    path: one image or .npy [H, W] for all frames, which gives a read-only view; .npy [T, H, W]; or
    a folder of T images in natural order. Raises InputError for another number or size.
    """
    path = Path(path)
    if path.is_dir():
        files = images_in(path)
        _check_count(path, len(files), length)
        return np.stack([read_mask(file, size) for file in files])
    masks = _mask_values(path)
    if path.suffix.lower() == ".npy" and masks.ndim == 3:
        _check_count(path, len(masks), length)
        if masks.shape[1:] != size:
            _refuse_mask(path, masks.shape[1:], size)
        return masks
    if masks.shape != size:
        _refuse_mask(path, masks.shape, size)
    return np.broadcast_to(masks, (length, *size))


def _mask_values(path: Path) -> npt.NDArray[np.bool_]:
    """Where the values of a file are not zero.

    A palette image (DAVIS) counts by its indices, a colour image where any channel is not zero.
    """
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path)).astype(np.bool_)
        with Image.open(path) as image:
            coloured = image.mode in ("RGBA", "LA", "PA", "CMYK", "YCbCr")
            values = np.asarray(image.convert("RGB") if coloured else image)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (*READ_ERRORS, SyntaxError) as error:
        raise InputError(
            f"{path}: can't be read as a mask ({error}); give an image or a .npy file"
        ) from error
    return np.asarray(values.any(axis=-1) if values.ndim == 3 else values != 0)


def _refuse_mask(path: str | Path, shape: tuple[int, ...], size: tuple[int, int]) -> NoReturn:
    is_picture = len(shape) == 2
    found = f"{shape[1]} x {shape[0]}" if is_picture else f"an array {list(shape)}"
    raise InputError(
        f"{path}: the mask is {found}, the video {size[1]} x {size[0]}; "
        "give a mask of the video's size"
    )


def _check_count(path: Path, count: int, length: int) -> None:
    if count != length:
        raise InputError(
            f"{path}: holds {count} masks, the video has {length} frames; give one a frame"
        )


# --- tracks


def save_tracks(path: str | Path, tracks: Tracks) -> None:
    """Write tracks.npz: `tracks` float32 [N, T, 2] px, and the other fields of Tracks by name.

    The same tracks give the same bytes. Raises InputError where the file can't be written.
    """
    with replacing(path) as part, part.open("wb") as file:
        np.savez(
            file,
            tracks=tracks.xy.astype(np.float32),
            visible=tracks.visible.astype(np.bool_),
            confidence=tracks.confidence.astype(np.float32),
            queries=tracks.queries.astype(np.float32),
            size=np.array(tracks.size, np.int64),
            fps=np.array(tracks.fps, np.float64),
        )


def load_tracks(path: str | Path) -> Tracks:
    """The inverse of `save_tracks`. Raises InputError for a file that is none."""
    try:
        with np.load(path) as file:
            height, width = file["size"].tolist()
            return Tracks(
                xy=file["tracks"],
                visible=file["visible"],
                confidence=file["confidence"],
                queries=file["queries"],
                size=(height, width),
                fps=float(file["fps"]),
            )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (*READ_ERRORS, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no tracks.npz of ours ({error})") from error


def save_csv(path: str | Path, tracks: Tracks) -> None:
    """Write tracks.csv: point,t,x,y,visible,confidence.

    One row a point and frame, points in the order of the queries, and of each point its frames.
    Raises InputError where the file can't be written.
    """
    points, frames = np.indices(tracks.visible.shape)
    columns = (
        points.ravel().tolist(),
        frames.ravel().tolist(),
        tracks.xy[..., 0].ravel().tolist(),
        tracks.xy[..., 1].ravel().tolist(),
        tracks.visible.ravel().tolist(),
        tracks.confidence.ravel().tolist(),
    )
    rows = zip(*columns, strict=True)
    with replacing(path) as part, part.open("w", encoding="ascii", newline="\n") as file:
        file.write("point,t,x,y,visible,confidence\n")
        file.writelines(f"{p},{t},{x:.3f},{y:.3f},{v:d},{c:.4f}\n" for p, t, x, y, v, c in rows)


FORMATS: dict[str, Callable[[Path, Tracks], None]] = {
    "tracks.npz": save_tracks,
    "tracks.csv": save_csv,
}
"""What a run writes: the name of a file -> the function that writes it."""
