"""The frozen ViTs: the reference's numbers, the grid against the convolution's own output, every
family of timm's."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from dinotrack import chunks, features, shrinking, weights
from dinotrack.backbones import BACKBONES, SHIPPED, Backbone
from dinotrack.cache import Cache
from dinotrack.config import QUALITY, BackboneConfig, override
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.features import (
    MAKERS,
    Features,
    extract_features,
    frozen_features,
    make_backbone,
    principal_components,
    resolve_name,
    second_moment,
    video_features,
)
from dinotrack.foreground import pca_foreground
from dinotrack.progress import Watch
from dinotrack.run import Run
from dinotrack.vit_positions import resample_positions
from dinotrack.vits import (
    TimmBackbone,
    full_name,
    load_vit,
    weight_origin,
)
from tests.fakes import FakeBackbone
from tests.same import same

CPU = torch.device("cpu")
SIZES = [
    (17, 23),
    (14, 14),
    (30, 14),
    (41, 98),
    (98, 41),
    (64, 47),
    (113, 30),
    (5, 9),
    (1, 1),
    (20, 3),
]
TINY = {"depth": 2, "embed_dim": 32, "num_heads": 2, "num_classes": 0}


def tiny(name: str, layer: int = 1, stride: int = 0, **facts: object) -> TimmBackbone:
    model = load_vit(full_name(name), None, **{**TINY, **facts})
    return TimmBackbone(model, layer, stride or model.patch_embed.proj.kernel_size[0])


def seen(backbone: Backbone, frames: torch.Tensor) -> torch.Tensor:
    """The features of the block that the config asks for."""
    return backbone(frames, [backbone.layer])[0]


@pytest.mark.parametrize(
    ("file", "name", "side"), [("vit_dinov2", "dinov2_vits14", 70), ("vit_dino", "dino_vits8", 64)]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_official_weights_give_the_references_features(
    golden: Callable[[str], dict[str, np.ndarray]],
    tmp_path: Path,
    file: str,
    name: str,
    side: int,
    suffix: str,
) -> None:
    numbers = {k: torch.from_numpy(v) for k, v in golden(file).items()}
    state = {
        k.removeprefix("state_dict/"): v for k, v in numbers.items() if k.startswith("state_dict/")
    }
    path = tmp_path / f"official{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    model = load_vit(
        full_name(name), path, embed_dim=48, depth=int(numbers["depth"]), num_heads=3, img_size=side
    )
    backbone = TimmBackbone(model, int(numbers["layer"]), int(numbers["stride"]))
    features = seen(backbone, numbers["images"])
    expected = numbers["features"]
    assert backbone.patch == int(numbers["patch_size"])
    assert features.shape == expected.shape
    assert (features - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_file_is_checked_to_the_last_tensor(
    golden: Callable[[str], dict[str, np.ndarray]], tmp_path: Path
) -> None:
    state = {
        k.removeprefix("state_dict/"): torch.from_numpy(v)
        for k, v in golden("vit_dino").items()
        if "/" in k
    }
    facts = {"embed_dim": 48, "depth": 4, "num_heads": 3, "img_size": 64}
    path = tmp_path / "dino.pth"
    for change in ({"extra": torch.ones(1)}, {"cls_token": torch.ones(1, 1, 8)}):
        torch.save(state | change, path)
        with pytest.raises(InputError, match=r"don't fit vit_small_patch8_224\.dino"):
            load_vit(full_name("dino_vits8"), path, **facts)
    del state["blocks.3.mlp.fc2.bias"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"don't fit vit_small_patch8_224\.dino"):
        load_vit(full_name("dino_vits8"), path, **facts)


@pytest.mark.parametrize("size", [(5, 7), (3, 12), (9, 9)])
def test_positions_are_resampled_at_half_pixel_centres_with_the_given_scale(
    size: tuple[int, int],
) -> None:
    native = (4, 6)
    positions = torch.randn(1, 2 + 24, 3, generator=torch.Generator().manual_seed(0))
    resampled = resample_positions(positions, native, size)
    assert torch.equal(resampled[:, :2], positions[:, :2])
    maps = positions[0, 2:].T.reshape(3, *native).double().numpy()
    assert torch.allclose(resampled[0, 2:].double(), plain_bicubic(maps, size), atol=1e-5)
    assert resample_positions(positions, native, native) is positions


def plain_bicubic(maps: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Bicubic resampling (a = -0.75) of maps [C, rows, cols], scale (n + 0.1) / rows: [h * w,
    C]."""

    def taps(n: int, m: int) -> np.ndarray:
        matrix = np.zeros((n, m))
        for i in range(n):
            centre = (i + 0.5) * m / (n + 0.1) - 0.5
            for k in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
                d, a = abs(centre - k), -0.75
                inner = (a + 2) * d**3 - (a + 3) * d**2 + 1
                outer = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
                matrix[i, min(max(k, 0), m - 1)] += inner if d <= 1 else outer
        return matrix

    rows, cols = taps(size[0], maps.shape[1]), taps(size[1], maps.shape[2])
    return torch.from_numpy(np.einsum("hr,crk,wk->hwc", rows, maps, cols).reshape(-1, len(maps)))


