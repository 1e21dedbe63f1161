"""How sound inputs are spoiled: blindly, as bytes, and knowingly, by what a format is made of.

Blind damage is mostly found at the first look, as the sum over a block is wrong. To reach what lies
behind it, a zip is packed anew with spoiled members, a PNG gets the right sums, and JSON stays
JSON.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Spoil = Callable[[bytes, Random], bytes]

TOKENS = (
    *b"\0 \n \r\n \t ; , | \" ' # ( ) [ ] { } : .".split(b" "),
    *b"nan inf -inf Infinity NaN null true None 1e999 -1 1_000 0x10 1e-400 -0".split(),
    *b"9223372036854775808 18446744073709551616 99999999999999999999999999".split(),
    *b"t x y T X Y sep=; queries query tracks descr fortran_order shape <f8 |O >U9".split(),
    *b"\xef\xbb\xbf \xff\xfe \xfe\xff \xff\xfe\0\0 \xc3\x28 \xed\xa0\x80 PK\x03\x04".split(b" "),
    *b"PK\x01\x02 PK\x05\x06 \x93NUMPY\x01\0 \x89PNG\r\n\x1a\n %!PS-Adobe GIF89a II*\0".split(b" "),
    *b"MM\0* RIFF WEBP VP8L BM P5 P6 \xff\xd8\xff __metadata__ data_offsets dtype F32 BOOL".split(),
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\x80" + bytes(7),
    bytes(64),
    b"[" * 500,
    b"9" * 5000,
)
"""Words of the formats, and numbers at which programs break."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, -1e308, float("nan"), float("inf"),
    2**31, 2**63, 2**64, 10**400, "", "x", "0", "\0", "\ud800", "\x1b[2J", "../" * 9, "a" * 999,
    [], {}, [[]], [None], {"": None}, [0] * 99, [1, "2", 3.0], {"a": {"b": {"c": []}}},
)  # fmt: skip
"""Values that are not what a reader of JSON counts on."""


def spoiled(content: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to five faults."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        random.choice(BLIND)(data, random, others)
    return bytes(data)


def _place(data: bytearray, random: Random) -> int:
    """Where to spoil: anywhere, and more often near the start, where headers are."""
    end = len(data) if random.random() < 0.5 else min(len(data), 128)
    return random.randrange(end) if end else 0


def _flip(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 4, 16)) if data else 0):
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _byte(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    if data:
        data[_place(data, random)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _number(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    value = random.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, random.getrandbits(32)))
    at = _place(data, random)
    data[at : at + 4] = value.to_bytes(4, random.choice(("little", "big")))


def _zeros(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    length = min(random.choice((1, 8, 64, 4096)), len(data) - at)
    data[at : at + length] = bytes(length)


def _cut(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 16, 256, len(data)))]


def _insert(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    data[at:at] = random.choice((random.choice(TOKENS), random.randbytes(random.randrange(1, 40))))


def _overwrite(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    token = random.choice(TOKENS)
    at = _place(data, random)
    data[at : at + len(token)] = token


def _repeat(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    part = data[at : at + random.choice((1, 8, 100))]
    data[at:at] = part * random.choice((1, 2, 50))


def _splice(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    other = random.choice(others) if others else bytes(data)
    at = _place(data, random)
    data[at:] = other[random.randrange(len(other) + 1) :]


BLIND = (_flip, _flip, _byte, _number, _zeros, _cut, _insert, _overwrite, _repeat, _splice)


def spoiled_value(value: Any, random: Random) -> Any:
    """A JSON value with one of its parts replaced, left out, doubled or nested."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice(sorted(value))
        changed = dict(value)
        how = random.randrange(8)
        if how == 0:
            del changed[name]
        elif how == 1:
            changed[random.choice(("", "x", "__proto__", name + "x"))] = changed.pop(name)
        else:
            changed[name] = spoiled_value(value[name], random)
        return changed
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        changed_list = list(value)
        how = random.randrange(6)
        if how == 0:
            del changed_list[at]
        elif how == 1:
            changed_list[at:at] = [changed_list[at]] * random.choice((1, 50))
        else:
            changed_list[at] = spoiled_value(value[at], random)
        return changed_list
    if isinstance(value, int | float) and random.random() < 0.3:
        return random.choice((-value, value * 1e6, value + 0.5, int(value) << 40, str(value)))
    return random.choice(ODD)


def spoiled_json(content: bytes, random: Random) -> bytes:
    """A JSON text that stays one, mostly."""
    value = spoiled_value(json.loads(content), random)
    return json.dumps(value).encode(errors="surrogatepass")


def spoiled_zip(content: bytes, random: Random) -> bytes:
    """An archive whose sums are right, though a member is spoiled, missing, doubled or renamed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        names = old.namelist()
        hit = random.choice(names)
        for name in names:
            data, kind = old.read(name), zipfile.ZIP_STORED
            if name == hit:
                how = random.randrange(10)
                if how == 0:
                    continue
                if how == 1:
                    name = random.choice(names)
                elif how == 2:
                    kind = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
                else:
                    data = spoiled(data, random)
            if name not in new.namelist():
                new.writestr(zipfile.ZipInfo(name), data, kind)
    return packed.getvalue()


def spoiled_png(content: bytes, random: Random) -> bytes:
    """A PNG whose sums are right, though a block is spoiled."""
    at, blocks = 8, []
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        blocks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    hit = random.randrange(len(blocks))
    kind, data = blocks[hit]
    if kind == b"IDAT" and random.random() < 0.5:
        data = zlib.compress(spoiled(zlib.decompress(data), random))
    else:
        data = spoiled(data, random)
    blocks[hit] = (kind, data)
    if random.random() < 0.1:
        blocks.insert(random.randrange(len(blocks)), random.choice(blocks))
    packed = [content[:8]]
    for kind, data in blocks:
        packed += [struct.pack(">I", len(data)), kind, data]
        packed.append(struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(packed)


def spoiled_safetensors(content: bytes, random: Random) -> bytes:
    """A file of tensors whose header stays JSON."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(spoiled_value(json.loads(content[8 : 8 + length]), random)).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def spoiled_npy(content: bytes, random: Random) -> bytes:
    """An array whose header has its right length, though it says something else."""
    length = int.from_bytes(content[8:10], "little")
    header = spoiled(content[10 : 10 + length], random)[:60000]
    return content[:8] + len(header).to_bytes(2, "little") + header + content[10 + length :]
