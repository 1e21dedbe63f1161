"""Picture files: what is in them, and what may be wrong with them."""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.media.images import DamagedPicture, read_pages, read_stored

RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (20, 30, 3), np.uint8)
DEEP = RNG.integers(0, 1 << 16, (20, 30, 3)).astype(np.uint16)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n%%EndComments\nshowpage\n"


def png_of(width: int, height: int, rows: int = 1) -> bytes:
    """A grey PNG that claims any size and holds only some black rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes((1 + width) * rows))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(COLOURS)).save(file, kind, **options)
    return file.getvalue()


def only(path: Path) -> np.ndarray:
    (pixels,) = read_pages(path)
    return pixels


def by_opencv(path: Path, pixels: np.ndarray) -> Path:
    cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


# ---- what is in them


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "ppm", "webp"])
def test_colours_are_pillow_s(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "any name.jpg"
    path.write_bytes(encoded(kind, lossless=True) if kind == "webp" else encoded(kind))
    assert np.array_equal(only(path), COLOURS)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_deep_colours_keep_their_low_bytes(suffix: str, tmp_path: Path) -> None:
    assert np.array_equal(only(by_opencv(tmp_path / f"a{suffix}", DEEP)), DEEP)


@pytest.mark.parametrize(
    "pixels",
    [
        RNG.random((20, 30, 3), np.float32),
        RNG.random((20, 30), np.float32),
        RNG.random((20, 30)),
        DEEP[..., 0],
        RNG.integers(-5, 9, (20, 30)).astype(np.int32),
        RNG.integers(0, 1 << 32, (20, 30)).astype(np.uint32),
        RNG.integers(-5, 9, (20, 30)).astype(np.int8),
    ],
    ids=lambda pixels: f"{pixels.dtype}-{pixels.ndim}",
)
def test_numbers_of_a_tiff_are_those_that_were_written(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    if pixels.dtype in (np.int8, np.uint32):
        path.write_bytes(plain_tiff(pixels))
    else:
        by_opencv(path, pixels)
    np.testing.assert_allclose(only(path), pixels, rtol=1e-6)


def plain_tiff(
    pixels: np.ndarray,
    *entries: tuple[int, int, int, int],
    behind: bytes = b"",
    size: tuple[int, int] | None = None,
) -> bytes:
    """A grey TIFF of one strip, unless its entries say otherwise: (tag, type, count, value).

    behind: what follows its pixels.
    """
    height, width = size or pixels.shape
    formats = {"u": 1, "i": 2, "f": 3}
    listed = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8 * pixels.itemsize),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, pixels.nbytes),
        (339, 3, 1, formats[pixels.dtype.kind]),
        *entries,
    ]
    directory = sorted({entry[0]: entry for entry in listed}.values())
    data = pixels.tobytes() + behind
    packed = b"".join(struct.pack("<HHII", *entry) for entry in directory)
    head = struct.pack("<4sI", b"II*\0", 8 + len(data))
    return head + data + struct.pack("<H", len(directory)) + packed + bytes(4)


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<u2", "<i8"])
@pytest.mark.parametrize("planar", [False, True])
def test_colours_of_a_plain_tiff(dtype: str, planar: bool, tmp_path: Path) -> None:
    """Channels may lie one after another, which OpenCV takes for something else in silence."""
    pixels = (DEEP // 7).astype(dtype)
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    size = stored.nbytes // 3
    starts = struct.pack("<3I", 8, 8 + size, 8 + 2 * size)
    where = 8 + stored.nbytes
    strips: list[tuple[int, int, int, int]] = [(273, 4, 1, 8), (279, 4, 1, stored.nbytes)]
    if planar:
        strips = [(273, 4, 3, where), (279, 4, 3, where + 12)]
    entries = [(258, 3, 3, where + 24), (262, 3, 1, 2), (277, 3, 1, 3), (284, 3, 1, 1 + planar)]
    behind = starts + struct.pack("<3I3H2x", *[size] * 3, *[8 * stored.itemsize] * 3)
    path = tmp_path / "a.tif"
    path.write_bytes(plain_tiff(stored, *strips, *entries, behind=behind, size=(20, 30)))
    assert np.array_equal(only(path), pixels)


def test_a_microscope_s_run_of_planes_behind_one_page(tmp_path: Path) -> None:
    """MetaMorph's .stk lists the first plane, and says by the count of a tag how many follow."""
    planes = RNG.integers(0, 4096, (5, 20, 30)).astype(np.uint16)
    behind = planes[1:].tobytes()
    path = tmp_path / "movie.stk"
    path.write_bytes(plain_tiff(planes[0], (33629, 5, 5, 8), behind=behind))
    assert np.array_equal(np.stack(list(read_pages(path))), planes)
    path.write_bytes(plain_tiff(planes[0], (33629, 5, 5, 8), behind=behind[: len(behind) // 2]))
    with pytest.raises(DamagedPicture, match=r"holds 5 pictures, but lists only the first"):
        list(read_pages(path))


def test_an_imagej_stack_of_more_than_four_gigabytes_lists_one_page(tmp_path: Path) -> None:
    planes = RNG.integers(0, 256, (3, 20, 30), np.uint8)
    text = b"ImageJ=1.54f\nimages=3\nslices=3\n\0"
    behind = planes[1:].tobytes()
    where = 8 + planes.nbytes
    path = tmp_path / "large.tif"
    path.write_bytes(plain_tiff(planes[0], (270, 2, len(text), where), behind=behind + text))
    assert np.array_equal(np.stack(list(read_pages(path))), planes)


def test_channels_that_follow_one_another_are_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(COLOURS[..., c]) for c in (0, 1)]
    text = "ImageJ=1.54f\nimages=2\nchannels=2\n"
    path = tmp_path / "composite.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], description=text)
    with pytest.warns(DinotrackWarning, match=r"composite.tif: its pages are 2 channels of each"):
        assert len(list(read_pages(path))) == 2


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_all_pictures_of_an_animation(kind: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 30, 3), 40 * t, np.uint8)) for t in range(5)]
    path = tmp_path / f"a.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    levels = [int(pixels[3, 4, 0]) for pixels in read_pages(path)]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160], atol=4)


