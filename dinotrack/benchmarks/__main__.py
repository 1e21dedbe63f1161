"""python -m dinotrack.benchmarks NAME: runs one benchmark."""

import argparse
import sys
from collections.abc import Sequence

from dinotrack.benchmarks import accuracy, calibrate, diagnose, speed
from dinotrack.errors import InputError, on_command_line


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark named first on the command line. 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m dinotrack.benchmarks")
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for benchmark in (accuracy, calibrate, diagnose, speed):
        command = commands.add_parser(
            benchmark.__name__.rpartition(".")[2],
            help=benchmark.HELP,
            description=benchmark.__doc__,
        )
        benchmark.add_arguments(command)
        command.set_defaults(run=benchmark.run)
    args = parser.parse_args(argv)
    try:
        args.run(args, say=lambda line: print(line, flush=True))
    except InputError as error:
        print(f"error: {on_command_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
