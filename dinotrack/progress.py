"""How stages report that they move on: a plain callback, so the library prints nothing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); the stage is over when done == total."""


def silent(stage: str, done: int, total: int) -> None:
    """The default callback: says nothing."""
