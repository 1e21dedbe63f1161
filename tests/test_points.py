"""The points that are asked for: the user's own, or a grid of them; and masks."""

from typing import Any

import numpy as np
import pytest
import torch

from dinotrack.errors import InputError, shown
from dinotrack.points import check_queries, choose_queries, grid_queries
from dinotrack.video import Video


def test_queries_or_a_grid_of_them() -> None:
    video = Video(np.zeros((5, 48, 64, 3), np.uint8), 24.0, "black")
    left = np.zeros((48, 64), np.uint8)
    left[:, :32] = 255
    assert choose_queries(video, [[4, 1, 2]]).tolist() == [[4, 1, 2]]
    grid = choose_queries(video, None, grid=4, query_frame=3, mask=left)
    assert len(grid) == 8
    assert (grid[:, 0] == 3).all()
    assert (grid[:, 1] < 32).all()
    with pytest.raises(InputError, match="the mask has shape"):
        choose_queries(video, None, mask=left[:8])
    with pytest.raises(InputError, match="t = 5"):
        choose_queries(video, None, query_frame=5)


def test_check_queries_accepts_the_whole_picture() -> None:
    corners = [[0, -0.5, -0.5], [9, 63.5, 47.5]]
    checked = check_queries(corners, 10, (48, 64))
    assert checked.dtype == np.float32
    assert np.array_equal(checked, np.array(corners, np.float32))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            [10, 5, 5],
            r"query row 1: t = 10, but it must be a whole number in \[0, 9\] "
            "for 10 frames of 64 x 48",
        ),
        ([-1, 5, 5], "t = -1"),
        ([1.5, 5, 5], "t = 1.5"),
        ([0, 63.6, 5], r"x = 63.6, but it must be in \[-0.5, 63.5\]"),
        ([0, 5, 47.75], r"y = 47.75, but it must be in \[-0.5, 47.5\]"),
        ([0, float("nan"), 5], "x = nan"),
        ([float("nan"), 5, 5], "t = nan"),
        ([0, 5, float("inf")], "y = inf"),
    ],
)
def test_check_queries_names_the_first_bad_row(row: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_queries([[0, 1, 1], row, [99, 99, 99]], 10, (48, 64))


@pytest.mark.parametrize("bad", [[], [[0, 1]], [0, 1, 2], None, [["0", "1", "2"]]])
def test_check_queries_wants_rows_of_three(bad: object) -> None:
    with pytest.raises(InputError, match=r"give numbers \[N, 3\]"):
        check_queries(bad, 10, (48, 64))  # type: ignore[arg-type]


def test_queries_that_are_no_array_are_told_apart() -> None:
    with pytest.raises(InputError, match=r"queries: can't be read as an array; .* of one length"):
        check_queries([[0, 1, 2], [0, 1]], 10, (48, 64))
    with pytest.raises(InputError, match=r"queries: give the numbers themselves; .* reads files"):
        check_queries("points.csv", 10, (48, 64))


def test_grid_is_centred_and_row_by_row() -> None:
    queries = grid_queries(2, (48, 64), 3)
    assert np.array_equal(
        queries,
        np.array([[3, 15.5, 11.5], [3, 47.5, 11.5], [3, 15.5, 35.5], [3, 47.5, 35.5]], np.float32),
    )
    assert np.array_equal(grid_queries(1, (1, 1), 0), np.zeros((1, 3), np.float32))
    assert len(check_queries(grid_queries(16, (5, 3), 0), 1, (5, 3))) == 256


def test_grid_inside_a_mask() -> None:
    mask = np.zeros((48, 64), bool)
    mask[:, 32:] = True
    assert (grid_queries(4, (48, 64), 0, mask)[:, 1] > 31).all()
    assert len(grid_queries(4, (48, 64), 0, mask)) == 8
    with pytest.raises(InputError, match="no point of the 4 x 4 grid lies inside the mask"):
        grid_queries(4, (48, 64), 0, np.zeros((48, 64), bool))
    with pytest.raises(InputError, match="give 1 or more"):
        grid_queries(0, (48, 64), 0)


@pytest.mark.parametrize(
    "choice", [{"grid": 16}, {"query_frame": 0}, {"mask": np.ones((48, 64), bool)}]
)
def test_queries_or_a_grid_but_not_both(choice: dict[str, Any]) -> None:
    video = Video(np.zeros((5, 48, 64, 3), np.uint8), 24.0, "black")
    with pytest.raises(InputError, match="give either queries, or grid, query_frame and mask"):
        choose_queries(video, [[4, 1, 2]], **choice)


@pytest.mark.parametrize(
    "grid", [(3, 4), 1.5, "16", np.array([3, 4]), torch.ones(2), [3], object()]
)
def test_grids_are_one_whole_number(grid: Any) -> None:
    video = Video(np.zeros((5, 48, 64, 3), np.uint8), 24.0, "black")
    with pytest.raises(InputError, match=r"grid=.* is no whole number; give one, as in grid=16"):
        choose_queries(video, None, grid=grid)


@pytest.mark.parametrize("digits", [23, 400, 5000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_huge_numbers(digits: int, sign: int) -> None:
    huge = sign * 10**digits
    video = Video(np.zeros((5, 48, 64, 3), np.uint8), 24.0, "black")
    with pytest.raises(InputError, match=r"give 1000 or fewer|give 1 or more"):
        choose_queries(video, None, grid=huge)
    with pytest.raises(InputError, match=r"must be a whole number in \[0, 4\]"):
        choose_queries(video, None, query_frame=huge)
    with pytest.raises(InputError, match=r"give numbers \[N, 3\]"):
        check_queries([[0, huge, 1]], 5, (48, 64))


def test_queries_of_every_kind_of_array() -> None:
    rows = [[0, 1.5, 2.25], [3, -0.5, 7.0]]
    kinds = (
        rows,
        tuple(map(tuple, rows)),
        torch.tensor(rows),
        torch.tensor(rows, requires_grad=True),
        torch.tensor(rows, dtype=torch.bfloat16),
        torch.tensor(rows, dtype=torch.float64).T.contiguous().T,
        np.array(rows, np.float16),
        np.array(rows, np.longdouble),
        np.array(rows, ">f8"),
        np.ma.masked_array(rows),
        [torch.tensor(row) for row in rows],
    )
    for kind in kinds:
        found = check_queries(kind, 10, (48, 64))
        assert found.dtype == np.float32
        assert found.tolist() == rows


class Odd:
    """What says that it is an array and is none."""

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ma.masked_less([[0, 1, 2], [0, -1, 2]], 0), "hides 1 of its values"),
        (np.array([[0, 1e300, 1]]), r"x = 1e\+300, but it must be"),
        (np.array([[0, 1, 1]]) * 1j, "not complex128"),
        (np.array([[0, 1, 1]], object), "not object"),
        (np.array([[0, 1, 1]], bool), "not bool"),
        (np.array(["2001"], "M8[D]"), "not datetime64"),
        (Odd(), "can't be read as an array"),
        (iter([[0, 1, 2]]), "not object"),
        ({"t": 0}, "not object"),
    ],
)
def test_what_is_no_query(queries: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_queries(queries, 10, (48, 64))


def test_what_rounds_into_the_picture_lies_in_it() -> None:
    assert check_queries([[0, 63.5 + 1e-9, 1]], 10, (48, 64)).tolist() == [[0, 63.5, 1]]
    with pytest.raises(InputError, match=r"x = 63\.50001, but"):
        check_queries([[0, 63.50001, 1]], 10, (48, 64))


def test_any_value_can_be_shown() -> None:
    assert shown(1.5) == "1.5"
    assert shown("a\x1b[31m") == "'a\\x1b[31m'"
    assert shown("x" * 99) == "'" + "x" * 36 + "..."
    assert shown(10**5000) == "a number too long to show"
    assert shown("\u202e") == "'\\u202e'"
