"""The command line, run in this process: what it writes, what it refuses, and how it goes on."""

import csv
import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dinotrack import api, load, weights
from dinotrack.cli import main
from dinotrack.config import FAST
from dinotrack.formats import load_tracks
from dinotrack.media.encoding import write_video
from dinotrack.model import Tracker
from dinotrack.synthesis import generate
from dinotrack.terminal.arguments import COMMANDS
from dinotrack.terminal.display import Display
from dinotrack.training.checkpoint import FILE
from dinotrack.video import read_video

HEIGHT, WIDTH, FRAMES = 48, 64, 6
STEPS = 6
QUICK = ["--set", f"training.steps={STEPS}", "focus.share=0", "--no-overlay"]

Write = Callable[[str, str], str]


def make_clip(path: Path, seed: int) -> str:
    write_video(path, generate((HEIGHT, WIDTH), FRAMES, 2, seed=seed, points=4).frames, 12.0)
    return str(path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_clip(tmp_path_factory.mktemp("clips") / "pony.mp4", seed=1)


@pytest.fixture
def file(tmp_path: Path) -> Write:
    """file(name, text): writes it and gives its path."""

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def run_json(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def refused(capfd: pytest.CaptureFixture[str], *argv: object) -> str:
    """Runs what the user got wrong, and gives the one line that says so."""
    code = main([str(a) for a in argv])
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("dinotrack: ")]
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert len(lines) == 1
    assert lines[0].startswith("dinotrack: error: ")
    assert err.splitlines()[-1] == lines[0]
    return lines[0]


def test_writes_everything(clip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "run"
    assert (
        main(
            [
                clip,
                "--out",
                str(out),
                "--grid",
                "3",
                "--query-frame",
                "2",
                "--set",
                "training.steps=3",
            ]
        )
        == 0
    )
    assert {p.name for p in out.iterdir()} - {".lock"} == {
        "tracks.npz",
        "tracks.csv",
        "overlay.mp4",
        "model",
        "run.json",
    }

    with np.load(out / "tracks.npz") as file:
        arrays = dict(file)
    assert arrays["tracks"].dtype == np.float32
    assert arrays["tracks"].shape == (9, FRAMES, 2)
    assert np.isfinite(arrays["tracks"]).all()
    assert arrays["visible"].dtype == bool
    assert arrays["visible"].shape == (9, FRAMES)
    assert arrays["confidence"].dtype == np.float32
    assert ((arrays["confidence"] >= 0) & (arrays["confidence"] <= 1)).all()
    assert arrays["queries"].dtype == np.float32
    assert arrays["size"].tolist() == [HEIGHT, WIDTH]
    assert arrays["fps"] == 12
    steps = (np.arange(3) + 0.5) / 3
    expected = [(2, WIDTH * x - 0.5, HEIGHT * y - 0.5) for y in steps for x in steps]
    np.testing.assert_allclose(arrays["queries"], expected, atol=1e-5)
    np.testing.assert_array_equal(arrays["tracks"][:, 2], arrays["queries"][:, 1:])
    assert arrays["visible"][:, 2].all()

    with (out / "tracks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * FRAMES
    assert float(rows[7]["x"]) == pytest.approx(arrays["tracks"][1, 1, 0], abs=1e-3)
    overlay = read_video(out / "overlay.mp4")
    assert overlay.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert overlay.fps == 12
    printed, err = capfd.readouterr()
    assert f"wrote {out}: tracks.npz, tracks.csv, overlay.mp4, run.json, model/" in printed
    assert "fit: 3 of 3" in err


def test_record(clip: str, tmp_path: Path) -> None:
    assert main([clip, "--out", str(tmp_path), "--grid", "2", "--seed", "5", *QUICK]) == 0
    record = run_json(tmp_path)
    assert record["video"] | {"hash": ""} == {
        "path": clip, "name": "pony", "hash": "", "frames": FRAMES,
        "height": HEIGHT, "width": WIDTH, "fps": 12, "rate": "12",
    }  # fmt: skip
    assert record["seed"] == 5
    assert record["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert record["settings"]["training"]["steps"] == STEPS
    assert {"read", "flow", "labels", "fit", "track", "write"} <= record["seconds"].keys()
    assert record["seconds"].keys() == record["peak_megabytes"].keys()
    peaks = list(record["peak_megabytes"].values())
    assert peaks == sorted(peaks), "a process does not forget its peak"
    assert record["steps"] == record["steps_trained_now"] == STEPS
    assert all(len(values) == STEPS for values in record["losses"].values())
    assert {"dinotrack", "torch", "torchvision", "timm", "cv2", "numpy", "python"} <= record[
        "versions"
    ].keys()


def test_default_folder_is_named_after_the_video(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([clip, "--grid", "2", *QUICK]) == 0
    assert (tmp_path / "runs" / "pony" / "tracks.npz").is_file()


def test_folder_of_images_and_a_dash(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = tmp_path / "-frames"
    frames.mkdir()
    for t, frame in enumerate(read_video(clip).frames):
        Image.fromarray(frame).save(frames / f"{t}.png")
    monkeypatch.chdir(tmp_path)
    assert main(["--grid", "2", *QUICK, "--", "-frames"]) == 0
    assert main(["./-frames", "--grid", "3", *QUICK]) == 0
    assert load_tracks(Path("runs", "-frames", "tracks.npz")).xy.shape == (9, FRAMES, 2)


def test_other_points_need_no_fit(clip: str, file: Write, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([clip, "--out", str(out), "--set", "training.steps=6", "--grid", "2"]) == 0
    assert (out / "overlay.mp4").is_file()
    queries = file("points.csv", "t,x,y\n3,10.5,20\n0,30,7\n")
    assert main([clip, "--out", str(out), "--queries", queries, *QUICK]) == 0
    record = run_json(out)
    assert record["steps_trained_now"] == 0
    assert record["steps"] == STEPS
    assert "fit" not in record["seconds"]
    tracks = load_tracks(out / "tracks.npz")
    assert tracks.queries.tolist() == [[3, 10.5, 20], [0, 30, 7]]
    assert tracks.xy[0, 3].tolist() == [10.5, 20]
    assert not (out / "overlay.mp4").exists(), "an overlay of the points before"


def test_fit_is_loaded_from_python(clip: str, tmp_path: Path) -> None:
    assert main([clip, "--out", str(tmp_path), "--grid", "3", *QUICK]) == 0
    again, tracks = load(tmp_path / "model").track(grid=3), load_tracks(tmp_path / "tracks.npz")
    np.testing.assert_array_equal(again.xy, tracks.xy)
    np.testing.assert_array_equal(again.confidence, tracks.confidence)


def test_mask_and_foreground(clip: str, tmp_path: Path) -> None:
    left = np.zeros((HEIGHT, WIDTH), np.uint8)
    left[:, : WIDTH // 2] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    mask = str(tmp_path / "left.png")
    argv = [clip, "--out", str(tmp_path / "run"), *QUICK, "--grid", "4"]
    assert main([*argv, "--mask", mask, "--foreground", mask]) == 0
    tracks = load_tracks(tmp_path / "run" / "tracks.npz")
    assert len(tracks.queries) == 8
    assert (tracks.queries[:, 1] < WIDTH / 2).all()
    assert main(argv) == 2, "another foreground is another fit"


def test_same_seed_same_bytes(clip: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert (
            main([clip, "--out", str(tmp_path / name), "--grid", "4", "--seed", "3", *QUICK]) == 0
        )
    assert (tmp_path / "a" / "tracks.npz").read_bytes() == (
        tmp_path / "b" / "tracks.npz"
    ).read_bytes()


@pytest.fixture
def ctrl_c_heard() -> Iterator[None]:
    """Python's own answer to Ctrl-C, also where the tests run in the background, whose shell
    ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_heard")
def test_interrupted_and_resumed(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [clip, "--grid", "4", *QUICK, "--out"]
    locate_by = Tracker.locate_by
    calls = iter(range(100))

    def press_ctrl_c(self: Tracker, *rest: Any) -> torch.Tensor:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return locate_by(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "locate_by", press_ctrl_c)
        assert main([*argv, str(tmp_path / "cut")]) == 130
    assert next(calls) == 4, "it ends the run where it comes"
    err = capfd.readouterr().err
    assert err.splitlines()[-1] == "dinotrack: interrupted; the same command goes on from here"
    assert "Traceback" not in err

    assert main([*argv, str(tmp_path / "cut")]) == 0
    assert run_json(tmp_path / "cut")["steps_trained_now"] == STEPS - 3, "whole steps are kept"
    assert main([*argv, str(tmp_path / "whole")]) == 0
    assert (tmp_path / "cut" / "tracks.npz").read_bytes() == (
        tmp_path / "whole" / "tracks.npz"
    ).read_bytes()


def test_another_fit_in_the_same_folder(
    clip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["--out", tmp_path / "run", "--grid", "2"]
    assert main([str(a) for a in (clip, *argv, *QUICK)]) == 0
    before = (tmp_path / "run" / "tracks.npz").read_bytes()
    capfd.readouterr()
    line = refused(capfd, clip, *argv, "--no-overlay", "--set", "training.steps=7", "model.dims=32")
    assert f"training.steps: {STEPS} / 7" in line
    assert f"model.dims: {FAST.model.dims} / 32" in line
    assert "seed: 0 / 1" in refused(capfd, clip, *argv, *QUICK, "--seed", "1")
    other = make_clip(tmp_path / "other.mp4", seed=2)
    assert f"belongs to {clip}" in refused(capfd, other, *argv, *QUICK)
    assert (tmp_path / "run" / "tracks.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "it is empty"), ("t,x,y\n" * 40, "no frames can be read"), (None, "no such file")],
    ids=["zero bytes", "text", "missing"],
)
def test_no_video(
    content: str | None, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_text(content)
    assert said in refused(capfd, path, "--out", tmp_path / "run", *QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.csv", "", "t,x,y"),
        ("q.csv", "t,x,y\n", "no query"),
        ("q.csv", "1,2,3\n4,5,6\n", "t,x,y"),
        ("q.csv", "t,x,y\n0,1,2\n0,one,2\n", "q.csv, line 3: x = 'one' is no number"),
        ("q.csv", "t,x,y\n0,1,2\n0,nan,2\n", "q.csv, line 3: x = 'nan' is no number"),
        ("q.csv", "t,x,y\n0,1,2\n0,5,5\n6,1,2\n", "q.csv, line 4: t = 6"),
        ("q.csv", "t,x,y\n0,64,2\n", "q.csv, line 2: x = 64"),
        ("q.csv", "t,x,y\n0.5,6,2\n", "q.csv, line 2: t = 0.5"),
        ("q.json", "{", "q.json, line 1: is no JSON"),
        ("q.json", "[[0, 1], [2]]", "row 0"),
        ("q.npy", "not numpy", "can't be read as queries"),
        ("q.npz", "not numpy", "can't be read as queries"),
        ("q.xls", "t,x,y\n0,1,2\n", ".csv"),
    ],
)
def test_bad_queries(
    name: str,
    text: str,
    said: str,
    clip: str,
    file: Write,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert said in refused(
        capfd, clip, "--out", tmp_path / "run", "--queries", file(name, text), *QUICK
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--preset", "slow"], "fast"),
        (["--backbone", "dino_vits99"], "dino_vits"),
        (["--flow", "no-such-flow"], "raft_large"),
        (["--overlay-style", "dots"], "trails"),
        (["--device", "tpu"], "cuda"),
        (["--device", "mps"], "mps"),
        (["--set", "training.stepz=3"], "steps"),
        (["--set", "train.steps=3"], "training"),
        (["--set", "training.steps=many"], "whole number"),
        (["--set", "training.steps=-1"], "at least 0"),
        (["--set", "training.steps"], "KEY=VALUE"),
        (["--set", "model.widths=a,b"], "64,128"),
        (["--set", "inference.method=guess"], "join"),
        (["--grid", "0"], "grid"),
        (["--grid", "two"], "whole number"),
        (["--query-frame", "6"], "[0, 5]"),
        (["--query-frame", "-1"], "[0, 5]"),
        (["--grid", "4", "--queries", "q.csv"], "not allowed"),
        (["--mask", "m.png", "--queries", "q.csv"], "--mask"),
        (["--mask", "missing.png"], "no such file"),
        (["--foreground", "missing"], "no such file"),
        (["--seed", "-1"], "seed"),
        (["--seed", "x"], "no whole number"),
        (["--resum", "--fast"], "unrecognized"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(
    argv: list[str], said: str, clip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if argv == ["--device", "mps"] and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    assert said in refused(capfd, clip, "--out", tmp_path / "run", "--no-overlay", *argv)
    assert not (tmp_path / "run" / "model").exists()


def test_bad_masks(clip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (WIDTH, HEIGHT + 1), 255).save(tmp_path / "other.png")
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "empty.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 255).save(tmp_path / "masks" / "0.png")
    run = [clip, "--out", tmp_path / "run", *QUICK]
    assert "64 x 49, the video 64 x 48" in refused(capfd, *run, "--mask", tmp_path / "other.png")
    assert "no pixel" in refused(capfd, *run, "--mask", tmp_path / "empty.png")
    assert "64 x 49" in refused(capfd, *run, "--foreground", tmp_path / "other.png")
    assert "1 masks" in refused(capfd, *run, "--foreground", tmp_path / "masks")


def test_folder_that_takes_no_files(
    clip: str, file: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    in_the_way = file("taken", "a file")
    assert "choose another --out" in refused(capfd, clip, "--out", in_the_way, *QUICK)
    assert "choose another --out" in refused(capfd, clip, "--out", f"{in_the_way}/run", *QUICK)


@pytest.mark.parametrize("content", ["text", "junk", "another program's"])
def test_foreign_checkpoint(
    content: str, clip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = [clip, "--out", str(tmp_path), "--grid", "2", *QUICK]
    assert main(run) == 0
    path = tmp_path / "model" / FILE
    if content == "text":
        path.write_text("not a checkpoint")
    elif content == "junk":
        path.write_bytes(b"junk")
    else:
        torch.save({"state_dict": {"a": torch.zeros(2)}}, path)
    capfd.readouterr()
    assert str(path) in refused(capfd, *run)


def test_named_backbone_without_weights(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "find", lambda source: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = refused(capfd, clip, "--out", tmp_path / "run", "--backbone", "dino_vits16", *QUICK)
    assert "dino_vits16.safetensors" in line
    assert "./weights" in line


def test_bug_is_told_from_input(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(api, "fit", broken)
    assert main([clip, "--out", str(tmp_path)]) == 1
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "report it" in err.splitlines()[-1]


def test_out_of_memory_is_the_users(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(api, "fit", greedy)
    assert "out of memory" in refused(capfd, clip, "--out", tmp_path)


def test_bars_on_a_terminal(clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with Display(terminal) as display:
        for done in range(3):
            display("fit", done + 1, 3)
        display("track", 1, 2)
        display("visibility", 1, 1)
    assert "fit" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "visibility" in terminal.getvalue()
    assert display.bar is None


PAPER = ["--preset", "paper", "--backbone", "vit_tiny_patch16_224", "--flow", "dis", "--no-overlay"]


def test_paper_preset_in_small(clip: str, tmp_path: Path) -> None:
    small = [
        "video.height=70",
        "video.width=98",
        "backbone.pretrained=false",
        "training.steps=4",
        "training.batch=16",
    ]
    assert main([clip, "--out", str(tmp_path), "--grid", "2", *PAPER, "--set", *small]) == 0
    assert np.isfinite(load_tracks(tmp_path / "tracks.npz").xy).all()
    assert {"flow", "buddies", "refined_buddies", "cycle", "norm", "angle"} <= run_json(tmp_path)[
        "losses"
    ].keys()


@pytest.mark.slow
def test_paper_preset(tmp_path: Path) -> None:
    path = tmp_path / "eight.mp4"
    write_video(path, generate((240, 432), 8, 3, seed=1, points=4).frames, 24.0)
    settings = ["backbone.pretrained=false", "training.steps=20"]
    assert (
        main([str(path), "--out", str(tmp_path / "run"), "--grid", "4", *PAPER, "--set", *settings])
        == 0
    )
    assert run_json(tmp_path / "run")["steps"] == 20


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"usage: dinotrack {command}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"dinotrack {command} " in capsys.readouterr().out
