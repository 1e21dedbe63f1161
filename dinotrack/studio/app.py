"""The server of the studio: an application that answers what browsers ask.

`make_app` puts it together. It owns nothing: the workspace holds the projects, and whoever made it
closes it.
"""

from __future__ import annotations

from typing import cast

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from dinotrack.errors import InputError
from dinotrack.locks import InUse
from dinotrack.studio.document import Conflict
from dinotrack.studio.routes import edits, fit, looks, page, projects, taking
from dinotrack.studio.security import Door, Guard, problem
from dinotrack.studio.shapes import problem_of
from dinotrack.studio.workspace import Workspace

WAITING = 8
"""Threads that wait for sessions."""
BUG = "that is a bug of ours; the terminal of dinotrack studio tells more, please report it"
TOPICS = (page, projects, edits, fit, looks, taking)


def make_app(workspace: Workspace, door: Door) -> FastAPI:
    """The application that serves a workspace."""
    app = FastAPI(
        title="dinotrack studio",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.workspace = workspace
    app.state.limiter = anyio.CapacityLimiter(WAITING)
    for topic in TOPICS:
        app.include_router(topic.router)
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _turned_away)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(Guard, door=door)
    return app


def _refused(request: Request, error: Exception) -> Response:
    """What can't be done now is 409, what is wrong in itself 422."""
    return problem(409 if isinstance(error, Conflict | InUse) else 422, str(error))


def _misshapen(request: Request, error: Exception) -> Response:
    return problem(422, problem_of(cast(RequestValidationError, error).errors()))


def _turned_away(request: Request, error: Exception) -> Response:
    known = cast(HTTPException, error)
    return problem(known.status_code, SENTENCES.get(known.detail, known.detail))


SENTENCES = {
    "Not Found": "the studio has no such page",
    "Method Not Allowed": "that can't be asked in this way",
    "There was an error parsing the body": "what was sent is no JSON",
}
"""What the libraries say -> what we say."""


def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this answer: the browser left before it had sent all."""
    return problem(400, "the connection was closed too early")


def _bug(request: Request, error: Exception) -> Response:
    return problem(500, BUG)
