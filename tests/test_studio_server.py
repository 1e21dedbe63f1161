"""The studio's server: what it answers, and what it refuses, with a session that needs no fit."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from starlette.websockets import WebSocketDisconnect

from dinotrack.errors import InputError
from dinotrack.formats import save
from dinotrack.locks import locked
from dinotrack.progress import silent
from dinotrack.studio import projects, workspace
from dinotrack.studio.journal import JOURNAL, read_journal
from dinotrack.studio.projects import Project
from dinotrack.studio.routes.page import PAGE
from dinotrack.studio.security import MOST_JSON, Door
from dinotrack.studio.workspace import Limits
from dinotrack.tracks import Tracks
from tests.studio_fake import (
    ADDRESS,
    FRAMES,
    HEIGHT,
    OURS,
    WIDTH,
    Studio,
    gif,
    studio_in,
    write_frames,
    write_run,
)

POINT = {"t": 1, "x": 2.25, "y": 3.5}
TOKEN = "the token"
VIDEO = {"content-type": "application/octet-stream"}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio on this machine."""
    with studio_in(tmp_path) as made:
        yield made


@pytest.fixture
def far_studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio that other machines reach."""
    door = Door(frozenset(("studio.example", "127.0.0.1")), token=TOKEN)
    with studio_in(tmp_path, door) as made:
        yield made


def problem_of(answer: Any, status: int) -> str:
    """The sentence of a refusal with that status."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"problem"}
    sentence = str(answer.json()["problem"])
    assert sentence
    assert "\n" not in sentence
    return sentence


# --- what it answers


def test_settings(studio: Studio) -> None:
    settings = studio.browser.get("/api/settings").json()
    assert {"npz", "csv", "nuke"} <= {each["name"] for each in settings["formats"]}
    assert all(set(each) == {"name", "suffix", "what"} for each in settings["formats"])
    assert settings["presets"] == ["fast", "quality", "paper"]
    assert {"auto", "none"} < set(settings["backbones"])
    assert {"auto", "dis"} <= set(settings["flows"])
    assert "trails" in settings["styles"]
    assert settings["max_frames"] == 2000


