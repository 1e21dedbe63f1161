"""Which part of the video is foreground: by the user's masks, by ViT features, or by motion.

Half of what a fit learns from is drawn from the foreground, because a small object would otherwise
be a small part of the labels (`docs/method.md` 2).
"""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.config import ForegroundConfig
from dinotrack.errors import DinotrackWarning
from dinotrack.flow import VideoFlow
from dinotrack.geometry import pixel_grid

LEAST_RANGE = 1e-6
"""Of unit features along a direction: with less, they are all alike and have no foreground."""


def find_foreground(
    flow: VideoFlow,
    cells: Bool[Tensor, "T h w"] | None,
    given: Bool[np.ndarray, "T height width"] | None,
    config: ForegroundConfig,
) -> Bool[Tensor, "T H W"]:
    """Masks of the foreground of a video, at the size of its flow, the working frames'.

    given: the user's masks, of any size, which always count. Where they mark nothing, or
    everything, a DinotrackWarning says so.
    cells: those of the foreground as a ViT's features tell it (`features.video_features`). Where
    the config asks for them and there is no ViT, motion tells instead.
    """
    if given is not None:
        _warn_of_masks_that_tell_nothing(given)
        return mask_foreground(torch.from_numpy(np.ascontiguousarray(given)), flow.size)
    if config.method == "none":
        return torch.zeros(flow.frame_count, *flow.size, dtype=torch.bool)
    if config.method == "pca" and cells is not None:
        return mask_foreground(cells, flow.size)
    return motion_foreground(flow, config)


def _warn_of_masks_that_tell_nothing(masks: Bool[np.ndarray, "T H W"]) -> None:
    if masks.any() and not masks.all():
        return
    what, how = ("every", "everything is") if masks.any() else ("no", "nothing is")
    told = f"the foreground masks mark {what} pixel of any frame, so {how} foreground to the fit"
    advice = "masks are true, or bright, where the foreground is"
    warnings.warn(DinotrackWarning(f"{told}; {advice}"), stacklevel=2)


def mask_foreground(
    masks: Bool[Tensor, "T H W"], size: tuple[int, int]
) -> Bool[Tensor, "T height width"]:
    """Masks at another size (H, W), each pixel from the nearest one."""
    resized = [F.interpolate(m[None, None].float(), size, mode="nearest-exact") for m in masks]
    return torch.stack([values[0, 0] > 0.5 for values in resized])


def pca_foreground(features: Float[Tensor, "T C h w"], threshold: float) -> Bool[Tensor, "T h w"]:
    """The foreground cells of a video by its features' first principal component.

    The tokens of the video are made of unit length. Their first component is rescaled to [0, 1]
    over the video, and the foreground lies below the threshold. The component may have either sign.
    The one is taken whose foreground has the smaller sum of its share in all cells and its share in
    the cells on the frame's border, because an object is rarely the larger part of a video and
    rarely lies along its border. Features that are all alike have no foreground.
    """
    component = _first_component(features)
    low, high = component.min(), component.max()
    if not high - low > LEAST_RANGE:
        return torch.zeros_like(component, dtype=torch.bool)
    unit = (component - low) / (high - low)
    masks = unit < threshold, 1 - unit < threshold
    return min(masks, key=_spread)


def _first_component(features: Float[Tensor, "T C h w"]) -> Float[Tensor, "T h w"]:
    """The tokens of a video, at unit length, along their first principal component."""
    frames, channels, rows, cols = features.shape
    moment = torch.zeros(channels, channels, dtype=torch.float64)
    total = torch.zeros(channels, dtype=torch.float64)
    for maps in features:
        unit = F.normalize(maps.float(), dim=0).flatten(1)
        moment += (unit @ unit.T).cpu()
        total += unit.sum(dim=1).cpu()
    count = frames * rows * cols
    mean = total / count
    covariance = moment / count - mean.outer(mean)
    direction = torch.linalg.eigh(covariance).eigenvectors[:, -1]
    direction = direction * direction[direction.abs().argmax()].sign()
    axis = direction.float().to(features.device)
    units = (F.normalize(maps.float(), dim=0) for maps in features)
    return torch.stack([torch.einsum("c,chw->hw", axis, unit) for unit in units])


def _spread(mask: Bool[Tensor, "T h w"]) -> float:
    """The share of foreground in all cells plus its share in the cells on the frame's border."""
    border = torch.ones_like(mask)
    border[:, 1:-1, 1:-1] = False
    return mask.float().mean().item() + mask[border].float().mean().item()


def motion_foreground(flow: VideoFlow, config: ForegroundConfig) -> Bool[Tensor, "T H W"]:
    """The foreground pixels of a video by how they move against the camera.

    A homography that is fitted to each frame's flow by RANSAC stands for the camera, with inliers
    within config.homography_error. Foreground are the pixels whose flow differs most from the
    camera's: the top config.share of the video's differences, as far as they exceed
    config.min_residual. The last frame of a shot, which has no flow, takes over the mask of the
    frame before. A static video has no foreground.
    """
    height, width = flow.size
    device = flow.forward.device
    pairs = flow.frame_count - 1
    moving = [t for t in range(pairs) if not flow.is_cut(t, t + 1)]
    if not moving:
        return torch.zeros(flow.frame_count, height, width, dtype=torch.bool, device=device)
    residual = np.zeros((pairs, height, width), dtype=np.float32)
    for t in moving:
        residual[t] = _residual(flow.forward[t].float().cpu().numpy(), config)
    # Every second pixel tells the quantile well enough.
    quantile = float(np.quantile(residual[moving, ::2, ::2], 1 - config.share))
    masks = torch.from_numpy(residual > max(quantile, config.min_residual)).to(device)
    for cut in sorted(flow.cuts - {1}):
        if not flow.is_cut(cut - 2, cut - 1):
            masks[cut - 1] = masks[cut - 2]
    return torch.cat((masks, masks[-1:]))


def _residual(
    displacement: Float[np.ndarray, "2 H W"], config: ForegroundConfig
) -> Float[np.ndarray, "H W"]:
    """How far each pixel's flow is from the homography that fits the frame best, px.

    Where no homography can be fitted nothing differs, and the answer is 0.
    """
    height, width = displacement.shape[1:]
    source = pixel_grid(height, width).centres().numpy()
    target = source + displacement.reshape(2, -1).T
    lattice = np.zeros((height, width), dtype=bool)
    lattice[_every(height, config.lattice), _every(width, config.lattice)] = True
    chosen = lattice.ravel() & np.isfinite(target).all(axis=1)
    camera = _homography(source[chosen], target[chosen], config.homography_error)
    if camera is None:
        return np.zeros((height, width), dtype=np.float32)
    moved = cv2.perspectiveTransform(source[None], camera)[0]
    distance = np.linalg.norm(target - moved, axis=1)
    residual = np.nan_to_num(distance, nan=0.0, posinf=0.0)
    return np.asarray(residual, dtype=np.float32).reshape(height, width)


def _homography(
    source: Float[np.ndarray, "K 2"], target: Float[np.ndarray, "K 2"], reach: float
) -> Float[np.ndarray, "3 3"] | None:
    """The homography that takes most positions to within `reach` px of their targets, if any."""
    if len(source) < 4:
        return None
    found, _ = cv2.findHomography(source, target, cv2.RANSAC, reach)
    homography: Float[np.ndarray, "3 3"] | None = found
    return homography


def _every(side: int, lattice: int) -> slice:
    """The pixels of the lattice along a side: centred, and denser where the frame is small."""
    step = max(1, min(lattice, side // lattice))
    return slice(((side - 1) % step) // 2, None, step)
