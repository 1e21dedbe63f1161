"""Damage files of a run and of the cache, and look whether anything wrong is believed.

Each try damages one file, and then either gives the same command again, in this process, or opens
the file through the API. It must be refused in one sentence, or the results must be those of the
undisturbed run. A try in which nothing was changed does not count.
"""

import contextlib
import io
import os
import random
import shutil
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dinotrack
from dinotrack import cli
from dinotrack.formats import load_tracks
from tests.same import same
from tests.trust import report, runs

STEPS = 12
REFUSED = "refused"
AS_BEFORE = "as before"
BAD = ("silently wrong", "lost", "traceback", "exit code")
"""How the outcomes begin that must not be."""


def family(file: str) -> str:
    """The name of a file without its hash."""
    return file.split("-")[0] if file.startswith("cache") else file


@dataclass(frozen=True)
class Runs:
    """Undisturbed runs of one clip, and of others whose files are put in their place."""

    clip: Path
    finished: Path
    unfinished: Path
    others: tuple[Path, ...]
    """Another video; the same one with other settings."""
    whole: Mapping[str, str]
    """The content of each file of the finished run, as hashes."""


@dataclass(frozen=True)
class Damage:
    """What happens to one file, and who reads it then."""

    number: int
    state: str
    """finished or unfinished: the run whose file it is."""
    file: str
    kind: str
    door: str
    """command or API."""

    def __str__(self) -> str:
        file = family(self.file)
        return f"#{self.number} {file} {self.kind}, {self.state} run, through the {self.door}"


