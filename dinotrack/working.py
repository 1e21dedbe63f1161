"""The working frame: what of a video's resolution the tracker sees.

Everything between reading a video and its tracks happens in pixels of the working frame; tracks are
scaled back to the video's own pixels at the end. The config section `video` chooses its size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dinotrack.config import VideoConfig
from dinotrack.delta_dino import least_side
from dinotrack.errors import InputError
from dinotrack.media.frames import Frames, one_frame
from dinotrack.run import Run
from dinotrack.video import Video

Method = Literal["area", "lanczos"]
"""How frames are resized. "area" averages what a new pixel covers (linear where it enlarges);
"lanczos" is Pillow's, as in the paper."""


def working_frames(video: Video, run: Run) -> UInt8[Tensor, "T 3 H W"]:
    """The stage: all frames of a video at the size that the networks see.

    Raises InputError where that size is too small for the networks.
    """
    config = run.config.video
    size = working_size(video.size, config)
    least = least_side(run.config.model)
    if min(size) < least:
        raise InputError(
            f"the networks need frames of {least} px a side, and these are {size[1]} x {size[0]}; "
            "take fewer model.widths, or a larger video.min_side (or video.height and video.width)"
        )
    with run.stage("read"):
        return resize(video.frames, size, config.filter)


def flow_frames(
    video: Video,
    frames: UInt8[Tensor, "T 3 H W"],
    chosen: Sequence[int],
    config: VideoConfig,
    area: int,
) -> UInt8[Tensor, "T 3 H W"] | Resized:
    """The frames that flow is computed on: the working frames, or larger ones made when needed.

    chosen: which of the video's frames the working frames are.

    They have at most `area` px. A working frame of a fixed size, as in the paper, is flow's frame
    too.
    """
    size = int(frames.shape[-2]), int(frames.shape[-1])
    if config.height and config.width:
        return frames
    larger = working_size(video.size, replace(config, area=area, multiple=1))
    return frames if larger == size else Resized(video.frames, larger, config.filter, chosen)


def working_size(size: tuple[int, int], config: VideoConfig) -> tuple[int, int]:
    """(H, W) of the working frame for a video of size (H, W).

    Sides are multiples of config.multiple and at least config.min_side; a side fixed in the config
    is taken as it is.
    Otherwise at most config.area pixels, enlarged only for the sake of the shorter side, and of the
    sizes nearest to that the one that keeps the aspect best.
    """
    least = config.multiple * math.ceil(config.min_side / config.multiple)
    if config.height or config.width:
        return _fixed_size(size, config, least)
    height, width = size
    most = max(1.0, least / min(size))  # enlargement
    scale = max(min(1.0, math.sqrt(config.area / (height * width))), least / min(size))
    longest = config.area / least
    sides = [_multiples(min(side * scale, longest), config.multiple, least) for side in size]
    fits = [
        (h, w)
        for h, w in itertools.product(*sides)
        if h * w <= config.area and max(h / height, w / width) <= most
    ]

    def stretch_then_area(candidate: tuple[int, int]) -> tuple[float, int]:
        h, w = candidate
        return abs(math.log(h * width / (w * height))), -h * w

    return min(fits, key=stretch_then_area, default=(least, least))


def _fixed_size(size: tuple[int, int], config: VideoConfig, least: int) -> tuple[int, int]:
    """One or both sides are given; a free one follows in proportion."""
    height, width = size
    scale = config.height / height or config.width / width
    multiple = config.multiple
    free = [max(least, multiple * round(side * scale / multiple)) for side in size]
    return config.height or free[0], config.width or free[1]


def _multiples(side: float, multiple: int, least: int) -> set[int]:
    """The multiples next to a side, below and above, but not under `least`."""
    cells = side / multiple
    return {max(least, multiple * whole) for whole in (math.floor(cells), math.ceil(cells))}


def resize(frames: Frames, size: tuple[int, int], method: Method) -> UInt8[Tensor, "T 3 h w"]:
    """All frames at another size (h, w), as a view of channels-last memory."""
    resized = Resized(frames, size, method)
    out = torch.empty(len(frames), *size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    for t in range(len(frames)):
        out[t] = resized[t]
    return out


@dataclass(frozen=True)
class Resized:
    """Frames at another size (h, w), each made when somebody asks for it."""

    frames: Frames
    size: tuple[int, int]
    method: Method
    chosen: Sequence[int] | None = None
    """Which of the frames are meant; None: all."""

    def __len__(self) -> int:
        return len(self.frames if self.chosen is None else self.chosen)

    def __getitem__(self, t: int) -> UInt8[Tensor, "3 h w"]:
        """Frame t, of those chosen."""
        frame = one_frame(self.frames, t if self.chosen is None else self.chosen[t])
        height, width = self.size
        if self.method == "lanczos":
            picture = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
            small = np.array(picture)
        else:
            shrinks = height <= frame.shape[0] and width <= frame.shape[1]
            averaging = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            small = cv2.resize(frame, (width, height), interpolation=averaging)
        return torch.from_numpy(small).permute(2, 0, 1)
