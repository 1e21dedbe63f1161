"""Frames from pictures: a folder of them, or a stack, which is one file of many.

Frames are put aside as they are decoded. Pictures deeper than 8 bits wait in a scratch file until
all are known, because the whole sequence gets one scale (`dinotrack.media.levels`).
"""

import functools
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from dinotrack.errors import DinotrackWarning, InputError, cause_of
from dinotrack.media.frames import Frames, frames_of, one_frame, open_scratch, put
from dinotrack.media.images import DamagedPicture, Pixels, Size, read_pages
from dinotrack.media.levels import (
    FEW,
    Scale,
    Span,
    as_rgb,
    count_levels,
    levels_in_use,
    scale_for,
    span_of,
)
from dinotrack.media.numbering import doubts, in_order, listed, twins, without_companions
from dinotrack.progress import Progress

STACK_SUFFIXES = frozenset((".stk", ".tif", ".tiff"))
"""Files that may hold many pictures in any depth, which FFmpeg does not read as they are meant."""
IMAGE_SUFFIXES = STACK_SUFFIXES | {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"}
LOOKED_AT = 64
"""Frames that tell whether a sequence is flat."""
ANIMATION = ".gif"
"""Frames in a folder that holds nothing else; beside other pictures a GIF is a preview of them."""


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder in natural order; hidden and other files are passed over.

    Raises InputError where the folder can't be listed.
    """
    try:
        shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        problem = f"{folder}: can't be read ({cause_of(error)}); give another folder"
        raise InputError(problem) from error
    images = [path for path in shown if path.suffix.lower() in IMAGE_SUFFIXES]
    return in_order(images or [path for path in shown if path.suffix.lower() == ANIMATION])


def read_folder(folder: Path, progress: Progress) -> Frames:
    """All pictures of a folder as frames.

    Warns of whatever makes their number or their order doubtful. Raises InputError where there are
    none, where their sizes differ, and where each number has two files.
    """
    files = [path for path in images_in(folder) if _is_file(path)]
    _say_passed_over(folder, files)
    files, companions = without_companions(files)
    if companions:
        names = listed([path.name for path in in_order(companions)])
        _warn(folder, f"{len(companions)} pictures beside frames are left out ({names})")
    _check_twins(folder, files)
    for doubt in doubts(files):
        _warn(folder, doubt)
    return _read(folder, files, progress)


def read_stack(file: Path, progress: Progress) -> Frames:
    """All pictures of one file as frames. Raises InputError where none can be read."""
    return _read(file, [file], progress)


# --- which files


def _is_file(path: Path) -> bool:
    """False for a folder, a named pipe or a device, which would keep one waiting."""
    try:
        return path.is_file()
    except OSError:
        return True  # reading it will tell what is wrong


def _say_passed_over(folder: Path, files: Sequence[Path]) -> None:
    """Nothing that could have been a frame is passed over in silence."""
    kept = set(files)
    endings = IMAGE_SUFFIXES | {ANIMATION}
    others = [
        path.name
        for path in in_order(folder.iterdir())
        if path.suffix.lower() in endings and path not in kept and not path.name.startswith(".")
    ]
    if others:
        _warn(folder, f"passed over, as they are no pictures of the series: {listed(others)}")


def _check_twins(folder: Path, files: Sequence[Path]) -> None:
    numbers = twins(files)
    double = [paths for paths in numbers if len(paths) > 1]
    if not double:
        return
    names = " and ".join(path.name for path in double[0][:2])
    if len(double) == len(numbers) > 1:
        raise InputError(
            f"{folder}: holds more than one picture of each number, such as {names}; "
            "leave one kind of them in the folder"
        )
    _warn(folder, f"{len(double)} of its numbers have more than one file, such as {names}")


# --- reading


@dataclass(frozen=True)
class _Aside:
    """A picture in the scratch file: 8-bit RGB, or deeper and as it was."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    span: Span | None
    """None where it has 8 bits."""

    def read(self, store: IO[bytes]) -> Pixels:
        """The picture that comes next in the scratch file."""
        data = store.read(math.prod(self.shape) * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def _read(place: Path, files: Sequence[Path], progress: Progress) -> Frames:
    """The pictures of files, one after another."""
    pages: Counter[Path] = Counter()
    damage: dict[Path, str] = {}
    aside: list[_Aside] = []
    with open_scratch() as store:
        try:
            for file, pixels in _pictures(files, damage, progress):
                if not aside:  # before hours of decoding fill the disk
                    open_scratch(len(files) * pixels.nbytes, str(place)).close()
                aside.append(_put_aside(store, pixels))
                pages[file] += 1
        finally:  # also where a later picture is refused
            if aside:
                _say_damage(place, damage, pages)
        if not aside:
            raise _no_pictures(place, damage)
        _say_stacks(place, files, pages)
        deep = any(picture.span for picture in aside)
        height, width = aside[0].shape[:2]
        shape = len(aside), height, width, 3
        frames = _scaled(place, store, aside, shape) if deep else frames_of(store, shape)
    _say_flat(place, frames)
    progress("read", len(frames), len(frames))
    return frames


def _pictures(
    files: Sequence[Path], damage: dict[Path, str], progress: Progress
) -> Iterator[tuple[Path, Pixels]]:
    """All pictures of files, which are of one size. Files that are damaged are noted."""
    size: Size | None = None
    count = 0

    def look(found: Size) -> None:
        if size is not None and sorted(found) != sorted(size):  # a photo may still be turned
            _refuse_size(file, found, size)

    for done, file in enumerate(files):
        progress("read", done, len(files))
        try:
            for pixels in read_pages(file, look):
                found = pixels.shape[0], pixels.shape[1]
                size = size or found
                if found != size:
                    _refuse_size(file, found, size)
                yield file, pixels
                count += 1
                if len(files) == 1:
                    progress("read", count, count + 1)
        except DamagedPicture as error:
            damage[file] = error.reason


def _put_aside(store: IO[bytes], pixels: Pixels) -> _Aside:
    is_deep = pixels.dtype != np.uint8
    picture = pixels if is_deep else as_rgb(pixels)
    put(store, np.ascontiguousarray(picture).data)
    return _Aside(picture.shape, picture.dtype, span_of(pixels) if is_deep else None)


def _scaled(
    place: Path, store: IO[bytes], aside: Sequence[_Aside], shape: tuple[int, ...]
) -> Frames:
    """Frames of the pictures in a scratch file, deep ones with one scale for all of a kind."""
    scales: dict[bool, Scale] = {}
    for whole in (True, False):
        spans = [picture.span for picture in aside if picture.span and picture.span.whole == whole]
        if spans:
            span = functools.reduce(Span.joined, spans)
            scales[whole] = scale_for(span)
            shallow = sum(picture.span is None for picture in aside)
            for told in _of_depth(span, scales[whole], shallow):
                _warn(place, told)
    store.seek(0)
    with open_scratch(math.prod(shape), str(place)) as final:
        for picture in aside:
            pixels = picture.read(store)
            if picture.span:
                pixels = as_rgb(scales[picture.span.whole].apply(pixels))
            put(final, np.ascontiguousarray(pixels).data)
        return frames_of(final, shape)


# --- what is said


def _warn(place: Path, told: str) -> None:
    warnings.warn(f"{place}: {told}", DinotrackWarning, stacklevel=5)


def _no_pictures(place: Path, damage: Mapping[Path, str]) -> InputError:
    if place in damage:
        return InputError(f"{place}: can't be read ({damage[place]}); give another file")
    reasons = listed([f"{file.name}: {reason}" for file, reason in damage.items()])
    return InputError(
        f"{place}: holds no image that can be read{f' ({reasons})' if damage else ''}; "
        "give a video file or a folder of jpg or png frames"
    )


def _refuse_size(file: Path, found: Size, before: Size) -> NoReturn:
    sizes = f"{found[1]} x {found[0]}, the ones before it {before[1]} x {before[0]}"
    raise InputError(f"{file}: is {sizes}; all images of a video need one size")


def _say_stacks(place: Path, files: Sequence[Path], pages: Mapping[Path, int]) -> None:
    stacks = [f"{file.name} ({pages[file]})" for file in files if pages[file] > 1]
    if stacks and len(files) > 1:
        what = "files of several pictures, which are all taken, one after another"
        _warn(place, f"holds {what}: {listed(stacks)}")


def _say_damage(place: Path, damage: Mapping[Path, str], pages: Mapping[Path, int]) -> None:
    """One sentence for all damaged files."""
    reasons = {
        file: reason + (f"; pictures read before: {pages[file]}" if pages[file] else "")
        for file, reason in damage.items()
    }
    if len(reasons) == 1:
        ((file, reason),) = reasons.items()
        _warn(file, f"damaged image left out ({reason})")
    elif reasons:
        said = listed([f"{file.name}: {reason}" for file, reason in reasons.items()])
        _warn(place, f"{len(reasons)} damaged images left out ({said})")


def _of_depth(span: Span, scale: Scale, shallow: int) -> Iterator[str]:
    """What became of deep pictures. shallow: how many of 8 bits stand beside them."""
    if scale.told:
        numbers = f"numbers from {span.low:g} to {span.high:g}"
        yield f"its pictures hold {numbers}; {scale.told}, in all frames alike"
    if not span.finite:
        yield "some numbers in its pictures are not finite; they become black or white"
    if shallow:
        yield f"{shallow} of its pictures have 8 bits and others more; each kind has its own scale"


def _say_flat(place: Path, frames: Frames) -> None:
    """Frames chosen evenly tell what the sequence is like."""
    every = math.ceil(len(frames) / LOOKED_AT)
    counts = sum(count_levels(one_frame(frames, t)) for t in range(0, len(frames), every))
    levels = levels_in_use(np.asarray(counts))
    if levels <= FEW:
        grey = "one grey level" if levels == 1 else f"{levels} grey levels of 256"
        _warn(place, f"nearly all of its pixels lie within {grey}, so tracks on them are guesses")
