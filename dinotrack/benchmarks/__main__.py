"""python -m dinotrack.benchmarks NAME: runs one benchmark."""

import sys
from collections.abc import Sequence

from dinotrack.benchmarks import accuracy, calibrate, diagnose, gpu, speed, studio
from dinotrack.terminal import console
from dinotrack.terminal.parsing import Parser

INTERRUPTED = "interrupted; what was finished is kept where the benchmark says so"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark named first on the command line; its exit code, as `console.run` says."""
    return console.run(lambda: _benchmark(argv), INTERRUPTED)


def _benchmark(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="python -m dinotrack.benchmarks")
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for benchmark in (accuracy, calibrate, diagnose, gpu, speed, studio):
        command = commands.add_parser(
            benchmark.__name__.rpartition(".")[2],
            help=benchmark.HELP,
            description=benchmark.__doc__,
        )
        benchmark.add_arguments(command)
        command.set_defaults(run=benchmark.run)
    args = parser.parse_args(argv)
    args.run(args, say=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
