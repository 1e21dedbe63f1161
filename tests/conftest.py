"""Fixtures all tests share."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

import tests.shapes  # noqa: F401  the import hook below looks for it
from tests.golden import Golden

if not torch.cuda.is_available():
    # Triton reads this when it is imported: kernels then run in its interpreter, on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

if "PYTEST_XDIST_WORKER" in os.environ:
    # several processes run tests at once, one for each core, and so do the commands that they run
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent

# Every call checks that arguments and results have the shapes that their types say. Kernels are
# left out, as Triton reads their source, the config, as it checks itself, and the terminal, which
# takes whatever stream a test gives it.
UNCHECKED = ("config", "kernels", "terminal")
CHECKED = [
    f"dinotrack.{path.stem}"
    for path in sorted((ROOT / "dinotrack").iterdir())
    if path.stem not in UNCHECKED and not path.stem.startswith("_")
]
install_import_hook(CHECKED, "tests.shapes.check")


@pytest.fixture(scope="module", autouse=True)
def cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINOTRACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with no weights, no hub cache and no network; a folder where weights may be put."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("dinotrack.weights.PACKAGE", tmp_path / "package" / "dinotrack")
    monkeypatch.setattr("dinotrack.weights.reachable", lambda url: False)
    return tmp_path


@pytest.fixture(scope="session")
def golden() -> Golden:
    """golden(name): the arrays of one golden file (numbers of the reference implementation)."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(ROOT / "tests" / "data" / "golden" / f"{name}.npz") as file:
            return dict(file)

    return load


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and truth (never committed); skips where it is absent."""
    from dinotrack.benchmarks.datasets import data_folder  # once shapes are checked

    folder = data_folder()
    if not (folder / "eval").is_dir():
        pytest.skip(
            "no evaluation data: set DINOTRACK_DATA to the folder that holds eval/, clips/ and bad/"
        )
    return folder


@pytest.fixture(scope="session")
def shared_score(shared_data: Path) -> ModuleType:
    """The module that scores tracks in the shared folder, eval/score.py."""
    spec = importlib.util.spec_from_file_location("score", shared_data / "eval" / "score.py")
    assert spec is not None
    assert spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    return score
