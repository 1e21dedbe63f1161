"""What our tracker is measured against: simple methods that learn nothing, and anyone's predictions
from files.

Each is called as a `methods.Method`. Whatever it finds, a point is the query itself, and visible,
in the query's own frame.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinotrack.backbones import Backbone
from dinotrack.config import ChainConfig, FlowConfig
from dinotrack.correlation import correlation_maps
from dinotrack.errors import InputError, setting
from dinotrack.features import frozen_features, make_backbone
from dinotrack.flow import FlowEstimator
from dinotrack.flow_methods import FLOWS
from dinotrack.formats.numpy_files import open_npz
from dinotrack.geometry import rescale
from dinotrack.maps import FeatureMaps
from dinotrack.media.frames import each_frame
from dinotrack.model import soft_argmax
from dinotrack.queries import Queries, Trajectories
from dinotrack.run import Run
from dinotrack.tracking.flow_chain import follow
from dinotrack.tracking.matching import track_cosines
from dinotrack.tracks import Tracks
from dinotrack.video import Source, Video, read_video
from dinotrack.working import Resized, resize, working_size

FLOW_CYCLE = 3.0
"""Px of the video: the cycle error that ends a chain of dense flow."""
KANADE_CYCLE = 2.0
"""Px of the video: the cycle error that ends a chain of Lucas-Kanade."""
SHARPNESS = 0.05
"""Cosines of raw features are divided by it before the softmax."""

PREDICTED = ("tracks", "visible", "confidence")
"""The arrays of a file of predictions; the last may be missing."""

Rows = Float[np.ndarray, "N 3"]
"""Queries: (t, x, y) in px of the video."""
GreyFrame = UInt8[np.ndarray, "H W"]


def still(clip: str, video: Source, queries: Rows, seed: int) -> Tracks:
    """Never moves, and is always visible."""
    known = read_video(video)
    xy = _asked(queries).xy[:, None].expand(-1, len(known.frames), -1)
    return _tracks(known, queries, xy, torch.ones(xy.shape[:2], dtype=torch.bool))


def lucas_kanade(clip: str, video: Source, queries: Rows, seed: int) -> Tracks:
    """OpenCV's pyramidal Lucas-Kanade, chained from the query both ways in time until it
    contradicts its way back."""
    known = read_video(video)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in each_frame(known.frames)]
    own = _asked(queries).frame.numpy()
    rows = np.arange(len(queries))
    xy = np.zeros((len(queries), len(grey), 2), np.float32)
    followed = np.zeros(xy.shape[:2], bool)
    xy[rows, own] = queries[:, 1:]
    followed[rows, own] = True
    for t in range(len(grey) - 1):
        _kanade_chain(grey, xy, followed, t, t + 1, followed[:, t] & (own <= t))
    for t in range(len(grey) - 1, 0, -1):
        _kanade_chain(grey, xy, followed, t, t - 1, followed[:, t] & (own >= t))
    visible = torch.from_numpy(followed)
    return _tracks(known, queries, _hold(torch.from_numpy(xy), visible), visible)


def _kanade_chain(
    grey: list[GreyFrame],
    xy: Float[np.ndarray, "N T 2"],
    followed: Bool[np.ndarray, "N T"],
    t: int,
    u: int,
    alive: Bool[np.ndarray, " N"],
) -> None:
    """Follow the points that are alive from frame t to u, in place."""
    rows = np.flatnonzero(alive)
    moved, sure = _kanade_step(grey[t], grey[u], xy[rows, t])
    xy[rows[sure], u] = moved[sure]
    followed[rows[sure], u] = True


def _kanade_step(
    first: GreyFrame, second: GreyFrame, xy: Float[np.ndarray, "K 2"]
) -> tuple[Float[np.ndarray, "K 2"], Bool[np.ndarray, " K"]]:
    """Where positions of one frame are in another, and which of them surely: those that stay inside
    and come back to where they were."""
    if not len(xy):
        return xy, np.zeros(0, bool)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, xy, np.empty_like(xy))
    home, found_back, _ = cv2.calcOpticalFlowPyrLK(second, first, moved, np.empty_like(xy))
    last = np.array(first.shape[::-1]) - 1
    known = (found[:, 0] == 1) & (found_back[:, 0] == 1)
    inside = ((moved >= 0) & (moved <= last)).all(axis=1)
    returns = np.linalg.norm(home - xy, axis=1) < KANADE_CYCLE
    return np.asarray(moved), np.asarray(known & inside & returns)


class FlowChains:
    """Dense flow at the video's own size, chained from the query both ways in time until it
    contradicts its way back.

    Raises InputError where the flow's weights can't be had.
    """

    def __init__(self, config: FlowConfig, device: torch.device) -> None:
        self._name = config.name
        self._estimate = FLOWS[config.name](config, device)

    def __call__(self, clip: str, video: Source, queries: Rows, seed: int) -> Tracks:
        known = read_video(video)
        frames = Resized(known.frames, known.size, "area")
        flow = FlowEstimator(frames, known.size, self._estimate, self._name).neighbours()
        chain = follow(flow, _asked(queries), ChainConfig(cycle_error=FLOW_CYCLE))
        return _tracks(known, queries, _hold(chain.xy, chain.followed), chain.followed)


class RawFeatures:
    """The nearest neighbour by frozen ViT features in each frame on its own, made precise by a
    soft-argmax around it.

    A point is visible where the feature found is as similar as the paper's tracker asks for
    (inference.matching.visible_cosine); the cosine is the confidence. Raises InputError where there
    is no ViT.
    """

    def __init__(self, run: Run) -> None:
        backbone = make_backbone(run.config.backbone, run.device)
        if backbone is None:
            raise InputError(
                "vit needs a ViT; name one: ", setting("backbone.name", "dinov2_vits14")
            )
        self._backbone: Backbone = backbone
        self._run = run

    def __call__(self, clip: str, video: Source, queries: Rows, seed: int) -> Tracks:
        known = read_video(video)
        config = self._run.config
        size = working_size(known.size, config.video)
        frames = resize(known.frames, size, config.video.filter)
        maps = frozen_features(frames, self._backbone, self._run, False).maps
        asked = _asked(queries).rescaled(known.size, size)
        xy = self._nearest(maps, maps.at_queries(asked))
        xy[torch.arange(len(asked)), asked.frame] = asked.xy
        cosine = track_cosines(maps.along(xy), asked.frame)
        visible = cosine >= config.inference.matching.visible_cosine
        found = rescale(xy, size, known.size)
        return _tracks(known, queries, found, visible, cosine.clip(0, 1))

    def _nearest(self, maps: FeatureMaps, vectors: Float[Tensor, "N C"]) -> Float[Tensor, "N T 2"]:
        """Where vectors are found in each frame, in working px."""
        found = []
        for t in range(len(maps)):
            cosines = correlation_maps(vectors, maps[t : t + 1].values)
            heat = (cosines / SHARPNESS).flatten(1).softmax(dim=1).view_as(cosines)
            found.append(soft_argmax(cosines, heat, maps.grid, self._run.config.model))
        return torch.stack(found, dim=1)


@dataclass(frozen=True)
class Files:
    """Anyone's predictions: folder/CLIP-SEED.npz or else folder/CLIP.npz, one row for each query
    asked.

    A file holds `tracks` [N, T, 2] px of the video, `visible` [N, T] and perhaps `confidence`
    [N, T] in [0, 1]. Raises InputError for files that are missing, or hold something else.
    """

    folder: Path

    def __call__(self, clip: str, video: Source, queries: Rows, seed: int) -> Tracks:
        known = read_video(video)
        path = self._path(clip, seed)
        arrays = _read_predictions(path)
        _check_predictions(path, arrays, clip, (len(queries), len(known.frames)))
        xy = torch.from_numpy(arrays["tracks"]).float()
        visible = torch.from_numpy(arrays["visible"]).bool()
        confidence = torch.from_numpy(arrays["confidence"]).float()
        return _tracks(known, queries, xy, visible, confidence)

    def _path(self, clip: str, seed: int) -> Path:
        paths = self.folder / f"{clip}-{seed}.npz", self.folder / f"{clip}.npz"
        for path in paths:
            if path.is_file():
                return path
        names = " or ".join(path.name for path in paths)
        raise InputError(f"{self.folder} holds no predictions for {clip}; write {names} there")


def _read_predictions(path: Path) -> dict[str, np.ndarray]:
    with open_npz(path, "predictions") as archive:
        wanted = [name for name in PREDICTED if name in archive.members]
        found = {name: archive.read(name) for name in wanted}
    if not {"tracks", "visible"} <= found.keys():
        raise InputError(f"{path}: can't be read as predictions; it needs `tracks` and `visible`")
    return {"confidence": found["visible"], **found}


def _check_predictions(
    path: Path, arrays: dict[str, np.ndarray], clip: str, shape: tuple[int, int]
) -> None:
    """Raises InputError for predictions of other points or frames than `shape` (N, T) says."""
    for name, wanted in (("tracks", (*shape, 2)), ("visible", shape), ("confidence", shape)):
        given = arrays[name].shape
        if given != wanted:
            raise InputError(
                f"{path}: {name} has shape {list(given)}, but {clip} has {shape[0]} queries and "
                f"{shape[1]} frames; give {list(wanted)}"
            )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise InputError(
            f"{path}: holds numbers that are not finite; write some position for hidden points too"
        )


def _asked(queries: Rows) -> Queries:
    """Queries as the tracker takes them, in px of the video."""
    return Queries.from_rows(torch.from_numpy(queries).float())


def _hold(xy: Float[Tensor, "N T 2"], followed: Bool[Tensor, "N T"]) -> Float[Tensor, "N T 2"]:
    """Positions where lost points stay where they were last followed, one run of frames each."""
    frames = torch.arange(followed.shape[1])
    first = followed.int().argmax(dim=1, keepdim=True)
    last = first + followed.sum(dim=1, keepdim=True) - 1
    nearest = frames.clamp(min=first, max=last)
    return xy.gather(1, nearest[..., None].expand(-1, -1, 2))


def _tracks(
    video: Video,
    queries: Rows,
    xy: Float[Tensor, "N T 2"],
    visible: Bool[Tensor, "N T"],
    confidence: Float[Tensor, "N T"] | None = None,
) -> Tracks:
    """Tracks of what was found, in px of the video, with the query itself in its own frame.

    confidence: None where a method is as sure as `visible` says.
    """
    sure = visible.float() if confidence is None else confidence
    found = _asked(queries).pinned(Trajectories(xy, visible, sure))
    return Tracks(
        xy=found.xy.numpy(),
        visible=found.visible.numpy(),
        confidence=found.confidence.numpy(),
        queries=queries.astype(np.float32),
        size=video.size,
        fps=video.fps,
    )
