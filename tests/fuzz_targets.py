"""What is fuzzed: each door through which something of a user's comes in, and what must hold there.

A target makes an input from a stream of random numbers, and gives it to a door. The door may raise
InputError. If it does not, what it returned is looked at: damage must not pass for sound data.
"""

import contextlib
import io
import json
import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

from dinotrack import state_dicts
from dinotrack.cache import Cache
from dinotrack.config import from_dict, override, preset, to_dict
from dinotrack.errors import InputError
from dinotrack.formats import (
    load_tracks,
    read_corrections,
    read_mask,
    read_masks,
    read_queries,
    save_tracks,
)
from dinotrack.masks import as_masks
from dinotrack.media.folders import images_in
from dinotrack.media.images import read_pages, read_stored
from dinotrack.media.numbering import doubts, in_order, twins, without_companions
from dinotrack.media.rates import is_writable, pace_of
from dinotrack.media.streams import _listed as listed
from dinotrack.points import check_corrections, check_hidden, check_queries, grid_queries
from dinotrack.tensor_files import DamagedFile, load_tensors, save_tensors
from dinotrack.terminal import arguments
from dinotrack.tracks import Tracks
from dinotrack.training import checkpoint
from dinotrack.training.stored import parse
from dinotrack.video import read_video
from dinotrack.working import working_size
from tests import mutations
from tests.mutations import ODD, Spoil, spoiled

SIZE = (12, 16)
LENGTH = 3

Make = Callable[[Random], Any]
Try = Callable[[Any], None]


@dataclass(frozen=True)
class Target:
    """A door. share: how much of all inputs it gets; the sum of the shares is about 100."""

    make: Make
    attempt: Try
    share: float


def targets(folder: Path) -> dict[str, Target]:
    """All targets. Files go into a folder."""
    return {
        **_query_targets(folder),
        **_correction_targets(folder),
        **_mask_targets(folder),
        **_tensor_targets(folder),
        **_value_targets(folder),
    }


# --- inputs


def _of_files(seeds: Sequence[bytes], *knowing: Spoil) -> Make:
    """Spoiled files: half of them knowingly, where there is a way to."""

    def make(random: Random) -> bytes:
        seed = random.choice(seeds)
        if knowing and random.random() < 0.5:
            return random.choice(knowing)(seed, random)
        return spoiled(seed, random, seeds)

    return make


def _into(path: Path, door: Callable[[Path], Any], look: Callable[[Any], bool]) -> Try:
    """Write bytes into a file, give it to a door, and look at what that returns."""

    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        found = door(path)
        assert look(found), "what came out can't be"

    return attempt


# --- queries

ROWS = [[0, 1.5, 2.25], [2, -0.5, 7.0], [1, 15.5, 11.5]]
TEXTS = (
    "t,x,y\n0,1.5,2.25\n2,-0.5,7\n",
    "\ufeffsep=;\r\nname;t;x;y\r\nnose;0;1,5;2,25\r\n;;;\r\ntail;2;-0,5;7\r\n",
    "frame\tt\tx\ty\tX\tY\n9\t0\t1.5\t2.25\t1\t2\n",
    '# t x y\n0.0e+00 1.5e+00 2.25e+00\n"2" -5e-1 7\n',
)


def _texts() -> list[bytes]:
    codes = ("utf-8", "utf-16", "utf-16-be", "latin-1")
    texts = [
        (text, code) for text in TEXTS for code in codes if code != "latin-1" or text.isascii()
    ]
    return [text.encode(code) for text, code in texts]


def _spoiled_table(content: bytes, random: Random) -> bytes:
    """A table with rows or fields that are lost, doubled or odd."""
    lines = [line.split(b",") for line in TEXTS[0].encode().split(b"\n")]
    for _ in range(random.choice((1, 2, 4))):
        line = random.choice(lines)
        odd = random.choice((*mutations.TOKENS, b"", b"1,5", b'"1', b"1.2.3", b"t", b"X"))
        at = random.randrange(len(line) + 1)
        line[at : at + random.randrange(3)] = [odd] * random.randrange(3)
    return random.choice((b",", b";", b"\t", b" ")).join(b",".join(line) for line in lines)


