"""python -m dinotrack.benchmarks.kernel_speed [--dry-run] [--out FILE.json]

On CUDA it takes minutes and exits with 1 where a goal is missed; elsewhere only the twins are
timed. With --dry-run everything runs once, tiny, on the CPU, kernels in Triton's interpreter.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dinotrack.benchmarks.kernel_speed.report import run
from dinotrack.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """0, 1 where a goal is missed, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m dinotrack.benchmarks.kernel_speed", description=__doc__
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="everything once, tiny, in Triton's interpreter"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures there, as JSON")
    args = parser.parse_args(argv)
    try:
        report = run(args.dry_run, say=lambda line: print(line, flush=True))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.out is not None:
        args.out.write_text(json.dumps(report.as_row(), indent=1) + "\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
