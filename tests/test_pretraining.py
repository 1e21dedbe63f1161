"""The project's own DINO trainer: pictures, correspondences, losses, and a run of a few steps."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from dinotrack.errors import InputError
from dinotrack.geometry import patch_grid
from dinotrack.maps import FeatureMaps
from dinotrack.pretraining import losses, matter, scenes, things, trainer, views
from dinotrack.pretraining.__main__ import main
from dinotrack.pretraining.correspondences import known_correspondences
from dinotrack.pretraining.network import (
    ARCHITECTURE,
    Network,
    sinusoids,
    vit_facts,
    window_positions,
)
from dinotrack.pretraining.recipes import RECIPES, PretrainConfig
from dinotrack.synthesis.layers import Layer, Motion
from dinotrack.synthesis.scene import Scene
from dinotrack.tensor_files import load_tensors
from dinotrack.vits import TimmBackbone, load_vit
from tests.same import same

TINY = PretrainConfig(
    dim=32,
    depth=2,
    heads=2,
    native=64,
    materials=6,
    worlds=2,
    world_side=128,
    refresh=40,
    thing_radius=(8.0, 24.0),
    layers=3,
    shapes=((48, 3), (64, 2)),
    local_side=24,
    points=24,
    prototypes=16,
    hidden=32,
    bottleneck=16,
    steps=4,
)
CPU = torch.device("cpu")
MAX_BYTES = 16e6


@pytest.fixture(scope="module")
def pool() -> scenes.Pool:
    return scenes.Pool(TINY, 0)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> PretrainConfig:
    """The recipe "cpu" is the tiny one."""
    monkeypatch.setitem(RECIPES, "cpu", TINY)
    return TINY


# Pictures


@pytest.mark.parametrize("kind", matter.MATTERS)
def test_every_matter_is_a_colour_picture(kind: str) -> None:
    rng = np.random.default_rng(0)
    image = matter.MATTERS[kind](40, matter.colours(6, rng), rng)
    assert image.shape == (40, 40, 3)
    assert np.isfinite(image).all()
    assert np.ptp(image) > 0


@pytest.mark.parametrize("kind", things.OUTLINES)
def test_every_outline_fills_something(kind: str) -> None:
    _, draw = things.OUTLINES[kind]
    alpha = draw(20, np.random.default_rng(1))
    assert alpha.shape == (41, 41)
    assert alpha.dtype == np.uint8
    assert (alpha > 127).any()


def test_things_have_all_outlines_there_are() -> None:
    assert sum(share for share, _ in things.OUTLINES.values()) == pytest.approx(1)


def test_outlines_leave_room_and_fill_something() -> None:
    rng = np.random.default_rng(1)
    alphas = [things.outline(20, rng) for _ in range(40)]
    assert all(a.shape == (41, 41) and a.dtype == np.uint8 for a in alphas)
    assert all((a > 127).any() for a in alphas)
    assert np.mean([a[[0, -1]].max() for a in alphas]) < 127


def test_the_pool_is_the_same_whatever_was_asked_before(pool: scenes.Pool) -> None:
    fresh = scenes.Pool(TINY, 0)
    for step in (0, 7, 90):
        pool.thing(3, step)
        pool.world(1, step)
    assert np.array_equal(pool.thing(3, 90), fresh.thing(3, 90))
    assert np.array_equal(pool.world(1, 90), fresh.world(1, 90))


def test_the_pool_is_painted_anew_in_turns() -> None:
    pool = scenes.Pool(TINY, 0)
    first = [pool.thing(i, 0) for i in range(TINY.materials)]
    changed = [not np.array_equal(a, pool.thing(i, TINY.refresh // 2)) for i, a in enumerate(first)]
    assert 0 < sum(changed) < TINY.materials
    assert not any(np.array_equal(a, pool.thing(i, TINY.refresh)) for i, a in enumerate(first))


# Correspondences


def coordinates(side: int) -> npt.NDArray[Any]:
    """A picture whose colour tells where it is, uint8 [side, side, 4]: red x, green y, one grey
    level a px."""
    y, x = np.mgrid[:side, :side]
    return np.dstack((x, y, np.zeros_like(x), np.full_like(x, 255))).astype(np.uint8)


def coordinate_scene(pool: scenes.Pool, seed: int) -> Scene:
    """A scene of the pool whose layers all tell where they are; shadows keep their shade but not
    their blackness."""
    scene = scenes.pair_scene(pool, TINY, 64, 0, np.random.default_rng(seed))
    layers = []
    for index, layer in enumerate(scene.layers):
        rgba = coordinates(len(layer.rgba))
        rgba[..., 2], rgba[..., 3] = 40 * index, layer.rgba[..., 3]
        layers.append(Layer(rgba, layer.motion, layer.wave))
    opaque = tuple(n for n in layers if n.rgba[..., 3].max() > scenes.SHADOW)
    return Scene(scene.size, opaque, scene.camera)


@pytest.mark.parametrize("seed", range(6))
def test_a_correspondence_shows_the_same_place_in_both_views(pool: scenes.Pool, seed: int) -> None:
    scene = coordinate_scene(pool, seed)
    (first, top), (second, other) = scene.render(0), scene.render(1)
    xy, valid = known_correspondences(scene, (top, other), 200, np.random.default_rng(seed))
    assert valid.mean() > 0.3
    clear = [cv2.erode(t, np.ones((7, 7))) == cv2.dilate(t, np.ones((7, 7))) for t in (top, other)]
    x, y = np.rint(xy[valid]).astype(int).transpose(2, 1, 0)  # [view, point]
    inner = clear[0][y[0], x[0]] & clear[1][y[1], x[1]]  # off the outlines, where colours mix
    assert inner.mean() > 0.2
    grid = patch_grid(64, 64, 1, 1)
    maps = torch.from_numpy(np.stack((first, second))).permute(0, 3, 1, 2).float()
    seen = grid.sample(maps, torch.from_numpy(xy[valid][inner]).transpose(0, 1))
    assert (
        seen[0] - seen[1]
    ).abs().max() < 1.5  # grey levels, which are px; bytes are rounded in both views


def test_a_correspondence_is_hidden_where_something_lies_before_it() -> None:
    still = np.zeros(4)
    rest = Motion(still, still, still, still)
    ground = Layer(
        coordinates(160), Motion(np.array((31.5, 31.5, 0, 0)), still, still, still), still
    )
    card = np.full((21, 21, 4), 255, np.uint8)
    moving = Motion(
        np.array((200.0, 32, 0, 0)), np.array((-168.0, 0, 0, 0)), np.full(4, 0.25), still
    )
    scene = Scene((64, 64), (ground, Layer(card, moving, still)), rest)
    tops = scene.render(0)[1], scene.render(1)[1]
    xy, valid = known_correspondences(scene, tops, 4000, np.random.default_rng(0))
    assert np.allclose(xy[:, 0], xy[:, 1], atol=1e-4)
    covered = (np.abs(xy[:, 0] - 32) < 9.5).all(-1)
    assert not valid[covered].any()
    assert valid[(np.abs(xy[:, 0] - 32) > 11.5).any(-1)].all()


def test_views_of_a_scene_differ_around_things(pool: scenes.Pool) -> None:
    scene = scenes.pair_scene(pool, TINY, 64, 0, np.random.default_rng(2))
    moved = [np.linalg.norm(layer.motion.amplitude[:2]) for layer in scene.layers[1:]]
    assert min(moved) > 0
    assert len(set(moved)) > 1 or len(moved) == 1


# Views


def test_a_batch_has_its_shapes_and_range(pool: scenes.Pool) -> None:
    batch = views.make_batch(pool, 0, 0)
    assert batch.views.shape == (6, 3, 48, 48)
    assert batch.crops.shape == (6, 3, 24, 24)
    assert batch.points.shape == (3, 24, 2, 2)
    assert batch.valid.shape == (3, 24)
    assert batch.masks.shape == (6, 36)
    assert batch.windows.shape == batch.crop_windows.shape == (6, 4)
    for values in (batch.views, batch.crops):
        assert 0 <= values.min() < values.max() <= 1
    corner, size = batch.windows.split(2, 1)
    assert (corner >= 0).all()
    assert (corner + size <= 1 + 1e-6).all()


def test_a_batch_depends_on_seed_and_step_alone(pool: scenes.Pool) -> None:
    batch = views.make_batch(pool, 3, 0)
    assert same(batch, views.make_batch(scenes.Pool(TINY, 0), 3, 0))
    assert not torch.equal(batch.views, views.make_batch(scenes.Pool(TINY, 1), 3, 1).views)
    assert not torch.equal(batch.views, views.make_batch(pool, 1, 0).views)


def test_no_strength_changes_no_colour_much() -> None:
    pictures = torch.rand(4, 3, 16, 16) * 0.8 + 0.1
    out = views.photometric(pictures, 0.0, torch.Generator().manual_seed(0))
    assert (out - pictures).abs().max() < 1e-4


def test_a_blur_keeps_a_flat_picture() -> None:
    flat = torch.full((12, 3, 20, 20), 0.4)
    assert torch.allclose(
        views.blurred(flat, 1.0, torch.Generator().manual_seed(0)), flat, atol=1e-5
    )


def test_a_turn_of_hue_keeps_grey_and_length() -> None:
    turn = views.hue_turn(torch.tensor([0.0, 0.7, 2 * math.pi / 3]))
    assert torch.allclose(turn[0], torch.eye(3), atol=1e-6)
    assert torch.allclose(turn @ torch.ones(3), torch.ones(3, 3), atol=1e-6)
    assert torch.allclose(turn @ turn.transpose(1, 2), torch.eye(3).expand(3, 3, 3), atol=1e-6)
    assert torch.allclose(turn[2] @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6)


def test_masks_cover_about_the_share_asked_for() -> None:
    config = TINY.replace(masked_pictures=1.0, masked_cells=(0.3, 0.3))
    masks = views.block_masks(200, 12, config, np.random.default_rng(0))
    assert 0.3 <= masks.float().mean() < 0.45
    none = views.block_masks(20, 12, TINY.replace(masked_pictures=0.0), np.random.default_rng(0))
    assert not none.any()


def test_changes_grow_from_mild_to_full() -> None:
    config = PretrainConfig(steps=100, ease=0.5, eased=0.4)
    assert config.at(0).photometric == pytest.approx(config.photometric / 2)
    assert config.at(20).turn == pytest.approx(0.75 * config.turn)
    assert config.at(40) == config.at(99) == config


# Losses


def test_sinkhorn_fills_rows_and_shares_columns() -> None:
    scores = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    targets = losses.sinkhorn(scores, 0.5, rounds=50)
    assert torch.allclose(targets.sum(1), torch.ones(64), atol=1e-5)
    assert torch.allclose(targets.sum(0), torch.full((8,), 8.0), atol=1e-3)
    assert torch.allclose(losses.sinkhorn(scores, 0.5).sum(1), torch.ones(64), atol=1e-5)
    assert losses.sinkhorn(scores[:0], 0.5).shape == (0, 8)


def test_the_dino_loss_pairs_every_view_with_every_other() -> None:
    dice = torch.Generator().manual_seed(0)
    targets, seen, crops = (torch.randn(n, 5, generator=dice).softmax(1) for n in (6, 6, 9))

    def entropy(target: Tensor, scores: Tensor) -> Tensor:
        return -(target * (scores / 0.2).softmax(1).log()).sum(1).mean()

    pairs = [entropy(targets[:3], seen[3:]), entropy(targets[3:], seen[:3])]
    pairs += [entropy(t, c) for t in targets.split(3) for c in crops.split(3)]
    assert losses.dino_loss(targets, seen, crops, 0.2) == pytest.approx(
        float(torch.stack(pairs).mean()), rel=1e-5
    )


def test_no_masked_cell_costs_nothing() -> None:
    assert losses.cross_entropy(torch.zeros(0, 5), torch.zeros(0, 5), 0.1) == 0


def test_the_dense_loss_is_infonce_over_all_cells_but_the_near() -> None:
    dice = torch.Generator().manual_seed(0)
    grid = patch_grid(16, 24, 8, 8)
    points, maps = torch.randn(2, 4, 6, generator=dice), torch.randn(2, 6, 2, 3, generator=dice)
    xy = torch.rand(2, 4, 2, generator=dice) * torch.tensor((23.0, 15.0))
    valid = torch.tensor([[True, True, False, True], [True, False, True, True]])
    centres, expected = grid.centres(), []
    for b, n in valid.nonzero().tolist():
        point = F.normalize(points[b, n], dim=0)
        place = F.normalize(grid.sample(maps[b : b + 1], xy[b : b + 1, n : n + 1])[0, 0], dim=0)
        negatives = [
            point @ F.normalize(maps[other].flatten(1)[:, m], dim=0)
            for other in range(2)
            for m in range(6)
            if other != b or (centres[m] - xy[b, n]).abs().max() >= 8
        ]
        scores = torch.stack([point @ place, *negatives]) / 0.1
        expected.append(-scores.log_softmax(0)[0])
    loss = losses.dense_loss(points, FeatureMaps(maps, grid), xy, valid, 0.1)
    assert loss == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)


def test_the_dense_loss_without_a_valid_point_is_zero() -> None:
    grid = patch_grid(16, 16, 8, 8)
    nobody = torch.zeros(1, 3, dtype=torch.bool)
    maps = FeatureMaps(torch.rand(1, 4, 2, 2), grid)
    loss = losses.dense_loss(torch.rand(1, 3, 4), maps, torch.rand(1, 3, 2), nobody, 0.1)
    assert loss == 0


def test_found_share_counts_points_within_a_cell() -> None:
    grid = patch_grid(32, 32, 8, 8)
    maps = FeatureMaps(torch.eye(16).reshape(1, 16, 4, 4), grid)
    xy = grid.centres()[None] + 2
    wrong = xy.clone()
    wrong[:, :4] += 40
    everyone = torch.ones(1, 16, dtype=torch.bool)
    assert losses.found_share(torch.eye(16)[None], maps, xy, everyone) == 1
    assert losses.found_share(torch.eye(16)[None], maps, wrong, everyone) == 0.75


def test_indicators_have_their_known_values() -> None:
    flat, sure = torch.full((5, 8), 1 / 8), torch.eye(8)
    assert losses.teacher_entropy(flat) == pytest.approx(math.log(8), rel=1e-5)
    assert losses.teacher_entropy(sure) == pytest.approx(0, abs=1e-6)
    assert losses.collapse_kl(flat, torch.zeros(5, 8), 0.1) == pytest.approx(0, abs=1e-5)
    assert losses.collapse_kl(sure, torch.zeros(8, 8), 0.1) == pytest.approx(math.log(8), rel=1e-5)
    one = torch.ones(50, 16)
    assert losses.feature_std(one) == pytest.approx(0, abs=1e-6)
    assert losses.uniformity(one) == pytest.approx(0, abs=1e-5)
    assert losses.alignment(one, 3 * one) == pytest.approx(0, abs=1e-6)
    assert losses.alignment(one, -one) == pytest.approx(4)
    assert losses.uniformity(torch.tensor([[1.0, 0], [-1.0, 0]])) == pytest.approx(-8)
    spread = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert losses.feature_std(spread) == pytest.approx(1, abs=0.01)


# Network


def test_positions_of_the_whole_window_are_the_native_ones() -> None:
    positions = sinusoids(8, 32)[None]
    whole = window_positions(positions, 8, torch.tensor([[0.0, 0, 1, 1]]), (8, 8))
    assert torch.allclose(whole, positions, atol=1e-5)
    part = window_positions(positions, 8, torch.tensor([[0.25, 0.5, 0.5, 0.25]]), (4, 2))
    assert torch.allclose(part.reshape(4, 2, 32), positions.reshape(8, 8, 32)[2:6, 4:6], atol=1e-5)


def test_the_network_computes_what_the_tracker_will_see() -> None:
    network = Network(TINY).eval()
    picture = torch.rand(1, 3, 64, 64)
    summary, tokens = network(picture, torch.tensor([[0.0, 0, 1, 1]]))
    backbone = TimmBackbone(network.vit, TINY.depth - 1, TINY.patch)
    (maps,) = backbone(picture, [backbone.layer])
    expected = maps.flatten(2).transpose(1, 2)
    assert summary.shape == (1, TINY.dim)
    assert torch.allclose(tokens, expected, atol=1e-5)


def test_a_masked_cell_is_not_seen() -> None:
    network = Network(TINY).eval()
    picture, window = torch.rand(1, 3, 64, 64), torch.tensor([[0.0, 0, 1, 1]])
    other = picture.clone()
    other[..., 8:16, 16:24] = 0
    mask = torch.zeros(1, 64, dtype=torch.bool)
    mask[0, 8 + 2] = True
    assert torch.equal(network(picture, window, mask)[1], network(other, window, mask)[1])
    assert not torch.equal(network(picture, window)[1], network(other, window)[1])


# Training


def test_the_teacher_is_a_moving_average() -> None:
    state = trainer.start(TINY, 0, CPU)
    before = state.teacher.mask_token.clone()
    with torch.no_grad():
        state.student.mask_token += 1
    trainer.update_teacher(state, 0.9)
    assert torch.allclose(state.teacher.mask_token, before + 0.1)
    assert not any(p.requires_grad for p in state.teacher.parameters())


def test_schedules_start_peak_and_end_where_they_should() -> None:
    config = PretrainConfig(warmup=0.1)
    rates = [trainer.learning_rate(config, k / 100) for k in range(101)]
    assert rates[0] < 0.05 * config.rate
    assert max(rates) == rates[10] == pytest.approx(config.rate)
    assert rates[100] == pytest.approx(config.final_rate)
    assert trainer.momentum(config, 0) == pytest.approx(config.momentum)
    assert trainer.momentum(config, 1) == pytest.approx(config.final_momentum)


def run(
    state: trainer.PretrainState, until: int, config: PretrainConfig = TINY
) -> list[dict[str, float]]:
    """Train to step `until`; each step's numbers."""
    numbers: list[dict[str, float]] = []

    def on_step(now: trainer.PretrainState, values: dict[str, float]) -> bool:
        numbers.append(values)
        return now.step >= until

    trainer.train(config, 0, state, on_step)
    return numbers


