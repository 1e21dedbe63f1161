"""python -m dinotrack VIDEO: the command line."""

from dinotrack.cli import entry

if __name__ == "__main__":
    entry()
