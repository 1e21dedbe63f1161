"""Foreground masks: exact truth where there is one, and a sensible answer where there is none."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.foreground import mask_foreground, motion_foreground, pca_foreground


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
        assert torch.equal(pca_foreground(variant), truth)


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
    mask = pca_foreground(torch.ones(shape))
    assert mask.shape == (shape[0], *shape[2:])
    assert not mask.any()


def test_motion_finds_what_moves_apart_from_the_camera() -> None:
    height, width = 90, 120
    forward = camera_flow(height, width).repeat(4, 1, 1, 1)
    truth = torch.zeros(5, height, width, dtype=torch.bool)
    truth[:, 30:50, 40:70] = True
    forward += torch.tensor((3.0, -2.0))[:, None, None] * truth[:-1, None]
    assert torch.equal(motion_foreground(forward, homography_error=1.0, share=0.2), truth)
    assert torch.equal(motion_foreground(forward.half().float(), 1.0, 0.2), truth)


def test_motion_takes_at_most_its_share_of_the_video() -> None:
    forward = 4 * torch.randn(5, 2, 40, 60, generator=torch.Generator().manual_seed(3))
    share = motion_foreground(forward, 1.0, share=0.2)[:-1].float().mean()
    assert share == pytest.approx(0.2, abs=0.02)


def test_motion_is_the_same_every_time() -> None:
    forward = camera_flow(60, 80)[None] + 2 * torch.randn(
        3, 2, 60, 80, generator=torch.Generator().manual_seed(4)
    )
    first = motion_foreground(forward, 1.0, 0.2)
    cv2.setRNGSeed(12345)
    assert torch.equal(first, motion_foreground(forward, 1.0, 0.2))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (10, 10), (64, 48)])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_motion_of_nothing_is_empty(size: tuple[int, int], frames: int) -> None:
    still = torch.zeros(frames - 1, 2, *size)
    for forward in (still, still + 7, still + 0.1 * torch.rand_like(still), still + np.nan):
        mask = motion_foreground(forward, 1.0, 0.2)
        assert mask.shape == (frames, *size)
        assert not mask.any()


@pytest.mark.parametrize("size", [(1, 1), (2, 30), (9, 7)])
def test_motion_of_noise_in_tiny_frames_ends(size: tuple[int, int]) -> None:
    forward = 9 * torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(5))
    assert motion_foreground(forward, 1.0, 0.2).shape == (3, *size)


def test_masks_keep_their_place_at_any_size() -> None:
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[:, 10:20, 30:50] = True
    small = mask_foreground(masks, (20, 30))
    expected = torch.zeros(2, 20, 30, dtype=torch.bool)
    expected[:, 5:10, 15:25] = True
    assert torch.equal(small, expected)
    assert torch.equal(mask_foreground(small, (40, 60)), masks)
    assert mask_foreground(masks, (13, 7)).dtype == torch.bool
