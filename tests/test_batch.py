"""Many videos: what is done, what is passed over, and what of it survives."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from dinotrack import cli
from dinotrack.batch import events, naming, summary
from dinotrack.batch.events import STATES, Event
from dinotrack.batch.executors import EXECUTORS
from dinotrack.batch.jobs import Job, chosen, jobs_of
from dinotrack.batch.manifest import COLUMNS
from dinotrack.batch.protocol import FOUND_DONE, IN_USE, Begun, Ended, Plan, sentence
from dinotrack.batch.queue import worked
from dinotrack.commands import batch, track
from dinotrack.errors import InputError
from dinotrack.formats import FORMATS
from dinotrack.locks import locked
from dinotrack.media.encoding import write_video
from dinotrack.synthesis import generate
from dinotrack.terminal import requests
from tests import batch_work
from tests.trust import runs

ROOT = Path(__file__).resolve().parent.parent
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
MakeVideos = Callable[..., list[Path]]


@pytest.fixture
def videos(tmp_path: Path) -> MakeVideos:
    """videos(what, ...): files called a.mp4, b.mp4, ... whose text says what becomes of them."""

    def make(*what: str) -> list[Path]:
        paths = [tmp_path / f"{letter}.mp4" for letter in "abcdefgh"[: len(what)]]
        for path, text in zip(paths, what, strict=True):
            path.write_text(text)
        return paths

    return make


def parsed(*argv: object) -> Namespace:
    return batch._parse([str(word) for word in argv])


def jobs_for(paths: list[Path], *options: object) -> tuple[Job, ...]:
    return jobs_of(parsed(*paths, "--out", paths[0].parent / "runs", *options))


def plan_in(folder: Path, **more: Any) -> Plan:
    logs = folder / "runs" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return Plan(work=batch_work.work, logs=logs, **more)


def kinds(happened: Iterator[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.name) for event in happened]


def in_this_process(jobs: Iterator[Job], plan: Plan) -> Generator[Begun | Ended, None, None]:
    """An executor that is quick, and survives no kill."""
    for job in jobs:
        yield Begun(job)
        try:
            yield Ended(job, 0 if plan.work(job.args) else FOUND_DONE)
        except InputError as error:
            yield Ended(job, 2, str(error))


def skip_without_ray() -> None:
    """It is not loaded here, as the batch says before that how it shall be."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")


