"""A fit on disk: what it remembers, and what it refuses."""

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dinotrack.config import FAST, PRESETS, override
from dinotrack.errors import DinotrackWarning, InputError, on_command_line
from dinotrack.files import replacing
from dinotrack.locks import LOCK, locked
from dinotrack.model import Tracker
from dinotrack.tensor_files import load_tensors, save_tensors
from dinotrack.training import checkpoint
from dinotrack.training.checkpoint import FILE, OLDER
from dinotrack.training.loop import OPTIMIZERS, State, initial_state
from dinotrack.training.stored import Identity, check, describe, restore, take_apart

CONFIG = override(
    FAST, {"training.steps": 8, "model.widths": "4", "model.dims": 8, "model.blocks": 1}
)
FLAT = Path(__file__).parent / "data" / "flat_inference_configs.json"
IDENTITY = Identity(CONFIG, 3, "video", "masks", "pony.mp4")


def make_state(seed: int, identity: Identity = IDENTITY) -> State:
    """A state after one step, so that the optimizer has something to remember."""
    config = identity.config
    tracker = Tracker(config.model, None, torch.Generator().manual_seed(seed))
    state = initial_state(tracker, config.training)
    sum(p.square().sum() + p.sum() for p in state.tracker.parameters()).backward()
    state.optimizer.step()
    state.step = 5
    state.curves = {"flow": list(torch.tensor((3.0, 2.5)))}
    return state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "deep" / "model", make_state(0), IDENTITY)
    return tmp_path / "deep" / "model"


def put_older(folder: Path, **changes: Any) -> Path:
    """A fit as it was stored before, with some of its parts changed."""
    state = make_state(0)
    about = describe(state, IDENTITY)
    about = {name: value for name, value in about.items() if name not in ("kind", "version")}
    values = {
        "about": json.dumps(about),
        "weights": state.tracker.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    folder.mkdir(exist_ok=True)
    torch.save(values | changes, folder / OLDER)
    return folder / OLDER


def same_state(one: State, other: State) -> bool:
    ours, theirs = take_apart(one), take_apart(other)
    equal = ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    return equal and (one.step, one.losses) == (other.step, other.losses)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_comes_back_whole(optimizer: str, norm: str, tmp_path: Path) -> None:
    config = override(CONFIG, {"training.optimizer": optimizer, "model.norm": norm})
    identity = replace(IDENTITY, config=config)
    original = make_state(0, identity)
    checkpoint.save(tmp_path, original, identity)
    stored = checkpoint.read(tmp_path)
    assert stored.identity == identity
    other = make_state(1, identity)
    assert not same_state(original, other)
    check(stored, other)
    restore(stored, other)
    assert same_state(original, other)
    groups = [state.optimizer.state_dict()["param_groups"] for state in (original, other)]
    assert groups[0] == groups[1]


def test_what_was_restored_is_nobody_else_s(folder: Path) -> None:
    stored = checkpoint.read(folder)
    state = make_state(1)
    restore(stored, state)
    for values in take_apart(state).values():
        values.zero_()
    other = make_state(1)
    restore(stored, other)
    assert same_state(other, make_state(0))


def test_nothing_but_the_fit_is_left_in_the_folder_and_no_pickle(folder: Path) -> None:
    checkpoint.save(folder, make_state(1), IDENTITY)
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert load_tensors(folder / FILE)[1]["version"] == 1


def test_the_same_fit_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "again", make_state(0), IDENTITY)
    assert (tmp_path / "again" / FILE).read_bytes() == (folder / FILE).read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"video_hash": "else"}, "pony.mp4"),
        ({"seed": 4}, "seed: 3 / 4"),
        ({"foreground_hash": ""}, "foreground"),
        ({"config": override(CONFIG, {"training.batch": 64})}, "training.batch: 512 / 64"),
        ({"config": override(CONFIG, {"model.radius": 9})}, "model.radius"),
    ],
)
def test_another_fit_is_refused_and_named(folder: Path, changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        checkpoint.find(folder, replace(IDENTITY, **changes))


def test_many_changes_are_not_all_told(folder: Path) -> None:
    with pytest.raises(InputError, match=r"and \d\d more settings; seed: 3 / 4\)") as refused:
        checkpoint.find(folder, replace(IDENTITY, config=PRESETS["paper"], seed=4))
    assert len(str(refused.value)) < 600


def test_an_unfinished_fit_is_found_and_its_step_is_told(folder: Path, tmp_path: Path) -> None:
    opening = checkpoint.opened(folder, IDENTITY)
    with pytest.warns(DinotrackWarning, match=r"goes on from step 5 of 8$"), opening as store:
        assert (store.step, store.is_finished) == (5, False)
    assert checkpoint.find(tmp_path / "none", IDENTITY) is None


def test_advice_speaks_of_arguments_and_on_the_command_line_of_flags(folder: Path) -> None:
    with pytest.raises(InputError) as refused:
        checkpoint.find(folder, replace(IDENTITY, seed=4))
    assert str(refused.value).endswith("choose another folder")
    assert on_command_line(refused.value, folder="--out").endswith("choose another --out")


def test_inference_and_place_are_no_difference(folder: Path) -> None:
    config = override(CONFIG, {"inference.path.candidates": 7})
    moved = replace(IDENTITY, config=config, video_path="elsewhere.mp4")
    assert checkpoint.find(folder, moved) is not None


def test_how_often_it_is_saved_is_no_difference(folder: Path) -> None:
    config = override(CONFIG, {"training.save_seconds": 2})
    assert checkpoint.find(folder, replace(IDENTITY, config=config)) is not None


def test_names_from_files_are_shown_without_escape_codes(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, make_state(0), replace(IDENTITY, video_path="\x1b[31mred\n.mp4"))
    with pytest.raises(InputError, match=r"belongs to \\x1b\[31mred \.mp4, not to this video"):
        checkpoint.find(tmp_path, replace(IDENTITY, video_hash="else"))


# --- the folder is one writer's


def test_two_writers_are_not_let_in(folder: Path) -> None:
    def open_again() -> None:
        with checkpoint.opened(folder, IDENTITY):
            pytest.fail("two are in")

    def put() -> None:
        checkpoint.put(folder, make_state(0), IDENTITY)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DinotrackWarning)  # it goes on
        with checkpoint.opened(folder, IDENTITY):
            for second in (open_again, put):
                with pytest.raises(InputError, match="is in use by"):
                    second()
            assert checkpoint.read(folder).step == 5  # reading needs no lock
    put()


