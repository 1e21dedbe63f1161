"""Presets, overrides and what may not be set."""

import dataclasses
import typing

import pytest

from dinotrack.config import CHOICES, LEAST, MOST, PRESETS, Config, difference, from_dict, override, preset, to_dict
from dinotrack.errors import InputError


def keys() -> set[str]:
    sections = [f.name for f in dataclasses.fields(Config) if f.name != "preset"]
    return {f"{s}.{f.name}" for s in sections for f in dataclasses.fields(getattr(PRESETS["fast"], s))}


def test_paper_has_the_papers_numbers() -> None:
    paper = preset("paper")
    assert (paper.video.height, paper.video.width) == (476, 854)
    assert (paper.backbone.name, paper.backbone.stride) == ("vit_large_patch14_dinov2", 7)
    assert (paper.training.steps, paper.training.batch, paper.training.learning_rate) == (10_000, 512, 1e-2)
    assert (paper.training.buddy_weight, paper.training.refined_buddy_weight) == (2.5e-4, 5e-5)
    assert paper.training.late * paper.training.steps == 5000
    assert (paper.model.widths, paper.model.radius, paper.model.refiner_width) == ((64, 128, 256), 35, 16)
    assert (paper.inference.anchor_cosine, paper.inference.visible_cosine) == (0.7, 0.6)


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip(name: str) -> None:
    config = preset(name)
    assert from_dict(to_dict(config)) == config
    assert difference(config, from_dict(to_dict(config))) == []


def test_override() -> None:
    changed = override(preset("fast"), ["training.steps=2000", "model.widths=8,16", "backbone.pretrained=false"])
    assert changed == override(
        preset("fast"), {"training.steps": 2000, "model.widths": (8, 16), "backbone.pretrained": False}
    )
    assert changed.training.steps == 2000
    assert changed.model.widths == (8, 16)
    assert changed.backbone.pretrained is False
    assert difference(preset("fast"), changed)[-1] == f"training.steps: {preset('fast').training.steps} / 2000"
    assert preset("fast").training.steps != 2000


def test_limits_are_of_settings_that_exist() -> None:
    assert {*CHOICES, *LEAST, *MOST} <= keys()
    hints = {s: typing.get_type_hints(t) for s, t in typing.get_type_hints(Config).items() if s != "preset"}
    assert all(hints[k.split(".")[0]][k.split(".")[1]] in (int, float, tuple[int, ...]) for k in {*LEAST, *MOST})


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("steps=3", "training"),
        ("training.stepz=3", "steps"),
        ("training.steps", "KEY=VALUE"),
        ("training.steps=many", "int"),
        ("training.steps=2.5", "int"),
        ("training.late=half", "float"),
        ("training.shared_frames=maybe", "bool"),
        ("model.widths=a,b", "64,128"),
        ("training.steps=-1", "at least 0"),
        ("training.batch=0", "at least 2"),
        ("training.frames=1", "at least 2"),
        ("training.learning_rate=nan", "at least 0"),
        ("training.flow_weight=inf", "finite"),
        ("training.precision=float8", "bfloat16"),
        ("video.area=0", "at least 1"),
        ("video.multiple=0", "at least 1"),
        ("video.height=-8", "at least 0"),
        ("video.filter=cubic", "lanczos"),
        ("flow.area=0", "at least 1"),
        ("foreground.share=1.5", "at most 1"),
        ("trajectories.step=0", "at least 1"),
        ("model.widths=32,0", "at least 1"),
        ("model.kernel=4", "5"),
        ("model.norm=layer", "group"),
        ("model.dims=0", "at least 1"),
        ("model.temperature=0", "at least 1e-06"),
        ("inference.method=guess", "join"),
    ],
)
def test_wrong_settings(assignment: str, said: str) -> None:
    with pytest.raises(InputError, match=assignment.partition("=")[0].rpartition(".")[2]) as error:
        override(preset("fast"), [assignment])
    assert said in str(error.value)


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="fast, quality, paper"):
        preset("slow")