FAMILIES = {  # one of each family, small; the rotary ones of all kinds
    "supervised": "vit_tiny_patch16_224",
    "DeiT": "deit_tiny_distilled_patch16_224",
    "DeiT III": "deit3_vits16",
    "DINO": "dino_vits8",
    "DINOv2": "dinov2_vits14",
    "DINOv2 with registers": "dinov2_vits14_reg",
    "DINOv3": "dinov3_vits16",
    "MAE": "mae_vitb16",
    "CLIP": "clip_vitb16",
    "SigLIP": "vit_base_patch16_siglip_256",
    "EVA-02": "eva02_tiny_patch14_224",
    "RoPE": "vit_small_patch16_rope_224",
    "RoPE mixed": "vit_small_patch16_rope_mixed_224",
    "Perception Encoder": "vit_pe_core_tiny_patch16_384",
}


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)
def test_every_family_has_the_grid_of_its_convolution(name: str) -> None:
    backbone = tiny(name, stride=5)
    for height, width in SIZES:
        frames = torch.full((1, 3, height, width), 128, dtype=torch.uint8)
        features = seen(backbone, frames)
        grid = backbone.grid(height, width)
        assert features.shape == (1, 32, grid.rows, grid.cols)
        assert features.isfinite().all()


@pytest.mark.parametrize("patch", [8, 14, 16])
@pytest.mark.parametrize("stride", [1, 4, 7, 16])
def test_the_grid_is_that_of_the_convolution_at_any_size(patch: int, stride: int) -> None:
    model = load_vit("vit_tiny_patch16_224", None, **TINY, patch_size=patch)
    backbone = TimmBackbone(model, 0, stride)
    sides = [patch, patch + 1, patch + stride - 1, patch + stride, 31, 48, 57, 90]
    for height, width in [*zip(sides, sides[::-1], strict=True), *SIZES]:
        padded = torch.zeros(1, 3, max(height, patch), max(width, patch))
        rows, cols = F.conv2d(padded, torch.zeros(1, 3, patch, patch), stride=stride).shape[-2:]
        grid = backbone.grid(height, width)
        assert (grid.rows, grid.cols, grid.stride, grid.origin) == (
            rows,
            cols,
            stride,
            (patch - 1) / 2,
        )


def test_cells_lie_where_the_patches_are() -> None:
    """A dot in a black frame lights up, in the embedding of patches, exactly the cells whose patch
    covers it."""
    backbone = tiny("vit_tiny_patch16_224", stride=5)
    backbone.model.patch_embed.proj.weight.data.fill_(1)
    frame = torch.zeros(1, 3, 50, 67)
    frame[..., 23, 41] = 1
    patches = (
        backbone.model.patch_embed(frame)[0, :, 0] != backbone.model.patch_embed(frame * 0)[0, :, 0]
    )
    distance = (backbone.grid(50, 67).centres() - torch.tensor((41.0, 23.0))).abs().amax(dim=1)
    assert torch.equal(patches, distance <= (backbone.patch - 1) / 2)


