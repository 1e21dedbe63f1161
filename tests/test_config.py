"""Presets, how settings are changed and stored, and what may not be set."""

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotrack.config import (
    FAST,
    GONE,
    PRESETS,
    RENAMED,
    Config,
    InferenceConfig,
    PathConfig,
    TrainingConfig,
    VideoConfig,
    difference,
    flatten,
    from_dict,
    override,
    parse_assignment,
    preset,
    to_dict,
)
from dinotrack.config.section import Bounds, Section, is_section, plain_type
from dinotrack.errors import InputError
from tests.same import same

STORED = Path(__file__).parent / "data" / "flat_inference_configs.json"
RENAMED_SINCE = {"inference.chain.anchored"}
"""Keys that no checkpoint of that age holds yet."""
"""The presets as commit 91b1cf2 stored them in checkpoints, all of inference in one section."""

SETTINGS = {
    section.full_key(name): (section, name, kind)
    for section in Section.__subclasses__()
    for name, kind in section.kinds.items()
    if section is not Config and not is_section(kind)
}
"""Every setting by its key: the section that has it, its name there, and its type."""


def bounds_of(kind: Any) -> Bounds:
    """The bounds of a number's type; those of a list's type are its items'."""
    if typing.get_origin(kind) is tuple:
        return bounds_of(typing.get_args(kind)[0])
    return next((b for b in getattr(kind, "__metadata__", ())), Bounds())


def base_of(kind: Any) -> Any:
    """int, float, bool, str or tuple; Literal for a choice."""
    origin = typing.get_origin(kind)
    return origin if origin in (Literal, tuple) else plain_type(kind)


def wrong_numbers(kind: Any) -> list[Any]:
    """Numbers that a setting of this type must refuse, as the setting and as an item of a list."""
    bounds = bounds_of(kind)
    if plain_type(kind) is int:
        below = [bounds.least - 1] if bounds.least > -math.inf else []
        above = [bounds.most + 1, 10**400, 10**5000] if bounds.most < math.inf else []
        return [*below, *above]
    below = [bounds.least - 1e-7] if bounds.least > -math.inf else []
    above = [bounds.most + 1e-7] if bounds.most < math.inf else []
    return [*below, *above, math.nan, math.inf, -math.inf]


def wrong_values(kind: Any) -> list[Any]:
    """Plain values that a setting of this type must refuse, wrong types among them."""
    base = base_of(kind)
    if base is Literal:
        return ["guess", "", None, True, 2.5, 4, ["area"]]
    if base is str:
        return [3, None, True, ["dis"]]
    if base is bool:
        return [2, -1, 0.5, None, "maybe", "yes", [True]]
    if base is tuple:
        item, *others = typing.get_args(kind)
        length = 3 if others == [Ellipsis] else 1 + len(others)
        right = [1] * length
        wrong_items = [*wrong_numbers(item), None, "many", True, [1]]
        places = range(length)
        inside = [[*right[:k], wrong, *right[k + 1 :]] for wrong in wrong_items for k in places]
        of_wrong_length = [] if others == [Ellipsis] else [[*right, 1], right[1:]]
        return [*inside, *of_wrong_length, [], 1, None, "many"]
    of_wrong_type: list[Any] = [None, True, False, "many", [1], (1,), {}]
    return [*wrong_numbers(kind), *of_wrong_type, *([0.5, np.float32(1)] if base is int else [])]


def wrong_texts(kind: Any) -> list[str]:
    """Texts that a setting of this type must refuse on the command line."""
    base = base_of(kind)
    if base is str:
        return []
    texts = {bool: ["maybe", "2", ""], Literal: ["guess", "", "true"]}
    if base in texts:
        return texts[base]
    if base is tuple:
        return ["", "many", "1,many", "1,,2", "1;2", "nan", "1,inf"]
    numbers = [str(number) for number in wrong_numbers(kind) if number != 10**5000]
    return [*numbers, "", "many", "true", "1,2", *(["2.5", "1e3"] if base is int else ["1e999"])]