def rows_in(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open() as file:
        return {row["name"]: row for row in csv.DictReader(file)}


# --- names


def test_names_are_those_of_the_videos_where_these_differ(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "clip.mp4", tmp_path / "b" / "clip.mov", tmp_path / "horse.mp4"]
    (tmp_path / "shot" / "frames").mkdir(parents=True)
    paths.append(tmp_path / "shot" / "frames")
    expected = ["a-clip", "b-clip", "horse", "shot"]
    assert naming.names_of(paths, [""] * 4) == expected
    assert naming.names_of(paths[::-1], [""] * 4) == expected[::-1]


def test_a_link_to_itself_has_a_name(tmp_path: Path) -> None:
    """That it can't be read is said where it is read, and stops no other video."""
    (tmp_path / "loop").symlink_to("loop")
    assert naming.names_of([tmp_path / "loop"], [""]) == ["loop"]


def test_names_are_unlike_whatever_the_videos_are_called(tmp_path: Path) -> None:
    paths = [tmp_path / "x.mp4", tmp_path / "X.mp4", tmp_path / "x.mp4", tmp_path / "logs.mp4"]
    (tmp_path / "one" / "frames").mkdir(parents=True)
    (tmp_path / "two" / "one" / "frames").mkdir(parents=True)
    paths += [tmp_path / "one" / "frames", tmp_path / "two" / "one" / "frames"]
    names = naming.names_of(paths, ["", "", "", "", "", ""])
    assert len({name.casefold() for name in names}) == 6
    assert "logs" not in names
    assert names[5] == "two-one"


@pytest.mark.parametrize("name", ["a/b", "..", "", "summary.csv", "x" * 300, "a\nb"])
def test_names_that_can_be_no_folder(name: str, tmp_path: Path) -> None:
    named = [name or "same", name or "Same"]
    with pytest.raises(InputError, match=r"can't be the name|two videos are named"):
        naming.names_of([tmp_path / "x.mp4"] * 2, named)


# --- manifests


def test_a_manifest_says_what_is_asked_of_each_video(tmp_path: Path) -> None:
    table = tmp_path / "clips" / "table.csv"
    table.parent.mkdir()
    table.write_bytes(
        b"\xef\xbb\xbfVideo;name;queries;mask;settings;query frame;seed\r\n"
        b"a.mp4;horse;points.csv;;training.steps=9 inference.memory.weight=0;;\r\n"
        b"\r\n"
        b"sub/b.mp4;;;dog.png;;3;7\r\n"
    )
    options = ("--grid", 5, "--set", "training.steps=2", "--no-overlay")
    first, second = jobs_of(parsed("--manifest", table, "--out", tmp_path / "out", *options))
    assert (first.name, first.video) == ("horse", table.parent / "a.mp4")
    assert first.args.queries == table.parent / "points.csv"
    assert first.args.grid is None, "its own queries take the place of the grid"
    assert first.args.set == ["training.steps=2", "training.steps=9", "inference.memory.weight=0"]
    assert (second.name, second.out) == ("b", tmp_path / "out" / "b")
    assert (second.args.grid, second.args.query_frame, second.args.seed) == (5, 3, 7)
    assert second.args.mask == table.parent / "dog.png"
    assert second.args.no_overlay


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: no column is called video"),
        ("video\n", "holds no video"),
        ("film\na.mp4\n", "line 1: no column is called video"),
        ("\nvideo,size\na.mp4,3\n", "line 2: 'size' is no column"),
        ("video,video\na.mp4,b.mp4\n", "line 1: two columns are called video"),
        ("video,seed\n,3\n", "line 2: names no video"),
        ("video,seed\na.mp4,3\n\nb.mp4,3,4\n", "line 4: has 3 fields, the header 2"),
        ("video,seed\na.mp4,3\nb.mp4,-3\n", "line 3: argument --seed"),
        ("video,settings\na.mp4,training.stepz=3\n", "line 2: .*stepz"),
        ("video,settings\na.mp4,steps\n", "line 2: "),
        ("video,queries,mask\na.mp4,q.csv,m.png\n", "line 2: --mask and --query-frame choose"),
        ("video,queries,grid\na.mp4,q.csv,3\n", "line 2: argument --grid: not allowed"),
        ("video,name\na.mp4,../x\n", "can't be the name"),
        ("video\na\0.mp4\n", "zero bytes"),
    ],
)
def test_manifests_that_can_t_be_understood(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        jobs_of(parsed("--manifest", "table.csv"))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "there is no video"),
        (["a.mp4", "--manifest", "table.csv"], "not both"),
        (["--manifest", "missing.csv"], "no such file"),
        (["a.mp4", "--only", "0"], "no list of numbers"),
        (["a.mp4", "--only", "4-2"], "no list of numbers"),
        (["a.mp4", "--only", "1,2"], "--only 2: there are 1 videos"),
        (["a.mp4", "--ray", "--gpus", "0"], "give --gpu-share"),
        (["a.mp4", "--gpu-share", "0.5"], "is for --ray"),
        (["a.mp4", "--gpus", "0,,1"], "no list of GPUs"),
        (["a.mp4", "--jobs", "0"], "out of range"),
    ],
)
def test_arguments_that_can_t_be(
    argv: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["batch", *argv]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("dinotrack: error: ")
    assert err.count("\n") == 1
    assert told in err


def test_videos_and_options_come_in_any_order() -> None:
    args = parsed("--set", "training.steps=2", "a.mp4", "--grid", 3, "b.mp4", "--jobs", 2)
    assert [str(path) for path in sorted(args.videos)] == ["a.mp4", "b.mp4"]
    assert args.set == ["training.steps=2"]
    jobs = jobs_of(args)
    assert {job.args.grid for job in jobs} == {3}
    assert [job.name for job in chosen(jobs, [2, 1, 2])] == [jobs[1].name, jobs[0].name]


def test_the_page_names_every_column_and_executor_option() -> None:
    page = (ROOT / "docs" / "many-videos.md").read_text()
    told = batch._parser().format_help()
    for column in COLUMNS:
        assert f"`{column}`" in page, column
    for option in ("--manifest", "--only", "--jobs", "--gpus", "--threads", "--retries", "--ray"):
        assert f"`{option}" in page, option
        assert option in told


# --- what is done


def test_what_is_done_is_passed_over_and_nothing_else(tmp_path: Path, videos: MakeVideos) -> None:
    paths = videos("fine", "fine")
    plan = plan_in(tmp_path)
    first = kinds(worked(jobs_for(paths), in_this_process, plan))
    assert first == [("begun", "a"), ("done", "a"), ("begun", "b"), ("done", "b")]
    again = [("skipped", "a"), ("skipped", "b")]
    assert kinds(worked(jobs_for(paths), in_this_process, plan)) == again
    paths[0].touch()  # another time, and the same bytes
    assert kinds(worked(jobs_for(paths, "--device", "cpu"), in_this_process, plan)) == again

    paths[0].write_text("fine too")
    (tmp_path / "runs" / "b" / "times.txt").unlink()
    one, other = jobs_for(paths)
    assert not requests.is_done(one.out, one.args), "another video"
    assert not requests.is_done(other.out, other.args), "a result is missing"


@pytest.mark.parametrize(
    "options",
    [
        ("--grid", "3"),
        ("--seed", "1"),
        ("--set", "training.steps=3"),
        ("--no-overlay",),
        ("--queries", "q.csv"),
        ("--mask", "q.csv"),
        ("--format", next(name for name, each in FORMATS.items() if each.write)),
        ("--preset", "fast"),
    ],
)
def test_other_wishes_are_not_taken_for_done(
    options: tuple[str, ...],
    tmp_path: Path,
    videos: MakeVideos,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.csv").write_text("t,x,y\n0,1,1\n")
    (job,) = jobs_for(videos("fine"))
    job.out.mkdir(parents=True)
    assert batch_work.work(job.args)
    assert requests.is_done(job.out, job.args)
    (other,) = jobs_for(videos("fine"), *options)
    assert not requests.is_done(other.out, other.args)


@pytest.mark.parametrize("record", ["", "[]", "{", '{"complete": true}', "null", "[" * 100_000])
def test_a_record_of_something_else_is_no_mark(
    record: str, tmp_path: Path, videos: MakeVideos
) -> None:
    (job,) = jobs_for(videos("fine"))
    job.out.mkdir(parents=True)
    (job.out / "run.json").write_text(record)
    assert not requests.is_done(job.out, job.args)


def test_a_video_that_others_are_at_waits_until_they_are_done(
    tmp_path: Path, videos: MakeVideos
) -> None:
    jobs = jobs_for(videos("fine", "fine"))
    jobs[0].out.mkdir(parents=True)
    paused = []

    def other_finishes(seconds: float) -> None:
        paused.append(seconds)
        lock.__exit__(None, None, None)
        if len(paused) == 1:
            batch_work.work(jobs[0].args)

    lock = locked(jobs[0].out)
    lock.__enter__()
    happened = kinds(worked(jobs, in_this_process, plan_in(tmp_path), other_finishes))
    assert happened == [("begun", "b"), ("done", "b"), ("in use", "a"), ("skipped", "a")]
    assert paused == [1.0]
    assert (jobs[0].out / "times.txt").read_text() == "done\n"


def test_a_worker_that_finds_others_there_comes_back(tmp_path: Path, videos: MakeVideos) -> None:
    codes = [IN_USE, IN_USE, FOUND_DONE]

    def executor(jobs: Iterator[Job], plan: Plan) -> Generator[Begun | Ended, None, None]:
        for job in jobs:
            yield Begun(job)
            yield Ended(job, codes.pop(0))

    pauses: list[float] = []
    happened = kinds(worked(jobs_for(videos("x")), executor, plan_in(tmp_path), pauses.append))
    assert [kind for kind, _ in happened] == ["begun", "in use", "begun", "begun", "skipped"]
    assert pauses == [1.0, 2.0]


# --- workers


@UNIX
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "ray")) for name in EXECUTORS],
)
def test_no_video_stops_the_rest(name: str, tmp_path: Path, videos: MakeVideos) -> None:
    if name == "ray":
        skip_without_ray()
    what = ("fine", "broken", "killed once", "killed", "bug", "fine")
    plan = plan_in(tmp_path, slots=3, retries=1)
    happened = list(worked(jobs_for(videos(*what)), EXECUTORS[name], plan))
    ends = {event.name: event for event in happened if event.kind != "begun"}
    assert {name: event.kind for name, event in ends.items()} == {
        **dict.fromkeys("acf", "done"),
        **dict.fromkeys("bde", "failed"),
    }
    assert ends["a"].facts == {"points": 4, "visible": 0.5, "seconds": 1.75}
    assert ends["b"].facts["error"] == "b.mp4 is broken; give another file"
    assert "killed (SIGKILL)" in ends["d"].facts["error"]
    assert ends["e"].facts["error"] == "a bug of ours: ZeroDivisionError: of a test"
    assert "ZeroDivisionError" in Path(ends["e"].facts["log"]).read_text()


