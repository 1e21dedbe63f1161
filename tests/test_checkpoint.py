"""A fit on disk: what it remembers, and what it refuses."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dinotrack.config import FAST, override
from dinotrack.errors import InputError, on_command_line
from dinotrack.model import Tracker
from dinotrack.training import checkpoint
from dinotrack.training.loop import State, initial_state

CONFIG = override(
    FAST, {"training.steps": 8, "model.widths": "4", "model.dims": 8, "model.blocks": 0}
)
FLAT = Path(__file__).parent / "data" / "flat_inference_configs.json"
IDENTITY = checkpoint.Identity(CONFIG, 3, "video", "masks", "pony.mp4")


def make_state(seed: int) -> State:
    """A state after one step, so that the optimizer has something to remember."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        state = initial_state(Tracker(CONFIG.model, None), CONFIG.training)
        sum(p.square().sum() + p.sum() for p in state.tracker.parameters()).backward()
    state.optimizer.step()
    state.step = 5
    state.curves = {"flow": list(torch.tensor((3.0, 2.5)))}
    return state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "deep" / "model", make_state(0), IDENTITY)
    return tmp_path / "deep" / "model"


def test_comes_back_whole(folder: Path) -> None:
    stored = checkpoint.read(folder)
    original = make_state(0)
    other = make_state(1)
    assert stored.identity == IDENTITY
    checkpoint.restore(stored, other)
    assert other.step == 5
    assert other.losses == {"flow": [3.0, 2.5]}
    for name, value in original.tracker.state_dict().items():
        assert torch.equal(value, other.tracker.state_dict()[name]), name
    kept = other.optimizer.state_dict()
    for i, moments in original.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, kept["state"][i][name])


def test_nothing_but_the_fit_is_left_in_the_folder(folder: Path) -> None:
    checkpoint.save(folder, make_state(1), IDENTITY)
    assert [p.name for p in folder.iterdir()] == [checkpoint.FILE]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"video_hash": "else"}, "pony.mp4"),
        ({"seed": 4}, "seed: 3 / 4"),
        ({"foreground_hash": ""}, "foreground"),
        ({"config": override(CONFIG, {"training.batch": 64})}, "training.batch: 256 / 64"),
        ({"config": override(CONFIG, {"model.radius": 9})}, "model.radius"),
    ],
)
def test_another_fit_is_refused_and_named(folder: Path, changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        checkpoint.find(folder, checkpoint.Identity(**{**vars(IDENTITY), **changes}), resume=True)


def test_unfinished_is_continued_only_where_asked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="step 5 of 8"):
        checkpoint.find(folder, IDENTITY, resume=False)
    found = checkpoint.find(folder, IDENTITY, resume=True)
    assert found is not None
    assert found.step == 5
    assert checkpoint.find(tmp_path / "none", IDENTITY, resume=True) is None


def test_advice_speaks_of_arguments_and_on_the_command_line_of_flags(folder: Path) -> None:
    with pytest.raises(InputError) as refused:
        checkpoint.find(folder, IDENTITY, resume=False)
    advice = "continue it with {}, or choose another {}"
    assert str(refused.value).endswith(advice.format("resume=True", "folder"))
    shown = on_command_line(refused.value, folder="--out")
    assert shown.endswith(advice.format("--resume", "--out"))


def test_inference_and_place_are_no_difference(folder: Path) -> None:
    moved = checkpoint.Identity(
        override(CONFIG, {"inference.path.candidates": 7}), 3, "video", "masks", "elsewhere.mp4"
    )
    assert checkpoint.find(folder, moved, resume=True) is not None


def test_how_often_it_is_saved_is_no_difference(folder: Path) -> None:
    config = override(CONFIG, {"training.save_every": 2})
    identity = replace(IDENTITY, config=config)
    assert checkpoint.find(folder, identity, resume=True) is not None