def test_paper_has_the_papers_numbers() -> None:
    paper = preset("paper")
    assert (paper.video.height, paper.video.width) == (476, 854)
    assert (paper.backbone.name, paper.backbone.stride) == ("vit_large_patch14_dinov2", 7)
    training, model = paper.training, paper.model
    assert (training.steps, training.batch, training.learning_rate) == (10_000, 512, 1e-2)
    assert (training.buddy_weight, training.refined_buddy_weight) == (2.5e-4, 5e-5)
    assert training.late * training.steps == 5000
    assert (model.widths, model.radius, model.refiner_width) == ((64, 128, 256), 35, 16)
    matching = paper.inference.matching
    assert (matching.anchor_cosine, matching.visible_cosine) == (0.7, 0.6)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_their_numbers(name: str) -> None:
    """A preset of today is the one that older checkpoints hold, under the keys of then."""
    stored = json.loads(STORED.read_text())[name]
    assert from_dict(stored) == preset(name)
    now = flatten(preset(name))
    then = {f"{s}.{k}": v for s, part in stored.items() if s != "preset" for k, v in part.items()}
    assert {key for key in then if key not in now} == set(RENAMED) - RENAMED_SINCE
    kept = {key: value for key, value in then.items() if key in now}
    as_stored = json.loads(json.dumps(now))
    assert all(same(as_stored[key], value) for key, value in kept.items())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_their_own_rules(name: str) -> None:
    """Every number of a preset may be set to what it is, as text too, and survives JSON."""
    config = preset(name)
    assert config.preset == name
    values = flatten(config)
    assert values.keys() == SETTINGS.keys()
    assert override(config, values) == config
    texts = {k: as_text(v) for k, v in values.items()}
    assert override(config, texts) == config
    assert override(config, [f"{key}={text}" for key, text in texts.items()]) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert difference(config, from_dict(to_dict(config))) == []


def as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def some_value(kind: Any) -> st.SearchStrategy[Any]:
    """Any right value of a setting of this type."""
    if is_section(kind):
        return some_section(kind)
    base, bounds = base_of(kind), bounds_of(kind)
    if base is Literal:
        return st.sampled_from(typing.get_args(kind))
    if base is tuple:
        item, *others = typing.get_args(kind)
        least, most = (1, 4) if others == [Ellipsis] else (1 + len(others), 1 + len(others))
        return st.lists(some_value(item), min_size=least, max_size=most).map(tuple)
    finite = [None if math.isinf(bound) else bound for bound in (bounds.least, bounds.most)]
    if base is int:
        return st.integers(*finite)
    if base is float:
        return st.floats(*finite, allow_nan=False, allow_infinity=False)
    return st.booleans() if base is bool else st.text(st.characters(codec="ascii"), max_size=5)


def some_section(section: type[Section]) -> st.SearchStrategy[Any]:
    values = {name: some_value(kind) for name, kind in section.kinds.items()}
    return st.fixed_dictionaries(values).map(lambda values: section(**values))


@settings(deadline=None)
@given(some_section(Config))
def test_any_config_survives_json_and_the_command_line(config: Config) -> None:
    back = from_dict(json.loads(json.dumps(to_dict(config))))
    assert back == config
    assert same(flatten(back), flatten(config))
    texts = {key: as_text(value) for key, value in flatten(config).items()}
    assert override(Config(config.preset), texts) == config


def test_override() -> None:
    texts = [
        "training.steps=2000",
        "model.widths=8,16",
        "backbone.pretrained=false",
        "inference.smoothing.flow_noise=0.1",
    ]
    values = {
        "training.steps": 2000,
        "model.widths": (8, 16),
        "backbone.pretrained": False,
        "inference.smoothing.flow_noise": 0.1,
    }
    changed = override(FAST, texts)
    assert changed == override(FAST, values)
    assert flatten(changed) == flatten(FAST) | values
    assert difference(FAST, changed)[-1] == f"training.steps: {FAST.training.steps} / 2000"
    assert FAST.training.steps != 2000


@pytest.mark.parametrize("key", SETTINGS)
def test_no_setting_takes_a_wrong_value(key: str) -> None:
    """Neither when its section is made in Python, nor by `override`; the message names the key."""
    section, name, kind = SETTINGS[key]
    for wrong in wrong_values(kind):
        with pytest.raises(InputError) as made:
            section(**{name: wrong})
        with pytest.raises(InputError) as changed:
            override(FAST, {key: wrong})
        assert str(made.value).startswith(key)
        assert str(changed.value) == str(made.value)


@pytest.mark.parametrize("key", [key for key in SETTINGS if wrong_texts(SETTINGS[key][2])])
def test_no_setting_takes_a_wrong_text(key: str) -> None:
    for wrong in wrong_texts(SETTINGS[key][2]):
        with pytest.raises(InputError) as error:
            override(FAST, [f"{key}={wrong}"])
        assert str(error.value).startswith(key)


