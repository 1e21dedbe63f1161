"""Nobody ever meets half a file."""

from pathlib import Path

import pytest

from dinotrack.errors import InputError
from dinotrack.files import make_folder, replacing


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
    def write(path: Path) -> None:
        with replacing(path) as part:
            part.write_text("new")

    with pytest.raises(InputError, match=r"absent.a\.txt: can't be written .*No such file"):
        write(tmp_path / "absent" / "a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: can't be written"):
        write(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: can't be written .*choose another place"):
        make_folder(tmp_path / "file")
