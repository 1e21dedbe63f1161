"""What our tracker is measured against: simple methods that learn nothing, and anyone's predictions
from files.

Each is called as a `methods.Method`. Whatever it finds, a point is the query itself, and visible,
in the query's frame.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dinotrack.config import Config, FlowConfig, InferenceConfig
from dinotrack.correlation import correlation_maps
from dinotrack.errors import InputError
from dinotrack.features import Backbone, extract_features, make_backbone
from dinotrack.flow import consecutive_flow, make_flow
from dinotrack.geometry import Grid, rescale
from dinotrack.inference import embed, embed_tracks, track_cosines
from dinotrack.joining import follow
from dinotrack.model import soft_argmax
from dinotrack.tracks import Tracks
from dinotrack.video import Source, Video, read_video, resize, working_size

FLOW_CYCLE = 3.0  # px of the video: forward-backward error that ends a chain of dense flow
KANADE_CYCLE = 2.0  # px of the video, and of Lucas-Kanade
SHARPNESS = 0.05  # cosines are divided by it before the softmax of raw features

Array = npt.NDArray[Any]


def still(clip: str, video: Source, queries: Array, seed: int) -> Tracks:
    """Never moves, always visible."""
    known = read_video(video)
    shape = len(queries), len(known.frames)
    xy = np.broadcast_to(queries[:, None, 1:], (*shape, 2))
    return _tracks(known, queries, xy, np.ones(shape, bool))


def lucas_kanade(clip: str, video: Source, queries: Array, seed: int) -> Tracks:
    """OpenCV's pyramidal Lucas-Kanade, chained from the query both ways in time until it
    contradicts its way back."""
    known = read_video(video)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in known.frames]
    rows, own = np.arange(len(queries)), _own(queries)
    xy = np.zeros((len(queries), len(grey), 2), np.float32)
    followed = np.zeros(xy.shape[:2], bool)
    xy[rows, own], followed[rows, own] = queries[:, 1:], True
    for order in (range(len(grey) - 1), range(len(grey) - 1, 0, -1)):
        for t in order:
            alive = np.flatnonzero(followed[:, t] & ((own <= t) if order.step > 0 else (own >= t)))
            moved, sure = _kanade_step(grey[t], grey[t + order.step], xy[alive, t])
            xy[alive[sure], t + order.step], followed[alive[sure], t + order.step] = (
                moved[sure],
                True,
            )
    return _tracks(known, queries, _hold(xy, followed), followed)


def _kanade_step(first: Array, second: Array, xy: Array) -> tuple[Array, Array]:
    """Where xy float32 [K, 2] of one grey frame are in another, and which surely: inside, and back
    where they were."""
    if not len(xy):
        return xy, np.zeros(0, bool)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, xy, np.empty_like(xy))
    home, found_back, _ = cv2.calcOpticalFlowPyrLK(second, first, moved, np.empty_like(xy))
    last = np.array(first.shape[::-1]) - 1
    sure = (
        (found[:, 0] == 1) & (found_back[:, 0] == 1) & ((moved >= 0) & (moved <= last)).all(axis=1)
    )
    return moved, sure & (np.linalg.norm(home - xy, axis=1) < KANADE_CYCLE)


class FlowChains:
    """Dense flow at the video's own size, chained from the query both ways in time until it
    contradicts its way back.

    Raises InputError where the flow's weights can't be had.
    """

    def __init__(self, config: FlowConfig, device: torch.device) -> None:
        self._estimate = make_flow(config, device)

    def __call__(self, clip: str, video: Source, queries: Array, seed: int) -> Tracks:
        known = read_video(video)
        flow = consecutive_flow(
            torch.from_numpy(known.frames).permute(0, 3, 1, 2), self._estimate, known.size
        )
        chain = follow(
            flow, None, torch.from_numpy(queries).float(), InferenceConfig(chain_error=FLOW_CYCLE)
        )
        followed = chain.followed.numpy()
        return _tracks(known, queries, _hold(chain.xy.numpy(), followed), followed)


class RawFeatures:
    """The nearest neighbour by frozen ViT features in each frame on its own, refined by a
    soft-argmax around it.

    Visible where the feature found is as similar as inference.visible_cosine; the cosine is the
    confidence.
    Raises InputError where there is no ViT.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        backbone = make_backbone(config.backbone, device)
        if backbone is None:
            raise InputError("vit needs a ViT; name one, as in --set backbone.name=dinov2_vits14")
        self._backbone: Backbone = backbone
        self._config = config

    def __call__(self, clip: str, video: Source, queries: Array, seed: int) -> Tracks:
        known, config = read_video(video), self._config
        size = working_size(known.size, config.video)
        maps = extract_features(self._backbone, resize(known.frames, size, config.video.filter))
        grid, asked = self._backbone.grid(*size), torch.from_numpy(queries).float()
        inner = torch.cat((asked[:, :1], rescale(asked[:, 1:], known.size, size)), dim=1)
        xy = _nearest(maps, grid, embed(maps, grid, inner), config.model.radius)
        rows, own = torch.arange(len(xy)), asked[:, 0].long()
        xy[rows, own] = inner[:, 1:]
        cosine = track_cosines(embed_tracks(maps, grid, xy), own).numpy()
        found = rescale(xy, size, known.size).numpy()
        return _tracks(
            known, queries, found, cosine >= config.inference.visible_cosine, cosine.clip(0, 1)
        )


