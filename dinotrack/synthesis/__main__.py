"""python -m dinotrack.synthesis OUT.mp4: writes a clip and, beside it, OUT.npz with the truth."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dinotrack.ffmpeg import write_video
from dinotrack.synthesis.scene import Clip, generate


def main(argv: Sequence[str] | None = None) -> None:
    args = vars(_parser().parse_args(argv))
    out = args.pop("out")
    clip = generate(**args)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_video(out, clip.frames, clip.fps)
    save_truth(out.with_suffix(".npz"), clip)


def save_truth(path: Path, clip: Clip) -> None:
    """The truth of a clip: tracks [N, T, 2] px, visible [N, T], query [N, 3] (t, x, y), layer [N],
    size (H, W)."""
    size = np.array(clip.frames.shape[1:3])
    np.savez_compressed(
        path,
        tracks=clip.tracks,
        visible=clip.visible,
        query=clip.queries,
        layer=clip.layer,
        size=size,
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if int(height) < 1 or int(width) < 1:
        raise ValueError
    return int(height), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dinotrack.synthesis", description=__doc__)
    parser.add_argument("out", type=Path, help="the .mp4 to write")
    parser.add_argument(
        "--size", type=_size, default=(480, 854), metavar="HxW", help="frame size (default 480x854)"
    )
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--layers", type=int, default=4, help="moving things before the background")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=256, help="points whose truth is written")
    parser.add_argument("--difficulty", type=float, default=1.0, help="scales all motion")
    parser.add_argument("--light", type=float, default=0.0, help="relative swing of the exposure")
    parser.add_argument("--noise", type=float, default=0.0, help="sensor noise, grey levels")
    parser.add_argument("--blur", type=float, default=0.0, help="Gaussian blur, px")
    return parser


if __name__ == "__main__":
    main()
