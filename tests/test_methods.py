"""Methods by name: presets, ablations, and what a wrong name or setting is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotrack.benchmarks import methods
from dinotrack.benchmarks.methods import ABLATIONS, METHODS, Configuration, Options, make_method
from dinotrack.config import PRESETS, difference, flatten, override, preset
from dinotrack.errors import InputError
from dinotrack.synthesis import generate

TINY = {
    "training.steps": 2,
    "training.batch": 32,
    "model.widths": "8",
    "model.dims": 8,
    "model.blocks": 0,
}


class Asked(Exception):
    """Ends a fit before it begins."""


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for `fit`: what it was asked for, in order."""
    asked: list[dict[str, Any]] = []

    def fit(video: Any, **options: Any) -> None:
        asked.append({"video": video, **options})
        raise Asked

    monkeypatch.setattr(methods, "fit", fit)
    return asked


def ask(name: str, options: Options, seed: int = 0) -> None:
    """Track one point through a video, as far as the fit."""
    with pytest.raises(Asked):
        make_method(name, options)("pony", Path("pony.mp4"), np.zeros((1, 3)), seed)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("name", PRESETS)
def test_every_ablation_is_a_valid_override_of_every_preset(name: str, ablation: str) -> None:
    config = override(preset(name), ABLATIONS[ablation])
    values = flatten(config)
    for key, value in ABLATIONS[ablation].items():
        assert values[key] == value
    assert isinstance(make_method(f"{name}/{ablation}", Options()), Configuration)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_changes_some_preset(ablation: str) -> None:
    assert any(override(config, ABLATIONS[ablation]) != config for config in PRESETS.values())


def test_what_a_fit_is_asked(fits: list[dict[str, Any]]) -> None:
    options = Options({"training.steps": "5", "training.flow_weight": "2"}, "cpu", Path("kept"))
    ask("fast", options, 4)
    ask("fast/without-flow-loss", options, 4)
    plain, ablated = fits
    assert plain == {
        "video": Path("pony.mp4"),
        "preset": "fast",
        "settings": options.settings,
        "device": "cpu",
        "seed": 4,
        "folder": Path("kept/pony-4"),
        "resume": True,
    }
    folder = Path("kept/fast/without-flow-loss/pony-4")
    assert ablated == plain | {
        "settings": options.settings | {"training.flow_weight": 0},
        "folder": folder,
    }


def test_ablations_of_tracking_share_the_presets_fit(fits: list[dict[str, Any]]) -> None:
    options = Options(models=Path("kept"))
    for name in ("fast/without-joining", "fast/without-memory", "fast/without-cycle"):
        ask(name, options)
        base, _, ablation = name.partition("/")
        assert not difference(preset(base), override(preset(base), ABLATIONS[ablation]))
    assert {asked["folder"] for asked in fits} == {Path("kept/pony-0")}
    ask("fast", Options())
    assert fits[-1]["folder"] is None


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("fats", "unknown method 'fats'; choose one of fast, quality, paper, still"),
        ("fast/without-everything", "without-joining"),
        ("still/without-vit", "unknown method"),
    ],
)
def test_unknown_names_are_told_the_right_ones(name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        make_method(name, Options())


@pytest.mark.parametrize("name", ["fast", "paper/without-vit", "vit"])
def test_wrong_settings_are_refused_at_once(name: str) -> None:
    with pytest.raises(InputError, match="training has"):
        make_method(name, Options({"training.stesp": 3}))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_the_settings_that_are_its_own(name: str) -> None:
    """Settings are no concern of methods without any."""
    if name in ("raft", "vit"):
        pytest.skip("takes weights that may not be here")
    method = make_method(name, Options({"training.steps": 3}, device="cpu"))
    assert isinstance(method, Configuration) == (name in PRESETS)
    if isinstance(method, Configuration):
        assert method.options.settings == {"training.steps": 3}


def test_a_kept_fit_is_used_by_its_ablations(tmp_path: Path) -> None:
    """For real: the second and third method train nothing."""
    clip = generate((48, 64), 4, 2, seed=1, points=6)
    options = Options(TINY, "cpu", tmp_path)
    found = [
        make_method(name, options)("pony", clip.frames, clip.queries, 0)
        for name in ("fast", "fast/without-joining", "fast")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["pony-0"]
    assert all(tracks.xy.shape == (len(clip.queries), 4, 2) for tracks in found)
    np.testing.assert_array_equal(found[0].xy, found[2].xy)
    assert not np.array_equal(found[0].xy, found[1].xy)
