"""The networks against the reference's numbers."""

import itertools
from dataclasses import replace

import pytest
import torch

from dinotrack.config import FAST, PAPER, ModelConfig
from dinotrack.correlation import Correlation
from dinotrack.delta_dino import Blur, DeltaDino
from dinotrack.errors import InputError
from dinotrack.geometry import Grid, patch_grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker, load_reference, soft_argmax
from tests.golden import Golden, agree, tensors


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_delta_dino_agrees_with_the_reference(golden: Golden, mode: str) -> None:
    g = golden("delta_dino")
    state, refiner = tensors(g, "state_dict/"), tensors(golden("tracker_head"), "state_dict/")
    tracker = load_reference(state, refiner, PAPER.model).train(mode == "train")
    grid = patch_grid(98, 126, 14, 7, exact=False)
    with torch.no_grad():
        features = torch.from_numpy(g["vit_features"])
        frozen = FeatureMaps(features, grid)
        residual = tracker.refine(torch.from_numpy(g["frames"]), frozen).values - features
    # the sum and difference with features of size 1 cost three digits of residuals of size 0.1
    agree(residual, g[f"residual_{mode}"], 1e-4)


@pytest.mark.parametrize("name", ["tracker_head", "tracker_head_sharp"])
def test_refiner_and_soft_argmax_agree_with_the_reference(golden: Golden, name: str) -> None:
    g = golden(name)
    tracker = load_reference(
        tensors(golden("delta_dino"), "state_dict/"), tensors(g, "state_dict/"), PAPER.model
    )
    volume = torch.from_numpy(g["cost_volume"][:, 0])
    with torch.no_grad():
        log_map = tracker.correspondence(volume)
        points = tracker.locate_in(volume, patch_grid(98, 126, 14, 7, exact=False))
    agree(log_map.exp(), g["heatmap"][:, 0])
    agree(points, g["points_pixels"])


def test_refined_features_agree_with_the_reference(golden: Golden) -> None:
    g = golden("tracker")
    tracker = load_reference(tensors(g, "delta_dino/"), tensors(g, "refiner/"), PAPER.model).eval()
    grid = patch_grid(98, 126, 14, 7, exact=False)
    with torch.no_grad():
        frozen = FeatureMaps(torch.from_numpy(g["vit_features"]), grid)
        refined = tracker.refine(torch.from_numpy(g["video"]), frozen)
        rows = torch.from_numpy(g["source_frame"]).long()
        queries = refined.at_rows(rows, torch.from_numpy(g["query_xy"]))
        target = torch.from_numpy(g["target_frame"]).long()
        found = Correlation(queries, refined, target)
        maps = found.cosines
        points = tracker.locate_in(maps, grid)
        assert torch.equal(tracker.answer(found), points)
        assert torch.equal(tracker.locate(queries, refined, target), points)
    agree(refined.values, g["refined_features"])
    agree(queries, g["query_embeddings"])
    agree(maps, g["correlation_maps"][:, 0])
    agree(points, g["points_pixels"])


def test_blur_is_a_plain_convolution() -> None:
    x = torch.randn(1, 2, 7, 10)
    taps = torch.tensor([1.0, 3, 3, 1]) / 8
    kernel = torch.outer(taps, taps).expand(2, 1, 4, 4)
    padded = torch.nn.functional.pad(x, (1, 2, 1, 2), mode="reflect")
    expected = torch.nn.functional.conv2d(padded, kernel, stride=2, groups=2)
    torch.testing.assert_close(Blur()(x), expected)


@pytest.mark.parametrize("config", [FAST.model, ModelConfig()], ids=["fast", "blur"])
@pytest.mark.parametrize("size", [(64, 96), (72, 48)])
def test_the_cnn_grid_tells_where_cells_look(config: ModelConfig, size: tuple[int, int]) -> None:
    """With equal positive weights, the centre of mass of a cell's gradient is the cell's centre."""
    config = replace(config, norm="group", blocks=0, widths=config.widths[:2], dilation=1)
    net = DeltaDino(config, 8)
    for layer in net.layers:
        if isinstance(layer, torch.nn.GroupNorm):  # normalisation mixes all places
            layer.forward = lambda x: x
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.constant_(layer.weight, 1.0)
    grid = net.grid(*size)
    row, col = grid.rows // 2, grid.cols // 2
    frame = torch.ones(1, 3, *size, requires_grad=True)
    net(frame)[0, :, row, col].sum().backward()
    weight = frame.grad[0].sum(0)
    ys, xs = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    centre = torch.stack(((weight * xs).sum(), (weight * ys).sum())) / weight.sum()
    torch.testing.assert_close(
        centre, grid.to_pixels(torch.tensor((col, row), dtype=torch.float32))
    )


