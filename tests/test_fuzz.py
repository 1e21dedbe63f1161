"""A short run of the fuzzer, and what longer ones found.

The long run is `python -m tests.fuzz --inputs 1000000`.
"""

import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinotrack.errors import InputError
from dinotrack.formats.tables import Table
from dinotrack.points import check_queries
from tests import fuzz, mutations
from tests.fuzz_targets import PACKETS, Target, listed, scratch, targets

ROOT = Path(__file__).resolve().parent.parent
INPUTS = 2000


def test_no_reader_raises_anything_but_input_error() -> None:
    """In a process of its own, as checking the shapes of every call takes several times as long."""
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS), "--seed", "14"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 exceptions that are no InputError" in done.stdout


def test_the_fuzzer_finds_what_is_wrong(capfd: pytest.CaptureFixture[str]) -> None:
    """Exceptions and wrong answers, each with what makes the input again."""

    def fail(number: int) -> None:
        if number % 4 == 0:
            raise ZeroDivisionError
        if number % 4 == 1:
            raise InputError("refused")
        assert number % 4 != 2, "wrong"

    counts = fuzz.run(Target(lambda random: random.randrange(40), fail, 1), "numbers", 0, 200)
    kinds = {kind.split()[0] for kind in counts.findings}
    assert kinds == {"ZeroDivisionError", "AssertionError"}
    assert counts.refused > 0
    assert counts.taken > 0
    assert "numbers:0:" in capfd.readouterr().out


def test_an_input_can_be_made_again() -> None:
    with scratch() as folder:
        for name, target in targets(folder).items():
            one, other = (target.make(Random(f"{name}:3:5")) for _ in range(2))
            assert repr(one) == repr(other)


def test_knowing_mutations_keep_their_sums() -> None:
    """They would be refused at the first look otherwise, and test nothing behind it."""
    with scratch() as folder:
        reached = fuzz.run(targets(folder)["queries.npz"], "queries.npz", 0, 200)
    assert 20 < reached.taken < 180
    assert mutations.spoiled(b"", Random(0)) is not None


def table_rows(content: bytes) -> list[tuple[int, list[float]]]:
    return list(Table("text", content, ("t", "x", "y")).rows())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_none(content: bytes) -> None:
    try:
        rows = table_rows(b"t,x,y\n" + content)
    except InputError:
        return
    assert all(len(row) == 3 for _, row in rows)


NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5),
    st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), (" ", "."), ("|", ",")]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_tables_come_back(
    rows: list[tuple[float, ...]], marks: tuple[str, str], code: str, end: str
) -> None:
    delimiter, point = marks
    lines = [[f"{value:.5f}".replace(".", point) for value in row] for row in rows]
    text = end.join(delimiter.join(line) for line in [["t", "x", "y"], *lines])
    found = table_rows(text.encode(code))
    assert [line for line, _, _ in found] == list(range(2, len(rows) + 2))
    np.testing.assert_allclose([row for _, row, _ in found], rows)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@settings(max_examples=50)
@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=9))
def test_any_value_is_queries_or_none(value: object) -> None:
    try:
        found = check_queries(value, 10, (48, 64))
    except InputError:
        return
    assert found.ndim == 2
    assert np.isfinite(found).all()


def test_a_list_of_packets_that_was_cut_is_read_as_far_as_it_is_whole() -> None:
    """FFmpeg may be killed while it writes one; `streams_of` tells so by its status."""
    for end in range(len(PACKETS) + 1):
        streams = listed(PACKETS[:end].decode().splitlines(keepends=True))
        assert len(streams) == (end >= PACKETS.index(b"128x96\n") + 7)
