"""Edits of the studio that Hypothesis makes up: most of them apply, some don't."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dinotrack.studio.document import Clip

CLIP = Clip(frames=6, width=8, height=5)

ids = st.integers(0, 5)
frames = st.integers(0, CLIP.frames)  # the last one is not there
xs = st.floats(-0.5, CLIP.width - 0.25)  # up to a little outside
ys = st.floats(-0.5, CLIP.height - 0.5)
names = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
colours = st.none() | st.sampled_from(("#ff8800", "#000000"))
several = st.lists(ids, min_size=1, max_size=3)


def of_kind(kind: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Edits of one kind."""
    return st.fixed_dictionaries({"kind": st.just(kind), **parts})


new_points = st.fixed_dictionaries(
    {"t": frames, "x": xs, "y": ys}, optional={"name": names, "colour": colours}
)
edits = st.one_of(
    of_kind("add", points=st.lists(new_points, min_size=1, max_size=3)),
    of_kind("remove", ids=several),
    of_kind("place", id=ids, t=frames, x=xs, y=ys),
    of_kind("rename", id=ids, name=names),
    of_kind("colour", ids=several, colour=colours),
    of_kind("correct", id=ids, t=frames, x=xs, y=ys),
    of_kind("uncorrect", id=ids, t=frames),
    of_kind("hide", id=ids, t=frames, u=frames),
    of_kind("show", id=ids, t=frames, u=frames),
    of_kind("accept", ids=several, accepted=st.booleans()),
    of_kind("teach"),
)
steps = st.lists(
    edits | st.sampled_from(({"kind": "undo"}, {"kind": "undo"}, {"kind": "redo"})), max_size=30
)
"""What a user may do one after the other."""
