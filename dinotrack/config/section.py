"""What a section of settings is: numbers that know their type and bounds, and check themselves.

The type of a setting says what may be set. `Share`, for example, is a number from 0 to 1, and
`Literal["area", "lanczos"]` is one of two words. A section checks every value when it is made,
by the command line as in Python, and refuses a wrong one with an InputError that names the key.
"""

import math
import operator
import typing
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from dinotrack.errors import InputError, setting


@dataclass(frozen=True)
class Bounds:
    """The least and the most a number may be, both included."""

    least: float = -math.inf
    most: float = math.inf

    def hold(self, number: float) -> bool:
        """Whether a number is finite and within the bounds."""
        return -math.inf < number < math.inf and self.least <= number <= self.most

    def __str__(self) -> str:
        least = [f"at least {self.least:.10g}"] if self.least > -math.inf else []
        most = [f"at most {self.most:.10g}"] if self.most < math.inf else []
        return " and ".join(least + most) or "finite"


MANY = 10**9
"""More of anything than anybody counts."""
LONG_LIST = 64
"""Numbers in a list, at most."""
LONG_TEXT = 80
"""Letters of a wrong value that a message shows."""

# The kinds of numbers. A plain `int` or `float` may be any finite number. What memory grows with is
# bounded far above all that makes sense, as a config may come with a folder from somebody else.
Count = Annotated[int, Bounds(least=0, most=MANY)]
AtLeastOne = Annotated[int, Bounds(least=1, most=MANY)]
Few = Annotated[int, Bounds(least=0, most=1000)]  # rounds, layers, cells: what costs much each time
OneOrFew = Annotated[int, Bounds(least=1, most=1000)]
TwoOrFew = Annotated[int, Bounds(least=2, most=1000)]
Sample = Annotated[int, Bounds(least=0, most=10**6)]  # what is drawn or looked at together
Span = Annotated[int, Bounds(least=2, most=10**5)]  # frames
TwoOrMoreDrawn = Annotated[int, Bounds(least=2, most=10**6)]
Channels = Annotated[int, Bounds(least=1, most=16_384)]
Matches = Annotated[int, Bounds(least=1, most=10**5)]  # of each of many cells
PatchReach = Annotated[int, Bounds(least=0, most=256)]  # px
LeastSide = Annotated[int, Bounds(least=1, most=4096)]  # px
Side = Annotated[int, Bounds(least=0, most=16_384)]  # px
Area = Annotated[int, Bounds(least=1, most=16_384**2)]  # px
Amount = Annotated[float, Bounds(least=0)]
Positive = Annotated[float, Bounds(least=1e-6)]  # what something is divided by
Share = Annotated[float, Bounds(least=0, most=1)]
Window = Annotated[float, Bounds(least=0.05, most=1)]  # the share of a side
Pixels = Annotated[float, Bounds(least=0)]  # a distance, in pixels of the working frame

WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
"""What messages call the types of settings."""


@dataclass(frozen=True)
class Section:
    """Settings that belong together, frozen and right.

    Making a section converts each value to its setting's type (a list to a tuple, 1 to 1.0) where
    nothing is lost, and raises InputError for a value of another type or outside the bounds.
    """

    key: ClassVar[str]
    """Where the section stands in a Config, such as "inference.path"; "" for the Config itself."""

    kinds: ClassVar[dict[str, Any]]
    """The settings with their types, bounds included, in the order of the class."""

    def __init_subclass__(cls, key: str) -> None:
        super().__init_subclass__()
        cls.key = key
        types = typing.get_type_hints(cls, include_extras=True)
        cls.kinds = {name: types[name] for name in cls.__annotations__}

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            value = checked(self.full_key(name), getattr(self, name), kind)
            object.__setattr__(self, name, value)

    @classmethod
    def full_key(cls, name: str) -> str:
        """The key of one of the section's settings, such as "training.steps"."""
        return f"{cls.key}.{name}" if cls.key else name


