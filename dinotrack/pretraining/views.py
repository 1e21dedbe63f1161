"""From painted scenes to a batch of views: changes of light and colour, small crops, masks, windows
of positions.

All chance of a batch comes from (seed, step), so that a resumed run sees what an unbroken one would
have.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dinotrack.pretraining.images import Pool, matches, pair_scene
from dinotrack.pretraining.recipes import PretrainConfig

BLUR = 9  # px: side of the blur kernels
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Batch:
    """What one step learns from. B pictures in two views, L small crops of each; h x w cells a
    view.

    views: [2 B, 3, S, S], all first views, then all second ones. crops: [L B, 3, s, s]. Values in
    [0, 1].
    points: [B, N, 2, 2] px, (view, xy): places of view 0 and the same places in view 1; valid: bool
    [B, N].
    masks: bool [2 B, h w]: the cells the student doesn't see.
    windows: [2 B, 4] and crop_windows [L B, 4]: the part (y, x, height, width) of the grid of
    positions, in shares.
    """

    views: Tensor
    crops: Tensor
    points: Tensor
    valid: Tensor
    masks: Tensor
    windows: Tensor
    crop_windows: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on that device."""
        return Batch(
            **{name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        )


class Batches(Dataset[Batch]):
    """Batch of each step, made when asked for."""

    def __init__(self, config: PretrainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.pool = Pool(config, seed)

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Batch:
        return make_batch(self.pool, step, self.seed)


def stream(config: PretrainConfig, seed: int, start: int) -> Iterator[Batch]:
    """The batches of steps from `start` to the last, painted ahead by the config's `workers`."""
    batches = Batches(config, seed)
    steps = range(start, config.steps)
    loader = DataLoader(batches, batch_size=None, sampler=steps, num_workers=config.workers)
    return iter(loader)


def make_batch(pool: Pool, step: int, seed: int) -> Batch:
    """The batch of a step, by (seed, step) alone."""
    config = pool.config.at(step)
    rng = np.random.default_rng((seed, 2, step))
    dice = torch.Generator().manual_seed(int(rng.integers(2**62)))
    side, count = config.shapes[step % len(config.shapes)]
    frames, points, valid = [], [], []
    for _ in range(count):
        scene = pair_scene(pool, config, side, step, rng)
        (first, top), (second, other) = scene.render(0), scene.render(1)
        frames.append(np.stack((first, second)))
        pairs, seen = matches(scene, (top, other), config.points, rng)
        points.append(pairs)
        valid.append(seen)
    clean = torch.from_numpy(np.stack(frames, 1)).permute(0, 1, 4, 2, 3).flatten(0, 1).float() / 255
    origin = clean.repeat((config.locals + 1) // 2, 1, 1, 1)[: config.locals * count]
    cells = side // config.patch
    return Batch(
        views=photometric(clean, config.photometric, dice),
        crops=photometric(random_crops(origin, config.local_side, dice), config.photometric, dice)
        if len(origin)
        else origin,
        points=torch.from_numpy(np.stack(points)),
        valid=torch.from_numpy(np.stack(valid)),
        masks=block_masks(2 * count, cells, config, rng),
        windows=windows(2 * count, config, dice),
        crop_windows=windows(config.locals * count, config, dice),
    )


def photometric(images: Tensor, strength: float, dice: torch.Generator) -> Tensor:
    """Another light, camera and weather for each of images [B, 3, H, W] in [0, 1]: colour, shade,
    blur, noise."""
    count, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return strength * (
            low + (high - low) * torch.rand(count, *(shape or (1, 1, 1)), generator=dice)
        )

    def chance(share: float) -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=dice) < share).float()

    grey = torch.einsum("bchw,c->bhw", images, torch.tensor(GREY))[:, None]
    saturation = (1 + uniform(-0.6, 0.5)) * (1 - min(strength, 1.0) * chance(0.1))
    images = grey + saturation * (images - grey)
    images = torch.einsum("bij,bjhw->bihw", hue_turn(uniform(-0.35, 0.35)[:, 0, 0, 0]), images)
    images = images * (1 + uniform(-0.12, 0.12, 3, 1, 1))  # the tint of the light
    mean = images.mean((2, 3), keepdim=True)
    images = mean + (1 + uniform(-0.5, 0.4)) * (images - mean)
    shade = F.interpolate(
        uniform(-0.3, 0.3, 1, 3, 3) * chance(0.5), (height, width), mode="bicubic"
    )
    images = images * (1 + uniform(-0.4, 0.4) + shade)
    images = images.clamp(1e-3, 1) ** torch.exp(uniform(-0.4, 0.4))
    images = blurred(images, strength, dice)
    noise = torch.randn(images.shape, generator=dice) * uniform(0, 0.05) * chance(0.5)
    return (images + noise).clamp(0, 1)


def hue_turn(angle: Tensor) -> Tensor:
    """Turns of RGB around the grey axis by angle [B], radians: [B, 3, 3] (Rodrigues)."""
    axis = 3**-0.5
    cross = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]])
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cosine * torch.eye(3) + sine * cross + (1 - cosine) / 3


