"""The ViT that is shipped: matrices in eight bits, the command that makes the file, and what it
keeps of the whole ViT."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dinotrack import eight_bits, shrinking, state_dicts, vits, weights
from dinotrack.backbones import DESCRIBED, SHIPPED, Backbone
from dinotrack.benchmarks.datasets import find_clips
from dinotrack.config import BackboneConfig
from dinotrack.errors import InputError
from dinotrack.features import make_backbone
from dinotrack.shrinking.__main__ import main
from dinotrack.tensor_files import write_tensors
from dinotrack.video import read_video
from dinotrack.vits import TimmBackbone, full_name, load_vit, make_described
from dinotrack.working import resize

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
SOURCE = "vit_tiny_patch16_224"
TINY = {"depth": 4, "embed_dim": 48, "num_heads": 3, "num_classes": 0, "img_size": 64}


def lively() -> Any:
    """A tiny ViT whose blocks all matter."""
    vit: Any = load_vit(SOURCE, None, **TINY)
    generator = torch.Generator().manual_seed(1)
    for values in vit.parameters():
        values.data = 0.2 * torch.randn(values.shape, generator=generator)
    return vit


def features(backbone: Backbone, frames: torch.Tensor) -> torch.Tensor:
    return backbone(frames, [backbone.layer])[0]


@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.floats(1e-20, 1e20),
    st.integers(0, 99),
)
def test_no_number_moves_by_more_than_half_a_step(shape: list[int], size: float, seed: int) -> None:
    matrix = size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    matrix[0] = 0
    whole, scale = eight_bits.rounded(matrix)
    assert whole.dtype == torch.int8
    assert whole.min() >= -127
    again = eight_bits.restored({"a": whole, "a.scale": scale})["a"]
    largest = matrix.flatten(1).abs().amax(1)
    off = (again - matrix).flatten(1).abs().amax(1)
    assert (off <= largest / 127 * 0.5001).all()
    assert (again[0] == 0).all()
    torch.testing.assert_close(again.flatten(1).abs().amax(1), largest)


def test_what_has_no_scale_keeps_its_numbers() -> None:
    state = {"b": torch.tensor([1.5, -2.0]).half(), "c.scale": torch.ones(3)}
    assert eight_bits.restored(state).keys() == state.keys()
    packed = eight_bits.packed({"a": torch.eye(2), "b": torch.ones(2)}, {"a"})
    assert {name: values.dtype for name, values in packed.items()} == {
        "a": torch.int8,
        "a.scale": torch.float32,
        "b": torch.float16,
    }


def test_the_first_blocks_see_as_those_of_the_whole_vit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = lively()
    paths = [tmp_path / f"{SHIPPED}.safetensors", tmp_path / "again.safetensors"]
    for path in paths:
        shrinking.export(vit, 3, path, origin="a test")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert state_dicts.facts(paths[0])["origin"] == "a test"
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    small = make_described(BackboneConfig(name=SHIPPED, stride=8), CPU)
    assert (small.depth, small.layer, small.dims) == (3, 2, 48)
    frames = torch.rand(2, 3, 40, 72, generator=torch.Generator().manual_seed(0))
    likeness = F.cosine_similarity(
        features(small, frames), features(TimmBackbone(vit, 2, 8), frames), dim=1
    )
    assert likeness.min() > 0.995
    with pytest.raises(InputError, match="this ViT has 4 blocks; give no more to --blocks"):
        shrinking.export(vit, 5, tmp_path / "more.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_command_writes_what_the_source_is(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vit = load_vit(full_name("vit_tiny_patch16_224"), None)
    source, out = tmp_path / f"source{suffix}", tmp_path / "new" / "small.safetensors"
    if suffix == ".pth":
        torch.save(vit.state_dict(), source)
    else:
        write_tensors(source, vit.state_dict(), {})
    asked = ["--backbone", SOURCE, "--blocks", "2", "--out", str(out), "--origin", "nowhere"]
    assert main([str(source), *asked]) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size / 1e6:.2f} MB\n"
    facts = state_dicts.facts(out)
    assert facts["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (facts["source"], facts["depth"]) == (full_name(SOURCE), 2)
    assert (facts["origin"], facts["licence"]) == ("nowhere", "apache-2.0")
    assert main([str(tmp_path / "none.pth"), *asked]) == 2
    assert "none.pth doesn't exist" in capsys.readouterr().err


def test_what_is_shipped_says_what_it_is_and_is_small() -> None:
    path = ROOT / "weights" / f"{SHIPPED}.safetensors"
    assert path.stat().st_size < 16e6
    facts = state_dicts.facts(path)
    assert facts["source"] == full_name("dinov2_vits14")
    assert "dinov2" in facts["origin"]
    assert facts["licence"] == "apache-2.0"
    assert "Apache License" in (path.parent / "LICENSE-DINOv2").read_text()


def test_what_is_shipped_sees_and_differs_from_a_random_one() -> None:
    frames = torch.randint(256, (1, 3, 42, 56), generator=torch.Generator().manual_seed(0)).byte()
    seen = []
    for pretrained in (True, False):
        config = BackboneConfig(name=SHIPPED, stride=14, pretrained=pretrained)
        backbone = make_backbone(config, CPU)
        assert backbone is not None
        assert backbone.layer == backbone.depth - 1 == 7
        seen.append(features(backbone, frames))
        assert seen[-1].shape == (1, 384, 3, 4)
    assert F.cosine_similarity(*seen, dim=1).max() < 0.5


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_missing_file_is_one_sentence_with_the_command_that_makes_it(
    name: str, no_weights: Path
) -> None:
    with pytest.raises(InputError, match=rf"{name}\.safetensors.*{DESCRIBED[name]}.*'none'"):
        vits.load_described(name)


def test_what_is_shipped_sees_as_the_whole_vit_on_real_frames(shared_data: Path) -> None:
    path = shared_data / "weights" / "dinov2_vits14.safetensors"
    if not path.is_file():
        pytest.skip("the whole ViT is not here")
    small = make_described(BackboneConfig(name=SHIPPED, stride=14), CPU)
    whole = TimmBackbone(load_vit(full_name("dinov2_vits14"), path), 7, 14)
    for clip in find_clips(shared_data)[:2]:
        frame = np.asarray(read_video(clip.video).frames[:1])
        frames = resize(frame, (240, 432), "area")
        likeness = F.cosine_similarity(features(small, frames), features(whole, frames), dim=1)
        assert likeness.mean() > 0.999


LIES: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor | None]]] = {
    "no such architecture": ({"architecture": "nothing"}, {}),
    "an architecture that is no text": ({"architecture": 7}, {}),
    "heads that do not divide the width": ({"num_heads": 5}, {}),
    "no patches": ({"patch_size": 0}, {}),
    "two colours": ({"mean": [0.5, 0.5]}, {}),
    "too short a scale": ({}, {"blocks.0.attn.qkv.weight.scale": torch.ones(3)}),
    "no scale": ({}, {"blocks.0.attn.qkv.weight.scale": None}),
    "too small a matrix": ({}, {"blocks.0.mlp.fc1.weight": torch.ones(2, 2).to(torch.int8)}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_does_not_fit_what_it_says_is_refused(lie: str, no_weights: Path) -> None:
    facts, changes = LIES[lie]
    true = no_weights / "true.safetensors"
    shrinking.export(lively(), 2, true)
    tensors = state_dicts.read(true)
    told = state_dicts.facts(true) | facts
    for name, values in changes.items():
        if values is None:
            del tensors[name]
        else:
            tensors[name] = values
    metadata = {name: json.dumps(value) for name, value in told.items()}
    write_tensors(no_weights / f"{SHIPPED}.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"fit (what it says it is|the network)"):
        vits.load_described(SHIPPED)


def test_restoring_leaves_what_it_is_given() -> None:
    given_ones = {"a": torch.ones(2, 3), "a.scale": torch.full((2,), 3.0)}
    assert eight_bits.restored(given_ones)["a"].eq(3).all()
    assert given_ones["a"].eq(1).all()
