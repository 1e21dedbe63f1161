"""What counts as inside a mask, from files of every kind and from arrays."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.formats import read_mask, read_masks
from dinotrack.masks import as_masks, inside

SIZE = (90, 120)


def covered() -> np.ndarray:
    """How much of each pixel a disc covers, of 255; it is cut off by no border."""
    y, x = (np.indices((4 * SIZE[0], 4 * SIZE[1])) + 0.5) / 4
    disc = (x - 55.2) ** 2 + (y - 42.1) ** 2 < 28.3**2
    return np.asarray(disc.reshape(SIZE[0], 4, SIZE[1], 4).mean(axis=(1, 3)) * 255).astype(np.uint8)


SOFT = Image.fromarray(covered())
"""A disc whose edges fade."""
TRUE = covered() >= 128
HARD = Image.fromarray(TRUE.astype(np.uint8) * 255)


def cut_out(colours: Image.Image, alpha: Image.Image = HARD) -> Image.Image:
    image = colours.copy()
    image.putalpha(alpha)
    return image


def palette(colours: list[int], indices: np.ndarray = TRUE) -> Image.Image:
    image = Image.new("P", (SIZE[1], SIZE[0]))
    image.putdata(indices.astype(int).ravel().tolist())
    image.putpalette(colours)
    return image


def nearly_opaque() -> Image.Image:
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[::7] = 252
    return cut_out(HARD.convert("RGB"), Image.fromarray(alpha))


def of_grey(grey: int) -> Image.Image:
    return Image.new("RGB", (SIZE[1], SIZE[0]), (grey,) * 3)


PICTURES: dict[str, Callable[[Path], None]] = {
    "cut_out.png": cut_out(of_grey(255)).save,
    "painted_black.png": cut_out(of_grey(0)).save,
    "grey_and_alpha.png": cut_out(Image.new("L", (SIZE[1], SIZE[0]), 90)).save,
    "soft_alpha.png": cut_out(of_grey(9), SOFT).save,
    "translucent.png": cut_out(of_grey(9), HARD.point(lambda value: value * 100 // 255)).save,
    "opaque.png": cut_out(HARD.convert("RGB"), Image.new("L", (SIZE[1], SIZE[0]), 255)).save,
    "nearly_opaque.png": nearly_opaque().save,
    "soft.png": SOFT.save,
    "soft_rgb.png": SOFT.convert("RGB").save,
    "soft_16_bit.png": Image.fromarray(np.asarray(SOFT).astype(np.uint16) * 257).save,
    "soft_of_few_colours.png": SOFT.convert("RGB").quantize(16).save,
    "soft.gif": SOFT.save,
    "index.png": Image.fromarray(TRUE.astype(np.uint8)).save,
    "index_16_bit.png": Image.fromarray(TRUE.astype(np.uint16) * 300).save,
    "numbered.png": Image.fromarray(TRUE * np.uint8(1) + TRUE[::-1] * TRUE * np.uint8(254)).save,
    "one_bit.png": HARD.convert("1").save,
    "davis.png": palette([0, 0, 0, 128, 0, 0]).save,
    "index_0_is_white.png": palette([255, 255, 255, 0, 0, 0], ~TRUE).save,
    "index_0_is_red.png": palette([200, 0, 0, 0, 0, 0], ~TRUE).save,
    "no_black.png": palette([90, 0, 0, 0, 90, 0]).save,
    "q75.jpg": lambda path: HARD.save(path, quality=75),
    "q30.jpg": lambda path: HARD.save(path, quality=30),
    "dark.jpg": lambda path: HARD.point(lambda value: value // 2).save(path, quality=75),
    "q80.webp": lambda path: HARD.save(path, quality=80),
    "q20.webp": lambda path: HARD.save(path, quality=20),
    "lossless.webp": lambda path: palette([0, 0, 0, 1, 0, 0]).save(path, lossless=True),
    "halves.npy": lambda path: np.save(path, TRUE * 0.5),
    "ids.npy": lambda path: np.save(path, TRUE.astype(np.int64) * 7),
    "255.npy": lambda path: np.save(path, TRUE.astype(np.float32) * 255),
}
"""Masks of the same disc: the name of a file -> what writes it."""


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_disc_in_every_kind_of_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    PICTURES[name](path)
    assert np.array_equal(read_mask(path, SIZE), TRUE)
    assert np.array_equal(read_masks(path, 3, SIZE), np.stack([TRUE] * 3))


@pytest.mark.parametrize("name", ["mask_cutout_alpha.png", "mask_true.png"])
def test_the_reported_masks(name: str, shared_data: Path) -> None:
    cases = shared_data / "cases"
    if not cases.is_dir():
        pytest.skip("the reported cases are not there")
    true = np.asarray(Image.open(cases / "mask_true.png").convert("L")) > 0
    assert np.array_equal(read_mask(cases / name, (180, 240)), true)


def test_decoded_loss_is_still_loss(tmp_path: Path) -> None:
    """A JPEG that was saved again as PNG has noise that no format tells of."""
    for suffix, quality in (("jpg", 30), ("jpg", 75), ("webp", 50)):
        HARD.save(tmp_path / f"lossy.{suffix}", quality=quality)
        Image.open(tmp_path / f"lossy.{suffix}").convert("RGB").save(tmp_path / "again.png")
        assert np.array_equal(read_mask(tmp_path / "again.png", SIZE), TRUE)


@pytest.mark.parametrize("bright", [255, 200, 128, 70])
def test_soft_edges_of_any_grey_count_from_the_middle(bright: int) -> None:
    soft = np.asarray(SOFT, np.float64)
    found, _ = inside((soft * bright / 255).round().astype(np.uint8), "the mask")
    assert np.mean(found != (soft >= 127.5)) < 0.003


def test_small_numbered_objects_stay_whole() -> None:
    """Microscopy numbers its cells, many of them above 127; none of them is a shade."""
    labels = np.zeros((120, 160), np.uint8)
    for i in range(1, 201):
        y, x = divmod(i - 1, 20)
        labels[12 * y + 2 : 12 * y + 6, 8 * x + 2 : 8 * x + 6] = i
    found, word = inside(labels, "cells")
    assert np.array_equal(found, labels != 0)
    assert word == ""
    void = np.where(TRUE, 3, 0).astype(np.uint8)
    void[60:66, 20:40] = 255  # what the data sets of VOC leave undecided
    assert np.array_equal(inside(void, "voc")[0], void != 0)


def test_probabilities_count_from_one_half_on_with_a_word(tmp_path: Path) -> None:
    random = np.random.default_rng(0).random(SIZE)
    np.save(tmp_path / "p.npy", random.astype(np.float16))
    with pytest.warns(DinotrackWarning, match=r"p\.npy holds fractions; .* 0.5 and more"):
        found = read_mask(tmp_path / "p.npy", SIZE)
    assert np.array_equal(found, random.astype(np.float16) >= 0.5)
    Image.fromarray((255 * random).astype(np.uint8)).save(tmp_path / "p.png")
    with pytest.warns(DinotrackWarning, match="holds greys; 128 and more counts as inside"):
        found = read_mask(tmp_path / "p.png", SIZE)
    assert np.array_equal(found, (255 * random).astype(np.uint8) >= 128)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(TRUE, 5.0, -5.0), "holds values from -5 to 5"),
        (np.where(TRUE, 5.5, 0.25), "holds fractions up to 5.5, which are no mask"),
        (np.where(TRUE, 1, -1), "holds values from -1 to 1"),
        (np.where(TRUE, np.nan, 0.0), "holds values that are no number"),
        (np.where(TRUE, np.inf, 0.0), "holds values that are no number"),
    ],
)
def test_what_has_no_sure_meaning_is_refused(
    values: np.ndarray, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "m.npy", values)
    with pytest.raises(InputError, match=rf"m\.npy {message}"):
        read_mask(tmp_path / "m.npy", SIZE)
    with pytest.raises(InputError, match=f"the mask {message}"):
        as_masks(values, SIZE, "mask")


def test_masks_of_arrays() -> None:
    assert np.array_equal(as_masks(TRUE, SIZE, "mask"), TRUE)
    assert np.array_equal(as_masks(TRUE.tolist(), SIZE, "mask"), TRUE)
    assert np.array_equal(as_masks(torch.from_numpy(TRUE), SIZE, "mask"), TRUE)
    bfloat = torch.from_numpy(TRUE).to(torch.bfloat16).requires_grad_()
    assert np.array_equal(as_masks(bfloat, SIZE, "mask"), TRUE)
    assert np.array_equal(as_masks(np.asarray(SOFT), SIZE, "mask"), TRUE)
    assert np.array_equal(as_masks(np.ma.masked_array(TRUE), SIZE, "mask"), TRUE)
    with pytest.raises(InputError, match="the mask has shape"):
        as_masks(TRUE[1:], SIZE, "mask")
    with pytest.raises(InputError, match="mask: is a masked array that hides 2 of its values"):
        as_masks(np.ma.masked_array(TRUE, np.arange(TRUE.size).reshape(SIZE) < 2), SIZE, "mask")
    with pytest.raises(InputError, match="the mask holds complex128"):
        as_masks(TRUE * 1j, SIZE, "mask")


def test_all_and_nothing_get_a_word() -> None:
    with pytest.warns(DinotrackWarning, match="the mask holds every pixel"):
        as_masks(np.ones(SIZE), SIZE, "mask")
    with pytest.raises(InputError, match="the foreground holds no pixel; give another one"):
        as_masks(np.zeros((2, *SIZE)), (2, *SIZE), "foreground")


def test_several_pictures_are_one_mask_a_frame(tmp_path: Path) -> None:
    others = [Image.fromarray(np.roll(TRUE, i, axis=1)) for i in range(3)]
    for name in ("stack.tif", "animated.gif"):
        others[0].save(tmp_path / name, save_all=True, append_images=others[1:])
        masks = read_masks(tmp_path / name, 3, SIZE)
        assert np.array_equal(masks, np.stack([np.roll(TRUE, i, axis=1) for i in range(3)]))
        with pytest.raises(InputError, match="holds 3 masks, the video has 2 frames"):
            read_masks(tmp_path / name, 2, SIZE)
        with pytest.raises(InputError, match="holds several pictures"):
            read_mask(tmp_path / name, SIZE)


def test_one_word_for_a_folder(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for t in range(3):
        Image.fromarray(random.integers(0, 256, SIZE, np.uint8)).save(tmp_path / f"{t}.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_masks(tmp_path, 3, SIZE)
    (only,) = caught
    assert str(only.message).endswith("(and so on in 2 more)")


@pytest.mark.parametrize("size", [(90, 120), (120, 90)])
def test_a_tiff_that_lies_on_its_side(size: tuple[int, int], tmp_path: Path) -> None:
    """Found by tests/fuzz.py. Pillow turns it, and its size is not the one that was looked at."""
    HARD.save(tmp_path / "m.tif", tiffinfo={274: 8})
    for read in (lambda path: read_mask(path, size), lambda path: read_masks(path, 3, size)):
        with pytest.raises(InputError, match=r"the mask is .* give a mask of the video's size"):
            read(tmp_path / "m.tif")
