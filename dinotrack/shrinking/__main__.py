"""python -m dinotrack.shrinking SOURCE: the first blocks of a ViT, in eight bits."""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from dinotrack import shrinking
from dinotrack.backbones import SHIPPED
from dinotrack.files import make_folder
from dinotrack.terminal import console, parsing
from dinotrack.vits import full_name, load_vit


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code, as `console.run` says."""
    return console.run(lambda: _run(_parser().parse_args(argv)), "interrupted")


def _run(args: argparse.Namespace) -> int:
    name = full_name(args.backbone)
    vit = load_vit(name, args.source)
    make_folder(args.out.parent)
    facts = {
        "source": name,
        "source_sha256": hashlib.sha256(args.source.read_bytes()).hexdigest(),
        "origin": args.origin,
    }
    shrinking.export(vit, args.blocks, args.out, **facts)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")
    return 0


def _parser() -> parsing.Parser:
    parser = parsing.Parser(prog="python -m dinotrack.shrinking", description=__doc__)
    add = parser.add_argument
    endings = ".safetensors", ".pth"
    source = "a ViT's weights, in timm's or the official layout"
    add("source", type=parsing.file_named(*endings), metavar="SOURCE", help=source)
    add(
        "--backbone", default="dinov2_vits14", metavar="NAME", help="what SOURCE is (dinov2_vits14)"
    )
    add("--blocks", type=parsing.whole(1), default=8, metavar="N", help="the first N are kept (8)")
    out = Path(f"weights/{SHIPPED}.safetensors")
    add("--out", type=parsing.file_named(".safetensors"), default=out, metavar="FILE")
    add("--origin", default="", metavar="TEXT", help="where SOURCE comes from, kept in the file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
