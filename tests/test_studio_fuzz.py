"""Anything at all is asked of the studio's server, and it answers with what was asked for or with a
sentence, never with an error of its own.

`DINOTRACK_STUDIO_EXAMPLES` says how many requests are made up for each kind of question, 10 by
default; pytest -s prints how many that were in all.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
pytest.importorskip("httpx2")

import httpx2
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from dinotrack.studio.journal import JOURNAL, read_journal
from dinotrack.studio.security import Door
from tests.studio_edits import edits
from tests.studio_fake import ADDRESS, FRAMES, OURS, Studio, gif, studio_in

EXAMPLES = int(os.environ.get("DINOTRACK_STUDIO_EXAMPLES", "10"))
LISTENS = "/api/projects/{project}/events"
"""What has no end, and is asked with an id of no project alone."""
JSON = {"content-type": "application/json"}
VIDEO = {"content-type": "application/octet-stream"}
FEWER = 5
"""For how many requests one video is uploaded, as FFmpeg looks at each."""


class Asker:
    """Asks a studio, and looks at each answer."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.browser = TestClient(studio.app, ADDRESS, headers=OURS, follow_redirects=False)
        self.answers: Counter[int] = Counter()

    def ask(self, method: str, url: str, **more: Any) -> None:
        """Ask, and raise AssertionError for an answer that is neither good nor a sentence."""
        try:
            answer = self.browser.request(method, url, **more)
        except httpx2.InvalidURL:  # longer than our browser sends
            return
        self.answers[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            said = answer.json()
            assert set(said) == {"problem"}
            assert isinstance(said["problem"], str)
            assert said["problem"].strip()
            assert "\n" not in said["problem"]
            assert len(said["problem"]) < 1000
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """One studio for all, in which there is a fit and there are points."""
    with studio_in(tmp_path_factory.mktemp("fuzz"), Door(most_upload=1 << 20)) as studio:
        asker = Asker(studio)
        asker.browser.post(f"{studio.at}/fit", json={})
        points = [{"t": t, "x": 1.5, "y": 2.5} for t in range(4)]
        studio.edit("add", points=points)
        with asker.browser:
            yield asker
        kept = read_journal(studio.run / JOURNAL).history
        assert kept.document.as_json() == studio.get("").json()["document"]
        total = sum(asker.answers.values())
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(asker.answers.items()))
        print(f"\n{total} requests were answered ({codes})")


def many(examples: int = EXAMPLES) -> settings:
    """So many examples, the same ones each time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_whatever_the_interface_allows_or_not(asker: Asker, mode: GenerationMode) -> None:
    """For each address, what its description allows and what it does not."""
    schema = schemathesis.openapi.from_dict(asker.studio.app.openapi())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        has_input = operation.body or any(True for _ in operation.iter_parameters())
        if mode is GenerationMode.NEGATIVE and not has_input:
            continue

        @many()
        @given(operation.as_strategy(generation_mode=mode), st.integers(0, 3))
        def ask(case: Any, which: int) -> None:
            given = case.path_parameters
            if which and "project" in given and case.operation.path != LISTENS:
                given["project"] = asker.studio.id
            if which > 1 and isinstance(given.get("t"), int):
                given["t"] %= FRAMES
            asker.ask(**sendable(case))

        with contextlib.suppress(Unsatisfiable):  # any text is allowed, as in the name of a file
            ask()


def sendable(case: Any) -> dict[str, Any]:
    """A request of schemathesis as the browser of our tests takes it."""
    asked = dict(case.as_transport_kwargs(base_url=ADDRESS))
    headers = {str(name): as_header(value) for name, value in asked.pop("headers").items()}
    asked.pop("cookies", None)
    data = asked.pop("data", None)
    if data is not None:
        asked["content"] = data
    return asked | {"headers": headers}


def as_header(value: Any) -> bytes:
    return str(value).encode("latin-1", "replace")


@many(4 * EXAMPLES)
@given(edits | st.just({"kind": "undo"}) | st.just({"kind": "redo"}))
def test_edits_that_mostly_apply(asker: Asker, edit: dict[str, Any]) -> None:
    name = edit["kind"] if edit["kind"] in ("undo", "redo") else "edits"
    asker.ask("POST", f"{asker.studio.at}/{name}", json=edit)


@many(2 * EXAMPLES)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from("ef"))
def test_bodies_of_any_bytes(asker: Asker, body: bytes, where: str) -> None:
    path = {"e": "edits", "f": "fit"}[where]
    asker.ask("POST", f"{asker.studio.at}/{path}", content=body, headers=JSON)


numbers = st.floats() | st.integers() | st.booleans() | st.none() | st.text(max_size=3)
values = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@many(2 * EXAMPLES)
@given(edits, st.data())
def test_edits_with_something_else_in_them(
    asker: Asker, edit: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(edit)))
    changed = edit | {key: data.draw(values)}

    body = json.dumps(changed).encode("utf-8", "surrogatepass")  # NaN and Infinity, too
    asker.ask("POST", f"{asker.studio.at}/edits", content=body, headers=JSON)


letters = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
HEADERS = (
    *("host", "origin", "sec-fetch-site", "x-dinotrack", "content-type", "cookie"),
    *("content-length", "transfer-encoding", "range", "if-range", "accept", "authorization"),
)


@many(4 * EXAMPLES)
@given(st.sampled_from(HEADERS), letters, st.sampled_from(("GET", "POST")))
def test_headers_of_any_letters(asker: Asker, name: str, value: str, method: str) -> None:
    path = f"{asker.studio.at}/frames/1.jpg" if method == "GET" else f"{asker.studio.at}/undo"
    asker.ask(method, path, headers={name.encode(): value.encode("latin-1")})


@many(2 * EXAMPLES)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40), st.booleans())
def test_paths_of_any_letters(asker: Asker, path: str, is_inside: bool) -> None:

    base = f"{asker.studio.at}/" if is_inside else "/"
    asker.ask("GET", base + quote(path, safe="/"))


video = gif()


@pytest.mark.filterwarnings("ignore::dinotrack.errors.DinotrackWarning")  # of the damage
@many(max(EXAMPLES // FEWER, 2))
@given(st.integers(0, len(video) - 1), st.integers(0, 255), st.text(max_size=20))
def test_uploads_of_damaged_videos(asker: Asker, place: int, byte: int, name: str) -> None:
    damaged = video[:place] + bytes([byte]) + video[place + 1 :]
    params = {"name": f"{name}.gif"}
    asker.ask("POST", "/api/projects", params=params, content=damaged, headers=VIDEO)
    outside = [path.name for path in asker.studio.folder.iterdir()]
    assert sorted(outside) == ["runs", "video"]


def test_most_of_it_was_understood(asker: Asker) -> None:
    """Or else all of the above would have been refused at the door."""
    assert {200, 404, 409, 422} <= set(asker.answers)
    assert asker.answers[200] > 0.15 * sum(asker.answers.values())


def test_the_folder_of_runs_holds_projects_alone(asker: Asker) -> None:
    runs: Path = asker.studio.runs
    assert all(path.is_dir() for path in runs.iterdir())
