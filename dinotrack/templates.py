"""What a query looks like, and where exactly that is: inverse compositional Lucas-Kanade (Baker and
Matthews, 2004).

Flow that is followed from frame to frame adds up its errors. The query's own small patch, carried
along and turned and stretched as the flow around it says, is compared with every frame it reaches,
so errors don't add up while the patch looks the same. All positions are working px.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dinotrack.flow import Flow
from dinotrack.geometry import pixel_grid

ROUNDS = 3  # steps of Gauss-Newton
HALF = 0.5  # px: half the baseline of the gradients
LEAST_CONTRAST = 0.004  # deviation of a patch's grey levels, 0 to 1, from which it shows anything
LEAST_SLOPE = 1e-5  # smaller eigenvalue of a patch's mean squared gradient, from which it can't slide along an edge
STRETCH = (0.5, 2.0)  # how much a patch may shrink or grow in any direction
ZOOMS = (0.8, 1.0, 1.25)  # how a patch may have changed while it wasn't seen
TURNS = (-0.4, 0.0, 0.4)  # radians


@dataclass(frozen=True)
class Templates:
    """Patches around N queries, of P places each."""

    offsets: Tensor
    """[P, 2] px from the query."""
    values: Tensor
    """[N, P] grey, mean 0 and deviation 1."""
    solve: Tensor
    """[N, 2, P]: differences of values -> the shift that explains them best, px."""
    textured: Tensor
    """bool [N]: whether the patch can be located at all."""

    def keep_where(self, rows: Tensor) -> "Templates":
        """Those of some queries, long [M] or bool [N]."""
        return Templates(self.offsets, self.values[rows], self.solve[rows], self.textured[rows])


@dataclass(frozen=True)
class Grey:
    """Grey frames, made when they are asked for: that takes a millisecond, and holding them a fifth
    of a megabyte."""

    frames: Tensor
    """uint8 [T, 3, H, W]."""

    def __getitem__(self, t: int) -> Tensor:
        """Luma of frame t, float32 [H, W] in [0, 1] (ITU-R BT.601)."""
        weights = torch.tensor((0.299, 0.587, 0.114), device=self.frames.device) / 255
        return torch.einsum("chw,c->hw", self.frames[t].float(), weights)


def make_templates(pictures: Tensor | Grey, queries: Tensor, reach: int) -> Templates:
    """The patches of 2 reach + 1 px a side around queries [N, 3] (t, x, y) in pictures [T, H,
    W]."""
    axis = torch.arange(-reach, reach + 1, device=queries.device, dtype=torch.float32)
    offsets = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
    steps = HALF * torch.tensor(
        ((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)), device=queries.device
    )
    places = (offsets + steps[:, None]).flatten(0, 1)
    read = (
        _read_own(pictures, queries, places).unflatten(1, (len(steps), -1)).unbind(1)
    )  # [N, P] each
    values, spread = _normalise(read[0])
    slopes = torch.stack((read[1] - read[2], read[3] - read[4]), dim=-1) / (2 * HALF)  # [N, P, 2]
    moment = torch.einsum("npi,npj->nij", slopes, slopes) / len(offsets)
    least, _ = _singular_values(moment)
    textured = (spread[:, 0] > LEAST_CONTRAST) & (least > LEAST_SLOPE)
    identity = torch.eye(2, device=queries.device)
    inverse = _inverse(torch.where(textured[:, None, None], moment, identity)) / len(offsets)
    return Templates(
        offsets, values, torch.einsum("nij,npj->nip", inverse, slopes) * spread[:, None], textured
    )


def carry(flow: Flow, xy: Tensor, shape: Tensor, offsets: Tensor) -> Tensor:
    """How patches at xy [N, 2], each shape [N, 2, 2] away from the query's, are turned and
    stretched by a flow.

    -> [N, 2, 2]: the linear map that fits the flow of their places best; as it was where that is
    hardly a map any more.
    """
    places = xy[:, None] + offsets @ shape.transpose(1, 2)
    moved = flow.move(places.reshape(-1, 2)).view_as(places)
    moved = moved - moved.mean(dim=1, keepdim=True)
    fitted = torch.einsum("npi,pj->nij", moved, offsets) / offsets[:, 0].square().sum()
    least, most = _singular_values(fitted)
    sound = (least > STRETCH[0]) & (most < STRETCH[1]) & (_determinant(fitted) > 0)
    return torch.where(sound[:, None, None], fitted, shape)


def align(
    templates: Templates, picture: Tensor, xy: Tensor, shape: Tensor
) -> tuple[Tensor, Tensor]:
    """Where near xy [N, 2] a picture [H, W] looks as the templates do, these mapped by shape [N, 2,
    2].

    -> xy [N, 2], and how alike it is there: normalised cross-correlation [N] in [-1, 1].
    """
    pattern = templates.offsets @ shape.transpose(1, 2)
    for _ in range(ROUNDS):
        seen, _ = _normalise(_read(picture, xy[:, None] + pattern))
        shift = torch.einsum("nip,np->ni", templates.solve, seen - templates.values)
        xy = xy - torch.einsum("nij,nj->ni", shape, shift)
    seen, _ = _normalise(_read(picture, xy[:, None] + pattern))
    return xy, (seen * templates.values).mean(dim=1)


def search(
    templates: Templates, picture: Tensor, xy: Tensor, shape: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """`align` for patches that haven't been seen for a while: the best of several ways they may
    have changed meanwhile.

    -> xy [N, 2], at most `reach` px off, and how alike it is there [N]; -1 where no way ended so
    near.
    """
    turned = [
        (
            zoom * math.cos(angle),
            -zoom * math.sin(angle),
            zoom * math.sin(angle),
            zoom * math.cos(angle),
        )
        for zoom, angle in itertools.product(ZOOMS, TURNS)
    ]
    changes = torch.tensor(turned, dtype=xy.dtype, device=xy.device).view(-1, 1, 2, 2)
    count, ways = len(xy), len(changes)
    each, starts = torch.arange(count, device=xy.device), xy.repeat(ways, 1)
    found, alike = align(
        templates.keep_where(each.repeat(ways)), picture, starts, (shape @ changes).flatten(0, 1)
    )
    near = (found - starts).norm(dim=-1) < reach
    alike, way = torch.where(near, alike, -1.0).view(ways, count).max(dim=0)
    best = found.view(ways, count, 2)[way, each]
    return torch.where((alike > -1)[:, None], best, xy), alike


def _read_own(pictures: Tensor | Grey, queries: Tensor, offsets: Tensor) -> Tensor:
    """Each query's own picture at the places around it: [N, P]."""
    out = queries.new_zeros((len(queries), len(offsets)))
    frames = queries[:, 0].long()
    for t in sorted(set(frames.tolist())):
        rows = frames == t
        out[rows] = _read(pictures[t], queries[rows, None, 1:] + offsets)
    return out


