"""The studio's document: edits, undo and redo, and the journal that keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic")

from hypothesis import given, settings

from dinotrack.errors import InputError
from dinotrack.studio.document import Conflict, Document, Point
from dinotrack.studio.edits import EDITS, MOST_LESSONS, apply
from dinotrack.studio.history import MOST_STEPS, History
from dinotrack.studio.journal import (
    JOURNAL,
    Beginning,
    Journal,
    begin_journal,
    read_journal,
)
from dinotrack.studio.shapes import NewPoint, read_edit, written
from tests.studio_edits import CLIP, edits, steps

TAIL = Point(3, t=2, x=1.5, y=2.5, name="tail")
HEAD = Point(4, t=0, x=0.0, y=0.0, corrections=((3, 1.0, 1.0),), hidden=((1, 2),))
START = Document((TAIL, HEAD), (), 5)


def edited(document: Document, **edit: Any) -> Document:
    """The document after an edit that comes as JSON."""
    return apply(document, read_edit(json.dumps(edit)), CLIP)


def point(document: Document, id: int) -> Point:
    """The point with that id."""
    (found,) = [point for point in document.points if point.id == id]
    return found


EXAMPLES: dict[str, tuple[dict[str, Any], Document]] = {
    "add": (
        {"points": [{"t": 5, "x": 7.5, "y": -0.5, "name": " nose ", "colour": "#00ff00"}]},
        Document((TAIL, HEAD, Point(5, 5, 7.5, -0.5, name="nose", colour="#00ff00"))),
    ),
    "remove": ({"ids": [3]}, Document((HEAD,))),
    "place": (
        {"id": 4, "t": 3, "x": 2.0, "y": 3.0},  # where it had a correction, which that replaces
        Document((TAIL, Point(4, 3, 2.0, 3.0, hidden=((1, 2),)))),
    ),
    "rename": ({"id": 3, "name": ""}, Document((Point(3, 2, 1.5, 2.5), HEAD))),
    "colour": (
        {"ids": [3], "colour": "#123456"},
        Document((Point(3, 2, 1.5, 2.5, name="tail", colour="#123456"), HEAD)),
    ),
    "correct": (
        {"id": 4, "t": 1, "x": 2.0, "y": 3.0},
        Document((TAIL, Point(4, 0, 0.0, 0.0, ((1, 2.0, 3.0), (3, 1.0, 1.0)), ((1, 2),)))),
    ),
    "uncorrect": (
        {"id": 4, "t": 3},
        Document((TAIL, Point(4, 0, 0.0, 0.0, (), ((1, 2),)))),
    ),
    "hide": (
        {"id": 4, "t": 3, "u": 5},  # right after the stretch that is there
        Document((TAIL, Point(4, 0, 0.0, 0.0, ((3, 1.0, 1.0),), ((1, 5),)))),
    ),
    "show": (
        {"id": 4, "t": 2, "u": 4},
        Document((TAIL, Point(4, 0, 0.0, 0.0, ((3, 1.0, 1.0),), ((1, 1),)))),
    ),
    "accept": (
        {"ids": [3], "accepted": True},
        Document((Point(3, 2, 1.5, 2.5, name="tail", accepted=True), HEAD)),
    ),
    "teach": ({}, edited(START, kind="teach")),
}


@pytest.mark.parametrize("kind", EDITS)
def test_what_an_edit_makes(kind: str) -> None:
    parts, expected = EXAMPLES[kind]
    assert edited(START, kind=kind, **parts) == expected


def test_teaching_takes_a_snapshot_of_what_was_mended() -> None:
    taught = edited(START, kind="teach")
    assert [lesson.points for lesson in taught.lessons] == [(HEAD.placed,)]
    later = edited(taught, kind="uncorrect", id=4, t=3)
    assert later.lessons == taught.lessons


def test_a_correction_in_the_frame_of_the_query_moves_the_query() -> None:
    moved = point(edited(START, kind="correct", id=3, t=2, x=4.0, y=4.0), 3)
    assert (moved.t, moved.x, moved.y, moved.corrections) == (2, 4.0, 4.0, ())


def test_a_correction_replaces_the_one_of_the_same_frame() -> None:
    again = point(edited(START, kind="correct", id=4, t=3, x=5.0, y=4.0), 4)
    assert again.corrections == ((3, 5.0, 4.0),)


def test_showing_the_middle_of_a_stretch_leaves_both_ends() -> None:
    hidden = edited(START, kind="hide", id=3, t=0, u=5)
    assert point(edited(hidden, kind="show", id=3, t=2, u=3), 3).hidden == ((0, 1), (4, 5))


def test_ids_are_never_used_again() -> None:
    history = History(START)
    add = read_edit('{"kind": "add", "points": [{"t": 0, "x": 0, "y": 0}]}')
    once = history.edited(add, CLIP).undone().edited(add, CLIP)
    assert [point.id for point in once.document.points] == [3, 4, 6]


WRONG = {
    "another kind": '{"kind": "explode"}',
    "no kind": "{}",
    "no object": "[1]",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "NaN": '{"kind": "correct", "id": 3, "t": 1, "x": NaN, "y": 0}',
    "infinite": '{"kind": "correct", "id": 3, "t": 1, "x": 1e999, "y": 0}',
    "far outside": '{"kind": "correct", "id": 3, "t": 1, "x": 1e300, "y": 0}',
    "a whole number of many digits": '{"kind": "teach", "x": ' + "9" * 5000 + "}",
    "a little outside": '{"kind": "correct", "id": 3, "t": 1, "x": 7.6, "y": 0}',
    "above": '{"kind": "correct", "id": 3, "t": 1, "x": 0, "y": -0.6}',
    "a frame too late": '{"kind": "correct", "id": 3, "t": 6, "x": 0, "y": 0}',
    "a frame before the first": '{"kind": "correct", "id": 3, "t": -1, "x": 0, "y": 0}',
    "half a frame": '{"kind": "correct", "id": 3, "t": 0.5, "x": 0, "y": 0}',
    "true for a frame": '{"kind": "correct", "id": 3, "t": true, "x": 0, "y": 0}',
    "text for a number": '{"kind": "correct", "id": 3, "t": 1, "x": "0", "y": 0}',
    "something missing": '{"kind": "correct", "id": 3, "t": 1, "x": 0}',
    "something more": '{"kind": "teach", "path": "/etc"}',
    "nobody": '{"kind": "remove", "ids": []}',
    "a stretch backwards": '{"kind": "hide", "id": 3, "t": 3, "u": 2}',
    "a stretch too long": '{"kind": "hide", "id": 3, "t": 3, "u": 6}',
    "a name of two lines": '{"kind": "rename", "id": 3, "name": "a\\nb"}',
    "a name that steers": '{"kind": "rename", "id": 3, "name": "\\u202ea"}',
    "half a letter": '{"kind": "rename", "id": 3, "name": "\\ud800"}',
    "a long name": json.dumps({"kind": "rename", "id": 3, "name": "a" * 201}),
    "a colour by name": '{"kind": "colour", "ids": [3], "colour": "red"}',
    "too many at once": json.dumps(
        {"kind": "add", "points": [{"t": 0, "x": 0, "y": 0}] * 5001},
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_edits_are_refused_in_a_sentence(what: str) -> None:
    with pytest.raises(InputError) as refused:
        apply(START, read_edit(WRONG[what]), CLIP)
    assert not isinstance(refused.value, Conflict)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


NOT_NOW = {
    "an unknown point": {"kind": "rename", "id": 9, "name": "a"},
    "one of several unknown": {"kind": "remove", "ids": [3, 9]},
    "no such correction": {"kind": "uncorrect", "id": 3, "t": 1},
}


@pytest.mark.parametrize("what", NOT_NOW)
def test_edits_that_do_not_apply_now_are_conflicts(what: str) -> None:
    with pytest.raises(Conflict):
        edited(START, **NOT_NOW[what])


def test_limits_of_points_and_lessons() -> None:
    many = edited(START, kind="add", points=[{"t": 0, "x": 0, "y": 0}] * 4998)
    with pytest.raises(Conflict, match="5001 points are too many"):
        edited(many, kind="add", points=[{"t": 0, "x": 0, "y": 0}])
    with pytest.raises(Conflict, match="nothing to teach"):
        edited(Document((TAIL,)), kind="teach")
    taught = START
    for _ in range(MOST_LESSONS):
        taught = edited(taught, kind="teach")
    with pytest.raises(Conflict, match="100 lessons"):
        edited(taught, kind="teach")


def test_names_of_steps() -> None:
    history = History(START)
    for edit, title in (
        ({"kind": "place", "id": 3, "t": 0, "x": 0, "y": 0}, "move tail"),
        ({"kind": "remove", "ids": [3, 3]}, "remove tail"),
        ({"kind": "colour", "ids": [4], "colour": "#000000"}, "colour 4"),
        ({"kind": "add", "points": [{"t": 0, "x": 0, "y": 0}] * 2}, "add 2 points"),
        ({"kind": "accept", "ids": [4, 5, 6], "accepted": True}, "accept 3 points"),
        ({"kind": "teach"}, "teach"),
    ):
        history = history.edited(read_edit(json.dumps(edit)), CLIP)
        assert (history.undo, history.redo) == (title, None)
    assert (history.undone().undo, history.undone().redo) == ("accept 3 points", "teach")


# --- undo and redo


def made(history: History, asked: Iterable[dict[str, Any]]) -> list[History]:
    """The history, and what it is after each step that applies."""
    found = [history]
    for step in asked:
        try:
            if step["kind"] in ("undo", "redo"):
                found.append(found[-1].undone() if step["kind"] == "undo" else found[-1].redone())
            else:
                found.append(found[-1].edited(read_edit(json.dumps(step)), CLIP))
        except InputError:
            pass
    return found


@settings(max_examples=200, deadline=None)
@given(steps)
def test_undoing_all_gives_every_document_before(asked: list[dict[str, Any]]) -> None:
    history = made(History(START), asked)[-1]
    documents = [history.document]
    while history.undo is not None:
        history = history.undone()
        documents.append(history.document)
    assert history.document == START
    for document in reversed(documents[:-1]):
        history = history.redone()
        assert history.document == document
    assert history.redo is None or history.future


@settings(max_examples=100, deadline=None)
@given(steps, edits)
def test_an_undo_takes_back_just_one_edit(
    asked: list[dict[str, Any]], last: dict[str, Any]
) -> None:
    before = made(History(START), asked)[-1]
    after = made(before, [last])[-1]
    if after is not before and after.revision != before.revision:
        assert after.undone().document == before.document
        assert after.undone().redone().document == after.document
        assert after.future == ()


@settings(max_examples=100, deadline=None)
@given(steps)
def test_documents_keep_their_promises(asked: list[dict[str, Any]]) -> None:
    for history in made(History(START), asked):
        ids = [point.id for point in history.document.points]
        assert ids == sorted(set(ids))
        assert not ids or max(ids) < history.document.next_id
        for point in history.document.points:
            frames = [t for t, _, _ in point.corrections]
            assert frames == sorted({*frames} - {point.t})
            for (_, last), (first, _) in zip(point.hidden, point.hidden[1:], strict=False):
                assert first > last + 1
            assert all(first <= last for first, last in point.hidden)


def test_the_oldest_steps_can_no_longer_be_undone() -> None:
    history = History(START)
    for number in range(MOST_STEPS + 1):
        history = history.edited(
            read_edit(json.dumps({"kind": "rename", "id": 3, "name": f"{number}"})), CLIP
        )
    assert len(history.past) == MOST_STEPS
    assert history.revision == MOST_STEPS + 1


@given(edits)
@settings(deadline=None)
def test_an_edit_is_the_same_once_written_and_read(edit: dict[str, Any]) -> None:
    once = read_edit(json.dumps(edit))
    assert read_edit(written(once)) == once


# --- the journal


BEGINNING = Beginning(
    video="clip.mp4",
    frames=CLIP.frames,
    width=CLIP.width,
    height=CLIP.height,
    points=[NewPoint(t=0, x=1.0, y=1.0, name="first"), NewPoint(t=3, x=0.1, y=0.2)],
)


def new_journal(folder: Path) -> Path:
    """A journal in which nothing was done yet."""
    path = folder / JOURNAL
    begin_journal(path, BEGINNING)
    return path


def do(journal: Journal, step: dict[str, Any]) -> None:
    """Make a step, if it applies."""
    try:
        if step["kind"] == "undo":
            journal.undo()
        elif step["kind"] == "redo":
            journal.redo()
        else:
            journal.edit(read_edit(json.dumps(step)))
    except InputError:
        pass


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_journal_read_again_is_what_was_in_memory(
    tmp_path_factory: pytest.TempPathFactory, asked: list[dict[str, Any]]
) -> None:
    path = new_journal(tmp_path_factory.mktemp("journal"))
    journal = Journal(path)
    for step in asked:
        do(journal, step)
    again = read_journal(path)
    assert again.history == journal.history
    assert again.history.document.next_id == journal.history.document.next_id
    assert again.length == path.stat().st_size
    journal.close()


STORY = [
    {"kind": "correct", "id": 0, "t": 4, "x": 2.25, "y": 3.5},
    {"kind": "add", "points": [{"t": 1, "x": 0.1, "y": 0.7, "name": "späť"}]},
    {"kind": "undo"},
    {"kind": "redo"},
    {"kind": "teach"},
    {"kind": "undo"},
]


def test_a_journal_torn_at_any_byte_holds_all_whole_lines(tmp_path: Path) -> None:
    path = new_journal(tmp_path)
    journal = Journal(path)
    known = {path.stat().st_size: journal.history}
    for step in STORY:
        do(journal, step)
        known[path.stat().st_size] = journal.history
    journal.close()
    assert len(known) == len(STORY) + 1
    content = path.read_bytes()
    for end in range(min(known), len(content) + 1):
        path.write_bytes(content[:end])
        torn = Journal(path)
        assert torn.history == known[max(length for length in known if length <= end)]
        do(torn, {"kind": "rename", "id": 1, "name": "after"})  # what was torn is gone for good
        torn.close()
        assert read_journal(path).history == torn.history


def test_a_journal_whose_end_a_power_cut_left_empty(tmp_path: Path) -> None:
    path = new_journal(tmp_path)
    with path.open("ab") as file:
        file.write(bytes(512))
    assert read_journal(path).history == History(BEGINNING.document)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "damage", [b"", b"\0\0\0", b"nonsense", b'{"kind": "remove", "ids": [77]}', b"\xff\xfe"]
)
def test_a_damaged_line_is_told_of_and_nothing_is_lost(
    number: int, damage: bytes, tmp_path: Path
) -> None:
    path = new_journal(tmp_path)
    journal = Journal(path)
    for step in STORY[:3]:
        do(journal, step)
    journal.close()
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = damage
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"line {number} is damaged") as refused:
        Journal(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


def test_other_things_in_the_place_of_a_journal(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    with pytest.raises(InputError, match="doesn't exist"):
        Journal(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="no first line"):
        Journal(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        Journal(path)
    path.rmdir()
    begin_journal(tmp_path / "elsewhere.jsonl", BEGINNING)
    path.symlink_to(tmp_path / "elsewhere.jsonl")
    with pytest.raises(InputError, match="is a link"):
        Journal(path)


def test_an_edit_that_cannot_be_kept_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = new_journal(tmp_path)
    journal = Journal(path)
    do(journal, STORY[0])
    before, content = journal.history, path.read_bytes()

    def full(file: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dinotrack.studio.journal._sync", full)
        with pytest.raises(InputError, match="No space left"):
            journal.undo()
    assert journal.history is before
    assert path.read_bytes() == content
    journal.undo()
    journal.close()
    assert read_journal(path).history == journal.history


def test_an_edit_that_changes_nothing_is_no_step(tmp_path: Path) -> None:
    path = new_journal(tmp_path)
    journal = Journal(path)
    do(journal, {"kind": "rename", "id": 0, "name": "first"})
    do(journal, {"kind": "show", "id": 0, "t": 0, "u": 5})
    journal.close()
    assert journal.history.revision == 0
    assert path.read_bytes().count(b"\n") == 1
