"""python -m dinotrack.benchmarks.kernel_speed [--dry-run] [--out FILE.json]

On CUDA it takes minutes and exits with 1 where a goal is missed; elsewhere only the twins are
timed. With --dry-run everything runs once, tiny, on the CPU, kernels in Triton's interpreter.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dinotrack.benchmarks import machine, records, report
from dinotrack.benchmarks.kernel_speed.part import measure_kernels
from dinotrack.errors import InputError, on_command_line


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
        found = measure_kernels(args.dry_run, say=lambda line: print(line, flush=True))
        if args.out is not None:
            about = machine.describe({}, "cpu" if args.dry_run else "auto")
            report.write(args.out, records.to_json({"machine": about, **vars(found)}))
    except InputError as error:
        print(f"error: {on_command_line(error)}", file=sys.stderr)
        return 2
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
