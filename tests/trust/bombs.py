"""Attacks by size: small files that want much memory, and numbers that no memory holds."""

import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.trust.attack import Attack


def _png(width: int, height: int) -> bytes:
    """A grey picture of that size, of one value."""
    row = zlib.compressobj(9)
    data = b"".join([row.compress(bytes(width + 1)) for _ in range(height)] + [row.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_bomb_as_mask(attack: Attack) -> None:
    """F20, F27: a picture of 50,000 x 50,000 px in a few kilobytes, as a mask."""
    path = attack.home / "mask.png"
    path.write_bytes(_lying_png(50_000))
    attack.track(attack.clip, "--mask", path)


def png_bomb_as_frame(attack: Attack) -> None:
    """F20: the same among frames."""
    folder = attack.home / "frames"
    folder.mkdir()
    (folder / "0.png").write_bytes(_lying_png(50_000))
    attack.track(folder)


def large_png_as_mask(attack: Attack) -> None:
    """F27: a mask of 12,000 x 12,000 px for a small video is refused by its header."""
    path = attack.home / "mask.png"
    path.write_bytes(_png(12_000, 12_000))
    attack.megabytes = 350.0  # what Python, NumPy and Pillow take before
    attack.track(attack.clip, "--mask", path)


def _lying_png(side: int) -> bytes:
    """A picture whose header says that it is large; its data are short."""
    small = bytearray(_png(64, 64))
    small[16:24] = struct.pack(">II", side, side)
    small[29:33] = struct.pack(">I", zlib.crc32(bytes(small[12:29])))
    return bytes(small)


def _tiff(side: int) -> bytes:
    """A black picture of one bit a pixel. It is made by rows, as this process may not grow: what a
    run takes of memory is counted from what its parent takes."""
    rows = zlib.compressobj(9)
    data = b"".join([rows.compress(bytes(-(-side // 8))) for _ in range(side)] + [rows.flush()])
    tags = {256: side, 257: side, 258: 1, 259: 8, 262: 1, 273: 8, 278: side, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    folder = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + folder


def tiff_of(side: int, role: str) -> Callable[[Attack], None]:
    """F20: a black-and-white TIFF of side x side px in some kilobytes, as a frame or a mask."""

    def make(attack: Attack) -> None:
        folder = attack.home / "frames"
        folder.mkdir()
        path = folder / "0.tif"
        path.write_bytes(_tiff(side))
        attack.codes = (0, 2)
        if role == "frame":
            attack.track(folder)
        else:
            attack.track(attack.clip, role, path)

    return make


def wide_picture(attack: Attack) -> None:
    """F36: a picture that is wider than any overlay; that is known before the fit."""
    folder = attack.home / "frames"
    folder.mkdir()
    for number in range(3):
        Image.effect_noise((20_000, 32), 60).convert("RGB").save(folder / f"{number}.png")
    attack.codes = (0, 2)
    attack.track(folder)
    attack.argv.remove("--no-overlay")


def gif_bomb(attack: Attack) -> None:
    """F26: a GIF of 16,000 x 16,000 px and 200 frames in some kilobytes."""
    side = struct.pack("<HH", 16_000, 16_000)
    head = b"GIF89a" + side + b"\x80\x00\x00" + b"\x00\x00\x00\xff\xff\xff"
    control = b"\x21\xf9\x04\x00\x04\x00\x00\x00"
    picture = b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    (attack.home / "bomb.gif").write_bytes(head + (control + picture) * 200 + b"\x3b")
    attack.track(attack.home / "bomb.gif")


def lying_npy(attack: Attack) -> None:
    """F19: an .npy whose header promises a terabyte."""
    header = str({"descr": "<f4", "fortran_order": False, "shape": (10**11, 3)}).encode()
    header += b" " * (118 - len(header) - 1) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (attack.home / "points.npy").write_bytes(content)
    attack.track(attack.clip, "--queries", attack.home / "points.npy")


def npz_bomb(attack: Attack) -> None:
    """F20: an .npz whose queries are a gigabyte of zeros, compressed."""
    path = attack.home / "points.npz"
    member = zipfile.ZipInfo("queries.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as file, file.open(member, "w", force_zip64=True) as part:
        rows = 10**9 // 12
        head = {"descr": "<f4", "fortran_order": False, "shape": (rows, 3)}
        np.lib.format.write_array_header_1_0(part, head)
        for _ in range(rows * 12 // 2**20 + 1):
            part.write(bytes(2**20))
    attack.track(attack.clip, "--queries", path)


def nested_json(attack: Attack) -> None:
    """F20: 200,000 brackets."""
    (attack.home / "points.json").write_text("[" * 200_000)
    attack.track(attack.clip, "--queries", attack.home / "points.json")


def huge_number_json(attack: Attack) -> None:
    """F20: a number of 400 digits."""
    (attack.home / "points.json").write_text(f"[[0, 1{'0' * 400}, 1]]")
    attack.track(attack.clip, "--queries", attack.home / "points.json")


def long_line(attack: Attack) -> None:
    """F20: a CSV whose second line has 100 million characters."""
    (attack.home / "points.csv").write_text("t,x,y\n" + "1" * 10**8 + ",1,1\n")
    attack.track(attack.clip, "--queries", attack.home / "points.csv")


def million_rows(attack: Attack) -> None:
    """F29: three million queries."""
    (attack.home / "points.csv").write_text("t,x,y\n" + "0,20.5,20.5\n" * 3_000_000)
    attack.track(attack.clip, "--queries", attack.home / "points.csv")


def huge_setting(value: str, late: bool = False) -> Callable[[Attack], None]:
    """F19, F28: numbers that no memory holds."""

    def make(attack: Attack) -> None:
        attack.late = late
        attack.track(attack.clip, "--set", "training.steps=2", value)

    return make
