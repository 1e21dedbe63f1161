"""What a run says of itself: run.json, and the lines at its end."""

import json
import math
from argparse import Namespace
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from dinotrack.tracks import Tracks
from dinotrack.video import Video
from dinotrack.progress import Watch

if TYPE_CHECKING:
    from dinotrack.api import Fitted

PACKAGES = ("dinotrack", "torch", "torchvision", "timm", "kornia", "numpy")
"""Whose versions run.json holds."""