def test_a_finished_fit_is_used_by_any_number_at_once(folder: Path) -> None:
    state = make_state(0)
    state.step = 8
    checkpoint.save(folder, state, IDENTITY)
    with locked(folder), checkpoint.opened(folder, IDENTITY) as store:
        assert store.is_finished


def test_who_waited_for_a_lock_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have written a fit between the first look and the lock."""
    lock = checkpoint.locked

    def late(folder: Path) -> Any:
        checkpoint.save(folder, make_state(0), replace(IDENTITY, seed=9))
        return lock(folder)

    monkeypatch.setattr(checkpoint, "locked", late)
    opening = checkpoint.opened(tmp_path, IDENTITY)
    with pytest.raises(InputError, match="seed: 9 / 3"), opening:
        pytest.fail("another's fit would be overwritten")


def test_leftovers_of_killed_runs_are_swept(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as part:
        left = part
    (tmp_path / "file").unlink()
    left.write_bytes(b"half")
    with checkpoint.opened(tmp_path, IDENTITY):
        assert [path.name for path in tmp_path.glob("*.part")] == []
    left.write_bytes(b"half")
    checkpoint.put(tmp_path, make_state(0), IDENTITY)
    assert {path.name for path in tmp_path.iterdir()} == {FILE, LOCK}


def test_more_of_the_same_fit_is_not_overwritten(folder: Path) -> None:
    less = make_state(0)
    less.step = 4
    with pytest.raises(InputError, match="holds more of this fit, step 5, than this, 4"):
        checkpoint.put(folder, less, IDENTITY)
    assert checkpoint.read(folder).step == 5


# --- older forms


def test_a_fit_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """As commit 91b1cf2 wrote it: all of inference in one section, and fewer training settings."""
    config = json.loads(FLAT.read_text(encoding="utf-8"))["fast"]
    config["training"]["steps"] = 8
    config["model"] |= {"widths": [4], "dims": 8, "blocks": 1}
    about = {
        "config": config,
        "seed": 3,
        "video_hash": "video",
        "foreground_hash": "masks",
        "source": "pony.mp4",
        "step": 5,
        "losses": {"flow": [3.0, 2.5]},
    }
    put_older(tmp_path, about=json.dumps(about))
    stored = checkpoint.find(tmp_path, IDENTITY)
    assert stored is not None
    assert stored.identity == IDENTITY
    state = make_state(1)
    check(stored, state)
    restore(stored, state)
    assert same_state(state, make_state(0))


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_an_older_file_of_other_than_plain_numbers_is_refused(tmp_path: Path) -> None:
    sound = make_state(0).tracker.state_dict()
    quantized = {
        name: torch.quantize_per_tensor(values.float(), 0.1, 0, torch.qint8)
        for name, values in sound.items()
    }
    for weights in (quantized, {name: values.to_sparse() for name, values in sound.items()}):
        put_older(tmp_path, weights=weights)
        refused(tmp_path)


def test_an_older_file_becomes_a_new_one(tmp_path: Path) -> None:
    put_older(tmp_path)
    assert checkpoint.read(tmp_path).step == 5
    state = make_state(1)
    state.step = 6
    checkpoint.put(tmp_path, state, IDENTITY)
    assert {path.name for path in tmp_path.iterdir()} == {FILE, LOCK}
    assert checkpoint.read(tmp_path).step == 6


def test_the_new_file_counts_where_an_older_one_is_left(folder: Path) -> None:
    put_older(folder, about="{")
    assert checkpoint.read(folder).step == 5


def test_a_newer_version_is_said(folder: Path) -> None:
    tensors, about = load_tensors(folder / FILE)
    save_tensors(folder / FILE, tensors, about | {"version": 2, "config": {"new": 1}})
    with pytest.raises(InputError, match="written by a newer version of dinotrack; update"):
        checkpoint.read(folder)


# --- damage


def refused(folder: Path) -> str:
    """What is said of a damaged file, which is one sentence without words of torch's."""
    with pytest.raises(InputError, match=r"checkpoint\.\w+ is damaged \(.+\); remove it") as error:
        checkpoint.read(folder)
    said = str(error.value).replace(str(folder), "")
    assert "\n" not in said
    assert "torch" not in said.lower()
    assert "pickle" not in said.lower()
    return said


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "text": lambda data: b"hello there\n" * 9,
    "zeros": lambda data: bytes(999),
    "cut": lambda data: data[: len(data) // 2],
    "zeros inside": lambda data: data[:-999] + bytes(900) + data[-99:],
    "one bit": lambda data: data[:-50] + bytes([data[-50] ^ 4]) + data[-49:],
    "longer": lambda data: data + b"more",
}


