"""What benchmarks measure, written as JSON and read back: the only place where either happens.

Measurements are frozen dataclasses. Their JSON is an object with their fields, null for NaN. A
class may have another form of its own, by the methods `plain` and `from_plain`.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dinotrack.errors import InputError, cause_of

T = TypeVar("T")


def to_json(record: Any) -> str:
    """A measurement as JSON."""
    return json.dumps(plain(record), indent=1) + "\n"


def read_json(path: Path, kind: type[T], writer: str) -> T:
    """The measurement that a benchmark wrote into a file.

    Fields of later versions of ours may be missing where they have a default, and fields of
    earlier ones are passed over. writer: the benchmark, as the command line names it. Raises
    InputError for another file.
    """
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"{path}: can't be read ({cause_of(error)}); check the path"
        raise InputError(problem) from error
    except ValueError as error:
        raise InputError(
            f"{path}: is no JSON ({error}); give what `{writer} --out` wrote"
        ) from error
    try:
        record: T = build(kind, value)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is no report of this benchmark ({error}); give what `{writer} --out` wrote"
        ) from error
    return record


def plain(value: Any) -> Any:
    """A value as JSON has it: objects, lists, numbers, text, and null for NaN and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "plain"):
            return plain(value.plain())
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def build(kind: Any, value: Any) -> Any:
    """The inverse of `plain`: a value of a type that annotates a field.

    Raises TypeError, KeyError, ValueError or AttributeError for a value of another form.
    """
    origin = typing.get_origin(kind)
    inner = typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(inner, value)
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        return tuple(build(one, part) for one, part in zip(kinds, value, strict=True))
    if origin is not None:
        return {key: build(inner[1], part) for key, part in value.items()}
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value)
    if kind is float:
        return math.nan if value is None else float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _build_dataclass(kind: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    if hasattr(kind, "from_plain"):
        return kind.from_plain(value)
    hints = typing.get_type_hints(kind)
    known = {name: build(hint, value[name]) for name, hint in hints.items() if name in value}
    return kind(**known)


def _first_that_fits(kinds: tuple[Any, ...], value: Any) -> Any:
    """None counts as itself, before it counts as NaN."""
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        try:
            return build(kind, value)
        except (TypeError, KeyError, ValueError, AttributeError):
            continue
    raise TypeError(f"{value!r} is none of {', '.join(map(str, kinds))}")
