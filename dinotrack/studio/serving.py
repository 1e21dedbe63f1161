"""Where the studio listens, how browsers are told of it, and how it is served until it ends."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvicorn
from starlette.types import ASGIApp

from dinotrack.errors import InputError, cause_of, shown
from dinotrack.studio.app import make_app
from dinotrack.studio.security import LOOPBACK, Door
from dinotrack.studio.workspace import Workspace

TRIED = 50
"""Ports that are tried one after the other."""
PATIENCE = 3
"""Seconds that answers have to be finished in once the studio ends."""
ELSEWHERE = ("192.0.2.1", 9)
"""A place of no machine, kept free for documentation; nothing is sent there."""


@dataclass(frozen=True)
class Place:
    """Where the studio listens."""

    socket: socket.socket
    host: str
    """As it was asked for."""
    token: str | None = field(default=None, repr=False)
    """What a browser has to know, where other machines reach the studio."""

    @property
    def number(self) -> str:
        """The address that is listened at, as a number."""
        return str(self.socket.getsockname()[0])

    @property
    def hosts(self) -> frozenset[str]:
        """What the studio may be called."""
        return LOOPBACK | {self.host.lower(), self.number}

    @property
    def address(self) -> str:
        """What a browser opens."""
        name = _own_number() if _is_any(self.number) else self.host
        port = self.socket.getsockname()[1]
        token = f"?token={self.token}" if self.token else ""
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/{token}"


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[Place]:
    """Listen at a port, or at the next one that is free. Raises InputError where that can't be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host: {shown(host)} is no address of this machine ({cause_of(error)})"
        ) from None
    family, address = found[0][0], found[0][4][0]
    with _bound(family, str(address), port) as opened:
        number = str(opened.getsockname()[0])
        is_own = ipaddress.ip_address(number).is_loopback
        yield Place(opened, host, None if is_own else secrets.token_urlsafe(32))


def app_at(workspace: Workspace, place: Place) -> ASGIApp:
    """The application that serves a workspace there."""
    names = {socket.gethostname().lower()} if _is_any(place.number) else set()
    door = Door(
        hosts=place.hosts | names,
        by_any_address=_is_any(place.number),
        token=place.token,
        most_upload=workspace.limits.bytes,
    )
    return make_app(workspace, door)


@contextlib.contextmanager
def served(app: ASGIApp, place: Place, workspace: Workspace) -> Iterator[threading.Event]:
    """Serve the application of a workspace in a thread for as long as the block lasts, and close
    the workspace then.

    Gives what is set where the server ends by itself. It is that which one waits for: where Python
    3.11 is interrupted while it waits for a thread, it takes the thread for one that has ended.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )
    server = uvicorn.Server(config)
    ended = threading.Event()

    def serve() -> None:
        try:
            server.run([place.socket])
        finally:
            ended.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        while not (server.started or ended.is_set()):
            time.sleep(0.01)
        yield ended
    finally:
        server.should_exit = True
        workspace.hub.close()  # or the streams of events would be waited for,
        workspace.close()  # and whoever waits for a session
        thread.join()


def show(address: str) -> None:
    """Open the browser, where there is one with a window."""
    has_windows = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if has_windows:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _bound(family: int, address: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError where none of the ports is free."""
    for number in range(port, min(port + TRIED, 65536)):
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere this would let two listen at one port
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, number))
            opened.listen()
        except OSError as error:
            opened.close()
            if error.errno != errno.EADDRINUSE:
                raise InputError(
                    f"the studio can't listen at {address}, port {number} ({cause_of(error)}); "
                    "give another --host or --port"
                ) from None
        else:
            return opened
    raise InputError(f"ports {port} to {number} are all taken; give another --port")


def _is_any(number: str) -> bool:
    """Whether an address stands for all of a machine's."""
    return ipaddress.ip_address(number).is_unspecified


def _own_number() -> str:
    """The address by which other machines know this one, as far as it is known."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