def test_a_page_that_is_a_smaller_copy_is_no_picture(tmp_path: Path) -> None:
    small = Image.fromarray(COLOURS[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    path = tmp_path / "a.tif"
    Image.fromarray(COLOURS).save(path, save_all=True, append_images=[small])
    assert np.array_equal(only(path), COLOURS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [COLOURS, DEEP], ids=["8 bits", "16 bits"])
def test_pictures_are_turned_upright(pixels: np.ndarray, orientation: int, tmp_path: Path) -> None:
    path = by_opencv(tmp_path / "a.png", pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(payload)) + b"eXIf" + payload
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + payload))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])
    flat = Image.fromarray(COLOURS)
    flat.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(flat))
    found = only(path)
    assert found.shape == upright.shape
    if pixels is COLOURS:
        assert np.array_equal(found, upright)
    else:
        assert np.array_equal(np.sort(found, axis=None), np.sort(DEEP, axis=None))
        corner = {1: DEEP[0, 0], 2: DEEP[0, -1], 3: DEEP[-1, -1], 4: DEEP[-1, 0]}
        corner |= {5: DEEP[0, 0], 6: DEEP[-1, 0], 7: DEEP[-1, -1], 8: DEEP[0, -1]}
        assert np.array_equal(found[0, 0], corner[orientation])


def test_what_a_mask_is_made_of() -> None:
    cut = np.dstack((COLOURS, np.full((20, 30), 9, np.uint8)))
    stored = read_stored(encoded("png", Image.fromarray(cut)))
    assert stored.alpha is not None
    assert np.array_equal(stored.values, COLOURS)
    assert set(stored.alpha.ravel()) == {9}
    assert not stored.lossy
    indices = Image.fromarray(COLOURS[..., 0] % 3, "P")
    indices.putpalette([255, 255, 255, 0, 0, 0, 200, 0, 0])
    for kind in ("png", "tiff", "gif"):
        stored = read_stored(encoded(kind, indices))
        assert np.array_equal(stored.values, COLOURS[..., 0] % 3)
        assert stored.palette is not None
        assert stored.palette[:3].tolist() == [[255, 255, 255], [0, 0, 0], [200, 0, 0]]
        assert stored.alpha is None
    assert read_stored(encoded("jpeg")).lossy
    assert read_stored(encoded("webp", quality=50)).lossy
    assert not read_stored(encoded("webp", lossless=True)).lossy
    assert read_stored(encoded("jpeg")).palette is None


