"""Settings by their keys, such as "training.steps": set from text, stored, read and compared."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from dinotrack.config.numbers import (
    Config,
)
from dinotrack.config.section import Section, is_section, plain_type
from dinotrack.errors import InputError

S = TypeVar("S", bound=Section)

TRUTH = {"true": True, "false": False, "1": True, "0": False}

RENAMED: dict[str, tuple[str, ...]] = {
    "buddies.slope": ("buddies.steepness",),
    "inference.chain.anchored": ("inference.chain.found",),
    "inference.anchor_cosine": ("inference.matching.anchor_cosine",),
    "inference.visible_cosine": ("inference.matching.visible_cosine",),
    "inference.max_anchors": ("inference.matching.max_anchors",),
    "inference.chain_error": ("inference.chain.cycle_error",),
    "inference.patch_lost": ("inference.chain.lost",),
    "inference.patch_likeness": ("inference.chain.found",),
    "inference.patch_shift": ("inference.chain.shift",),
    "inference.patch_reach": ("inference.patches.reach",),
    "inference.patch_search": ("inference.refinding.search",),
    "inference.patch_refound": ("inference.refinding.likeness",),
    "inference.candidates": ("inference.path.candidates",),
    "inference.match_scale": ("inference.path.match_scale",),
    "inference.step_scale": ("inference.path.step_scale",),
    "inference.jump_cost": ("inference.path.jump_cost",),
    "inference.occluded_jump_cost": ("inference.path.occluded_jump_cost",),
    "inference.flow_error": ("inference.path.flow_error", "inference.smoothing.flow_error"),
    "inference.flow_noise": ("inference.smoothing.flow_noise",),
    "inference.match_noise": ("inference.smoothing.match_noise",),
    "inference.match_reach": ("inference.smoothing.match_reach",),
    "inference.patch_noise": ("inference.smoothing.patch_noise",),
    "inference.stray": ("inference.smoothing.restart",),
    "inference.support_reach": ("inference.support.reach",),
    "inference.memory_weight": ("inference.memory.weight",),
    "inference.memory_confidence": ("inference.memory.confidence",),
    "inference.visible_confidence": ("inference.confidence.visible",),
    "inference.confidence_weights": (
        "inference.confidence.bias",
        "inference.confidence.cosine",
        "inference.confidence.cycle_error",
        "inference.confidence.followed",
        "inference.confidence.distinctness",
        "inference.confidence.likeness",
        "inference.confidence.disagreement",
        "inference.confidence.neighbours",
    ),
}
"""Keys of older versions, and what they are called now.

Of a list, each number has a key of its own now; another value stands under each of the new keys.
"""

GONE: dict[str, str] = {"training.save_every": "training.save_seconds"}
"""Keys of older versions whose values mean nothing any more, and what is set instead."""

NOT_OF_A_FIT = ("inference.", "focus.", "training.save_seconds")
"""Keys that begin so do not change what a fit learns before points are asked for, only how that is
saved or used later."""


def override(config: Config, assignments: Iterable[str] | Mapping[str, Any]) -> Config:
    """A config with some settings changed: ["training.steps=2000"] or {"training.steps": 2000}.

    Raises InputError for an unknown key, and lists the right ones, and for a wrong value.
    """
    if not isinstance(assignments, Mapping):
        assignments = dict(parse_assignment(text) for text in assignments)
    known = flatten(config).keys()
    for key, value in assignments.items():
        if key not in known:
            raise InputError(_what_is_unknown(key, list(known)))
        config = _with(config, key.split("."), value)
    return config


def parse_assignment(text: str) -> tuple[str, str]:
    """ "training.steps=2000" -> ("training.steps", "2000").

    Raises InputError where there is no "=".
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{text!r} sets nothing; write KEY=VALUE, as in training.steps=2000")
    return key.strip(), value.strip()