def lively(name: str) -> torch.nn.Module:
    """A random ViT in which positions, layer scales and all else matter."""
    model = load_vit(full_name(name), None, **TINY)
    generator = torch.Generator().manual_seed(3)
    for key, parameter in model.named_parameters():
        if "freqs" not in key:
            parameter.data = torch.randn(parameter.shape, generator=generator) * (
                0.3 if parameter.ndim > 1 else 1
            )
    return model


@pytest.mark.parametrize(
    "name", ["dinov3_vits16", "eva02_tiny_patch14_224", "vit_small_patch16_rope_mixed_224"]
)
def test_rotary_positions_are_timms_where_patches_do_not_overlap(name: str) -> None:
    """On another grid than the native one, against timm's own path for it."""
    model = lively(name)
    backbone = TimmBackbone(model, 1, model.patch_embed.proj.kernel_size[0])
    backbone._positions = backbone.model.pos_embed = None
    images = torch.rand(
        1, 3, 3 * backbone.patch, 5 * backbone.patch, generator=torch.Generator().manual_seed(4)
    )
    features = seen(backbone, images)
    model.dynamic_img_size, model.patch_embed.flatten = True, False
    embed = model.patch_embed.forward
    model.patch_embed.forward = lambda x: embed(x).permute(0, 2, 3, 1)
    model.rope._use_cached_embed = False
    expected = model.forward_intermediates(
        (images - backbone._mean) / backbone._std,
        indices=[1],
        output_fmt="NLC",
        intermediates_only=True,
    )[0]
    expected = expected.transpose(1, 2).reshape(features.shape)
    tolerance = 1e-4 * expected.abs().max()
    assert (features - expected).abs().max() <= tolerance


