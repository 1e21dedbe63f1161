"""Delta-DINO: the CNN that learns, from one video, what to add to the frozen features
(docs/method.md 4; section 3.1 of the paper)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dinotrack.config import ModelConfig
from dinotrack.geometry import Grid


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
        blurred: Float[Tensor, "B C h2 w2"] = self.pool(padded)
        return blurred[..., 1 : 1 + math.ceil(rows / 2), 1 : 1 + math.ceil(cols / 2)]


class Residual(nn.Module):
    """Layers whose output is added to their input."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        out: Float[Tensor, "B C h w"] = x + self.layers(x)
        return out


class DeltaDino(nn.Module):
    """The CNN that predicts what to add to the frozen features.

    Without a ViT its output is the features. In `paper` it has three stages of a 5x5 convolution,
    batch norm, ReLU and blur, then a dilated convolution and a batch norm of gain 0.05.
    """

    def __init__(self, config: ModelConfig, dims: int, rng: torch.Generator | None = None):
        """rng: what the first weights are drawn from; by default torch's own generator."""
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            layers += _stage(channels, width, config, rng)
            channels = width
        for _ in range(config.blocks):
            convolution = convolution_of(rng, channels, channels, 3, **_padding(3))
            layers.append(Residual(convolution, _norm(config.norm, channels), nn.ReLU()))
        padding = _padding(config.kernel, config.dilation)
        last = convolution_of(rng, channels, dims, config.kernel, **padding)
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
        delta: Float[Tensor, "B C h w"] = self.layers(frames)
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


def convolution_of(rng: torch.Generator | None, *sizes: Any, **options: Any) -> nn.Conv2d:
    """nn.Conv2d(*sizes, **options), with its first weights drawn from a generator of the caller's.

    torch draws them from its default generator, which all threads of a process share: fits that
    begin at the same time would take random numbers from each other. They are the same numbers
    that torch draws after a seed, one after the other. None: its default generator after all.
    """
    options["device"] = "meta"
    layer = nn.Conv2d(*sizes, **options).to_empty(device=torch.get_default_device())
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=rng)
    assert layer.bias is not None
    bound = 1 / math.sqrt(layer.weight[0].numel())
    nn.init.uniform_(layer.bias, -bound, bound, generator=rng)
    return layer


def _stage(
    channels: int, width: int, config: ModelConfig, rng: torch.Generator | None
) -> list[nn.Module]:
    """Layers after which the map is half as large."""
    strided = config.downsample == "stride"
    stride = 2 if strided else 1
    padding = _padding(config.kernel)
    convolution = convolution_of(rng, channels, width, config.kernel, stride, **padding)
    layers: list[nn.Module] = [convolution, _norm(config.norm, width), nn.ReLU()]
    return layers if strided else [*layers, Blur()]


def _padding(kernel: int, dilation: int = 1) -> dict[str, Any]:
    """What keeps a map's size, as options of a convolution with an odd kernel."""
    reach = dilation * (kernel // 2)
    return {"padding": reach, "dilation": dilation, "padding_mode": "reflect"}


def _norm(name: str, channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(8, channels), channels)
