"""What the terms of the loss see of one step: refined features of its frames, and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dinotrack.buddies import Buddies
from dinotrack.config import Config, TrainingConfig
from dinotrack.correlation import Correlation, makes_maps
from dinotrack.delta_dino import memory_format
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.pairs import Pair
from dinotrack.precision import multiplies_bfloat16
from dinotrack.training.sampling import Batch, Labels, TrainingData, draw_frame_pairs


@dataclass(frozen=True)
class RefinedFrames:
    """The refined features of some frames of a video."""

    frame_numbers: Int[Tensor, " F"]
    """Which frames these are, ascending."""
    maps: FeatureMaps
    """One map for each of them."""
    size: tuple[int, int]
    """(H, W) of the frames in px."""

    @cached_property
    def row(self) -> dict[int, int]:
        """Where the map of each frame stands among all."""
        return {frame: row for row, frame in enumerate(self.frame_numbers.tolist())}

    def rows(self, frame: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The same for many frames at once, without waiting for the device."""
        return torch.searchsorted(self.frame_numbers, frame)

    def at(self, frame: Int[Tensor, " B"], xy: Float[Tensor, "B 2"]) -> Float[Tensor, "B C"]:
        """Features at positions (px), each in its frame."""
        return self.maps.at_rows(self.rows(frame), xy)


@dataclass(frozen=True)
class StepView:
    """All that a term of the loss may look at in one step."""

    tracker: Tracker
    config: Config
    refined: RefinedFrames
    """The frames of the step, with gradients."""
    frozen: FeatureMaps | None
    """The ViT's features of the same frames, float32, to which the CNN adds: the regularisers keep
    the refined features near them. None without a ViT, and where the CNN's features stand beside
    the ViT's, as nothing binds them then."""
    labels: Labels
    masks: Bool[Tensor, "T H W"]
    """The foreground of all frames of the video."""
    buddies: Mapping[Pair, Buddies]
    """Best buddies of ordered pairs of frames of the video; there may be none."""
    rng: torch.Generator
    """What terms draw from. Each goes on where the one before stopped, in the order of TERMS."""

    @cached_property
    def correlation(self) -> Correlation:
        """How similar each label's source is to all cells of the label's target frame."""
        labels = self.labels
        vectors = self.refined.at(labels.source_frame, labels.source)
        rows = self.refined.rows(labels.target_frame)
        # The map that the cross-entropy needs also answers where a label is found.
        shared = bool(self.config.training.heatmap_weight)
        return Correlation(vectors, self.refined.maps, rows, shared=shared)

    @cached_property
    def frame_pairs(self) -> list[Pair]:
        """All ordered pairs of the step's frames, shuffled when the first term asks for them."""
        return draw_frame_pairs(self.refined.frame_numbers, self.rng)


def view_step(
    batch: Batch, data: TrainingData, tracker: Tracker, config: Config, rng: torch.Generator
) -> StepView:
    """Refine the frames of a batch, on the batch's device."""
    device = batch.frames.device
    frames = (batch.frames.float() / 255).contiguous(memory_format=memory_format(device))
    frozen = None
    if batch.features is not None:
        assert data.features is not None
        frozen = FeatureMaps(batch.features.float(), data.features.grid)
        if batch.corner is not None:
            height, width = frames.shape[-2:]
            frozen = frozen.resampled(tracker.delta_dino.grid(height, width), batch.corner)
    maps = refined_maps(tracker, frames, frozen, config.training)
    refined = RefinedFrames(batch.frame_numbers, maps, data.size)
    bound = frozen if config.model.fusion == "sum" else None
    return StepView(
        tracker, config, refined, bound, batch.labels, data.supervision.masks, data.buddies, rng
    )


def refined_maps(
    tracker: Tracker,
    frames: Float[Tensor, "F 3 H W"],
    frozen: FeatureMaps | None,
    config: TrainingConfig,
) -> FeatureMaps:
    """The refined features of frames in [0, 1], with gradients.

    With config.precision "bfloat16", the networks run in bfloat16 on devices that have instructions
    for it. Where kernels compare the refined features, these are then float16.
    """
    device = frames.device
    half = config.precision == "bfloat16" and multiplies_bfloat16(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        maps = tracker.refine(frames, frozen)
    kernels_compare = half and not makes_maps(maps.values)
    values = maps.values.half() if kernels_compare else maps.values.float()
    return FeatureMaps(values, maps.grid)
