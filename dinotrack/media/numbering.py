"""What the names of pictures say: their order, and what may be wrong with it.

A name is text and numbers in turn, and names of the same text are a series. Two things only a
series can tell: whether a hyphen is a minus sign (img-1, img0, img1), and whether a point is that
of a decimal number (t0.5, t0.25) or stands between counters (take1.9, take1.10).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise, zip_longest
from pathlib import Path

NUMBER = re.compile(r"(\d+(?:[.,]\d+)*)")
POINT = str.maketrans(",", ".")
"""Half of the world writes decimal numbers with commas."""
SIGN = re.compile("[-+\N{MINUS SIGN}]$")
SURE_SIGN = re.compile("(?:^|[^\\w+.\N{MINUS SIGN}-]|_)[-\N{MINUS SIGN}]$")
"""A hyphen that no text goes before is a minus sign, whatever the other names are."""
COMPANION = re.compile(
    r"(?<![^\W\d_])(?:mask|matte|alpha|seg|segm|segmentation|label|annotation|gt|depth|thumb"
    r"|thumbnail)s?(?![^\W\d_])"
)
"""Words for pictures that belong to a frame and are none."""
FRAME = re.compile(r"(?<![^\W\d_])(?:frame|image|img|im|rgb|colou?r)s?(?![^\W\d_])")
"""Words that say no more than that a picture is a frame."""

COPY = re.compile(r"(?: -? ?copy)? (?:\(\d+\)|\d)$")
"""What file managers put behind the name of a file that is copied a second time."""

Value = tuple[Fraction, ...]
"""A number of a name: one, or several counters with points between them."""


@dataclass(frozen=True)
class Name:
    """A file name taken apart: texts[0], values[0], texts[1], ... and the last text."""

    path: Path
    texts: tuple[str, ...]
    values: tuple[Value, ...]

    @property
    def key(self) -> tuple[list[str | Value], str, str]:
        """What names are sorted by."""
        parts = chain.from_iterable(zip_longest(self.texts, self.values))
        name = self.path.name
        return [part for part in parts if part is not None], name.lower(), name


@dataclass(frozen=True)
class Series:
    """Names of the same text, in order."""

    names: tuple[Name, ...]
    sure: bool
    """Whether there is no other way to read the numbers."""


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Files in the order of the numbers in their names, as frame2 before frame10."""
    names = chain.from_iterable(series.names for series in series_of(paths))
    return [name.path for name in sorted(names, key=lambda name: name.key)]


def without_companions(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Frames, and the masks, depths and thumbnails that stand beside frames, as 000_mask.png does.

    A file is such a companion by a word of its name, and only where most of these have a frame.
    """
    bare = {path: _bare(path.stem.casefold()) for path in paths}
    worded = [path for path in paths if COMPANION.search(path.stem.casefold())]
    companions = set(worded)
    others = [path for path in paths if path not in companions]
    frames = {bare[path] for path in others} - {""}
    beside = [path for path in worded if bare[path] in frames]
    if 2 * len(beside) <= len(worded):
        return list(paths), []
    return others, worded


def twins(paths: Iterable[Path]) -> list[list[Path]]:
    """The files of each number: 000.png alone, or with 000.jpg, 000_right.png or 0.png.

    Files without a number are none of them.
    """
    alike: dict[tuple[tuple[str, ...], tuple[Value, ...]], list[Name]] = defaultdict(list)
    every = [name for series in series_of(paths) for name in series.names if name.values]
    numbers = {name.path.stem.lower(): (name.texts[:-1], name.values) for name in every}
    for name in every:
        stem = name.path.stem.lower()
        alike[numbers.get(COPY.sub("", stem), numbers[stem])].append(name)
    groups = (sorted(names, key=lambda name: name.key) for names in alike.values())
    return [[name.path for name in names] for names in groups]


def doubts(paths: Sequence[Path]) -> Iterator[str]:
    """What a user should know of the order of files, as parts of sentences."""
    everyone = [series for series in series_of(paths) if series.names[0].values]
    starts = {
        series.names[0].texts[:-1]: series.names[0].path.name
        for series in everyone
        if len(series.names) > 1
    }
    if len(starts) > 1:
        firsts = listed(sorted(starts.values()))
        yield f"its names are {len(starts)} series, which follow one another ({firsts})"
    yield from _loose(paths, everyone)
    unsure = next((series for series in everyone if not series.sure), None)
    if unsure is not None:
        first, second = (name.path.name for name in unsure.names[:2])
        yield f"points in names are taken as those of decimal numbers ({first} before {second})"
    for series in everyone:
        yield from _restarts(series)
        yield from _gaps(series, len(paths))


def series_of(paths: Iterable[Path]) -> list[Series]:
    """The series that file names are made of, in no order."""
    groups: dict[tuple[str, ...], list[tuple[Path, list[str], list[str]]]] = defaultdict(list)
    for path in sorted(paths, key=str):  # not as the disk lists them
        parts = NUMBER.split(path.stem.lower())
        texts, numbers = parts[::2], [number.translate(POINT) for number in parts[1::2]]
        groups[_unsigned(texts)].append((path, texts, numbers))
    return [_read_series(group) for group in groups.values()]


# --- one series


def _unsigned(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts without what may be the sign of the number after them. Right after a number a hyphen
    is none."""
    *before, last = texts
    bare = [text if i and len(text) == 1 else SIGN.sub("", text) for i, text in enumerate(before)]
    return (*bare, last)


def _read_series(group: list[tuple[Path, list[str], list[str]]]) -> Series:
    places: list[list[Value]] = []
    signed: list[bool] = []
    sure = True
    for index in range(len(group[0][2])):
        texts = [texts[index] for _, texts, _ in group]
        values, is_sure = _read_numbers([numbers[index] for _, _, numbers in group])
        has_sign = _is_signed(texts, index)
        if has_sign:
            values = [_with_sign(text, value) for text, value in zip(texts, values, strict=True)]
        places.append(values)
        signed.append(has_sign)
        sure = sure and is_sure
    names = []
    for row, (path, texts, _) in enumerate(group):
        *before, last = texts
        bare = [SIGN.sub("", t) if has else t for t, has in zip(before, signed, strict=True)]
        names.append(Name(path, (*bare, last), tuple(values[row] for values in places)))
    return Series(tuple(sorted(names, key=lambda name: name.key)), sure)


def _is_signed(texts: Sequence[str], index: int) -> bool:
    """Whether hyphens at the end of texts are signs: some have one and some have none.

    index: which text of the name it is.
    """
    alone = index == 0 or len(texts[0]) > 1
    return len(set(texts)) > 1 or (alone and SURE_SIGN.search(texts[0]) is not None)


def _with_sign(text: str, value: Value) -> Value:
    return value if text.endswith("+") or not SIGN.search(text) else tuple(-part for part in value)


def _read_numbers(numbers: Sequence[str]) -> tuple[list[Value], bool]:
    """The numbers that stand at one place of a series, and whether there is no other way.

    With one point they may be decimal numbers or pairs of counters. Where that makes a difference,
    even steps tell, then zeros: a decimal fraction begins with them and does not end with them.
    """
    counters = [tuple(Fraction(part) for part in number.split(".")) for number in numbers]
    if max(map(len, counters)) != 2:
        return counters, True
    decimals: list[Value] = [(Fraction(number),) for number in numbers]
    if _ranks(decimals) == _ranks(counters):
        return decimals, True
    if len(set(decimals)) < len(set(numbers)):
        return counters, True
    even = _even([value[0] for value in decimals])
    counted = len({value[0] for value in counters}) == 1 and _even([v[-1] for v in counters])
    if even != counted:
        return (decimals if even else counters), True
    fractions = [number.partition(".")[2] for number in numbers]
    begins = any(len(part) > 1 and part.startswith("0") for part in fractions)
    ends = any(len(part) > 1 and part.endswith("0") for part in fractions)
    if begins != ends:
        return (decimals if begins else counters), True
    return decimals, False


def _ranks(values: Sequence[Value]) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__)


