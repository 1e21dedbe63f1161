"""All that is trained: Delta-DINO, which corrects the frozen features, and the refiner, which turns
a correlation map into a correspondence map (docs/method.md 4; sections 3.1 and 3.2 of the paper).

Delta-DINO itself stands in delta_dino.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dinotrack.config import ModelConfig
from dinotrack.correlation import Correlation, Filters, locate_in_disc, normalise, refiner_scores
from dinotrack.delta_dino import DeltaDino, convolution_of
from dinotrack.errors import InputError
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps

SIDE_WEIGHTS = 0.02
"""Where the refiner starts as the identity: the most that a weight beside a middle of 1 may be."""


class Refiner(nn.Module):
    """Two 3x3 convolutions of correlation maps, before the softmax over the whole map.

    Borders are padded with zeros, and every 3x3 slice of the weights is divided by its own signed
    sum before it is used (docs/method.md 4).
    """

    def __init__(self, width: int, rng: torch.Generator | None = None):
        """rng: what the first weights are drawn from; by default torch's own generator."""
        super().__init__()
        first = convolution_of(rng, 1, width, 3, padding=1)
        second = convolution_of(rng, width, 1, 3, padding=1)
        self.cnn_refiner = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, maps: Float[Tensor, "N h w"]) -> Float[Tensor, "N h w"]:
        """Logarithms of the correspondence maps, from correlation maps after the ReLU."""
        return self.scores(maps).flatten(1).log_softmax(1).view_as(maps)

    def scores(self, maps: Float[Tensor, "N h w"]) -> Float[Tensor, "N h w"]:
        """Unnormalised log-probabilities, from correlation maps after the ReLU."""
        return refiner_scores(maps, self.filters())

    def filters(self) -> Filters:
        """Weights and biases of the two convolutions as they are used: every slice sums to 1."""
        first, second = self._convolutions()
        assert first.bias is not None
        assert second.bias is not None
        return _unit_sum(first.weight), first.bias, _unit_sum(second.weight), second.bias

    def start_as_identity(self, rng: torch.Generator | None = None) -> None:
        """Begin as almost the identity: random slices would blur the correlations at first."""
        for layer in self._convolutions():
            assert layer.bias is not None
            nn.init.uniform_(layer.weight, 0.0, SIDE_WEIGHTS, generator=rng)
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.weight[:, :, 1, 1] = 1.0

    def _convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        first, _, second = self.cnn_refiner
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        return first, second