@pytest.mark.parametrize(
    "name",
    [
        "dinov3_vits16",
        "eva02_tiny_patch14_224",
        "vit_small_patch16_rope_224",
        "vit_pe_core_tiny_patch16_384",
    ],
)
def test_rotary_positions_of_overlapping_patches_fall_between_those_of_the_native_grid(
    name: str,
) -> None:
    """At half the stride, every second cell lies where a native one lies."""
    model = lively(name)
    patch = model.patch_embed.proj.kernel_size[0]
    apart = TimmBackbone(model, 1, patch)
    seen(apart, torch.rand(1, 3, 3 * patch, 4 * patch))
    native = apart.model.rope.get_embed().reshape(3, 4, -1).clone()
    half = TimmBackbone(lively(name), 1, patch // 2)
    seen(half, torch.rand(1, 3, 3 * patch, 4 * patch))
    embed = half.model.rope.get_embed().reshape(5, 7, -1)
    assert torch.allclose(embed[::2, ::2], native, atol=1e-4)
    assert not torch.allclose(embed[1::2, ::2], native[:2], atol=1e-2)


def test_mixed_rotary_positions_fall_between_too() -> None:
    model = lively("vit_small_patch16_rope_mixed_224")
    half = TimmBackbone(model, 1, 8)
    seen(half, torch.rand(1, 3, 48, 64))
    assert torch.equal(half.model.rope.t_x.reshape(5, 7)[0], torch.arange(7) / 2)
    assert torch.equal(half.model.rope.t_y.reshape(5, 7)[:, 0], torch.arange(5) / 2)
    seen(half, torch.rand(1, 3, 32, 64))
    assert torch.equal(half.model.rope.t_y.reshape(3, 7)[:, 0], torch.arange(3) / 2)


def test_a_backbone_forgets_the_size_before() -> None:
    first, second = torch.rand(2, 1, 3, 40, 61)
    model = lively("dinov2_vits14_reg")
    backbone = TimmBackbone(model, 1, 7)
    alone = seen(backbone, first)
    seen(backbone, second[..., :50])
    assert torch.equal(seen(backbone, first), alone)


def test_bytes_and_floats_and_batches_agree() -> None:
    backbone = TimmBackbone(lively("vit_tiny_patch16_224"), 1, 8)
    frames = torch.randint(
        0, 256, (3, 3, 30, 41), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    features = seen(backbone, frames)
    assert torch.allclose(features, seen(backbone, frames / 255), atol=1e-4)
    assert torch.allclose(features[1:2], seen(backbone, frames[1:2]), atol=1e-4)


def test_a_frame_below_the_patch_is_one_cell_of_its_border_repeated() -> None:
    backbone = TimmBackbone(lively("vit_tiny_patch16_224"), 1, 8)
    frame = torch.rand(1, 3, 5, 9, generator=torch.Generator().manual_seed(0))
    padded = frame[:, :, [*range(5), *[4] * 11]][..., [*range(9), *[8] * 7]]
    assert torch.equal(seen(backbone, frame), seen(backbone, padded))


def test_the_layer_is_the_blocks_output_before_the_norm() -> None:
    model = lively("dinov2_vits14_reg")
    outputs: list[torch.Tensor] = []
    model.blocks[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    backbone = TimmBackbone(model, 0, 14)
    features = seen(backbone, torch.rand(2, 3, 28, 42))
    assert torch.equal(
        features.flatten(2).transpose(1, 2), outputs[0][:, 5:]
    )  # one class and four register tokens


def test_the_default_layer_is_two_thirds_deep() -> None:
    backbone = make_backbone(
        BackboneConfig(name="vit_tiny_patch16_224", pretrained=False, stride=0), CPU
    )
    assert backbone is not None
    assert (backbone.depth, backbone.layer, backbone.stride, backbone.patch, backbone.dims) == (
        12,
        7,
        16,
        16,
        192,
    )
    assert round(24 * 2 / 3) - 1 == 15  # the paper's, of ViT-L


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = load_vit("vit_tiny_patch16_224", None, **TINY).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(8)
    second = load_vit("vit_tiny_patch16_224", None, **TINY).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_block_that_the_vit_does_not_have_is_refused() -> None:
    config = BackboneConfig(name="vit_tiny_patch16_224", pretrained=False, layer=12)
    with pytest.raises(InputError, match="blocks 0 to 11"):
        make_backbone(config, CPU)


def test_a_network_that_is_no_plain_vit_is_refused() -> None:
    with pytest.raises(InputError, match="Linear is no plain ViT; choose one of dino_vits16"):
        TimmBackbone(torch.nn.Linear(2, 2), 0, 1)


@pytest.mark.parametrize("name", BACKBONES)
def test_short_names_are_timms_and_have_a_source(name: str) -> None:
    full = full_name(name)
    assert full == BACKBONES[name] == full_name(full) == full_name(f"timm/{full}")
    origin = weight_origin(full)
    assert origin.hub
    assert f"{name}.safetensors" in origin.names
    assert f"{full}.pth" in origin.names


def test_official_file_names_are_known() -> None:
    expected = {
        "dino_vits8": "dino_deitsmall8_pretrain.pth",
        "dino_vitb16": "dino_vitbase16_pretrain.pth",
        "dinov2_vits14": "dinov2_vits14_pretrain.pth",
        "dinov2_vitl14": "dinov2_vitl14_pretrain.pth",
        "dinov2_vits14_reg": "dinov2_vits14_reg4_pretrain.pth",
    }
    for name, file in expected.items():
        assert weight_origin(full_name(name)).names[-1] == file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dinov2_vits41", "such as .*dinov2_vits14"),
        ("resnet50", "choose a ViT of timm's"),
        ("vit_small_patch14_dinov2.nope", "comes as vit_small_patch14_dinov2.lvd142m"),
        ("", "choose a ViT"),
        ("../weights", "choose a ViT"),
    ],
)
def test_unknown_names_are_refused_with_known_ones(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_backbone(BackboneConfig(name=name), CPU)


def test_a_named_backbone_without_weights_is_refused_with_the_way_out(no_weights: Path) -> None:
    place = r"dinov2_vits14 .*dinov2_vits14_pretrain\.pth into ./weights"
    advice = r"or take random weights with settings=\{'backbone.pretrained': False\}"
    with pytest.raises(InputError, match=f"{place}.*{advice}"):
        make_backbone(BackboneConfig(name="dinov2_vits14"), CPU)


AUTO = BackboneConfig(name="auto", stride=14)
CUDA = torch.device("cuda")


def test_auto_without_the_shipped_vit_is_none_with_one_line(no_weights: Path) -> None:
    with pytest.warns(DinotrackWarning, match=f"{SHIPPED}.*using no backbone instead") as record:
        assert make_backbone(AUTO, CPU) is None
    assert len(record) == 1
    assert "\n" not in str(record[0].message)
    with pytest.raises(InputError, match=rf"{SHIPPED}\.safetensors.*'backbone\.name': 'none'"):
        make_backbone(replace(AUTO, name=SHIPPED), CPU)


@pytest.mark.parametrize(
    ("files", "cpu", "cuda"),
    [
        ((), SHIPPED, SHIPPED),
        (("dinov2_vitb14_pretrain.pth",), SHIPPED, "dinov2_vitb14"),
        (("dinov2_vits14.pth",), "dinov2_vits14", "dinov2_vits14"),
        (("dinov2_vits14.pth", "dinov2_vitl14.pth"), "dinov2_vits14", "dinov2_vitl14"),
        (("dinov2_vits14_reg.pth", "dino_vits8.pth", "other.pth"), SHIPPED, SHIPPED),
    ],
)
def test_auto_takes_the_best_that_lies_here_and_never_asks_the_network(
    files: tuple[str, ...], cpu: str, cuda: str, no_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "reachable", lambda url: pytest.fail("the network was asked"))
    for name in (f"{SHIPPED}.safetensors", *files):
        (no_weights / name).touch()
    for device, expected in ((CPU, cpu), (CUDA, cuda)):
        assert resolve_name(AUTO, device) == expected


def test_auto_takes_no_vit_whose_name_would_mean_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the user's variable names would be read as the weights of any ViT by its name."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in (folder / "dinov2_vits14.safetensors", tmp_path / "raft.pth"):
        path.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(folder))
    assert resolve_name(AUTO, CPU) == "dinov2_vits14"
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(tmp_path / "raft.pth"))
    assert resolve_name(AUTO, CPU) == SHIPPED


