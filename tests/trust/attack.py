"""What an attack of tests.trust.hostile is: files, a command, and what must come of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTES = 2500.0
QUICK = ("--preset", "fast", "--grid", "3", "--set", "training.steps=2", "--no-overlay")


@dataclass
class Attack:
    """What an attack needs, and what it has made."""

    home: Path
    clip: Path
    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (2,)
    """Exit codes that are right."""
    frames: int = 0
    """Frames that must have been read where the run goes well; 0: not looked at."""
    megabytes: float = MEGABYTES
    """Memory that is right at most."""
    late: bool = False
    """Whether it may be refused as late as after the fit."""
    where: Path | None = None
    """The current folder of the run."""
    untouched: list[Path] = field(default_factory=list)
    """Files that must be what they were."""
    absent: list[Path] = field(default_factory=list)
    """Files that must not appear."""
    planted: Callable[[int], None] | None = None
    """What the attacker does while the run with that process id starts."""

    @property
    def out(self) -> Path:
        """Where results go."""
        return self.home / "out"

    def track(self, video: Path | str, *more: str | Path) -> None:
        """The command: `track.py` on a video, with further options."""
        options = [*QUICK, *map(str, more)]
        if "--queries" in options:
            del options[2:4]
        if "--out" not in options:
            options += ["--out", str(self.out)]
        self.argv = [*options, "--", str(video)]