def _read(picture: Tensor, places: Tensor) -> Tensor:
    """Bilinear values of [H, W] at places [N, P, 2]: [N, P]."""
    grid = pixel_grid(*picture.shape)
    return grid.sample(picture[None, None], places.reshape(1, -1, 2))[0, :, 0].view(
        places.shape[:2]
    )


def _determinant(matrices: Tensor) -> Tensor:
    """[N, 2, 2] -> [N].

    Written out, as the next two are: MPS lacks some, and small matrices are slow elsewhere.
    """
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _singular_values(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """The smaller and the larger one of [N, 2, 2], [N] each: their product is |det|, their squares
    the norm's."""
    product, squares = _determinant(matrices).abs(), matrices.square().sum(dim=(1, 2))
    total, between = (squares + 2 * product).sqrt(), (squares - 2 * product).clamp(min=0).sqrt()
    return (total - between) / 2, (total + between) / 2


def _inverse(matrices: Tensor) -> Tensor:
    """Of [N, 2, 2] with a determinant other than 0."""
    (a, b), (c, d) = matrices[:, 0].unbind(-1), matrices[:, 1].unbind(-1)
    adjugate = torch.stack((torch.stack((d, -b), dim=-1), torch.stack((-c, a), dim=-1)), dim=1)
    return adjugate / _determinant(matrices)[:, None, None]


def _normalise(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values [N, P] with mean 0 and deviation 1, and the deviation before [N, 1]."""
    values = values - values.mean(dim=1, keepdim=True)
    spread = values.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
    return values / spread, spread
