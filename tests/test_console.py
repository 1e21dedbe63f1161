"""What the command lines say, on whatever stream; what they write, refuse, and leave behind."""

import contextlib
import errno
import io
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from dinotrack import cli, interrupts
from dinotrack.benchmarks import __main__ as benchmarks
from dinotrack.benchmarks.kernel_speed import __main__ as kernel_speed
from dinotrack.errors import DinotrackWarning, InputError, on_command_line, printable
from dinotrack.formats import FORMATS, RESULTS
from dinotrack.media.encoding import write_video
from dinotrack.pretraining import __main__ as pretraining
from dinotrack.pretraining.start import __main__ as start
from dinotrack.synthesis import __main__ as synthesis
from dinotrack.synthesis import generate
from dinotrack.terminal import arguments, console, outputs, report
from dinotrack.terminal.display import Display, in_words
from dinotrack.tracks import Tracks
from dinotrack.video import Video

ROOT = Path(__file__).resolve().parent.parent
SIZE, FRAMES = (48, 64), 6
QUICK = ("--grid", "2", "--set", "training.steps=2", "--no-overlay")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "pony.mp4"
    write_video(path, generate(SIZE, FRAMES, 2, seed=1, points=4).frames, 12.0)
    return path


def told(capfd: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line that refuses a command."""
    capfd.readouterr()
    assert cli.main([str(word) for word in argv]) == 2
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("dinotrack: ")]
    assert out == ""
    assert "Traceback" not in err
    assert len(lines) == 1
    return lines[0]


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their paths in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# --- streams --------------------------------------------------------------------------------------


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


BROKEN = {
    "its reader is gone": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "its disk is full": OSError(errno.ENOSPC, "No space left on device"),
    "it is closed": ValueError("I/O operation on closed file"),
}


@pytest.mark.parametrize("error", BROKEN.values(), ids=BROKEN.keys())
def test_nothing_that_is_printed_can_fail(
    error: Exception, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", Broken(error))

    def work() -> int:
        print("a result", flush=True)
        console.say("a line")
        display = Display(sys.stderr)
        for done in range(3):
            display("fit", done, 2)
        raise InputError("wrong")

    assert console.run(work, "interrupted") == 2


def test_streams_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert console.run(lambda: print("a result") or 0, "interrupted") == 0  # type: ignore[func-returns-value]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "utf-16"])
def test_names_are_written_in_whatever_letters_a_stream_has(encoding: str) -> None:
    content = io.BytesIO()
    stream = console.Unfailing(io.TextIOWrapper(content, encoding))
    stream.write("видео M\udce4use ä\n")
    stream.flush()
    written = content.getvalue().decode(encoding)
    assert "M\\udce4use" in written
    assert ("видео" in written) == encoding.startswith("utf")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred\x07.mp4", "\\x1b[31mred\\x07.mp4"),
        ("a\u202egpj.mp4", "a\\u202egpj.mp4"),
        ("M\udce4use", "M\\udce4use"),
        ("two  spaces 視頻.mp4", "two  spaces 視頻.mp4"),
        ("of a library:\n  more\r\n", "of a library: more"),
        ("tab\t\x85.mp4", "tab\\t\\x85.mp4"),
    ],
)
def test_a_name_does_not_steer_the_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert on_command_line(InputError(f"{name}")) == shown


def test_warnings_are_one_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        import warnings

        for _ in range(2):
            warnings.warn(DinotrackWarning("its name is \x1b[2J"), stacklevel=1)
        return 0

    assert console.run(work, "interrupted") == 0
    assert capfd.readouterr().err == 2 * "dinotrack: warning: its name is \\x1b[2J\n"


def test_a_bug_is_told_with_its_traceback_and_memory_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def raising(error: Exception) -> Callable[[], int]:
        def work() -> int:
            raise error

        return work

    assert console.run(raising(KeyError("ours \x1b")), "interrupted") == 1
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "please report it" in err.splitlines()[-1]
    assert console.run(raising(MemoryError()), "interrupted") == 2
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("number", interrupts.ENDING, ids=lambda number: number.name)
def test_a_signal_ends_a_run_in_one_line(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        signal.raise_signal(number)
        return 0

    with as_usual(number):
        assert console.run(work, "interrupted; all is well") == 128 + number
    assert capfd.readouterr().err == "dinotrack: interrupted; all is well\n"


class as_usual:
    """Inside, a signal has Python's own handler, also where the tests run in the background."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __enter__(self) -> None:
        usual = signal.default_int_handler if self.number == signal.SIGINT else signal.SIG_DFL
        self.before = signal.signal(self.number, usual)

    def __exit__(self, *_: object) -> None:
        signal.signal(self.number, self.before)


# --- a process of its own -------------------------------------------------------------------------


def process(*words: object, **how: object) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own."""
    argv = [sys.executable, *map(str, words)]
    how = {"capture_output": True, "text": True, "cwd": ROOT} | how
    return subprocess.run(argv, check=False, **how)  # type: ignore[call-overload, no-any-return]


DOORS = (("track.py",), ("-m", "dinotrack"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("door", DOORS, ids=" ".join)
def test_help_on_a_full_disk(door: Sequence[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = process(*door, "--help", capture_output=False, stdout=full, stderr=full)
    assert ended.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="closes files as a shell does")
def test_closed_streams_are_not_taken_by_files(tmp_path: Path) -> None:
    """Otherwise what libraries say on stderr is written into the tracks."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import os\n"
        "from dinotrack.terminal import console\n"
        "console.fill_closed_streams()\n"
        f"with open({str(tmp_path / 'results')!r}, 'w') as file:\n"
        "    os.write(2, b'a complaint of C')\n"
        "    file.write(str(file.fileno()))\n"
        "console.end_quietly()\n"
    )
    command = f'"{sys.executable}" "{probe}" <&- >&- 2>&-'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, shell=True, check=False, env=environment).returncode == 0
    assert int((tmp_path / "results").read_text()) > 2


