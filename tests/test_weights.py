"""Weights: where they are looked for, and in which order."""

import errno
import hashlib
import os
import socket
import sys
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from dinotrack import weights
from dinotrack.errors import DinotrackWarning, InputError, on_command_line, setting
from dinotrack.state_dicts import read
from dinotrack.weights import Origin, find, obtain, obtain_or_warn

STATE = {"weight": torch.arange(4.0), "bias": torch.ones(2)}
TINY = Origin(
    "Tiny", files=("tiny.safetensors", "tiny.pth"), hub=(("someone/tiny", "model.safetensors"),)
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; package, hub caches and network are empty too."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("DINOTRACK_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "PACKAGE", tmp_path / "repository" / "dinotrack")
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    return tmp_path


def put(folder: Path, name: str = "tiny.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(STATE, folder / name) if name.endswith(".safetensors") else torch.save(
        STATE, folder / name
    )
    return folder / name


def put_into_hub_cache(cache: Path) -> Path:
    repository = cache / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    return put(repository / "snapshots" / "abc", "model.safetensors")


def test_places_are_searched_in_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(TINY) is None
    expected = [
        put(place / "torch" / "hub" / "checkpoints", "tiny.pth"),
        put_into_hub_cache(place / "hub"),
        put(place / "repository" / "weights"),
        put(place / "repository" / "dinotrack" / "shipped"),
        put(place / "work" / "weights", "tiny.pth"),
        put(place / "work" / "weights"),
        put(place / "mine", "tiny.pth"),
    ]
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(place / "mine"))
    for path in reversed(expected):
        found = find(TINY)
        assert found is not None
        assert found.resolve() == path
        assert obtain(TINY, offline=True) == found
        assert torch.equal(read(found)["weight"], STATE["weight"])
        path.unlink()
    assert find(TINY) is None


def test_the_variable_may_name_a_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(put(place / "mine", "tiny.pth")))
    assert find(TINY) == place / "mine" / "tiny.pth"
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(put(place / "mine", "tuned.pth")))
    assert find(TINY) is None
    assert find(Origin("Tiny", any_file=True)) == place / "mine" / "tuned.pth"


def test_a_variable_that_names_nothing_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(place / "nowhere"))
    with pytest.raises(InputError, match="nowhere, which doesn't exist"):
        find(TINY)


@pytest.mark.skipif(sys.platform == "win32", reason="of Unix")
def test_a_variable_that_names_what_cannot_hold_weights_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(place / "pipe")
    (place / "file").write_text("")
    (place / "loop").symlink_to("loop")
    for name, problem in (
        ("pipe", "is a named pipe"),
        ("file/below", "doesn't exist"),
        ("loop", r"can't be read \(Too many levels of symbolic links\)"),
        ("n" * 300, r"can't be read \(File name too long\)"),
    ):
        monkeypatch.setenv("DINOTRACK_WEIGHTS", str(place / name))
        with pytest.raises(InputError, match=f"which {problem}; give a folder or a file"):
            find(TINY)


def test_places_that_may_not_be_looked_into_are_told_or_passed_by(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below a folder without the permission to enter; the tests may run as root."""
    stat = os.stat

    def refuse(path: object, *args: object, **more: object) -> object:
        if str(path).startswith(("weights", str(place / "mine"))):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return stat(path, *args, **more)

    found = put(place / "repository" / "weights")
    monkeypatch.setattr(os, "stat", refuse)
    assert find(TINY) == found
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(place / "mine"))
    with pytest.raises(InputError, match=r"mine, which can't be read \(Permission denied\)"):
        find(TINY)
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (place / "mine").mkdir()
    with pytest.raises(InputError, match="mine, which you may not look into; give a folder"):
        find(TINY)


@pytest.mark.parametrize(
    ("offline", "why"), [(True, "downloads are off"), (False, "network can't be reached")]
)
def test_missing_weights_are_named_with_the_way_out(place: Path, offline: bool, why: str) -> None:
    with pytest.raises(
        InputError, match=rf"Tiny are not on this machine.*{why}.*tiny\.safetensors or tiny\.pth"
    ):
        obtain(TINY, offline)


def test_what_else_can_be_done_is_said_in_the_words_of_the_door(place: Path) -> None:
    advice = ("or do without them with ", setting("backbone.name", "none"))
    with pytest.raises(InputError) as caught:
        obtain(Origin("Tiny", files=("tiny.pth",), advice=advice), offline=True)
    start = (
        "the weights of Tiny are not on this machine and downloads are off; put tiny.pth into "
        "./weights (or the folder that $DINOTRACK_WEIGHTS names), or do without them with "
    )
    assert str(caught.value) == start + "settings={'backbone.name': 'none'}"
    assert on_command_line(caught.value) == start + "--set backbone.name=none"


def test_what_was_named_must_be_there_and_what_was_not_is_done_without(place: Path) -> None:
    with pytest.raises(InputError, match="Tiny are not on this machine"):
        obtain_or_warn(TINY, "using none", required=True, offline=True)
    with pytest.warns(DinotrackWarning, match=r"Tiny are not .*; using none instead"):
        assert obtain_or_warn(TINY, "using none", required=False, offline=True) is None
    path = put(place / "work" / "weights")
    for required in (True, False):
        found = obtain_or_warn(TINY, "using none", required)
        assert found is not None
        assert found.resolve() == path


def test_the_hubs_own_offline_switch_is_honoured(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(weights, "reachable", lambda url: pytest.fail("the network was asked"))
    with pytest.raises(InputError, match="downloads are off"):
        obtain(TINY)


def test_a_hub_download_is_the_last_resort(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(place / "fetched", "model.safetensors")
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, file: str(path))
    assert obtain(TINY) == path

    def refuse(repository: str, file: str) -> str:
        raise RuntimeError("403 Forbidden\nand more lines")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(InputError, match="download failed: 403 Forbidden; put"):
        obtain(TINY)


def test_a_url_download_is_checked_against_the_hash_in_its_name(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = put(place / "server", "net.pth")
    digest = hashlib.sha256(original.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    good = original.rename(original.with_name(f"net-{digest}.pth"))
    fetched = obtain(Origin("Net", url=good.as_uri()))
    assert fetched == place / "torch" / "hub" / "checkpoints" / good.name
    assert torch.equal(read(fetched)["bias"], STATE["bias"])
    bad = good.rename(good.with_name("net-00000000.pth"))
    with pytest.raises(InputError, match="download failed: invalid hash"):
        obtain(Origin("Net", url=bad.as_uri()))
    with pytest.raises(InputError, match="does not fit the hash in its name"):
        read(bad)


def test_the_probe_tells_a_listening_host_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        assert weights.reachable(url)
        monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": url})
        monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
        assert weights.reachable("http://behind.the.proxy.invalid")
    assert not weights.reachable(url)


def test_the_probe_gives_up_on_a_host_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(weights, "PROBE_SECONDS", 0.05)

    def hang(address: tuple[str, int], timeout: float) -> None:
        time.sleep(0.5)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    assert not weights.reachable("https://slow.invalid")
