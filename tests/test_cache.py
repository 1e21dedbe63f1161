"""What is kept on this machine: found by all that went into it, never in the way."""

import os
import threading
from pathlib import Path

import pytest
import torch

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
    assert told == [("flow", 1, 1)]
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


@pytest.mark.parametrize("damage", [b"", b"text", bytes(99), None])
def test_a_damaged_file_counts_as_absent(kept: Cache, tmp_path: Path, damage: bytes | None) -> None:
    compute = Counted()
    kept.remember("flow", SETTINGS, compute)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert same(kept.remember("flow", SETTINGS, compute), result())
    assert same(kept.remember("flow", SETTINGS, compute), result())
    assert compute.calls == 2


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    size = sum(v.nbytes for v in result().values())
    kept = Cache(tmp_path, 1e9, "video")
    for step in range(3):
        kept.remember("flow", {"step": step}, Counted(step))
    names = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    for age, path in enumerate(reversed(names)):
        os.utime(path, ns=(0, 10**9 * (100 - age)))  # step 0 is the oldest
    (tmp_path / "mine.safetensors").write_bytes(bytes(9 * size))
    left = tmp_path / f".{names[0].name}.7.part"
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


def test_a_full_disk_gives_a_warning_and_the_result(
    kept: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    with pytest.warns(DinotrackWarning, match="the flow is not kept: .*No space left"):
        assert same(kept.remember("flow", SETTINGS, Counted()), result())
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


def test_a_place_that_takes_no_files_is_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DINOTRACK_CACHE", str(tmp_path / "file"))
    with pytest.warns(DinotrackWarning, match="run: .*file: can't be written.*set DINOTRACK_CACHE"):
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
