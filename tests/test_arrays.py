"""Frames in memory: what is taken for what, and what is refused."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dinotrack.errors import InputError
from dinotrack.media.arrays import frames_of_arrays
from dinotrack.video import read_video

FRAMES = np.random.default_rng(3).integers(0, 256, (4, 8, 10, 3), np.uint8)
GREY = FRAMES[..., 1]
FRACTIONS = FRAMES.astype(np.float32) / 255

TAKEN: dict[str, Any] = {
    "array": FRAMES,
    "read-only views": FRAMES[::-1][::-1],
    "channels first": np.ascontiguousarray(FRAMES.transpose(0, 3, 1, 2)),
    "list": list(FRAMES),
    "tuple": tuple(FRAMES),
    "list of channels first": list(FRAMES.transpose(0, 3, 1, 2)),
    "array of objects' list": [np.asfortranarray(frame) for frame in FRAMES],
    "tensor": torch.from_numpy(FRAMES),
    "tensor, channels first": torch.from_numpy(FRAMES).permute(0, 3, 1, 2),
    "tensors": [torch.from_numpy(frame) for frame in FRAMES],
    "tensors, channels first": [torch.from_numpy(frame).permute(2, 0, 1) for frame in FRAMES],
    "fractions": FRACTIONS,
    "fractions, double": FRACTIONS.astype(float),
    "list of fractions": list(FRACTIONS),
    "tensor of fractions that was learnt": torch.from_numpy(FRACTIONS).requires_grad_(),
    "masked array without a mask": np.ma.array(FRAMES),
}


@pytest.mark.parametrize("name", TAKEN)
def test_frames_are_taken(name: str) -> None:
    video = read_video(TAKEN[name])
    assert np.array_equal(video.frames, FRAMES)
    assert video.frames.dtype == np.uint8
    assert (video.name, video.fps, video.path) == ("array", 24.0, "")
    assert np.array_equal(video.times, np.arange(4) / 24)


@pytest.mark.parametrize("source", [GREY, list(GREY), torch.from_numpy(GREY), GREY[:1]])
def test_grey_becomes_rgb(source: Any) -> None:
    frames = read_video(source).frames
    assert frames.shape[1:] == (8, 10, 3)
    assert all(np.array_equal(frames[..., c], GREY[: len(frames)]) for c in range(3))


def test_frames_that_come_one_by_one_need_no_memory() -> None:
    made = (np.full((8, 10, 3), t, np.uint8) for t in range(5))
    frames = read_video(made).frames
    assert frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert frames.base is not None


def test_half_floats_are_rounded_as_longer_ones_are() -> None:
    halves = FRACTIONS.astype(np.float16)
    expected = np.rint(halves.astype(np.float64) * 255).astype(np.uint8)
    assert np.array_equal(frames_of_arrays(halves), expected)


def test_brain_floats_are_taken() -> None:
    frames = frames_of_arrays(torch.from_numpy(FRACTIONS).bfloat16())
    assert np.abs(frames.astype(int) - FRAMES).max() <= 1


REFUSED: dict[str, Any] = {
    "nothing": None,
    "a number": 7,
    "bytes": b"video.mp4",
    "an open file": io.BytesIO(b"frames"),
    "a dict": {"video": FRAMES},
    "a set": {1, 2},
    "an empty list": [],
    "an empty generator": (frame for frame in ()),
    "names": ["a.png", "b.png"],
    "lists of numbers": [[[1, 2, 3]]],
    "one frame": FRAMES[0],
    "one frame, channels first": FRAMES[0].transpose(2, 0, 1),
    "no frame": FRAMES[:0],
    "no width": FRAMES[:, :, :0],
    "one channel": FRAMES[..., :1],
    "alpha": np.dstack((FRAMES[0], GREY[0]))[None],
    "16 bits": FRAMES.astype(np.uint16),
    "floats beyond 1": FRAMES.astype(np.float32),
    "floats below 0": FRACTIONS - 0.5,
    "not finite": np.where(FRACTIONS > 0.9, np.nan, FRACTIONS),
    "bool": FRAMES > 9,
    "complex": FRACTIONS.astype(complex),
    "objects": np.array([None, FRAMES[0]], object),
    "texts": np.array(["a.png"]),
    "records": np.zeros((4, 8, 10, 3), [("r", "u1")]),
    "masked pixels": np.ma.array(FRAMES, mask=FRAMES > 9),
    "masked frames": [np.ma.array(FRAMES[0], mask=FRAMES[0] > 9)],
    "two sizes": [FRAMES[0], FRAMES[0][:5]],
    "two kinds": [FRAMES[0], FRAMES],
    "one of them missing": [FRAMES[0], None],
    "a tensor without numbers": torch.empty(4, 8, 10, 3, device="meta"),
    "a sparse tensor": torch.zeros(4, 8, 10, 3).to_sparse(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sure_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(InputError) as caught:
        frames_of_arrays(REFUSED[name])
    assert any(word in str(caught.value) for word in ("RGB", "size", "mask", "as an array"))
    assert "\n" not in str(caught.value)


def test_the_wrong_frame_is_named() -> None:
    with pytest.raises(InputError, match=r"frame 2 is 10 x 5, and frame 0 10 x 8; all frames"):
        frames_of_arrays([FRAMES[0], FRAMES[1], FRAMES[2][:5]])
    with pytest.raises(InputError, match=r"frame 1 is no array but NoneType"):
        frames_of_arrays([FRAMES[0], None])


def test_what_goes_wrong_in_the_user_s_own_generator_is_theirs() -> None:
    def broken() -> Any:
        yield FRAMES[0]
        raise KeyError("the user's")

    raises: Callable[[], object] = lambda: read_video(broken())  # noqa: E731
    with pytest.raises(KeyError, match="the user's"):
        raises()
