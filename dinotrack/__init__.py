"""dinotrack: a point tracker that learns from the one video it tracks."""

from dinotrack.config import PRESETS, Config
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.pipeline import Fitted, fit, load, track
from dinotrack.render import render
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
    "read_video",
    "render",
    "track",
]
