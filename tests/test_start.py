"""The CNN a fit starts from, alone and beside the ViT that is shipped."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dinotrack
from dinotrack import state_dicts, weights
from dinotrack.backbones import SHIPPED
from dinotrack.config import FAST, override
from dinotrack.delta_dino import DeltaDino
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.pretraining import start
from dinotrack.pretraining.start import __main__ as command
from dinotrack.training import checkpoint
from dinotrack.training.fitting import fill_pretrained
from dinotrack.training.loop import State
from dinotrack.training.view import RefinedFrames
from tests.same import same

ROOT = Path(__file__).resolve().parents[1]
SHOTS = start.Shots(size=(48, 64), points=16, layers=(1, 3))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "PACKAGE", tmp_path / "repository" / "dinotrack")
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    return tmp_path


def fresh() -> DeltaDino:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        return DeltaDino(FAST.model, FAST.model.dims)


def test_what_is_pretrained_is_what_a_fit_starts_from(nowhere: Path) -> None:
    network = start.begin(FAST, seed=0).tracker.delta_dino
    start.export(network, nowhere / "weights" / "dinotrack_cnn.safetensors", steps=0)
    filled = fresh()
    fill_pretrained(filled, required=True)
    for mine, other in zip(filled.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-3, rtol=1e-3)  # half precision on the way


def test_missing_weights_are_told_of(nowhere: Path) -> None:
    network = fresh()
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(InputError, match=r"dinotrack_cnn\.safetensors.*'model\.start': 'random'"):
        fill_pretrained(network, required=True)
    with pytest.warns(DinotrackWarning, match="starting from random ones"):
        fill_pretrained(network, required=False)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_kept_fit_needs_no_start(nowhere: Path) -> None:
    """What is loaded has long left its start, so nobody is told that this is missing."""
    video = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
    settings = {"training.steps": 1, "video.area": 64 * 48, "backbone.name": "none"}
    with pytest.warns(DinotrackWarning, match="starting from random ones"):
        dinotrack.fit(video, preset="fast", settings=settings, folder=nowhere / "fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dinotrack.load(nowhere / "fit", video).steps == 1
        assert (
            dinotrack.fit(
                video, preset="fast", settings=settings, folder=nowhere / "fit"
            ).steps_trained_now
            == 0
        )


def test_another_shape_starts_at_random_unless_asked_for(nowhere: Path) -> None:
    network = start.begin(FAST, seed=0).tracker.delta_dino
    start.export(network, nowhere / "weights" / "dinotrack_cnn.safetensors")
    other = DeltaDino(override(FAST, {"model.widths": "8,16", "model.dims": 24}).model, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fill_pretrained(other, required=False)
    with pytest.raises(InputError, match="other model"):
        fill_pretrained(other, required=True)


def lacking(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(state.items())[:-1])


def whole_numbers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: (100 * values).to(torch.int8) for name, values in state.items()}


@pytest.mark.parametrize("spoil", [lacking, whole_numbers])
def test_a_start_that_does_not_fit_is_told(
    nowhere: Path, spoil: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    path = nowhere / "weights" / "dinotrack_cnn.safetensors"
    path.parent.mkdir()
    save_file(spoil(fresh().state_dict()), path)
    network = fresh()
    with pytest.warns(DinotrackWarning, match="is not what a fit starts from"):
        fill_pretrained(network, required=False)
    with pytest.raises(InputError, match=r"'model\.start': 'random'"):
        fill_pretrained(network, required=True)
    assert same(network, fresh())


def test_correspondences_of_the_shots_are_seen_and_true() -> None:
    """Colours without changes of light agree at both ends, far better than with anything else in
    the frame."""
    shots = replace(SHOTS, photometric=0.0, size=(96, 128))
    own, other = [], []
    for step in range(6):
        frames, labels = start.draw(shots, 3, 0, step)
        assert frames.shape == (3, 3, 96, 128)
        assert len(labels.source) > 6
        assert (labels.source_frame != labels.target_frame).all()
        last = torch.tensor((127.0, 95.0))
        for xy in (labels.source, labels.target):
            assert ((xy > -0.5) & (xy < last + 0.5)).all()
        colours = FeatureMaps(frames, Grid(96, 128, 1, 0.0))
        known = RefinedFrames(torch.arange(3), colours, shots.size)
        source = known.at(labels.source_frame, labels.source)
        target = known.at(labels.target_frame, labels.target)
        own.append((source - target).norm(dim=1))
        other.append((source - target.roll(len(target) // 3, 0)).norm(dim=1))
    assert torch.cat(own).median() < 0.25 * torch.cat(other).median()


def test_shots_differ_from_step_to_step_and_can_be_repeated() -> None:
    first, second = (start.draw(SHOTS, 3, 0, step)[0] for step in (0, 1))
    assert not torch.equal(first, second)
    start._scene.cache_clear()
    assert torch.equal(first, start.draw(SHOTS, 3, 0, 0)[0])


def test_training_is_repeatable_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "SHOTS", SHOTS)
    monkeypatch.setattr(command, "SAVED", 2)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert command.main(["--out", str(whole), "--steps", "3"]) == 0
    assert state_dicts.facts(whole) == {"steps": 3, "seed": 0}

    def stopping(*args: Any) -> None:
        def on_step(state: State) -> None:
            args[4](state)
            if state.step == 2:
                raise KeyboardInterrupt

        start_train(*args[:4], on_step)

    start_train = start.train
    with monkeypatch.context() as patched:
        patched.setattr(start, "train", stopping)
        assert command.main(["--out", str(parts), "--steps", "3"]) == 130
    assert state_dicts.facts(parts)["steps"] == 2
    assert command.main(["--out", str(parts), "--steps", "3", "--resume"]) == 0
    assert whole.read_bytes() == parts.read_bytes()
    kept = [path.with_suffix(".checkpoint.safetensors").read_bytes() for path in (whole, parts)]
    assert kept[0] == kept[1]


def test_who_paints_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "SHOTS", SHOTS)
    alone, helped = tmp_path / "alone.safetensors", tmp_path / "helped.safetensors"
    common = ["--steps", "2", "--device", "cpu"]
    assert command.main(["--out", str(alone), *common]) == 0
    assert command.main(["--out", str(helped), "--painters", "2", *common]) == 0
    assert alone.read_bytes() == helped.read_bytes()


def test_going_on_from_nothing_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--out", str(tmp_path / "cnn.safetensors"), "--resume"]) == 2
    assert "start anew without --resume" in capsys.readouterr().err


def test_what_is_shipped_is_small_and_half_precision() -> None:
    path = ROOT / "weights" / "dinotrack_cnn.safetensors"
    assert path.stat().st_size < 1e6
    assert {t.dtype for t in state_dicts.read(path).values()} == {torch.float16}


def test_beside_the_cnn_keeps_its_grid_and_its_start() -> None:
    settings = {"training.steps": 1, "video.area": 64 * 48, "backbone.name": SHIPPED}
    video = np.random.default_rng(0).integers(0, 255, (4, 48, 64, 3), dtype=np.uint8)
    fitted = dinotrack.fit(video, preset="fast", settings=settings)
    config = fitted.config.model
    maps = fitted.maps
    assert (maps.grid.rows, maps.grid.cols) == (12, 16)
    vit, cnn = maps.values.split([maps.channels - config.dims, config.dims], dim=1)
    for maps, length in ((cnn, 1.0), (vit, config.vit_weight)):  # kept in half precision
        torch.testing.assert_close(
            maps.float().norm(dim=1), torch.full((4, 12, 16), length), atol=1e-3, rtol=0
        )


def test_a_fit_keeps_the_name_of_the_vit_that_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another DINOv2 that lies where a fit is loaded must not take the place of its own."""
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(ROOT / "weights"))
    settings = {"training.steps": 0, "video.area": 64 * 48, "backbone.name": "auto"}
    video = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), dtype=np.uint8)
    fitted = dinotrack.fit(video, preset="fast", settings=settings, device="cpu")
    assert fitted.config.backbone.name != "auto"
    assert fitted.identity.config == fitted.config


def test_an_older_fit_that_does_not_say_which_vit_it_saw_is_told(tmp_path: Path) -> None:
    settings = {"training.steps": 0, "video.area": 64 * 48}
    video = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), dtype=np.uint8)
    fitted = dinotrack.fit(video, preset="fast", settings=settings, device="cpu")
    asked = override(fitted.config, {"backbone.name": "auto"})
    older = replace(fitted.identity, config=asked)
    checkpoint.save(tmp_path, fitted.learnt.state, older)
    with pytest.warns(DinotrackWarning, match="does not say which ViT it saw"):
        dinotrack.load(tmp_path, video)


def test_without_the_refiner_correlations_are_the_map() -> None:
    config = override(FAST, {"model.refiner": False}).model
    tracker = Tracker(config, None)
    correlation = torch.rand((2, 9, 11), generator=torch.Generator().manual_seed(0))
    expected = (correlation / config.temperature).flatten(1).log_softmax(1).view_as(correlation)
    torch.testing.assert_close(tracker.correspondence(correlation), expected)
