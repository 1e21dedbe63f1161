"""Names of run folders: one for each video, and the same whatever the order of the videos."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from dinotrack.errors import InputError, shown
from dinotrack.terminal import outputs

TAKEN = ("summary.csv", "events.jsonl", "logs")
"""What else lies in the folder of a batch."""
LONGEST = 150
"""Letters of a name; file systems take 255 bytes."""


def names_of(videos: Sequence[Path], named: Sequence[str]) -> list[str]:
    """A name for each video, unlike all others also where upper and lower case are the same.

    That is the name of the video. Where several are called the same, the names of the folders that
    they are in are put before, as many as make them differ: a/clip.mp4 and b/clip.mp4 become a-clip
    and b-clip. A video that is there several times gets numbers, in the order of the videos.

    named: a name that was given, or "". Raises InputError where one can be no folder's, or is given
    twice.
    """
    given = [name for name in named if name]
    for name in given:
        _check(name)
    twice = [name for name, count in Counter(map(str.casefold, given)).items() if count > 1]
    if twice:
        raise InputError(f"two videos are named {shown(twice[0])}; give each a name of its own")
    places = [Path(os.path.realpath(video)) for video in videos]  # resolve fails at loops of links
    names = [name or plain_name(place) for name, place in zip(named, places, strict=True)]
    folders = [_folders_above(place) for place in places]
    for level in range(max(map(len, folders), default=0)):
        counts = Counter(map(str.casefold, names))
        for number, above in enumerate(folders):
            is_shared = counts[names[number].casefold()] > 1
            if is_shared and not named[number] and level < len(above):
                names[number] = f"{above[level]}-{names[number]}"[-LONGEST:]
    return list(_numbered(names, named))


def plain_name(place: Path) -> str:
    """What the folder of a video is called where no other video is called so."""
    name = place.name if place.is_dir() else place.stem
    return outputs.folder_name(place, name)[:LONGEST]


def _folders_above(place: Path) -> list[str]:
    """The names of the folders that a video is in, the nearest first, as far as its own name does
    not hold them."""
    own = place.name if place.is_dir() else place.stem
    above = [parent.name for parent in place.parents if parent.name]
    return above if plain_name(place) == own[:LONGEST] else above[1:]


def _numbered(names: Sequence[str], named: Sequence[str]) -> Iterator[str]:
    """The names, of which those that are still the same get numbers: clip, clip-2, clip-3."""
    taken = {name.casefold() for name in (*TAKEN, *named) if name}
    for name, fixed in zip(names, named, strict=True):
        free, number = name, 1
        while not fixed and free.casefold() in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free.casefold())
        yield free


def _check(name: str) -> None:
    """Raise InputError for what can be no folder's name on some system."""
    is_plain = re.fullmatch(r"[^/\\:*?\"<>|\x00-\x1f]+", name) and name.strip(". ")
    if not is_plain or len(name) > LONGEST or name.casefold() in TAKEN:
        raise InputError(f"{shown(name)} can't be the name of a run's folder; give another")
