"""Files that somebody made in order to harm: programs run, files read or destroyed, memory filled.

Each attack makes its files, gives a command, and says what must come of it. A run may take
`SECONDS` and `MEGABYTES`. What the attack was after (a program that is run, a file that is changed,
a picture that is read) is looked at afterwards.
"""

import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from tests.trust import report, runs

SECONDS = 90.0
MEGABYTES = 2500.0
ADDRESSES = 40.0
"""Gigabytes of addresses that a run may have, so that no attack takes the machine."""
QUICK = ("--preset", "fast", "--grid", "3", "--set", "training.steps=2", "--no-overlay")


@dataclass
class Attack:
    """What an attack needs, and what it has made."""

    home: Path
    clip: Path
    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (2,)
    """Exit codes that are right."""
    frames: int = 0
    """Frames that must have been read where the run goes well; 0: not looked at."""
    megabytes: float = MEGABYTES
    """Memory that is right at most."""
    untouched: list[Path] = field(default_factory=list)
    """Files that must be what they were."""
    absent: list[Path] = field(default_factory=list)
    """Files that must not appear."""
    planted: Callable[[int], None] | None = None
    """What the attacker does while the run with that process id starts."""

    @property
    def out(self) -> Path:
        """Where results go."""
        return self.home / "out"

    def track(self, video: Path | str, *more: str | Path) -> None:
        """The command: `track.py` on a video, with further options."""
        options = [*QUICK, *map(str, more)]
        if "--queries" in options:
            del options[2:4]
        if "--out" not in options:
            options += ["--out", str(self.out)]
        self.argv = [*options, "--", str(video)]


# --- pictures and programs

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 128 96\n%%EndComments\nshowpage\n%%EOF\n"


