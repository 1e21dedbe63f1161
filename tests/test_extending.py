"""What a stranger writes to add a family of backbones, a flow, a format or an overlay style.

Each is a function or a class, and one line in a dict; a whole run then takes it by its name. How a
loss is added stands in test_terms.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import dinotrack
from dinotrack import cli, features, flow_methods, formats, overlay
from dinotrack.config import BackboneConfig
from dinotrack.media.frames import Frame
from dinotrack.synthesis import Clip, generate
from dinotrack.tracks import Tracks
from tests.fakes import FakeBackbone

SMALL = {"training.steps": 2, "model.widths": "8,16", "model.dims": 16, "training.batch": 32}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return generate((48, 64), 4, 2, seed=3, points=4)


def sound(tracks: Tracks, clip: Clip) -> None:
    assert tracks.xy.shape == (len(clip.queries), len(clip.frames), 2)
    assert np.isfinite(tracks.xy).all()


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_family_of_backbones(preset: str, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is tests/fakes.py; this is its line."""
    seen: list[torch.device] = []

    def make(config: BackboneConfig, device: torch.device) -> FakeBackbone:
        seen.append(device)
        return FakeBackbone()

    monkeypatch.setitem(features.MAKERS, "colours", make)
    size = {"video.height": 48, "video.width": 64} if preset == "paper" else {}
    named = {"backbone.name": "colours", "flow.name": "dis", "foreground.method": "pca"}
    fitted = dinotrack.fit(clip.frames, preset=preset, settings=SMALL | size | named, device="cpu")
    assert seen, "the backbone was asked"
    sound(fitted.track(clip.queries), clip)


def drift(first: Tensor, second: Tensor) -> Tensor:
    """A flow: everything moves a quarter of a px to the right, whatever the frames show."""
    size = first.shape[-2:]
    return torch.stack((torch.full(size, 0.25), torch.zeros(size))).expand(len(first), 2, *size)


def test_a_flow(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flow_methods.FLOWS, "drift", lambda config, device: drift)
    settings = SMALL | {"flow.name": "drift"}
    fitted = dinotrack.fit(clip.frames, preset="fast", settings=settings, device="cpu")
    assert (fitted.flow.forward[:, 0] > 0).all()
    assert not fitted.flow.forward[:, 1].any()
    sound(fitted.track(clip.queries), clip)


def save_counts(path: Path, tracks: Tracks) -> None:
    """A format: how many frames show each point."""
    np.savetxt(path, tracks.visible.sum(axis=1), fmt="%d")


def crosses(frame: Frame, scene: overlay.Scene, t: int) -> Frame:
    """An overlay style: a white pixel at each visible point."""
    tracks, drawn = scene.tracks, frame.copy()
    x, y = tracks.xy[tracks.visible[:, t], t].round().astype(int).T
    drawn[y.clip(0, len(frame) - 1), x.clip(0, frame.shape[1] - 1)] = 255
    return drawn


def test_a_format_and_a_style(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.RESULTS, "counts.txt", save_counts)
    monkeypatch.setitem(overlay.STYLES, "crosses", crosses)
    frames = tmp_path / "frames"
    frames.mkdir()
    for t, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(frames / f"{t}.png")
    small = [f"{key}={value}" for key, value in SMALL.items()]
    argv = [str(frames), "--out", str(tmp_path / "run"), "--grid", "2", "--preset", "fast"]
    assert cli.main([*argv, "--overlay-style", "crosses", "--set", *small]) == 0
    counts = (tmp_path / "run" / "counts.txt").read_text().split()
    tracks = formats.load_tracks(tmp_path / "run" / "tracks.npz")
    assert [int(count) for count in counts] == tracks.visible.sum(axis=1).tolist()
    assert (tmp_path / "run" / "overlay.mp4").is_file()