def test_a_slot_has_a_gpu_and_threads_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dinotrack.batch import processes

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes, "processors", lambda: 8)
    plan = plan_in(tmp_path, slots=3, gpus=("4", "MIG-x"))
    slots = [processes._environment(plan, slot) for slot in range(3)]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["4", "MIG-x", "4"]
    assert {slot["OMP_NUM_THREADS"] for slot in slots} == {"2"}
    alone = processes._environment(plan_in(tmp_path, slots=1), 0)
    assert "OMP_NUM_THREADS" not in alone
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert processes._environment(plan, 0)["OMP_NUM_THREADS"] == "5"


def test_why_a_worker_failed() -> None:
    assert sentence(2, "fit: 1 of 2\ndinotrack: error: no; do\nx\n") == "no; do"
    assert sentence(-9, "").startswith("its process was killed (SIGKILL), as systems do")
    assert sentence(139, "") == "its process was killed (SIGSEGV)"
    assert sentence(3, "nothing") == "its process ended with exit code 3; its log may say why"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gpu_share": 3.0}, "--gpu-share 3: the machines of the cluster have 0 GPUs"),
        ({"threads": 1000}, "--threads 1000: the machines of the cluster have"),
        ({"address": "127.0.0.1:1024"}, "no Ray cluster answers at 127.0.0.1:1024"),
    ],
)
def test_what_no_ray_cluster_has(
    options: dict[str, Any], told: str, tmp_path: Path, videos: MakeVideos
) -> None:
    skip_without_ray()
    plan = plan_in(tmp_path, **options)
    with pytest.raises(InputError, match=told):
        list(worked(jobs_for(videos("fine")), EXECUTORS["ray"], plan))