def _nearest(maps: Tensor, grid: Grid, vectors: Tensor, radius: float) -> Tensor:
    """Where vectors [N, C] are found in maps [T, C, h, w]: [N, T, 2] working px."""
    xy = vectors.new_empty((len(vectors), len(maps), 2))
    for t in range(len(maps)):
        cosines = correlation_maps(vectors, maps[t][None])
        heat = (cosines / SHARPNESS).flatten(1).softmax(dim=1).view_as(cosines)
        xy[:, t] = soft_argmax(cosines, heat, grid, radius)
    return xy


@dataclass(frozen=True)
class Files:
    """Anyone's predictions: folder/CLIP-SEED.npz or else folder/CLIP.npz, one row for each query
    asked.

    `tracks` [N, T, 2] px of the video, `visible` [N, T] and, if there, `confidence` [N, T] in [0,
    1].
    Raises InputError for files that are missing, or hold something else.
    """

    folder: Path

    def __call__(self, clip: str, video: Source, queries: Array, seed: int) -> Tracks:
        known = read_video(video)
        path = next((p for p in self._paths(clip, seed) if p.is_file()), None)
        if path is None:
            names = " or ".join(p.name for p in self._paths(clip, seed))
            raise InputError(f"{self.folder} holds no predictions for {clip}; write {names} there")
        arrays = _read_predictions(path)
        shape = len(queries), len(known.frames)
        for name, wanted in (("tracks", (*shape, 2)), ("visible", shape), ("confidence", shape)):
            if arrays[name].shape != wanted:
                raise InputError(
                    f"{path}: {name} has shape {list(arrays[name].shape)}, but {clip} has {shape[0]} queries and "
                    f"{shape[1]} frames; give {list(wanted)}"
                )
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise InputError(
                f"{path}: holds numbers that are not finite; write some position for hidden points too"
            )
        return _tracks(
            known, queries, arrays["tracks"], arrays["visible"].astype(bool), arrays["confidence"]
        )

    def _paths(self, clip: str, seed: int) -> tuple[Path, Path]:
        return self.folder / f"{clip}-{seed}.npz", self.folder / f"{clip}.npz"


def _read_predictions(path: Path) -> dict[str, Array]:
    try:
        with np.load(path) as file:
            visible = file["visible"]
            confidence = file.get("confidence", visible)
            return {"tracks": file["tracks"], "visible": visible, "confidence": confidence}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(
            f"{path}: can't be read as predictions ({error}); it needs `tracks` and `visible`"
        ) from error


def _own(queries: Array) -> Array:
    """The frame of each query [N, 3]: int [N]."""
    return np.rint(queries[:, 0]).astype(int)


def _hold(xy: Array, followed: Array) -> Array:
    """Positions [N, T, 2] where lost points stay where they were last followed, bool [N, T], one
    run of frames each."""
    frames = np.arange(followed.shape[1])
    first = followed.argmax(axis=1)
    last = first + followed.sum(axis=1) - 1
    nearest = frames.clip(first[:, None], last[:, None])
    return np.take_along_axis(xy, nearest[..., None], axis=1)


def _tracks(
    video: Video, queries: Array, xy: Array, visible: Array, confidence: Array | None = None
) -> Tracks:
    """Tracks of what was found, with the query itself in its own frame. confidence: None: as
    visible says."""
    xy, visible = xy.astype(np.float32), visible.copy()
    confidence = (visible if confidence is None else confidence).astype(np.float32)
    rows, own = np.arange(len(queries)), _own(queries)
    xy[rows, own], visible[rows, own], confidence[rows, own] = queries[:, 1:], True, 1.0
    return Tracks(xy, visible, confidence, queries.astype(np.float32), video.size, video.fps)