def _even(values: Iterable[Fraction]) -> bool:
    steps = {after - before for before, after in pairwise(sorted(set(values)))}
    return len(steps) == 1


# --- what may be wrong


def _bare(stem: str) -> str:
    """A name without the words for frames and what belongs to them."""
    return "_".join(re.findall(r"[^\W_]+", FRAME.sub("_", COMPANION.sub("_", stem))))


def _loose(paths: Sequence[Path], numbered: Sequence[Series]) -> Iterator[str]:
    """Names without a number beside numbered ones, such as a poster's. That of img.png beside
    img1.png is one of the series."""
    starts = {series.names[0].texts[0].rstrip(" (_-.") for series in numbered}
    inside = {name.path for series in numbered for name in series.names}
    loose = [path for path in paths if path not in inside and path.stem.lower() not in starts]
    if inside and loose:
        names = listed([path.name for path in loose])
        yield f"names have no number, and are taken as frames all the same ({names})"


def _restarts(series: Series) -> Iterator[str]:
    """Two numbers, of which the last begins anew: two cameras, takes or channels in one folder.

    Names of more numbers are mostly dates and times. They are doubted where each value of one
    number has each of another one, as in t0_z0_c0, t0_z0_c1, t1_z0_c0.
    """
    varying = _varying(series)
    if len(varying) != 2:
        return
    last = varying[1]
    if len(series.names[0].values) > 2:
        sides = [len({name.values[index] for name in series.names}) for index in varying]
        named = series.names[0].texts[last][-1:].isalpha()
        if not named or sides[0] * sides[1] != len(series.names):
            return
    for one, other in pairwise(series.names):
        if other.values[last] < one.values[last]:
            names = f"{one.path.name}, then {other.path.name}"
            yield f"names hold several numbers, and are in the order of the first one ({names})"
            return


def _varying(series: Series) -> list[int]:
    """Which of the numbers in names are not the same in all of them."""
    columns = zip(*(name.values for name in series.names), strict=True)
    return [index for index, values in enumerate(columns) if len(set(values)) > 1]


def _gaps(series: Series, count: int) -> Iterator[str]:
    """Numbers that are missing, where most are the same step apart."""
    varying = _varying(series)
    if len(varying) != 1 or any(len(name.values[varying[0]]) > 1 for name in series.names):
        return
    numbers = [name.values[varying[0]][0] for name in series.names]
    steps = [after - before for before, after in pairwise(numbers) if after > before]
    step = min(steps)
    missing = [later for later in steps if later > step]
    if not missing or any(later % step for later in steps) or 3 * steps.count(step) < len(steps):
        return
    where = next(i for i, (a, b) in enumerate(pairwise(numbers)) if b - a > step)
    names = f"{series.names[where].path.name} comes {series.names[where + 1].path.name}"
    yield f"numbers are missing (after {names}); frames are counted by the {count} files"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and that there are more."""
    more = ", ..." if len(names) > most else ""
    return ", ".join(names[:most]) + more
