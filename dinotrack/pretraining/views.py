"""From painted scenes to a batch of views: light and colour, small crops, masks, windows of
positions.

All chance of a batch comes from (seed, step), so that a resumed run sees what an unbroken one would
have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dinotrack.geometry import Grid
from dinotrack.pretraining.correspondences import known_correspondences
from dinotrack.pretraining.recipes import PretrainConfig
from dinotrack.pretraining.scenes import Pool, pair_scene
from dinotrack.tracking.patches import LUMA

BLUR = 9
"""Side of the blur kernels, px."""

Images = Float[Tensor, "B 3 H W"]
"""RGB in [0, 1]."""


@dataclass(frozen=True)
class PretrainBatch:
    """What one step learns from: B pictures in two views, and some small crops of each.

    In what follows V is 2 B, all first views before all second ones, and L is B times the crops of
    a picture.
    """

    views: Float[Tensor, "V 3 S S"]
    """RGB in [0, 1]."""
    crops: Float[Tensor, "L 3 s s"]
    """RGB in [0, 1]."""
    points: Float[Tensor, "B N 2 2"]
    """(view, xy) px: places of the first view and the same places in the second."""
    valid: Bool[Tensor, "B N"]
    """Whether a point is seen in both views."""
    masks: Bool[Tensor, "V cells"]
    """The cells that the student doesn't see."""
    windows: Float[Tensor, "V 4"]
    """The part (y, x, height, width) of the grid of positions, as shares of it."""
    crop_windows: Float[Tensor, "L 4"]
    """The same of the crops."""

    def to(self, device: torch.device) -> "PretrainBatch":
        """The same on that device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        return PretrainBatch(**moved)


class Batches(Dataset[PretrainBatch]):
    """The batch of each step, made when somebody asks for it."""

    def __init__(self, config: PretrainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.pool = Pool(config, seed)

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> PretrainBatch:
        return make_batch(self.pool, step, self.seed)


def stream(config: PretrainConfig, seed: int, start: int) -> Iterator[PretrainBatch]:
    """The batches of steps from `start` to the last, painted ahead by the config's `workers`."""
    batches = Batches(config, seed)
    steps = range(start, config.steps)
    loader = DataLoader(batches, batch_size=None, sampler=steps, num_workers=config.workers)
    return iter(loader)


def make_batch(pool: Pool, step: int, seed: int) -> PretrainBatch:
    """The batch of a step, by (seed, step) alone."""
    config = pool.config.at(step)
    rng = np.random.default_rng((seed, 2, step))
    dice = torch.Generator().manual_seed(int(rng.integers(2**62)))
    side, count = config.shapes[step % len(config.shapes)]
    frames: list[UInt8[np.ndarray, "2 S S 3"]] = []
    points: list[Float[np.ndarray, "N 2 2"]] = []
    valid: list[Bool[np.ndarray, " N"]] = []
    for _ in range(count):
        scene = pair_scene(pool, config, side, step, rng)
        first, first_top = scene.render(0)
        second, second_top = scene.render(1)
        tops = first_top, second_top
        frames.append(np.stack((first, second)))
        pairs, seen = known_correspondences(scene, tops, config.points, rng)
        points.append(pairs)
        valid.append(seen)
    in_order = torch.from_numpy(np.stack(frames, 1)).permute(0, 1, 4, 2, 3)
    clean = in_order.flatten(0, 1).float() / 255
    crops = config.locals * count
    origin = clean.repeat((config.locals + 1) // 2, 1, 1, 1)[:crops]
    return PretrainBatch(
        views=photometric(clean, config.photometric, dice),
        crops=_changed_crops(origin, config, dice) if crops else origin,
        points=torch.from_numpy(np.stack(points)),
        valid=torch.from_numpy(np.stack(valid)),
        masks=block_masks(2 * count, side // config.patch, config, rng),
        windows=windows(2 * count, config, dice),
        crop_windows=windows(crops, config, dice),
    )


def _changed_crops(
    images: Images, config: PretrainConfig, dice: torch.Generator
) -> Float[Tensor, "B 3 s s"]:
    crops = random_crops(images, config.local_side, dice)
    return photometric(crops, config.photometric, dice)


# --- light and colour


def photometric(images: Images, strength: float, dice: torch.Generator) -> Images:
    """Another light, camera and weather for each of the images: colour, shade, blur, noise."""
    count, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Float[Tensor, "..."]:
        numbers = torch.rand(count, *(shape or (1, 1, 1)), generator=dice)
        return strength * (low + (high - low) * numbers)

    def chance(share: float) -> Float[Tensor, "..."]:
        return (torch.rand(count, 1, 1, 1, generator=dice) < share).float()

    grey = torch.einsum("bchw,c->bhw", images, torch.tensor(LUMA))[:, None]
    saturation = (1 + uniform(-0.6, 0.5)) * (1 - min(strength, 1.0) * chance(0.1))
    images = grey + saturation * (images - grey)
    hue = hue_turn(uniform(-0.35, 0.35)[:, 0, 0, 0])
    images = torch.einsum("bij,bjhw->bihw", hue, images)
    tint_of_light = 1 + uniform(-0.12, 0.12, 3, 1, 1)
    images = images * tint_of_light
    mean = images.mean((2, 3), keepdim=True)
    images = mean + (1 + uniform(-0.5, 0.4)) * (images - mean)
    coarse = uniform(-0.3, 0.3, 1, 3, 3) * chance(0.5)
    shade = F.interpolate(coarse, (height, width), mode="bicubic")
    images = images * (1 + uniform(-0.4, 0.4) + shade)
    images = images.clamp(1e-3, 1) ** torch.exp(uniform(-0.4, 0.4))
    images = blurred(images, strength, dice)
    noise = torch.randn(images.shape, generator=dice) * uniform(0, 0.05) * chance(0.5)
    return (images + noise).clamp(0, 1)


def hue_turn(angle: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    """Turns of RGB around the grey axis by an angle in radians (Rodrigues)."""
    axis = 3**-0.5
    cross = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]])
    cosine = angle.cos()[:, None, None]
    sine = angle.sin()[:, None, None]
    return cosine * torch.eye(3) + sine * cross + (1 - cosine) / 3


