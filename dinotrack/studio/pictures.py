"""The pictures of the studio: frames as they are, and what the networks see in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dinotrack.backbones import Backbone
from dinotrack.errors import InputError
from dinotrack.features import make_backbone
from dinotrack.fitted import Fitted
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.media.frames import one_frame
from dinotrack.report import colours, likeness, pictures
from dinotrack.report.pictures import FOUND, Picture
from dinotrack.report.story import LOOKED_AT
from dinotrack.studio.document import Conflict
from dinotrack.video import Video

QUALITY = 95
"""Of JPEGs, out of 100, with colours as fine as light: 4:4:4."""
WIDEST = 1280
"""Px: the width of a picture of what networks see, which are hardly finer than that."""

Query = Float[np.ndarray, "1 3"]
"""(t, x, y), px of the video."""


class Palette:
    """How the features of one fit become colours, found out when it is first asked for."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self._lock = threading.Lock()
        self._known: dict[str, colours.Components] = {}
        self._backbone: Backbone | None = None

    def cells(self, name: str, row: int) -> tuple[UInt8[np.ndarray, "h w 3"], Grid]:
        """The cells of one of the maps, raw or refined, as colours, and where they lie. Raises
        Conflict where there are none."""
        with self._lock:
            if name not in self._known:
                every = self._features(name, _spread(len(self.fitted.maps)))
                found = colours.foreground(every, self.fitted.config.foreground.threshold)
                self._known[name] = colours.components(every, found)
            maps = self._features(name, torch.tensor([row]))
            return self._known[name].colours(maps)[0].numpy(), maps.grid

    def _features(self, name: str, rows: Int[Tensor, " S"]) -> FeatureMaps:
        """Some of the maps. Raises Conflict where there are none."""
        if name == "refined":
            return self.fitted.maps[rows.to(self.fitted.maps.device)]
        if self._backbone is None:
            run = self.fitted.run
            self._backbone = make_backbone(run.config.backbone, run.device)
        if self._backbone is None:
            raise Conflict("this fit has no ViT, so there are no raw features")
        return likeness.raw_features(self.fitted, self._backbone, rows)


@dataclass(frozen=True)
class Look:
    """What is looked at."""

    palette: Palette
    t: int
    """The frame."""
    query: Query | None = None
    """The point, for pictures of one."""

    @property
    def fitted(self) -> Fitted:
        """The fit through which it is seen."""
        return self.palette.fitted

    @property
    def wide(self) -> int:
        """The width of the picture, px."""
        return min(self.fitted.video.size[1], WIDEST)

    @property
    def asked(self) -> Query:
        """The point. Raises InputError where there is none."""
        if self.query is None:
            raise InputError("this picture is one of a point; choose a point")
        return self.query


def draw(kind: str, look: Look) -> bytes:
    """A picture as JPEG. Raises InputError for an unknown kind or a missing point."""
    if kind not in PICTURES:
        raise InputError(f"there are no pictures of that kind; choose {', '.join(PICTURES)}")
    return jpeg(PICTURES[kind](look))


def frame(video: Video, t: int) -> bytes:
    """A frame of a video as JPEG."""
    return jpeg(one_frame(video.frames, t))


def jpeg(picture: Picture) -> bytes:
    """An RGB picture as JPEG."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return content.tobytes()


def draw_correlation(look: Look) -> Picture:
    """How similar each cell of the frame is to what the point looks like in its own frame."""
    cosines = likeness.correlations(look.fitted, look.asked, look.t)
    place = likeness.located(look.fitted, cosines)[0]
    return likeness.heat_picture(look.fitted, cosines[0], look.t, [(place, FOUND)], look.wide)


def draw_correspondence(look: Look) -> Picture:
    """How likely each cell of the frame shows the point, and the place that is read from that."""
    cosines = likeness.correlations(look.fitted, look.asked, look.t)
    chances = likeness.correspondences(look.fitted, cosines)[0]
    place = likeness.located(look.fitted, cosines)[0]
    return likeness.heat_picture(look.fitted, chances, look.t, [(place, FOUND)], look.wide)


def draw_refined(look: Look) -> Picture:
    """The strongest components of the refined features of all cells, as colours."""
    return _coloured(look, "refined")


def draw_raw(look: Look) -> Picture:
    """The same of the frozen features, as the ViT gives them."""
    return _coloured(look, "raw")


PICTURES: dict[str, Callable[[Look], Picture]] = {
    "correspondence": draw_correspondence,
    "correlation": draw_correlation,
    "raw": draw_raw,
    "refined": draw_refined,
}
"""What can be seen of a frame besides itself."""


def _coloured(look: Look, name: str) -> Picture:
    seen, grid = look.palette.cells(name, likeness.map_row(look.fitted, look.t))
    everywhere = np.ones(seen.shape[:2], bool)
    picture = one_frame(look.fitted.video.frames, look.t)
    return pictures.cells(picture, seen, everywhere, grid, look.fitted.flow.size, look.wide)


def _spread(count: int) -> Int[Tensor, " S"]:
    """At most LOOKED_AT of so many maps, spread evenly."""
    return torch.linspace(0, count - 1, min(LOOKED_AT, count)).round().long()