def test_without_ray_one_sentence_says_what_to_install(
    tmp_path: Path, videos: MakeVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # put back afterwards
    with pytest.raises(InputError, match="pip install ray"):
        list(worked(jobs_for(videos("fine")), EXECUTORS["ray"], plan_in(tmp_path)))


# --- what is written


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    lock = locked(tmp_path / "logs")
    lock.__enter__()
    thread = threading.Thread(target=events.append, args=(tmp_path, Event("done", "a", ""), ""))
    thread.start()
    time.sleep(0.2)
    assert list(events.read(tmp_path)) == []
    lock.__exit__(None, None, None)
    thread.join()
    assert len(list(events.read(tmp_path))) == 1


@pytest.mark.parametrize("kind", STATES)
def test_events_are_written_and_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    event = Event(kind, "a", "a.mp4", {"points": 4})
    events.append(tmp_path, event, "2026-01-01T00:00:00Z")
    assert list(events.read(tmp_path)) == [event]
    line = json.loads((tmp_path / "events.jsonl").read_text())
    assert line == {
        "time": "2026-01-01T00:00:00Z",
        "event": kind,
        "name": "a",
        "video": "a.mp4",
        "points": 4,
    }
    assert event.state == STATES[kind]


@pytest.mark.parametrize("half", [b'{"event": "do', b'{"event": "x", "name": "y"}', b"\xff\xfe"])
def test_a_half_written_line_is_mended(half: bytes, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in "ab":
        (tmp_path / "events.jsonl").open("ab").close()
        events.append(tmp_path, Event("done", name, ""), "")
        if name == "a":
            with (tmp_path / "events.jsonl").open("ab") as file:
                file.write(half)
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["name"] for line in lines if line != half] == ["a", "b"]
    assert len(lines) == (3 if half.endswith(b"}") else 2)


def test_the_summary_tells_the_last_of_each(tmp_path: Path, videos: MakeVideos) -> None:
    (tmp_path / "runs" / "logs").mkdir(parents=True)
    jobs = jobs_for(videos("x", "x", "x"))
    facts = {"points": 4, "visible": 1 / 3, "seconds": 12.25}
    for event in (
        Event("begun", "a", "a.mp4"),
        Event("failed", "b", "b.mp4", {"seconds": 1.0, "error": 'no, "no"\nno'}),
        Event("done", "a", "a.mp4", facts),
    ):
        events.append(tmp_path / "runs", event, "")
    summary.write(tmp_path / "runs", jobs)
    rows = rows_in(tmp_path / "runs")
    assert list(rows) == ["a", "b", "c"]
    assert [row["state"] for row in rows.values()] == ["done", "failed", "waiting"]
    numbers = [rows["a"][key] for key in ("points", "visible", "seconds")]
    assert numbers == ["4", "0.3333", "12.25"]
    assert rows["a"]["folder"] == str(tmp_path / "runs" / "a")
    assert rows["b"]["error"] == 'no, "no" no'


def test_the_time_that_is_left() -> None:
    assert summary.seconds_left([], [3.0], 5, 1) is None
    assert summary.seconds_left([10.0, 20.0], [], 4, 1) == 60
    assert summary.seconds_left([10.0], [4.0, 7.0], 3, 2) == (6 + 3 + 30) / 2
    assert summary.seconds_left([10.0], [30.0], 0, 1) == 0
    assert summary.seconds_left([10.0], [1.0, 9.0], 0, 2) == 9


# --- the command


def start(folder: Path, *argv: object) -> "subprocess.Popen[str]":
    """A batch of videos of `tests.batch_work`, in a session of its own."""
    command = [sys.executable, "-m", "tests.batch_work", *map(str, argv)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=env, text=True, stderr=subprocess.PIPE, start_new_session=True
    )


def until(true: Callable[[], bool]) -> None:
    patience = time.monotonic() + 60
    while not true():
        assert time.monotonic() < patience
        time.sleep(0.02)


@UNIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_batch_that_ends_early_goes_on(
    number: int, code: int, tmp_path: Path, videos: MakeVideos
) -> None:
    """Its workers end with it, and what is done is not done again."""
    runs.hear_signals()
    paths = videos("fine", "slow", "fine")
    out = tmp_path / "runs"
    process = start(tmp_path, *paths)
    until(lambda: (out / "b" / "begun").exists())
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    if number == signal.SIGINT:
        assert "interrupted; the same command goes on from here; 1 of 3 videos are done" in err
        states = [row["state"] for row in rows_in(out).values()]
        assert states == ["done", "interrupted", "waiting"]
    with (out / "events.jsonl").open("a") as file:
        file.write('{"event": "beg')
    again = start(tmp_path, *paths)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert "1 of 3: a: was done before, 4 points, 50 % visible" in err
    assert {row["state"] for row in rows_in(out).values()} == {"done"}
    for name in "abc":
        assert (out / name / "times.txt").read_text() == "done\n"
    lines = (out / "events.jsonl").read_text().splitlines()
    done = [json.loads(line)["name"] for line in lines if json.loads(line)["event"] == "done"]
    assert sorted(done) == ["a", "b", "c"]


@UNIX
def test_two_batches_at_once_do_nothing_twice(tmp_path: Path, videos: MakeVideos) -> None:
    paths = videos(*["fine"] * 4)
    both = [start(tmp_path, *order, "--jobs", 2) for order in (paths, paths[::-1])]
    for process in both:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    for name in "abcd":
        assert (tmp_path / "runs" / name / "times.txt").read_text() == "done\n"


def test_a_real_video_comes_out_as_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two jobs, of which one is broken; then the other is asked for again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_video("b.mp4", generate((48, 64), 6, 2, seed=1, points=4).frames, 12.0)
    Path("a.mp4").write_text("no video")
    options = ["--preset", "fast", "--grid", "3", "--set", "training.steps=2", "--no-overlay"]
    assert cli.main(["batch", "a.mp4", "b.mp4", "--jobs", "2", *options]) == 2
    out, err = capfd.readouterr()
    assert out == "1 of 2 videos are done; wrote runs/summary.csv\n"
    assert "dinotrack: error: 1 of 2 videos failed:\n" in err
    rows = rows_in(Path("runs"))
    assert [row["state"] for row in rows.values()] == ["failed", "done"]
    assert "no frames can be read" in rows["a"]["error"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    single = [sys.executable, "-m", "dinotrack", "b.mp4", "--out", "alone/b", *options]
    subprocess.run(single, env=env, check=True)
    assert runs.digests(Path("runs/b")) == runs.digests(Path("alone/b"))
    for folder in ("runs", "alone"):
        argv = ["batch", "a.mp4", "b.mp4", "--only", "2", "--out", folder, *options]
        assert cli.main(argv) == 0
        assert "was done before" in capfd.readouterr().err
    assert [row["state"] for row in rows_in(Path("runs")).values()] == ["failed", "done"]
    assert [row["state"] for row in rows_in(Path("alone")).values()] == ["waiting", "done"]


def test_what_a_worker_does_is_what_a_run_does() -> None:
    assert batch._plan(parsed("a.mp4"), Path("logs")).work is track.run_once