def blurred(images: Images, strength: float, dice: torch.Generator) -> Images:
    """A third of the images out of focus, a third moved while the shutter was open."""
    count = len(images)
    kind = torch.rand(count, generator=dice)
    kernels = _blur_kernels(kind < 1 / 3, strength, dice)
    chosen = (kind < 2 / 3).nonzero()[:, 0]
    if strength == 0 or not len(chosen):
        return images
    padded = F.pad(images[chosen], (BLUR // 2,) * 4, mode="replicate")
    by_group = padded.transpose(0, 1)  # an image is a group, of which each has its own kernel
    smooth = F.conv2d(by_group, kernels[chosen][:, None], groups=len(chosen)).transpose(0, 1)
    return images.index_copy(0, chosen, smooth)


def _blur_kernels(
    moved: Bool[Tensor, " B"], strength: float, dice: torch.Generator
) -> Float[Tensor, "B K K"]:
    """Gaussians, of BLUR px a side: thin ones in some direction for what moved, round ones else."""
    count = len(moved)
    axis = torch.arange(BLUR, dtype=torch.float32) - BLUR // 2
    sigma = 0.3 + 1.2 * strength * torch.rand(count, generator=dice)
    length = 0.5 + 2.5 * strength * torch.rand(count, generator=dice)
    angle = torch.pi * torch.rand(count, generator=dice)
    y = axis[None, :, None]
    x = axis[None, None, :]
    cosine = angle.cos()[:, None, None]
    sine = angle.sin()[:, None, None]
    along = cosine * x + sine * y
    across = cosine * y - sine * x
    is_thin = moved[:, None, None]
    spread = torch.where(is_thin, length[:, None, None], sigma[:, None, None])
    thin = torch.where(is_thin, torch.full_like(spread, 0.4), sigma[:, None, None])
    kernels = torch.exp(-0.5 * ((along / spread) ** 2 + (across / thin) ** 2))
    return kernels / kernels.sum((1, 2), keepdim=True)


# --- crops, windows and masks


def random_crops(
    images: Float[Tensor, "B 3 S S"], side: int, dice: torch.Generator
) -> Float[Tensor, "B 3 s s"]:
    """One small crop of each of the images: 0.35 to 0.7 of the side, half of them mirrored."""
    count = len(images)
    share = 0.35 + 0.35 * torch.rand(count, generator=dice)
    centre = (1 - share[:, None]) * (2 * torch.rand(count, 2, generator=dice) - 1)
    mirror = torch.where(torch.rand(count, generator=dice) < 0.5, -1.0, 1.0)
    whole = images.shape[-1]
    middles = (2 * torch.arange(side) + 1) / side - 1  # of the pixels of a crop, -1 to 1 over it
    x = (share * mirror)[:, None] * middles + centre[:, :1]
    y = share[:, None] * middles + centre[:, 1:]
    across = x[:, None].expand(-1, side, -1)
    down = y[:, :, None].expand(-1, -1, side)
    places = ((torch.stack((across, down), -1) + 1) * whole - 1) / 2  # px of the image
    colours = Grid(whole, whole, 1.0, 0.0).sample(images, places.flatten(1, 2))
    return colours.transpose(1, 2).reshape(count, 3, side, side)


def windows(count: int, config: PretrainConfig, dice: torch.Generator) -> Float[Tensor, "B 4"]:
    """`count` windows of the grid of positions, (y, x, height, width) as shares of it.

    On a video's frame the cells lie far closer on that grid than on a training crop. Any spacing
    seen in training makes the ViT rely on none.
    """
    native = config.native // config.patch
    low, high = (torch.tensor(min(cells / native, 1.0)).log() for cells in config.window)
    log = low + (high - low) * torch.rand(count, 1, generator=dice)
    log = log + 0.3 * torch.randn(count, 2, generator=dice)
    size = torch.exp(log).clamp(float(low.exp()), 1.0)
    corner = (1 - size) * torch.rand(count, 2, generator=dice)
    return torch.cat((corner, size), 1)


def block_masks(
    count: int, cells: int, config: PretrainConfig, rng: np.random.Generator
) -> Bool[Tensor, "B cells"]:
    """Which of the cells x cells cells of `count` views are masked: blocks in some of the views, as
    in BEiT and iBOT."""
    masks = np.zeros((count, cells, cells), bool)
    for index in np.flatnonzero(rng.uniform(size=count) < config.masked_pictures):
        mask = masks[index]
        wanted = rng.uniform(*config.masked_cells) * mask.size
        for _ in range(20):
            if mask.sum() >= wanted:
                break
            height, width = rng.integers(1, max(cells // 2, 2), 2)
            y = rng.integers(0, cells - height + 1)
            x = rng.integers(0, cells - width + 1)
            mask[y : y + height, x : x + width] = True
    return torch.from_numpy(masks.reshape(count, -1))
