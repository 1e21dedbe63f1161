"""How similar features are: every comparison of feature vectors by their cosine.

All other modules compare features through this one, which never holds all cosines at once where
only some of them are wanted. On CUDA, Triton kernels answer what can be answered without a
correlation map. Elsewhere, and where the environment variable DINOTRACK_KERNELS=torch asks for it,
their plain PyTorch twins give the same answers.

Features may be of any float type. The twins compute in float32, or as autocast decides. The kernels
multiply features of half precision as they are, vectors in the precision of their maps, and sum in
float32.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack import chunks
from dinotrack.errors import InputError
from dinotrack.kernels import tiles
from dinotrack.kernels.contrast import log_sum_exp_torch, log_sum_exp_triton
from dinotrack.kernels.disc import locate_in_disc as locate_in_disc
from dinotrack.kernels.locate import locate_torch, locate_triton
from dinotrack.kernels.mutual import Neighbours, mutual_nearest_torch, mutual_nearest_triton
from dinotrack.kernels.nearest import best_cell as best_cell
from dinotrack.kernels.nearest import correlate
from dinotrack.kernels.refiner import Filters as Filters
from dinotrack.kernels.refiner import refiner_scores as refiner_scores
from dinotrack.maps import FeatureMaps

KERNELS_VARIABLE = "DINOTRACK_KERNELS"


@dataclass(frozen=True)
class Correlation:
    """How similar each vector is to the cells of the map that it belongs to (`docs/method.md` 4).

    Kernels answer without the correlation maps, which are therefore made only when they are needed.
    """

    vectors: Float[Tensor, "N C"]
    maps: FeatureMaps
    index: Int[Tensor, " N"]
    """The map of each vector, in 0 .. len(maps) - 1."""
    shared: bool = False
    """Whether several answers are wanted: without kernels, the same maps then serve them all."""

    @cached_property
    def cosines(self) -> Float[Tensor, "N h w"]:
        """The correlation maps, before the ReLU."""
        return correlation_maps(self.vectors, self.maps.values, self.index)

    def locate(
        self, filters: Filters | None, temperature: float, reach: float
    ) -> Float[Tensor, "N 2"]:
        """Where each vector is found, in cells, as `locate`."""
        if self.shared and makes_maps(self.maps.values):
            return locate_in_disc(self.cosines, filters, temperature, reach)
        return locate(self.vectors, self.maps.values, self.index, filters, temperature, reach)

    def log_softmax_at(self, xy: Float[Tensor, "N 2"], temperature: float) -> Float[Tensor, " N"]:
        """log of the softmax of cosine / temperature over each vector's map, read at xy px.

        The logarithms are interpolated bilinearly between the four cells around xy, which is
        clamped to the outer cells. Differentiable.
        """
        grid = self.maps.grid
        if not makes_maps(self.maps.values):
            return self._log_softmax_without_maps(xy, temperature)
        log_map = (self.cosines / temperature).flatten(1).log_softmax(1).view_as(self.cosines)
        return grid.sample(log_map[:, None], xy[:, None])[:, 0, 0]

    def _log_softmax_without_maps(
        self, xy: Float[Tensor, "N 2"], temperature: float
    ) -> Float[Tensor, " N"]:
        """The same, from kernels.

        A cosine with a cell is linear in the cell's unit vector, so that the bilinear sample of the
        cosines is the product with the sample of these vectors. Each vector is compared with the
        cells of all maps, so that no size depends on how the maps share the vectors.
        """
        units = normalise(self.maps.values, dim=1)
        vectors = normalise(self.vectors, dim=1)
        cells = units.to(self.maps.values.dtype).flatten(2).mT
        totals = torch.stack([log_sum_exp(vectors, of_one, temperature) for of_one in cells])
        own_total = torch.take_along_dim(totals, self.index[None], dim=0)[0]
        sampled = FeatureMaps(units, self.maps.grid).at_rows(self.index, xy)
        return (vectors * sampled).sum(dim=1) / temperature - own_total


def normalise(features: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """Features divided by their L2 norm along dim: float32, norm 1; zeros stay zeros."""
    return F.normalize(features.float(), dim=dim, eps=1e-8)


def correlation_maps(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    index: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "N h w"]:
    """Cosine between each vector and each cell of the map that it belongs to, before the ReLU
    (`docs/method.md` 4).

    The index is in 0 .. B - 1, and may be None where there is one map. Differentiable.
    """
    if index is None:
        assert len(maps) == 1, f"vectors of several maps need an index: maps {[*maps.shape]}"
        index = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    return correlate(normalise(vectors, dim=-1), normalise(maps, dim=1), index)


def correlations_in(
    vectors: Float[Tensor, "N C"], maps: FeatureMaps, t: int
) -> Float[Tensor, "N h w"]:
    """Cosine between each vector and each cell of frame t, before the ReLU."""
    if maps.units is None:
        return correlation_maps(vectors, maps.values[t : t + 1])
    index = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    return correlate(normalise(vectors, dim=-1), maps.units[t : t + 1], index)


def at_hand(maps: FeatureMaps) -> FeatureMaps:
    """Maps on a CPU that are compared and read soonest, in float32 and with their unit vectors."""
    units = torch.cat([normalise(one, dim=1) for one in maps.values.split(1)])
    return FeatureMaps(maps.values.float(), maps.grid, units)


def locate(
    vectors: Float[Tensor, "N C"],
    maps: Float[Tensor, "B C h w"],
    index: Int[Tensor, " N"],
    filters: Filters | None,
    temperature: float,
    reach: float,
) -> Float[Tensor, "N 2"]:
    """(column, row) of where each vector is found in the map that it belongs to: the match, and the
    soft-argmax in the disc around it (`docs/method.md` 4).

    The index is in 0 .. B - 1. The filters are the refiner's, None for no refiner. Cosines are
    divided by the temperature; `reach` is the disc's radius in cells. Differentiable; the choice of
    the best cell has no gradient.
    """
    if _on_triton(vectors):
        compared = _both_multiplied(vectors, maps, dim=1)
        return locate_triton(*compared, index, filters, temperature, reach)
    units = normalise(vectors, dim=-1), normalise(maps, dim=1)
    return locate_torch(*units, index, filters, temperature, reach)


def best_matches(
    vectors: Float[Tensor, "N C"], features: Float[Tensor, "P C"], count: int
) -> tuple[Int[Tensor, "N K"], Float[Tensor, "N K"]]:
    """The `count` features nearest to each vector by cosine, best first, and these cosines.

    Where there are fewer features, all of them; there must be one at least.
    """
    cells = normalise(features, dim=-1)
    best = [
        (group @ cells.T).float().topk(min(count, len(cells)), dim=1)
        for group in _in_groups(normalise(vectors, dim=-1), len(cells))
    ]
    return torch.cat([b.indices for b in best]), torch.cat([b.values for b in best])


def mutual_nearest(a: Float[Tensor, "P C"], b: Float[Tensor, "Q C"]) -> Neighbours:
    """Pairs that are each other's nearest neighbour by cosine (`docs/method.md` 3).

    -> rows of a, ascending, rows of b and their cosines, all [K].
    """
    if len(a) == 0 or len(b) == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=a.device)
        return nothing, nothing, torch.zeros(0, device=a.device)
    with torch.no_grad():
        if _on_triton(a):
            return mutual_nearest_triton(*_both_multiplied(a, b, dim=-1))
        return mutual_nearest_torch(normalise(a, dim=-1), normalise(b, dim=-1))


def info_nce(
    source: Float[Tensor, "N C"],
    positive: Float[Tensor, "N C"],
    all_cells: Float[Tensor, "P C"],
    temperature: float,
) -> Float[Tensor, " N"]:
    """-log of the softmax of cosine / temperature over all cells of the other frame, at the
    positive (`docs/method.md` 5).

    The positive is not added to the cells. Where the positive is none of them, as between cells,
    the value may fall below 0. Differentiable.
    """
    attraction = (normalise(source, dim=-1) * normalise(positive, dim=-1)).sum(dim=-1)
    return log_sum_exp(source, all_cells, temperature) - attraction / temperature


def log_sum_exp(
    vectors: Float[Tensor, "N C"], cells: Float[Tensor, "P C"], temperature: float
) -> Float[Tensor, " N"]:
    """log of the sum over cells of exp(cosine / temperature). Differentiable."""
    if _on_triton(vectors):
        return log_sum_exp_triton(*_both_multiplied(vectors, cells, dim=-1), temperature)
    return log_sum_exp_torch(normalise(vectors, dim=-1), normalise(cells, dim=-1), temperature)


def makes_maps(features: Float[Tensor, "*shape"]) -> bool:
    """Whether correlation maps are made to compare such features, because no kernel does without.

    The host then waits for how many vectors each map has, so that what is computed can't be
    recorded as a CUDA graph. Raises InputError as the comparisons do, for a choice of
    DINOTRACK_KERNELS that can't be had.
    """
    return not _on_triton(features)


def _on_triton(features: Float[Tensor, "*shape"]) -> bool:
    """Whether kernels, or their twins, compare features."""
    chosen = os.environ.get(KERNELS_VARIABLE, "")
    if chosen not in ("", "torch", "triton"):
        raise InputError(
            f"{KERNELS_VARIABLE}={chosen} is unknown; choose torch or triton, or leave it unset"
        )
    if chosen == "triton" and not (tiles.AVAILABLE and (features.is_cuda or tiles.INTERPRETED)):
        raise InputError(
            f"{KERNELS_VARIABLE}=triton needs Triton and CUDA, but features are on "
            f"{features.device}; leave it unset, or set TRITON_INTERPRET=1 to run the kernels in "
            "Triton's interpreter"
        )
    return chosen == "triton" or (chosen == "" and features.is_cuda and tiles.AVAILABLE)


def _multiplied(features: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """Features of unit length as kernels multiply them: of the type given, or of autocast's.

    Maps are laid out channels last.
    """
    device = features.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else features.dtype
    half = dtype in (torch.float16, torch.bfloat16)
    unit = normalise(features, dim).to(dtype if half else torch.float32)
    return unit.contiguous(memory_format=torch.channels_last) if unit.ndim == 4 else unit


def _both_multiplied(
    vectors: Float[Tensor, "N C"], others: Float[Tensor, "*shape"], dim: int
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "*shape"]]:
    """Vectors and what they are compared with, channels along dim: both in the latter's type."""
    compared = _multiplied(others, dim)
    return _multiplied(vectors, dim=-1).to(compared.dtype), compared


def _in_groups(rows: Float[Tensor, "N C"], others: int) -> Sequence[Float[Tensor, "_ C"]]:
    """Rows in groups small enough to be compared with `others` things each."""
    size = max(1, chunks.COSINES // max(1, others))
    groups: Sequence[Float[Tensor, "_ C"]] = torch.split(rows, size)
    return groups