INTERRUPTING = """
import builtins, sys
load = builtins.__import__
def interrupted(name, *rest):
    if name.startswith("dinotrack.c"):
        raise KeyboardInterrupt
    return load(name, *rest)
builtins.__import__ = interrupted
from dinotrack.__main__ import entry
entry()
"""


def test_ctrl_c_while_modules_are_loaded() -> None:
    ended = process("-c", INTERRUPTING.replace("dinotrack.c", "argparse"))
    assert ended.returncode == 130
    assert ended.stderr == "dinotrack: interrupted\n"


# --- progress -------------------------------------------------------------------------------------


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(reports: Sequence[tuple[float, int, int]]) -> list[str]:
    """What stands in a file after reports of a stage: seconds since it began, done, total."""
    clock, file = Clock(), io.StringIO()
    with Display(file, clock) as display:
        for seconds, done, total in reports:
            clock.now = 100 + seconds
            display("fit", done, total)
    return file.getvalue().splitlines()


def test_a_file_is_told_soon_and_then_now_and_then() -> None:
    assert lines_of([(second, second, 100) for second in range(101)]) == [
        "fit: 3 of 100, 3.0 s, about 97 s left".replace("97 s", "2 min"),
        "fit: 33 of 100, 33.0 s, about 67 s left",
        "fit: 63 of 100, 63.0 s, about 37 s left",
        "fit: 93 of 100, 93.0 s, about 7 s left",
        "fit: 100 of 100, 100.0 s",
    ]
    assert lines_of([(0, 0, 9), (1, 5, 9), (2, 9, 9)]) == ["fit: 9 of 9, 2.0 s"]


def test_a_stage_that_does_not_know_its_length_yet() -> None:
    assert lines_of([(0, 0, 0), (1, 10, 20), (2, 20, 20)]) == ["fit: 20 of 20, 2.0 s"]
    assert lines_of([(0, 0, 0)]) == []


def test_time_left_is_reckoned_from_where_a_fit_went_on() -> None:
    assert "about 40 s left" in lines_of([(0, 60, 100), (10, 68, 100)])[0]


def test_time_left_on_a_terminal_is_of_the_whole_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock, terminal = Clock(), Terminal()
    monkeypatch.setattr("tqdm.std.time", clock)
    with Display(terminal, clock) as display:
        display("track", 0, 100)
        for done in range(1, 51):  # slow and fast frames in turn: 1.2 s a frame in the mean
            clock.now += 2.0 if done % 2 else 0.4
            display("track", done, 100)
        shown = terminal.getvalue().split("\r")[-1]
    assert "50/100" in shown
    assert "<01:00" in shown


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (5500, "1.5 h")]
)
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


# --- what is written ------------------------------------------------------------------------------

WRITTEN = (*RESULTS, outputs.OVERLAY, outputs.RECORD, "model/checkpoint.safetensors")


