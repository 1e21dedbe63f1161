"""The points that are asked for: the user's own, or a grid of them; and masks."""

import numpy as np
import pytest

from dinotrack.errors import InputError
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
        ([0, 63.6, 5], r"x = 63.6, but it must be \[-0.5, 63.5\]"),
        ([0, 5, 47.75], r"y = 47.75, but it must be \[-0.5, 47.5\]"),
        ([0, float("nan"), 5], "x = nan"),
        ([float("nan"), 5, 5], "t = nan"),
        ([0, 5, float("inf")], "y = inf"),
    ],
)
def test_check_queries_names_the_first_bad_row(row: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_queries([[0, 1, 1], row, [99, 99, 99]], 10, (48, 64))


@pytest.mark.parametrize("bad", [[], [[0, 1]], [0, 1, 2], [[0, 1, 2], [0, 1]], "text", None])
def test_check_queries_wants_rows_of_three(bad: object) -> None:
    with pytest.raises(InputError, match=r"queries are numbers \[N, 3\]"):
        check_queries(bad, 10, (48, 64))  # type: ignore[arg-type]


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
