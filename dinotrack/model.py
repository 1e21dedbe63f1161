"""All that is trained: Delta-DINO, which corrects the frozen features, and the refiner, which turns
a correlation map into a correspondence map (docs/method.md 4; sections 3.1 and 3.2 of the paper).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dinotrack.config import ModelConfig
from dinotrack.correlation import Correlation, Filters, locate_in_disc, refiner_scores
from dinotrack.errors import InputError
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps


class Blur(nn.Module):
    """Anti-aliased halving (Zhang 2019): a side of n cells becomes one of ceil(n / 2).

    The kernel is the outer product of [1, 3, 3, 1] / 8 with itself, and borders are reflected.
    """

    def __init__(self) -> None:
        super().__init__()
        from kornia.filters import BlurPool2D  # slow to import, and only `paper` blurs

        self.pool = BlurPool2D(4, 2)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h2 w2"]:
        rows, cols = x.shape[-2:]
        # kornia pads with zeros. What is kept must not see its padding, so more is padded here,
        # and output 1 is the one that is centred on our first cell.
        padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
        blurred: Tensor = self.pool(padded)
        return blurred[..., 1 : 1 + math.ceil(rows / 2), 1 : 1 + math.ceil(cols / 2)]


class Residual(nn.Module):
    """Layers whose output is added to their input."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        out: Tensor = x + self.layers(x)
        return out


class DeltaDino(nn.Module):
    """The CNN that predicts what to add to the frozen features.

    Without a ViT its output is the features. In `paper` it has three stages of a 5x5 convolution,
    batch norm, ReLU and blur, then a dilated convolution and a batch norm of gain 0.05.
    """

    def __init__(self, config: ModelConfig, dims: int):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            layers += _stage(channels, width, config)
            channels = width
        for _ in range(config.blocks):
            convolution = _convolution(channels, channels, 3)
            layers.append(Residual(convolution, _norm(config.norm, channels), nn.ReLU()))
        last = _convolution(channels, dims, config.kernel, dilation=config.dilation)
        norm = _norm(config.norm, dims)
        nn.init.constant_(norm.weight, config.gain)
        self.layers = nn.Sequential(*layers, last, norm)

    def zero_last(self) -> None:
        """Make the last convolution zero, so that a fit starts from the frozen features."""
        last = self.layers[-2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def grid(self, height: int, width: int) -> Grid:
        """Where the cells of the output lie on a height x width frame."""
        return delta_grid(self.config, height, width)

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Corrections of the features of frames in [0, 1], at the cells of `grid(H, W)`."""
        delta: Tensor = self.layers(frames)
        return delta


def memory_format(device: torch.device) -> torch.memory_format:
    """How maps lie in memory where convolutions learn fastest.

    That is with channels last, except on CPUs, which then take a third longer.
    """
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def least_side(config: ModelConfig) -> int:
    """The shortest side, in px, of a frame that Delta-DINO takes.

    A border can reflect fewer cells than there are.
    """
    least = 3 if config.downsample == "blur" else 1
    side = 1 + max(config.dilation * (config.kernel // 2), int(config.blocks > 0))
    for _ in config.widths:
        side = max(2 * side - 1, config.kernel // 2 + 1, least)
    return side


def delta_grid(config: ModelConfig, height: int, width: int) -> Grid:
    """Where the cells of Delta-DINO's map lie on a height x width frame."""
    for _ in config.widths:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    stride = 2 ** len(config.widths)
    if not config.exact_centres:
        return Grid(height, width, stride, 0.5)
    # The taps of a blur reach from -1 to 2, so that each shifts the map by half an input pixel.
    # A strided convolution with an odd kernel does not shift.
    origin = (stride - 1) / 2 if config.downsample == "blur" else 0.0
    return Grid(height, width, stride, origin)


class Refiner(nn.Module):
    """Two 3x3 convolutions of correlation maps, before the softmax over the whole map.

    Borders are padded with zeros, and every 3x3 slice of the weights is divided by its own signed
    sum before it is used (docs/method.md 4).
    """

    def __init__(self, width: int):
        super().__init__()
        self.cnn_refiner = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )

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

    def start_as_identity(self) -> None:
        """Begin as almost the identity: random slices would blur the correlations at first."""
        for layer in self._convolutions():
            assert layer.bias is not None
            nn.init.uniform_(layer.weight, 0.0, 0.02)
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

    def __init__(self, config: ModelConfig, dims: int | None):
        """dims: the width of the frozen features; None where there is no ViT."""
        super().__init__()
        self.config = config
        adds = dims is not None and config.fusion == "sum"
        width = config.dims if dims is None or not adds else dims
        self.dims = width if dims is None or adds else dims + width
        """The width of the refined features."""
        self.delta_dino = DeltaDino(config, width)
        self.refiner = Refiner(config.refiner_width)
        if adds:
            self.delta_dino.zero_last()
        if config.sharp_start:
            self.refiner.start_as_identity()

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
        values: Tensor = self.delta_dino(frames)
        delta = FeatureMaps(values, self.delta_dino.grid(*frames.shape[-2:]))
        if features is None:
            return delta
        if self.config.fusion == "beside":
            return self._beside(features, delta)
        correction = delta.resampled(features.grid).values
        return FeatureMaps(features.values.to(correction.dtype) + correction, features.grid)

    def _beside(self, features: FeatureMaps, delta: FeatureMaps) -> FeatureMaps:
        frozen = F.normalize(features.resampled(delta.grid).values, dim=1, eps=1e-8)
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
        return self.answer(Correlation(vectors, maps, index))

    def answer(self, correlation: Correlation) -> Float[Tensor, "N 2"]:
        """Where the queries of a correlation are found, in px (docs/method.md 4, "Position").

        Maps of cosines are made where config.whole_map asks for them, or where no kernel compares
        features; the answer is the same.
        """
        grid = correlation.maps.grid
        if self.config.whole_map:
            return self.locate_in(correlation.cosines, grid)
        reach = self.config.radius / grid.stride
        cells = correlation.located(self._filters(), self.config.temperature, reach)
        return grid.to_pixels(cells)

    def locate_in(
        self,
        correlation: Float[Tensor, "N h w"],
        grid: Grid,
        best: Int[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N 2"]:
        """Positions (px) from maps of cosines: the correspondence map's mean around its peak.

        The softmax's normaliser cancels in the disc, so only the disc is refined unless
        config.whole_map. The two ways differ only where the disc holds hardly any probability.
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


def _stage(channels: int, width: int, config: ModelConfig) -> list[nn.Module]:
    """Layers after which the map is half as large."""
    strided = config.downsample == "stride"
    convolution = _convolution(channels, width, config.kernel, 2 if strided else 1)
    layers: list[nn.Module] = [convolution, _norm(config.norm, width), nn.ReLU()]
    return layers if strided else [*layers, Blur()]


def _convolution(
    channels: int, width: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    pad = dilation * (kernel // 2)
    return nn.Conv2d(channels, width, kernel, stride, pad, dilation, padding_mode="reflect")


def _norm(name: str, channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _unit_sum(weight: Float[Tensor, "K L 3 3"]) -> Float[Tensor, "K L 3 3"]:
    return weight / weight.sum((2, 3), keepdim=True)