@pytest.mark.parametrize("link", ["same path", "symlink", "hard link"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_video_that_the_run_would_replace(
    name: str, link: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    target = out / name
    target.parent.mkdir(parents=True)
    video = target
    if link == "same path":
        target.write_bytes(clip.read_bytes())
    else:
        video = tmp_path / "mine.mp4"
        video.write_bytes(clip.read_bytes())
        (os.symlink if link == "symlink" else os.link)(video, target)
    before = content(tmp_path)
    line = told(capfd, video, "--out", out, *QUICK)
    assert "would be lost" in line
    assert "choose another --out" in line
    assert content(tmp_path) == before


@pytest.mark.parametrize("option", ["--queries", "--mask", "--foreground"])
def test_other_inputs_that_the_run_would_replace(
    option: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if option == "--queries":
        given = written = tmp_path / "tracks.csv"
        given.write_text("t,x,y\n0,5,5\n")
    else:
        given, written = tmp_path / "mask.png", tmp_path / "overlay.mp4"
        mask = np.zeros(SIZE, np.uint8)
        mask[:, 20:50] = 255
        Image.fromarray(mask).save(given)
        os.link(given, written)
    before = content(tmp_path)
    line = told(capfd, clip, "--out", tmp_path, *QUICK[2:], option, given)
    assert f"writes {written.name}" in line
    assert content(tmp_path) == before


def test_a_frame_that_the_run_would_replace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames, out = tmp_path / "frames", tmp_path / "run"
    frames.mkdir()
    out.mkdir()
    for t in range(3):
        Image.new("RGB", SIZE[::-1], (t, 50, 50)).save(frames / f"{t}.png")
    os.symlink(frames / "1.png", out / "tracks.npz")
    assert f"{frames / '1.png'} would be lost" in told(capfd, frames, "--out", out, *QUICK)


def test_results_may_join_the_frames(clip: Path, tmp_path: Path) -> None:
    for t, frame in enumerate(generate(SIZE, 3, 2, seed=1, points=4).frames):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    before = content(tmp_path)
    for _ in range(2):
        assert cli.main([str(tmp_path), "--out", str(tmp_path), *QUICK]) == 0
        assert before.items() <= content(tmp_path).items()


@pytest.mark.parametrize("name", [*RESULTS, outputs.OVERLAY, outputs.RECORD, outputs.MODEL])
def test_what_stands_in_the_way_is_found_before_the_fit(
    name: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if name == outputs.MODEL:
        (tmp_path / name).write_text("a file")
    else:
        (tmp_path / name).mkdir()
    line = told(capfd, clip, "--out", tmp_path, *QUICK)
    assert str(tmp_path / name) in line
    assert "choose another --out" in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_overlay_that_cannot_be_is_known_before_the_fit(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def never(size: tuple[int, int], fps: float) -> None:
        raise InputError(f"not {size} at {fps:g}")

    monkeypatch.setattr("dinotrack.media.encoding.check_writable", never)
    assert "not (48, 64) at 12" in told(capfd, clip, "--out", tmp_path / "run", *QUICK[:-1])
    assert not (tmp_path / "run").exists()
    assert cli.main([str(clip), "--out", str(tmp_path / "run"), *QUICK]) == 0


def test_a_result_that_is_write_protected(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tracks.csv").write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "tracks.csv")
    assert "tracks.csv is write-protected" in told(capfd, clip, "--out", tmp_path, *QUICK)


@pytest.mark.parametrize(
    "argv",
    [
        [""],
        ["VIDEO", "--out", ""],
        ["VIDEO", "--queries", ""],
        ["VIDEO", "--mask", ""],
        ["VIDEO", "--foreground="],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_current_folder(
    argv: list[str],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "an empty path" in told(capfd, *[str(clip) if w == "VIDEO" else w for w in argv])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("d/...mp4", "video"),
        ("d/pony.mp4", "pony"),
        ("d/frames.mp4", "frames"),
        ("bear/frames/", "bear"),
        ("bear/JPEGImages/", "bear"),
        ("JPEGImages/bear/", "bear"),
    ],
)
def test_results_are_called_after_the_video(path: str, folder: str, tmp_path: Path) -> None:
    place = tmp_path / path
    place.parent.mkdir(parents=True)
    if path.endswith("/"):
        place.mkdir()
    name = place.name if path.endswith("/") else place.name.removesuffix(".mp4")
    video = Video(np.zeros((1, 2, 2, 3), np.uint8), 12.0, name, str(place))
    assert outputs.default_folder(video) == Path("runs", folder)


# --- in which order -------------------------------------------------------------------------------


def tracks_of(points: int) -> Tracks:
    """Some tracks, other ones for each number of points."""
    xy = np.full((points, 2, 2), points, np.float32)
    seen = np.ones((points, 2), bool)
    queries = np.zeros((points, 3), np.float32)
    return Tracks(xy, seen, seen.astype(np.float32), queries, (8, 8), 12.0)


def test_a_rerun_that_is_killed_between_files_is_told_from_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stops, run.json is missing, or its hashes are those of the files beside it."""

    class Killed(BaseException):
        pass

    def run(points: int) -> None:
        record = {"points": points}
        hashes = outputs.replace(tmp_path, tracks_of(points), record)
        (tmp_path / "overlay.mp4").write_text(str(points))
        outputs.write_record(tmp_path, record | {"outputs": hashes, "complete": True})

    replace, unlink = os.replace, Path.unlink
    seen = set()
    for stop in range(20 + len(FORMATS)):
        run(1)
        left = iter(range(stop))

        def until(act: Callable[..., None], left: Iterator[int] = left) -> Callable[..., None]:
            def acting(*args: object, **more: object) -> None:
                if next(left, None) is None:
                    raise Killed
                act(*args, **more)

            return acting

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", until(replace))
            patch.setattr(Path, "unlink", until(unlink))
            with contextlib.suppress(Killed):
                run(2)
        seen.add(state_of(tmp_path))
    assert "mixed" not in seen
    assert {"no record", "unfinished", "complete"} <= seen


def state_of(out: Path) -> str:
    """What a reader of a folder of results can know of it."""
    if not (out / "run.json").exists():
        return "no record"
    record = json.loads((out / "run.json").read_text())
    hashes = {name: outputs.sha256(out / name) for name in record["outputs"]}
    if hashes != record["outputs"]:
        return "mixed"
    return "complete" if record["complete"] else "unfinished"


def test_what_a_killed_run_left_is_removed(clip: Path, tmp_path: Path) -> None:
    out, others = tmp_path / "run", tmp_path / "others"
    others.mkdir()
    (others / "photo.png").write_text("mine")
    (out / ".unfinished-abc").mkdir(parents=True)
    (out / ".unfinished-abc" / "tracks.npz").write_text("half")
    (out / ".tracks.csv.0123456789abcdef.part").write_text("half")
    (out / "model").mkdir()
    (out / "model" / ".checkpoint.safetensors.0123456789abcdef.part").write_text("half")
    (out / ".unfinished-link").symlink_to(others)
    (out / "notes.txt").write_text("mine")
    assert cli.main([str(clip), "--out", str(out), *QUICK, "--set", "focus.share=0"]) == 0
    left = {name for name in content(out) if not name.endswith(".lock")}
    assert left == {*RESULTS, outputs.RECORD, "model/checkpoint.safetensors", "notes.txt"}
    assert content(others) == {"photo.png": b"mine"}


def test_what_a_killed_run_cannot_have_left_stays(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-holidays").mkdir()
    (tmp_path / ".unfinished-holidays" / "photo.png").write_text("mine")
    (tmp_path / ".unfinished-notes").write_text("mine")
    before = content(tmp_path)
    outputs.clear(tmp_path)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        ".unfinished-x/tracks.npz",
        ".points.csv.0123456789abcdef.part",
        "model/.points.csv.0123456789abcdef.part",
    ],
)
def test_an_input_is_not_taken_for_what_a_killed_run_left(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="would be lost"):
        outputs.check(tmp_path, [path])
    assert path.read_text() == "mine"


def test_a_format_may_look_at_the_name_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RESULTS, "xy.npy", lambda path, tracks: np.save(path, tracks.xy))
    hashes = outputs.replace(tmp_path, tracks_of(3), {})
    assert np.load(tmp_path / "xy.npy").shape == (3, 2, 2)
    assert hashes.keys() == RESULTS.keys()


def test_old_results_stay_where_new_ones_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.replace(tmp_path, tracks_of(1), {})
    before = content(tmp_path)

    def full(path: Path, tracks: Tracks) -> None:
        raise InputError("the disk is full")

    monkeypatch.setitem(RESULTS, "tracks.csv", full)
    with pytest.raises(InputError, match="full"):
        outputs.replace(tmp_path, tracks_of(2), {})
    assert content(tmp_path) == before


def test_tracks_are_there_where_the_overlay_fails(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise InputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("dinotrack.overlay.render", full)
        assert "full" in told(capfd, clip, "--out", tmp_path, *QUICK[:4])
    assert state_of(tmp_path) == "unfinished"
    assert cli.main([str(clip), "--out", str(tmp_path), *QUICK[:4]]) == 0
    assert state_of(tmp_path) == "complete"
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["outputs"].keys() == {*RESULTS, "overlay.mp4"}
    assert record["steps_trained_now"] == 0
    assert "overlay" in record["seconds"]


def test_a_folder_in_use(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from dinotrack.locks import locked

    with locked(tmp_path):
        assert "in use" in told(capfd, clip, "--out", tmp_path, *QUICK)


def test_the_record_is_json_that_all_readers_take() -> None:
    text = report.as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": "M\udce4use"})
    text.encode("utf-8")
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": "M\\udce4use"}


@pytest.mark.parametrize(
    ("number", "fraction"),
    [
        (24.0, "24"),
        (30000 / 1001, "30000/1001"),
        (1 / 600, "1/600"),
        (12.5, "25/2"),
        (1e6, "1000000"),
    ],
)
def test_rates_as_fractions(number: float, fraction: str) -> None:
    assert str(report.as_fraction(number)) == fraction


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "training.steps=3", "VIDEO"],
        ["--set", "training.steps=3", "model.dims=32", "VIDEO", "--grid", "2"],
        ["VIDEO", "--set", "training.steps=3"],
        ["--grid", "2", "VIDEO", "--set", "training.steps=3"],
    ],
    ids=" ".join,
)
def test_the_video_may_stand_anywhere(words: list[str]) -> None:
    args = arguments.parse(words)
    assert args.video == Path("VIDEO")
    assert "training.steps=3" in args.set
    assert "VIDEO" not in args.set


HUGE = "1" + 400 * "0"


@pytest.mark.parametrize(
    "argv",
    [
        ["--grid", "1" + 23 * "0"],
        ["--grid", HUGE],
        ["--grid", "100000"],
        ["--query-frame", HUGE],
        ["--query-frame", f"-{HUGE}"],
        ["--seed", HUGE],
        ["--set", f"video.area={HUGE}"],
        ["--set", f"video.area={12 * HUGE}"],
        ["--set", f"training.learning_rate={HUGE}"],
        ["--grid", "²"],
        ["--grid", "1_0"],
        ["--overlay-style", HUGE],
    ],
    ids=lambda argv: " ".join(argv)[:30],
)
def test_numbers_beyond_all_measure(
    argv: list[str], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = told(capfd, clip, "--out", tmp_path / "run", *argv)
    assert len(line) < 600
    assert "memory" not in line


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["--flow", "none"], "unknown flow"), (["--set", "backbone.name=vit_x"], "unknown backbone")],
)
def test_unknown_names_are_told_before_the_video_is_read(
    argv: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert said in told(capfd, tmp_path / "broken.mp4", *argv)
    assert "no such file" in told(capfd, tmp_path / "missing.mp4", *argv)


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (synthesis, "x.mp4 --frames 0"),
        (synthesis, "x.mp4 --size 0x9"),
        (synthesis, "x.mp4 --size 9"),
        (synthesis, "x.mp4 --noise nan"),
        (synthesis, "x.npz"),
        (synthesis, "nowhere.txt/x.mp4"),
        (pretraining, "--steps 0"),
        (pretraining, "--out vit.pt"),
        (start, "--threads many"),
        (start, "--out cnn.pt"),
        (kernel_speed, "--out="),
        (benchmarks, "nothing"),
        (benchmarks, "speed --repeats 0"),
        (benchmarks, "accuracy --seeds x"),
        (benchmarks, "accuracy --data nowhere"),
    ],
)
def test_other_command_lines_refuse_in_one_sentence(
    command: ModuleType,
    argv: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nowhere.txt").write_text("a file, and no folder")
    assert command.main(argv.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("dinotrack: error: ")
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["nowhere.txt"]


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "dinotrack" / "py.typed").is_file()
    assert '"dinotrack" = ["py.typed"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


FREED = """
import resource
import numpy as np
from dinotrack.terminal.heap import keep_freed_memory
keep_freed_memory()
np.ones(1 << 23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.ones(1 << 23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Takes and frees 64 MiB nine times; counts the pages that were filled after the first time."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="knows no such options")
def test_memory_that_is_freed_is_taken_again() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FREED]
    counted = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    pages = (1 << 26) // 4096
    assert int(counted.stdout) < pages
