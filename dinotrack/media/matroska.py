"""Raw frames with their times, in the plainest form that FFmpeg reads: Matroska (RFC 9559).

Raw frames alone have no times but a rate. Here each frame travels in a cluster of its own, which
says when it is shown and for how long.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

NANOSECONDS = 1_000_000_000
UNKNOWN_LENGTH = b"\x01" + b"\xff" * 7
"""Of a segment that goes on as long as the stream."""


def packed(
    frames: Iterable[memoryview], size: tuple[int, int], times: Float[np.ndarray, " T"]
) -> Iterator[bytes | memoryview]:
    """The stream of two or more RGB frames of size (H, W), shown at `times` (seconds, ascending).

    The last frame is shown as long as the one before it.
    """
    stamps = np.rint(times * NANOSECONDS).astype(np.int64)
    lengths = np.diff(stamps)
    lengths = np.append(lengths, lengths[-1:])
    yield _head(size)
    for frame, stamp, length in zip(frames, stamps.tolist(), lengths.tolist(), strict=True):
        time = _element("e7", _number(stamp))
        shown = _element("9b", _number(length))  # BlockDuration
        block = b"\x81\0\0\0"  # of track 1, at the time of the cluster, without flags
        start = _start("a1", len(block) + frame.nbytes) + block
        group = _start("a0", len(start) + frame.nbytes + len(shown)) + start
        yield _start("1f43b675", len(time) + len(group) + frame.nbytes + len(shown)) + time + group
        yield frame
        yield shown


def _head(size: tuple[int, int]) -> bytes:
    """All that stands before the first cluster."""
    height, width = size
    kind = _element("4282", b"matroska")
    scale = _element("2ad7b1", _number(1))  # a tick is a nanosecond
    colours = _element("2eb524", b"RGB\x18")  # 24 bits a pixel
    shape = _element("b0", _number(width)) + _element("ba", _number(height)) + colours
    track = (
        _element("d7", _number(1))  # TrackNumber
        + _element("73c5", _number(1))  # TrackUID
        + _element("83", _number(1))  # TrackType: video
        + _element("86", b"V_UNCOMPRESSED")
        + _element("e0", shape)
    )
    tracks = _element("1654ae6b", _element("ae", track))
    segment = bytes.fromhex("18538067") + UNKNOWN_LENGTH
    return _element("1a45dfa3", kind) + segment + _element("1549a966", scale) + tracks


def _element(name: str, data: bytes) -> bytes:
    return _start(name, len(data)) + data


def _start(name: str, length: int) -> bytes:
    """An element up to its data. Its length takes 8 bytes, whose first bit says so."""
    return bytes.fromhex(name) + (1 << 56 | length).to_bytes(8, "big")


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")
