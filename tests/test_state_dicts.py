"""What files of weights hold is never trusted, and weights fit a network or are refused."""

import os
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dinotrack.errors import InputError
from dinotrack.state_dicts import facts, load_into, misfit, read, wrong_types

STATE = {"weight": torch.arange(4.0), "bias": torch.ones(2)}


def put(path: Path, state: dict[str, Any]) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


class Evil:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"weight": Evil(trace)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil(trace)))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(InputError, match="can't read the weights"):
            read(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"can't read the weights .*{name}") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "x.pth")
    with pytest.raises(InputError, match="holds no weights by name"):
        read(tmp_path / "x.pth")


def test_weights_fill_a_network_entirely_or_not_at_all(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    load_into(model, {"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])}, tmp_path)
    assert model(torch.ones(1, 2)).item() == 6
    with pytest.raises(InputError, match="don't fit the network"):
        load_into(model, {"weight": torch.ones(1, 2)}, tmp_path)


FILES = ["x.pth", "x.safetensors"]
TORCH_WORDS = (
    "PyTorch 2",
    "weights_only",
    "Weights only",
    "archive",
    "state_dict for",
    "Error",
    "[",
)


def refusal(path: Path) -> str:
    """The one sentence that a file is refused with, in our own words."""
    with pytest.raises(InputError) as caught:
        read(path)
    told = str(caught.value)
    assert told.isprintable()
    assert not any(word in told.replace(str(path), "") for word in TORCH_WORDS)
    return told


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    whole = put(tmp_path / name, STATE).read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / name).write_bytes(whole[:length])
        assert refusal(tmp_path / name).startswith(f"can't read the weights {tmp_path / name}: it")


def test_damage_in_an_archive_of_torch_is_found(tmp_path: Path) -> None:
    """In the numbers above all, of which torch looks at no checksum."""
    path = put(tmp_path / "x.pth", {"weight": torch.ones(5000)})
    whole = path.read_bytes()
    start = whole.index(torch.ones(50).numpy().tobytes())
    for place in range(start, start + 20000, 999):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert "it is damaged; fetch the file again" in refusal(path)


def test_an_archive_that_claims_to_go_on_elsewhere_is_refused(tmp_path: Path) -> None:
    """On another disk, as the fuzz has found it."""
    path = put(tmp_path / "x.pth", STATE)
    content = path.read_bytes()
    locator = content.rindex(b"PK\x06\x07")
    path.write_bytes(content[: locator + 16] + b"\x09" + content[locator + 17 :])
    assert "it is damaged" in refusal(path)


def test_an_archive_without_checksums_is_read(tmp_path: Path) -> None:
    from torch.serialization import set_crc32_options

    set_crc32_options(False)
    try:
        path = put(tmp_path / "x.pth", STATE)
    finally:
        set_crc32_options(True)
    assert torch.equal(read(path)["weight"], STATE["weight"])


def test_files_of_old_torch_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read(tmp_path / "x.pth")["weight"], STATE["weight"])


@pytest.mark.parametrize("inside", ["model", "state_dict"])
def test_a_state_dict_within_a_checkpoint_is_found(tmp_path: Path, inside: str) -> None:
    path = put(tmp_path / "x.pth", {inside: STATE, "epoch": 3})
    assert set(read(path)) == set(STATE)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, name: str, value: float, dtype: torch.dtype
) -> None:
    wrong = torch.zeros(9, dtype=dtype)
    wrong[7] = value
    path = put(tmp_path / name, {**STATE, "gain": wrong})
    assert "gain is not finite everywhere; fetch the file again" in refusal(path)


@pytest.mark.parametrize(
    "wrong",
    [3, "text", None, [1.0], {"a": torch.ones(2)}],
    ids=["number", "text", "none", "list", "dict"],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path: Path, wrong: Any) -> None:
    path = put(tmp_path / "x.pth", {**STATE, "gain": wrong})
    assert "gain is no plain tensor" in refusal(path)


def test_types_that_no_network_takes_are_refused(tmp_path: Path) -> None:
    for dtype in (torch.float8_e4m3fn, torch.complex64):
        path = put(tmp_path / "x.safetensors", {"weight": torch.ones(4).to(dtype)})
        assert "can't read the weights" in refusal(path)
    for odd in (torch.ones(4).to(torch.float8_e4m3fn), torch.eye(3).to_sparse()):
        assert "can't read the weights" in refusal(put(tmp_path / "x.pth", {"weight": odd}))


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    dice = random.Random(0)
    for name in FILES:
        for start in (b"", b"PK\x03\x04", b"\x80\x02", b"\x10" + bytes(7) + b"{"):
            for _ in range(20):
                (tmp_path / name).write_bytes(start + dice.randbytes(dice.randrange(200)))
                refusal(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="of Unix")
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "doesn't exist" in refusal(path)
    os.mkfifo(path)
    assert "is a named pipe; give a file" in refusal(path)
    with pytest.raises(InputError, match="is a named pipe"):
        facts(path)
    path.unlink()
    path.mkdir()
    assert "is a folder; give a file" in refusal(path)
    assert "can't be read (File name too long)" in refusal(tmp_path / f"{'n' * 300}.pth")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_may_not_be_read_is_told(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / name, STATE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path).endswith("(Permission denied); give a file that can be read")


def test_facts_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(STATE, path, {"steps": "3", "mean": "[0.5]"})
    assert facts(path, "steps") == {"steps": 3, "mean": [0.5]}
    for metadata in (None, {"steps": "three"}, {"steps": "[" * 99999}, {"other": "3"}):
        save_file(STATE, path, metadata)
        with pytest.raises(InputError, match="does not say what it is"):
            facts(path, "steps")
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"can't read the weights .*; fetch the file again"):
        facts(path)


def test_why_weights_do_not_fit_is_said_in_plain_words() -> None:
    model = torch.nn.Linear(2, 3)
    state = model.state_dict()
    assert misfit(model, state) == ""
    assert misfit(model, {"weight": state["weight"]}) == "bias is missing"
    assert misfit(model, {}) == "weight and 1 more are missing"
    assert misfit(model, {**state, "other": state["bias"]}) == "other is unknown to the network"
    assert misfit(model, {**state, "bias": torch.ones(4)}) == "bias is of another shape"
    whole = {name: values.to(torch.int8) for name, values in state.items()}
    assert misfit(model, whole) == "weight and 1 more are of whole numbers"
    assert wrong_types(model, {"bias": whole["bias"]}) == "bias is of whole numbers"
    assert wrong_types(torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2).state_dict()) == ""
    before = {name: values.clone() for name, values in state.items()}
    with pytest.raises(InputError, match=r"don't fit the network: .*whole numbers; give those of"):
        load_into(model, whole, Path("x"))
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
