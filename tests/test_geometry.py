"""Grids against the convolutions they stand for, reading against a plain loop, scales and sizes."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dinotrack.config import FAST, PAPER, PRESETS, Config, ModelConfig
from dinotrack.delta_dino import DeltaDino, least_side
from dinotrack.geometry import Grid, inside, patch_grid, pixel_grid, rescale, to_unit
from dinotrack.working import working_size

# fmt: off
SIZES = [
    (14, 14), (14, 15), (15, 14), (20, 21), (21, 20), (27, 28), (28, 27), (29, 41),
    (33, 32), (40, 56), (48, 32), (32, 48), (49, 63), (50, 50), (55, 89), (56, 57),
    (64, 96), (70, 98), (71, 99), (77, 42), (81, 121), (90, 51), (97, 97), (100, 37),
    (112, 63), (120, 160), (127, 129), (144, 176), (200, 17), (17, 200), (240, 432),
    (432, 240), (243, 431), (238, 427),
]
# fmt: on
TINY = [(1, 1), (1, 9), (5, 3), (7, 40), (13, 13), (13, 200)]
"""Below a patch of 14."""

positions = st.floats(-50, 2000, width=32)
sides = st.integers(2, 3000)
few = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("patch", "stride"), [(14, 7), (14, 14), (16, 4), (8, 8)])
def test_patch_grid_is_the_convolution_s(size: tuple[int, int], patch: int, stride: int) -> None:
    """A window that averages the pixels' own coordinates gives its true centre."""
    size = max(size[0], patch), max(size[1], patch)
    pixels = pixel_grid(*size).centres().T.reshape(1, 2, *size)
    window = nn.Conv2d(2, 2, patch, stride, groups=2, bias=False)
    nn.init.constant_(window.weight, 1 / patch**2)
    with torch.no_grad():
        means = window(pixels)
    grid = patch_grid(*size, patch, stride)
    assert means.shape[-2:] == (grid.rows, grid.cols)
    torch.testing.assert_close(grid.centres(), means[0].flatten(1).T, atol=1e-3, rtol=0)
    assert grid.centres()[0].tolist() == [(patch - 1) / 2] * 2


@pytest.mark.parametrize("size", SIZES)
def test_reference_grid_is_half_a_pixel_off(size: tuple[int, int]) -> None:
    exact, reference = patch_grid(*size, 14, 7), patch_grid(*size, 14, 7, exact=False)
    assert (exact.rows, exact.cols) == (reference.rows, reference.cols)
    assert reference.centres()[0].tolist() == [7, 7]
    torch.testing.assert_close(reference.centres(), exact.centres() + 0.5)


@pytest.mark.parametrize("size", SIZES + TINY)
@pytest.mark.parametrize(
    "model", [FAST.model, PAPER.model, ModelConfig()], ids=["fast", "paper", "exact"]
)
def test_delta_dino_grid_is_the_networks(size: tuple[int, int], model: ModelConfig) -> None:
    """The size a network gives out, and that its cells cover the frame: the nearest is never far
    off."""
    narrow = replace(
        model, widths=(2,) * len(model.widths), norm="group", blocks=0, dilation=1, kernel=3
    )
    network = DeltaDino(narrow, 2)
    grid = network.grid(*size)
    if min(size) >= 4 * grid.stride:  # what reflecting borders need
        with torch.no_grad():
            assert network(torch.rand(1, 3, *size)).shape[-2:] == (grid.rows, grid.cols)
    assert (grid.rows, grid.cols) == (
        math.ceil(size[0] / grid.stride),
        math.ceil(size[1] / grid.stride),
    )
    corners = torch.tensor([[0.0, 0.0], [size[1] - 1.0, size[0] - 1.0]])
    index = grid.to_index(corners)
    nearest = index.round().clamp(torch.zeros(2), torch.tensor([grid.cols - 1.0, grid.rows - 1.0]))
    assert ((grid.to_pixels(nearest) - corners).abs() <= grid.stride).all()


@pytest.mark.parametrize(
    "model",
    [
        PAPER.model,
        FAST.model,
        replace(FAST.model, widths=(2, 2, 2, 2), blocks=0, kernel=1),
        replace(FAST.model, widths=(2,), kernel=7),
        replace(PAPER.model, widths=(2, 2), kernel=1, blocks=1),
        replace(PAPER.model, widths=(2,), kernel=3, dilation=4),
    ],
)
def test_least_side_is_the_networks(model: ModelConfig) -> None:
    """It runs on frames of that side, and on none a pixel shorter: borders reflect fewer cells than
    there are."""
    network, least = (
        DeltaDino(replace(model, widths=(16,) * len(model.widths)), 16).eval(),
        least_side(model),
    )
    for size in ((least, least), (least, least + 9)):
        grid = network.grid(*size)
        with torch.no_grad():
            assert network(torch.rand(1, 3, *size)).shape[-2:] == (grid.rows, grid.cols)
    if least > 1:
        with pytest.raises(RuntimeError, match=r"[Pp]adding"):
            network(torch.rand(1, 3, least - 1, least - 1))


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (48, 32), (3, 4000), (480, 854), (2160, 3840)])
def test_presets_give_their_networks_frames_they_take(
    config: Config, size: tuple[int, int]
) -> None:
    assert min(working_size(size, config.video)) >= least_side(config.model)