def halved(content: bytes, rng: random.Random) -> bytes:
    """The first half."""
    return content[: len(content) // 2]


def cut(content: bytes, rng: random.Random) -> bytes:
    """Cut somewhere, often close to the end."""
    most = rng.choice((len(content), min(len(content), 64)))
    return content[: len(content) - rng.randint(1, max(most, 1))]


def emptied(content: bytes, rng: random.Random) -> bytes:
    """Nothing."""
    return b""


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """A stretch of zeros, as of a disk that lost a block."""
    length = min(rng.choice((64, 512, 4096, 65536)), len(content))
    at = rng.randint(0, len(content) - length)
    return content[:at] + bytes(length) + content[at + length :]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit, anywhere or among the first 4096 bytes, where headers are."""
    changed = bytearray(content)
    at = rng.randrange(rng.choice((len(content), min(len(content), 4096))))
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def garbled(content: bytes, rng: random.Random) -> bytes:
    """Random bytes in the middle."""
    length = min(256, len(content))
    at = rng.randint(0, len(content) - length)
    return content[:at] + rng.randbytes(length) + content[at + length :]


def grown(content: bytes, rng: random.Random) -> bytes:
    """Something after its end."""
    return content + rng.randbytes(rng.randint(1, 5000))


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "halved": halved,
    "cut": cut,
    "emptied": emptied,
    "zeroed": zeroed,
    "bit flipped": flipped,
    "garbled": garbled,
    "grown": grown,
}
RESULTS = (".npz", ".csv", ".mp4")
"""How the names of files end that every run writes anew."""
SWAPPED = "swapped"
"""The kind that is none of DAMAGES: the file of another run takes the place."""


def command(clip: Path, out: Path, *more: str) -> list[str]:
    """The arguments of a run."""
    numbers = ("--grid", "4", "--preset", "fast", "--set", f"training.steps={STEPS}")
    return [str(clip), "--out", str(out), *numbers, *more]


def undisturbed(place: Path) -> Runs:
    """Make all runs that the tries need."""
    clip = runs.make_clip(place / "a.mp4", seed=3)
    other = runs.make_clip(place / "b.mp4", seed=4)
    finished, unfinished = place / "finished", place / "unfinished"
    others = (place / "other-video", place / "other-settings")
    _run_whole(command(clip, finished / "out"), finished)
    _run_whole(command(other, others[0] / "out"), others[0])
    _run_whole(command(clip, others[1] / "out", "video.area=5000", "--seed", "1"), others[1])
    _stop_halfway(clip, unfinished)
    shutil.copytree(finished / "cache", unfinished / "cache")
    return Runs(clip, finished, unfinished, others, runs.digests(finished))


def _run_whole(argv: Sequence[str], home: Path) -> None:
    with _cache_in(home):
        code, said = _quietly(argv)
    if code:
        raise SystemExit(f"an undisturbed run failed: {said}")


def _stop_halfway(clip: Path, home: Path) -> None:
    """A fit that was interrupted, and kept."""

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "fit" and done == STEPS // 2:
            raise KeyboardInterrupt

    with _cache_in(home.with_name("unused")), contextlib.suppress(KeyboardInterrupt):
        _fit(clip, home / "out" / "model", progress=stop)


def _fit(clip: Path, folder: Path, **more: Any) -> dinotrack.Fitted:
    steps = {"training.steps": STEPS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dinotrack.DinotrackWarning)
        return dinotrack.fit(clip, preset="fast", settings=steps, folder=folder, **more)


@contextlib.contextmanager
def _cache_in(home: Path) -> Iterator[None]:
    os.environ["DINOTRACK_CACHE"] = str(home / "cache")
    yield


def _quietly(argv: Sequence[str]) -> tuple[int, str]:
    """The command line in this process: its exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(list(argv))
    return code, said.getvalue()


def damage_of(number: int, seed: int, made: Runs) -> Damage:
    """The try of that number: kinds of damage take turns, files are drawn."""
    rng = random.Random(f"{seed} {number}")
    state = rng.choice(("unfinished", *["finished"] * 7))
    home = made.unfinished if state == "unfinished" else made.finished
    files = [str(path.relative_to(home)) for path in sorted(home.rglob("*")) if path.is_file()]
    weighty = [name for name in files if "checkpoint" in name or name.startswith("cache")]
    if state == "unfinished":
        files = weighty
    file = rng.choice(weighty if rng.random() < 0.5 else files)
    kinds = (*DAMAGES, SWAPPED)
    kind = kinds[number % len(kinds)]
    has_reader = file in weighty or (file.endswith(".npz") and kind != SWAPPED)
    door = "API" if has_reader and rng.random() < 0.5 else "command"
    return Damage(number, state, file, kind, door)


def spoil(damage: Damage, home: Path, seed: int, made: Runs) -> bool:
    """Damage the file; whether that has changed it."""
    rng = random.Random(f"{seed} {damage.number} bytes")
    path = home / damage.file
    before = path.read_bytes()
    if damage.kind == SWAPPED:
        other = rng.choice(made.others)
        likes = sorted(other.glob(damage.file)) or sorted((other / "cache").glob("*"))
        after = rng.choice(likes).read_bytes()
    else:
        after = DAMAGES[damage.kind](before, rng) if before else b"?"
    path.write_bytes(after)
    return after != before


def outcome_of(damage: Damage, seed: int, made: Runs, place: Path) -> str:
    """What came of one try: refused, as before, or what is wrong."""
    home = place / "try"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(getattr(made, damage.state), home)
    if not spoil(damage, home, seed, made):
        return "unchanged"
    with _cache_in(home):
        if damage.door == "command":
            return _through_command(damage, made, home)
        try:
            return _through_api(damage, made, home)
        except dinotrack.InputError:
            return REFUSED
        except Exception:
            return "traceback: " + traceback.format_exc(limit=-1).strip().replace("\n", " / ")


def _through_command(damage: Damage, made: Runs, home: Path) -> str:
    others = {**runs.digests(home), damage.file: ""}
    code, said = _quietly(command(made.clip, home / "out"))
    if "Traceback" in said or code not in (0, 2):
        return f"traceback: {code}: {said.strip().splitlines()[-2:]}"
    found = runs.digests(home)
    if code == 2:
        count = len(runs.said(said, "error: "))
        lost = sorted(others.items() - {**found, damage.file: ""}.items())
        if lost:
            return f"lost: {', '.join(name for name, _ in lost)}"
        return REFUSED if count == 1 else f"exit code 2 with {count} lines"
    wrong = sorted(name for name in made.whole if found.get(name) != made.whole[name])
    if wrong == [damage.file] and not damage.file.endswith(RESULTS):
        return _values(dinotrack.load(home / "out" / "model"), made)
    return f"silently wrong: {', '.join(wrong)}" if wrong else AS_BEFORE


def _through_api(damage: Damage, made: Runs, home: Path) -> str:
    """Open the file by the function that reads it. Raises InputError where that refuses it."""
    if damage.file.endswith(".npz"):
        equal = same(load_tracks(home / damage.file), load_tracks(made.finished / damage.file))
        return AS_BEFORE if equal else "silently wrong: tracks"
    model = home / "out" / "model"
    if damage.state == "unfinished" or damage.kind == SWAPPED:
        return _values(_fit(made.clip, model, resume=True), made)
    return _values(dinotrack.load(model), made)


def _values(fitted: dinotrack.Fitted, made: Runs) -> str:
    """Whether a fit is the undisturbed one, value by value."""
    with _cache_in(made.finished):
        whole = dinotrack.load(made.finished / "out" / "model")
    wrong = [
        name for name, value_of in VALUES.items() if not same(value_of(fitted), value_of(whole))
    ]
    return f"silently wrong: {', '.join(wrong)}" if wrong else AS_BEFORE


VALUES: dict[str, Callable[[dinotrack.Fitted], Any]] = {
    "weights": lambda fitted: dict(fitted.state.tracker.state_dict()),
    "optimizer": lambda fitted: fitted.state.optimizer.state_dict()["state"],
    "losses": lambda fitted: fitted.state.losses,
    "steps": lambda fitted: fitted.steps,
    "settings": lambda fitted: fitted.config,
    "seed": lambda fitted: fitted.identity.seed,
    "flow": lambda fitted: fitted.flow,
    "tracks": lambda fitted: fitted.track(grid=4),
}
"""What must be the same of a fit that was read as whole."""


def table(outcomes: Mapping[Damage, str]) -> str:
    """A row for each file: how often it was damaged, and what came of that."""
    counts: dict[str, Counter[str]] = {}
    for damage, outcome in outcomes.items():
        word = next((bad for bad in BAD if outcome.startswith(bad)), outcome)
        for name in (family(damage.file), "all"):
            counts.setdefault(name, Counter())[word] += 1
    rows = [
        (name, sum(found.values()) - found["unchanged"], *(found[word] for word in COLUMNS))
        for name, found in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0]))
    ]
    return report.markdown(("file", "damaged", *COLUMNS), rows)


COLUMNS = (AS_BEFORE, REFUSED, *BAD)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    args = report.options(__doc__, tries=1000).parse_args(argv)
    outcomes: dict[Damage, str] = {}
    with report.workplace() as place:
        made = undisturbed(place)
        for number in report.numbers(args):
            damage = damage_of(number, args.seed, made)
            outcomes[damage] = outcome_of(damage, args.seed, made, place)
            if number % 50 == 49:
                report.tell(f"{number + 1} tries")
    failures = [f"{d}: {text}" for d, text in outcomes.items() if text.startswith(BAD)]
    return report.conclude(table(outcomes), failures)


if __name__ == "__main__":
    sys.exit(main())
