"""Which pairs of frames are compared, so that the work grows linearly with the clip."""

from itertools import count, takewhile


def is_sampled(i: int, j: int, near: int) -> bool:
    """Whether frames i < j are compared: up to `near` frames apart always, further only powers of
    two apart.

    Beyond 2 near, pairs twice as far apart are half as many: their first frame is a multiple of
    their gap / (2 near). near 0: all pairs are.
    """
    gap = j - i
    if near == 0 or gap <= near:
        return True
    return gap & (gap - 1) == 0 and i % max(1, gap // (2 * near)) == 0


def sampled_pairs(frames: int, near: int) -> list[tuple[int, int]]:
    """All sampled pairs i < j of a video's frames, in order: for near > 0 fewer than (near + 3) a
    frame."""
    gaps = list(range(1, frames))
    if near:
        far = (
            gap
            for gap in takewhile(lambda gap: gap < frames, (2**k for k in count()))
            if gap > near
        )
        gaps = [*range(1, min(near, frames - 1) + 1), *far]
    return [
        (i, i + gap)
        for i in range(frames)
        for gap in gaps
        if i + gap < frames and is_sampled(i, i + gap, near)
    ]