def sample_plainly(grid: Grid, maps: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    """Bilinear, one point at a time."""
    out = torch.zeros(len(maps), xy.shape[1], maps.shape[1])
    for b in range(len(maps)):
        for n, (x, y) in enumerate(xy[b].tolist()):
            column = min(max((x - grid.origin) / grid.stride, 0), grid.cols - 1)
            row = min(max((y - grid.origin) / grid.stride, 0), grid.rows - 1)
            for i in range(grid.rows):
                for j in range(grid.cols):
                    weight = max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j))
                    out[b, n] += weight * maps[b, :, i, j]
    return out


@pytest.mark.parametrize(
    "grid",
    [
        Grid(4, 5, 7, 6.5),
        Grid(3, 4, 8, 3.5),
        Grid(5, 3, 1, 0),
        Grid(1, 4, 4, 0),
        Grid(4, 1, 4, 0),
        Grid(1, 1, 8, 0),
    ],
)
def test_sample_is_bilinear_and_clamped(grid: Grid) -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, grid.rows, grid.cols, generator=random)
    xy = (torch.rand(2, 30, 2, generator=random) * 1.6 - 0.3) * grid.stride * 5
    xy[0, :4] = torch.tensor([[-1e4, -1e4], [1e4, 0], [0, 1e4], [1e4, 1e4]])
    torch.testing.assert_close(
        grid.sample(maps, xy), sample_plainly(grid, maps, xy), atol=1e-5, rtol=0
    )


def test_sample_at_centres_gives_the_cells() -> None:
    grid = patch_grid(70, 98, 14, 7)
    maps = torch.randn(1, 2, grid.rows, grid.cols)
    cells = grid.sample(maps, grid.centres()[None])[0].T.view_as(maps[0])
    torch.testing.assert_close(cells, maps[0], atol=1e-5, rtol=0)


def test_sample_of_another_grids_map_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Grid(3, 4, 1, 0).sample(torch.zeros(1, 1, 4, 3), torch.zeros(1, 1, 2))


def test_sample_takes_halves_and_gradients() -> None:
    maps = torch.randn(1, 2, 3, 4, requires_grad=True)
    Grid(3, 4, 8, 3.5).sample(maps, torch.tensor([[[8.0, 9.0]]])).sum().backward()
    assert maps.grad is not None
    assert maps.grad.sum().item() == pytest.approx(2)
    assert (
        Grid(3, 4, 8, 3.5).sample(maps.detach().double(), torch.zeros(1, 1, 2)).dtype
        == torch.float64
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sample_of_half_precision_maps_keeps_positions(dtype: torch.dtype) -> None:
    """bfloat16 knows 427 only as 426 or 428."""
    grid = Grid(60, 107, 8, 3.5)
    maps = torch.randn(1, 2, 60, 107, generator=torch.Generator().manual_seed(0)).to(dtype)
    xy = patch_grid(476, 854, 14, 7).centres()[None]
    values = grid.sample(maps, xy)
    assert values.dtype == torch.float32
    assert torch.equal(values, grid.sample(maps.float(), xy))


@given(
    positions,
    positions,
    st.integers(1, 9),
    st.sampled_from([1, 4, 7, 8]),
    st.floats(0, 8, width=32),
)
@few
def test_index_and_pixels_are_inverse(
    x: float, y: float, rows: int, stride: int, origin: float
) -> None:
    grid = Grid(rows, rows + 1, stride, origin)
    xy = torch.tensor([x, y])
    torch.testing.assert_close(grid.to_pixels(grid.to_index(xy)), xy, atol=1e-3, rtol=0)


@given(positions, positions, sides, sides)
@few
def test_the_losses_scale_spans_the_outer_pixels(
    x: float, y: float, height: int, width: int
) -> None:
    xy = torch.tensor([[0, 0], [width - 1, height - 1], [x, y]], dtype=torch.float64)
    first, last, unit = to_unit(xy, (height, width))
    assert (first.tolist(), last.tolist()) == ([-1, -1], [1, 1])
    assert unit[0].item() == pytest.approx(2 * x / (width - 1) - 1)
    assert unit[1].item() == pytest.approx(2 * y / (height - 1) - 1)


def test_the_losses_scale_of_one_pixel_is_finite() -> None:
    assert to_unit(torch.zeros(1, 2), (1, 1)).isfinite().all()


@given(positions, positions, sides, sides, sides, sides)
@few
def test_rescale_and_back(x: float, y: float, h: int, w: int, height: int, width: int) -> None:
    xy = torch.tensor([[x, y]], dtype=torch.float64)
    there = rescale(xy, (h, w), (height, width))
    torch.testing.assert_close(rescale(there, (height, width), (h, w)), xy)
    assert there[0, 0].item() == pytest.approx((x + 0.5) * width / w - 0.5)
    assert there[0, 1].item() == pytest.approx((y + 0.5) * height / h - 0.5)


def test_rescale_keeps_the_frames_outline() -> None:
    outline = torch.tensor([[-0.5, -0.5], [853.5, 479.5]])
    assert rescale(outline, (480, 854), (1, 3)).tolist() == [[-0.5, -0.5], [2.5, 0.5]]


def test_inside_includes_the_outer_pixels_centres() -> None:
    xy = torch.tensor(
        [[0.0, 0], [4, 2], [4.01, 2], [4, 2.01], [-0.01, 0], [0, -0.01], [math.nan, 0]]
    )
    assert inside(xy, (3, 5)).tolist() == [True, True, False, False, False, False, False]
    assert inside(xy.view(7, 1, 2), (3, 5)).shape == (7, 1)