def test_a_fit_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """As commit 91b1cf2 wrote it: all of inference in one section, and fewer training settings."""
    config = json.loads(FLAT.read_text(encoding="utf-8"))["fast"]
    config["training"]["steps"] = 8
    config["model"] |= {"widths": [4], "dims": 8, "blocks": 0}
    about = {
        "config": config,
        "seed": 3,
        "video_hash": "video",
        "foreground_hash": "masks",
        "source": "pony.mp4",
        "step": 5,
        "losses": {"flow": [3.0, 2.5]},
    }
    old = make_state(0)
    weights, optimizer = old.tracker.state_dict(), old.optimizer.state_dict()
    values = {"about": json.dumps(about), "weights": weights, "optimizer": optimizer}
    torch.save(values, tmp_path / checkpoint.FILE)
    stored = checkpoint.find(tmp_path, IDENTITY, resume=True)
    assert stored is not None
    assert stored.identity == IDENTITY
    state = make_state(1)
    checkpoint.restore(stored, state)
    assert (state.step, state.losses) == (5, {"flow": [3.0, 2.5]})
    for name, value in weights.items():
        assert torch.equal(value, state.tracker.state_dict()[name]), name


def damaged(path: Path, how: str) -> None:
    values = torch.load(path, weights_only=True)
    about = json.loads(values["about"])
    data = path.read_bytes()
    contents: dict[str, object] = {
        "a tensor": torch.zeros(3),
        "a list": [1, 2],
        "weights alone": values["weights"],
        "about a list": {**values, "about": "[1]"},
        "no JSON": {**values, "about": "{"},
        "config a list": {**values, "about": json.dumps({**about, "config": [1]})},
        "config of numbers": {**values, "about": json.dumps({**about, "config": {"training": 1}})},
        "a setting unknown": {
            **values,
            "about": json.dumps({**about, "config": {"training": {"luck": 1}}}),
        },
    }
    texts = {
        "empty": b"",
        "text": b"hello there\n" * 9,
        "zeros": bytes(999),
        "cut": data[: len(data) // 2],
    }
    if how in texts:
        path.write_bytes(texts[how])
    else:
        torch.save(contents[how], path)


DAMAGES = (
    "empty",
    "text",
    "zeros",
    "cut",
    "a tensor",
    "a list",
    "weights alone",
    "about a list",
    "no JSON",
)


@pytest.mark.parametrize(
    "how", [*DAMAGES, "config a list", "config of numbers", "a setting unknown"]
)
def test_damage_is_one_sentence(folder: Path, how: str) -> None:
    damaged(folder / checkpoint.FILE, how)
    with pytest.raises(InputError, match="no checkpoint of this version"):
        checkpoint.read(folder)


def test_an_unsafe_pickle_is_not_run(folder: Path) -> None:
    torch.save({"about": Path("x")}, folder / checkpoint.FILE)
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.read(folder)


@pytest.mark.parametrize("part", ["weights", "optimizer"])
@pytest.mark.parametrize("value", [{}, None, [1]])
def test_parts_that_do_not_fit_are_refused(folder: Path, part: str, value: object) -> None:
    values = torch.load(folder / checkpoint.FILE, weights_only=True)
    torch.save({**values, part: value}, folder / checkpoint.FILE)
    with pytest.raises(InputError, match="does not fit its own settings"):
        checkpoint.restore(checkpoint.read(folder), make_state(1))


def test_no_fit_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no fit"):
        checkpoint.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        checkpoint.save(tmp_path / "file", make_state(0), IDENTITY)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Not even by root: a folder stands where the temporary file goes."""
    (tmp_path / f".{checkpoint.FILE}.{threading.get_native_id()}.part").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        checkpoint.save(tmp_path, make_state(0), IDENTITY)


def test_masks_are_told_apart() -> None:
    masks = np.zeros((2, 3, 4), dtype=bool)
    other = masks.copy()
    other[1, 2, 3] = True
    hashes = [checkpoint.hash_masks(m) for m in (None, masks, other, masks.reshape(2, 4, 3))]
    assert len(set(hashes)) == 4
    assert checkpoint.hash_masks(masks.copy()) == hashes[1]
