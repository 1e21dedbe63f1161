"""COCO keypoints: an annotation for each image of the video. Positions are ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dinotrack.formats.format import Clip, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.opening import Unreadable, opened
from dinotrack.formats.texts import distinct, read_json, start_of, write_text
from dinotrack.tracks import Tracks

KIND = "COCO keypoints"
"""What messages call these files."""
UNKNOWN, HIDDEN, VISIBLE = 0, 1, 2
"""What the third number of a keypoint says."""


def write_coco(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `coco`: images named after their frame, as 000000.jpg, in which one thing has our
    points as keypoints."""
    height, width = tracks.size
    images = []
    annotations = []
    for t in range(tracks.visible.shape[1]):
        frame = t + wishes.start_frame
        images.append(
            {
                "id": t + 1,  # some programs take 0 for none
                "file_name": f"{frame:06d}.jpg",
                "width": width,
                "height": height,
                "frame_id": frame,
            }
        )
        annotations.append(_annotation(tracks, t, wishes.only_visible))
    names = list(distinct(tracks.point_names))
    things = {"id": 1, "name": "points", "keypoints": names, "skeleton": []}
    info = {"description": "tracks of dinotrack", "fps": tracks.fps}
    parts = {
        "info": info,
        "licenses": [],
        "categories": [things | {"supercategory": ""}],
        "images": images,
        "annotations": annotations,
    }
    write_text(path, _lines(parts))


def _annotation(tracks: Tracks, t: int, only_visible: bool) -> dict[str, Any]:
    """The points in one frame, and the box around those that have a place."""
    keypoints: list[float] = []
    visible = tracks.visible[:, t]
    there = visible if only_visible else np.ones_like(visible)
    for (x, y), seen, known in zip(tracks.xy[:, t].tolist(), visible, there, strict=True):
        if known:
            keypoints += [round(x, 4), round(y, 4), VISIBLE if seen else HIDDEN]
        else:
            keypoints += [0, 0, UNKNOWN]
    places = tracks.xy[there, t].astype(np.float64)
    low, high = np.zeros(2), np.zeros(2)
    if len(places):
        low, high = places.min(axis=0), places.max(axis=0)
    sides = high - low
    return {
        "id": t + 1,
        "image_id": t + 1,
        "category_id": 1,
        "track_id": 1,
        "keypoints": keypoints,
        "num_keypoints": int(there.sum()),
        "bbox": [round(float(value), 4) for value in (*low, *sides)],
        "area": round(float(sides.prod()), 4),
        "iscrowd": 0,
    }


def _lines(parts: dict[str, Any]) -> Iterator[str]:
    """The text, a line for each image and annotation."""
    for i, (name, part) in enumerate(parts.items()):
        yield ("{" if i == 0 else ",\n") + f"{json.dumps(name)}: "
        if isinstance(part, list) and part:
            yield "[\n" + ",\n".join(map(json.dumps, part)) + "\n]"
        else:
            yield json.dumps(part)
    yield "}\n"


def is_coco(path: Path) -> bool:
    """Whether a JSON file begins as those of COCO do, with one of their fields."""
    return bool(re.match(r'\{\s*"(info|licenses|images|annotations|categories)"', start_of(path)))


def read_coco(path: Path, clip: Clip) -> Found:
    """Points of an annotation file: the keypoints of each thing, by its category and track.

    A frame is the image's `frame_id`, or else the last number in its name.
    """
    held = read_json(path, KIND)
    with opened(path, KIND):  # in which whatever is missing or of another kind is told
        images = {image["id"]: image for image in held["images"]}
        names = {each["id"]: each.get("keypoints", []) for each in held["categories"]}
        frames = {i: _frame(image) - clip.start_frame for i, image in images.items()}
        keys: dict[tuple[str, str], dict[int, Key]] = {}
        met: dict[Any, int] = {}
        for each in held["annotations"]:
            image = each["image_id"]
            met[image] = met.get(image, 0) + 1
            thing = str(each.get("track_id", met[image]))
            for name, key in _keys(each, names[each["category_id"]], frames[image]):
                found = keys.setdefault((thing, name), {})
                if key is not None:
                    found[key.t] = key
        size = None
        if images:
            first = next(iter(images.values()))
            size = (int(first["height"]), int(first["width"]))
        several = len({thing for thing, _ in keys}) > 1
        points = [
            KeyedPoint(f"{name}_{thing}" if several else name, tuple(found.values()))
            for (thing, name), found in keys.items()
        ]
        fps = held.get("info", {}).get("fps")
        last = max(frames.values(), default=0)
        return Found(points, size, last + 1, None if fps is None else float(fps))


def _frame(image: dict[str, Any]) -> int:
    if "frame_id" in image:
        return int(image["frame_id"])
    digits = re.findall("[0-9]+", str(image["file_name"]).rpartition(".")[0])
    if not digits:
        raise Unreadable("an image has neither a frame_id nor a number in its name")
    return int(digits[-1])


def _keys(each: dict[str, Any], names: list[str], t: int) -> Iterator[tuple[str, Key | None]]:
    """The keypoints of an annotation; None where one has no place."""
    values = each.get("keypoints", [])
    if len(values) != 3 * len(names):
        raise Unreadable("an annotation has not three numbers for each keypoint of its category")
    for i, name in enumerate(names):
        x, y, seen = values[3 * i : 3 * i + 3]
        is_seen = seen == VISIBLE
        key = Key(t, float(x), float(y), is_seen, float(is_seen))
        yield str(name), None if seen == UNKNOWN else key
