"""The tracks drawn over their video.

A style is one function and one line in `STYLES` (styles.py). What it draws is a `Scene` (scene.py),
which also knows how the camera moved (camera.py); marks.py holds the strokes that styles share, and
rendering.py writes the video.
"""

from dinotrack.overlay.marks import rainbow
from dinotrack.overlay.rendering import Look, check_belong, checked, draw_frame, render
from dinotrack.overlay.scene import Scene
from dinotrack.overlay.styles import STYLES, Style

__all__ = [
    "STYLES",
    "Look",
    "Scene",
    "Style",
    "check_belong",
    "checked",
    "draw_frame",
    "rainbow",
    "render",
]
