"""How the run was made, and the command that makes it again."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping
from typing import Any

from dinotrack.config import PRESETS, flatten
from dinotrack.errors import printable
from dinotrack.report import markup
from dinotrack.report.story import Story
from dinotrack.training.lessons import is_focus


def repeating_section(story: Story) -> str:
    """The command, what differs from the preset, all settings, and versions."""
    fitted = story.fitted
    parts = [
        markup.paragraph(
            "In the folder of the run, this fits the video anew and follows the same points:"
        ),
        f"<pre>{html.escape(printable(command(story)))}</pre>",
        _lessons(story),
        markup.table(_about(story), "facts"),
    ]
    settings = {key: _typed(value) for key, value in flatten(fitted.config).items()}
    every = markup.table({key: printable(value) for key, value in settings.items()}, "facts")
    parts.append(f'<details><summary>all settings</summary><div class="scroll">{every}</div>')
    parts.append("</details>")
    return "".join(parts)


def _lessons(story: Story) -> str:
    """What the command does not do again: lessons, of which the fit keeps hashes alone."""
    count = sum(not is_focus(name) for name in story.fitted.state.lessons)
    if not count:
        return ""
    times = "once" if count == 1 else f"{count} times"
    return markup.paragraph(
        f"This fit was then taught {times}, by dinotrack teach, which has to be done again too. "
        "tracks_corrections.csv holds the corrections that the tracks pass through."
    )


def command(story: Story) -> str:
    """A line for a shell that fits the video again, and tracks the same points."""
    fitted = story.fitted
    identity = fitted.identity
    words = ["dinotrack", fitted.video.path or "VIDEO", "--queries", "tracks.npz"]
    if story.record.get("corrections") or story.record.get("hidden_stretches"):
        words += ["--corrections", "tracks_corrections.csv"]
    words += ["--preset", fitted.config.preset, "--seed", str(identity.seed), "--out", "again"]
    changed = [f"{key}={_typed(value)}" for key, value in changes(story).items()]
    if changed:
        words += ["--set", *changed]
    return shlex.join(words)


def changes(story: Story) -> dict[str, Any]:
    """The settings that differ from those of the preset."""
    config = story.fitted.config
    usual: Mapping[str, Any] = flatten(PRESETS[config.preset]) if config.preset in PRESETS else {}
    return {
        key: value
        for key, value in flatten(config).items()
        if key != "preset" and usual.get(key, None) != value
    }


def _about(story: Story) -> dict[str, str]:
    fitted = story.fitted
    height, width = fitted.video.size
    points = len(story.tracks.queries)
    facts = {
        "video": f"{len(fitted.video.frames)} frames of {width} x {height}, {fitted.video.fps:g} "
        "a second",
        "hash of the frames": fitted.identity.video_hash,
        "points": f"{points:,}, visible in {100 * _visible(story):.0f} % of frames",
        "steps": f"{fitted.steps:,}",
        "ViT": fitted.config.backbone.name,
        "flow": fitted.config.flow.name,
        "device": str(story.record.get("device", fitted.run.device)),
    }
    versions = story.record.get("versions")
    if isinstance(versions, dict):
        facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    return {name: printable(fact) for name, fact in facts.items()}


def _visible(story: Story) -> float:
    visible = story.tracks.visible
    return float(visible.mean()) if visible.size else 0.0


def _typed(value: Any) -> str:
    """A value as it is typed after --set KEY=."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(_typed(part) for part in value)
    return str(value)
