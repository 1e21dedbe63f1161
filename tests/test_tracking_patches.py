"""Patches are found where they are: known shifts, turns and flows."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotrack.config import PatchConfig, RefindingConfig
from dinotrack.flow import Flow
from dinotrack.geometry import pixel_grid
from dinotrack.queries import Queries
from dinotrack.tracking import matrices
from dinotrack.tracking.patches import Grey, Patches, align, carry, make_patches
from dinotrack.tracking.refinding import search
from tests.moving import queries_at

HEIGHT, WIDTH = 60, 80
CONFIG = PatchConfig(reach=4)


def picture(seed: int = 0, blur: int = 5) -> Tensor:
    noise = torch.rand((1, 1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(F.avg_pool2d(noise, blur, 1, blur // 2), 3, 1, 1)[0, 0]


def as_frames(*pictures: Tensor) -> Grey:
    """Pictures [H, W] in [0, 1] as frames of a video."""
    grey = (255 * torch.stack(pictures)).round().clamp(0, 255).byte()
    return Grey(grey[:, None].repeat(1, 3, 1, 1))


def patches_of(pictures: Grey, queries: Queries) -> Patches:
    return make_patches(pictures, queries, CONFIG)


def within(reach: float) -> RefindingConfig:
    return RefindingConfig(search=reach)


def warped(image: Tensor, shape: Tensor, centre: Tensor, shift: Tensor) -> Tensor:
    """The image mapped by x -> shape (x - centre) + centre + shift."""
    grid = pixel_grid(HEIGHT, WIDTH)
    source = (grid.centres() - centre - shift) @ torch.linalg.inv(shape).T + centre
    return grid.sample(image[None, None], source[None])[0, :, 0].reshape(HEIGHT, WIDTH)


def turn(degrees: float, scale: float) -> Tensor:
    angle = math.radians(degrees)
    return scale * torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )


@pytest.mark.parametrize(("degrees", "scale"), [(0.0, 1.0), (30.0, 1.0), (-70.0, 1.3), (10.0, 0.8)])
@pytest.mark.parametrize("light", [(1.0, 0.0), (0.5, 0.3)])
def test_a_patch_is_found_to_a_tenth_of_a_pixel(
    degrees: float, scale: float, light: tuple[float, float]
) -> None:
    first, centre, shift = picture(), torch.tensor([40.0, 30.0]), torch.tensor([0.8, -0.6])
    shape = turn(degrees, scale)
    second = light[0] * warped(first, shape, centre, shift) + light[1]
    patches = patches_of(as_frames(first, second), queries_at((0, 40, 30)))
    found, likeness = align(patches, 1, centre[None], shape[None])
    assert patches.textured.all()
    assert (found[0] - centre - shift).norm() < 0.1
    assert likeness[0] > 0.95


@pytest.mark.parametrize(
    ("degrees", "scale"), [(0.0, 1.0), (25.0, 1.0), (-20.0, 1.2), (18.0, 0.85)]
)
def test_a_patch_that_has_changed_is_found(degrees: float, scale: float) -> None:
    first, centre = picture(), torch.tensor([40.0, 30.0])
    second = warped(first, turn(degrees, scale), centre, torch.tensor([0.8, -0.6]))
    patches = patches_of(as_frames(first, second), queries_at((0, 40, 30), (0, 40, 30)))
    start = torch.stack((centre, centre + torch.tensor([1.5, 0.0])))
    same = torch.eye(2).expand(2, 2, 2)
    found, likeness = search(patches, 1, start, same, within(4.0))
    assert (found - centre - torch.tensor([0.8, -0.6])).norm(dim=1).max() < 0.4
    assert (likeness > 0.85).all()
    assert (likeness >= align(patches, 1, start, same).likeness).all()


def test_what_is_found_too_far_away_is_not_found() -> None:
    first = picture()
    second = warped(first, torch.eye(2), torch.zeros(2), torch.tensor([2.0, 0.0]))
    patches = patches_of(as_frames(first, second), queries_at((0, 40, 30)))
    start, same = torch.tensor([[40.0, 30.0]]), torch.eye(2)[None]
    found, _ = search(patches, 1, start, same, within(3.0))
    assert (found - start).norm() == pytest.approx(2.0, abs=0.1)
    found, likeness = search(patches, 1, start, same, within(0.01))
    assert torch.equal(found, start)
    assert likeness.tolist() == [-1.0]


def test_another_patch_is_not_alike() -> None:
    places = queries_at(*((0, x, y) for x in range(15, 70, 6) for y in range(15, 50, 6)))
    patches = patches_of(as_frames(picture(0, blur=1), picture(1, blur=1)), places)
    same = torch.eye(2).expand(len(places), 2, 2)
    likeness = align(patches, 1, places.xy, same).likeness
    assert (likeness < 0.8).float().mean() > 0.9
    assert likeness.mean() < 0.5


def test_flat_patches_and_edges_can_not_be_located() -> None:
    ramp = torch.arange(WIDTH).expand(HEIGHT, WIDTH) / WIDTH
    for image in (torch.full((HEIGHT, WIDTH), 0.4), ramp):
        patches = patches_of(as_frames(image), queries_at((0, 40, 30)))
        assert not patches.textured.any()
        found, likeness = align(patches, 0, torch.tensor([[40.0, 30.0]]), torch.eye(2)[None])
        assert torch.isfinite(found).all()
        assert torch.isfinite(likeness).all()


def test_the_patches_of_some_queries_are_theirs() -> None:
    pictures = as_frames(picture(0), picture(1))
    patches = patches_of(pictures, queries_at((0, 40, 30), (1, 20, 22), (1, 50, 41)))
    some = patches[torch.tensor([2, 0])]
    expected = patches_of(pictures, queries_at((1, 50, 41), (0, 40, 30)))
    torch.testing.assert_close(some.values, expected.values)
    torch.testing.assert_close(some.solve, expected.solve)
    assert torch.equal(some.textured, expected.textured)


def test_a_linear_flow_is_carried_exactly() -> None:
    linear, centre = turn(12.0, 1.1), torch.tensor([40.0, 30.0])
    places = pixel_grid(HEIGHT, WIDTH).centres()
    moved = (places - centre) @ linear.T + centre + torch.tensor([2.0, 1.0])
    flow = Flow((moved - places).T.reshape(2, HEIGHT, WIDTH))
    patches = patches_of(as_frames(picture()), queries_at((0, 38, 31)))
    before = turn(-5.0, 0.9)[None]
    after = carry(patches, flow, torch.tensor([[38.0, 31.0]]), before)
    torch.testing.assert_close(after, linear @ before, atol=1e-3, rtol=0)


def test_a_flow_that_tears_a_patch_leaves_its_shape() -> None:
    displacement = torch.zeros(2, HEIGHT, WIDTH)
    displacement[0, :, 40:] = 30.0
    patches = patches_of(as_frames(picture()), queries_at((0, 39.5, 31)))
    after = carry(patches, Flow(displacement), torch.tensor([[39.5, 31.0]]), torch.eye(2)[None])
    torch.testing.assert_close(after, torch.eye(2)[None])


def test_grey_is_luma() -> None:
    frames = torch.zeros((1, 3, 1, 4), dtype=torch.uint8)
    for column in range(3):
        frames[0, column, 0, column] = 255
    frames[0, :, 0, 3] = 255
    expected = torch.tensor([[0.299, 0.587, 0.114, 1.0]])
    torch.testing.assert_close(Grey(frames)[0], expected)


def test_two_by_two_matrices_as_linear_algebra_has_them() -> None:
    random = torch.randn((200, 2, 2), generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(random)
    least, most = matrices.singular_values(random)
    torch.testing.assert_close(torch.stack((most, least), dim=1), values, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(matrices.determinant(random), torch.linalg.det(random))
    identity = (matrices.inverse(random) @ random)[values[:, 1] > 0.1]
    torch.testing.assert_close(identity, torch.eye(2).expand_as(identity), atol=1e-4, rtol=0)
