"""Nobody ever meets half a file, and no path is used before it was looked at."""

import errno
import os
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from dinotrack import files
from dinotrack.errors import InputError
from dinotrack.files import check_outputs, make_folder, regular, replacing, same_file, sweep

unix = pytest.mark.skipif(sys.platform == "win32", reason="of Unix")


def write(path: Path, text: str = "new") -> None:
    with replacing(path) as part:
        part.write_text(text)


def test_replacing_puts_the_new_file_in_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_leaves_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.a\.txt: can't be written .*No such file"):
        write(tmp_path / "absent" / "a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: can't be written \(it is a folder\)"):
        write(tmp_path / "folder")
    for nowhere in ("", ".", "..", "/", "a\0b"):
        with pytest.raises(InputError, match="can't be written"):
            write(Path(nowhere))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@unix
def test_a_full_disk_leaves_the_old_file_whenever_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writing, where the limit on a file's size stands for the disk's, or at the very end."""
    import resource

    path = tmp_path / "a.txt"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match=r"a\.txt: can't be written \(File too large\)"):
            write(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for moment in ("open", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, moment, full)
            with pytest.raises(InputError, match=r"can't be written \(No space left on device\)"):
                write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_that_cannot_sync_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unknown)
    write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_what_is_written_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), rename(*paths)))
    write(tmp_path / "a.txt")
    assert calls == ["sync", "rename"]
    with replacing(tmp_path / "a.txt", durable=False):
        pass
    assert calls == ["sync", "rename", "rename"]


@unix
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("")
    write(tmp_path / "a.txt")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@unix
def test_no_link_that_was_planted_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one whose name was guessed."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 2 * count)
    link = tmp_path / f".a.txt.{'0' * 16}.part"
    link.symlink_to(victim)
    with pytest.raises(InputError, match="can't be written"):
        write(tmp_path / "a.txt")
    assert victim.read_text() == "mine"
    assert link.is_symlink()


def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    """Nor do two threads of one name, or two containers whose processes have the same number."""
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"

    def often(text: str) -> None:
        for _ in range(50):
            with replacing(path, durable=False) as part:
                part.write_text(text)

    threads = [threading.Thread(target=often, args=(letter * 999,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 999, "b" * 999)
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "ä" * 127):
        write(tmp_path / name)
        assert (tmp_path / name).read_text() == "new"
    with pytest.raises(InputError, match=r"can't be written \(File name too long\)"):
        write(tmp_path / ("n" * 256))
    assert len(list(tmp_path.iterdir())) == 2


@unix
def test_only_our_leftovers_are_swept_away(tmp_path: Path) -> None:
    with replacing(tmp_path / "tracks.csv") as part:
        left = part.with_name(f".tracks.csv.{'f' * 16}.part")
        left.write_text("half")
    theirs = [
        "tracks.csv.part",
        ".tracks.csv.part",
        ".tracks.csv.1234.part",
        f"tracks.csv.{'0' * 16}.part",
        f".tracks.csv.{'0' * 16}.part.mp4",
        f".tracks.csv.{'G' * 16}.part",
    ]
    for name in theirs:
        (tmp_path / name).write_text("")
    (tmp_path / f".folder.{'0' * 16}.part").mkdir()
    (tmp_path / f".link.{'0' * 16}.part").symlink_to(tmp_path / "tracks.csv")
    sweep(tmp_path, age=3600)
    assert left.exists()
    long_ago = time.time() - 3601
    os.utime(left, (long_ago, long_ago))
    sweep(tmp_path, age=3600)
    assert not left.exists()
    left.write_text("half")
    sweep(tmp_path)
    kept = ["tracks.csv", *theirs, f".folder.{'0' * 16}.part", f".link.{'0' * 16}.part"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    sweep(tmp_path / "absent")


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: can't be written .*choose another place"):
        make_folder(tmp_path / "file")
    for name in ("n" * 300, "a\0b", "n/" * 1800):
        with pytest.raises(InputError, match="can't be written"):
            make_folder(tmp_path / name)


def special(folder: Path) -> dict[str, Path]:
    """One of each kind of path that is no file."""
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "socket"))
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("pipe")
    names = {"a named pipe": "pipe", "a socket": "socket", "a folder": "folder"}
    return {kind: folder / name for kind, name in names.items()} | {"a device": Path("/dev/null")}


@unix
def test_only_regular_files_are_read_or_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, path in special(tmp_path).items():
        with pytest.raises(InputError, match=f"is {kind}; give a file"):
            regular(path)
        with pytest.raises(InputError, match=rf"can't be written \(it is {kind}\)"):
            write(path)
        with pytest.raises(InputError, match=rf"can't be written \(it is {kind}\)"):
            check_outputs([tmp_path / "free.txt", path])
    with pytest.raises(InputError, match="is a named pipe"):
        regular(tmp_path / "link")
    with pytest.raises(InputError, match=r"absent doesn't exist$"):
        regular(tmp_path / "absent")
    with pytest.raises(InputError, match=r"can't be read \(File name too long\)"):
        regular(tmp_path / ("n" * 300))
    write(tmp_path / "file")
    assert regular(str(tmp_path / "file")) == tmp_path / "file"
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_full_disk_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(files.tempfile, "TemporaryFile", lambda dir: full.open("wb"))
    with pytest.raises(InputError, match="No space left"):
        make_folder(tmp_path)


def test_outputs_are_checked_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    check_outputs([tmp_path / "old.txt", str(tmp_path / "new.txt")])
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"
    with pytest.raises(InputError, match=r"No such file or directory.*; give another"):
        check_outputs([tmp_path / "absent" / "a.txt"], "give another")


def test_outputs_of_a_folder_that_takes_no_files_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)  # as the tests may run as root
    with pytest.raises(InputError, match=r"a\.txt: can't be written \(Permission denied\)"):
        check_outputs([tmp_path / "a.txt"])


@unix
def test_one_file_is_known_by_all_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.txt"
    path.write_text("")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "soft").symlink_to("a.txt")
    os.link(path, tmp_path / "hard")
    (tmp_path / "there").symlink_to(tmp_path, target_is_directory=True)
    for other in ("a.txt", "./a.txt", "soft", "hard", "there/a.txt"):
        assert same_file(path, other), other
    assert not same_file(path, "b.txt")
    assert not same_file(path, "absent")
    assert same_file("absent", tmp_path / "there" / "absent")
