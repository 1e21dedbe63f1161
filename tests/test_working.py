"""The working frame: its size, and how frames come to it."""

import typing
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinotrack.config import VideoConfig
from dinotrack.working import Method, resize, working_size


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(4000, 500_000),
    st.sampled_from([1, 2, 7, 8, 14]),
    st.sampled_from([1, 16, 56]),
)
def test_working_size_holds_its_promises(
    height: int, width: int, area: int, multiple: int, min_side: int
) -> None:
    h, w = working_size(
        (height, width), VideoConfig(area=area, multiple=multiple, min_side=min_side)
    )
    assert h % multiple == w % multiple == 0
    least = -(-min_side // multiple) * multiple
    assert min(h, w) >= least
    enlarged = max(1, Fraction(least, min(height, width)))
    assert h <= height * enlarged
    assert w <= width * enlarged
    assert h * w <= area
    # no whole step is given away on both sides
    scale = min(1.0, (area / (height * width)) ** 0.5)
    if min(height, width) * scale >= least:
        assert h > height * scale - multiple - 1e-6
        assert w > width * scale - multiple - 1e-6


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 854), (240, 432)),
        ((854, 480), (432, 240)),
        ((720, 1280), (240, 432)),
        ((1, 1), (16, 16)),
        ((5, 3), (24, 16)),
        ((32, 48), (32, 48)),
        ((81, 121), (80, 120)),
        ((10, 100), (16, 160)),
        ((10, 10_000), (16, 6560)),
        ((10, 100_000), (16, 6560)),
        ((144, 176), (144, 176)),
    ],
)
def test_working_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(size, VideoConfig()) == expected


def test_working_size_fixed() -> None:
    assert working_size((720, 1280), VideoConfig(height=476, width=854)) == (476, 854)
    assert working_size((720, 1280), VideoConfig(height=240)) == (240, 424)
    assert working_size((720, 1280), VideoConfig(width=432)) == (240, 432)
    assert working_size((3, 3), VideoConfig(area=10)) == (16, 16)


def test_resize_area_averages() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8)
    resized = resize(frames, (4, 4), "area")
    means = frames.reshape(3, 4, 2, 4, 3, 3).mean(axis=(2, 4))
    assert resized.shape == (3, 3, 4, 4)
    assert np.abs(resized.numpy().transpose(0, 2, 3, 1) - means).max() <= 0.5 + 1e-6


def test_resize_lanczos_is_pillow_s() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 9, 13, 3), np.uint8)
    resized = resize(frames, (6, 7), "lanczos")
    for frame, small in zip(frames, resized, strict=True):
        expected = np.asarray(Image.fromarray(frame).resize((7, 6), Image.Resampling.LANCZOS))
        assert np.array_equal(small.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("method", typing.get_args(Method))
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 8), (16, 16)])
def test_resize_keeps_a_ramp_in_place(method: Method, size: tuple[int, int]) -> None:
    """Frames are resized as areas: what is at x lands at (x + 0.5) w / W - 0.5."""
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[0] = (16 * np.arange(16))[None, :, None]
    frames.setflags(write=False)
    resized = resize(frames, size, method)[0, 0].float()
    x = (np.arange(size[1]) + 0.5) * 16 / size[1] - 0.5
    middle = slice(size[1] // 4, size[1] - size[1] // 4)
    assert np.abs(resized[size[0] // 2].numpy() - 16 * x)[middle].max() <= 1.5
