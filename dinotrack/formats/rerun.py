"""Recordings of Rerun: an entity for each point. There the top-left pixel has its centre at
(.5, .5), as pictures begin at (0, 0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dinotrack.files import replacing
from dinotrack.formats.format import Wishes
from dinotrack.formats.texts import distinct
from dinotrack.tracks import Tracks

HALF = 0.5
"""Where the centre of the top-left pixel is in Rerun."""


def write_rerun(path: Path, tracks: Tracks, wishes: Wishes) -> None:
    """The format `rerun`: points under `tracks`, and under `confidence` a curve for each.

    Timelines are `frame` and `time`, in seconds. In frames that hide a point there is none. Files
    of the same tracks show the same, but differ in bytes, as Rerun numbers its chunks by the clock.
    """
    import rerun as rr

    count = tracks.visible.shape[1]
    frames = np.arange(wishes.start_frame, wishes.start_frame + count)
    when = [
        rr.TimeColumn("frame", sequence=frames),
        rr.TimeColumn("time", duration=tracks.times),
    ]
    with replacing(path) as part:
        recording = rr.RecordingStream("dinotrack", recording_id="tracks", send_properties=False)
        recording.save(part)
        for p, name in enumerate(distinct(tracks.point_names)):
            entity = rr.new_entity_path(["tracks", name])
            seen = tracks.visible[p]
            places = rr.Points2D.columns(positions=tracks.xy[p, seen] + HALF)
            recording.send_columns(entity, when, places.partition(seen.astype(int)))
            labels = rr.Points2D.columns(labels=[name])
            recording.send_columns(entity, [], labels)  # at all times
            curve = rr.new_entity_path(["confidence", name])
            recording.send_columns(curve, when, rr.Scalars.columns(scalars=tracks.confidence[p]))
        recording.flush()
        recording.disconnect()
