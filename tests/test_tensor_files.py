"""A file of tensors is what was written, or it is refused."""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dinotrack.errors import InputError
from dinotrack.tensor_files import (
    DTYPES,
    DamagedFile,
    load_tensors,
    read_tensors,
    save_tensors,
    write_tensors,
)
from tests.same import same

ABOUT = {"stage": "flow", "size": [3, 4], "ä": None}


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    return {
        "there": values.half(),
        "back": values.transpose(1, 2) < 0,
        "number": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "odd": torch.arange(3, dtype=torch.uint8),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_tensors(path, tensors(), ABOUT)
    return path


def test_what_was_written_is_read(path: Path) -> None:
    found, about = load_tensors(path)
    assert same(found, tensors())
    assert about == ABOUT
    found["there"] += 1  # the caller's own
    assert same(load_tensors(path)[0], tensors())
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_keeps_its_bits(tmp_path: Path, name: str) -> None:
    bits = torch.randint(0, 2, (4, 16), dtype=torch.uint8)
    values = {"values": bits.bool() if name == "BOOL" else bits.view(DTYPES[name])}
    save_tensors(tmp_path / "a", values, {})
    found, _ = load_tensors(tmp_path / "a")
    assert found["values"].dtype == DTYPES[name]
    assert torch.equal(found["values"].view(torch.uint8), values["values"].view(torch.uint8))


def test_any_reader_of_the_format_reads_ours_and_we_read_theirs(path: Path, tmp_path: Path) -> None:
    assert same(load_file(path), tensors())
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["about"]) == ABOUT
    theirs = {name: values.contiguous() for name, values in tensors().items()}
    save_file(theirs, tmp_path / "theirs", {"by": "them"})
    found, metadata = read_tensors(tmp_path / "theirs")
    assert same(found, tensors())
    assert metadata == {"by": "them"}
    with pytest.raises(DamagedFile, match="does not say what it is"):
        load_tensors(tmp_path / "theirs")


def test_tensors_that_lie_at_odd_places_are_read(tmp_path: Path) -> None:
    """As other writers of the format may put them."""
    described = {
        "odd": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "after": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    header = json.dumps(described).encode() + b" "
    content = b"\x07" + np.array([1, 2], np.float32).tobytes()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + content)
    found, _ = read_tensors(tmp_path / "a")
    assert found["odd"].tolist() == [7]
    assert found["after"].tolist() == [1, 2]


def test_the_same_tensors_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    backwards = dict(reversed(tensors().items()))
    save_tensors(tmp_path / "b", backwards, dict(reversed(ABOUT.items())))
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


