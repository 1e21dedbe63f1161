"""Attacks on the tracker that anybody can run again: `python -m tests.trust.NAME`.

Each program prints one table and the smallest way to see each failure again, and exits with 1 if
anything was lost, silently wrong, or ended with a traceback. `--seed S` draws other attacks.

kills: a run is killed anywhere, and the same command goes on.
batches: many videos, of which one is broken, whose workers or whole batch are killed.
corruption: files of a run and of the cache are damaged.
threads: two fits at once are the same as alone.
full_disk: the disk is full at every stage.
hostile: files that somebody made in order to harm.
outcomes: every file of some folders through the command line.
"""
