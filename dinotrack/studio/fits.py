"""Where the fits of a project are kept, and what a new one is asked for.

The fit is in model/, as that of `dinotrack VIDEO` is. One that is made anew with other settings
grows in model-again/ and takes the place of model/ once it is finished.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinotrack.config import Config, flatten
from dinotrack.features import check_name
from dinotrack.files import unwritable
from dinotrack.flow_methods import resolve_flow_name
from dinotrack.options import choose_config, choose_device, with_default_steps
from dinotrack.studio.document import Conflict
from dinotrack.studio.engine import FitWishes
from dinotrack.training import checkpoint
from dinotrack.training.stored import Stored
from dinotrack.video import Video

MODEL = "model"
ANEW = "model-again"
"""Where a fit is made that is to take the place of the one in model/."""
BEFORE = "model-before"
"""What model/ is called for the moment in which it is replaced."""


@dataclass(frozen=True)
class Asked:
    """What `api.fit` is asked for."""

    config: Config
    """As far as it is known before the fit."""
    folder: Path
    preset: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Fits:
    """The fits of a project."""

    project: Path

    @property
    def folder(self) -> Path:
        """Where the fit is that the studio goes on with."""
        anew = self.project / ANEW
        return anew if checkpoint.is_kept(anew) else self.project / MODEL

    def stored(self, folder: Path | None = None) -> Stored | None:
        """The fit that is kept in a folder, by default in that of the project, finished or not.
        Raises InputError where it can't be read."""
        where = folder or self.folder
        return checkpoint.read(where) if checkpoint.is_kept(where) else None

    def asked(self, wishes: FitWishes, video: Video) -> Asked:
        """What a fit is asked for, checked: to go on with the one that is kept, or to begin.

        Raises Conflict where the kept fit has other settings, and InputError for bad ones.
        """
        if not wishes.again:
            stored = self.stored()
            if stored is not None:
                return self._going_on(stored, wishes)
        device = choose_device(None)
        settings = _settings(wishes)
        config = choose_config(wishes.preset, settings, device)
        if wishes.backbone is not None:
            check_name(wishes.backbone)
        if wishes.flow is not None:
            resolve_flow_name(wishes.flow, device)
        if wishes.steps is None:
            config = with_default_steps(config, len(video.frames))
        folder = self.project / (ANEW if checkpoint.is_kept(self.project / MODEL) else MODEL)
        return Asked(config, folder, wishes.preset, settings)

    def make_room(self, asked: Asked, again: bool) -> None:
        """Remove an unfinished fit that is given up for a new one. Raises InputError."""
        if again and asked.folder.name == ANEW:
            _removed(asked.folder)

    def settle(self) -> None:
        """Let a finished fit that was made anew take the place of the one before.

        What a killed server left in between is finished, too. Raises InputError.
        """
        model, anew, before = (self.project / name for name in (MODEL, ANEW, BEFORE))
        try:
            if checkpoint.is_kept(before) and not checkpoint.is_kept(model):
                os.replace(before, model)
            if checkpoint.is_kept(anew):
                stored = checkpoint.read(anew)
                if stored.step >= stored.identity.config.training.steps:
                    if model.exists():
                        os.replace(model, before)
                    os.replace(anew, model)
        except OSError as error:
            raise unwritable(model, error) from error
        if model.exists():
            _removed(before)

    def _going_on(self, stored: Stored, wishes: FitWishes) -> Asked:
        config = stored.identity.config
        told = settings_json(config)
        wished = {name: getattr(wishes, name) for name in told}
        others = [
            f"{name} {told[name]} and not {value}"
            for name, value in wished.items()
            if value not in (None, "auto", told[name])
        ]
        if others:
            raise Conflict(
                f"this video was fitted with {', '.join(others)}; go on with these settings, or "
                "begin again with the others"
            )
        unfinished = stored.step < config.training.steps
        if unfinished and stored.identity.foreground_hash:
            raise Conflict(
                "this fit was begun with masks of the foreground, which the studio does not have; "
                "go on with `dinotrack VIDEO --foreground MASKS`, or begin again"
            )
        usual = choose_config(None, None, choose_device(None)).preset
        preset = None if config.preset == usual else config.preset
        return Asked(config, self.folder, preset, flatten(config), stored.identity.seed)


def settings_json(config: Config) -> dict[str, Any]:
    """The settings of a fit that pages show."""
    return {
        "preset": config.preset,
        "backbone": config.backbone.name,
        "flow": config.flow.name,
        "steps": config.training.steps,
    }


def _settings(wishes: FitWishes) -> dict[str, Any]:
    chosen = {
        "backbone.name": wishes.backbone,
        "flow.name": wishes.flow,
        "training.steps": wishes.steps,
    }
    return {key: value for key, value in chosen.items() if value is not None}


def _removed(folder: Path) -> None:
    """Remove a folder of fits. What can't be removed stays, and does no harm."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