def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    whole = trainer.start(TINY, 0, CPU)
    numbers = run(whole, 4)
    part = trainer.start(TINY, 0, CPU)
    run(part, 2)
    trainer.save(tmp_path / "run", part, TINY, 0, seconds=1.5)
    trainer.save(tmp_path / "same", part, TINY, 0, seconds=1.5)
    assert (tmp_path / "run").read_bytes() == (tmp_path / "same").read_bytes()
    resumed, facts = trainer.load(tmp_path / "run", TINY, 0, CPU)
    assert facts == {"seconds": 1.5}
    assert run(resumed, 4) == numbers[2:]
    assert resumed.step == whole.step == 4
    assert same(resumed.student, whole.student)
    assert same(resumed.teacher, whole.teacher)


def test_a_seed_repeats_a_run() -> None:
    first, second = trainer.start(TINY, 0, CPU), trainer.start(TINY, 0, CPU)
    assert run(first, 2) == run(second, 2)
    assert same(first.student, second.student)


def test_training_on_one_batch_finds_its_points(pool: scenes.Pool) -> None:
    config = TINY.replace(rate=3e-3)
    state = trainer.start(config, 0, CPU)
    for group in state.optimizer.param_groups:
        group["lr"] = config.rate
    batch = views.make_batch(pool, 0, 0)
    numbers = [trainer.train_step(config, state, batch) for _ in range(30)]
    assert numbers[-1]["dense"] < 0.7 * numbers[0]["dense"]
    assert numbers[-1]["found"] > numbers[0]["found"] + 0.2
    assert all(math.isfinite(v) for n in numbers for v in n.values())


