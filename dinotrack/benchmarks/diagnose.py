"""Shows where a fit goes wrong: one self-contained HTML page for each clip with TAP-Vid-like truth.

Metrics, whose fault large errors are, errors over time, reliability, the worst points with their
correlation maps, and mistakes of visibility.
"""

import argparse
from pathlib import Path

from dinotrack.benchmarks import diagnose_page, options
from dinotrack.benchmarks.case import Case, compare
from dinotrack.benchmarks.datasets import open_datasets
from dinotrack.benchmarks.methods import Configuration, Options, make_method
from dinotrack.benchmarks.report import Say, write
from dinotrack.benchmarks.truth import AnnotatedClip
from dinotrack.errors import InputError

HELP = "where and why a fit goes wrong, as HTML pages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    options.add_datasets(parser)
    options.add_data(parser)
    options.add_settings(parser)
    options.add_models(parser)
    add = parser.add_argument
    add("--method", default="fast", help="a preset or PRESET/ABLATION (fast)")
    add("--seed", type=int, default=0, metavar="N", help="of the fit (0)")
    out = Path("diagnosis")
    add("--out", type=Path, default=out, metavar="DIR", help=f"folder of the pages ({out})")


def run(args: argparse.Namespace, say: Say) -> list[Path]:
    """Writes a page for each clip and truth, says where, and returns their paths."""
    asked = Options(options.settings(args), args.device, args.models)
    method = make_method(args.method, asked)
    if not isinstance(method, Configuration):
        raise InputError(
            f"{args.method} has no fit to look into; choose a preset or PRESET/ABLATION"
        )
    written = []
    for clip in open_datasets(args.datasets, args.data, args.clips):
        for case in diagnose(clip, method, args.seed):
            path = args.out / f"{case.name}.html"
            write(path, diagnose_page.page(case, f"{args.method}, seed {args.seed}"))
            say(f"wrote {path}")
            written.append(path)
    if not written:
        raise InputError(
            "none of these clips has truth about where points are hidden; "
            "choose TAP-Vid clips or layers"
        )
    return written


def diagnose(clip: AnnotatedClip, method: Configuration, seed: int) -> list[Case]:
    """A case for each truth of a clip that says where points are and when they are hidden (BADJA
    doesn't)."""
    truths = clip.point_truths
    if not truths:
        return []
    fitted = method.fit(clip.name, clip.video, seed)
    names = [clip.name, *(f"{clip.name}-{number}" for number in range(1, len(truths)))]
    return [compare(name, fitted, truth) for name, truth in zip(names, truths, strict=True)]
