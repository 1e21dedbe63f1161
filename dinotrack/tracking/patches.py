"""What a query looks like, and where exactly that is: inverse compositional Lucas-Kanade.

Flow that is followed from frame to frame adds up its errors. So the small patch of grey values
around the query is compared with the frame that flow has reached, and the position is corrected to
where the two agree. On its way the patch is turned and stretched as flow around the point says.
Gradients are taken in the query's own patch, so that they are computed only once, and grey values
are compared with mean 0 and deviation 1, so that the light may change.

Source: S. Baker and I. Matthews, "Lucas-Kanade 20 Years On: A Unifying Framework", IJCV 2004;
docs/method.md 8. All positions are px of the working frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dinotrack.config import PatchConfig
from dinotrack.flow import Flow
from dinotrack.geometry import pixel_grid
from dinotrack.queries import Queries
from dinotrack.tracking.matrices import determinant, inverse, singular_values

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue look (ITU-R BT.601)."""


@dataclass(frozen=True)
class Grey:
    """The frames of a video in grey.

    Each is made when it is asked for, which takes about a millisecond, so that no second copy of
    the video is held, unless somebody wants it.
    """

    frames: UInt8[Tensor, "T 3 H W"]
    made: Float[Tensor, "T H W"] | None = None
    """All of them, where they are held."""

    def at_hand(self) -> Grey:
        """The same frames, all of which are held."""
        return Grey(self.frames, torch.stack([self[t] for t in range(len(self.frames))]))

    def __getitem__(self, t: int) -> Float[Tensor, "H W"]:
        """Frame t in [0, 1]."""
        if self.made is not None:
            return self.made[t]
        weights = torch.tensor(LUMA, device=self.frames.device) / 255
        return torch.einsum("chw,c->hw", self.frames[t].float(), weights)


@dataclass(frozen=True)
class Patches:
    """What N queries look like, and the pictures in which they can be located."""

    pictures: Grey
    config: PatchConfig
    offsets: Float[Tensor, "P 2"]
    """The places of a patch, px from its query."""
    values: Float[Tensor, "N P"]
    """Grey values there, with mean 0 and deviation 1."""
    solve: Float[Tensor, "N 2 P"]
    """Turns differences of such values into the shift that explains them best, px."""
    textured: Bool[Tensor, " N"]
    """Whether a patch shows enough to be located at all."""

    def __getitem__(self, rows: Int[Tensor, " M"]) -> Patches:
        """The patches of some queries."""
        return Patches(
            self.pictures,
            self.config,
            self.offsets,
            self.values[rows],
            self.solve[rows],
            self.textured[rows],
        )


class Aligned(NamedTuple):
    """Where N patches were located."""

    xy: Float[Tensor, "N 2"]
    """Px."""
    likeness: Float[Tensor, " N"]
    """How much each place looks like its query: normalised cross-correlation in [-1, 1]."""


class Normalised(NamedTuple):
    """Values of N patches, made comparable."""

    values: Float[Tensor, "N P"]
    """With mean 0 and deviation 1."""
    deviation: Float[Tensor, "N 1"]
    """What it was before."""


def make_patches(pictures: Grey, queries: Queries, config: PatchConfig) -> Patches:
    """The patches around queries, each in the query's own frame."""
    offsets = _square(config.reach, queries.xy.device)
    directions = ((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    steps = config.half * torch.tensor(directions, device=offsets.device)
    places = (offsets + steps[:, None]).flatten(0, 1)
    sampled = _sample_own(pictures, queries, places).unflatten(1, (len(steps), -1))
    middle, right, left, below, above = sampled.unbind(1)

    patch = _normalised(middle)
    difference = torch.stack((right - left, below - above), dim=-1)
    gradient = difference / (2 * config.half)
    moment = torch.einsum("npi,npj->nij", gradient, gradient) / len(offsets)
    contrasting = patch.deviation[:, 0] > config.least_contrast
    textured = contrasting & (singular_values(moment).least > config.least_gradient)

    identity = torch.eye(2, device=offsets.device)
    invertible = torch.where(textured[:, None, None], moment, identity)
    solve = torch.einsum("nij,npj->nip", inverse(invertible) / len(offsets), gradient)
    in_units = solve * patch.deviation[:, None]
    return Patches(pictures, config, offsets, patch.values, in_units, textured)


def carry(
    patches: Patches,
    flow: Flow,
    xy: Float[Tensor, "N 2"],
    shape: Float[Tensor, "N 2 2"],
) -> Float[Tensor, "N 2 2"]:
    """How patches at xy are turned and stretched after a flow, as a linear map of their offsets.

    shape is how they are turned and stretched before. The answer is the map that fits the flow of
    all their places best. Where it would flip a patch or stretch it beyond config.stretch, the
    patch keeps its shape, because parts of it have moved apart.
    """
    offsets = patches.offsets
    places = xy[:, None] + offsets @ shape.transpose(1, 2)
    moved = flow.move(places.reshape(-1, 2)).view_as(places)
    moved = moved - moved.mean(dim=1, keepdim=True)
    fitted = torch.einsum("npi,pj->nij", moved, offsets) / offsets[:, 0].square().sum()

    least_stretch, most_stretch = patches.config.stretch
    stretched = singular_values(fitted)
    sound = (stretched.least > least_stretch) & (stretched.most < most_stretch)
    sound = sound & (determinant(fitted) > 0)
    return torch.where(sound[:, None, None], fitted, shape)


def align(
    patches: Patches,
    t: int,
    xy: Float[Tensor, "N 2"],
    shape: Float[Tensor, "N 2 2"],
) -> Aligned:
    """Where frame t looks like the patches, if they are about at xy, and turned and stretched so.

    Each round compares the grey values and moves by the shift that explains their differences.
    """
    picture = patches.pictures[t]
    pattern = patches.offsets @ shape.transpose(1, 2)
    for _ in range(patches.config.rounds):
        seen = _normalised(_sample(picture, xy[:, None] + pattern)).values
        shift = torch.einsum("nip,np->ni", patches.solve, seen - patches.values)
        xy = xy - torch.einsum("nij,nj->ni", shape, shift)
    seen = _normalised(_sample(picture, xy[:, None] + pattern)).values
    return Aligned(xy, (seen * patches.values).mean(dim=1))


def _square(reach: int, device: torch.device) -> Float[Tensor, "P 2"]:
    """The pixels of a square of 2 reach + 1 px a side, row by row, seen from its centre."""
    axis = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    return torch.stack((x, y), dim=-1).reshape(-1, 2)


def _sample_own(
    pictures: Grey, queries: Queries, offsets: Float[Tensor, "P 2"]
) -> Float[Tensor, "N P"]:
    """Grey values at places around each query, in its own frame."""
    values = queries.xy.new_zeros((len(queries), len(offsets)))
    for t in sorted(set(queries.frame.tolist())):
        rows = queries.frame == t
        values[rows] = _sample(pictures[t], queries.xy[rows][:, None] + offsets)
    return values


def _sample(picture: Float[Tensor, "H W"], places: Float[Tensor, "N P 2"]) -> Float[Tensor, "N P"]:
    """Values of a picture at places between its pixels, bilinear."""
    grid = pixel_grid(*picture.shape)
    values = grid.sample(picture[None, None], places.reshape(1, -1, 2))
    return values[0, :, 0].view(places.shape[:2])


def _normalised(values: Float[Tensor, "N P"]) -> Normalised:
    centred = values - values.mean(dim=1, keepdim=True)
    deviation = centred.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
    return Normalised(centred / deviation, deviation)