def test_metadata_of_any_order_gives_the_same_bytes(tmp_path: Path) -> None:
    metadata = {str(number): "x" for number in range(9)}
    write_tensors(tmp_path / "a", tensors(), metadata)
    write_tensors(tmp_path / "b", tensors(), dict(reversed(metadata.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert file.metadata() == metadata


def halved(content: bytearray) -> bytes:
    return bytes(content[: len(content) // 2])


def emptied(content: bytearray) -> bytes:
    return b""


def zeroed(content: bytearray) -> bytes:
    start = random.randrange(len(content))
    stretch = content[start : start + random.randrange(1, 200)]
    return bytes(content[:start]) + bytes(len(stretch)) + bytes(content[start + len(stretch) :])


def flipped(content: bytearray) -> bytes:
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)


def cut(content: bytearray) -> bytes:
    return bytes(content[: random.randrange(len(content))])


def lengthened(content: bytearray) -> bytes:
    return bytes(content) + os.urandom(random.randrange(1, 99))


def moved(content: bytearray) -> bytes:
    """Two stretches have changed their places."""
    middle = len(content) // 2
    return bytes(content[middle:]) + bytes(content[:middle])


@pytest.mark.parametrize("damage", [halved, emptied, zeroed, flipped, cut, lengthened, moved])
def test_damage_is_found_wherever_it_lies(path: Path, damage: Callable[..., bytes]) -> None:
    """Or is none: blanks between words of the header say nothing."""
    random.seed(0)
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = damage(bytearray(whole))
        path.write_bytes(damaged)
        try:
            found, about = load_tensors(path)
        except DamagedFile:
            refused += 1
        else:
            assert damaged == whole or damage in (flipped, zeroed)
            assert same(found, tensors())
            assert about == ABOUT
    assert refused > 140


def test_swapped_tensors_are_found(path: Path) -> None:
    """Of two of one size and type, each in the other's place."""
    save_tensors(path, {"a": torch.zeros(9), "b": torch.ones(9)}, ABOUT)
    content = path.read_bytes()
    path.write_bytes(content[:-72] + content[-36:] + content[-72:-36])
    with pytest.raises(DamagedFile, match="its content is not what was written"):
        load_tensors(path)
    swapped = content.replace(b'"a":', b'"c":').replace(b'"b":', b'"a":').replace(b'"c":', b'"b":')
    path.write_bytes(swapped)
    with pytest.raises(DamagedFile, match="its content is not what was written"):
        load_tensors(path)


def with_header(header: Any, content: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HOSTILE = [
    b"\xff" * 100,
    b"\xff\xff\xff\x7f" + bytes(100),
    with_header(b"{" * 100_000),
    with_header(b'{"a":' * 100_000),
    with_header(b"[" * 100_000),
    with_header(b'{"a": ' + b"9" * 10_000 + b"}"),
    with_header(b'\xff\xfe{"a": 1}'),
    with_header([]),
    with_header(5),
    with_header({"a": ONE}, bytes(7)),
    with_header({"a": ONE}, bytes(9)),
    with_header({"a": ONE, "b": ONE}),
    with_header({"a": 5}),
    with_header({"a": {**ONE, "dtype": "F33"}}),
    with_header({"a": {**ONE, "dtype": ["F32"]}}),
    with_header({"a": {**ONE, "shape": [-1]}}),
    with_header({"a": {**ONE, "shape": [-1, -2]}}),
    with_header({"a": {**ONE, "shape": [2.0]}}),
    with_header({"a": {**ONE, "shape": ["2"]}}),
    with_header({"a": {**ONE, "shape": 2}}),
    with_header({"a": {**ONE, "shape": [2**62, 2**62]}}),
    with_header({"a": {**ONE, "data_offsets": [0, 1e30]}}),
    with_header({"a": {**ONE, "data_offsets": [0]}}),
    with_header({"a": {**ONE, "data_offsets": ["0", "8"]}}),
    with_header({"a": {**ONE, "data_offsets": [0, 8]}, "b": {"data_offsets": None}}),
    with_header({"__metadata__": {"about": 5}, "a": ONE}),
    with_header({"__metadata__": [], "a": ONE}),
    with_header({"__metadata__": {"about": "{", "sha256": ""}, "a": ONE}),
    with_header({"__metadata__": {"about": "5", "sha256": ""}, "a": ONE}),
    with_header({"__metadata__": {"about": "[" * 100_000, "sha256": ""}, "a": ONE}),
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_file_holds_is_refused_in_one_way(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DamagedFile):
        load_tensors(tmp_path / "a")


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="doesn't exist"):
        load_tensors(tmp_path / "absent")
    with pytest.raises(InputError, match="is a folder"):
        load_tensors(tmp_path)


def test_a_file_that_is_larger_than_the_memory_is_refused(tmp_path: Path) -> None:
    """It has holes, and its header is right."""
    size = 2**43
    described = {"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    path = tmp_path / "a"
    try:
        path.write_bytes(with_header(described, b""))
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        pytest.skip("this file system holds no such file")
    with pytest.raises(DamagedFile, match="larger than the memory"):
        load_tensors(path)


def test_a_file_that_another_process_cuts_ends_nobody(path: Path) -> None:
    """Memory that is mapped from the file would be gone."""
    large = {"large": torch.arange(2**20)}
    save_tensors(path, large, ABOUT)
    found, _ = load_tensors(path)
    os.truncate(path, 0)
    assert same(found, large)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(InputError, match=r"can't be written \(File too large\)"):
            save_tensors(path, {"large": torch.zeros(2**16)}, ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(load_tensors(path)[0], tensors())
    assert list(path.parent.iterdir()) == [path]