def test_the_page_and_its_files(studio: Studio) -> None:
    for path in sorted(PAGE.iterdir()):
        answer = studio.browser.get(f"/page/{path.name}")
        assert answer.status_code == 200, path
        assert answer.content == path.read_bytes()
    page = studio.browser.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == (PAGE / "index.html").read_bytes()
    script = studio.browser.get("/page/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"


def test_every_answer_says_what_browsers_may_do_with_it(studio: Studio) -> None:
    for answer in (
        studio.browser.get("/"),
        studio.get(""),
        studio.get("frames/0.jpg"),
        studio.browser.get("/nowhere"),
        studio.browser.get("/", headers={"host": "evil.example"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob: data:;")
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_project_from_the_first_look_to_a_file(studio: Studio) -> None:
    (listed,) = studio.browser.get("/api/projects").json()["projects"]
    assert listed == {
        "id": studio.id,
        "name": "clip",
        "frames": FRAMES,
        "size": [WIDTH, HEIGHT],
        "fitted": False,
        "points": 0,
    }
    state = studio.get("").json()
    assert state["video"] == {"frames": FRAMES, "width": WIDTH, "height": HEIGHT, "fps": 24.0}
    assert (state["revision"], state["undo"], state["redo"]) == (0, None, None)
    assert studio.edit("add", points=[POINT, POINT]) == {"revision": 1, "ids": [0, 1]}
    assert studio.edit("rename", id=1, name="tail") == {"revision": 2, "ids": []}
    assert studio.post("undo").json() == {"revision": 3}
    assert studio.get("").json()["redo"] == "rename 1"
    assert studio.post("redo").json() == {"revision": 4}
    assert studio.post("fit", {"steps": 7, "flow": "dis"}).json()["fit"]["status"] == "done"
    assert studio.session.fits[0].steps == 7
    assert studio.get("losses").json() == {"losses": {"flow": [2.0, 1.0]}}
    (tail,) = studio.get("tracks?ids=1").json()["tracks"]
    assert (tail["id"], tail["xy"][0]) == (1, [2.25, 3.5])
    assert [track["id"] for track in studio.get("tracks").json()["tracks"]] == [0, 1]
    assert studio.get("pictures/correspondence/3?point=1").headers["content-type"] == "image/jpeg"
    taken = studio.get("export/nuke?points=1&start_frame=5&only_visible=true")
    assert taken.headers["content-disposition"] == 'attachment; filename="clip_nuke.nk"'
    assert "points=(1,), start_frame=5, only_visible=True" in taken.text
    assert studio.get("overlay?style=rainbow").text == "rainbow"
    assert studio.get("report").headers["content-disposition"].startswith("attachment")
    assert len(studio.session.taken) == 3
    assert not any(path.parent.exists() for path in studio.session.taken)
    assert studio.browser.get("/api/projects").json()["projects"][0]["points"] == 2


def test_every_edit_is_on_the_disk_once_it_is_answered(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    for number in range(3):
        studio.edit("correct", id=0, t=3, x=float(number), y=0.0)
        kept = read_journal(studio.run / JOURNAL).history
        assert kept.document.points[0].corrections == ((3, float(number), 0.0),)
    studio.post("undo")
    assert read_journal(studio.run / JOURNAL).history.document.points[0].corrections[0][1] == 1


def test_a_project_is_as_it_was_when_it_is_opened_again(tmp_path: Path) -> None:
    with studio_in(tmp_path) as first:
        first.edit("add", points=[POINT])
        first.edit("hide", id=0, t=2, u=4)
        first.post("undo")
        before = first.get("").json()
    shutil.rmtree(tmp_path / "video")
    shutil.rmtree(tmp_path / "runs" / "clip" / "nothing", ignore_errors=True)
    journal = (tmp_path / "runs" / "clip" / JOURNAL).read_bytes()
    shutil.rmtree(tmp_path / "runs")
    with studio_in(tmp_path) as again:
        (again.run / JOURNAL).write_bytes(journal)
        after = again.get("").json()
    assert after["document"] == before["document"]
    assert [after[key] for key in ("revision", "undo", "redo")] == [3, "add a point", "hide 0"]


def test_a_run_begins_with_its_points(studio: Studio) -> None:
    queries = np.array([[0, 1.5, 2.5], [5, 0.25, 3.0]], np.float32)
    tracks = Tracks(
        xy=np.zeros((2, FRAMES, 2), np.float32),
        visible=np.ones((2, FRAMES), bool),
        confidence=np.ones((2, FRAMES), np.float32),
        queries=queries,
        size=(HEIGHT, WIDTH),
        fps=24.0,
        names=("nose", "a\nb"),
    )
    save(tracks, studio.run / "tracks.npz")
    before = (studio.run / "tracks.npz").read_bytes()
    points = studio.get("").json()["document"]["points"]
    assert [(each["id"], each["t"], each["x"], each["y"]) for each in points] == [
        (0, 0, 1.5, 2.5),
        (1, 5, 0.25, 3.0),
    ]
    assert [each["name"] for each in points] == ["nose", "a b"]
    assert studio.session.shown[0].points[0].name == "nose"
    studio.edit("remove", ids=[0])
    assert (studio.run / "tracks.npz").read_bytes() == before


def test_edits_of_many_browsers_are_made_one_after_the_other(studio: Studio) -> None:
    def edit(number: int) -> Any:
        return studio.edit("add", points=[{"t": 0, "x": number / 4, "y": 0}])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(edit, range(40)))
    assert sorted(answer["revision"] for answer in answers) == list(range(1, 41))
    assert sorted(answer["ids"][0] for answer in answers) == list(range(40))
    shown = [len(document.points) for document in studio.session.shown]
    assert shown == list(range(41))
    by_id = {point["id"]: point["x"] for point in studio.get("").json()["document"]["points"]}
    assert all(by_id[answer["ids"][0]] == number / 4 for number, answer in enumerate(answers))


def test_what_waits_for_the_session_holds_nothing_else_up(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    studio.post("fit")
    studio.session.may_go_on.clear()
    with ThreadPoolExecutor(60) as pool:
        slow = [pool.submit(studio.get, "pictures/raw/0") for _ in range(60)]
        assert studio.get("frames/0.jpg").status_code == 200
        assert studio.edit("accept", ids=[0], accepted=True)["revision"] == 2
        studio.session.may_go_on.set()
        assert [each.result().status_code for each in slow] == [200] * 60


def test_an_upload_becomes_a_project(studio: Studio) -> None:
    sent = studio.browser.post("/api/projects?name=My clip.GIF", content=gif(), headers=VIDEO)
    assert sent.status_code == 200, sent.text
    id = sent.json()["id"]
    state = studio.browser.get(f"/api/projects/{id}").json()
    assert (state["name"], state["video"]["frames"]) == ("My-clip", FRAMES)
    assert (studio.runs / "My-clip" / "video.gif").read_bytes() == gif()
    again = studio.browser.post("/api/projects?name=My clip.gif", content=gif(), headers=VIDEO)
    assert again.json()["id"] != id
    names = {each["name"] for each in studio.browser.get("/api/projects").json()["projects"]}
    assert names == {"clip", "My-clip", "My-clip-2"}
    beginning = read_journal(studio.runs / "My-clip" / JOURNAL).beginning
    assert beginning.video == ""


def test_uploads_that_were_killed_are_cleared(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("killed", "used", "strange"):
        (runs / name).mkdir(parents=True)
        (runs / name / ".video.mp4.0123456789abcdef.part").write_bytes(b"half")
    (runs / "strange" / "mine.txt").write_text("mine")
    with locked(runs / "used"):  # another studio is receiving it
        projects.clear(runs)
    assert sorted(path.name for path in runs.iterdir()) == ["strange", "used"]


def test_few_projects_are_open_at_a_time(studio: Studio) -> None:
    for number in range(workspace.MOST_OPEN + 2):
        run = write_run(studio.runs, f"other{number}", studio.video)
        assert studio.browser.get(f"/api/projects/{Project(run).id}").status_code == 200
    is_open = [not session.is_closed for session in studio.sessions]
    assert is_open == [False] * 2 + [True] * workspace.MOST_OPEN
    with locked(studio.runs / "other0"):  # nobody holds it any more
        pass
    for session in studio.sessions[2:]:
        session.status_of_fit = "running"
    assert "videos are open" in problem_of(studio.get(""), 409)


# --- what it refuses: security


NOT_OURS = (
    *("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example"),
    *(
        "",
        "127.0.0.1@evil.example",
        "[::1",
        "[::2]:8765",
        "127.0.0.1:80:80",
        "127.0.0.2",
        "0.0.0.0",
    ),
)


@pytest.mark.parametrize("host", NOT_OURS)
def test_refuses_another_host(host: str, studio: Studio) -> None:
    """A name that an attacker binds to this machine, "DNS rebinding", is told from ours."""
    for path in ("/", "/api/projects", studio.at):
        problem_of(studio.browser.get(path, headers={"host": host}), 403)
    answer = studio.browser.post(f"{studio.at}/undo", json={}, headers={"host": host})
    problem_of(answer, 403)
    assert not studio.sessions


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:8765", "[::1]:8765"])
def test_takes_its_own_hosts(host: str, studio: Studio) -> None:
    assert studio.browser.get("/api/projects", headers={"host": host}).status_code == 200


def test_refuses_two_hosts(studio: Studio) -> None:
    headers = [("host", "127.0.0.1"), ("host", "evil.example")]
    problem_of(studio.browser.get("/api/projects", headers=headers), 403)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:3000",
        "https://127.0.0.1:8765",
        "http://localhost:8765",
        "http://127.0.0.1:8765.evil.example",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refuses_another_origin(method: str, origin: str, studio: Studio) -> None:
    path = f"{studio.at}/undo" if method == "POST" else "/api/projects"
    answer = studio.browser.request(method, path, headers={"origin": origin})
    assert "another site" in problem_of(answer, 403)


def test_takes_its_own_origin(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    own = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    assert studio.browser.post(f"{studio.at}/undo", json={}, headers=own).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
@pytest.mark.parametrize("path", ["/", "/api/projects", "/page/main.js"])
def test_refuses_another_site(path: str, site: str, studio: Studio) -> None:
    answer = studio.browser.get(path, headers={"sec-fetch-site": site})
    assert "another site" in problem_of(answer, 403)


def posts(studio: Studio) -> list[str]:
    """Every address that is posted to, but for uploads."""
    return [f"{studio.at}/{name}" for name in ("edits", "undo", "redo", "fit", "stop")]


@pytest.mark.parametrize("value", [None, "0", "true", "1, 1", ""])
def test_refuses_posts_without_our_header(value: str | None, studio: Studio) -> None:
    """A form or a script of another site can't add it without asking first."""
    del studio.browser.headers["x-dinotrack"]
    headers = {} if value is None else {"x-dinotrack": value}
    for path in posts(studio):
        assert "X-Dinotrack" in problem_of(studio.browser.post(path, json={}, headers=headers), 403)
    sent = studio.browser.post("/api/projects?name=a.gif", content=gif(), headers=VIDEO | headers)
    problem_of(sent, 403)
    assert [path.name for path in studio.runs.iterdir()] == ["clip"]


KINDS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "")


@pytest.mark.parametrize("kind", [*KINDS, "application/jsonp", "text/html; application/json"])
def test_refuses_other_types_of_content(kind: str, studio: Studio) -> None:
    for path in (*posts(studio), "/api/projects?name=a.gif"):
        answer = studio.browser.post(path, content=b"{}", headers={"content-type": kind})
        problem_of(answer, 415)


def test_refuses_bytes_where_json_is_wanted(studio: Studio) -> None:
    for path in ("edits", "fit"):
        answer = studio.browser.post(f"{studio.at}/{path}", content=b"{}", headers=VIDEO)
        problem_of(answer, 415)
    problem_of(studio.browser.post("/api/projects?name=a.gif", json={}), 415)


def test_refuses_other_methods(studio: Studio) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        for path in ("/", studio.at, f"{studio.at}/edits"):
            problem_of(studio.browser.request(method, path), 405)
    problem_of(studio.browser.get(f"{studio.at}/edits"), 405)
    problem_of(studio.browser.post("/api/settings", json={}), 405)


def test_refuses_websockets(studio: Studio) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, studio.browser.websocket_connect("/"):
        pass
    assert closed.value.code == 1008


def test_refuses_without_a_token(far_studio: Studio) -> None:
    browser = far_studio.browser
    for path in ("/", "/page/main.js", "/api/settings", far_studio.at, f"{far_studio.at}/events"):
        assert "token" in problem_of(browser.get(path), 401)
    problem_of(browser.post(f"{far_studio.at}/undo", json={}), 401)
    problem_of(browser.post("/api/projects?name=a.gif", content=gif(), headers=VIDEO), 401)


@pytest.mark.parametrize("token", ["", "wrong", "the token ", "THE TOKEN", "täken", "\udcff"])
def test_refuses_a_wrong_token(token: str, far_studio: Studio) -> None:
    given = token.encode("utf-8", "surrogateescape")
    query = "".join(f"%{byte:02x}" for byte in given)
    problem_of(far_studio.browser.get(f"/?token={query}"), 401)
    cookie = b'%s="%s"' % (Door(token=TOKEN).cookie.encode(), given)
    problem_of(far_studio.browser.get("/api/projects", headers={b"cookie": cookie}), 401)


def test_a_token_in_the_address_becomes_a_cookie(far_studio: Studio) -> None:
    browser = far_studio.browser
    problem_of(browser.get(f"/api/projects?token={TOKEN}"), 401)  # only the page's own address
    entered = browser.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age" not in cookie
    assert browser.get("/api/projects").status_code == 200
    assert browser.get("/api/projects", headers={"host": "studio.example:1"}).status_code == 200
    problem_of(browser.get("/api/projects", headers={"host": "192.168.0.1"}), 403)


@pytest.mark.parametrize("other", ['{"a":1}', "a b", '"', "é", "=", "a\x01"])
def test_cookies_of_other_servers_of_the_machine_shut_nobody_out(
    other: str, far_studio: Studio
) -> None:
    own = f"{Door(token=TOKEN).cookie}={TOKEN}"
    for cookie in (f"other={other}; {own}", f"{own}; other={other}"):
        headers = {b"cookie": cookie.encode()}
        assert far_studio.browser.get("/api/projects", headers=headers).status_code == 200


def test_hosts_of_a_studio_at_every_address() -> None:
    door = Door(frozenset(("mine",)), by_any_address=True, token=TOKEN)
    assert all(map(door.is_called, ("192.168.0.1:8765", "[fe80::1]:80", "mine", "MINE:1")))
    assert not any(map(door.is_called, ("evil.example", "1.2.3.4.evil.example", "[evil]:1")))


PATHS = (
    *(
        "%2e%2e",
        "%2e%2e%2f",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2fclip",
        "%252e%252e",
    ),
    *("....//", "/etc/passwd", "%2fetc%2fpasswd", "clip", "runs/clip", "clip%00", "C:%5Cwindows"),
    *("main.js%00.html", "~root", "index.html/../../app.py", "a" * 300),
)


@pytest.mark.parametrize("path", PATHS)
def test_refuses_paths_in_place_of_names(path: str, studio: Studio) -> None:
    for address in (f"/page/{path}", f"/api/projects/{path}", f"{studio.at}/export/{path}"):
        answer = studio.browser.get(address)
        assert answer.status_code in (404, 405, 422), (address, answer.text)
        assert "problem" in answer.json()
    for address in (f"{studio.at}/frames/{path}.jpg", f"{studio.at}/pictures/{path}/0"):
        assert studio.browser.get(address).status_code in (404, 422)


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "../..a", "C:\\evil", "a\0b", "\u202e"]
)
def test_refuses_paths_in_names_of_uploads(name: str, studio: Studio) -> None:
    """What is left of a name is one folder below the runs."""
    before = {path for path in studio.folder.rglob("*") if studio.runs not in path.parents}
    sent = studio.browser.post(
        "/api/projects", params={"name": f"{name}.gif"}, content=gif(), headers=VIDEO
    )
    assert sent.status_code == 200, sent.text
    after = {path for path in studio.folder.rglob("*") if studio.runs not in path.parents}
    assert after == before
    (made,) = [path for path in studio.runs.iterdir() if path.name != "clip"]
    assert all(letter.isalnum() or letter == "-" for letter in made.name)


@pytest.mark.parametrize("name", ["clip", "clip.exe", "clip.m3u8", "clip.mp4.py", ".gif", ""])
def test_refuses_names_of_no_video(name: str, studio: Studio) -> None:
    sent = studio.browser.post("/api/projects", params={"name": name}, content=gif(), headers=VIDEO)
    problem_of(sent, 422)
    assert [path.name for path in studio.runs.iterdir()] == ["clip"]


def test_refuses_linked_folders(studio: Studio) -> None:
    elsewhere = write_run(studio.folder / "elsewhere", "secret", studio.video)
    (studio.runs / "link").symlink_to(elsewhere)
    names = {each["name"] for each in studio.browser.get("/api/projects").json()["projects"]}
    assert names == {"clip"}
    for folder in (elsewhere, studio.runs / "link"):
        problem_of(studio.browser.get(f"/api/projects/{Project(folder).id}"), 404)


def test_refuses_linked_files(studio: Studio) -> None:
    secret = studio.folder / "secret.jsonl"
    secret.write_text("secret")
    (studio.run / JOURNAL).symlink_to(secret)
    assert "is a link" in problem_of(studio.get(""), 422)
    assert secret.read_text() == "secret"
    run = studio.runs / "upload"
    run.mkdir()
    (studio.folder / "other.gif").write_bytes(gif())
    (run / "video.gif").symlink_to(studio.folder / "other.gif")
    problem_of(studio.browser.get(f"/api/projects/{Project(run).id}"), 404)


# --- what it refuses: limits


def test_refuses_large_bodies_that_are_called_a_video(studio: Studio) -> None:
    for path in posts(studio):
        sent = studio.browser.post(path, content=bytes(MOST_JSON + 1), headers=VIDEO)
        assert sent.status_code in (413, 415)


def test_refuses_large_bodies(studio: Studio) -> None:
    body = b'{"kind": "teach", "x": "' + b"a" * MOST_JSON + b'"}'
    kind = {"content-type": "application/json"}
    for path in posts(studio):
        assert "too large" in problem_of(studio.browser.post(path, content=body, headers=kind), 413)

    def pieces() -> Iterator[bytes]:  # whose length nobody says first
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    answer = studio.browser.post(f"{studio.at}/edits", content=pieces(), headers=kind)
    assert "too large" in problem_of(answer, 413)


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "", "²", "9" * 100])
def test_refuses_strange_lengths(length: str, studio: Studio) -> None:
    headers = {"content-type": "application/json", b"content-length": length.encode("latin-1")}
    answer = studio.browser.post(f"{studio.at}/edits", headers=headers)
    assert answer.status_code in (400, 413)
    assert "problem" in answer.json()


def test_refuses_large_uploads(tmp_path: Path) -> None:
    with studio_in(tmp_path, Door(most_upload=1000), Limits(1000, 2000)) as studio:
        sent = studio.browser.post("/api/projects?name=a.gif", content=bytes(1001), headers=VIDEO)
        assert "too large" in problem_of(sent, 413)

        def pieces() -> Iterator[bytes]:
            for _ in range(30):
                yield bytes(100)

        sent = studio.browser.post("/api/projects?name=a.gif", content=pieces(), headers=VIDEO)
        assert "too large" in problem_of(sent, 413)
        assert [path.name for path in studio.runs.iterdir()] == ["clip"]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"nonsense" * 1000, b"#EXTM3U\n/etc/passwd\n"])
