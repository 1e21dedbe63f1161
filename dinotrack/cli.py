"""The command line: arguments, progress and messages."""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NoReturn, TextIO

import cv2
import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from dinotrack.config import PRESETS, parse_assignment, to_dict
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.formats import FORMATS, read_mask, read_masks, read_queries
from dinotrack.pipeline import Fitted, Watch, choose_device, choose_queries, fit
from dinotrack.progress import Progress
from dinotrack.render import STYLES, render
from dinotrack.tracks import Tracks
from dinotrack.video import Video, read_video, replacing

GRID = 16
PACKAGES = ("dinotrack", "torch", "torchvision", "timm", "kornia", "numpy")
QUIET_SECONDS = 30.0  # between two lines about one stage, where they go into a file

EPILOG = """\
examples:
  dinotrack my.mp4                                 a grid of 16 x 16 points, into runs/my/
  dinotrack my.mp4 --queries points.csv            your own points; no fit the second time
  dinotrack my.mp4 --out runs/long --set training.steps=2000
  dinotrack --out runs/x -- -x.mp4                 a name that starts with a dash
"""


def entry() -> NoReturn:
    """What the installed command `dinotrack` runs."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. 0; 2 for what the user can mend; 130 for Ctrl-C; 1 for our bugs."""
    try:
        with (
            _warnings_as_lines(),
            Display(sys.stderr) as display,
            _interrupted_between_steps(display),
        ):
            _run(_parse(argv), display)
    except InputError as error:
        _say(f"error: {' '.join(str(error).split())}")
        return 2
    except (MemoryError, torch.OutOfMemoryError):
        _say(
            "error: out of memory; make frames smaller, as in --set video.area=50000, or choose another --device"
        )
        return 2
    except KeyboardInterrupt:
        _say("interrupted; the same command with --resume goes on from here")
        return 130
    except Exception:
        traceback.print_exc()
        _say("that is a bug of ours; please report it together with the lines above")
        return 1
    return 0


class Display:
    """Shows progress: one bar a stage on a terminal, now and then a short line elsewhere.

    Is a `Progress`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self.stage = ""
        self.bar: Any = None
        self.since = self.told = 0.0
        self.interrupted = False

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self._close()
            self._open(stage, done, total)
        if self.terminal:
            self.bar.total = total
            self.bar.update(done - self.bar.n)
        elif done == total or time.monotonic() - self.told > QUIET_SECONDS:
            self.told = time.monotonic()
            print(
                f"{stage}: {done} of {total}, {self.told - self.since:.1f} s",
                file=self.stream,
                flush=True,
            )
        if done == total:
            self._close()
        if self.interrupted:
            raise KeyboardInterrupt

    def _open(self, stage: str, done: int, total: int) -> None:
        self.stage, self.since = stage, time.monotonic()
        self.told = self.since
        if self.terminal:
            columns, lines = shutil.get_terminal_size()  # unlike tqdm, it takes 0 for unknown
            size = {"ncols": columns - 1, "nrows": lines}
            self.bar = tqdm(
                desc=f"{stage:<10}", total=total, initial=done, file=self.stream, **size
            )

    def _close(self) -> None:
        self.stage = ""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _run(args: argparse.Namespace, progress: Progress) -> None:
    """One run. All that the user can have got wrong is found out before the fit."""
    watch = Watch(progress)
    with watch.stage("read"):
        video = read_video(args.video, progress)
    queries = _queries(args, video)
    foreground = (
        read_masks(args.foreground, len(video.frames), video.size) if args.foreground else None
    )
    out = args.out or Path("runs") / video.name
    _make_folder(out)
    fitted = fit(
        video,
        preset=args.preset,
        settings=_settings(args),
        seed=args.seed,
        device=args.device,
        foreground=foreground,
        progress=progress,
        folder=out / "model",
        resume=args.resume,
    )
    tracks = fitted.track(queries, progress=progress)
    _write(out, video, tracks, None if args.no_overlay else args.overlay_style, watch)
    report = _report(args, video, tracks, fitted, watch)
    with replacing(out / "run.json") as part:
        part.write_text(json.dumps(report, indent=1) + "\n")
    for line in _summary(out, args, tracks, report):
        print(line)


def _queries(args: argparse.Namespace, video: Video) -> npt.NDArray[np.float32]:
    """The points asked for, checked against the video."""
    if args.queries:
        if args.mask or args.query_frame is not None:
            raise InputError(
                "--mask and --query-frame choose a grid's points; leave them out, or --queries"
            )
        return choose_queries(video, read_queries(args.queries))
    mask = read_mask(args.mask, video.size) if args.mask else None
    grid = GRID if args.grid is None else args.grid
    return choose_queries(video, None, grid=grid, query_frame=args.query_frame or 0, mask=mask)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    named = {"backbone.name": args.backbone, "flow.name": args.flow}
    return dict(parse_assignment(text) for text in args.set) | {
        k: v for k, v in named.items() if v is not None
    }


def _make_folder(out: Path) -> None:
    """Make DIR, and find out now, not after the fit, whether it takes files."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise InputError(
            f"{out}: can't be written ({error.strerror or error}); choose another --out"
        ) from error


