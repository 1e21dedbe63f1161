"""From a fitted tracker to trajectories, in two ways.

`matching` is the paper's way: every frame is matched on its own. `joining` is ours, and reads as a
recipe: `flow_chain` follows flow from each query, by steps and by the `leaps` of several frames,
`candidates` proposes matches in each frame, `path` chooses among them, `refinding` looks again for
what flow has lost, `smoothing` places the track precisely, `evidence` says how sure we are,
`memory` learns from what was seen, and `support` lets neighbouring points vote. `patches` knows
what a query looks like in the picture, with the algebra of `matrices`.
"""

from dinotrack.queries import Queries, Trajectories
from dinotrack.run import Run
from dinotrack.tracking.joining import TrackedVideo, track_by_joining
from dinotrack.tracking.leaps import with_leaps
from dinotrack.tracking.matching import track_by_matching

__all__ = ["TrackedVideo", "track_video", "with_leaps"]


def track_video(video: TrackedVideo, queries: Queries, run: Run) -> Trajectories:
    """The stage: where queries are in every frame, and where they are visible.

    Everything is in px of the working frame.
    """
    config = run.config.inference
    queries = queries.to(video.maps.device)
    with run.stage("track"):
        if config.method == "join":
            return track_by_joining(video.to(video.maps.device), queries, config, run.progress)
        matching = config.matching
        return track_by_matching(video.tracker, video.maps, queries, matching, run.progress)