def _stand_in_for_ghostscript(attack: Attack) -> None:
    """A program `gs` in PATH that tells when it was run."""
    folder = attack.home / "bin"
    folder.mkdir()
    mark = attack.home / "gs-was-run"
    program = folder / "gs"
    program.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    program.chmod(0o755)
    attack.env["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    attack.absent.append(mark)


def eps_as_mask(attack: Attack) -> None:
    """F11: an EPS named .png, as a mask."""
    _stand_in_for_ghostscript(attack)
    mask = attack.home / "mask.png"
    mask.write_bytes(EPS)
    attack.track(attack.clip, "--mask", mask)


def eps_as_frame(attack: Attack) -> None:
    """F11: an EPS named .png, in a folder of frames."""
    _stand_in_for_ghostscript(attack)
    folder = attack.home / "frames"
    folder.mkdir()
    (folder / "0.png").write_bytes(EPS)
    attack.track(folder)


def eps_as_foreground(attack: Attack) -> None:
    """F11: an EPS named .png, as the foreground."""
    _stand_in_for_ghostscript(attack)
    mask = attack.home / "mask.png"
    mask.write_bytes(EPS)
    attack.track(attack.clip, "--foreground", mask)


# --- what FFmpeg follows

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n"
LIVE = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{file}\n"
CONCAT = "ffconcat version 1.0\nfile '{file}'\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
 profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT1S">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">
<BaseURL>{file}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""


def _followed(name: str, text: str) -> Callable[[Attack], None]:
    def make(attack: Attack) -> None:
        path = attack.home / name
        path.write_text(text.format(file=attack.clip))
        attack.track(path)

    return make


def pattern_name(attack: Attack) -> None:
    """F10: a file named x%d.png is that file, not x0.png, x1.png and x2.png."""
    for name in ("x0.png", "x1.png", "x2.png", "x%d.png"):
        Image.new("RGB", (64, 48), "red").save(attack.home / name)
    attack.codes, attack.frames = (0,), 1
    attack.track(attack.home / "x%d.png")


# --- what is no file


def fifo_as_video(attack: Attack) -> None:
    """F22: a FIFO that nobody writes into, as the video."""
    os.mkfifo(attack.home / "pipe.mp4")
    attack.track(attack.home / "pipe.mp4")


def fifo_in_folder(attack: Attack) -> None:
    """F22: a FIFO among frames."""
    folder = attack.home / "frames"
    folder.mkdir()
    Image.new("RGB", (64, 48), "red").save(folder / "0.png")
    os.mkfifo(folder / "1.png")
    attack.codes, attack.frames = (0, 2), 1
    attack.track(folder)


def fifo_as_mask(attack: Attack) -> None:
    """F22: a FIFO as the mask."""
    os.mkfifo(attack.home / "mask.png")
    attack.track(attack.clip, "--mask", attack.home / "mask.png")


def fifo_as_queries(attack: Attack) -> None:
    """F22: a FIFO as the queries."""
    os.mkfifo(attack.home / "points.csv")
    attack.track(attack.clip, "--queries", attack.home / "points.csv")


def fifo_as_checkpoint(attack: Attack) -> None:
    """F22: FIFOs in the model's folder, by the names that fits have had."""
    model = attack.out / "model"
    model.mkdir(parents=True)
    for name in ("checkpoint.pt", "checkpoint.safetensors"):
        os.mkfifo(model / name)
    attack.track(attack.clip)


def socket_as_video(attack: Attack) -> None:
    """F22: a socket as the video."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(attack.home / "s.mp4"))
    server.close()
    attack.track(attack.home / "s.mp4")


def device_as_video(attack: Attack) -> None:
    """F22: /dev/zero as the video."""
    attack.track("/dev/zero")


# --- links and outputs


def planted_links(attack: Attack) -> None:
    """F14: links at the names that unfinished files have had lead to a file of the user."""
    victim = attack.home / "victim"
    victim.write_text("precious")
    attack.out.joinpath("model").mkdir(parents=True)
    names = ("tracks.npz", "tracks.csv", "run.json", "model/checkpoint.pt")

    def plant(process: int) -> None:
        for name in (*names, "model/checkpoint.safetensors"):
            path = attack.out / name
            path.with_name(f".{path.name}.{process}.part").symlink_to(victim)

    attack.planted = plant
    attack.untouched.append(victim)
    attack.codes = (0, 2)
    attack.track(attack.clip)


def _input_as_output(name: str, link: str) -> Callable[[Attack], None]:
    """F12: an input that is an output, by its name or by a link."""

    def make(attack: Attack) -> None:
        attack.out.mkdir()
        output = attack.out / name
        source = attack.home / f"mine{output.suffix}"
        if name.endswith(".mp4"):
            shutil.copy(attack.clip, source)
        else:
            source.write_text("t,x,y\n0,20,20\n")
        if link == "itself":
            source = source.rename(output)
        elif link == "symbolic link":
            output.symlink_to(source)
        else:
            os.link(source, output)
        attack.untouched.append(source)
        if name.endswith(".mp4"):
            attack.track(source)
        else:
            attack.track(attack.clip, "--queries", source)

    return make


# --- words in a video


def _titled(title: str) -> Callable[[Attack], None]:
    """F4: a video's title that looks like FFmpeg's log."""

    def make(attack: Attack) -> None:
        path = attack.home / "titled.mp4"
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        command = [ffmpeg, "-i", str(attack.clip), "-c", "copy", "-metadata", f"title={title}"]
        subprocess.run([*command, str(path)], check=True, capture_output=True)
        attack.codes, attack.frames = (0,), 12
        attack.track(path)

    return make


# --- bombs


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


def million_rows(attack: Attack) -> None:
    """F29: three million queries."""
    (attack.home / "points.csv").write_text("t,x,y\n" + "0,20.5,20.5\n" * 3_000_000)
    attack.track(attack.clip, "--queries", attack.home / "points.csv")


def _huge_setting(value: str) -> Callable[[Attack], None]:
    """F19, F28: numbers that no memory holds."""

    def make(attack: Attack) -> None:
        attack.track(attack.clip, "--set", "training.steps=2", value)

    return make


# --- an FFmpeg that dies, and one that is not there

DYING = """#!/bin/sh
case "$*" in
*rawvideo*) "{real}" "$@" > "{whole}" && head -c 200000 "{whole}" && kill -9 $$ ;;
*) exec "{real}" "$@" ;;
esac
"""


def dying_ffmpeg(attack: Attack) -> None:
    """F1: FFmpeg is killed when it has given five frames and a bit of twelve."""
    program = attack.home / "ffmpeg"
    paths = {"real": imageio_ffmpeg.get_ffmpeg_exe(), "whole": attack.home / "whole"}
    program.write_text(DYING.format(**paths))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    attack.env["IMAGEIO_FFMPEG_EXE"] = str(program)
    attack.track(attack.clip)


def missing_ffmpeg(attack: Attack) -> None:
    """C14: FFmpeg is not where the user says."""
    attack.env["IMAGEIO_FFMPEG_EXE"] = str(attack.home / "nowhere")
    attack.track(attack.clip)


ATTACKS: dict[str, Callable[[Attack], None]] = {
    "EPS named .png as mask": eps_as_mask,
    "EPS named .png as frame": eps_as_frame,
    "EPS named .png as foreground": eps_as_foreground,
    "HLS playlist named .mp4": _followed("video.mp4", HLS),
    "HLS playlist": _followed("video.m3u8", HLS),
    "live HLS playlist": _followed("live.m3u8", LIVE),
    "DASH manifest named .mp4": _followed("video.mp4", DASH),
    "DASH manifest": _followed("video.mpd", DASH),
    "list of files named .mp4": _followed("video.mp4", CONCAT),
    "list of files": _followed("video.ffconcat", CONCAT),
    "SDP named .mp4": _followed("video.mp4", SDP),
    "SDP": _followed("video.sdp", SDP),
    "x%d.png": pattern_name,
    "FIFO as video": fifo_as_video,
    "FIFO among frames": fifo_in_folder,
    "FIFO as mask": fifo_as_mask,
    "FIFO as queries": fifo_as_queries,
    "FIFO as checkpoint": fifo_as_checkpoint,
    "socket as video": socket_as_video,
    "/dev/zero as video": device_as_video,
    "links at .part names": planted_links,
    **{
        f"input is output {name}, {link}": _input_as_output(name, link)
        for name in ("overlay.mp4", "tracks.csv")
        for link in ("itself", "symbolic link", "hard link")
    },
    "title: Output #0": _titled("Output #0 Video: rawvideo, rgb24, 64x48"),
    "title: a line of its own": _titled(
        "x\nOutput #0, rawvideo, to 'pipe:':\n  Stream #0:0: Video: rawvideo, rgb24, 64x48, 5 fps"
    ),
    "title: Input #0": _titled("Input #0, tty"),
    "title: Duration": _titled("Duration: 1:2:1.2.3.4"),
    "title: showinfo": _titled("[Parsed_showinfo_0 @ 0] n: 99 pts: 1 pts_time:9 s:64x48"),
    "title: escape codes": _titled("\x1b[31m\x1b]0;owned\x07"),
    "PNG of 50,000 x 50,000 as mask": png_bomb_as_mask,
    "PNG of 50,000 x 50,000 as frame": png_bomb_as_frame,
    "PNG of 12,000 x 12,000 as mask": large_png_as_mask,
    "GIF of 16,000 x 16,000": gif_bomb,
    ".npy that promises a terabyte": lying_npy,
    ".npz of a gigabyte": npz_bomb,
    "JSON of 200,000 brackets": nested_json,
    "JSON number of 400 digits": huge_number_json,
    "three million queries": million_rows,
    "model.widths=100000,100000": _huge_setting("model.widths=100000,100000"),
    "video.min_side=1000000": _huge_setting("video.min_side=1000000"),
    "training.batch=1000000000000": _huge_setting("training.batch=1000000000000"),
    "training.learning_rate=1e30": _huge_setting("training.learning_rate=1e30"),
    "FFmpeg dies": dying_ffmpeg,
    "FFmpeg is missing": missing_ffmpeg,
}


def try_one(name: str, home: Path, clip: Path) -> tuple[runs.Outcome, list[str]]:
    """Make an attack, and look what came of it."""
    home.mkdir()
    attack = Attack(home, clip)
    ATTACKS[name](attack)
    before = [path.read_bytes() for path in attack.untouched]
    env = runs.environment(home, **attack.env)
    outcome = runs.run(attack.argv, env, SECONDS, ADDRESSES, attack.planted)
    problems = []
    if outcome.code is None:
        problems.append(f"it runs longer than {SECONDS:.0f} s")
    elif outcome.code not in attack.codes or outcome.has_traceback:
        last = (outcome.err.strip().splitlines() or [""])[-1]
        problems.append(f"exit code {outcome.code}: {last}")
    elif outcome.code == 2 and not outcome.is_refused:
        problems.append(f"{len(outcome.errors)} lines of errors")
    if outcome.megabytes > attack.megabytes:
        problems.append(f"it takes {outcome.megabytes:.0f} MB")
    if "\x1b" in outcome.err or "\x07" in outcome.err:
        problems.append("control characters reach the terminal")
    for path, content in zip(attack.untouched, before, strict=True):
        if not path.exists() or path.read_bytes() != content:
            problems.append(f"{path.name} of the user was changed")
    problems += [f"{path.name} is there" for path in attack.absent if path.exists()]
    if outcome.code == 0 and attack.frames:
        problems += _wrong_frames(attack)
    return outcome, problems


def _wrong_frames(attack: Attack) -> list[str]:
    video = json.loads((attack.out / "run.json").read_text())["video"]
    right = video["frames"] == attack.frames
    return [] if right else [f"{video['frames']} frames were read, not {attack.frames}"]


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    args = report.options(__doc__, tries=len(ATTACKS)).parse_args(argv)
    names = list(ATTACKS)
    rows, failures = [], []
    with report.workplace() as place:
        clip = runs.make_clip(place / "a.mp4", seed=3)
        for number in report.numbers(args):
            name = names[number]
            outcome, problems = try_one(name, place / str(number), clip)
            said = "; ".join([*outcome.errors, *outcome.warnings]).replace(str(place), "")
            spent = (round(outcome.seconds), round(outcome.megabytes))
            rows.append((name, outcome.code, *spent, "; ".join(problems) or "ok", said[:160]))
            failures += [f"#{number} {name}: {problem}" for problem in problems]
            report.tell(f"#{number} {name}: {'; '.join(problems) or 'ok'}")
    head = ("attack", "exit", "s", "MB", "verdict", "what was said")
    return report.conclude(report.markdown(head, rows), failures)


if __name__ == "__main__":
    sys.exit(main())
