"""python -m dinotrack.synthesis OUT.mp4: writes a clip, and in OUT.npz the truth about it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dinotrack.ffmpeg import write_video
from dinotrack.files import replacing
from dinotrack.synthesis.clip import Clip, generate


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = vars(_parser().parse_args(argv))
    out = args.pop("out")
    clip = generate(**args)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_video(out, clip.frames, clip.fps)
    save_truth(out.with_suffix(".npz"), clip)


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
    height, _, width = text.partition("x")
    if int(height) < 1 or int(width) < 1:
        raise ValueError
    return int(height), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dinotrack.synthesis", description=__doc__)
    add = parser.add_argument
    add("out", type=Path, help="the .mp4 to write")
    size = "frame size (default 480x854)"
    add("--size", type=_size, default=(480, 854), metavar="HxW", help=size)
    add("--frames", type=int, default=48)
    add("--layers", type=int, default=4, help="moving things before the background")
    add("--seed", type=int, default=0)
    add("--points", type=int, default=256, help="points whose truth is written")
    add("--difficulty", type=float, default=1.0, help="scales all motion")
    add("--light", type=float, default=0.0, help="relative swing of the exposure")
    add("--noise", type=float, default=0.0, help="sensor noise, grey levels")
    add("--blur", type=float, default=0.0, help="Gaussian blur, px")
    return parser


if __name__ == "__main__":
    main()