def is_section(kind: Any) -> bool:
    """Whether a setting of this type is a section of its own."""
    return isinstance(kind, type) and issubclass(kind, Section)


def plain_type(kind: Any) -> Any:
    """The Python type behind a setting's type: int for Count, str for a choice of words."""
    if typing.get_origin(kind) is Annotated:
        return typing.get_args(kind)[0]
    if typing.get_origin(kind) is Literal:
        return type(typing.get_args(kind)[0])
    return typing.get_origin(kind) or kind


def checked(key: str, value: Any, kind: Any) -> Any:
    """A value as the setting `key` of type `kind` holds it. Raises InputError where it is wrong."""
    if typing.get_origin(kind) is tuple:
        return _checked_list(key, value, kind)
    if is_section(kind):
        if not isinstance(value, kind):
            raise InputError(f"{key} is a section; give a {kind.__name__}, not {value!r}")
        return value
    if typing.get_origin(kind) is Literal:
        return _checked_choice(key, value, kind)
    converted = _checked_type(key, value, plain_type(kind))
    if isinstance(converted, int | float) and not _bounds(kind).hold(converted):
        raise InputError(f"{key}={_told(value)} is out of range; it must be {_bounds(kind)}")
    return converted


def _checked_list(key: str, value: Any, kind: Any) -> tuple[Any, ...]:
    """Each item is checked by itself; a message names a wrong one by its place, counted from 0.

    All items are of one type: tuple[X, ...] is a list of any length, tuple[X, X] one of two.
    """
    if not isinstance(value, list | tuple):
        wanted = f"list of {WORDS[plain_type(typing.get_args(kind)[0])]}s, as in "
        problem = f"{key}={_told(value)} has the wrong type; {key} is a {wanted}"
        raise InputError(problem, setting(key, (64, 128)))
    if not value:
        raise InputError(f"{key} is empty; give at least one number")
    if len(value) > LONG_LIST:
        raise InputError(f"{key} has {len(value)} numbers; give at most {LONG_LIST}")
    item, *others = typing.get_args(kind)
    if others != [Ellipsis] and len(value) != 1 + len(others):
        raise InputError(f"{key} has {1 + len(others)} numbers, not {len(value)}")
    return tuple(checked(f"{key}[{place}]", number, item) for place, number in enumerate(value))


def _checked_choice(key: str, value: Any, kind: Any) -> Any:
    choices = typing.get_args(kind)
    try:
        choice = _convert(value, plain_type(kind))
    except (TypeError, ValueError):
        choice = None
    if choice not in choices:
        listed = ", ".join(map(str, choices))
        raise InputError(f"{key}={_told(value)} is unknown; choose one of {listed}")
    return choice


def _checked_type(key: str, value: Any, kind: type) -> Any:
    try:
        return _convert(value, kind)
    except (TypeError, ValueError, KeyError, OverflowError):
        word = WORDS[kind] if kind is bool else f"a {WORDS[kind]}"
        raise InputError(f"{key}={_told(value)} has the wrong type; {key} is {word}") from None


def _convert(value: Any, kind: type) -> Any:
    """As `kind(value)`, but no number is rounded, and no text or truth value becomes a number.

    Numbers of NumPy are taken as well, and 0 and 1 for false and true.
    """
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return str(value)
    if isinstance(value, str):
        raise TypeError
    if kind is bool:
        return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value) if kind is int else float(value)


def _told(value: Any) -> str:
    """A value as messages show it: its beginning, where it is long."""
    try:
        text = str(value)
    except ValueError:  # Python writes out no number of thousands of digits
        return "(a number too long to show)"
    return text if len(text) <= LONG_TEXT else f"{text[:LONG_TEXT]}..."


def _bounds(kind: Any) -> Bounds:
    """The bounds in Annotated[int, Bounds(...)]; none for a plain type."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is Annotated else Bounds()
