"""What the README shows, works."""

import re
from pathlib import Path
from typing import Any

import pytest

import dinotrack
from dinotrack.formats import FORMATS
from dinotrack.render import STYLES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def example() -> str:
    """The Python block as it stands, but for the video's name, fewer steps and fewer points."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shorter = {
        '"my.mp4", queries)': '"my.mp4", queries, settings={"training.steps": 2})',
        '"training.steps": 2000': '"training.steps": 2',
        "grid=32": "grid=4",
        "my.mp4": str(ROOT / "videos" / "demo.mp4"),
    }
    for shown, run in shorter.items():
        assert shown in code
        code = code.replace(shown, run)
    return code


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    track, fit = example().split("\n\nfitted = ")
    names: dict[str, Any] = {}
    exec(track, names)
    first = names["tracks"]
    assert (first.xy.shape, first.visible.shape, first.confidence.shape) == (
        (2, 30, 2),
        (2, 30),
        (2, 30),
    )
    exec(f"fitted = {fit}", names)
    assert names["tracks"].xy.shape == (4 * 4, 30, 2)
    assert (names["tracks"].queries[:, 0] == 5).all()
    assert names["fitted"].steps == 2
    assert dinotrack.read_video(tmp_path / "overlay.mp4").frames.shape == (30, 216, 384, 3)


def test_two_commands_for_a_fresh_machine() -> None:
    job, tests = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert "pip install" in job
    assert job.endswith("track.py videos/demo.mp4")
    assert "pip install" in tests
    assert tests.endswith("-m pytest")


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_names_all_outputs_and_presets() -> None:
    for name in (*FORMATS, *dinotrack.PRESETS, "overlay.mp4", "run.json", "model/"):
        assert f"`{name}`" in README, name
    assert "trails" in STYLES
