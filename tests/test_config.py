"""Presets, overrides and what may not be set."""

import dataclasses
import json
import typing

import numpy as np
import pytest

from dinotrack.config import (
    CHOICES,
    LEAST,
    MOST,
    PRESETS,
    Config,
    VideoConfig,
    difference,
    from_dict,
    override,
    parse_assignment,
    preset,
    to_dict,
)
from dinotrack.errors import InputError


def keys() -> set[str]:
    sections = [f.name for f in dataclasses.fields(Config) if f.name != "preset"]
    return {
        f"{s}.{f.name}" for s in sections for f in dataclasses.fields(getattr(PRESETS["fast"], s))
    }


def kind_of(key: str) -> type:
    section, _, name = key.partition(".")
    return typing.get_type_hints(typing.get_type_hints(Config)[section])[name]


def test_paper_has_the_papers_numbers() -> None:
    paper = preset("paper")
    assert (paper.video.height, paper.video.width) == (476, 854)
    assert (paper.backbone.name, paper.backbone.stride) == ("vit_large_patch14_dinov2", 7)
    assert (paper.training.steps, paper.training.batch, paper.training.learning_rate) == (
        10_000,
        512,
        1e-2,
    )
    assert (paper.training.buddy_weight, paper.training.refined_buddy_weight) == (2.5e-4, 5e-5)
    assert paper.training.late * paper.training.steps == 5000
    assert (paper.model.widths, paper.model.radius, paper.model.refiner_width) == (
        (64, 128, 256),
        35,
        16,
    )
    assert (paper.inference.anchor_cosine, paper.inference.visible_cosine) == (0.7, 0.6)


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip(name: str) -> None:
    config = preset(name)
    assert from_dict(to_dict(config)) == config
    assert difference(config, from_dict(to_dict(config))) == []


def test_override() -> None:
    changed = override(
        preset("fast"), ["training.steps=2000", "model.widths=8,16", "backbone.pretrained=false"]
    )
    assert changed == override(
        preset("fast"),
        {"training.steps": 2000, "model.widths": (8, 16), "backbone.pretrained": False},
    )
    assert changed.training.steps == 2000
    assert changed.model.widths == (8, 16)
    assert changed.backbone.pretrained is False
    assert (
        difference(preset("fast"), changed)[-1]
        == f"training.steps: {preset('fast').training.steps} / 2000"
    )
    assert preset("fast").training.steps != 2000


def test_limits_are_of_settings_that_exist() -> None:
    assert {*CHOICES, *LEAST, *MOST} <= keys()
    hints = {
        s: typing.get_type_hints(t)
        for s, t in typing.get_type_hints(Config).items()
        if s != "preset"
    }
    assert all(
        hints[k.split(".")[0]][k.split(".")[1]] in (int, float, tuple[int, ...])
        for k in {*LEAST, *MOST}
    )


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
        ("model.widths=", "64,128"),
        ("model.widths=8,16.5", "64,128"),
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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.steps", 2.5),
        ("training.steps", True),
        ("training.steps", np.float32(2.5)),
        ("training.steps", None),
        ("training.late", False),
        ("training.late", [0.5]),
        ("training.shared_frames", 2),
        ("training.shared_frames", "yes"),
        ("model.widths", 64),
        ("model.widths", (8.5, 16)),
        ("model.widths", [True]),
        ("flow.name", 3),
        ("backbone.name", None),
    ],
)
def test_wrong_types_from_python(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{key} is a (int|float|bool|str|list of numbers)"):
        override(preset("fast"), {key: value})


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", float("nan"), float("-inf")])
@pytest.mark.parametrize("key", sorted(k for k in keys() if kind_of(k) is float))
def test_no_number_is_infinite(key: str, value: object) -> None:
    with pytest.raises(InputError, match=key):
        override(preset("fast"), {key: value})


def test_no_number_of_a_list_is_infinite_or_too_small() -> None:
    """Wherever in the list it stands."""
    length = len(preset("fast").inference.confidence_weights)
    for place in range(length):
        weights = [0.5] * length
        weights[place] = float("nan")
        with pytest.raises(InputError, match="finite"):
            override(preset("fast"), {"inference.confidence_weights": weights})
    with pytest.raises(InputError, match="numbers"):
        override(preset("fast"), {"inference.confidence_weights": [0.5] * (length + 1)})
    with pytest.raises(InputError, match="at least 1"):
        override(preset("fast"), {"model.widths": []})


def test_plain_values_and_texts_mean_the_same() -> None:
    for text, value in (("7", 7), ("7", np.int64(7))):
        assert override(preset("fast"), {"training.steps": text}) == override(
            preset("fast"), {"training.steps": value}
        )
    late = override(preset("fast"), {"training.late": 1}).training.late
    assert (late, type(late)) == (1.0, float)
    for yes, no in (("true", "false"), ("True", "FALSE"), ("1", "0"), (True, False), (1, 0)):
        assert (
            override(preset("fast"), {"training.shared_frames": yes}).training.shared_frames is True
        )
        assert (
            override(preset("fast"), {"training.shared_frames": no}).training.shared_frames is False
        )
    assert parse_assignment(" flow.name = a=b ") == ("flow.name", "a=b")


def test_an_unknown_key_lists_the_right_ones() -> None:
    with pytest.raises(InputError) as error:
        override(preset("fast"), {"nothing.steps": 1})
    assert all(s.name in str(error.value) for s in dataclasses.fields(Config) if s.name != "preset")
    with pytest.raises(InputError) as error:
        override(preset("fast"), {"video.depth": 1})
    assert all(f.name in str(error.value) for f in dataclasses.fields(VideoConfig))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_their_own_rules(name: str) -> None:
    """Every number of a preset may be set to what it is, as text too, and survives JSON."""
    config = preset(name)
    assert config.preset == name
    values = {k: getattr(getattr(config, k.split(".")[0]), k.split(".")[1]) for k in keys()}
    assert override(config, values) == config
    texts = {
        k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in values.items()
    }
    assert override(config, texts) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_configs_are_frozen() -> None:
    config = preset("fast")
    for part in (
        config,
        *(getattr(config, f.name) for f in dataclasses.fields(Config) if f.name != "preset"),
    ):
        assert dataclasses.is_dataclass(part)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)
    changed = override(config, {"training.steps": 1})
    assert config.training.steps != changed.training.steps
    hash(changed)


def test_difference_is_about_fits() -> None:
    """What only matters after a fit is no other fit; everything else is."""
    one = preset("fast")
    two = override(one, {"training.steps": 1, "video.multiple": 4, "inference.candidates": 2})
    assert difference(one, two) == [
        f"video.multiple: {one.video.multiple} / 4",
        f"training.steps: {one.training.steps} / 1",
    ]
    assert difference(two, two) == []


def test_from_dict_takes_defaults_for_what_is_missing_and_nothing_unknown() -> None:
    assert from_dict({"preset": "own", "training": {"steps": 3}}) == override(
        Config("own"), {"training.steps": 3}
    )
    with pytest.raises(InputError, match="unknown setting"):
        from_dict({"preset": "own", "training": {"stepz": 3}})
    with pytest.raises(InputError, match="unknown setting"):
        from_dict({"preset": "own", "cooking": {"steps": 3}})


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="fast, quality, paper"):
        preset("slow")