# ---- what may be wrong with them


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_no_program_is_run_on_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS, whatever the file is called, to the Ghostscript on PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/was_run\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    path = tmp_path / "frame.png"
    path.write_bytes(EPS)
    for read in (read_stored, lambda path: list(read_pages(path))):
        with pytest.raises(DamagedPicture, match=r"frame.png: can't be read .*it is no BMP, GIF"):
            read(path)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"GIF?", "it is no BMP"),
        (EPS, "it is no BMP"),
        (b"DDS |\0\0\0" + bytes(200), "it is no BMP"),
        (encoded("png")[:300], "truncated"),
        (encoded("tiff")[:300], "truncated"),
        (b"II*\0\x08\0\0\0", ""),
        (b"RIFF\0\0\0\0WEBPVP8 ", ""),
        (b"P5 30", ""),
        (b"P5\n30 20\n99999999\n", ""),
    ],
)
def test_damaged_pictures_are_told_in_one_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedPicture, match=r"^the picture: can't be read as a pict") as caught:
        read_stored(data)
    assert reason in caught.value.reason != ""
    assert "\n" not in str(caught.value)


def palette_image() -> Image.Image:
    return Image.fromarray(COLOURS).quantize(8)


SOUND: list[bytes] = [
    encoded("png"),
    encoded("png", Image.fromarray(DEEP[..., 0])),
    encoded("png", palette_image()),
    encoded("jpeg"),
    encoded("webp"),
    encoded("bmp"),
    encoded("ppm"),
    encoded("gif", save_all=True, append_images=[palette_image()]),
    encoded("tiff", save_all=True, append_images=[Image.fromarray(DEEP[..., 1])]),
    encoded("tiff", compression="tiff_lzw"),
    plain_tiff(DEEP[..., 0], (33629, 5, 2, 8), behind=DEEP[..., 1].tobytes()),
]


@pytest.mark.parametrize("seed", range(len(SOUND)))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_damage_is_an_input_error(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "a"
    whole = SOUND[seed]
    for _ in range(60):
        data = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for place in rng.integers(len(data) or 1, size=rng.integers(1, 6)):
            data[place : place + 1] = rng.bytes(1)
        path.write_bytes(data)
        for read in (read_stored, lambda path: list(read_pages(path))):
            with contextlib.suppress(InputError):
                read(path)


@pytest.mark.parametrize("read", [read_stored, lambda *given: list(read_pages(*given))])
def test_the_size_is_looked_at_before_anything_is_decoded(
    read: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(InputError):
        pass

    def look(size: tuple[int, int]) -> None:
        assert size == (12_001, 12_000)
        raise Wrong("another size")

    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(12_000, 12_001))
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(Wrong):
        read(path, look)
    path.write_bytes(png_of(50_000, 50_000))
    with pytest.raises(InputError, match=r"is 50000 x 50000, which is too large; give") as caught:
        read(path)
    assert not isinstance(caught.value, DamagedPicture)


def test_pillow_s_own_limit_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for pictures from strangers, and would refuse a user's own of 182 megapixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "a.png"
    path.write_bytes(encoded("png"))
    assert np.array_equal(only(path), COLOURS)
    assert np.array_equal(read_stored(path).values, COLOURS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe.png is a named pipe"):
        only(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r" is a folder"):
        only(tmp_path)
    with pytest.raises(InputError, match=r"absent.png: no such file; check the path"):
        only(tmp_path / "absent.png")


def test_memory_that_runs_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(DamagedPicture, match="does not fit into memory"):
        read_stored(encoded("png"))


def test_a_tiff_without_a_page_is_damaged(tmp_path: Path) -> None:
    """Found by tests/fuzz.py: no frame came of it, and no error."""
    (tmp_path / "none.tif").write_bytes(b"II*\0\0\0\0\0" + bytes(60))
    for read in (lambda path: list(read_pages(path)), read_stored):
        with pytest.raises(DamagedPicture):
            read(tmp_path / "none.tif")
