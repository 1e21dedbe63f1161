"""The points that are asked for, as arrays: the user's own, or a grid of them; and masks.

What is wrong with them is found out here, before anything is computed.
"""

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

from dinotrack.errors import InputError
from dinotrack.formats import check_queries, grid_queries
from dinotrack.video import Video


def choose_queries(
    video: Video,
    queries: npt.ArrayLike | None,
    *,
    grid: int = 16,
    query_frame: int = 0,
    mask: npt.ArrayLike | None = None,
) -> Float[np.ndarray, "N 3"]:
    """The queries, checked, or a grid of them: float32 rows of (t, x, y) in px of the video.

    Raises InputError for queries outside the video, and for a mask of another size than its frames.
    """
    held = None if mask is None else as_masks(mask, video.size, "mask")
    if queries is None:
        queries = grid_queries(grid, video.size, query_frame, held)
    return check_queries(queries, len(video.frames), video.size)


def as_masks(masks: npt.ArrayLike, shape: tuple[int, ...], name: str) -> Bool[np.ndarray, "..."]:
    """Masks as bool, true where they are not zero.

    Raises InputError, which calls them by `name`, where they are of another shape.
    """
    values = np.asarray(masks)
    if values.shape != shape:
        raise InputError(
            f"the {name} has shape {values.shape}; give an array of the video's, {shape}"
        )
    return values.astype(np.bool_, copy=False)
