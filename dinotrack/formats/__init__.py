"""Files of other programs: query points and masks in, tracks out and in again.

A format is one function and one line. `FORMATS` holds all that tracks are written as and read from
(docs/formats.md), `QUERY_FORMATS` and `CORRECTION_FORMATS` how plain lists of points are read, and
`RESULTS` the files that every run writes.
"""

from dinotrack.formats.correction_rows import CorrectionRows
from dinotrack.formats.corrections import (
    CORRECTION_FORMATS,
    program_of,
    read_corrections,
    save_corrections,
)
from dinotrack.formats.format import Clip, Format, Found, Key, KeyedPoint, Wishes
from dinotrack.formats.masks import read_mask, read_masks
from dinotrack.formats.programs import (
    FORMATS,
    check_count,
    check_writable,
    load_tracks,
    named,
    save,
)
from dinotrack.formats.queries import QUERY_FORMATS, read_queries
from dinotrack.formats.tracks import RESULTS, save_csv, save_tracks

__all__ = [
    "CORRECTION_FORMATS",
    "FORMATS",
    "QUERY_FORMATS",
    "RESULTS",
    "Clip",
    "CorrectionRows",
    "Format",
    "Found",
    "Key",
    "KeyedPoint",
    "Wishes",
    "check_count",
    "check_writable",
    "load_tracks",
    "named",
    "program_of",
    "read_corrections",
    "read_mask",
    "read_masks",
    "read_queries",
    "save",
    "save_corrections",
    "save_csv",
    "save_tracks",
]
