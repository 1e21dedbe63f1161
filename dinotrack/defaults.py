"""What the command line and the Python functions share: what is taken where the user names nothing.

Nothing here needs another module, so that `--help` is there at once.
"""

GRID = 16
"""Points along each side of the grid that is tracked where no queries are given."""
LARGEST_SEED = 2**32 - 1
"""Seeds are whole numbers from 0 to this one."""
