"""python track.py VIDEO: the command line, from a clone; see README.md."""

from dinotrack.cli import entry

if __name__ == "__main__":
    entry()
