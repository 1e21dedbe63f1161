"""Warnings of one thread, told to whoever looks at its work."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dinotrack.errors import DinotrackWarning


@contextmanager
def heard(tell: Callable[[DinotrackWarning], None]) -> Iterator[None]:
    """Tell our warnings that this thread is given inside, besides showing them as before."""
    thread = threading.current_thread()
    show = warnings.showwarning

    def both(message: Warning | str, *place: Any, **more: Any) -> None:
        if isinstance(message, DinotrackWarning) and threading.current_thread() is thread:
            tell(message)
        show(message, *place, **more)

    warnings.showwarning = both
    try:
        yield
    finally:
        if warnings.showwarning is both:  # else another thread's, which passes everything on
            warnings.showwarning = show
