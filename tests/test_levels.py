"""One scale for a sequence of pictures that are deeper than 8 bits."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotrack.media.levels import FEW, Span, count_levels, levels_in_use, scale_for, span_of


def levels(*numbers: float, dtype: str) -> list[int]:
    pixels = np.array([numbers], dtype)
    return scale_for(span_of(pixels)).apply(pixels)[0].tolist()


@pytest.mark.parametrize(
    ("numbers", "dtype", "expected"),
    [
        ((0, 255, 256, 65535), "uint16", [0, 0, 1, 255]),  # as ever: the low byte goes
        ((677, 2048, 3882), "uint16", [42, 128, 242]),  # 12 bits
        ((0, 600, 1023), "uint16", [0, 150, 255]),  # 10 bits
        ((100, 355, 610), "uint16", [25, 88, 152]),  # a dim microscope
        ((0, 128, 255), "uint16", [0, 128, 255]),
        ((0, 1, 3), "uint16", [0, 64, 192]),  # photons that were counted
        ((0, 2048, 4095), "int32", [0, 128, 255]),
        ((0, 70_000, 131_071), "int32", [0, 136, 255]),
        ((0, 1 << 31, (1 << 32) - 1), "uint32", [0, 128, 255]),
        ((-1000, 0, 1550), "int16", [0, 100, 255]),  # below zero: darkest to brightest
        ((40_000, 40_050, 40_100), "uint16", [0, 127, 255]),  # two levels otherwise
        ((0, 0.5, 1), "float32", [0, 128, 255]),
        ((0.2, 0.4), "float64", [51, 102]),
        ((0.001, 0.002, 0.005), "float32", [0, 64, 255]),
        ((0, 100, 255), "float32", [0, 100, 255]),
        ((-1, 0, 1), "float32", [0, 128, 255]),
        ((0, 65_535), "float32", [0, 255]),
        ((np.nan, -np.inf, 0, 1, np.inf), "float32", [0, 0, 0, 255, 255]),
        ((7, 7), "float32", [0, 0]),
        ((300, 300), "uint16", [150, 150]),
        ((0, 0), "uint16", [0, 0]),
        ((-3, -3), "int32", [0, 0]),
        ((np.nan, np.nan), "float32", [0, 0]),
    ],
)
def test_scales(numbers: tuple[float, ...], dtype: str, expected: list[int]) -> None:
    assert levels(*numbers, dtype=dtype) == expected


@pytest.mark.parametrize(
    ("high", "told"),
    [
        (65_535, ""),
        (40_000, ""),
        (4095, "they are taken as 12-bit ones"),
        (200, "they are taken as 8-bit ones"),
    ],
)
def test_what_is_done_is_told_unless_it_is_what_is_always_done(high: int, told: str) -> None:
    assert scale_for(Span(0, high, whole=True)).told == told
    assert scale_for(Span(-1, high, whole=True)).told == f"-1 becomes black and {high:g} white"


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_broken_pixels_of_a_camera_do_not_count(dtype: str) -> None:
    """One that is always white would make 12 bits out to be 16, and all else almost black."""
    pixels = np.random.default_rng(0).integers(0, 4096, (72, 96)).astype(dtype)
    sound = scale_for(span_of(pixels)).apply(pixels)
    broken = pixels.copy()
    broken[40, 50] = 65_535
    scale = scale_for(reduce(Span.joined, map(span_of, (broken, pixels))))
    assert "single pixels that are far brighter become white" in scale.told
    levels = scale.apply(broken).astype(int)
    assert levels[40, 50] == 255
    levels[40, 50] = sound[40, 50]
    assert np.abs(levels - sound).max() <= 1


@pytest.mark.parametrize("side", [3, 30])
def test_small_bright_things_are_no_broken_pixels(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 1024, (300, 300)).astype(np.uint16)
    pixels[:side, :side] = 60_000
    assert scale_for(span_of(pixels)).told == ""
    photons = np.zeros((300, 300), np.uint16)
    photons[::20, ::20] = np.arange(225).reshape(15, 15) * 64
    assert span_of(photons).top == 224 * 64


def test_a_dark_frame_of_a_sequence_stays_dark() -> None:
    bright, dark = np.full((2, 2), 4000, np.uint16), np.full((2, 2), 40, np.uint16)
    scale = scale_for(reduce(Span.joined, map(span_of, (dark, bright, dark))))
    assert [int(scale.apply(frame).max()) for frame in (dark, bright)] == [2, 250]


@settings(deadline=None)
@given(st.lists(st.integers(0, 1 << 20), min_size=2, max_size=9))
def test_order_is_kept_and_no_number_is_cut_off(numbers: list[int]) -> None:
    found = levels(*sorted(numbers), dtype="int64")
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] <= 255


def test_flat_pictures_are_told_from_others() -> None:
    flat = np.full((100, 100, 3), 90, np.uint8)
    assert levels_in_use(count_levels(flat)) == 1
    noisy = np.random.default_rng(0).integers(90, 95, (100, 100, 3)).astype(np.uint8)
    assert levels_in_use(count_levels(noisy)) == 5 <= FEW
    noisy[0, 0, 0] = 255  # a broken pixel of the camera
    assert levels_in_use(count_levels(noisy)) == 5
    beads = flat.copy()
    beads[10:20, 10:20] = 200
    assert levels_in_use(count_levels(beads)) == 111
    assert levels_in_use(count_levels(np.zeros((4, 4), np.uint8))) == 1
    assert levels_in_use(count_levels(np.full((4, 4), 255, np.uint8))) == 1
