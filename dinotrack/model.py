"""All that is trained: Delta-DINO, which corrects the frozen features, and the refiner, which turns
a correlation map into a correspondence map (METHOD 4; paper sections 3.1 and 3.2)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from kornia.filters import blur_pool2d
from torch import Tensor, nn

from dinotrack.config import ModelConfig
from dinotrack.correlation import Filters, correlation_maps, locate_in_disc, match, refine
from dinotrack.errors import InputError
from dinotrack.geometry import Grid

MASS_FLOOR = 1e-8  # below this mass in the disc the answer is the plain mean of its cells


class Blur(nn.Module):
    """Anti-aliased halving: the outer product of [1, 3, 3, 1] / 8 with itself, reflect padding; n
    -> ceil(n / 2)."""

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        # kornia pads with zeros, so what is kept must not see its padding: output 1 is centred on
        # our first pixel
        blurred = blur_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 4, 2)
        return blurred[..., 1 : 1 + math.ceil(rows / 2), 1 : 1 + math.ceil(cols / 2)]


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class DeltaDino(nn.Module):
    """The CNN that predicts what to add to the frozen features; without a ViT its map is the
    features.

    `paper`: three stages of conv 5x5, batch norm, ReLU, blur, then a dilated conv and a batch norm
    of gain 0.05.
    """

    def __init__(self, config: ModelConfig, dims: int):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            layers += [
                _conv(channels, width, config.kernel, 2 if config.downsample == "stride" else 1)
            ]
            layers += [_norm(config.norm, width), nn.ReLU()]
            layers += [Blur()] if config.downsample == "blur" else []
            channels = width
        for _ in range(config.blocks):
            layers += [
                Residual(_conv(channels, channels, 3), _norm(config.norm, channels), nn.ReLU())
            ]
        last = _conv(channels, dims, config.kernel, dilation=config.dilation)
        norm = _norm(config.norm, dims)
        nn.init.constant_(norm.weight, config.gain)
        self.layers = nn.Sequential(*layers, last, norm)

    def zero_last(self) -> None:
        """Start from the frozen features unchanged: the last convolution is zero."""
        last = self.layers[-2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def grid(self, height: int, width: int) -> Grid:
        """Where the cells of the map lie on a height x width frame."""
        return delta_grid(self.config, height, width)

    def forward(self, frames: Tensor) -> Tensor:
        """frames [B, 3, H, W] in [0, 1] -> [B, dims, rows, cols] on `grid(H, W)`."""
        delta: Tensor = self.layers(frames)
        return delta


def memory_format(device: torch.device) -> torch.memory_format:
    """How maps lie in memory: channels last, but for CPUs, whose convolutions then learn a third
    slower."""
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def least_side(config: ModelConfig) -> int:
    """The shortest side, in px, of a frame that Delta-DINO takes: a border can reflect fewer cells
    than there are."""
    side = 1 + max(config.dilation * (config.kernel // 2), int(config.blocks > 0))
    for _ in config.widths:
        side = max(2 * side - 1, config.kernel // 2 + 1, 3 if config.downsample == "blur" else 1)
    return side


def delta_grid(config: ModelConfig, height: int, width: int) -> Grid:
    """Where the cells of Delta-DINO's map lie on a height x width frame."""
    for _ in config.widths:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    stride = 2 ** len(config.widths)
    if not config.exact_centres:
        return Grid(height, width, stride, 0.5)
    # each blur's taps reach from -1 to 2, so it shifts by half an input pixel; a strided odd kernel
    # doesn't
    return Grid(height, width, stride, (stride - 1) / 2 if config.downsample == "blur" else 0.0)


