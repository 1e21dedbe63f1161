"""What the C library does with memory that is freed."""

import contextlib
import ctypes

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""What glibc's malloc.h calls its options."""
KEPT = 1 << 30
"""Bytes that are kept, and the size of a piece up to which it comes from what is kept."""


def keep_freed_memory() -> None:
    """Let glibc keep memory that is freed, rather than give it back to the system at once.

    Each step of a fit frees some hundred megabytes, and takes as many again. What was given back
    has to be filled with zeros, page by page, which took a tenth of the time of a whole run on two
    cores. Other C libraries, which know no such options, are left alone.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        options = ctypes.CDLL(None).mallopt
        options(MMAP_THRESHOLD, KEPT)
        options(TRIM_THRESHOLD, KEPT)
