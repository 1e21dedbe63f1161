"""Which pairs of frames are compared, so that the work grows linearly with the video.

Neighbours tell most, and far pairs tell what neighbours can't, an object that comes back. Near
pairs are therefore all compared, and far ones more and more rarely (`docs/method.md` 8).
"""

Pair = tuple[int, int]
"""The numbers of two frames, in the order in which they are looked at."""


def is_sampled(i: int, j: int, near: int) -> bool:
    """Whether frames i < j are compared.

    Up to `near` frames apart they always are. Further apart they are where the gap is a power of
    two, and beyond 2 near the pairs of twice the gap are half as many: their first frame is a
    multiple of gap / (2 near). With near 0 all pairs are compared.
    """
    gap = j - i
    if near == 0 or gap <= near:
        return True
    return _is_power_of_two(gap) and i % max(1, gap // (2 * near)) == 0


def sampled_pairs(frames: int, near: int) -> list[Pair]:
    """All sampled pairs i < j of a video's frames, in order.

    For near > 0 these are fewer than near + 3 for each frame.
    """
    gaps = [gap for gap in range(1, frames) if near == 0 or gap <= near or _is_power_of_two(gap)]
    return [
        (i, i + gap)
        for i in range(frames)
        for gap in gaps
        if i + gap < frames and is_sampled(i, i + gap, near)
    ]


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