class Refiner(nn.Module):
    """Two 3x3 convolutions with zero padding, each slice divided by its own signed sum; then a
    softmax over the map."""

    def __init__(self, width: int):
        super().__init__()
        self.cnn_refiner = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Correlation maps after ReLU [N, h, w] -> log of the correspondence maps [N, h, w]."""
        return self.scores(maps).flatten(1).log_softmax(1).view_as(maps)

    def scores(self, maps: Tensor) -> Tensor:
        """Maps after ReLU [N, h, w] -> unnormalised log-probabilities [N, h, w]."""
        return refine(maps, self.filters())

    def filters(self) -> Filters:
        """Weights and biases of the two convolutions as they are used: every slice sums to 1."""
        first, second = self.cnn_refiner[0], self.cnn_refiner[2]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        assert first.bias is not None
        assert second.bias is not None
        return _unit_sum(first.weight), first.bias, _unit_sum(second.weight), second.bias

    def start_as_identity(self) -> None:
        """Begin as almost the identity, so that correlations stay sharp: random slices would blur
        them at first."""
        for layer in (self.cnn_refiner[0], self.cnn_refiner[2]):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.uniform_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.weight[:, :, 1, 1] = 1.0


class Tracker(nn.Module):
    """Delta-DINO and the refiner together: everything a fit learns."""

    def __init__(self, config: ModelConfig, dims: int | None):
        """dims: width of the frozen features; None where there is no ViT."""
        super().__init__()
        self.config = config
        adds = dims is not None and config.fusion == "sum"
        width = config.dims if dims is None or not adds else dims
        self.dims = width if dims is None or adds else dims + width  # of the refined features
        self.delta_dino = DeltaDino(config, width)
        self.refiner = Refiner(config.refiner_width)
        if adds:
            self.delta_dino.zero_last()
        if config.sharp_start:
            self.refiner.start_as_identity()

    def grid(self, size: tuple[int, int], backbone_grid: Grid | None) -> Grid:
        """The grid of the refined features: the ViT's, or the CNN's own without one, and where they
        stand beside."""
        alone = backbone_grid is None or self.config.fusion == "beside"
        return self.delta_dino.grid(*size) if alone or backbone_grid is None else backbone_grid

    def refine(self, frames: Tensor, features: Tensor | None, grid: Grid | None) -> Tensor:
        """Refined features = ViT features + Delta-DINO(frame), equation 1 of the paper.

        frames [B, 3, H, W] in [0, 1], features [B, C, h, w] of any float type on `grid`, both None
        without a ViT
        -> [B, C, h, w].
        config.fusion beside: on the CNN's own grid [B, C + dims, rows, cols]: the ViT's features,
        interpolated, of length config.vit_weight, before the CNN's, of unit length.
        """
        delta: Tensor = self.delta_dino(frames)
        if features is None or grid is None:
            return delta
        finer = self.delta_dino.grid(*frames.shape[-2:])
        if self.config.fusion == "beside":
            there = F.normalize(_resample(features, grid, finer), dim=1, eps=1e-8)
            return torch.cat(
                ((self.config.vit_weight * there).to(delta.dtype), F.normalize(delta, dim=1)), dim=1
            )
        at_cells = _resample(delta, finer, grid)
        return features.to(at_cells.dtype) + at_cells

    def heatmaps(self, correlation: Tensor) -> Tensor:
        """Cosines [N, h, w] -> log of the correspondence maps [N, h, w]."""
        log_map = self._scores(F.relu(correlation)).flatten(1).log_softmax(1)
        return log_map.view_as(correlation)

    def _scores(self, positive: Tensor) -> Tensor:
        """Correlations after ReLU [N, h, w] -> unnormalised log-probabilities [N, h, w]."""
        scaled = positive / self.config.temperature
        return self.refiner.scores(scaled) if self.config.refiner else scaled

    def locate(self, correlation: Tensor, grid: Grid, best: Tensor | None = None) -> Tensor:
        """Cosines [N, h, w] -> positions [N, 2] px: the correspondence map's expectation around the
        best correlation.

        The softmax's normaliser cancels in the disc, so unless config.whole_map only the disc is
        refined. The two differ where the disc's mass is under 1e-8 alone. best: the cells of the
        best, long [N], where they are known.
        """
        if self.config.whole_map:
            return soft_argmax(
                F.relu(correlation), self.heatmaps(correlation).exp(), grid, self.config.radius
            )
        reach = self.config.radius / grid.stride
        return grid.to_pixels(
            locate_in_disc(correlation, self._filters(), self.config.temperature, reach, best)
        )

    def match(self, vectors: Tensor, maps: Tensor, index: Tensor, grid: Grid) -> Tensor:
        """Positions [N, 2] px of vectors [N, C], each in the one of maps [B, C, h, w] that index
        long [N] says.

        As `locate` of their correlation maps, which are not made unless config.whole_map.
        """
        if self.config.whole_map:
            return self.locate(correlation_maps(vectors, maps, index), grid)
        reach = self.config.radius / grid.stride
        return grid.to_pixels(
            match(vectors, maps, index, self._filters(), self.config.temperature, reach)
        )

    def _filters(self) -> Filters | None:
        return self.refiner.filters() if self.config.refiner else None


def _resample(maps: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Maps [B, C, ., .] on a grid, read at the cells of another: [B, C, rows, cols], float32 or
    wider."""
    values = grid.sample(maps, target.centres(maps.device).expand(len(maps), -1, -1))
    return values.transpose(1, 2).reshape(*maps.shape[:2], target.rows, target.cols)