@pytest.mark.parametrize("key", SETTINGS)
def test_bounds_and_choices_may_be_set(key: str) -> None:
    """The least and the most of a number are right values themselves, and so is every choice."""
    section, name, kind = SETTINGS[key]
    if base_of(kind) is Literal:
        right = list(typing.get_args(kind))
    elif base_of(kind) in (int, float):
        bounds = bounds_of(kind)
        right = [bound for bound in (bounds.least, bounds.most) if math.isfinite(bound)]
    else:
        right = [getattr(section(), name)]
    for value in right:
        assert getattr(section(**{name: value}), name) == value
        assert flatten(override(FAST, {key: value}))[key] == value


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("steps=3", "did you mean training.steps"),
        ("training.stepz=3", "did you mean training.steps"),
        ("training.steps", "KEY=VALUE"),
        ("training.steps=many", "whole number"),
        ("training.steps=2.5", "whole number"),
        ("training.late=half", "a number"),
        ("training.shared_frames=maybe", "true or false"),
        ("model.widths=a,b", "64, 128"),
        ("training.steps=-1", "at least 0"),
        ("training.batch=0", "at least 2"),
        ("training.frames=1", "at least 2"),
        ("training.learning_rate=nan", "at least 0"),
        ("training.decay_every=0", "at least 1"),
        ("training.huber_delta=0", "at least 1e-06"),
        ("training.precision=float8", "bfloat16"),
        ("video.area=0", "at least 1"),
        ("video.multiple=0", "at least 1"),
        ("video.height=-8", "at least 0"),
        ("video.filter=cubic", "lanczos"),
        ("flow.area=0", "at least 1"),
        ("foreground.share=1.5", "at least 0 and at most 1"),
        ("trajectories.step=0", "at least 1"),
        ("buddies.offset=inf", "finite"),
        ("buddies.candidates=0", "at least 1"),
        ("model.widths=32,0", "at least 1"),
        ("model.widths=", "64, 128"),
        ("model.widths=8,16.5", "64, 128"),
        ("model.kernel=4", "5"),
        ("model.norm=layer", "group"),
        ("model.dims=0", "at least 1"),
        ("model.temperature=0", "at least 1e-06"),
        ("inference.method=guess", "join"),
        ("inference.path.candidates=1", "at least 2"),
        ("inference.patches.stretch=1", "2 numbers"),
        ("inference.confidence.visible=1.01", "at most 1"),
        ("inference.support.reach=-1", "at least 0"),
    ],
)
def test_messages_say_what_is_right(assignment: str, said: str) -> None:
    with pytest.raises(InputError, match=assignment.partition("=")[0].rpartition(".")[2]) as error:
        override(FAST, [assignment])
    assert said in str(error.value)


def test_a_wrong_number_of_a_list_is_named_by_its_place() -> None:
    with pytest.raises(InputError, match=r"model\.widths\[1\]=0 is out of range; .* at least 1"):
        override(FAST, {"model.widths": (32, 0, 8)})
    with pytest.raises(InputError, match=r"turns\[2\]=nan is out of range; it must be finite"):
        override(FAST, {"inference.refinding.turns": [0.0, 1.0, math.nan]})
    with pytest.raises(InputError, match=r"model\.widths is empty"):
        override(FAST, {"model.widths": []})


def test_plain_values_and_texts_mean_the_same() -> None:
    steps = [override(FAST, {"training.steps": steps}) for steps in ("7", 7, np.int64(7))]
    assert steps[0] == steps[1] == steps[2]
    late = override(FAST, {"training.late": 1}).training.late
    assert same(late, 1.0)
    for yes, no in (("true", "false"), ("True", "FALSE"), ("1", "0"), (True, False), (1, 0)):
        assert override(FAST, {"training.shared_frames": yes}).training.shared_frames is True
        assert override(FAST, {"training.shared_frames": no}).training.shared_frames is False
    assert parse_assignment(" flow.name = a=b ") == ("flow.name", "a=b")


def test_sections_made_in_python_hold_values_of_their_types() -> None:
    values: dict[str, Any] = {"late": 1, "steps": np.int64(7), "muon_coefficients": [1, 2, 3]}
    made = TrainingConfig(**values)
    assert same((made.late, made.steps, made.muon_coefficients), (1.0, 7, (1.0, 2.0, 3.0)))
    assert dataclasses.replace(made, steps=8).late == 1.0
    with pytest.raises(InputError, match=r"training\.steps=-1"):
        dataclasses.replace(made, steps=-1)
    with pytest.raises(InputError, match=r"inference\.path is a section; give a PathConfig"):
        InferenceConfig(path={"candidates": 3})  # type: ignore[arg-type]
    assert InferenceConfig(path=PathConfig(candidates=3)).path.candidates == 3


def test_an_unknown_key_lists_the_right_ones() -> None:
    with pytest.raises(InputError) as error:
        override(FAST, {"nothing.whatever": 1})
    assert all(name in str(error.value) for name in Config.kinds if name != "preset")
    for key in ("video.depth", "video", "video.height.px"):
        with pytest.raises(InputError, match=f"unknown setting '{key}'") as error:
            override(FAST, {key: 1})
        assert all(name in str(error.value) for name in VideoConfig.kinds)
    for key in ("inference.path.cost", "inference.path", "inference.path."):
        with pytest.raises(InputError, match=r"inference\.path has") as error:
            override(FAST, {key: 1})
        assert all(name in str(error.value) for name in PathConfig.kinds)
    with pytest.raises(InputError, match="unknown setting 'preset'"):
        override(FAST, {"preset": "slow"})


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("flow_noise", "inference.smoothing.flow_noise"),
        ("inference.pathh.candidates", "inference.path.candidates"),
        ("inference.smoothing.flow_noize", "inference.smoothing.flow_noise"),
        ("model.withs", "model.widths"),
    ],
)
def test_an_unknown_key_is_answered_with_a_close_one(key: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"did you mean {meant}"):
        override(FAST, {key: 1})


