"""The fits from before lessons, each kept in a folder of its own, so that one can go back.

A lesson is what a hand taught, or points that were looked at. In the folder of a fit that was
taught twice, before-1 holds the fit from before its first lesson, and before-2 the one from before
its second. A fit knows how often it was taught, so what is in these folders is never in doubt,
whenever a process was killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from dinotrack.errors import InputError
from dinotrack.files import make_folder, replacing, sweep, unwritable
from dinotrack.interrupts import held
from dinotrack.locks import locked
from dinotrack.training import checkpoint
from dinotrack.training.checkpoint import FILE
from dinotrack.training.loop import State
from dinotrack.training.stored import ELSEWHERE, Identity


def put_taught(folder: Path, there: State, taught: State, identity: Identity) -> None:
    """Write a fit that was taught in the place of the one that lies in a folder.

    there: that one. It is kept as the one from before, unless both had as many lessons, so that
    what came before the last one is kept already. Whatever ends this early leaves it in its place.

    Raises InputError where another fit lies there by now, and where the folder is in use or can't
    be written.
    """
    with locked(folder):
        sweep(folder)
        found = checkpoint.find(folder, identity)
        if found is None or (found.step, found.lessons) != (there.step, there.lessons):
            raise InputError(f"the fit in {folder} has changed meanwhile; give the command again")
        with held():
            if not (folder / FILE).exists():  # a fit of an older form, which is written anew
                checkpoint.save(folder, there, identity)
            if len(taught.lessons) > len(there.lessons):
                kept = fit_before(folder, len(taught.lessons))
                make_folder(kept, *ELSEWHERE)
                sweep(kept)
                with replacing(kept / FILE) as part:
                    shutil.copyfile(folder / FILE, part)
            checkpoint.save(folder, taught, identity)


def fit_before(folder: Path, lessons: int) -> Path:
    """The folder of the fit from before the last of so many lessons of the fit in a folder."""
    return folder / f"before-{lessons}"


def go_back(folder: Path, lessons: int) -> None:
    """Put the fit from before the last of so many lessons in the place of the one that was taught.

    Those from before later lessons go. Raises InputError where the folder is in use or can't be
    written.
    """
    kept = fit_before(folder, lessons)
    with locked(folder), held():
        try:
            os.replace(kept / FILE, folder / FILE)
        except OSError as error:
            raise unwritable(folder, error) from error
        while _dropped(kept):
            lessons += 1
            kept = fit_before(folder, lessons)


def _dropped(kept: Path) -> bool:
    """Remove the folder of a fit, if there is one; returns whether that was done."""
    with contextlib.suppress(OSError):  # somebody's own files are in it
        sweep(kept)
        (kept / FILE).unlink(missing_ok=True)
        kept.rmdir()
        return True
    return False
