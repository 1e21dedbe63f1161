"""Feature maps and where their cells lie, as one value that can be read anywhere.

A map without its grid can't be sampled and a grid without its map has nothing to sample, so the
two travel together: frozen features of a ViT, the CNN's corrections and the refined features are
all `FeatureMaps`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.geometry import Grid
from dinotrack.queries import Queries


@dataclass(frozen=True)
class FeatureMaps:
    """Features of the frames of a video, or of some of them, at the cells of a grid."""

    values: Float[Tensor, "T C h w"]
    """Of any float type; what is read from them is float32, as half precision can't hold places."""
    grid: Grid
    """Where the h x w cells lie on the frame."""
    units: Float[Tensor, "T C h w"] | None = None
    """The values of unit length, float32, where somebody holds them to compare them often."""

    def __len__(self) -> int:
        """Frames."""
        return len(self.values)

    def __getitem__(self, part: slice | Int[Tensor, " F"]) -> FeatureMaps:
        """The maps of some frames."""
        units = None if self.units is None else self.units[part]
        return FeatureMaps(self.values[part], self.grid, units)

    @property
    def channels(self) -> int:
        """The width of a feature."""
        return self.values.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the maps lie."""
        return self.values.device

    def to(self, device: torch.device) -> FeatureMaps:
        """The same maps on a device."""
        units = None if self.units is None else self.units.to(device)
        return FeatureMaps(self.values.to(device), self.grid, units)

    def at(self, frame: int, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
        """Features at positions (px) of one frame, interpolated bilinearly between cells."""
        one = self.values[frame][None].float()
        return self.grid.sample(one, xy[None])[0]

    def at_queries(self, queries: Queries) -> Float[Tensor, "N C"]:
        """Features at the queries, each in its own frame."""
        shape = len(queries), self.channels
        vectors = self.values.new_zeros(shape, dtype=torch.float32)
        for t in sorted(set(queries.frame.tolist())):
            rows = queries.frame == t
            vectors[rows] = self.at(t, queries.xy[rows])
        return vectors

    def at_rows(self, row: Int[Tensor, " N"], xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
        """Features at positions (px), each in the map that its row names.

        Every position is read in every map, although only one of these values is kept. The sizes of
        the work then do not depend on how the maps share the positions, and no device is waited
        for.
        """
        everywhere = self.grid.sample(self.values, xy.expand(len(self), -1, -1))
        return torch.take_along_dim(everywhere, row[None, :, None], dim=0)[0]

    def along(self, xy: Float[Tensor, "N T 2"]) -> Float[Tensor, "N T C"]:
        """Features along tracks (px), one position a frame."""
        return torch.stack([self.at(t, xy[:, t]) for t in range(len(self))], dim=1)

    def resampled(self, grid: Grid, corner: Float[Tensor, " 2"] | None = None) -> FeatureMaps:
        """The maps read at the cells of another grid: float32.

        corner: (x, y) px of where the frame of the other grid begins, if it is a part of this.
        """
        if grid == self.grid and corner is None:
            return FeatureMaps(self.values.float(), grid)
        centres = grid.centres(self.device)
        cells = (centres if corner is None else centres + corner).expand(len(self), -1, -1)
        values = self.grid.sample(self.values, cells).transpose(1, 2)
        return FeatureMaps(values.reshape(*self.values.shape[:2], grid.rows, grid.cols), grid)
