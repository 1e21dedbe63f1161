"""Which part of the video is foreground: from ViT features, from motion, or the user's mask (METHOD
2)."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.geometry import pixel_grid

LATTICE = 8  # px between the flow vectors a homography is fitted to
MIN_RESIDUAL = 0.5  # px: motion less than this apart from the camera's is no foreground


def pca_foreground(features: Tensor, threshold: float = 0.6) -> Tensor:
    """Foreground cells of features [T, C, h, w] -> bool [T, h, w] (METHOD 2).

    Tokens of the video are L2-normalised; their first principal component is rescaled to [0, 1]
    over the video; foreground lies below the threshold. Of the component's two signs the one is
    taken whose foreground has the smaller sum of shares in all cells and in the cells on the
    frame's border: an object is rarely the larger part of a video, and rarely lies along its
    border. Features that are all alike have no foreground.
    """
    component = _first_component(features)
    low, high = component.min(), component.max()
    if not high - low > 1e-6:
        return torch.zeros_like(component, dtype=torch.bool)
    unit = (component - low) / (high - low)
    masks = unit < threshold, 1 - unit < threshold
    return min(masks, key=_spread)


def _first_component(features: Tensor) -> Tensor:
    """Unit tokens of features [T, C, h, w] along their first principal component: float32 [T, h,
    w]."""
    frames, channels, rows, cols = features.shape
    moment = torch.zeros(channels, channels, dtype=torch.float64)
    total = torch.zeros(channels, dtype=torch.float64)
    for maps in features:
        unit = F.normalize(maps.float(), dim=0).flatten(1)
        moment += (unit @ unit.T).cpu()
        total += unit.sum(dim=1).cpu()
    mean = total / (frames * rows * cols)
    covariance = moment / (frames * rows * cols) - mean.outer(mean)
    direction = torch.linalg.eigh(covariance).eigenvectors[:, -1]
    direction = direction * direction[direction.abs().argmax()].sign()
    axis = direction.float().to(features.device)
    return torch.stack(
        [torch.einsum("c,chw->hw", axis, F.normalize(maps.float(), dim=0)) for maps in features]
    )


def _spread(mask: Tensor) -> float:
    """The share of foreground in all cells plus its share in the cells on the frame's border."""
    border = torch.ones_like(mask)
    border[:, 1:-1, 1:-1] = False
    return mask.float().mean().item() + mask[border].float().mean().item()


def motion_foreground(forward: Tensor, homography_error: float, share: float) -> Tensor:
    """Foreground pixels of a video, from its flow forward [T - 1, 2, H, W] px -> bool [T, H, W].

    A homography, fitted to each frame's flow by RANSAC (inliers within homography_error px), stands
    for the camera.
    Foreground are the pixels whose flow differs most from it: the video's top `share` of
    differences, as far as they exceed MIN_RESIDUAL px. The last frame, which has no flow, takes
    over the mask before. A static video has none.
    """
    pairs, _, height, width = forward.shape
    if pairs == 0:
        return torch.zeros(1, height, width, dtype=torch.bool, device=forward.device)
    residual = np.empty((pairs, height, width), dtype=np.float32)
    for there, flow in zip(residual, forward, strict=True):
        there[:] = _residual(flow.float().cpu().numpy(), homography_error)
    limit = max(float(np.quantile(residual[:, ::2, ::2], 1 - share)), MIN_RESIDUAL)
    masks = torch.from_numpy(residual > limit).to(forward.device)
    return torch.cat((masks, masks[-1:]))


def _residual(flow: npt.NDArray[np.float32], homography_error: float) -> npt.NDArray[np.float32]:
    """How far each pixel's flow [2, H, W] is from the homography fitting the frame best: [H, W] px;
    0 without one."""
    height, width = flow.shape[1:]
    source = pixel_grid(height, width).centres().numpy()
    target = source + flow.reshape(2, -1).T
    lattice = np.zeros((height, width), dtype=bool)
    lattice[_every(height), _every(width)] = True
    chosen = lattice.ravel() & np.isfinite(target).all(axis=1)
    camera = None
    if chosen.sum() >= 4:
        camera, _ = cv2.findHomography(source[chosen], target[chosen], cv2.RANSAC, homography_error)
    if camera is None:
        return np.zeros((height, width), dtype=np.float32)
    moved = cv2.perspectiveTransform(source[None], camera)[0]
    residual = np.nan_to_num(np.linalg.norm(target - moved, axis=1), nan=0.0, posinf=0.0)
    return np.asarray(residual, dtype=np.float32).reshape(height, width)


def _every(side: int) -> slice:
    """The lattice along a side: centred, denser where the frame is small."""
    step = max(1, min(LATTICE, side // LATTICE))
    return slice(((side - 1) % step) // 2, None, step)


def mask_foreground(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """The user's masks bool [T, H, W] at another size (h, w), each pixel from the nearest: bool [T,
    h, w]."""
    return torch.stack(
        [
            F.interpolate(m[None, None].float(), size, mode="nearest-exact")[0, 0] > 0.5
            for m in masks
        ]
    )