def _write(
    out: Path, video: Video, tracks: Tracks, overlay_style: str | None, watch: Watch
) -> None:
    """Tracks in all formats and the overlay. No overlay of other points stays behind."""
    with watch.stage("write"):
        (out / "overlay.mp4").unlink(missing_ok=True)
        for name, save in FORMATS.items():
            save(out / name, tracks)
    if overlay_style:
        with watch.stage("overlay"):
            render(video, tracks, out / "overlay.mp4", overlay_style, watch.progress)


def _report(
    args: argparse.Namespace, video: Video, tracks: Tracks, fitted: Fitted, watch: Watch
) -> dict[str, Any]:
    """What run.json holds."""
    record = fitted.record
    (height, width), length = video.size, len(video.frames)
    about = {"path": str(args.video), "name": video.name, "hash": fitted.identity.video_hash}
    return {
        "video": about | {"frames": length, "height": height, "width": width, "fps": video.fps},
        "points": len(tracks.queries),
        "preset": fitted.config.preset,
        "settings": {k: v for k, v in to_dict(fitted.config).items() if k != "preset"},
        "seed": args.seed,
        "device": str(choose_device(args.device)),
        "versions": {"python": platform.python_version(), "cv2": cv2.__version__}
        | {name: _version(name) for name in PACKAGES},
        **record,
        "seconds": record["seconds"] | watch.seconds,
        "peak_megabytes": record["peak_megabytes"] | watch.peak_megabytes,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _summary(
    out: Path, args: argparse.Namespace, tracks: Tracks, report: dict[str, Any]
) -> Iterator[str]:
    count, length = tracks.visible.shape
    names = [*FORMATS, *(() if args.no_overlay else ("overlay.mp4",)), "run.json", "model/"]
    yield f"{count} points in {length} frames, {100 * tracks.visible.mean():.0f} % visible"
    if not report["steps_trained_now"]:
        yield "no step was trained"
    seconds = report["seconds"]
    stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in seconds.items())
    yield f"seconds: {stages}; {sum(seconds.values()):.1f} in all"
    yield f"wrote {out}: {', '.join(names)}"


@contextlib.contextmanager
def _interrupted_between_steps(display: Display) -> Iterator[None]:
    """Let the first Ctrl-C in a fit wait for the step's end, so that the checkpoint it leaves is
    not of half a step."""
    if (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        or current_thread() is not main_thread()
    ):
        yield
        return

    def handle(*_: object) -> None:
        if display.interrupted or display.stage != "fit":
            raise KeyboardInterrupt
        display.interrupted = True

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Our warnings as one line each, always; those of others as Python shows them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def one_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, DinotrackWarning):
                _say(f"warning: {' '.join(str(message).split())}")
            else:
                show(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", DinotrackWarning)
        warnings.showwarning = one_line
        yield


def _say(message: str) -> None:
    """One line on stderr, above the bar if there is one."""
    tqdm.write(f"dinotrack: {message}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Complains in one line, like everything else here."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="dinotrack",
        description="Fit a point tracker to one video, and track any points through it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("video", type=Path, metavar="VIDEO", help="a video file, a GIF, or a folder of images")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where results go (default runs/<name of the video>/)",
    )
    points = parser.add_mutually_exclusive_group()
    points.add_argument(
        "--queries", type=Path, metavar="FILE", help="points t,x,y: .csv, .json, .npy or .npz"
    )
    points.add_argument("--grid", type=int, metavar="N", help=f"N x N points (default {GRID})")
    add(
        "--mask", type=Path, metavar="FILE", help="only those grid points inside this image or .npy"
    )
    add("--query-frame", type=int, metavar="T", help="the frame the grid lies in (default 0)")
    add(
        "--foreground",
        type=Path,
        metavar="FILE|DIR",
        help="what is foreground: one mask, or one a frame",
    )
    add("--preset", choices=PRESETS, help="default: quality on CUDA, else fast")
    add("--backbone", metavar="NAME", help="a timm ViT by short or full name, auto, or none")
    add("--flow", metavar="NAME", help="dis, raft_small, raft_large or auto")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    add("--seed", type=_seed, default=0, metavar="N")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="any setting: training.steps=2000",
    )
    add("--overlay-style", choices=STYLES, default="trails")
    add("--no-overlay", action="store_true")
    add("--resume", action="store_true", help="continue an interrupted fit")
    return parser.parse_args(argv)


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(
            f"a seed is a whole number from 0 to {2**32 - 1}, not {seed}"
        )
    return seed
