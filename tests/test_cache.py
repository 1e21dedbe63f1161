"""What is kept on this machine: found by all that went into it, never in the way."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dinotrack import cache
from dinotrack.cache import Cache, open_cache
from dinotrack.errors import DinotrackWarning, InputError
from tests.same import same

SETTINGS = {"name": "dis", "size": [3, 4], "strength": 0.5}


def result(seed: int = 0) -> dict[str, torch.Tensor]:
    there = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    return {"there": there.half(), "back": there.transpose(1, 2) < 0}


class Counted:
    """Computes, and counts how often."""

    def __init__(self, seed: int = 0) -> None:
        self.calls = 0
        self.seed = seed

    def __call__(self) -> dict[str, torch.Tensor]:
        self.calls += 1
        return result(self.seed)


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(tmp_path, 1e9, "video")


def test_the_second_time_nothing_is_computed(kept: Cache) -> None:
    compute, told = Counted(), []
    first = kept.remember("flow", SETTINGS, compute)
    second = kept.remember(
        "flow", dict(reversed(SETTINGS.items())), compute, lambda *report: told.append(report)
    )
    assert same(first, result())
    assert same(second, result())
    assert compute.calls == 1
    assert told == [("flow", 0, 1), ("flow", 1, 1)]
    second["there"] += 1  # its own copy, and the file stays
    assert same(kept.remember("flow", SETTINGS, compute), result())


def test_everything_that_went_into_it_counts(
    kept: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Counted()
    kept.remember("flow", SETTINGS, compute)
    kept.remember("features", SETTINGS, compute)
    kept.remember("flow", {**SETTINGS, "strength": 0.25}, compute)
    Cache(tmp_path, 1e9, "another").remember("flow", SETTINGS, compute)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    kept.remember("flow", SETTINGS, compute)
    assert compute.calls == 5
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", [b"", b"text", bytes(99), "cut", "zeroed", "flipped"])
def test_a_damaged_file_counts_as_absent(kept: Cache, tmp_path: Path, damage: bytes | str) -> None:
    """It is computed and written anew."""
    compute = Counted()
    kept.remember("flow", SETTINGS, compute)
    (path,) = tmp_path.iterdir()
    content = whole = path.read_bytes()
    if damage == "cut":
        content = content[:-1]
    elif damage == "zeroed":
        content = content[:-40] + bytes(20) + content[-20:]
    elif damage == "flipped":
        content = content[:-1] + bytes([content[-1] ^ 1])
    else:
        assert isinstance(damage, bytes)
        content = damage
    path.write_bytes(content)
    assert same(kept.remember("flow", SETTINGS, compute), result())
    assert path.read_bytes() == whole
    assert same(kept.remember("flow", SETTINGS, compute), result())
    assert compute.calls == 2


def test_the_file_of_another_counts_as_absent(kept: Cache, tmp_path: Path) -> None:
    """Of another stage, other settings, another video or another version, whole as it may be."""
    others = [
        ("features", SETTINGS, kept),
        ("flow", {**SETTINGS, "strength": 0.25}, kept),
        ("flow", SETTINGS, Cache(tmp_path, 1e9, "another")),
    ]
    for stage, settings, where in others:
        where.remember(stage, settings, Counted(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FORMAT", cache.FORMAT - 1)
        kept.remember("flow", SETTINGS, Counted(1))
    theirs = list(tmp_path.iterdir())
    assert len(theirs) == 4
    kept.remember("flow", SETTINGS, Counted())
    (ours,) = set(tmp_path.iterdir()) - set(theirs)
    for path in theirs:
        ours.write_bytes(path.read_bytes())
        compute = Counted()
        assert same(kept.remember("flow", SETTINGS, compute), result())
        assert compute.calls == 1
    theirs_too = {name: values.contiguous() for name, values in result(1).items()}
    save_file(theirs_too, ours)  # nor is one that says nothing of itself
    assert same(kept.remember("flow", SETTINGS, Counted()), result())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_what_is_no_file_counts_as_absent_and_stays(kept: Cache, tmp_path: Path) -> None:
    kept.remember("flow", SETTINGS, Counted())
    (path,) = tmp_path.iterdir()
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(DinotrackWarning, match="not all is kept .* named pipe"):
        assert same(kept.remember("flow", SETTINGS, Counted()), result())
    assert path.is_fifo()


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    size = sum(v.nbytes for v in result().values())
    kept = Cache(tmp_path, 1e9, "video")
    for step in range(3):
        kept.remember("flow", {"step": step}, Counted(step))
    names = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    for age, path in enumerate(reversed(names)):
        os.utime(path, ns=(0, 10**9 * (100 - age)))  # step 0 is the oldest
    (tmp_path / "mine.safetensors").write_bytes(bytes(9 * size))
    left = tmp_path / f".{names[0].name}.7.part"  # of earlier versions
    left.write_bytes(bytes(size))
    os.utime(left, ns=(0, 10**9))
    compute = Counted(9)
    assert same(kept.remember("flow", {"step": 0}, compute), result(0))
    assert compute.calls == 0  # read, so it is the newest now
    whole = names[0].stat().st_size
    Cache(tmp_path, 3.5 * whole, "video").remember("flow", {"step": 3}, Counted())
    compute = Counted()
    for step in (3, 0, 2):
        kept.remember("flow", {"step": step}, compute)
    assert compute.calls == 0
    kept.remember("flow", {"step": 1}, compute)
    assert compute.calls == 1
    assert not left.exists()
    assert (tmp_path / "mine.safetensors").exists()
    assert same(Cache(tmp_path, 0, "video").remember("flow", {"step": 9}, Counted()), result())
    assert [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]


def test_what_killed_runs_left_is_removed_after_an_hour(kept: Cache, tmp_path: Path) -> None:
    """Younger ones may be those of a run that still writes."""
    kept.remember("flow", SETTINGS, Counted())
    (path,) = tmp_path.iterdir()
    for age, letter in ((3500, "a"), (3700, "b")):
        left = tmp_path / f".{path.name}.{letter * 16}.part"
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    kept.keep("flow", SETTINGS, result())
    letters = [name.suffixes[1][1] for name in tmp_path.iterdir() if name.suffix == ".part"]
    assert letters == ["a"]


def test_a_lower_limit_holds_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where all is found and nothing is written."""
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path))
    for step in range(3):
        open_cache("v").remember("flow", {"step": step}, Counted(step))
    newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    monkeypatch.setenv("DINOTRACK_CACHE_GB", str(1.5 * newest.stat().st_size / 1e9))
    compute = Counted(9)
    assert same(open_cache("v").remember("flow", {"step": 2}, compute), result(2))
    assert compute.calls == 0
    assert list(tmp_path.iterdir()) == [newest]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_full_disk_gives_a_warning_and_the_result(kept: Cache, tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        told = r"not all is kept .*flow.*File too large.*another place, with DINOTRACK_CACHE"
        with pytest.warns(DinotrackWarning, match=told):
            assert same(kept.remember("flow", SETTINGS, Counted()), result())
        assert same(kept.remember("features", SETTINGS, Counted()), result())  # said once
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_two_at_a_time_do_not_meet(kept: Cache, tmp_path: Path) -> None:
    """Both compute, both write: what is left is whole."""
    gate = threading.Barrier(2)

    def slowly() -> dict[str, torch.Tensor]:
        gate.wait()
        return result()

    threads = [
        threading.Thread(target=kept.remember, args=("flow", SETTINGS, slowly)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(kept.remember("flow", SETTINGS, Counted(1)), result())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_another_removes_or_cuts_ends_nobody(kept: Cache, tmp_path: Path) -> None:
    """Processes with a small limit tidy up while others read: all get what they asked for."""
    small = Cache(tmp_path, 0, "video")
    failed: list[BaseException] = []

    def often(where: Cache) -> None:
        try:
            for step in range(60):
                settings = {"step": step % 3}
                assert same(where.remember("flow", settings, Counted(step % 3)), result(step % 3))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=often, args=(where,)) for where in (kept, kept, small)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = kept.remember("flow", SETTINGS, Counted())
    found = kept.remember("flow", SETTINGS, Counted(1))
    for path in tmp_path.iterdir():
        os.truncate(path, 0)
    assert same(found, result())


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path / "deep" / "mine"))
    assert open_cache("v") == Cache(tmp_path / "deep" / "mine", 1e10, "v")
    for off in ("off", "", " "):
        monkeypatch.setenv("DINOTRACK_CACHE", off)
        assert open_cache("v").folder is None
    monkeypatch.delenv("DINOTRACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert open_cache("v").folder == tmp_path / "caches" / "dinotrack"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("DINOTRACK_CACHE_GB", "0.5")
    assert open_cache("v") == Cache(tmp_path / "home" / ".cache" / "dinotrack", 5e8, "v")


@pytest.mark.parametrize("name", ["file", "file/below", "pipe", "n" * 300])
def test_a_place_that_takes_no_files_is_no_cache(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    if name == "pipe" and sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path / name))
    with pytest.warns(DinotrackWarning, match=r"run: .*: can't be written.*set DINOTRACK_CACHE"):
        nowhere = open_cache("v")
    compute = Counted()
    for _ in range(2):
        assert same(nowhere.remember("flow", SETTINGS, compute), result())
    assert compute.calls == 2


@pytest.mark.parametrize("limit", ["much", "-1", "nan", ""])
def test_a_limit_that_is_no_number_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOTRACK_CACHE_GB", limit)
    with pytest.raises(InputError, match="DINOTRACK_CACHE_GB"):
        open_cache("v")
