"""Every number of the method, the presets, and how settings are changed and stored.

`numbers` holds the settings, each with its meaning, type and bounds, `inference` those of tracking,
and `presets` the values that differ in `fast`, `quality` and `paper`. `settings` reads and writes
them by keys such as "training.steps". `section` is what makes each section check itself.
"""

from dinotrack.config.inference import (
    ChainConfig,
    ConfidenceConfig,
    InferenceConfig,
    MatchingConfig,
    MemoryConfig,
    PatchConfig,
    PathConfig,
    RefindingConfig,
    SmoothingConfig,
    SupportConfig,
)
from dinotrack.config.numbers import (
    BackboneConfig,
    BuddyConfig,
    Config,
    FlowConfig,
    FocusConfig,
    ForegroundConfig,
    ModelConfig,
    ShotConfig,
    TeachingConfig,
    TrainingConfig,
    TrajectoryConfig,
    VideoConfig,
)
from dinotrack.config.presets import FAST, PAPER, PRESETS, QUALITY, preset
from dinotrack.config.settings import (
    GONE,
    RENAMED,
    difference,
    flatten,
    from_dict,
    override,
    parse_assignment,
    to_dict,
)

__all__ = [
    "FAST",
    "GONE",
    "PAPER",
    "PRESETS",
    "QUALITY",
    "RENAMED",
    "BackboneConfig",
    "BuddyConfig",
    "ChainConfig",
    "ConfidenceConfig",
    "Config",
    "FlowConfig",
    "FocusConfig",
    "ForegroundConfig",
    "InferenceConfig",
    "MatchingConfig",
    "MemoryConfig",
    "ModelConfig",
    "PatchConfig",
    "PathConfig",
    "RefindingConfig",
    "ShotConfig",
    "SmoothingConfig",
    "SupportConfig",
    "TeachingConfig",
    "TrainingConfig",
    "TrajectoryConfig",
    "VideoConfig",
    "difference",
    "flatten",
    "from_dict",
    "override",
    "parse_assignment",
    "preset",
    "to_dict",
]