def test_soft_argmax_stays_in_the_disc() -> None:
    grid = Grid(9, 9, 4.0, 1.5)
    correlation = torch.zeros(1, 9, 9)
    correlation[0, 2, 3] = 1
    heat = torch.full((1, 9, 9), 0.0)
    heat[0, 8, 8] = 1.0
    expected = grid.to_pixels(torch.tensor([[3.0, 2.0]]))
    torch.testing.assert_close(
        soft_argmax(correlation, heat, grid, ModelConfig(radius=5.0)), expected
    )


@pytest.mark.parametrize("size", [(9, 12), (3, 20), (1, 1)])
def test_refining_the_disc_alone_gives_the_same_answer(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    grid = Grid(*size, 4.0, 1.5)
    correlation = torch.rand(40, *size) * 2 - 1
    whole = Tracker(replace(FAST.model, whole_map=True, sharp_start=False), None)
    torch.nn.init.uniform_(
        whole.refiner.cnn_refiner[0].weight, 0.1, 1
    )  # no slice whose sum is near zero
    torch.nn.init.uniform_(whole.refiner.cnn_refiner[2].weight, 0.1, 1)
    part = Tracker(FAST.model, None)
    part.load_state_dict(whole.state_dict())
    torch.testing.assert_close(
        part.locate_in(correlation, grid), whole.locate_in(correlation, grid), atol=1e-3, rtol=0
    )


def test_a_fresh_tracker_leaves_the_features_alone() -> None:
    tracker = Tracker(replace(PAPER.model, widths=(4, 4, 4)), dims=6).eval()
    grid = patch_grid(56, 70, 14, 7)
    features = torch.randn(2, 6, grid.rows, grid.cols)
    refined = tracker.refine(torch.rand(2, 3, 56, 70), FeatureMaps(features, grid))
    torch.testing.assert_close(refined.values, features)


def test_a_foreign_checkpoint_is_named() -> None:
    with pytest.raises(InputError, match="no checkpoint of the DINO-Tracker reference"):
        load_reference({"a": torch.zeros(1)}, {"b": torch.zeros(1)}, PAPER.model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_beside_the_cnn_the_vit_is_read_cell_by_cell(dtype: torch.dtype) -> None:
    """Each cell of the CNN has what the ViT's map says at its centre, at the weight's length."""
    torch.manual_seed(1)
    config = replace(FAST.model, widths=(4, 4), blocks=0, dims=6, vit_weight=0.3)
    tracker = Tracker(config, 5).eval()
    vit = patch_grid(40, 52, 14, 7)
    features = torch.randn(2, 5, vit.rows, vit.cols).to(dtype)
    features[1, :, 0, 0] = 0
    frames = torch.rand(2, 3, 40, 52)
    with torch.no_grad():
        refined = tracker.refine(frames, FeatureMaps(features, vit))
        alone = torch.nn.functional.normalize(tracker.delta_dino(frames), dim=1)
    grid = tracker.grid((40, 52), vit)
    found = refined.values
    assert refined.grid == grid
    assert found.shape == (2, 11, grid.rows, grid.cols)
    assert grid == tracker.delta_dino.grid(40, 52)
    for b, row, col in itertools.product(range(2), range(grid.rows), range(grid.cols)):
        xy = grid.origin + grid.stride * torch.tensor((float(col), float(row)))
        there = vit.sample(features[b : b + 1], xy[None, None])[0, 0]
        expected = 0.3 * there / there.norm().clamp(min=1e-8)
        torch.testing.assert_close(found[b, :5, row, col], expected, rtol=0, atol=1e-6)
    assert torch.equal(found[:, 5:], alone)