def _saved(save: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


def _are_queries(found: Any) -> bool:
    rows = found.rows
    checked: Any = rows
    with contextlib.suppress(InputError):
        checked = check_queries(found, LENGTH, SIZE)
        return bool(np.isfinite(checked).all()) and checked.shape == rows.shape
    return rows.dtype == np.float64 and rows.ndim == 2 and rows.shape[1] == 3 and len(rows) > 0


def _query_targets(folder: Path) -> dict[str, Target]:
    kinds = ("<f8", ">f4", "<i4", "|u1", "<f2")
    arrays = [_saved(np.save, np.array(ROWS).clip(0).astype(kind)) for kind in kinds]
    zips = [
        _saved(np.savez, queries=np.array(ROWS)),
        _saved(np.savez_compressed, query=np.array(ROWS), a=np.zeros(2)),
    ]
    jsons = [json.dumps(ROWS).encode(), json.dumps(ROWS, indent=1).encode("utf-8-sig")]
    plain = [json.dumps(ROWS).encode()]

    def target(suffix: str, make: Make, share: float) -> Target:
        return Target(make, _into(folder / f"q{suffix}", read_queries, _are_queries), share)

    def json_make(random: Random) -> bytes:
        if random.random() < 0.5:
            return mutations.spoiled_json(plain[0], random)
        return spoiled(random.choice(jsons), random, jsons)

    return {
        "queries.csv": target(".csv", _of_files(_texts(), _spoiled_table), 11),
        "queries.txt": target(".txt", _of_files(_texts()), 4),
        "queries.json": target(".json", json_make, 9),
        "queries.npy": target(".npy", _of_files(arrays, mutations.spoiled_npy), 10),
        "queries.npz": target(".npz", _of_files(zips, mutations.spoiled_zip), 6),
    }


# --- corrections

MENDED = "point,t,x,y,visible,until\n0,1,1.5,2.25,1,\nnose,2,-0.5,7,,\n1,0,,,0,2\nnose,1,,,,1\n"
MENDED_JSON = {"corrections": [[0, 1, 1.5, 2.25], ["nose", 2, -0.5, 7]], "hidden": [[1, 0, 2]]}


def _are_corrections(found: Any) -> bool:
    video = read_video(np.zeros((LENGTH, *SIZE, 3), np.uint8))
    for check, rows, width in (
        (check_corrections, found.placed, 4),
        (check_hidden, found.hidden, 3),
    ):
        if rows.rows.dtype != np.float64 or rows.rows.shape[1:] != (width,):
            return False
        with contextlib.suppress(InputError):
            checked: Any = check(rows, video, 3)
            if not (np.isfinite(checked).all() and checked.shape == rows.rows.shape):
                return False
    return True


def _correction_targets(folder: Path) -> dict[str, Target]:
    texts = [text.encode() for text in (MENDED, MENDED.replace(",", ";"), TEXTS[0])]
    arrays = {"corrections": np.ones((2, 4)), "hidden": np.ones((1, 3), int)}
    makes = {
        ".csv": _of_files(texts),
        ".json": lambda random: mutations.spoiled_json(json.dumps(MENDED_JSON).encode(), random),
        ".npz": _of_files([_saved(np.savez, **arrays)], mutations.spoiled_zip),
    }

    def door(path: Path) -> Any:
        return read_corrections(path, ("tail", "nose", "ear"))

    return {
        f"corrections{suffix}": Target(
            make, _into(folder / f"c{suffix}", door, _are_corrections), 2
        )
        for suffix, make in makes.items()
    }


# --- masks and pictures


def _picture(kind: str, mode: str, **options: Any) -> bytes:
    y, x = np.indices(SIZE)
    disc = (x - 7) ** 2 + (y - 5) ** 2 < 16
    image = Image.fromarray(disc.astype(np.uint8) * 255)
    if mode == "I;16":
        image = Image.fromarray(disc.astype(np.uint16) * 4000)
    elif mode == "F":
        image = Image.fromarray(disc.astype(np.float32))
    elif mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(disc.astype(np.uint8) * 200))
    else:
        image = image.convert(mode)
    return _saved(image.save, kind, **options)


