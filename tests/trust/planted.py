"""Attacks by files that are not what they seem: programs, playlists, pipes, links and words."""

import os
import pickle
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from tests.trust.attack import Attack

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


def followed(name: str, text: str) -> Callable[[Attack], None]:
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


def fifo_as_foreground(attack: Attack) -> None:
    """F22: a FIFO as the foreground."""
    os.mkfifo(attack.home / "masks.npy")
    attack.track(attack.clip, "--foreground", attack.home / "masks.npy")


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


def input_as_output(name: str, link: str) -> Callable[[Attack], None]:
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


def links_at_results(attack: Attack) -> None:
    """Results are links to files of the user."""
    attack.out.joinpath("model").mkdir(parents=True)
    for name in ("tracks.npz", "tracks.csv", "run.json", "overlay.mp4"):
        victim = attack.home / f"victim-{name}"
        victim.write_text("precious")
        attack.out.joinpath(name).symlink_to(victim)
        attack.untouched.append(victim)
    attack.codes = (0, 2)
    attack.track(attack.clip)


def links_at_locks(attack: Attack) -> None:
    """The files that locks use are links to a file of the user."""
    victim = attack.home / "victim"
    victim.write_text("precious")
    attack.out.joinpath("model").mkdir(parents=True)
    for folder in (attack.out, attack.out / "model"):
        for name in (".lock", ".lock.json", ".lock.owner"):
            (folder / name).symlink_to(victim)
    attack.untouched.append(victim)
    attack.codes = (0, 2)
    attack.track(attack.clip)


def fifo_at_locks(attack: Attack) -> None:
    """The files that locks use are FIFOs."""
    attack.out.joinpath("model").mkdir(parents=True)
    for folder in (attack.out, attack.out / "model"):
        os.mkfifo(folder / ".lock")
    attack.codes = (0, 2)
    attack.track(attack.clip)


def folders_at_results(attack: Attack) -> None:
    """F17: a folder stands where a result belongs; that is known before the fit."""
    attack.out.joinpath("tracks.csv").mkdir(parents=True)
    attack.track(attack.clip)


def file_at_model(attack: Attack) -> None:
    """F17: a file stands where the model's folder belongs."""
    attack.out.mkdir()
    attack.out.joinpath("model").write_text("precious")
    attack.untouched.append(attack.out / "model")
    attack.track(attack.clip)


# --- words that are read as code


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def pickle_as(name: str) -> Callable[[Attack], None]:
    """A pickle that runs a command, as a checkpoint or as queries."""

    def make(attack: Attack) -> None:
        mark = attack.home / "pickle-was-run"
        attack.absent.append(mark)
        path = attack.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, np.array([Payload(mark)], object), allow_pickle=True)
        elif path.suffix == ".npz":
            np.savez(path, queries=np.array([Payload(mark)], object))
        else:
            path.write_bytes(pickle.dumps(Payload(mark)))
        if path.suffix in (".npy", ".npz"):
            attack.track(attack.clip, "--queries", path)
        else:
            attack.track(attack.clip)

    return make


def named_as(name: str) -> Callable[[Attack], None]:
    """A video in the current folder whose name FFmpeg could take for something else."""

    def make(attack: Attack) -> None:
        shutil.copy(attack.clip, attack.home / name)
        attack.where = attack.home
        attack.codes, attack.frames = (0,), 12
        attack.track(name)

    return make


def missing_with_codes(attack: Attack) -> None:
    """F34: the name of a file that is not there, with codes that steer a terminal."""
    attack.track(attack.home / "\x1b]0;owned\x07\x1b[31m.mp4")


def frame_with_codes(attack: Attack) -> None:
    """F34: the name of a damaged picture, with codes that steer a terminal."""
    folder = attack.home / "frames"
    folder.mkdir()
    picture = Image.effect_noise((64, 48), 60).convert("RGB")
    picture.save(folder / "0.png")
    (folder / "\x1b]0;owned\x07.png").write_bytes(b"\x89PNG damaged")
    attack.codes = (0, 2)
    attack.track(folder)


# --- words in a video


def titled(title: str) -> Callable[[Attack], None]:
    """F4: a video's title that looks like FFmpeg's log."""

    def make(attack: Attack) -> None:
        path = attack.home / "titled.mp4"
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        command = [ffmpeg, "-i", str(attack.clip), "-c", "copy", "-metadata", f"title={title}"]
        subprocess.run([*command, str(path)], check=True, capture_output=True)
        attack.codes, attack.frames = (0,), 12
        attack.track(path)

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