HARMLESS = {(OLDER, "one bit"), (OLDER, "longer")}
"""Nothing in a zip depends on these bytes."""
DAMAGES = [(form, how) for form in (FILE, OLDER) for how in CONTENTS]


@pytest.mark.parametrize(("form", "how"), [pair for pair in DAMAGES if pair not in HARMLESS])
def test_damage_is_one_sentence(tmp_path: Path, form: str, how: str) -> None:
    path = tmp_path / form
    if form == OLDER:
        put_older(tmp_path)
    else:
        checkpoint.save(tmp_path, make_state(0), IDENTITY)
    path.write_bytes(CONTENTS[how](path.read_bytes()))
    refused(tmp_path)


@pytest.mark.parametrize("form", [FILE, OLDER])
def test_no_flipped_bit_of_a_tensor_is_believed(tmp_path: Path, form: str) -> None:
    """A zip has bytes that mean nothing; where one of those is flipped, all numbers are right."""
    path = tmp_path / form
    if form == OLDER:
        put_older(tmp_path)
    else:
        checkpoint.save(tmp_path, make_state(0), IDENTITY)
    data = path.read_bytes()
    right = checkpoint.read(tmp_path)
    rng = np.random.default_rng(0)
    believed = 0
    for place in rng.integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = checkpoint.read(tmp_path)
        except InputError:
            continue
        believed += 1
        assert (found.identity, found.step, found.losses) == (
            right.identity,
            right.step,
            right.losses,
        )
        assert all(torch.equal(found.tensors[k], right.tensors[k]) for k in right.tensors)
    assert believed < 20 if form == OLDER else believed == 0


WRONG: dict[str, Any] = {
    "kind": [None, "flow"],
    "version": ["1", None, True],
    "config": [[1], {"training": 1}, {"training": {"luck": 1}}, {"training": {"steps": -1}}],
    "seed": ["x", -1, 2**40, 1.5, True, None],
    "video_hash": [5, None],
    "foreground_hash": [[]],
    "source": [5, None, "a\0b"],
    "step": ["x", -1, 9, 2.0, None, True],
    "losses": [[1], {"flow": 3}, {"flow": ["x"]}, {"flow": [float("nan")]}, {"flow": [1.0] * 6}],
}


@pytest.mark.parametrize("name", WRONG)
def test_every_value_is_checked(folder: Path, name: str) -> None:
    tensors, about = load_tensors(folder / FILE)
    for value in WRONG[name]:
        save_tensors(folder / FILE, tensors, about | {name: value})
        refused(folder)
    del about[name]
    save_tensors(folder / FILE, tensors, about)
    refused(folder)


