"""python track.py VIDEO: the command line, from a clone; see README.md."""

from dinotrack.__main__ import entry

if __name__ == "__main__":
    entry()
