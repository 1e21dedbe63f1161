"""The points that a run is asked to follow: what its files and options say, checked."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from dinotrack.formats import (
    program_of,
    read_corrections,
    read_mask,
    read_queries,
    save_corrections,
)
from dinotrack.points import (
    QueryRows,
    check_corrections,
    check_hidden,
    choose_names,
    choose_queries,
)
from dinotrack.tracks import Tracks, names_or_numbers
from dinotrack.video import Video

if TYPE_CHECKING:
    from dinotrack.fitted import Fitted


@dataclass(frozen=True)
class Asked:
    """Points to follow, in px of the video."""

    queries: Float[np.ndarray, "N 3"]
    """float32 rows of (t, x, y)."""
    names: tuple[str, ...] | None
    corrections: Float[np.ndarray, "M 4"]
    """float32 rows of (point, t, x, y)."""
    hidden: Int[np.ndarray, "K 3"]
    """Rows of (point, first frame, last frame)."""

    @property
    def is_corrected(self) -> bool:
        """Whether a hand placed or hid a point anywhere."""
        return bool(len(self.corrections) or len(self.hidden))

    @property
    def point_names(self) -> tuple[str, ...]:
        """What each point is called in files."""
        return names_or_numbers(self.names, len(self.queries))

    def save_corrections(self, path: Path) -> None:
        """Write the corrections as a table. Raises InputError where that can't be."""
        save_corrections(path, self.corrections, self.hidden)

    def tracked(self, fitted: Fitted) -> Tracks:
        """Their tracks."""
        return fitted.track(
            self.queries,
            names=self.names,
            corrections=self.corrections,
            hidden=self.hidden,
        )


def asked_of(args: argparse.Namespace, video: Video) -> Asked:
    """The points that the arguments of a run ask for in a video.

    Where they say nothing but corrections of another program, its points are followed. Raises
    InputError where a file can't be read, and for points outside the video.
    """
    rows = _query_rows(args, video)
    queries = choose_queries(
        video,
        rows,
        grid=args.grid,
        query_frame=args.query_frame,
        mask=read_mask(args.mask, video.size) if args.mask else None,
    )
    names = None if rows is None else choose_names(rows.names, len(queries))
    return corrected(args, video, queries, names)


def corrected(
    args: argparse.Namespace,
    video: Video,
    queries: Float[np.ndarray, "N 3"],
    names: tuple[str, ...] | None,
) -> Asked:
    """Points that are known, with the corrections that the arguments name, if any.

    Raises InputError as `asked_of` does.
    """
    count = len(queries)
    if args.corrections is None:
        placed, hidden = None, None
    else:
        called = names_or_numbers(names, count)
        read = read_corrections(
            args.corrections,
            called,
            start_frame=args.start_frame,
            size=video.size,
            frames=len(video.frames),
        )
        placed, hidden = read.placed, read.hidden
    return Asked(
        queries,
        names,
        check_corrections(placed, video, count),
        check_hidden(hidden, video, count),
    )


def _query_rows(args: argparse.Namespace, video: Video) -> QueryRows | None:
    """The queries of a file; None for a grid."""
    path, name = args.queries, args.queries_format
    is_grid = any(choice is not None for choice in (args.grid, args.query_frame, args.mask))
    if path is None and args.corrections and not is_grid and program_of(args.corrections):
        path, name = args.corrections, None
    if path is None:
        return None
    return read_queries(
        path,
        name,
        start_frame=args.start_frame,
        size=video.size,
        frames=len(video.frames),
    )
