"""python -m dinotrack.benchmarks.kernel_speed [--dry-run] [--out FILE.json]

On CUDA it takes minutes and exits with 1 where a goal is missed; elsewhere only the twins are
timed. With --dry-run everything runs once, tiny, on the CPU, kernels in Triton's interpreter.
"""

import sys
from collections.abc import Sequence

from dinotrack.benchmarks import machine, records, report
from dinotrack.benchmarks.kernel_speed.part import measure_kernels
from dinotrack.terminal import console, parsing


def main(argv: Sequence[str] | None = None) -> int:
    """0, 1 where a goal is missed, or another exit code, as `console.run` says."""
    return console.run(lambda: _measure(argv), "interrupted; nothing was written")


def _measure(argv: Sequence[str] | None) -> int:
    parser = parsing.Parser(prog="python -m dinotrack.benchmarks.kernel_speed", description=__doc__)
    add = parser.add_argument
    tiny = "everything once, tiny, in Triton's interpreter"
    add("--dry-run", action="store_true", help=tiny)
    add("--out", type=parsing.path, metavar="FILE", help="write the figures there, as JSON")
    args = parser.parse_args(argv)
    found = measure_kernels(args.dry_run, say=lambda line: print(line, flush=True))
    if args.out is not None:
        about = machine.describe({}, "cpu" if args.dry_run else "auto")
        report.write(args.out, records.to_json({"machine": about, **vars(found)}))
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