def test_numbers_that_are_not_finite_are_refused(folder: Path) -> None:
    tensors, about = load_tensors(folder / FILE)
    for name in ("weights.delta_dino.layers.0.weight", "optimizer.0.exp_avg"):
        changed = {key: values.clone() for key, values in tensors.items()}
        changed[name].view(-1)[0] = float("inf")
        save_tensors(folder / FILE, changed, about)
        assert "not finite" in refused(folder)


def test_a_setting_out_of_bounds_takes_no_memory(folder: Path) -> None:
    tensors, about = load_tensors(folder / FILE)
    about["config"]["model"]["widths"] = [60000, 60000]
    save_tensors(folder / FILE, tensors, about)
    assert "widths" in refused(folder)


def test_an_unsafe_pickle_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Unsafe:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(ran),)

    put_older(tmp_path, about=Unsafe())
    refused(tmp_path)
    assert not ran.exists()


def test_a_zip_that_grows_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / OLDER, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    assert "larger than the file" in refused(tmp_path)


def test_a_tensor_that_repeats_itself_takes_no_memory(tmp_path: Path) -> None:
    put_older(tmp_path, weights={"a": torch.zeros(1).expand(10**13)})
    refused(tmp_path)


@pytest.mark.parametrize("part", ["weights", "optimizer"])
@pytest.mark.parametrize("value", [None, [1], {"state": [1]}, {"state": {0: 1}}])
def test_parts_of_another_kind_are_refused(tmp_path: Path, part: str, value: object) -> None:
    put_older(tmp_path, **{part: value})
    refused(tmp_path)


def other_forms(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    first = "weights.delta_dino.layers.0.weight"
    momentum = next(name for name in tensors if name.endswith(".momentum"))
    lacking = {name: values for name, values in tensors.items() if name != momentum}
    return {
        "weights missing": {k: v for k, v in tensors.items() if k != first},
        "weights of another shape": tensors | {first: torch.zeros(3, 3)},
        "weights of another type": tensors | {first: tensors[first].half()},
        "one too many": tensors | {"weights.more": torch.zeros(1)},
        "a moment missing": lacking,
        "a moment of another shape": tensors | {momentum: torch.zeros(1)},
        "another optimizer's": lacking | {momentum.replace("momentum", "exp_avg"): torch.zeros(1)},
        "no parameter's": tensors | {"optimizer.99.step": torch.zeros(())},
        "no number": tensors | {"optimizer.x.step": torch.zeros(())},
    }


@pytest.mark.parametrize("how", other_forms(take_apart(make_state(0))))
def test_parts_that_do_not_fit_are_refused(folder: Path, how: str) -> None:
    tensors, about = load_tensors(folder / FILE)
    save_tensors(folder / FILE, other_forms(tensors)[how], about)
    stored = checkpoint.read(folder)
    with pytest.raises(InputError, match=r"does not fit its own settings \(.+\); remove it"):
        check(stored, make_state(1))


def test_no_fit_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no fit"):
        checkpoint.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        checkpoint.save(tmp_path / "file", make_state(0), IDENTITY)
    with pytest.raises(InputError, match="can't be read"):
        checkpoint.read(tmp_path / "a\0b")
    with pytest.raises(InputError, match="can't be read"):
        checkpoint.read(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("form", [FILE, OLDER])
def test_a_pipe_is_no_fit_and_nobody_waits_for_it(tmp_path: Path, form: str) -> None:
    os.mkfifo(tmp_path / form)
    with pytest.raises(InputError, match="is a named pipe"):
        checkpoint.read(tmp_path)


def test_an_unreadable_file_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "load_tensors", denied)
    with pytest.raises(InputError, match=r"can't be read \(Permission denied\)"):
        checkpoint.read(folder)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Not even by root: a folder stands where the file goes."""
    (tmp_path / FILE).mkdir()
    with pytest.raises(InputError, match="can't be written"):
        checkpoint.save(tmp_path, make_state(0), IDENTITY)


def test_masks_are_told_apart() -> None:
    masks = np.zeros((2, 3, 4), dtype=bool)
    other = masks.copy()
    other[1, 2, 3] = True
    hashes = [checkpoint.hash_masks(m) for m in (None, masks, other, masks.reshape(2, 4, 3))]
    assert len(set(hashes)) == 4
    assert checkpoint.hash_masks(masks.copy()) == hashes[1]