def flatten(section: Section) -> dict[str, Any]:
    """The settings of a section, and of the sections within, by key: {"training.steps": 115, ...}.

    The name of a config's preset is no setting.
    """
    values: dict[str, Any] = {}
    for name, kind in section.kinds.items():
        value = getattr(section, name)
        if is_section(kind):
            values |= flatten(value)
        elif section.key:
            values[section.full_key(name)] = value
    return values


def to_dict(config: Config) -> dict[str, Any]:
    """A config as plain values, sections as dicts, for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`. Settings that are missing have their defaults.

    Keys of older versions are understood. Raises InputError for unknown keys and wrong values.
    """
    settings = {name: value for name, value in values.items() if name != "preset"}
    current: dict[str, Any] = {}
    for key, value in _leaves(settings).items():
        if key not in GONE:
            current |= _renamed(key, value)
    return override(Config(preset=str(values.get("preset", "custom"))), current)


def difference(a: Config, b: Config) -> list[str]:
    """What differs for a fit, one line a setting: "training.steps: 600 / 2000".

    Settings that a fit does not depend on, those of inference above all, are left out.
    """
    ours, theirs = flatten(a), flatten(b)
    return [
        f"{key}: {value} / {theirs[key]}"
        for key, value in ours.items()
        if value != theirs[key] and not key.startswith(NOT_OF_A_FIT)
    ]


def _with(section: S, path: list[str], value: Any) -> S:
    """The section with another value, or text that stands for one, where a path of names leads."""
    name, *rest = path
    kind = section.kinds[name]
    new = _with(getattr(section, name), rest, value) if rest else _parse(value, kind)
    return dataclasses.replace(section, **{name: new})


def _parse(value: Any, kind: Any) -> Any:
    """The value that a text stands for, for a setting of type `kind`.

    A text that stands for none stays as it is, and the section refuses it.
    """
    if not isinstance(value, str):
        return value
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        items = [_parse(part, item) for part in value.split(",")]
        return value if any(isinstance(item, str) for item in items) else items
    plain = plain_type(kind)
    if plain is bool:
        return TRUTH.get(value.lower(), value)
    try:
        return plain(value)
    except ValueError:
        return value


def _what_is_unknown(key: str, known: list[str]) -> str:
    """The message for a key that is not among those known: what to write instead."""
    if key in RENAMED:
        return f"{key} has another name now; set {' and '.join(RENAMED[key])}"
    if key in GONE:
        return f"{key} is gone; set {GONE[key]} instead"
    section = _innermost_section(key, known)
    close = [] if section == f"{key}." else _close(key, known)
    inner = [other.removeprefix(section) for other in known if other.startswith(section)]
    names = ", ".join(dict.fromkeys(other.partition(".")[0] for other in inner))
    if section:
        listed = f"{section.removesuffix('.')} has {names}"
    else:
        listed = f"sections are {names}, as in training.steps"
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"unknown setting {key!r}{hint}; {listed}"


def _innermost_section(key: str, known: list[str]) -> str:
    """The start of a key, dot included, up to which it names a section; "" where it names none."""
    names = key.split(".")
    starts = [".".join([*names[:count], ""]) for count in range(len(names), 0, -1)]
    return next((s for s in starts if any(other.startswith(s) for other in known)), "")


def _close(key: str, known: list[str]) -> list[str]:
    """The keys that may have been meant: of the same last name, or spelt much alike."""
    last_name = key.rpartition(".")[2]
    same = [other for other in known if other.endswith(f".{last_name}")]
    if same:
        return difflib.get_close_matches(key, same, n=2, cutoff=0.0)
    return difflib.get_close_matches(key, known, n=1, cutoff=0.8)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, by dotted key: {"training": {"steps": 3}} -> {"training.steps": 3}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _leaves(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _renamed(key: str, value: Any) -> dict[str, Any]:
    """A setting under the keys that it has today."""
    keys = RENAMED.get(key, (key,))
    if len(keys) == 1 or not isinstance(value, list | tuple):
        return dict.fromkeys(keys, value)
    if len(value) != len(keys):
        raise InputError(f"{key} has {len(keys)} numbers, not {len(value)}")
    return dict(zip(keys, value, strict=True))
