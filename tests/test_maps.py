"""Feature maps are read where they lie."""

import pytest
import torch

from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.queries import Queries


@pytest.fixture
def maps() -> FeatureMaps:
    """Three frames whose feature at (x, y) px of frame t is (x, y, t), in half precision."""
    grid = Grid(4, 5, 2.0, 0.5)
    xy = grid.centres().T.view(2, 4, 5)
    frames = [torch.cat((xy, torch.full((1, 4, 5), float(t)))) for t in range(3)]
    return FeatureMaps(torch.stack(frames).half(), grid)


XY = torch.tensor(((0.5, 0.5), (3.25, 4.0), (8.5, 6.5), (1.0, 2.75)))


def truth(xy: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    return torch.cat((xy, frame[..., None].float().expand(*xy.shape[:-1], 1)), dim=-1)


def test_one_frame(maps: FeatureMaps) -> None:
    found = maps.at(2, XY)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, truth(XY, torch.tensor(2)))
    torch.testing.assert_close(maps.at(0, XY - 99), truth(torch.full((4, 2), 0.5), torch.tensor(0)))


def test_each_point_in_its_own_frame(maps: FeatureMaps) -> None:
    frame = torch.tensor((2, 0, 2, 1))
    torch.testing.assert_close(maps.at_queries(Queries(frame, XY)), truth(XY, frame))
    torch.testing.assert_close(maps.at_rows(frame, XY), truth(XY, frame))


def test_along_tracks(maps: FeatureMaps) -> None:
    tracks = torch.stack((XY, XY + 0.25, XY - 0.25), dim=1).clamp(0.5, 6.5)
    frame = torch.arange(3).expand(4, 3)
    torch.testing.assert_close(maps.along(tracks), truth(tracks, frame))


def test_some_frames(maps: FeatureMaps) -> None:
    assert len(maps[1:]) == 2
    assert maps[1:].grid == maps.grid
    torch.testing.assert_close(maps[torch.tensor((2, 0))].at(0, XY), maps.at(2, XY))
    assert (len(maps), maps.channels, maps.device) == (3, 3, torch.device("cpu"))


def test_another_grid(maps: FeatureMaps) -> None:
    finer = Grid(6, 7, 1.0, 1.5)
    resampled = maps.resampled(finer)
    assert resampled.grid == finer
    assert resampled.values.shape == (3, 3, 6, 7)
    cells = finer.centres().T.reshape(2, 6, 7).expand(3, 2, 6, 7)
    torch.testing.assert_close(resampled.values[:, :2], cells)
