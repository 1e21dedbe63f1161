"""Every broken and odd file, through the command line: tracked, or refused in one line; never a
crash."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from dinotrack.cli import main
from dinotrack.formats import load_tracks
from dinotrack.video import read_video

REFUSED = (
    "mp4parse_bipbop_nonfragment_header.mp4",
    "mp4parse_test_case_1185230.mp4",
    "small_Mpeg4.mp4",
    "zero_bytes.mp4",
)
TRACKED = {  # name -> frames, and what is warned of
    "-video-with-dash-.mp4": (5, "every frame of the video is blank"),
    "black_20f.mp4": (20, "every frame of the video is blank"),
    "corrupt.jpg": (1, "damaged"),
    "decord_video_180.mov": (3, ""),
    "decord_video_90.mov": (3, ""),
    "frame_exceeds_screen.gif": (1, "nothing to learn"),
    "h265_10bits.mp4": (30, ""),
    "mp4parse_h264_white_frame_sar_16_9.mp4": (1, "not square"),
    "nasa_13013_rotated.mp4": (17, ""),
    "one_frame.mp4": (1, "nothing to learn"),
    "test_non_zero_start.mp4": (12, "not square"),
    "testsrc2_odd_height_and_width_mpeg2.mp4": (10, ""),
    "tiny_48x32.mp4": (30, ""),
    "two_frames.mp4": (2, ""),
}
LONG = {
    "anamorphic_sar2.mp4": (40, "not square"),
    "av1_video.mkv": (125, ""),
    "moviepy_no_duration.webm": (74, ""),
    "moviepy_video_with_failing_audio.mp4": (280, "frames 277 to 279 are blank"),
    "mp4parse_no_timescale.mp4": (170, "damaged"),
    "nasa_13013.mp4": (325, ""),
    "size_change.ts": (40, "changes midway"),
    "testsrc2_hdr.mp4": (60, ""),
    "truncated_faststart.mp4": (53, "damaged"),
}
QUICK = ["--grid", "4", "--set", "training.steps=2", "video.area=20000", "focus.share=0"]


def test_no_file_is_forgotten(shared_data: Path) -> None:
    names = {path.name for path in (shared_data / "bad").iterdir()} - {"SOURCE.txt"}
    assert names == {*REFUSED, *TRACKED, *LONG}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(
    name: str, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main([*QUICK, "--out", str(tmp_path / "run"), "--", str(shared_data / "bad" / name)]) == 2
    )
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("dinotrack: error: ")
    assert name in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", [*TRACKED, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]
)
def test_tracked(
    name: str, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "bad" / name
    count, warned = (TRACKED | LONG)[name]
    assert main([*QUICK, "--out", str(tmp_path), "--", str(path)]) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("dinotrack: ")]
    assert all(line.startswith("dinotrack: warning: ") for line in said)
    assert any(warned in line for line in said) if warned else not said
    tracks = load_tracks(tmp_path / "tracks.npz")
    assert tracks.xy.shape == (16, count, 2)
    assert np.isfinite(tracks.xy).all()
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()
    np.testing.assert_array_equal(tracks.xy[:, 0], tracks.queries[:, 1:])
    assert tracks.visible[:, 0].all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        video, overlay = read_video(path), read_video(tmp_path / "overlay.mp4")
    (height, width), padded = video.size, overlay.size
    assert padded == (height + height % 2, width + width % 2)
    assert len(overlay.frames) == len(video.frames) == count
    assert overlay.fps == pytest.approx(video.fps, rel=1e-3)
