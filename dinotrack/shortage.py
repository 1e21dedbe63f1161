"""Memory that does not suffice: how libraries say so, and what the user can do."""

import errno

from dinotrack.errors import InputError, setting

SAID_BY_LIBRARIES = (
    "can't allocate memory",  # torch on a CPU
    "not enough memory",  # torch on Windows
    "out of memory",  # CUDA's own libraries
    "Insufficient memory",  # OpenCV
    "Storage size calculation overflowed",  # torch, of sizes beyond all memory
    "integer multiplication overflow",
    "invalid size, cannot be computed",
)
OUT_OF_MEMORY = "out of memory"
ADVICE = {
    "read": "give a smaller video, or one with fewer frames",
    "track": "ask for fewer points at once, as in --grid 8",
    "visibility": "ask for fewer points at once, as in --grid 8",
    "overlay": "leave it out with --no-overlay",
}
"""What helps in a stage. Elsewhere, the frames that the networks see can be made smaller."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(words in str(error) for words in SAID_BY_LIBRARIES)


def told(stage: str, settings: list[str]) -> InputError:
    """The error that says where memory ran out, and what to do.

    stage: "" where it is not known. settings: those that the user has given, as they were typed.
    """
    where = f"{OUT_OF_MEMORY} in the stage {stage}; " if stage else f"{OUT_OF_MEMORY}; "
    smaller = ("make frames smaller, as in ", setting("video.area", 50_000))
    advice = (ADVICE[stage],) if stage in ADVICE else smaller
    given = f", or choose other values than {' '.join(settings)}" if settings else ""
    return InputError(where, *advice, given)