@pytest.mark.parametrize("key", RENAMED)
def test_an_old_key_is_answered_with_the_new_one(key: str) -> None:
    with pytest.raises(InputError, match=f"{key} has another name now") as error:
        override(FAST, [f"{key}=1"])
    assert all(new in str(error.value) for new in RENAMED[key])
    assert set(RENAMED[key]) <= SETTINGS.keys()


@pytest.mark.parametrize("key", GONE)
def test_a_key_that_is_gone_is_answered_and_in_a_checkpoint_left_out(key: str) -> None:
    with pytest.raises(InputError, match=f"{key} is gone; set {GONE[key]} instead"):
        override(FAST, {key: 250})
    section, name = key.split(".")
    assert from_dict({section: {name: 250}}) == from_dict({})
    assert GONE[key] in SETTINGS


@pytest.mark.parametrize(
    "setting",
    [
        {"model.widths": [60000, 60000]},
        {"model.widths": [8] * 1000},
        {"video.min_side": 6000},
        {"video.area": 10**10},
        {"model.blocks": 10**7},
        {"inference.patches.reach": 5000},
        {"buddies.candidates": 10**9},
        {"training.batch": 10**12},
        {"training.contrastive_points": 10**9},
        {"inference.refinding.zooms": [1.0] * 10**5},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_what_would_take_all_memory_is_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at most"):
        override(FAST, setting)


def test_old_keys_of_a_checkpoint_are_read() -> None:
    weights = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    old = {"flow_error": 3, "stray": 9.0, "confidence_weights": weights, "pin_query": False}
    inference = from_dict({"preset": "own", "inference": old}).inference
    assert same((inference.path.flow_error, inference.smoothing.flow_error), (3.0, 3.0))
    assert inference.smoothing.restart == 9
    assert inference.pin_query is False
    confidence = dataclasses.asdict(inference.confidence)
    later = {"visible": 0.4, "taught": -0.5, "contrast": 0.3, "usual": 2.2}
    assert {name: confidence.pop(name) for name in later} == later
    assert list(confidence.values()) == weights
    with pytest.raises(InputError, match="8 numbers, not 5"):
        from_dict({"preset": "own", "inference": {"confidence_weights": [1, 2, 3, 4, 5]}})
    with pytest.raises(InputError, match=r"smoothing\.restart=-1\.0 is out of range"):
        from_dict({"preset": "own", "inference": {"stray": -1.0}})


def test_keys_that_were_renamed_later_are_read() -> None:
    """Checkpoints of the versions in between hold them."""
    stored = {"buddies": {"slope": 9.0}, "inference": {"chain": {"anchored": 0.5}}}
    config = from_dict(stored)
    assert (config.buddies.steepness, config.inference.chain.found) == (9.0, 0.5)


def test_configs_are_frozen() -> None:
    sections = [FAST, *(getattr(FAST, name) for name in Config.kinds if name != "preset")]
    for part in sections:
        assert isinstance(part, Section)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)
    changed = override(FAST, {"training.steps": 1})
    assert FAST.training.steps != changed.training.steps
    assert hash(changed) != hash(FAST)


def test_difference_is_about_fits() -> None:
    """What only matters after a fit, or how often it is saved, makes no other fit."""
    before = {"training.steps": 1, "video.multiple": 4}
    later = {
        "inference.path.candidates": 2,
        "inference.method": "match",
        "training.save_seconds": 9,
    }
    two = override(FAST, before | later)
    assert difference(FAST, two) == [
        f"video.multiple: {FAST.video.multiple} / 4",
        f"training.steps: {FAST.training.steps} / 1",
    ]
    assert difference(two, two) == []


def test_from_dict_takes_defaults_for_what_is_missing_and_nothing_unknown() -> None:
    own = from_dict({"preset": "own", "training": {"steps": 3}})
    assert own == override(Config("own"), {"training.steps": 3})
    unknown = [
        {"training": {"stepz": 3}},
        {"cooking": {"steps": 3}},
        {"training": 3},
        {"training": {"steps": {"most": 3}}},
    ]
    for values in unknown:
        with pytest.raises(InputError, match="unknown setting"):
            from_dict({"preset": "own", **values})


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="fast, quality, paper"):
        preset("slow")
