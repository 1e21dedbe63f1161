"""SLEAP's files: analysis .h5, arrays of all frames, and .slp projects. Positions are ours.

In both, our points are the nodes of one animal, and a hidden point is NaN. Frames are those of the
video file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dinotrack.errors import InputError
from dinotrack.files import replacing
from dinotrack.formats.arrays import keyed_points
from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.hdf5 import array, open_h5, texts_of
from dinotrack.formats.opening import Unreadable, opened
from dinotrack.formats.texts import distinct
from dinotrack.tracks import Tracks

KIND = "a SLEAP analysis"
"""What messages call .h5 files."""
PROJECT = "a SLEAP project"
"""What messages call .slp files."""
ORDER = ("track", "node", "frame", "xy")
"""The sides in the order in which we read them."""
ANIMAL = "dinotrack"
"""What the one animal is called whose nodes are our points."""
AXES = ("track", "xy", "node", "frame")
"""The sides of the array of positions, as SLEAP and MATLAB have them."""
OTHER_AXES = ("frame", "track", "node", "xy")
"""The same, as sleap-io may have them.

A file may name them, too, in a text without a fixed length. libhdf5 never comes to an end with some
damaged texts of that kind, so it is not read, and the lengths of the sides decide.
"""


def write_sleap(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `sleap`: positions [1, 2, N, T], and confidence as the scores of points."""
    import h5py

    places, scores = _seen(tracks)
    is_there = np.isfinite(places).any(axis=(0, 2))
    nothing = np.zeros((0, 2))
    arrays: dict[str, Any] = {
        "tracks": places.transpose(2, 0, 1)[None],
        "track_occupancy": is_there[:, None].astype(np.uint8),
        "point_scores": scores[None],
        "instance_scores": np.where(is_there, _means(scores), np.nan)[None],
        "tracking_scores": np.full((1, len(is_there)), np.nan),
        "track_names": np.array([ANIMAL.encode()]),
        "node_names": np.array([name.encode() for name in distinct(tracks.point_names)]),
        "edge_names": nothing.astype("S1"),
        "edge_inds": nothing.astype(np.int64),
        "labels_path": "",
        "video_path": wishes.video,
        "video_ind": 0,
        "provenance": json.dumps({}),
    }
    with replacing(path) as part, h5py.File(part, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)


def _seen(tracks: Tracks) -> tuple[Float[np.ndarray, "N T 2"], Float[np.ndarray, "N T"]]:
    """Positions and scores, NaN where a point is hidden."""
    places = np.where(tracks.visible[..., None], tracks.xy, np.nan).astype(np.float64)
    return places, np.where(tracks.visible, tracks.confidence, np.nan).astype(np.float64)


def _means(scores: Float[np.ndarray, "N T"]) -> Float[np.ndarray, " T"]:
    """The mean score of each frame over what is there."""
    count = np.isfinite(scores).sum(axis=0)
    return np.asarray(np.nansum(scores, axis=0) / np.maximum(count, 1))


def is_sleap(path: Path) -> bool:
    """Whether an .h5 file is a SLEAP analysis."""
    try:
        with open_h5(path, KIND) as file:
            return "node_names" in file and "tracks" in file
    except (InputError, ImportError):
        return False


def read_sleap(path: Path, clip: Clip) -> Found:
    """Points of an analysis: of each animal its nodes."""
    with open_h5(path, KIND) as file:
        nodes, animals = texts_of(file, "node_names"), _animals(file)
        places = array(file, "tracks", "f", 4).astype(np.float64)
        is_ours = places.shape[:3] == (len(animals), 2, len(nodes))
        axes = AXES if is_ours else OTHER_AXES
        places = places.transpose([axes.index(side) for side in ORDER])
        frames = places.shape[2]
        if places.shape != (len(animals), len(nodes), frames, 2):
            raise Unreadable("its arrays are of other sides than it says")
        scores = np.ones(places.shape[:3])
        if "point_scores" in file:
            rest = [side for side in axes if side != "xy"]
            scores = array(file, "point_scores", "f", 3).astype(np.float64)
            scores = scores.transpose([rest.index(side) for side in ORDER[:3]])
        count = len(animals) * len(nodes)
        places = places.reshape(count, frames, 2)
        trust = np.clip(np.nan_to_num(scores.reshape(count, frames), nan=1.0), 0, 1)
        names = [_called(animal, node, len(animals)) for animal in animals for node in nodes]
        points = keyed_points(places, np.ones((count, frames), bool), trust, names)
        return Found(points, frames=frames)


