"""What every stage of a run is given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dinotrack.cache import Cache
from dinotrack.config import Config, override
from dinotrack.progress import Progress, Watch


@dataclass(frozen=True)
class Run:
    """One run of the method on one video."""

    config: Config
    """Every number of the method."""
    device: torch.device
    """Where networks run."""
    seed: int = 0
    """Of all random numbers."""
    watch: Watch = field(default_factory=Watch)
    """Who is told how far the stages are."""
    cache: Cache = field(default_factory=Cache)
    """Where flow and frozen features of the video are kept."""
    required: bool = False
    """Whether the flow must be the one that the preset means, as the user chose it: weights that
    can't be had are an InputError then, and no other flow takes their place."""

    @property
    def progress(self) -> Progress:
        """The watch's callback."""
        return self.watch.progress

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Note what happens inside under the name of a stage."""
        return self.watch.stage(name)

    def with_settings(self, settings: Mapping[str, Any]) -> Run:
        """The same run with some settings changed, by their keys."""
        return replace(self, config=override(self.config, settings))

    def unwatched(self) -> Run:
        """The same run, of which nobody is told how far it is, and which notes nothing."""
        return replace(self, watch=Watch())
