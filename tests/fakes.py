"""Stand-ins for what takes long or needs weights, as small as their seams allow."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.geometry import Grid, patch_grid


class FakeBackbone:
    """A backbone whose blocks mix the colours of 4 x 4 px, each block in another way."""

    identity = "colours"
    patch, dims, depth, layer = 4, 6, 3, 1
    device = torch.device("cpu")

    def grid(self, height: int, width: int) -> Grid:
        return patch_grid(height, width, self.patch, self.patch)

    def __call__(self, frames: Tensor, layers: Sequence[int]) -> list[Tensor]:
        colours = F.avg_pool2d(frames.float() / 255 + 0.1, self.patch)
        mixes = torch.randn(self.depth, 6, 3, generator=torch.Generator().manual_seed(0))
        return [torch.einsum("dc,bchw->bdhw", mixes[layer], colours) for layer in layers]