def _animals(file: Any) -> list[str]:
    """What the animals are called; one without a name where SLEAP followed none."""
    names = texts_of(file, "track_names") if len(file["track_names"]) else []
    return names or [ANIMAL]


def _called(animal: str, node: str, count: int) -> str:
    """What a point is called: like its node, and before it its animal where there are several."""
    return node if count == 1 else f"{animal}_{node}"


def write_sleap_project(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `sleap-slp`, through sleap-io: an instance a frame, that was predicted."""
    import sleap_io as sio

    names = distinct(tracks.point_names)
    skeleton = sio.Skeleton(nodes=list(names), name=ANIMAL)
    track = sio.Track(ANIMAL)
    video = sio.Video(filename=wishes.video or "video.mp4", open_backend=False)
    places, scores = _seen(tracks)
    labelled = []
    for t, mean in enumerate(_means(scores).tolist()):
        if not tracks.visible[:, t].any():
            continue
        points = sio.PredictedInstance.from_numpy(
            places[:, t],
            skeleton,
            point_scores=np.nan_to_num(scores[:, t]),
            score=mean,
            track=track,
        )
        labelled.append(sio.LabeledFrame(video=video, frame_idx=t, instances=[points]))
    labels = sio.Labels(labelled, videos=[video], skeletons=[skeleton], tracks=[track])
    with replacing(path) as part:
        try:
            sio.save_slp(labels, str(part), embed=False, verbose=False)
        except ValueError as error:  # it keeps all names in 64000 bytes
            raise InputError(
                f"{path}: a SLEAP project can't hold these points ({error}); choose fewer of them"
            ) from error


def read_sleap_project(path: Path, clip: Clip) -> Found:
    """Points of a project: what people labelled, and where they did not, what was predicted."""
    import sleap_io as sio

    with open_h5(path, PROJECT):
        pass  # it leads to no other file
    with opened(path, PROJECT):
        labels = sio.load_slp(str(path), open_videos=False)
        keys: dict[tuple[str, str], dict[int, Key]] = {}
        for frame in labels.labeled_frames:
            if frame.video is labels.videos[0]:
                for number, instance in enumerate(_chosen(frame)):
                    animal = instance.track.name if instance.track else f"instance_{number}"
                    for node, key in _nodes(instance, int(frame.frame_idx)):
                        found = keys.setdefault((animal, node), {})
                        if key is not None:
                            found.setdefault(key.t, key)
        count = len({animal for animal, _ in keys})
        points = [
            KeyedPoint(_called(animal, node, count), tuple(found.values()))
            for (animal, node), found in keys.items()
        ]
        return Found(points)


def _chosen(frame: Any) -> Sequence[Any]:
    """Instances of a frame; those of people first, so that they count."""
    return [*frame.user_instances, *frame.predicted_instances]


def _nodes(instance: Any, t: int) -> Iterator[tuple[str, Key | None]]:
    """The nodes of an instance, and where they are; None where one has no place."""
    is_predicted = "score" in instance.points.dtype.names
    for node, point in zip(instance.skeleton.nodes, instance.points, strict=True):
        x, y = map(float, point["xy"])
        trust = min(max(float(point["score"]), 0.0), 1.0) if is_predicted else 1.0
        is_there = np.isfinite((x, y)).all()
        yield node.name, Key(t, x, y, True, trust) if is_there else None
