"""python -m dinotrack.synthesis OUT.mp4: writes a clip, and in OUT.npz the truth about it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dinotrack.defaults import LARGEST_SEED
from dinotrack.files import check_outputs, make_folder, replacing
from dinotrack.media.encoding import LONGEST_SIDE, write_video
from dinotrack.synthesis.clip import Clip, generate
from dinotrack.terminal import console, parsing


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code, as `console.run` says."""
    return console.run(lambda: _run(**vars(_parser().parse_args(argv))), "interrupted")


def _run(out: Path, **asked: Any) -> int:
    truth = out.with_suffix(".npz")
    make_folder(out.parent)
    check_outputs((out, truth))
    clip = generate(**asked)
    write_video(out, clip.frames, clip.fps)
    save_truth(truth, clip)
    return 0


def save_truth(path: Path, clip: Clip) -> None:
    """Write the truth about a clip as .npz.

    It holds tracks [N, T, 2] px, visible [N, T], query [N, 3] (t, x, y), layer [N] and size (H, W).
    """
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            tracks=clip.tracks,
            visible=clip.visible,
            query=clip.queries,
            layer=clip.layer,
            size=np.array(clip.frames.shape[1:3]),
        )


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not cross:
        raise argparse.ArgumentTypeError(f"{text!r} is no size HxW, such as 480x854")
    side = parsing.whole(1, LONGEST_SIDE)
    return side(height), side(width)


def _parser() -> parsing.Parser:
    parser = parsing.Parser(prog="python -m dinotrack.synthesis", description=__doc__)
    add = parser.add_argument
    video = parsing.file_named(".mp4")
    add("out", type=video, metavar="OUT.mp4", help="the video to write; OUT.npz holds the truth")
    size = "frame size (default 480x854)"
    add("--size", type=_size, default=(480, 854), metavar="HxW", help=size)
    add("--frames", type=parsing.whole(1, 100_000), default=48)
    layers = "moving things before the background"
    add("--layers", type=parsing.whole(0, 100), default=4, help=layers)
    add("--seed", type=parsing.whole(0, LARGEST_SEED), default=0)
    add("--points", type=parsing.whole(1), default=256, help="points whose truth is written")
    add("--difficulty", type=parsing.real(0, 100), default=1.0, help="scales all motion")
    swing = "relative swing of the exposure"
    add("--light", type=parsing.real(0, 1), default=0.0, help=swing)
    add("--noise", type=parsing.real(0, 255), default=0.0, help="sensor noise, grey levels")
    add("--blur", type=parsing.real(0, 100), default=0.0, help="Gaussian blur, px")
    return parser


if __name__ == "__main__":
    sys.exit(main())
