"""Every format of other programs: one small clip goes out, and where it can, comes back.

A new format needs a line in `QUIRKS` where its files hold less, or more, than positions and names
of any number of points. `python -m tests.test_programs` prints how far off each format is.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.formats import FORMATS, Clip, arrays, load_tracks
from dinotrack.formats.format import Reader
from dinotrack.formats.found import as_tracks
from dinotrack.formats.nuke_script import curve_of
from dinotrack.formats.programs import check_installed
from dinotrack.formats.tables import NUMBER
from dinotrack.tracks import Tracks
from tests import science_readers, vfx_readers
from tests.science_readers import read_with
from tests.small_clip import FPS, FRAMES, HOSTILE, NAMES, SIZES, clip

STARTS = [None, 1001]
"""What frame 0 is called in the file; None is what the program itself would call it."""


@dataclass(frozen=True)
class Quirks:
    """What a file of a format holds."""

    points: int = len(NAMES)
    """At most."""
    order: tuple[int, ...] = tuple(range(len(NAMES)))
    """Which of our points comes back first, second and so on, where that is another order."""
    names: bool = True
    """Whether names come back, those of NAMES at least."""
    any_name: bool = False
    """Whether every text is a name, and comes back as it was."""
    says: frozenset[str] = frozenset()
    """Which of size, frames and fps the file says, so that readers need not be told."""
    hidden: bool = False
    """Whether positions come back of frames in which a point is hidden."""
    confidence: float | None = None
    """How far off it comes back; None where it does not."""
    px: float = 0.00051
    """How far off a position may come back: by default, half of the third decimal."""
    same_bytes: bool = True
    """Whether the same tracks give the same bytes."""
    reader: Reader | None = None
    """What reads the file, for formats that dinotrack itself only writes."""


WHOLE = Quirks(
    any_name=True,
    says=frozenset(("size", "frames", "fps")),
    hidden=True,
    confidence=0.0,
    px=0.0,
)
SAYING = frozenset(("size", "frames", "fps"))
QUIRKS: dict[str, Quirks] = {
    "npz": WHOLE,
    "csv": Quirks(any_name=True, hidden=True, confidence=5.1e-5, px=0.00071),
    "csv-wide": Quirks(px=0.00071, reader=read_with(science_readers.csv_wide, 0)),
    "json": WHOLE,
    "tapvid": dataclasses.replace(WHOLE, confidence=None, px=2e-6),
    "deeplabcut": Quirks(hidden=True, confidence=None, px=7.1e-5),
    "deeplabcut-h5": Quirks(hidden=True, px=0.0),
    "sleap": Quirks(confidence=1e-7, px=0.0),
    "sleap-slp": Quirks(confidence=1e-7, px=0.0),
    "coco": Quirks(says=frozenset(("size", "frames", "fps")), hidden=True, px=7.1e-5),
    "cvat": Quirks(says=frozenset(("size", "frames")), hidden=True, px=7.1e-5),
    "mot": Quirks(names=False, px=7.1e-5, reader=read_with(science_readers.mot, 1)),
    "dltdv": Quirks(
        names=False, px=7.1e-5, reader=read_with(science_readers.dltdv, 1, is_counted=False)
    ),
    "rerun": Quirks(px=1e-6, same_bytes=False, reader=read_with(science_readers.rerun, 0.5)),
    "nuke": Quirks(says=SAYING, px=1e-5),
    "cornerpin": Quirks(points=4, order=(2, 3, 1, 0), names=False, says=SAYING, px=1e-5),
    "3de": Quirks(px=1e-6),
    "after-effects": Quirks(any_name=True, says=SAYING, px=1e-5, reader=vfx_readers.after_effects),
    "after-effects-text": Quirks(points=1, names=False, says=frozenset(("size", "fps")), px=1e-5),
    "fusion": Quirks(any_name=True, px=1e-5, reader=vfx_readers.fusion),
    "blender": Quirks(any_name=True, says=SAYING, px=1e-5, reader=vfx_readers.blender),
    "syntheyes": Quirks(px=1e-6),
    "pftrack": Quirks(px=1e-5),
}
"""By the name of the format; those that are not here have none."""


def quirks_of(name: str) -> Quirks:
    return QUIRKS.get(name, Quirks())


def parts(tracks: Tracks, most: int) -> Iterator[Tracks]:
    """Tracks of so many points at most; what is left over in the end is left out."""
    for first in range(0, len(tracks.queries) - most + 1, most):
        yield tracks.chosen(range(first, first + most))


def read_back(path: Path, name: str, start: int | None) -> Tracks | None:
    """The tracks of a file that is told only what it does not say; None where nobody reads it."""
    quirks = quirks_of(name)
    known = {"size": path_size(path), "frames": FRAMES, "fps": FPS}
    told = {key: value for key, value in known.items() if key not in quirks.says}
    if quirks.reader is not None:
        first = FORMATS[name].first_frame if start is None else start
        told_clip = Clip(first, **told)
        found = quirks.reader(path, told_clip)
        return found if isinstance(found, Tracks) else as_tracks(found, told_clip, path)
    if FORMATS[name].read is None:
        return None
    return load_tracks(path, name, start_frame=start, **told)


def path_size(path: Path) -> tuple[int, int]:
    """The size (H, W) of the clip of a file, which `write` has put into its name."""
    height, width = path.name.split("_")[0].split("x")
    return int(height), int(width)


def write(name: str, tracks: Tracks, start: int | None, folder: Path) -> Path:
    """A file of that format, the same whenever it is written."""
    height, width = tracks.size
    path = folder / f"{height}x{width}_{name}{FORMATS[name].ending}"
    tracks.save(path, name, start_frame=start)
    content = path.read_bytes()
    tracks.save(path, name, start_frame=start)
    assert content == path.read_bytes() or not quirks_of(name).same_bytes
    assert [other.name for other in folder.iterdir()] == [path.name]
    return path


def there_and_back(
    name: str, tracks: Tracks, start: int | None, folder: Path
) -> Iterator[tuple[Tracks, Tracks]]:
    """What goes into each file of a format, and what comes out, in the order of what comes out."""
    quirks = quirks_of(name)
    for part in parts(tracks, quirks.points):
        path = write(name, part, start, folder)
        back = read_back(path, name, start)
        if back is not None:
            yield part.chosen(quirks.order[: len(part.queries)]), back
        path.unlink()


def worst(asked: Tracks, back: Tracks, hidden: bool) -> float:
    """How far off a position is, px, where the point is visible, or else wherever it is."""
    away = np.linalg.norm(asked.xy.astype(float) - back.xy.astype(float), axis=-1)
    return float(away[asked.visible | hidden].max())


def needs(name: str) -> None:
    """Skip a test where the package of a format is missing."""
    try:
        check_installed(FORMATS[name])
    except InputError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_comes_back(
    name: str, size: tuple[int, int], start: int | None, tmp_path: Path
) -> None:
    needs(name)
    quirks = quirks_of(name)
    for asked, back in there_and_back(name, clip(size), start, tmp_path):
        assert worst(asked, back, quirks.hidden) <= quirks.px
        assert np.array_equal(back.visible, asked.visible)
        assert np.abs(back.queries - asked.queries).max() <= quirks.px
        assert back.size == asked.size
        assert back.fps == pytest.approx(FPS, rel=1e-8)
        if quirks.names:
            assert back.names == asked.names
        if quirks.confidence is not None:
            away = np.abs(back.confidence - asked.confidence)
            assert away[asked.visible | quirks.hidden].max() <= quirks.confidence


@pytest.mark.parametrize("name", FORMATS)
def test_no_name_does_harm(name: str, tmp_path: Path) -> None:
    needs(name)
    quirks = quirks_of(name)
    for asked, back in there_and_back(name, clip((5, 9), HOSTILE), None, tmp_path):
        assert worst(asked, back, quirks.hidden) <= quirks.px
        if quirks.any_name:
            assert back.names == asked.names
        else:
            assert len(set(back.point_names)) >= len(set(asked.point_names))


@pytest.mark.parametrize("name", FORMATS)
def test_a_point_that_is_hidden_everywhere_spoils_nothing(name: str, tmp_path: Path) -> None:
    needs(name)
    tracks = clip((5, 9))
    visible = tracks.visible.copy()
    visible[2] = False
    tracks = dataclasses.replace(tracks, visible=visible)
    for part in parts(tracks, quirks_of(name).points):
        try:
            write(name, part, None, tmp_path).unlink()
        except InputError as refused:  # of a file that would be empty, or lack a corner
            assert "visible" in str(refused)  # noqa: PT017


SPOILED = {
    "xy": np.full((1, 2, 2), np.nan, np.float32),
    "confidence": np.full((1, 2), np.inf, np.float32),
    "queries": np.full((1, 3), np.nan, np.float32),
    "fps": 0.0,
    "names": ("\ud800",),
}
"""Parts of tracks that no file can hold."""


def one_point() -> Tracks:
    return Tracks(
        xy=np.zeros((1, 2, 2), np.float32),
        visible=np.ones((1, 2), bool),
        confidence=np.ones((1, 2), np.float32),
        queries=np.zeros((1, 3), np.float32),
        size=(4, 4),
        fps=24.0,
    )


@pytest.mark.parametrize("part", SPOILED)
def test_what_is_no_number_is_never_written(part: str, tmp_path: Path) -> None:
    tracks = dataclasses.replace(one_point(), **{part: SPOILED[part]})
    with pytest.raises(InputError, match=r"mend them|can't be written"):
        tracks.save(tmp_path / "x.nk")
    assert not list(tmp_path.iterdir())


def test_tracks_without_frames_are_never_written(tmp_path: Path) -> None:
    none = dataclasses.replace(
        one_point(),
        xy=np.zeros((1, 0, 2), np.float32),
        visible=np.zeros((1, 0), bool),
        confidence=np.zeros((1, 0), np.float32),
    )
    with pytest.raises(InputError, match="no frame"):
        none.save(tmp_path / "x.csv", "dltdv")


@pytest.mark.parametrize("value", ["1.5", "-1", "NaN"])
def test_a_confidence_is_from_0_to_1(value: str, tmp_path: Path) -> None:
    path = tmp_path / "tracks.json"
    one_point().save(path)
    text = path.read_text()
    path.write_text(text.replace('"confidence": [1.0', f'"confidence": [{value}'))
    with pytest.raises(InputError, match="confidence"):
        load_tracks(path)


def test_a_query_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "tracks.json"
    one_point().save(path)
    path.write_text(re.sub(r'"query": \[[^,]*', '"query": [1e300', path.read_text()))
    with pytest.raises(InputError, match="query"):
        load_tracks(path)


def test_a_long_row_of_digits_is_refused_at_once() -> None:
    """Where digits can be parted in many ways, this takes hours."""
    assert curve_of("1" * 100_000 + "y") is None
    assert NUMBER.fullmatch("1" * 100_000 + "y") is None


def test_a_small_file_holds_no_more_than_memory_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MOST_KEYS", 1)
    path = tmp_path / "x.npz"
    one_point().save(path, "tapvid")
    with pytest.raises(InputError, match="give fewer points"):
        load_tracks(path, "tapvid")


def main() -> None:
    """Print the worst position error of each format, px."""
    for name, chosen in FORMATS.items():
        errors = []
        with tempfile.TemporaryDirectory() as folder:
            for size in (*SIZES, (1080, 1920)):
                for start in STARTS:
                    pairs = there_and_back(name, clip(size), start, Path(folder))
                    errors += [worst(asked, back, quirks_of(name).hidden) for asked, back in pairs]
        reader = "dinotrack" if chosen.read else "the tests' own reader"
        said = f"{max(errors):.6f} px, read by {reader}" if errors else "only written"
        print(f"{name:20} {said}")


def test_a_file_of_another_picture_is_told(tmp_path: Path) -> None:
    """Positions of a proxy would else be silently elsewhere."""
    path = tmp_path / "plate.nk"
    clip((5, 9)).save(path)
    with pytest.warns(DinotrackWarning, match="is of 9 x 5, the video of 18 x 10; its positions"):
        load_tracks(path, size=(10, 18))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_tracks(path, size=(5, 9))


if __name__ == "__main__":
    main()
