"""Files that somebody made in order to harm: programs run, files read or destroyed, memory filled.

Each attack makes its files, gives a command, and says what must come of it. A run may take
`SECONDS`, and as many megabytes as the attack says. What the attack was after (a program that is
run, a file that is changed, a picture that is read) is looked at afterwards.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.trust import bombs, planted, report, runs
from tests.trust.attack import Attack

SECONDS = 90.0
ADDRESSES = 40.0
"""Gigabytes of addresses that a run may have, so that no attack takes the machine."""

ATTACKS: dict[str, Callable[[Attack], None]] = {
    "EPS named .png as mask": planted.eps_as_mask,
    "EPS named .png as frame": planted.eps_as_frame,
    "EPS named .png as foreground": planted.eps_as_foreground,
    "HLS playlist named .mp4": planted.followed("video.mp4", planted.HLS),
    "HLS playlist": planted.followed("video.m3u8", planted.HLS),
    "live HLS playlist": planted.followed("live.m3u8", planted.LIVE),
    "DASH manifest named .mp4": planted.followed("video.mp4", planted.DASH),
    "DASH manifest": planted.followed("video.mpd", planted.DASH),
    "list of files named .mp4": planted.followed("video.mp4", planted.CONCAT),
    "list of files": planted.followed("video.ffconcat", planted.CONCAT),
    "SDP named .mp4": planted.followed("video.mp4", planted.SDP),
    "SDP": planted.followed("video.sdp", planted.SDP),
    "x%d.png": planted.pattern_name,
    "FIFO as video": planted.fifo_as_video,
    "FIFO among frames": planted.fifo_in_folder,
    "FIFO as mask": planted.fifo_as_mask,
    "FIFO as queries": planted.fifo_as_queries,
    "FIFO as checkpoint": planted.fifo_as_checkpoint,
    "FIFO as foreground": planted.fifo_as_foreground,
    "FIFOs as locks": planted.fifo_at_locks,
    "socket as video": planted.socket_as_video,
    "/dev/zero as video": planted.device_as_video,
    "links at .part names": planted.planted_links,
    "links at the results' names": planted.links_at_results,
    "links at the locks' names": planted.links_at_locks,
    "a folder at a result's name": planted.folders_at_results,
    "a file at the model's name": planted.file_at_model,
    **{
        f"input is output {name}, {link}": planted.input_as_output(name, link)
        for name in ("overlay.mp4", "tracks.csv")
        for link in ("itself", "symbolic link", "hard link")
    },
    **{
        f"pickle as {name}": planted.pickle_as(name)
        for name in (
            "points.npy",
            "points.npz",
            "out/model/checkpoint.pt",
            "out/model/checkpoint.safetensors",
        )
    },
    **{
        f"named {name}": planted.named_as(name)
        for name in (
            "concat:b.mp4",
            "file:b.mp4",
            "http:b.mp4",
            "-i.mp4",
            "frame-%03d.mp4",
            "b*.mp4",
            "[0:v].mp4",
            "pipe:",
        )
    },
    "missing file, escape codes": planted.missing_with_codes,
    "damaged frame, escape codes": planted.frame_with_codes,
    "title: Output #0": planted.titled("Output #0 Video: rawvideo, rgb24, 64x48"),
    "title: a line of its own": planted.titled(
        "x\nOutput #0, rawvideo, to 'pipe:':\n  Stream #0:0: Video: rawvideo, rgb24, 64x48, 5 fps"
    ),
    "title: Input #0": planted.titled("Input #0, tty"),
    "title: Duration": planted.titled("Duration: 1:2:1.2.3.4"),
    "title: showinfo": planted.titled("[Parsed_showinfo_0 @ 0] n: 99 pts: 1 pts_time:9 s:64x48"),
    "title: escape codes": planted.titled("\x1b[31m\x1b]0;owned\x07"),
    "PNG of 50,000 x 50,000 as mask": bombs.png_bomb_as_mask,
    "PNG of 50,000 x 50,000 as frame": bombs.png_bomb_as_frame,
    "PNG of 12,000 x 12,000 as mask": bombs.large_png_as_mask,
    "TIFF of 60,000 x 60,000 as frame": bombs.tiff_of(60_000, "frame"),
    "TIFF of 20,000 x 20,000 as frame": bombs.tiff_of(20_000, "frame"),
    "TIFF of 20,000 x 20,000 as mask": bombs.tiff_of(20_000, "--mask"),
    "TIFF of 20,000 x 20,000 as foreground": bombs.tiff_of(20_000, "--foreground"),
    "20,000 px wide, with overlay": bombs.wide_picture,
    "GIF of 16,000 x 16,000": bombs.gif_bomb,
    ".npy that promises a terabyte": bombs.lying_npy,
    ".npz of a gigabyte": bombs.npz_bomb,
    "JSON of 200,000 brackets": bombs.nested_json,
    "JSON number of 400 digits": bombs.huge_number_json,
    "CSV line of 100 million characters": bombs.long_line,
    "three million queries": bombs.million_rows,
    "model.widths=100000,100000": bombs.huge_setting("model.widths=100000,100000"),
    "video.min_side=1000000": bombs.huge_setting("video.min_side=1000000"),
    "training.batch=1000000000000": bombs.huge_setting("training.batch=1000000000000"),
    "training.learning_rate=1e30": bombs.huge_setting("training.learning_rate=1e30", late=True),
    "FFmpeg dies": planted.dying_ffmpeg,
    "FFmpeg is missing": planted.missing_ffmpeg,
}


def try_one(name: str, home: Path, clip: Path) -> tuple[runs.Outcome, list[str]]:
    """Make an attack, and look what came of it."""
    home.mkdir()
    attack = Attack(home, clip)
    ATTACKS[name](attack)
    before = [path.read_bytes() for path in attack.untouched]
    env = runs.environment(home, **attack.env)
    outcome = runs.run(attack.argv, env, SECONDS, ADDRESSES, attack.planted, attack.where)
    problems = []
    if outcome.code is None:
        problems.append(f"it runs longer than {SECONDS:.0f} s")
    elif outcome.code not in attack.codes or outcome.has_traceback:
        last = (outcome.err.strip().splitlines() or [""])[-1]
        problems.append(f"exit code {outcome.code}: {last}")
    elif outcome.code == 2 and not outcome.is_refused:
        problems.append(f"{len(outcome.errors)} lines of errors")
    if outcome.code == 2 and "fit: " in outcome.err and not attack.late:
        problems.append("it is refused only after the fit")
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
