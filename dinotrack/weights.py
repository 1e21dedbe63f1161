"""Finding weights on this machine, fetching what is missing, and reading them safely."""

import hashlib
import json
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import safetensors
import safetensors.torch
import torch
from huggingface_hub import constants
from torch import Tensor

from dinotrack.errors import InputError

FOLDER_VARIABLE = "DINOTRACK_WEIGHTS"
PROBE_SECONDS = 2.0  # two networks may be wanted, and the answer is due in 5 s
PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Source:
    """Where the weights of one network come from.

    label: what to call it in messages. files: the names its file may have in a folder, best first.
    hub: (repository, file) pairs on the Hugging Face hub. url: a download whose name ends in
    -<sha256 prefix>.
    any_file: whether DINOTRACK_WEIGHTS may also name a file of any other name. advice: what else
    the user can do.
    """

    label: str
    files: tuple[str, ...] = ()
    hub: tuple[tuple[str, str], ...] = ()
    url: str = ""
    any_file: bool = False
    advice: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """File names to look for in folders."""
        return (*self.files, Path(urlsplit(self.url).path).name) if self.url else self.files


def find(source: Source) -> Path | None:
    """The weights on this machine: $DINOTRACK_WEIGHTS (folder or file), ./weights, the package's
    own, hub caches.

    Raises InputError where $DINOTRACK_WEIGHTS names nothing.
    """
    return next((path for path in _candidates(source) if path.is_file()), None)


def _candidates(source: Source) -> Iterator[Path]:
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen and not Path(chosen).exists():
        raise InputError(
            f"{FOLDER_VARIABLE} names {chosen}, which doesn't exist; give a folder or a file, or unset it"
        )
    if chosen and Path(chosen).is_file() and (source.any_file or Path(chosen).name in source.names):
        yield Path(chosen)
    folders = [Path(chosen)] if chosen else []
    folders += [Path("weights"), PACKAGE / "shipped", PACKAGE.parent / "weights"]
    yield from (folder / name for folder in folders for name in source.names)
    for repository, file in source.hub:
        cached = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            yield Path(cached)
    yield from (_torch_cache() / name for name in source.names)


def obtain(source: Source, offline: bool = False) -> Path:
    """The weights' file: found on this machine (`find`), else downloaded with a progress bar unless
    offline.

    Raises InputError, within seconds where there is no network, that says what is missing and how
    to get it.
    """
    path = find(source)
    if path is not None:
        return path
    if offline or constants.HF_HUB_OFFLINE:
        raise InputError(_missing(source, "and downloads are off"))
    try:
        for repository, file in source.hub:
            if reachable(constants.ENDPOINT):
                return Path(huggingface_hub.hf_hub_download(repository, file))
        if source.url and reachable(source.url):
            return _download(source.url)
    except Exception as error:  # the hub's own errors have other bases from version to version
        raise InputError(
            _missing(source, f"and the download failed: {_first_line(error)}")
        ) from error
    why = (
        "and the network can't be reached"
        if source.hub or source.url
        else "and nobody publishes them"
    )
    raise InputError(_missing(source, why))


def _missing(source: Source, why: str) -> str:
    files = " or ".join(dict.fromkeys((source.names[0], source.names[-1])))
    advice = f"put {files} into ./weights (or the folder ${FOLDER_VARIABLE} names) {source.advice}".strip()
    return f"the weights of {source.label} are not on this machine {why}; {advice}"


def reachable(url: str) -> bool:
    """Whether the host of a URL (or the proxy in front of it) takes connections, answered within
    PROBE_SECONDS."""
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


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _download(url: str) -> Path:
    path = _torch_cache() / Path(urlsplit(url).path).name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), _hash_prefix(path), progress=True)
    return path


def _hash_prefix(path: Path) -> str | None:
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else None


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch one (never unpickling code), on CPU.

    A name that ends in -<hash>, as torch's downloads do, must fit the content. Raises InputError
    for a damaged file.
    """
    prefix = _hash_prefix(path)
    try:
        if prefix and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(prefix):
            raise ValueError("its content does not fit the hash in its name")
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"can't read the weights {path}: {_first_line(error)}; fetch the file again"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no weights by name; give a state dict")
    return dict(content)


def facts(path: Path) -> dict[str, Any]:
    """What a .safetensors file of ours says of itself: the JSON values of its metadata.

    Raises InputError for a damaged file, or one that says nothing.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: json.loads(value) for key, value in file.metadata().items()}
    except Exception as error:
        raise InputError(
            f"can't read what {path} holds: {_first_line(error)}; fetch the file again"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def load_into(model: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Fill a model with weights, every one of them.

    Raises InputError where they don't fit; path is for the message.
    """
    try:
        model.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"the weights {path} don't fit the network: {detail}") from error
