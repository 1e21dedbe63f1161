"""Who may ask, and how: what a request has to be before anything looks at what it asks for.

A page of another site may send requests to this machine, too. It can't make them look like those of
our own page: browsers say where a request comes from (Origin, Sec-Fetch-Site), and by which name
they found us (Host, which a name that was bound anew, "DNS rebinding", gives away), and let nobody
else add a header of ours without asking us. Where other machines reach the studio, a token says who
may.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinotrack.errors import printable

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
MOST_JSON = 1 << 20
"""Bytes of a body of JSON."""
OURS = "x-dinotrack"
"""A header that our page adds to what changes anything. Its value is 1."""
JSON = "application/json"
BYTES = "application/octet-stream"
UPLOADS = "/api/projects"
"""Where videos are sent. Nothing else takes bytes, or more than MOST_JSON of them."""

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Of every answer that does not say something else."""


@dataclass(frozen=True)
class Door:
    """How the studio can be reached."""

    hosts: frozenset[str] = LOOPBACK
    """What it may be called, without the port."""
    by_any_address: bool = False
    """Whether it may also be called by any number of a machine. No name can be bound anew to make
    a browser write a number there."""
    token: str | None = field(default=None, repr=False)
    """What a browser has to know; None where no other machine can ask."""
    most_upload: int = 1 << 30
    """Bytes of a video."""

    def is_called(self, host: str) -> bool:
        """Whether a Host is ours."""
        name = _without_port(host)
        return name in self.hosts or (self.by_any_address and _is_address(name))

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the token. Several studios on one machine share their
        cookies, so each has its own."""
        named = hashlib.sha256((self.token or "").encode()).hexdigest()
        return f"dinotrack-{named[:12]}"

    def fits(self, given: str | None) -> bool:
        """Whether that is the token, found out in the same time whatever it is."""
        wanted = (self.token or "").encode()
        return secrets.compare_digest((given or "").encode("utf-8", "replace"), wanted)


class Guard:
    """Lets only those requests through that may ask, and limits what they send."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _with_headers(send))
        else:  # a websocket, which there is no use for here
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        kind = BYTES if scope["path"] == UPLOADS else JSON
        limit = self._door.most_upload if kind == BYTES else MOST_JSON
        try:
            _check_host(headers, self._door)
            _check_origin(headers, scope["scheme"])
            entered = self._check_token(scope, headers)
            _check_method(scope["method"], headers, kind)
            _check_length(headers, limit)
        except HTTPException as error:
            await problem(error.status_code, error.detail)(scope, receive, send)
            return
        if entered is not None:
            await entered(scope, receive, send)
        else:
            await self._app(scope, _limited(receive, limit), send)

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Raise HTTPException for a browser that does not know the token; the answer to one that
        tells it in the address, which puts it into a cookie."""
        door = self._door
        if door.token is None:
            return None
        if scope["path"] == "/" and scope["method"] == "GET":
            told = parse_qs(scope["query_string"].decode("latin-1")).get("token")
            if told and door.fits(told[0]):
                answer = RedirectResponse("/", status_code=303)
                answer.set_cookie(door.cookie, door.token, httponly=True, samesite="strict")
                return answer
        if not door.fits(_cookie(headers, door.cookie)):
            raise HTTPException(
                401, "open the address that dinotrack studio has printed, with its token"
            )
        return None


def problem(status: int, sentence: str) -> Response:
    """The answer that says what is wrong."""
    return JSONResponse({"problem": printable(sentence)}, status_code=status)


def _check_host(headers: Headers, door: Door) -> None:
    """Raise HTTPException where we are called by a name that is not ours."""
    told = headers.getlist("host")
    if len(told) != 1 or not door.is_called(told[0]):
        raise HTTPException(
            403, "this studio is not reached by that name; open the address that it has printed"
        )


def _without_port(host: str) -> str:
    """The name in a Host, lower case; that of IPv6 without its brackets."""
    if host.startswith("["):
        name, end, rest = host[1:].partition("]")
        is_port = not rest or (rest[:1] == ":" and rest[1:].isdecimal())
        is_sound = ":" in name and bool(end) and is_port
    else:
        name, colon, port = host.partition(":")
        is_sound = not colon or port.isdecimal()
    return name.lower() if is_sound else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_origin(headers: Headers, scheme: str) -> None:
    """Raise HTTPException for what another site has sent."""
    site = headers.getlist("sec-fetch-site")
    if any(value not in ("same-origin", "none") for value in site):
        raise HTTPException(
            403, "another site has asked for this; type the address of the studio instead"
        )
    own = f"{scheme}://{headers['host']}".lower()
    if any(origin.lower() != own for origin in headers.getlist("origin")):
        raise HTTPException(403, "another site has asked for this, which it may not")


def _check_method(method: str, headers: Headers, wanted: str) -> None:
    """Raise HTTPException for what changes something and does not come from our page.

    wanted: the type of the content.
    """
    if method in ("GET", "HEAD"):
        return
    if method != "POST":
        raise HTTPException(405, f"the studio knows no {method[:20]}; ask with GET or POST")
    if headers.getlist(OURS) != ["1"]:
        raise HTTPException(403, "the header X-Dinotrack: 1 is missing, which our page sends")
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    kind = _kind(headers)
    if kind != wanted and (kind or has_body):
        raise HTTPException(415, f"send {wanted} to this address")


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_length(headers: Headers, limit: int) -> None:
    """Raise HTTPException where a request says that it is too large."""
    told = headers.get("content-length", "0")
    if not (told.isascii() and told.isdecimal()):
        raise HTTPException(400, "Content-Length is no number")
    if int(told[:20]) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> HTTPException:
    size = f"{limit / (1 << 20):.4g} MB"
    return HTTPException(413, f"that is too large; at most {size} are taken")


def _limited(receive: Receive, limit: int) -> Receive:
    """A `receive` that raises HTTPException once more has come than may."""
    came = 0

    async def counted() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > limit:
            raise _too_large(limit)
        return message

    return counted


def _with_headers(send: Send) -> Send:
    """A `send` that adds our headers to an answer, as far as it has none of that name."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent


def _cookie(headers: Headers, name: str) -> str | None:
    """A cookie of ours, whatever those of others look like: all of a machine's servers share them,
    at every port."""
    return cookie_parser(headers.get("cookie", "")).get(name)
