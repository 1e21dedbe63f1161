"""Foreground masks: exact truth where there is one, and a sensible answer where there is none."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.config import ForegroundConfig
from dinotrack.errors import DinotrackWarning
from dinotrack.flow import VideoFlow
from dinotrack.foreground import (
    find_foreground,
    mask_foreground,
    motion_foreground,
    pca_foreground,
)

CONFIG = ForegroundConfig(homography_error=1.0)


def moving(forward: Tensor) -> VideoFlow:
    """The flow of a video, of which only the way forward is looked at."""
    return VideoFlow(forward, torch.full_like(forward, torch.nan))


def camera_flow(height: int, width: int) -> Tensor:
    """The flow of a camera that turns, zooms and tilts a little."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    depth = 1 + 2e-4 * x - 1e-4 * y
    return torch.stack(
        ((1.02 * x - 0.03 * y + 4) / depth - x, (0.03 * x + 1.02 * y - 2) / depth - y)
    )


def two_kinds(frames: int = 3, rows: int = 12, cols: int = 16) -> tuple[Tensor, Tensor]:
    """Features of a block (amid the frame) and of its surroundings, with a little noise; and where
    the block is."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(frames, rows, cols, dtype=torch.bool)
    truth[:, 4:8, 5:11] = True
    block, ground = torch.randn(2, 1, 24, 1, 1, generator=generator)
    noise = 0.1 * torch.randn(frames, 24, rows, cols, generator=generator)
    return torch.where(truth[:, None], block, ground) + noise, truth


def test_pca_finds_the_object_whatever_the_sign_and_the_length_of_features() -> None:
    features, truth = two_kinds()
    lengths = torch.rand(3, 1, 12, 16, generator=torch.Generator().manual_seed(1)) + 0.5
    for variant in (features, -features, features * lengths, features.half()):
        assert torch.equal(pca_foreground(variant, threshold=0.6), truth)


def test_pca_is_the_first_component_of_all_normalised_tokens() -> None:
    features = torch.randn(4, 8, 5, 7, generator=torch.Generator().manual_seed(2))
    tokens = F.normalize(features.permute(0, 2, 3, 1).reshape(-1, 8).double(), dim=1)
    axis = torch.linalg.svd(tokens - tokens.mean(dim=0), full_matrices=False).Vh[0]
    component = (tokens @ axis).reshape(4, 5, 7)
    unit = (component - component.min()) / (component.max() - component.min())
    mask = pca_foreground(features, threshold=0.55)
    assert torch.equal(mask, unit < 0.55) or torch.equal(mask, 1 - unit < 0.55)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 1, 5), (3, 4, 6, 6)])
def test_pca_of_features_all_alike_is_empty(shape: tuple[int, ...]) -> None:
    mask = pca_foreground(torch.ones(shape), threshold=0.6)
    assert mask.shape == (shape[0], *shape[2:])
    assert not mask.any()


def test_motion_finds_what_moves_apart_from_the_camera() -> None:
    height, width = 90, 120
    forward = camera_flow(height, width).repeat(4, 1, 1, 1)
    truth = torch.zeros(5, height, width, dtype=torch.bool)
    truth[:, 30:50, 40:70] = True
    forward += torch.tensor((3.0, -2.0))[:, None, None] * truth[:-1, None]
    assert torch.equal(motion_foreground(moving(forward), CONFIG), truth)
    assert torch.equal(motion_foreground(moving(forward.half()), CONFIG), truth)


def test_motion_takes_at_most_its_share_of_the_video() -> None:
    forward = 4 * torch.randn(5, 2, 40, 60, generator=torch.Generator().manual_seed(3))
    share = motion_foreground(moving(forward), CONFIG)[:-1].float().mean()
    assert share == pytest.approx(0.2, abs=0.02)


def test_motion_is_the_same_every_time() -> None:
    forward = camera_flow(60, 80)[None] + 2 * torch.randn(
        3, 2, 60, 80, generator=torch.Generator().manual_seed(4)
    )
    first = motion_foreground(moving(forward), CONFIG)
    cv2.setRNGSeed(12345)
    assert torch.equal(first, motion_foreground(moving(forward), CONFIG))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (10, 10), (64, 48)])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_motion_of_nothing_is_empty(size: tuple[int, int], frames: int) -> None:
    still = torch.zeros(frames - 1, 2, *size)
    for forward in (still, still + 7, still + 0.1 * torch.rand_like(still), still + np.nan):
        mask = motion_foreground(moving(forward), CONFIG)
        assert mask.shape == (frames, *size)
        assert not mask.any()


@pytest.mark.parametrize("size", [(1, 1), (2, 30), (9, 7)])
def test_motion_of_noise_in_tiny_frames_ends(size: tuple[int, int]) -> None:
    forward = 9 * torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(5))
    assert motion_foreground(moving(forward), CONFIG).shape == (3, *size)


def test_masks_keep_their_place_at_any_size() -> None:
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[:, 10:20, 30:50] = True
    small = mask_foreground(masks, (20, 30))
    expected = torch.zeros(2, 20, 30, dtype=torch.bool)
    expected[:, 5:10, 15:25] = True
    assert torch.equal(small, expected)
    assert torch.equal(mask_foreground(small, (40, 60)), masks)
    assert mask_foreground(masks, (13, 7)).dtype == torch.bool


def test_what_moves_as_the_camera_but_for_less_than_the_least_is_no_foreground() -> None:
    forward = camera_flow(90, 120).repeat(2, 1, 1, 1)
    forward[:, 0, 30:50, 40:70] += 0.8
    for least, found in ((0.5, True), (1.0, False)):
        config = ForegroundConfig(homography_error=1.0, min_residual=least)
        assert motion_foreground(moving(forward), config)[:, 40, 50].tolist() == [found] * 3


def test_the_users_masks_count_before_all_else() -> None:
    flow, cells = VideoFlow(*torch.zeros(2, 1, 2, 8, 12)), torch.ones(2, 4, 6, dtype=torch.bool)
    given = np.zeros((2, 16, 24), dtype=bool)
    given[1, 4:8, 6:10] = True
    expected = mask_foreground(torch.from_numpy(given), (8, 12))
    for method in ("pca", "motion", "none"):
        config = ForegroundConfig(method=method)
        assert torch.equal(find_foreground(flow, cells, given, config), expected)
        flipped = find_foreground(flow, cells, given[:, :, ::-1], config)
        assert torch.equal(flipped, expected.flip(2))


@pytest.mark.parametrize(("value", "told"), [(False, "no pixel"), (True, "every pixel")])
def test_masks_that_tell_nothing_are_warned_of(value: bool, told: str) -> None:
    flow = VideoFlow(*torch.zeros(2, 1, 2, 8, 12))
    with pytest.warns(DinotrackWarning, match=f"the foreground masks mark {told}"):
        found = find_foreground(flow, None, np.full((2, 8, 12), value), ForegroundConfig())
    assert (found == value).all()


def test_the_config_says_how_foreground_is_found() -> None:
    forward = camera_flow(90, 120).repeat(2, 1, 1, 1)
    forward[:, :, 30:50, 40:70] += 3
    flow = moving(forward)
    cells = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(6)) < 0.5
    by_motion = motion_foreground(flow, ForegroundConfig())
    assert by_motion.any()
    for method, seen, expected in (
        ("pca", cells, mask_foreground(cells, (90, 120))),
        ("pca", None, by_motion),  # without a ViT
        ("motion", cells, by_motion),
        ("none", cells, torch.zeros_like(by_motion)),
    ):
        found = find_foreground(flow, seen, None, ForegroundConfig(method=method))
        assert torch.equal(found, expected), method
