"""The command line: one run, what it writes, and how it ends.

Arguments, the video and the queries are looked at before anything that takes long to load, so that
what is wrong with them is said at once.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dinotrack import arguments
from dinotrack.display import (
    Display,
    interrupted_between_steps,
    say,
    say_of,
    warnings_as_lines,
)
from dinotrack.errors import Argument, InputError
from dinotrack.progress import Progress, Watch

if TYPE_CHECKING:
    from dinotrack.api import Fitted
    from dinotrack.tracks import Tracks
    from dinotrack.video import Video

PACKAGES = ("dinotrack", "torch", "torchvision", "timm", "kornia", "numpy")
"""Whose versions run.json holds."""


def entry() -> NoReturn:
    """What the installed command `dinotrack` runs."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    0: all went well; 2: the user can mend it; 130: Ctrl-C; 1: a bug of ours.
    """
    try:
        with (
            warnings_as_lines(),
            Display(sys.stderr) as display,
            interrupted_between_steps(display),
        ):
            _run(arguments.parse(argv), display)
    except InputError as error:
        say_of("error", error)
        return 2
    except KeyboardInterrupt:
        say("interrupted; the same command with --resume goes on from here")
        return 130
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            say(
                "error: out of memory; make frames smaller, as in --set video.area=50000, "
                "or choose another --device"
            )
            return 2
        traceback.print_exc()
        say("that is a bug of ours; please report it together with the lines above")
        return 1
    return 0


def _run(args: argparse.Namespace, progress: Progress) -> None:
    """One run. All that the user can have got wrong is found out before the fit."""
    from dinotrack.files import make_folder, replacing
    from dinotrack.formats import read_mask, read_masks, read_queries
    from dinotrack.points import choose_queries
    from dinotrack.video import read_video

    watch = Watch(progress)
    with watch.stage("read"):
        video = read_video(args.video, progress)
    queries = choose_queries(
        video,
        read_queries(args.queries) if args.queries else None,
        grid=args.grid,
        query_frame=args.query_frame,
        mask=read_mask(args.mask, video.size) if args.mask else None,
    )
    foreground = None
    if args.foreground:
        foreground = read_masks(args.foreground, len(video.frames), video.size)
    out = args.out or Path("runs") / video.name
    make_folder(out, "choose another ", Argument("folder"))

    from dinotrack import api  # loads torch, which takes seconds

    fitted = api.fit(
        video,
        preset=args.preset,
        settings=arguments.settings(args),
        seed=args.seed,
        device=args.device,
        foreground=foreground,
        progress=progress,
        folder=out / "model",
        resume=args.resume,
    )
    tracks = fitted.track(queries)
    style = None if args.no_overlay else args.overlay_style
    _write(out, video, tracks, style, watch)
    report = _report(args, video, tracks, fitted, watch)
    with replacing(out / "run.json") as part:
        part.write_text(json.dumps(report, indent=1) + "\n")
    for line in _summary(out, args, tracks, report):
        print(line)


def _write(
    out: Path, video: "Video", tracks: "Tracks", overlay_style: str | None, watch: Watch
) -> None:
    """Tracks in all formats and the overlay. No overlay of other points stays behind."""
    from dinotrack.formats import FORMATS
    from dinotrack.overlay import render

    with watch.stage("write"):
        (out / "overlay.mp4").unlink(missing_ok=True)
        for name, save in FORMATS.items():
            save(out / name, tracks)
    if overlay_style:
        with watch.stage("overlay"):
            render(video, tracks, out / "overlay.mp4", overlay_style, watch.progress)


def _report(
    args: argparse.Namespace, video: "Video", tracks: "Tracks", fitted: "Fitted", watch: Watch
) -> dict[str, Any]:
    """What run.json holds."""
    from dinotrack.config import to_dict

    record = fitted.record
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
        },
        "points": len(tracks.queries),
        "preset": preset,
        "settings": settings,
        "seed": args.seed,
        "device": str(fitted.run.device),
        "versions": _versions(),
        **record,
        "seconds": _by_stage(sum, record["seconds"], watch.seconds),
        "peak_megabytes": _by_stage(max, record["peak_megabytes"], watch.peak_megabytes),
    }


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


def _summary(
    out: Path, args: argparse.Namespace, tracks: "Tracks", report: dict[str, Any]
) -> Iterator[str]:
    """The lines that end a run."""
    from dinotrack.formats import FORMATS

    count, length = tracks.visible.shape
    yield f"{count} points in {length} frames, {100 * tracks.visible.mean():.0f} % visible"
    if not report["steps_trained_now"]:
        yield "no step was trained"
    seconds = report["seconds"]
    stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in seconds.items())
    yield f"seconds: {stages}; {sum(seconds.values()):.1f} in all"
    overlay = [] if args.no_overlay else ["overlay.mp4"]
    names = [*FORMATS, *overlay, "run.json", "model/"]
    yield f"wrote {out}: {', '.join(names)}"
