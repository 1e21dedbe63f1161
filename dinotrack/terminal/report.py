"""What a run says of itself: run.json, and the lines at its end."""

import json
import math
from argparse import Namespace
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinotrack.config import to_dict
from dinotrack.progress import Watch
from dinotrack.tracks import Tracks

if TYPE_CHECKING:
    from dinotrack.fitted import Fitted
    from dinotrack.terminal.asked import Asked

PACKAGES = ("dinotrack", "torch", "torchvision", "timm", "kornia", "numpy")
"""Whose versions run.json holds."""


def about(args: Namespace, fitted: "Fitted", asked: "Asked", tracks: Tracks) -> dict[str, Any]:
    """What run.json holds of a video, of the points that were tracked, and of how."""
    video = fitted.video
    height, width = video.size
    settings = to_dict(fitted.config)
    preset = settings.pop("preset")
    return {
        "video": {
            "path": str(args.video),
            "name": video.name,
            "hash": fitted.identity.video_hash,
            "frames": len(video.frames),
            "height": height,
            "width": width,
            "fps": video.fps,
            "rate": str(as_fraction(video.fps)) if video.uneven_times is None else "varies",
        },
        "points": len(tracks.queries),
        "visible": float(tracks.visible.mean()),
        "corrections": len(asked.corrections),
        "hidden_stretches": len(asked.hidden),
        "lessons": list(fitted.state.lessons),
        "preset": preset,
        "settings": settings,
        "seed": args.seed,
        "device": str(fitted.run.device),
        "versions": _versions(),
    }


def happened(fitted: "Fitted", watch: Watch) -> dict[str, Any]:
    """What run.json holds of what happened up to now: seconds and memory by stage, and losses.

    watch: of the stages around the fit, which has one of its own.
    """
    record = fitted.record
    return record | {
        "seconds": _by_stage(sum, record["seconds"], watch.seconds),
        "peak_megabytes": _by_stage(max, record["peak_megabytes"], watch.peak_megabytes),
    }


def summary(out: Path, record: dict[str, Any]) -> Iterator[str]:
    """The lines that end a run whose record this is."""
    visible = f"{100 * record['visible']:.0f} % visible"
    yield f"{record['points']} points in {record['video']['frames']} frames, {visible}"
    if not record["steps_trained_now"]:
        yield "no step was trained"
    seconds = record["seconds"]
    stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in seconds.items())
    yield f"seconds: {stages}; {sum(seconds.values()):.1f} in all"
    yield f"wrote {out}: {', '.join(record['outputs'])}, run.json, model/"


def as_json(record: dict[str, Any]) -> str:
    """A record as JSON that every reader takes: numbers that are not finite are null, and bytes of
    a name that are no text are written out."""
    return json.dumps(_plain(record), indent=1, allow_nan=False) + "\n"


def as_fraction(number: float) -> Fraction:
    """The simplest fraction that is this number in double precision, such as 30000/1001."""
    for digits in range(17):
        fraction = Fraction(number).limit_denominator(10**digits)
        if float(fraction) == number:
            return fraction
    return Fraction(number)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _by_stage(
    join: Callable[[list[float]], float], first: dict[str, float], second: dict[str, float]
) -> dict[str, float]:
    """What two watches noted of each stage, joined where both saw one."""
    stages = first | second
    return {
        stage: join([noted[stage] for noted in (first, second) if stage in noted])
        for stage in stages
    }


def _versions() -> dict[str, str]:
    import importlib.metadata
    import platform

    import cv2

    versions = {"python": platform.python_version(), "cv2": cv2.__version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