class Tracker(nn.Module):
    """Delta-DINO and the refiner together: everything that a fit learns."""

    def __init__(self, config: ModelConfig, dims: int | None, rng: torch.Generator | None = None):
        """dims: the width of the frozen features; None where there is no ViT.

        rng: what the first weights are drawn from; by default torch's own generator.
        """
        super().__init__()
        self.config = config
        adds = dims is not None and config.fusion == "sum"
        width = config.dims if dims is None or not adds else dims
        self.dims = width if dims is None or adds else dims + width
        """The width of the refined features."""
        self.delta_dino = DeltaDino(config, width, rng)
        self.refiner = Refiner(config.refiner_width, rng)
        if adds:
            self.delta_dino.zero_last()
        if config.sharp_start:
            self.refiner.start_as_identity(rng)

    def grid(self, size: tuple[int, int], backbone_grid: Grid | None) -> Grid:
        """Where the cells of the refined features lie on a frame of size (H, W).

        They lie on the ViT's grid where the CNN's output is added to the ViT's features, and on
        the CNN's own where there is no ViT, or the two stand side by side.
        """
        if backbone_grid is None or self.config.fusion == "beside":
            return self.delta_dino.grid(*size)
        return backbone_grid

    def refine(self, frames: Float[Tensor, "B 3 H W"], features: FeatureMaps | None) -> FeatureMaps:
        """Refined features of some frames in [0, 1] (equation 1 of the paper).

        They are the frozen features plus Delta-DINO's output, read at the ViT's cells. Without a
        ViT they are Delta-DINO's output. With config.fusion "beside", the frozen features are
        read at the CNN's finer cells, brought to the length config.vit_weight, and put before
        Delta-DINO's output of unit length.
        """
        values: Float[Tensor, "B C h w"] = self.delta_dino(frames)
        delta = FeatureMaps(values, self.delta_dino.grid(*frames.shape[-2:]))
        if features is None:
            return delta
        if self.config.fusion == "beside":
            return self._beside(features, delta)
        correction = delta.resampled(features.grid).values
        return FeatureMaps(features.values.to(correction.dtype) + correction, features.grid)

    def _beside(self, features: FeatureMaps, delta: FeatureMaps) -> FeatureMaps:
        frozen = normalise(features.resampled(delta.grid).values, dim=1)
        weighted = (self.config.vit_weight * frozen).to(delta.values.dtype)
        learned = F.normalize(delta.values, dim=1)
        return FeatureMaps(torch.cat((weighted, learned), dim=1), delta.grid)

    def correspondence(self, correlation: Float[Tensor, "N h w"]) -> Float[Tensor, "N h w"]:
        """Logarithms of the correspondence maps of maps of cosines (docs/method.md 4)."""
        scaled = F.relu(correlation) / self.config.temperature
        scores = self.refiner.scores(scaled) if self.config.refiner else scaled
        return scores.flatten(1).log_softmax(1).view_as(correlation)

    def locate(
        self,
        vectors: Float[Tensor, "N C"],
        maps: FeatureMaps,
        index: Int[Tensor, " N"],
    ) -> Float[Tensor, "N 2"]:
        """Where each vector is found, in px, in the one of some maps that its index names."""
        return self.locate_by(Correlation(vectors, maps, index))

    def locate_by(self, correlation: Correlation) -> Float[Tensor, "N 2"]:
        """Where the queries of a correlation are found, in px (docs/method.md 4, "Position").

        Maps of cosines are made where config.whole_map asks for them, or where no kernel compares
        features; the answer is the same.
        """
        grid = correlation.maps.grid
        if self.config.whole_map:
            return self.locate_in_maps(correlation.cosines, grid)
        reach = self.config.radius / grid.stride
        cells = correlation.locate(self._filters(), self.config.temperature, reach)
        return grid.to_pixels(cells)

    def locate_in_maps(
        self,
        correlation: Float[Tensor, "N h w"],
        grid: Grid,
        best: Int[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N 2"]:
        """Positions (px) from maps of cosines: the correspondence map's mean around its peak.

        The softmax's normaliser cancels in the disc, so only the disc goes through the
        refiner unless config.whole_map. The two ways differ only where the disc holds hardly any
        probability.
        best: the cells of the highest cosines, where they are known.
        """
        if self.config.whole_map:
            log_map = self.correspondence(correlation)
            return soft_argmax(F.relu(correlation), log_map.exp(), grid, self.config)
        reach = self.config.radius / grid.stride
        temperature = self.config.temperature
        cells = locate_in_disc(correlation, self._filters(), temperature, reach, best)
        return grid.to_pixels(cells)

    def _filters(self) -> Filters | None:
        return self.refiner.filters() if self.config.refiner else None


def soft_argmax(
    correlation: Float[Tensor, "N h w"],
    correspondence: Float[Tensor, "N h w"],
    grid: Grid,
    config: ModelConfig,
) -> Float[Tensor, "N 2"]:
    """The expected position (px) under each correspondence map, near the best correlation.

    Only the disc of config.radius px around the cell of the highest correlation counts, and its
    probabilities are made to sum to 1. Where they sum to less than config.mass_floor, the answer
    is the plain mean of the disc's cells (docs/method.md 4, "Position").
    """
    centres = grid.centres(correspondence.device).to(correspondence.dtype)
    peak = centres[correlation.flatten(1).argmax(1)]
    disc = (centres[None] - peak[:, None]).square().sum(-1) <= config.radius**2
    inside = correspondence.flatten(1) * disc
    mass = inside.sum(1, keepdim=True)
    plain = disc / disc.sum(1, keepdim=True)
    weighted = inside / mass.clamp(min=config.mass_floor)
    weights = torch.where(mass < config.mass_floor, plain, weighted)
    return weights @ centres


def load_reference(
    delta_dino: Mapping[str, Any], refiner: Mapping[str, Any], config: ModelConfig
) -> Tracker:
    """The checkpoints of the reference implementation as a Tracker.

    delta_dino, refiner: the state dicts of its `delta_dino_*.pt` and `tracker_head_*.pt`, which
    also say how wide the networks are. Raises InputError for anything else.
    """
    try:
        convolutions = [
            value
            for key, value in delta_dino.items()
            if key.endswith(".weight") and value.ndim == 4
        ]
        shape = replace(
            config,
            widths=tuple(len(weight) for weight in convolutions[:-1]),
            refiner_width=len(refiner["cnn_refiner.0.weight"]),
        )
        tracker = Tracker(shape, dims=len(convolutions[-1]))
        # the blur is no parameter here
        kept = {key: value for key, value in delta_dino.items() if not key.endswith(".filt")}
        tracker.delta_dino.load_state_dict(kept)
        tracker.refiner.load_state_dict(refiner)
    except (KeyError, IndexError, RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "this is no checkpoint of the DINO-Tracker reference; "
            f"give delta_dino_*.pt and tracker_head_*.pt ({reason})"
        ) from None
    return tracker


def _unit_sum(weight: Float[Tensor, "K L 3 3"]) -> Float[Tensor, "K L 3 3"]:
    return weight / weight.sum((2, 3), keepdim=True)
