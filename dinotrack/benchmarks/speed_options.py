"""The command line of the speed benchmark, part by part."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dinotrack.backbones import SHIPPED
from dinotrack.benchmarks import options, outputs
from dinotrack.benchmarks.options import OptionGroup
from dinotrack.benchmarks.stages import Shape

EXAMPLES = """\
parts:
  stages     every stage over clips of --frames frames, with the exponent of growth and peak memory;
             a process each
  long       the same on --long clips, and on each --video
  paper      --preset (quality) against a faithful stepping of `paper`, on --clip
  inference  --preset (fast): tracking with visibility against the reference's granularity
  kernels    each kernel against plain PyTorch

examples:
  speed --parts stages --repeats 3 --out stages.json
  speed --parts long --long --video my.mp4 --steps 200
  speed --parts paper --clip DIR/frames --area 100000
  speed --parts inference --data DIR --eval-clip horsejump-high --models runs/fits
  speed --from stages.json paper.json --table performance.md
"""

FEW = 20
"""Steps, where the fit itself is not judged."""
LONG = (Shape(1000, (480, 854)), Shape(60, (2160, 3840)))


def add_arguments(parser: argparse.ArgumentParser, parts: Sequence[str]) -> None:
    """All options. parts: those that can be measured."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    add_common(parser, parts)
    add_clips(parser.add_argument_group("clips and fits"))
    add_stages(parser.add_argument_group("stages and long"))
    add_paper(parser.add_argument_group("paper"))
    add_inference(parser.add_argument_group("inference"))


def add_common(parser: argparse.ArgumentParser, parts: Sequence[str]) -> None:
    """What is measured, and where it goes."""
    which = "see below (all)"
    parser.add_argument(
        "--parts", nargs="+", choices=parts, default=[*parts], metavar="PART", help=which
    )
    outputs.add_arguments(parser, "speed")


def add_clips(group: OptionGroup) -> None:
    """What several parts share."""
    add = group.add_argument
    add("--preset", metavar="NAME", help="ours (fast; in `paper`, quality)")
    options.add_settings(group)
    add("--seed", type=int, default=0, metavar="N", help="of generated clips and of fits (0)")
    few = (
        "of the fits in stages, long and inference; 0: the preset's own, as in inference with "
        f"--models ({FEW})"
    )
    add("--steps", type=natural, metavar="N", help=few)
    points = "tracked in stages and paper (256)"
    add("--points", type=positive, default=256, metavar="N", help=points)
    repeats = "of stages and inference, interleaved (1)"
    add("--repeats", type=positive, default=1, metavar="N", help=repeats)
    sizes = "of generated clips but the long ones (480x854)"
    add("--size", type=size, default=(480, 854), metavar="HxW", help=sizes)
    frames = "of the generated clips of paper (30) and inference (50)"
    add("--clip-frames", type=positive, metavar="T", help=frames)


def add_stages(group: OptionGroup) -> None:
    """The clips that whole runs are measured on."""
    add = group.add_argument
    lengths = [25, 50, 100, 200]
    frames = f"stages ({' '.join(map(str, lengths))})"
    add("--frames", nargs="+", type=positive, default=lengths, metavar="T", help=frames)
    again = "stages: run each a second time, with the first one's cache"
    add("--again", action="store_true", help=again)
    shapes = "(1000x480x854 60x2160x3840)"
    add("--long", nargs="*", type=shape, default=[*LONG], metavar="TxHxW", help=shapes)
    add("--video", nargs="+", type=Path, default=[], metavar="FILE", help="long: these too")


def add_paper(group: OptionGroup) -> None:
    """What both contenders see, and how long they are timed."""
    add = group.add_argument
    clip = "a video or a folder of frames (a generated clip)"
    add("--clip", type=Path, metavar="PATH", help=clip)
    steps = "timed of each (200 on CUDA, else 8)"
    add("--paper-steps", type=positive, metavar="N", help=steps)
    area = "working pixels of both (476 x 854, whatever the aspect)"
    add("--area", type=positive, metavar="PX", help=area)
    add("--backbone", default=SHIPPED, metavar="NAME", help=f"of both ({SHIPPED})")
    accuracy = "also accuracy, on the clips of DIR/eval"
    add("--accuracy", type=Path, metavar="DIR", help=accuracy)
    add("--clips", nargs="+", default=[], metavar="NAME", help="--accuracy: only these")
    seconds = "--accuracy: that the paper is fitted (as many as ours takes)"
    add("--paper-seconds", type=positive, metavar="N", help=seconds)


def add_inference(group: OptionGroup) -> None:
    """The clip and the fit that are tracked through, and by what."""
    add = group.add_argument
    data = "folder that holds eval/ (a generated clip)"
    add("--data", type=Path, metavar="DIR", help=data)
    add("--eval-clip", metavar="NAME", help="a clip of --data (its first)")
    options.add_models(group)
    add("--query-points", type=positive, default=100, metavar="N", help="points tracked (100)")
    oracle = "of these by the oracle (all on CUDA, else 4)"
    add("--oracle-points", type=positive, metavar="N", help=oracle)
    anchors = "of matching with few anchors (8)"
    add("--anchors", type=positive, default=8, metavar="N", help=anchors)


def natural(text: str) -> int:
    """A whole number that is not negative."""
    if int(text) < 0:
        raise ValueError
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def size(text: str) -> tuple[int, int]:
    """480x854 -> (480, 854)."""
    height, width = map(positive, text.split("x"))
    return height, width


def shape(text: str) -> Shape:
    """60x480x854 -> 60 frames of (480, 854)."""
    frames, _, rest = text.partition("x")
    return Shape(positive(frames), size(rest))
