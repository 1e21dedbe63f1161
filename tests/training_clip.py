"""A clip whose picture moves as one, so that every label of it is known: what fits learn from in
tests."""

from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack.buddies import Buddies, best_buddies
from dinotrack.chains import Chains
from dinotrack.config import FAST, PAPER, Config, override
from dinotrack.geometry import patch_grid
from dinotrack.labels import Supervision
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.training.loop import State, initial_state
from dinotrack.training.sampling import TrainingData
from tests.dense import chains_of

LENGTH, HEIGHT, WIDTH = 6, 56, 70
SHIFT = (2.0, 1.0)
"""px a frame, the whole picture's motion."""

TINY_PAPER = override(
    PAPER,
    {
        "model.widths": (4, 4, 4),
        "model.refiner_width": 3,
        "training.batch": 16,
        "training.contrastive_points": 8,
    },
)
TINY_FAST = override(
    FAST,
    {
        "model.widths": (8, 8),
        "model.dims": 8,
        "model.blocks": 1,
        "training.batch": 32,
        "training.steps": 30,
    },
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moving_picture() -> UInt8[Tensor, "T 3 H W"]:
    """One texture, shifted by SHIFT each frame."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    frames = []
    for t in range(LENGTH):
        u = x - SHIFT[0] * t
        v = y - SHIFT[1] * t
        waves = [
            torch.sin(u / 5) * torch.cos(v / 7),
            torch.cos(u / 9 + v / 6),
            torch.sin((u - v) / 11),
        ]
        frames.append(torch.stack([128 + 90 * w for w in waves]))
    return torch.stack(frames).to(torch.uint8)


def straight_chains(starts: Float[Tensor, "N 2"]) -> Chains:
    """Chains that move with the picture from frame 0 on, as far as they stay in it."""
    t = torch.arange(LENGTH)
    xy = starts[:, None] + t[None, :, None] * torch.tensor(SHIFT)
    valid = (xy[..., 0] <= WIDTH - 1) & (xy[..., 1] <= HEIGHT - 1)
    return chains_of(xy, valid)


def training_data(channels: int = 0) -> TrainingData:
    """A clip whose left half is foreground; with `channels`, random frozen features and their
    buddies."""
    y, x = torch.meshgrid(torch.arange(2, HEIGHT, 6), torch.arange(2, WIDTH, 6), indexing="ij")
    chains = straight_chains(torch.stack((x, y), dim=-1).reshape(-1, 2).float())
    masks = torch.zeros(LENGTH, HEIGHT, WIDTH, dtype=torch.bool)
    masks[..., : WIDTH // 2] = True
    on = chains.first[:, 0] < WIDTH // 2
    features = random_features(channels) if channels else None
    labels = Supervision(chains, on, masks)
    return TrainingData(moving_picture(), features, labels, all_buddies(features))


def random_features(channels: int) -> FeatureMaps:
    """What a ViT without a clue would see in the clip."""
    cells = patch_grid(HEIGHT, WIDTH, 14, 7)
    shape = LENGTH, channels, cells.rows, cells.cols
    return FeatureMaps(torch.randn(shape, generator=seeded(5)), cells)


def all_buddies(features: FeatureMaps | None) -> dict[tuple[int, int], Buddies]:
    """Best buddies of all ordered pairs of frames."""
    if features is None:
        return {}
    pairs = [(i, j) for i in range(LENGTH) for j in range(LENGTH) if i != j]
    return {pair: best_buddies(features, pair) for pair in pairs}


def fresh(config: Config, channels: int = 0) -> State:
    """A state before its first step, always the same."""
    torch.manual_seed(3)
    return initial_state(Tracker(config.model, channels or None), config.training)


def without_chains(known: TrainingData) -> TrainingData:
    nothing = chains_of(torch.zeros(0, LENGTH, 2), torch.zeros(0, LENGTH, dtype=torch.bool))
    none = torch.zeros(0, dtype=torch.bool)
    return replace(known, supervision=Supervision(nothing, none, known.supervision.masks))


def seen_once(known: TrainingData) -> TrainingData:
    """The same clip where flow is sure of no step at all."""
    chains = known.supervision.chains
    short = Chains(chains.first, chains.start, torch.ones_like(chains.length), chains.frame_count)
    return replace(known, supervision=replace(known.supervision, chains=short))


class OnCuda(Tensor):
    """A tensor that says that it lies on a GPU."""

    device = torch.device("cuda")


def on_cuda() -> OnCuda:
    """A parameter of a network on a machine with a GPU, here without one."""
    return torch.zeros(1).as_subclass(OnCuda)