def test_none_is_none() -> None:
    assert make_backbone(BackboneConfig(name="none"), CPU) is None


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", *MAKERS, "fake"])
def test_whatever_sees_is_a_backbone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family that we do not know is one class, and one line in MAKERS."""
    vit = load_vit("vit_tiny_patch16_224", None, **TINY)
    shrinking.export(vit, 2, tmp_path / f"{name}.safetensors")
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setitem(MAKERS, "fake", lambda config, device: FakeBackbone())
    backbone = make_backbone(BackboneConfig(name=name, pretrained=False, stride=0), CPU)
    assert isinstance(backbone, Backbone)
    assert 0 <= backbone.layer < backbone.depth
    grid = backbone.grid(48, 64)
    maps = backbone(torch.zeros(2, 3, 48, 64, dtype=torch.uint8), [backbone.layer, 0])
    assert [values.shape for values in maps] == [(2, backbone.dims, grid.rows, grid.cols)] * 2


def test_several_blocks_come_from_one_pass_in_the_order_asked_for() -> None:
    backbone = TimmBackbone(lively("dinov2_vits14_reg"), 1, 7)
    frames = torch.rand(2, 3, 30, 41, generator=torch.Generator().manual_seed(0))
    passes: list[torch.Tensor] = []
    backbone.model.blocks[0].register_forward_hook(lambda *call: passes.append(call[-1]))
    last, first, again = backbone(frames, [1, 0, 1])
    assert len(passes) == 1
    assert torch.equal(first, backbone(frames, [0])[0])
    assert torch.equal(last, backbone(frames, [1])[0])
    assert torch.equal(last, again)


WHOLE = BackboneConfig(precision="float32")


def video(frames: int, height: int = 16, width: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = frames, 3, height, width
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("frames", [1, 3, 21])
def test_components_keep_cosines(frames: int) -> None:
    clip = video(frames)
    calls: list[tuple[str, int, int]] = []

    def told(*call: object) -> None:
        calls.append(call)

    both = extract_features(FakeBackbone(), clip, [1, 2], WHOLE, progress=told)
    assert calls[-1] == ("features", frames, frames)
    config = replace(WHOLE, components=3)
    reduced = extract_features(FakeBackbone(), clip, [1, 2], config)
    again = extract_features(FakeBackbone(), clip, [1, 2], config)
    rest = extract_features(FakeBackbone(), clip, [1, 2], replace(WHOLE, components=99))
    for block, whole in enumerate(both):
        assert torch.allclose(whole, FakeBackbone()(clip, [1 + block])[0])
        assert reduced[block].shape == (frames, 3, 4, 5)
        # The features span three dimensions.
        assert torch.allclose(cosines(reduced[block]), cosines(whole), atol=1e-4)
        assert torch.equal(rest[block], whole)
        assert torch.equal(reduced[block], again[block])


def test_components_are_taken_from_frames_spread_evenly() -> None:
    clip = video(9)
    clip[[1, 2, 3, 5, 6, 7]] = 0  # not looked at
    config = replace(WHOLE, components=2, pca_frames=3)
    found = extract_features(FakeBackbone(), clip, [1], config)[0]
    whole = FakeBackbone()(clip, [1])[0]
    basis = principal_components(second_moment(whole[[0, 4, 8]]), 2)
    assert torch.allclose(found, torch.einsum("kc,tchw->tkhw", basis, whole), atol=1e-5)


def test_every_frame_passes_the_vit_once() -> None:
    class Counting(FakeBackbone):
        seen = 0

        def __call__(self, frames: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
            self.seen += len(frames)
            return super().__call__(frames, layers)

    backbone = Counting()
    extract_features(backbone, video(9), [1], replace(WHOLE, components=2, pca_frames=3))
    assert backbone.seen == 9


def cosines(maps: torch.Tensor) -> torch.Tensor:
    tokens = F.normalize(maps.transpose(0, 1).flatten(1), dim=0)
    return tokens.T @ tokens


def test_no_other_projection_keeps_cosines_better() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = (
        torch.randn(2, 8, 6, 6, generator=generator) * torch.linspace(2, 0.2, 8)[:, None, None]
        + 0.5
    )
    basis = principal_components(second_moment(maps), 3)
    assert torch.allclose(basis @ basis.T, torch.eye(3), atol=1e-5)
    unit = F.normalize(maps, dim=1).transpose(0, 1).flatten(1)

    def error(directions: torch.Tensor) -> torch.Tensor:
        return ((directions @ unit).T @ (directions @ unit) - unit.T @ unit).norm()

    others = [torch.linalg.qr(torch.randn(8, 3, generator=generator)).Q.T for _ in range(20)]
    centred = torch.linalg.svd((unit - unit.mean(1, keepdim=True)), full_matrices=False).U[:, :3].T
    assert error(basis) <= min(error(o) for o in [*others, centred])


def test_half_precision_features_are_close() -> None:
    backbone, clip = TimmBackbone(lively("vit_tiny_patch16_224"), 0, 8), video(2, 30, 41)
    half = replace(WHOLE, precision="float16")
    (exact,) = extract_features(backbone, clip, [0], WHOLE)
    (kept,) = extract_features(backbone, clip, [0], half)
    (rough,) = extract_features(backbone, clip, [0], half, computed=torch.bfloat16)
    assert (exact.dtype, kept.dtype, rough.dtype) == (torch.float32, torch.float16, torch.float16)
    assert torch.equal(kept, exact.half())
    assert not torch.equal(kept, rough)
    assert F.cosine_similarity(rough.float(), exact, dim=1).min() > 0.99


class Watched(FakeBackbone):
    """Notes which blocks are asked for, once for each pass through the video."""

    def __init__(self, layer: int = 1) -> None:
        self.layer = layer
        self.identity = f"colours {layer}"
        self.passes: list[list[int]] = []

    def __call__(self, frames: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        if len(frames) == chunks.VIT_FRAMES:  # of six frames, the first part
            self.passes.append(list(layers))
        return super().__call__(frames, layers)


def seen_in_a_clip(
    folder: Path | None, foreground: bool, layer: int = 1, **settings: object
) -> tuple[Features, list[list[int]], list[tuple[str, int, int]]]:
    """What is seen in a clip, what the backbone was asked for, and what was reported."""
    backbone, told = Watched(layer), []
    if folder is not None:
        folder.mkdir(exist_ok=True)
    watch = Watch(lambda *call: told.append(call))
    own = {"backbone.components": 0, "foreground.method": "pca"}
    config = override(QUALITY, own | settings)
    run = Run(config, CPU, watch=watch, cache=Cache(folder, 1e9, "video"))
    return frozen_features(video(6), backbone, run, foreground), backbone.passes, told


def same_where_known(a: Features, b: Features) -> bool:
    """Bit for bit, wherever both were asked for the foreground."""
    cells = a.foreground is None or b.foreground is None or a.foreground.equal(b.foreground)
    return same(a.maps, b.maps) and cells


@pytest.mark.parametrize("method", ["pca", "motion"])
@pytest.mark.parametrize("of_use", [True, False])
def test_cells_are_told_only_where_the_config_asks_for_them_and_they_are_of_use(
    method: str, of_use: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Watched()
    monkeypatch.setitem(MAKERS, "colours", lambda config, device: backbone)
    config = override(QUALITY, {"backbone.name": "colours", "foreground.method": method})
    made = make_backbone(config.backbone, CPU)
    found = video_features(video(6), made, Run(config, CPU), of_use)
    assert found is not None
    told = method == "pca" and of_use
    assert (found.foreground is not None) == told
    assert backbone.passes == [[1, 2] if told else [1]]


def test_without_a_vit_nothing_is_seen() -> None:
    assert video_features(video(6), None, Run(QUALITY, CPU), True) is None


@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
def test_the_stage_gives_what_the_blocks_see(
    computed: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = computed == torch.bfloat16
    monkeypatch.setattr(features, "multiplies_bfloat16", lambda device: fast)
    config = BackboneConfig(components=0, precision="float16")
    one, last = extract_features(FakeBackbone(), video(6), [1, 2], config, computed)
    found, passes, told = seen_in_a_clip(None, True)
    assert passes == [[1, 2]]
    assert told == [("features", done, 6) for done in (0, 4, 5, 6)]
    assert found.maps.grid == FakeBackbone().grid(16, 20)
    assert torch.equal(found.maps.values, one)
    assert torch.equal(found.foreground, pca_foreground(last, QUALITY.foreground.threshold))
    without, passes, _ = seen_in_a_clip(None, False)
    assert passes == [[1]]
    assert without.foreground is None
    assert torch.equal(without.maps.values, one)


@pytest.mark.parametrize("layer", [1, 2])
def test_only_what_is_not_known_is_computed(tmp_path: Path, layer: int) -> None:
    whole, passes, _ = seen_in_a_clip(tmp_path / "whole", True, layer)
    assert passes == ([[1, 2]] if layer == 1 else [[2]])
    folder = tmp_path / "parts"
    part, passes, _ = seen_in_a_clip(folder, False, layer)
    assert passes == [[layer]]
    assert same_where_known(part, whole)
    found, passes, told = seen_in_a_clip(folder, True, layer)
    if layer == 1:  # the foreground's block is another, and takes a pass
        assert passes == [[2]]
        assert told == [("features", done, 6) for done in (0, 4, 5, 6)]
    else:
        assert passes == []
        assert told == [("features", 1, 1)]
    assert same_where_known(found, whole)
    known, passes, _ = seen_in_a_clip(folder, True, layer)
    assert passes == []
    assert same_where_known(known, whole)
    for file in folder.glob("features-*"):
        file.unlink()
    found, passes, _ = seen_in_a_clip(folder, True, layer)
    assert passes == [[layer]]
    assert same_where_known(found, whole)


def test_other_settings_give_other_features(tmp_path: Path) -> None:
    seen_in_a_clip(tmp_path, True)
    for settings in (
        {"backbone.components": 3},
        {"backbone.components": 3, "backbone.pca_frames": 4},
        {"backbone.precision": "float32"},
        {"video.filter": "lanczos"},
    ):
        _, passes, _ = seen_in_a_clip(tmp_path, True, **settings)
        assert passes[-1] == [1, 2], settings
    _, passes, _ = seen_in_a_clip(tmp_path, True, **{"foreground.threshold": 0.3})
    assert passes == [[2]]
    _, passes, _ = seen_in_a_clip(tmp_path, True, layer=0)
    assert passes == [[0, 2]]


def test_features_alone_load_no_timm() -> None:
    probe = "import sys, dinotrack.features as f; f.MAKERS; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", probe], check=True)