def blurred(images: Tensor, strength: float, dice: torch.Generator) -> Tensor:
    """A third of images [B, 3, H, W] out of focus, a third moved while the shutter was open."""
    count = len(images)
    kind = torch.rand(count, generator=dice)
    axis = torch.arange(BLUR, dtype=torch.float32) - BLUR // 2
    sigma = 0.3 + 1.2 * strength * torch.rand(count, generator=dice)
    length = 0.5 + 2.5 * strength * torch.rand(count, generator=dice)
    angle = torch.pi * torch.rand(count, generator=dice)
    y, x = axis[None, :, None], axis[None, None, :]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = cosine * x + sine * y, cosine * y - sine * x
    moved = kind[:, None, None] < 1 / 3
    spread = torch.where(moved, length[:, None, None], sigma[:, None, None])
    thin = torch.where(moved, torch.full_like(spread, 0.4), sigma[:, None, None])
    kernels = torch.exp(-0.5 * ((along / spread) ** 2 + (across / thin) ** 2))
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    chosen = (kind < 2 / 3).nonzero()[:, 0]
    if strength == 0 or not len(chosen):
        return images
    part = F.pad(images[chosen], (BLUR // 2,) * 4, mode="replicate").transpose(0, 1)  # a group each
    smooth = F.conv2d(part, kernels[chosen][:, None], groups=len(chosen)).transpose(0, 1)
    return images.index_copy(0, chosen, smooth)


def random_crops(images: Tensor, side: int, dice: torch.Generator) -> Tensor:
    """One small crop, [B, 3, side, side], of each of images [B, 3, S, S]: 0.35 to 0.7 of the side,
    half mirrored."""
    count = len(images)
    share = 0.35 + 0.35 * torch.rand(count, generator=dice)
    centre = (1 - share[:, None]) * (2 * torch.rand(count, 2, generator=dice) - 1)
    mirror = torch.where(torch.rand(count, generator=dice) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = share * mirror, share, centre
    grid = F.affine_grid(theta, [count, 3, side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def windows(count: int, config: PretrainConfig, dice: torch.Generator) -> Tensor:
    """Windows [count, 4] of the grid of positions, (y, x, height, width) as shares of it.

    On a video's frame the cells lie far closer on that grid than on a training crop. Any spacing
    seen in training makes the ViT rely on none.
    """
    native = config.native // config.patch
    low, high = (torch.tensor(min(w / native, 1.0)).log() for w in config.window)
    log = (
        low
        + (high - low) * torch.rand(count, 1, generator=dice)
        + 0.3 * torch.randn(count, 2, generator=dice)
    )
    size = torch.exp(log).clamp(float(low.exp()), 1.0)
    corner = (1 - size) * torch.rand(count, 2, generator=dice)
    return torch.cat((corner, size), 1)


def block_masks(count: int, cells: int, config: PretrainConfig, rng: np.random.Generator) -> Tensor:
    """Which cells are masked, bool [count, cells * cells]: blocks in some of the views, as in BEiT
    and iBOT."""
    masks = np.zeros((count, cells, cells), bool)
    for index in np.flatnonzero(rng.uniform(size=count) < config.masked_pictures):
        mask = masks[index]
        wanted = rng.uniform(*config.masked_cells) * mask.size
        for _ in range(20):
            if mask.sum() >= wanted:
                break
            height, width = rng.integers(1, max(cells // 2, 2), 2)
            y, x = rng.integers(0, cells - height + 1), rng.integers(0, cells - width + 1)
            mask[y : y + height, x : x + width] = True
    return torch.from_numpy(masks.reshape(count, -1))