@pytest.mark.parametrize("change", [lambda c: c.replace(steps=9), lambda c: c.replace(dim=64)])
def test_a_checkpoint_of_other_settings_is_refused(
    tmp_path: Path, change: Callable[[PretrainConfig], PretrainConfig]
) -> None:
    trainer.save(tmp_path / "run", trainer.start(TINY, 0, CPU), TINY, 0)
    with pytest.raises(InputError, match="other settings"):
        trainer.load(tmp_path / "run", change(TINY), 0, CPU)
    with pytest.raises(InputError, match="other settings"):
        trainer.load(tmp_path / "run", TINY, 1, CPU)


# The command


def test_the_command_writes_a_vit_the_tracker_takes(
    tmp_path: Path, tiny: PretrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "vit.safetensors"
    assert main(["--out", str(out), "--steps", "3", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("step 3/3 ")
    with safe_open(out, "pt") as file:
        facts = {name: json.loads(value) for name, value in file.metadata().items()}
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}
    assert facts["architecture"] == ARCHITECTURE
    assert (facts["recipe"], facts["steps"], facts["patch_size"], facts["embed_dim"]) == (
        "cpu",
        3,
        8,
        32,
    )
    make = {name: facts[name] for name in vit_facts(tiny)}
    backbone = TimmBackbone(load_vit(facts["architecture"], out, **make), 1, 4)
    (maps,) = backbone(torch.rand(1, 3, 40, 72), [backbone.layer])
    assert maps.shape == (1, 32, 9, 17)
    assert torch.isfinite(maps).all()
    log = json.loads(out.with_suffix(".json").read_text())
    assert {"dense", "dino", "ibot", "entropy", "kl", "std", "alignment", "uniformity"} <= log[
        -1
    ].keys()


def step_of(out: Path) -> int:
    _, about = load_tensors(out.with_suffix(".checkpoint.safetensors"))
    step: int = about["step"]
    return step


def test_the_command_goes_on_where_it_ended(tmp_path: Path, tiny: PretrainConfig) -> None:
    out = tmp_path / "vit.safetensors"
    arguments = ["--out", str(out), "--steps", "3", "--device", "cpu"]
    assert main([*arguments, "--minutes", "0.000001"]) == 0
    assert step_of(out) == 1
    assert main([*arguments, "--resume"]) == 0
    assert step_of(out) == 3
    log = json.loads(out.with_suffix(".json").read_text())
    assert [entry["step"] for entry in log] == [1, 3]


@pytest.mark.parametrize("arguments", [["--device", "abacus"], ["--resume"]])
def test_what_the_user_can_mend_is_told_in_one_line(
    tmp_path: Path, tiny: PretrainConfig, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (tmp_path / "vit.checkpoint.safetensors").write_text("no checkpoint")
    assert main(["--out", str(tmp_path / "vit.safetensors"), *arguments]) == 2
    assert capsys.readouterr().err.startswith("dinotrack: error: ")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_into_16_megabytes(name: str) -> None:
    config = RECIPES[name]
    vit = load_vit(ARCHITECTURE, None, **vit_facts(config))
    assert 2 * sum(p.numel() for p in vit.parameters()) + 10_000 < MAX_BYTES
    assert all(side % config.patch == 0 for side, _ in (*config.shapes, (config.local_side, 0)))
