"""Files of other programs: query points and masks in, tracks out.

A format is one function and one line: `QUERY_FORMATS` holds the functions that read queries,
`FORMATS` those that write tracks.
"""

from dinotrack.formats.masks import read_mask, read_masks
from dinotrack.formats.queries import QUERY_FORMATS, read_queries
from dinotrack.formats.tracks import FORMATS, load_tracks, save_csv, save_tracks

__all__ = [
    "FORMATS",
    "QUERY_FORMATS",
    "load_tracks",
    "read_mask",
    "read_masks",
    "read_queries",
    "save_csv",
    "save_tracks",
]
