"""What a tracker is asked, and what it answers."""

import torch

from dinotrack.queries import Queries, Trajectories


def test_queries_are_rows_of_frame_and_place() -> None:
    rows = torch.tensor(((3.0, 1.5, 2.0), (0.0, 7.0, 0.25)))
    queries = Queries.from_rows(rows)
    assert queries.frame.tolist() == [3, 0]
    assert len(queries) == 2
    assert torch.equal(queries.rows, rows)
    assert torch.equal(queries[1:].rows, rows[1:])


def test_places_stay_where_they_are_when_a_frame_is_resized() -> None:
    """A frame is an area: the corner (-0.5, -0.5) stays the corner, whatever the size."""
    corners = torch.tensor(((-0.5, -0.5), (9.5, 4.5), (4.5, 2.0)))
    queries = Queries(torch.tensor((0, 1, 2)), corners).rescaled((5, 10), (10, 30))
    expected = torch.tensor(((-0.5, -0.5), (29.5, 9.5), (14.5, 4.5)))
    torch.testing.assert_close(queries.xy, expected)
    visible = torch.ones(3, 1, dtype=torch.bool)
    found = Trajectories(corners[:, None], visible, visible.float()).rescaled((5, 10), (10, 30))
    torch.testing.assert_close(found.xy[:, 0], expected)


def test_pinned_trajectories_pass_through_their_queries() -> None:
    queries = Queries(torch.tensor((2, 0)), torch.tensor(((1.0, 2.0), (3.0, 4.0))))
    before = Trajectories(torch.zeros(2, 3, 2), torch.zeros(2, 3).bool(), torch.full((2, 3), 0.1))
    after = queries.pinned(before)
    own = torch.tensor(((False, False, True), (True, False, False)))
    assert torch.equal(after.visible, own)
    assert torch.equal(after.xy[own], queries.xy.flip(0)[[1, 0]])
    assert (after.confidence[own] == 1).all()
    assert (after.confidence[~own] == 0.1).all()
    assert not after.xy[~own].any()
    assert not before.visible.any(), "what was given stays as it was"


def test_joined_parts_are_in_order() -> None:
    parts = [
        Trajectories(torch.full((n, 2, 2), float(n)), torch.ones(n, 2).bool(), torch.ones(n, 2))
        for n in (1, 2)
    ]
    joined = Trajectories.joined(parts)
    assert joined.xy[:, 0, 0].tolist() == [1, 2, 2]
    assert joined.visible.shape == joined.confidence.shape == (3, 2)


def test_nothing_is_visible_outside_the_picture() -> None:
    """The picture of 10 x 5 px reaches from -0.5 to 9.5 and to 4.5 px, borders included."""
    places = [(-0.5, -0.5), (9.5, 4.5), (-0.51, 2), (9.51, 2), (5, -0.51), (5, 4.51), (5, 2)]
    xy = torch.tensor(places)[None]
    visible = torch.tensor([[True] * 6 + [False]])
    found = Trajectories(xy, visible, torch.full((1, 7), 0.9)).seen_within((5, 10))
    assert found.visible[0].tolist() == [True, True, *[False] * 5]
    inside = torch.tensor([True, True, False, False, False, False, True])
    assert torch.equal(found.confidence[0], 0.9 * inside)
    assert torch.equal(found.xy, xy)
