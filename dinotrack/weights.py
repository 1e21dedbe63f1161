"""Finding weights on this machine, and fetching what is missing.

Libraries are loaded when they are needed: looking into folders takes none, the hub and torch only
where files of theirs are looked for.
"""

import os
import re
import socket
import stat
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dinotrack.errors import Argument, DinotrackWarning, InputError, cause_of
from dinotrack.files import KINDS

FOLDER_VARIABLE = "DINOTRACK_WEIGHTS"
PROBE_SECONDS = 2.0
"""Two networks may be wanted, and the answer is due in 5 s."""
PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Origin:
    """Where the weights of one network come from."""

    label: str
    """What messages call the network."""
    files: tuple[str, ...] = ()
    """The names its file may have in a folder, best first."""
    hub: tuple[tuple[str, str], ...] = ()
    """(repository, file) pairs on the Hugging Face hub."""
    url: str = ""
    """A download, whose name ends in -<the first digits of its sha256>."""
    any_file: bool = False
    """Whether $DINOTRACK_WEIGHTS may also name a file of any other name."""
    advice: tuple[str | Argument, ...] = ()
    """What else the user can do, as parts of a message: "or take ...", an argument."""

    @property
    def names(self) -> tuple[str, ...]:
        """File names to look for in folders."""
        return (*self.files, _file_name(self.url)) if self.url else self.files


def find(origin: Origin) -> Path | None:
    """The weights on this machine, or None.

    Looked for in this order: $DINOTRACK_WEIGHTS (a folder or a file), ./weights, the package's own
    folders, the hub's cache, torch's cache. Raises InputError where $DINOTRACK_WEIGHTS names
    nothing.
    """
    return next((path for path in _candidates(origin) if os.path.isfile(path)), None)


def obtain(origin: Origin, offline: bool = False) -> Path:
    """The weights' file: found on this machine, else downloaded with a progress bar.

    offline: nothing is downloaded. Raises InputError, within seconds where there is no network,
    that says what is missing and how to get it.
    """
    path = find(origin)
    if path is not None:
        return path
    if offline or _hub_is_off():
        raise _missing(origin, "and downloads are off")
    try:
        fetched = _fetch(origin)
    except Exception as error:  # the hub's own errors have other bases from version to version
        reason = f"and the download failed: {_first_line(error)}"
        raise _missing(origin, reason) from error
    if fetched is not None:
        return fetched
    if origin.hub or origin.url:
        raise _missing(origin, "and the network can't be reached")
    raise _missing(origin, "and nobody publishes them")


def obtain_or_warn(
    origin: Origin, instead: str, required: bool, offline: bool = False
) -> Path | None:
    """The weights' file as `obtain` gives it, or None where it can't be had.

    Then a DinotrackWarning tells what is missing and what is done `instead`, as in "using no
    backbone". Where the user named what needs these weights, nothing else may take its place: with
    `required` the InputError of `obtain` is raised.
    """
    try:
        return obtain(origin, offline)
    except InputError as missing:
        if required:
            raise
        warning = DinotrackWarning(*missing.args, f"; {instead} instead")
        warnings.warn(warning, stacklevel=2)
        return None


def _candidates(origin: Origin) -> Iterator[Path]:
    chosen = os.environ.get(FOLDER_VARIABLE)
    folders = [Path("weights"), PACKAGE / "shipped", PACKAGE.parent / "weights"]
    if chosen:
        place = _chosen(chosen)
        if place.is_file() and (origin.any_file or place.name in origin.names):
            yield place
        folders.insert(0, place)
    yield from (folder / name for folder in folders for name in origin.names)
    yield from _in_hub_cache(origin)
    yield from (_torch_cache() / name for name in origin.names)


def _chosen(name: str) -> Path:
    """The folder or the file that the user's variable names."""
    try:
        mode = stat.S_IFMT(Path(name).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        problem = "doesn't exist"
    except OSError as error:
        problem = f"can't be read ({cause_of(error)})"
    else:
        if mode == stat.S_IFREG:
            return Path(name)
        if mode != stat.S_IFDIR:
            problem = f"is {KINDS[mode]}"
        elif os.access(name, os.X_OK):
            return Path(name)
        else:
            problem = "you may not look into"
    raise InputError(
        f"{FOLDER_VARIABLE} names {name}, which {problem}; give a folder or a file, or unset it"
    )


def _in_hub_cache(origin: Origin) -> Iterator[Path]:
    for repository, file in origin.hub:
        import huggingface_hub

        cached = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            yield Path(cached)


def _hub_is_off() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _torch_cache() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _fetch(origin: Origin) -> Path | None:
    """Download the weights; None where no place that holds them can be reached."""
    import huggingface_hub

    for repository, file in origin.hub:
        if reachable(huggingface_hub.constants.ENDPOINT):
            return Path(huggingface_hub.hf_hub_download(repository, file))
    if origin.url and reachable(origin.url):
        return _download(origin.url)
    return None


def _download(url: str) -> Path:
    import torch

    path = _torch_cache() / _file_name(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), hash_prefix(path), progress=True)
    return path


def _missing(origin: Origin, why: str) -> InputError:
    files = " or ".join(dict.fromkeys((origin.names[0], origin.names[-1])))
    return InputError(
        f"the weights of {origin.label} are not on this machine {why}; "
        f"put {files} into ./weights (or the folder that ${FOLDER_VARIABLE} names)",
        *((", ", *origin.advice) if origin.advice else ()),
    )


def reachable(url: str) -> bool:
    """Whether the host of a URL, or the proxy in front of it, takes connections.

    The answer comes within PROBE_SECONDS.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    if parts.scheme in proxies and not urllib.request.proxy_bypass(parts.netloc):
        parts = urlsplit(proxies[parts.scheme])
    address = (parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80))
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=PROBE_SECONDS).close()
            connected.set()
        except OSError:
            return

    # A thread because looking up the host's name heeds no timeout.
    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return connected.is_set()


def _file_name(url: str) -> str:
    return Path(urlsplit(url).path).name


def hash_prefix(path: Path) -> str | None:
    """The first digits of the sha256 that a file has by its name, as those of torch's downloads."""
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else None


def _first_line(error: Exception) -> str:
    words = cause_of(error)
    return next(iter(words.splitlines()), type(error).__name__)