def _pictures() -> dict[str, tuple[list[bytes], tuple[Spoil, ...]]]:
    several = {"save_all": True, "append_images": [Image.new("L", (16, 12), 7)] * 2}
    pngs = [_picture("PNG", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")]
    tiffs = [_picture("TIFF", mode) for mode in ("1", "L", "P", "RGB", "I;16", "F")]
    packed = [_picture("TIFF", "L", compression=how) for how in ("tiff_lzw", "packbits", "jpeg")]
    webps = [_picture("WEBP", "RGB"), _picture("WEBP", "RGBA", lossless=True)]
    jpegs = [_picture("JPEG", "L"), _picture("JPEG", "RGB", progressive=True)]
    return {
        "png": (pngs, (mutations.spoiled_png,)),
        "tif": ([*tiffs, *packed, _picture("TIFF", "L", **several)], ()),
        "jpg": (jpegs, ()),
        "webp": (webps, ()),
        "gif": ([_picture("GIF", "P"), _picture("GIF", "P", **several)], ()),
        "bmp": ([_picture("BMP", mode) for mode in ("1", "L", "RGB")], ()),
        "pgm": ([_picture("PPM", "L"), _picture("PPM", "I;16"), b"P2 2 2 9 1 2 3 4"], ()),
    }


def _read_both(path: Path) -> Any:
    with contextlib.suppress(InputError):
        assert read_masks(path, LENGTH, SIZE).shape == (LENGTH, *SIZE)
    return read_mask(path, SIZE)


def _is_mask(found: Any) -> bool:
    return found.dtype == np.bool_ and found.shape == SIZE


def _look(size: tuple[int, int]) -> None:
    """As readers do that know the size of a video: what claims to be huge isn't decoded."""
    if math.prod(size) > 1 << 20:
        raise InputError("too large")


def _read_as_frames(path: Path) -> int:
    with contextlib.suppress(InputError):
        assert read_stored(path, _look).values.size
    pages = 0
    for page in read_pages(path, _look):
        assert page.ndim in (2, 3)
        pages += 1
        if pages == 4:
            break
    return pages


def _mask_targets(folder: Path) -> dict[str, Target]:
    masks = np.zeros((LENGTH, *SIZE))
    masks[:, 3:9, 4:9] = 0.75
    kinds = ("<f8", ">f4", "|b1", "<i8")
    arrays = [_saved(np.save, value.astype(kind)) for value in (masks, masks[0]) for kind in kinds]
    shares = {"png": 4, "tif": 4, "jpg": 3, "webp": 2, "gif": 3, "bmp": 2, "pgm": 2}
    made = {}
    for suffix, (seeds, knowing) in _pictures().items():
        make = _of_files(seeds, *knowing)
        path = folder / f"m.{suffix}"
        made[f"masks.{suffix}"] = Target(make, _into(path, _read_both, _is_mask), shares[suffix])
        frames = _into(path, _read_as_frames, lambda pages: pages > 0)
        made[f"frames.{suffix}"] = Target(make, frames, shares[suffix] / 4)
    npy = _into(folder / "m.npy", _read_both, _is_mask)
    made["masks.npy"] = Target(_of_files(arrays, mutations.spoiled_npy), npy, 3)
    return made


# --- tensors and tracks


def _tracks_make(folder: Path) -> Make:
    path = folder / "sound.npz"
    save_tracks(
        path,
        Tracks(
            xy=np.ones((2, LENGTH, 2), np.float32),
            visible=np.ones((2, LENGTH), bool),
            confidence=np.ones((2, LENGTH), np.float32),
            queries=np.ones((2, 3), np.float32),
            size=SIZE,
            fps=24.0,
        ),
    )
    return _of_files([path.read_bytes()], mutations.spoiled_zip)


def _are_tracks(tracks: Any) -> bool:
    count, length = tracks.visible.shape
    shapes = tracks.xy.shape == (count, length, 2) and tracks.queries.shape == (count, 3)
    finite = np.isfinite(tracks.xy).all() and np.isfinite(tracks.confidence).all()
    return shapes and bool(finite) and len(tracks.times) == length and tracks == tracks


def _are_weights(state: Any) -> bool:
    return all(isinstance(values, torch.Tensor) for values in state.values())


ABOUT = {
    "kind": "dinotrack fit",
    "version": 1,
    "config": to_dict(preset("fast")),
    "seed": 3,
    "video_hash": "ab" * 32,
    "foreground_hash": "",
    "source": "videos/demo.mp4",
    "step": 2,
    "losses": {"contrast": [0.5, 0.25]},
}
ABOUT = json.loads(json.dumps(ABOUT))  # as it comes back from a file
TENSORS = {"weights.a": torch.ones(3, 2), "optimizer.0.momentum": torch.zeros(2)}


def _older() -> bytes:
    """A fit as versions before safetensors wrote it."""
    about = {name: ABOUT[name] for name in ABOUT if name not in ("kind", "version")}
    values = {
        "about": json.dumps(about),
        "weights": {"a": torch.ones(3, 2)},
        "optimizer": {"state": {0: {"momentum": torch.zeros(2)}}, "param_groups": []},
    }
    return _saved(lambda file: torch.save(values, file))


def _is_fit(stored: Any) -> bool:
    return 0 <= stored.step <= stored.identity.config.training.steps and bool(stored.tensors)


def _cache_attempt(folder: Path) -> tuple[bytes, Try]:
    """Whatever the file holds, the cache gives back what was kept, or nothing."""
    kept = {"forward": torch.arange(6.0)}
    cache = Cache(folder / "cache", video="ab")
    (folder / "cache").mkdir()
    cache.keep("flow", {"area": 3}, kept)
    (path,) = (folder / "cache").glob("flow-*")

    def look(found: Any) -> bool:
        return found is None or torch.equal(found["forward"], kept["forward"])

    return path.read_bytes(), _into(path, lambda _: cache.find("flow", {"area": 3}), look)


def _tensor_targets(folder: Path) -> dict[str, Target]:
    for name in ("new", "old"):
        (folder / name).mkdir()
    new, old = folder / "new" / checkpoint.FILE, folder / "old" / checkpoint.OLDER
    save_tensors(new, TENSORS, ABOUT)
    cached, cache_attempt = _cache_attempt(folder)
    pickled = [_saved(lambda file: torch.save(dict(TENSORS), file)), _older()]
    files = [new.read_bytes(), cached]

    def about_make(random: Random) -> Any:
        return mutations.spoiled_value(mutations.spoiled_value(ABOUT, random), random)

    def about_attempt(about: Any) -> None:
        with contextlib.suppress(ValueError):  # DamagedFile and NewerVersion, which `read` tells
            assert _is_fit(parse(new, TENSORS, about if isinstance(about, dict) else {}))

    def told_make(random: Random) -> bytes:
        """A file that is as it was written, though what it says was spoiled before."""
        about = mutations.spoiled_value(ABOUT, random)
        save_tensors(folder / "told", TENSORS, about if isinstance(about, dict) else {"x": about})
        return (folder / "told").read_bytes()

    def checkpoint_attempt(path: Path) -> Try:
        return _into(path, lambda path: checkpoint.read(path.parent), _is_fit)

    def tensors_attempt(content: bytes) -> None:
        (folder / "t.safetensors").write_bytes(content)
        with contextlib.suppress(DamagedFile):
            tensors, about = load_tensors(folder / "t.safetensors")
            sound = about == ABOUT and torch.equal(tensors["weights.a"], TENSORS["weights.a"])
            assert sound or "weights.a" not in tensors, "damage passed for sound"

    pickles = _of_files(pickled, mutations.spoiled_zip)
    safe = _of_files(files, mutations.spoiled_safetensors)
    weights = _into(folder / "w.safetensors", state_dicts.read, _are_weights)
    pts = _into(folder / "w.pt", state_dicts.read, _are_weights)
    tracks = _into(folder / "tracks.npz", load_tracks, _are_tracks)
    return {
        "tracks.npz": Target(_tracks_make(folder), tracks, 4),
        "weights.safetensors": Target(safe, weights, 4),
        "weights.pt": Target(pickles, pts, 1.5),
        "tensor_files": Target(safe, tensors_attempt, 4),
        "checkpoint.safetensors": Target(_of_files(files[:1]), checkpoint_attempt(new), 2),
        "checkpoint.told": Target(told_make, checkpoint_attempt(new), 0.15),
        "checkpoint.pt": Target(pickles, checkpoint_attempt(old), 1),
        "checkpoint.about": Target(about_make, about_attempt, 0.3),
        "cache": Target(_of_files([cached], mutations.spoiled_safetensors), cache_attempt, 3),
    }


# --- what FFmpeg says

PACKETS = b"""#software: Lavf61.7.100
#tb 0: 1/90000
#media_type 0: video
#codec_id 0: h264
#dimensions 0: 128x96
#sar 0: 1/1
0,          0,          0,     3000,     2345, 0x6d6c3c7d
0,       3000,       3000,     3000,      345, 0x0d6c3c7d, F=0x0
0,       9000,       9000,     3000,      145, 0x1d6c3c7d, F=0x0
"""


def _packets_make(random: Random) -> bytes:
    """A list that was cut as FFmpeg was killed, or holds numbers that a file may claim."""
    content = PACKETS
    if random.random() < 0.7:
        at = random.choice([match.span() for match in re.finditer(rb"\b[0-9]+\b", content[60:])])
        odd = random.choice((b"1", b"2147483647", b"9223372036854775807", b"-9223372036854775808"))
        content = content[: 60 + at[0]] + odd + content[60 + at[1] :]
    return content[: random.choice((len(content), random.randrange(len(content))))]


def _packets_attempt(content: bytes) -> None:
    streams = listed(content.decode(errors="replace").splitlines(keepends=True))
    assert all(stream.packets >= 0 and stream.most_pixels > 0 for stream in streams)


def _pace_make(random: Random) -> tuple[list[int], Fraction, Fraction | None, int]:
    steps = (0, 1, 2, 1000, 3000, 3001, 10**9, -1, 2**61)
    step = random.choice(steps)
    stamps = [random.choice((step * t, step * t + random.choice(steps))) for t in range(5)]
    stamps = [max(-(2**63), min(stamp, 2**63 - 1)) for stamp in stamps]
    ticks = [Fraction(1, 90000), Fraction(1, 1000), Fraction(10**6), Fraction(1001, 30000)]
    claims = [None, Fraction(30), Fraction(30000, 1001), Fraction(1, 10**9), Fraction(10**12)]
    return stamps, random.choice(ticks), random.choice(claims), random.choice((5, 5, 5, 1, 4))


def _pace_attempt(given: tuple[list[int], Fraction, Fraction | None, int]) -> None:
    pace = pace_of(*given)
    assert is_writable(pace.fps)
    if pace.uneven_times is not None:
        assert pace.uneven_times[0] == 0
        assert (np.diff(pace.uneven_times) > 0).all()


# --- values


def _odd_value(random: Random) -> Any:
    """A value of any kind, as a program may hand it over."""
    kind = random.randrange(9)
    if kind < 3:
        return random.choice(ODD)
    if kind == 3:
        return mutations.spoiled_value(ROWS, random)
    sides = [random.choice((0, 1, 2, 3, 12, 16)) for _ in range(random.randrange(4))]
    shape = random.choice((SIZE, (2, 3), tuple(sides)))
    kinds = ("f8", "f4", "f2", "i8", "u1", "?", "c8", "M8[s]", "U3", "S2", "O", "V4")
    array = np.zeros(shape, random.choice(kinds))
    if array.dtype.kind in "fiu" and array.size:
        array.flat[random.randrange(array.size)] = random.choice((1, 3, 100))
        if array.dtype.kind == "f":
            array.flat[0] = random.choice((math.nan, math.inf, -1e4, 0.5))
    if kind == 4:
        return np.ma.masked_array(array, random.random() < 0.5)
    if kind == 5 and array.dtype.kind in "fi":
        return torch.from_numpy(array).to(random.choice((torch.bfloat16, torch.float32)))
    if kind == 6:
        return array.tolist()
    return array


def _settings_text(random: Random) -> str:
    keys = [*_KEYS, "training", "video.", "", "training.stepz", "a.b.c.d"]
    number = random.choice((*_NUMBERS, str(random.uniform(-1e4, 1e6))))
    return random.choice(("=", "=", "=", "", "==")).join((random.choice(keys), number))


def _keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        found += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


_KEYS = _keys(to_dict(preset("fast")))
_NUMBERS = (
    *("1", "0", "-1", "nan", "inf", "1e400", "1e-320", "1.5", "1,2", "1_0", "0x1", "true", "x"),
    *(
        "None",
        "[1]",
        "=",
        "",
        "\0",
        "\ud800",
        "9" * 400,
        "9" * 5000,
        "\N{SUPERSCRIPT TWO}",
        "\N{FULLWIDTH DIGIT ONE}",
    ),
)
_LETTERS = (
    "ab_-+ .()[]%0123456789e'\"=;\x1b\ud800\u200b\u202e"
    "\N{SUPERSCRIPT TWO}\N{FULLWIDTH DIGIT ONE}\N{ARABIC-INDIC DIGIT ONE}"
)


def _names(random: Random) -> list[Path]:
    def name() -> str:
        letters = "".join(random.choice(_LETTERS) for _ in range(random.randrange(1, 12)))
        return random.choice(("", "img", "frame_", letters)) + letters + random.choice((".png", ""))

    return [Path(name()) for _ in range(random.randrange(6))]


def _try_names(names: list[Path]) -> None:
    paths = in_order(names)
    assert sorted(map(str, paths)) == sorted(map(str, names)), "files were lost"
    kept, left = without_companions(paths)
    assert len(kept) + len(left) == len(paths)
    twins(paths)
    list(doubts(paths))


def _value_targets(folder: Path) -> dict[str, Target]:
    config = preset("fast")

    def settings_attempt(text: str) -> None:
        changed = override(config, [text])
        assert from_dict(to_dict(changed)) == changed
        if "video." in text:
            height, width = working_size((123, 77), changed.video)
            assert height > 0
            assert width > 0

    def argv(random: Random) -> list[str]:
        flags = ("--grid", "--queries", "--mask", "--query-frame", "--seed", "--set", "--out",
                 "--preset", "--device", "--overlay-style", "--backbone", "--flow", "-x", "--",
                 "--foreground", "--resume", "--no-overlay")  # fmt: skip
        words = (*_NUMBERS, ".", "a=b")
        count = random.randrange(1, 5)
        given = [random.choice((random.choice(flags), random.choice(words))) for _ in range(count)]
        return ["my.mp4", *given, "--set", _settings_text(random)]

    def queries_attempt(value: Any) -> None:
        found = check_queries(value, LENGTH, SIZE)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()

    def masks_attempt(value: Any) -> None:
        assert as_masks(value, SIZE, "mask").shape == SIZE

    def grid_make(random: Random) -> tuple[int, int]:
        return random.choice((-1, 0, 1, 2, 999, 1001, 10**23, 10**5000)), random.choice((0, 2))

    def folder_attempt(_: Any) -> None:
        assert images_in(folder / "new") == []

    def dict_make(random: Random) -> Any:
        return mutations.spoiled_value(to_dict(config), random)

    def dict_attempt(values: Any) -> None:
        changed = from_dict(values if isinstance(values, dict) else {})
        assert from_dict(to_dict(changed)) == changed

    return {
        "ffmpeg.packets": Target(_packets_make, _packets_attempt, 1),
        "ffmpeg.rates": Target(_pace_make, _pace_attempt, 1),
        "settings": Target(_settings_text, settings_attempt, 1),
        "settings.dict": Target(dict_make, dict_attempt, 0.15),
        "arguments": Target(argv, lambda words: void(arguments.parse(words)), 0.5),
        "values.queries": Target(_odd_value, queries_attempt, 3),
        "values.masks": Target(_odd_value, masks_attempt, 3),
        "values.grid": Target(grid_make, lambda n: void(grid_queries(n[0], SIZE, n[1])), 0.1),
        "names": Target(_names, _try_names, 3),
        "folder": Target(lambda random: None, folder_attempt, 0.1),
    }


def void(_: object) -> None:
    """For what is only tried, and whose answer nobody looks at."""


@contextlib.contextmanager
def scratch() -> Any:
    """A folder in memory, where there is one, for the files of a run."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)