def test_refuses_uploads_that_are_no_video(content: bytes, studio: Studio) -> None:
    sent = studio.browser.post("/api/projects?name=a.mp4", content=content, headers=VIDEO)
    problem_of(sent, 422)
    assert [path.name for path in studio.runs.iterdir()] == ["clip"]


def test_refuses_too_many_frames(tmp_path: Path) -> None:
    with studio_in(tmp_path, limits=Limits(frames=FRAMES - 1)) as studio:
        sent = studio.browser.post("/api/projects?name=a.gif", content=gif(), headers=VIDEO)
        assert "more than 5 frames" in problem_of(sent, 422)
        assert [path.name for path in studio.runs.iterdir()] == ["clip"]
        fewer = gif(FRAMES - 1)
        sent = studio.browser.post("/api/projects?name=a.gif", content=fewer, headers=VIDEO)
        assert sent.status_code == 200


NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 5000,
    "1e300",
    "null",
    '"1"',
    "[]",
    "true",
)


@pytest.mark.parametrize("number", NUMBERS)
def test_refuses_numbers_that_are_none_or_too_large(number: str, studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    kind = {"content-type": "application/json"}
    for t, x in ((1, number), (number, 1)):
        edit = f'{{"kind": "correct", "id": 0, "t": {t}, "x": {x}, "y": 1}}'
        answer = studio.browser.post(f"{studio.at}/edits", content=edit, headers=kind)
        assert answer.status_code in (400, 422), answer.text
        assert "problem" in answer.json()
    answer = studio.browser.post(f"{studio.at}/fit", content=f'{{"steps": {number}}}', headers=kind)
    assert number == "null" or answer.status_code in (400, 422)
    assert studio.get("").json()["revision"] == 1


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_refuses_deep_json(opening: bytes, studio: Studio) -> None:
    for body in (opening * 100_000, opening * 1000 + b"1" + b"]" * 1000):
        kind = {"content-type": "application/json"}
        for path in ("edits", "fit"):
            answer = studio.browser.post(f"{studio.at}/{path}", content=body, headers=kind)
            assert answer.status_code in (400, 422)
            assert "problem" in answer.json()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe{}", b"null", b"[]", b'"teach"', b"1"])
def test_refuses_what_is_no_edit(body: bytes, studio: Studio) -> None:
    kind = {"content-type": "application/json"}
    answer = studio.browser.post(f"{studio.at}/edits", content=body, headers=kind)
    assert answer.status_code in (400, 422)
    assert answer.json()["problem"]


def test_refuses_unknown_ids(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    studio.post("fit")
    problem_of(studio.browser.get("/api/projects/0123456789abcdef"), 404)
    problem_of(studio.browser.post("/api/projects/nobody/undo", json={}), 404)
    assert "no point 9" in problem_of(studio.post("edits", {"kind": "remove", "ids": [9]}), 409)
    problem_of(studio.get("export/csv?points=0,9"), 409)
    problem_of(studio.get("pictures/correlation/0?point=9"), 409)
    assert studio.get("tracks?ids=9").json() == {"tracks": []}  # it may have gone just now
    for ids in ("x", "0;1", "-1", "1.5", "9" * 20, "٣"):
        problem_of(studio.get(f"tracks?ids={ids}"), 422)
        problem_of(studio.get(f"export/csv?points={ids}"), 422)


def test_refuses_unknown_frames_formats_pictures_and_styles(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    studio.post("fit")
    problem_of(studio.get(f"frames/{FRAMES}.jpg"), 404)
    problem_of(studio.get("frames/-1.jpg"), 422)
    problem_of(studio.get(f"frames/{'9' * 5000}.jpg"), 422)
    problem_of(studio.get(f"pictures/raw/{FRAMES}"), 404)
    problem_of(studio.get("pictures/secret/0"), 422)
    assert "unknown format" in problem_of(studio.get("export/exe"), 422)
    problem_of(studio.get("overlay?style=/etc/passwd"), 422)
    problem_of(studio.get("export/csv?start_frame=1e3"), 422)
    problem_of(studio.get("export/csv?only_visible=maybe"), 422)


def test_refuses_too_many_points(studio: Studio) -> None:
    studio.edit("add", points=[POINT] * 5000)
    answer = studio.post("edits", {"kind": "add", "points": [POINT]})
    assert "5001 points are too many" in problem_of(answer, 409)


def test_refuses_what_needs_a_fit_before_there_is_one(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    studio.edit("correct", id=0, t=3, x=1, y=1)
    for path in ("pictures/raw/0", "export/csv", "overlay", "report"):
        problem_of(studio.get(path), 409)
    assert "fit the video" in problem_of(studio.post("edits", {"kind": "teach"}), 409)
    studio.post("fit")
    studio.edit("teach")
    assert studio.get("").json()["undo"] == "teach"


def test_refuses_undo_and_redo_of_nothing(studio: Studio) -> None:
    assert problem_of(studio.post("undo"), 409) == "there is nothing to undo"
    assert problem_of(studio.post("redo"), 409) == "there is nothing to redo"


def test_refuses_strange_fits(studio: Studio) -> None:
    for wishes in ({"steps": 0}, {"steps": 1.5}, {"preset": ""}, {"again": 1}, {"path": "x"}, []):
        problem_of(studio.post("fit", wishes), 422)
    assert not studio.session.fits


# --- what it refuses: projects that can't be opened


def test_refuses_a_project_that_another_studio_has_open(studio: Studio) -> None:
    with locked(studio.run):
        assert "is in use by" in problem_of(studio.get(""), 409)
    assert studio.get("").status_code == 200
    with pytest.raises(InputError, match="is in use by"), locked(studio.run):
        pass


def test_refuses_a_damaged_journal(studio: Studio) -> None:
    studio.get("")
    studio.workspace.close()
    with studio_in(studio.folder / "again") as again:
        shutil.copy(studio.run / JOURNAL, again.run / JOURNAL)
        with (again.run / JOURNAL).open("ab") as file:
            file.write(b'{"kind": "remove"}\n{"kind": "teach"}\n')
        assert "line 2 is damaged" in problem_of(again.get(""), 422)
        with locked(again.run):  # it is not held by what failed
            pass


def test_refuses_a_project_without_its_video(studio: Studio) -> None:
    shutil.rmtree(studio.video)
    assert "no such file or folder" in problem_of(studio.get(""), 422)
    (studio.run / "run.json").write_text("{}")
    assert "does not say where its video lies" in problem_of(studio.get(""), 422)


def test_refuses_another_video_than_that_of_the_project(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        studio.get("")
    other = write_frames(tmp_path / "other", FRAMES + 1)
    with studio_in(tmp_path / "again") as again:
        shutil.copy(studio.run / JOURNAL, again.run / JOURNAL)
        with pytest.raises(InputError, match="is of a video of 6 frames"):
            again.workspace.begin(Project(again.run), other, silent)


def test_a_bug_is_a_sentence_too(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    def broken(self: Any) -> dict[str, Any]:
        raise RuntimeError("secret")

    studio.get("")
    monkeypatch.setattr(type(studio.session), "losses", broken)
    browser = TestClient(studio.app, ADDRESS, raise_server_exceptions=False, headers=OURS)
    answer = browser.get(f"{studio.at}/losses")
    assert "bug of ours" in problem_of(answer, 500)
    assert "secret" not in answer.text


def test_nothing_is_opened_once_the_studio_closes(studio: Studio) -> None:
    studio.workspace.close()
    assert "closing" in problem_of(studio.get(""), 409)
    assert threading.active_count() < 60


def test_projects_whose_files_are_nonsense_are_listed_all_the_same(studio: Studio) -> None:
    for name, text in (("a", "["), ("b", '{"video": []}'), ("c", '{"points": -1}'), ("d", "")):
        (studio.runs / name).mkdir()
        (studio.runs / name / "run.json").write_text(text)
    (studio.runs / "d" / JOURNAL).write_text(json.dumps({"studio": 9}))
    (studio.runs / "empty").mkdir()
    (studio.runs / "file").write_text("")
    told = studio.browser.get("/api/projects").json()["projects"]
    assert [each["name"] for each in told] == ["a", "b", "c", "clip", "d"]
    assert all(each["frames"] in (None, FRAMES) for each in told)


def test_a_folder_whose_name_is_no_text_hides_no_other(studio: Studio) -> None:
    folder = studio.runs / os.fsdecode(b"a\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only text for names")
    (folder / "run.json").write_text("{}")
    told = studio.browser.get("/api/projects").json()["projects"]
    assert [each["name"] for each in told] == ["a\\udcff", "clip"]
    assert "a\\udcff" in problem_of(studio.browser.get(f"/api/projects/{told[0]['id']}"), 422)


def test_edits_are_refused_once_the_folder_is_gone(studio: Studio) -> None:
    studio.edit("add", points=[POINT])
    kept = studio.run.rename(studio.folder / "kept")
    assert "was removed" in problem_of(studio.post("undo"), 422)
    shutil.copytree(kept, studio.run)
    assert "replaced" in problem_of(studio.post("edits", {"kind": "remove", "ids": [0]}), 422)
    assert len(studio.get("").json()["document"]["points"]) == 1
    shutil.rmtree(studio.run)
    kept.rename(studio.run)
    studio.edit("remove", ids=[0])
    assert not read_journal(studio.run / JOURNAL).history.document.points
