"""dinotrack: a point tracker that learns from the one video it tracks.

The words of this package, each with one meaning:

- A *frame* is a picture of the video, of *size* (H, W) px. The *working frame* is the frame at the
  size that the networks see. Positions are (x, y) in float px, and (0, 0) is the centre of the
  top-left pixel.
- A *query* is a point that is asked for: (t, x, y), where t is its *query frame*. A *track* is the
  answer: xy, whether the point is visible, and with what confidence, in every frame.
- *Flow* is the motion of all pixels from one frame to another, and a *chain* is flow composed over
  many frames. The *cycle error* is how far a point misses itself after going there and back.
- A *feature map* holds a feature vector in each *cell* of a *grid* over the frame. *Frozen*
  features are the ViT's; Delta-DINO, the CNN that is fitted to the video, *refines* them.
- A *correlation map* holds the cosines between one feature and all cells of a frame. Its softmax,
  after the refiner, is the *correspondence map*.
- A *match* is the cell with the highest cosine. To *locate* is to match and then to average
  positions around the match under the correspondence map (soft-argmax).
- A *label* is a pair of positions that training believes to be the same point. *Best buddies* are
  cells of two frames that match each other.
- An *anchor* is a frame that surely shows the point. *Support points* lie around a query and are
  tracked with it.
- Points are *visible* where we say so; the truth of a data set calls points *occluded*.

Letters in shapes: T frames of a video, F frames of a step, H x W px, h x w cells, C channels,
N points, K candidates or pairs, B a batch.
"""

import importlib

TYPE_CHECKING = False
"""True for type checkers, as that of `typing`, which costs time to import."""

if TYPE_CHECKING:
    from dinotrack.api import fit, load, render, track
    from dinotrack.config import PRESETS, Config
    from dinotrack.errors import DinotrackWarning, InputError
    from dinotrack.fitted import Fitted
    from dinotrack.formats import load_tracks
    from dinotrack.tracks import Tracks
    from dinotrack.video import Video, read_video

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Config",
    "DinotrackWarning",
    "Fitted",
    "InputError",
    "Tracks",
    "Video",
    "fit",
    "load",
    "load_tracks",
    "read_video",
    "render",
    "track",
]

_HOMES = {
    "PRESETS": "config",
    "Config": "config",
    "DinotrackWarning": "errors",
    "Fitted": "fitted",
    "InputError": "errors",
    "Tracks": "tracks",
    "Video": "video",
    "load_tracks": "formats",
    "read_video": "video",
}
"""The module of each public name that api.py does not hold."""


def __getattr__(name: str) -> object:
    """Load a public name when it is asked for, so that importing the package costs little."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'api')}")
    return vars(module)[name]


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