def soft_argmax(correlation: Tensor, heatmap: Tensor, grid: Grid, radius: float) -> Tensor:
    """Expectation of the cell centres under heatmap [N, h, w], in the disc of `radius` px around
    the argmax of correlation [N, h, w], renormalised -> [N, 2] px (METHOD 4, "Position")."""
    centres = grid.centres(heatmap.device).to(heatmap.dtype)
    peak = centres[correlation.flatten(1).argmax(1)]
    disc = (centres[None] - peak[:, None]).square().sum(-1) <= radius**2
    inside = heatmap.flatten(1) * disc
    mass = inside.sum(1, keepdim=True)
    weights = torch.where(
        mass < MASS_FLOOR, disc / disc.sum(1, keepdim=True), inside / mass.clamp(min=MASS_FLOOR)
    )
    return weights @ centres


def load_reference(
    delta_dino: Mapping[str, Any], refiner: Mapping[str, Any], config: ModelConfig
) -> Tracker:
    """The reference implementation's checkpoints (`delta_dino_*.pt`, `tracker_head_*.pt`) as a
    Tracker.

    Widths come from the state dicts. Raises InputError for anything else.
    """
    try:
        convs = [v for k, v in delta_dino.items() if k.endswith(".weight") and v.ndim == 4]
        widths = tuple(len(w) for w in convs[:-1])
        width = len(refiner["cnn_refiner.0.weight"])
        tracker = Tracker(replace(config, widths=widths, refiner_width=width), dims=len(convs[-1]))
        kept = {
            k: v for k, v in delta_dino.items() if not k.endswith(".filt")
        }  # the blur is no parameter here
        tracker.delta_dino.load_state_dict(kept)
        tracker.refiner.load_state_dict(refiner)
    except (KeyError, IndexError, RuntimeError, AttributeError, TypeError) as error:
        raise InputError(
            "this is no checkpoint of the DINO-Tracker reference; give delta_dino_*.pt and tracker_head_*.pt "
            f"({str(error).splitlines()[0]})"
        ) from None
    return tracker


def _conv(channels: int, width: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    pad = dilation * (kernel // 2)
    return nn.Conv2d(channels, width, kernel, stride, pad, dilation, padding_mode="reflect")


def _norm(name: str, channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    raise InputError(f"model.norm={name} is unknown; choose batch or group")


def _unit_sum(weight: Tensor) -> Tensor:
    return weight / weight.sum((2, 3), keepdim=True)
