"""The refiner: two 3x3 convolutions that turn cosines into scores (`docs/method.md` 4).

The twin convolves whole maps or crops. The kernels convolve windows: a program has one query's
window, and as it can't see what the registers of its neighbours hold, the second convolution is
split. What each cell gives to the nine cells around it (its taps) is written to memory, and the
next kernel gathers it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dinotrack.kernels.tiles import jit, launch, power_of_two, tl
from dinotrack.kernels.window import Windows, value_at

Filters = tuple[
    Float[Tensor, "K 1 3 3"], Float[Tensor, " K"], Float[Tensor, "1 K 3 3"], Float[Tensor, " 1"]
]
"""The refiner's two convolutions as they are used: weights and biases of the first, then of the
second."""

FilterParts = Sequence[Float[Tensor, "_ ..."]]
"""The parts of `Filters`, or nothing where there is no refiner."""

TAPS = 9


# --- the twin


def refiner_scores(maps: Float[Tensor, "N h w"], filters: Filters) -> Float[Tensor, "N h w"]:
    """Unnormalised log-probabilities of cells, from cosines after the ReLU by the temperature."""
    first, first_bias, second, second_bias = filters
    assert maps.ndim == 3, f"maps must be [N, h, w]: maps {[*maps.shape]}"
    hidden = F.relu(F.conv2d(maps[:, None], first, first_bias, padding=1))
    return F.conv2d(hidden, second, second_bias, padding=1)[:, 0]


# --- calling the kernels


def width_of(filters: FilterParts) -> int:
    """The refiner's channels, 0 without a refiner."""
    return len(filters[0]) if filters else 0


def refiner_taps(windows: Windows, filters: FilterParts) -> Float[Tensor, "N ..."]:
    """What each cell of a window gives to the scores of the nine cells around it: [N, 9, cells].

    Without a refiner there are no taps, and the result is a tensor that no kernel reads.
    """
    if not filters:
        return windows.values
    count = len(windows.values)
    width = width_of(filters)
    taps = windows.values.new_empty((count, TAPS, windows.shape.cells))
    launch(
        refiner_taps_fwd,
        (count,),
        *(windows.values, taps, *filters[:3]),
        WIDTH=width,
        HIDDEN=power_of_two(width),
        **windows.shape.constants(),
    )
    return taps


def refiner_gradients(
    windows: Windows, score_gradient: Float[Tensor, "N cells"], filters: FilterParts
) -> tuple[Float[Tensor, "N ..."], tuple[Float[Tensor, "_ ..."], ...]]:
    """From the gradient of the scores: the taps of the values' gradient, and that of each filter.

    Taps are here what each cell gives to the gradients of the nine values that its score saw.
    """
    if not filters:
        return windows.values, ()
    count = len(windows.values)
    width = width_of(filters)
    taps = windows.values.new_empty((count, TAPS, windows.shape.cells))
    sums = windows.values.new_empty((count, 2 * TAPS + 1, width))
    launch(
        refiner_taps_bwd,
        (count,),
        *(windows.values, score_gradient, taps, sums, *filters[:3]),
        WIDTH=width,
        HIDDEN=power_of_two(width),
        **windows.shape.constants(),
    )
    first, first_bias, second = sums.sum(dim=0).split((TAPS, 1, TAPS))
    return taps, (
        first.T.reshape(filters[0].shape),
        first_bias[0],
        second.T.reshape(filters[2].shape),
        torch.zeros_like(filters[3]),  # the softmax ignores what is added to all scores
    )


# --- the kernels


@jit
def hidden_before_relu(
    window, row, col, first, first_bias,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The first convolution at rows and columns of a window: [BLOCK, HIDDEN]."""
    channel = tl.arange(0, HIDDEN)
    known = channel < WIDTH
    bias = tl.load(first_bias + channel, mask=known, other=0.0)
    total = tl.zeros([BLOCK, HIDDEN], dtype=tl.float32) + bias[None, :]
    for tap in range(9):
        value = value_at(window, row + (tap // 3 - 1), col + (tap % 3 - 1), ROWS, COLS)
        weight = tl.load(first + channel * 9 + tap, mask=known, other=0.0)
        total += value[:, None] * weight[None, :]
    return total


@jit
def gathered_taps(total, taps, row, col, WAY: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """A total and, on top, what the cells around rows and columns of a window give to them.

    WAY: 1 for the taps of scores, -1 for those of gradients, which go the other way.
    """
    for tap in range(9):
        given = taps + tap * (ROWS * COLS)
        total += value_at(given, row + WAY * (tap // 3 - 1), col + WAY * (tap % 3 - 1), ROWS, COLS)
    return total


@jit
def refiner_taps_fwd(
    values, taps, first, first_bias, second,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """What each cell of a query's window gives, through the refiner, to the nine scores around."""
    query = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    channel = tl.arange(0, HIDDEN)
    known = channel < WIDTH
    window = values + query * (ROWS * COLS)
    hidden = hidden_before_relu(
        window, row, col, first, first_bias, WIDTH, HIDDEN, ROWS, COLS, BLOCK
    )
    hidden = tl.maximum(hidden, 0.0)
    for tap in range(9):
        weight = tl.load(second + channel * 9 + tap, mask=known, other=0.0)
        there = taps + (query * 9 + tap) * (ROWS * COLS) + place
        tl.store(there, tl.sum(hidden * weight[None, :], 1), mask=row < ROWS)


@jit
def refiner_taps_bwd(
    values, score_gradient, taps, sums, first, first_bias, second,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """From the gradient of a query's scores: that of the filters, and the taps of the values'.

    sums: gradients of nine taps of the first convolution, its bias and nine taps of the second, by
    WIDTH.
    """
    query = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    channel = tl.arange(0, HIDDEN)
    known = channel < WIDTH
    window = values + query * (ROWS * COLS)
    score_gradient += query * (ROWS * COLS)
    sums += query * (19 * WIDTH)
    hidden = hidden_before_relu(
        window, row, col, first, first_bias, WIDTH, HIDDEN, ROWS, COLS, BLOCK
    )
    hidden = tl.where((row < ROWS)[:, None], tl.maximum(hidden, 0.0), 0.0)
    along = tl.zeros([BLOCK, HIDDEN], dtype=tl.float32)
    for tap in range(9):
        around = value_at(score_gradient, row - (tap // 3 - 1), col - (tap % 3 - 1), ROWS, COLS)
        weight = tl.load(second + channel * 9 + tap, mask=known, other=0.0)
        along += around[:, None] * weight[None, :]
        of_second = tl.sum(hidden * around[:, None], 0)
        tl.store(sums + (10 + tap) * WIDTH + channel, of_second, mask=known)
    along = tl.where(hidden > 0, along, 0.0)
    tl.store(sums + 9 * WIDTH + channel, tl.sum(along, 0), mask=known)
    for tap in range(9):
        value = value_at(window, row + (tap // 3 - 1), col + (tap % 3 - 1), ROWS, COLS)
        weight = tl.load(first + channel * 9 + tap, mask=known, other=0.0)
        of_first = tl.sum(along * value[:, None], 0)
        tl.store(sums + tap * WIDTH + channel, of_first, mask=known)
        there = taps + (query * 9 + tap) * (ROWS * COLS) + place
        tl.store(there, tl.sum(along * weight[None, :], 1), mask=row < ROWS)
