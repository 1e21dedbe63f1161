"""The position in the disc: the expectation of the scores' softmax around the best cell.

This is the paper's soft-argmax (`docs/method.md` 4, "Position"). The softmax over the whole map
cancels, because the weights are normalised within the disc, so that only the disc is refined. The
twin works on crops of correlation maps, the kernels on windows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack.kernels.nearest import best_cell
from dinotrack.kernels.refiner import FilterParts, Filters, gathered_taps, refiner_scores, width_of
from dinotrack.kernels.tiles import jit, launch, tl
from dinotrack.kernels.window import MARGIN, Windows, corner, crop, value_at

# --- the twin


def locate_in_disc(
    correlation: Float[Tensor, "N h w"],
    filters: Filters | None,
    temperature: float,
    reach: float,
    best: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "N 2"]:
    """(column, row) of each position: an expectation in the disc of `reach` cells around the best.

    The correlation is the cosines before the ReLU. `best` is its `best_cell`, where that is known.
    Without filters the scores are the cosines after the ReLU by the temperature. Differentiable;
    the choice of the best cell has no gradient.
    """
    best = best_cell(correlation) if best is None else best
    crops = crop(correlation, int(reach) + MARGIN, best)
    scores = F.relu(crops.values) / temperature
    if filters is not None:
        scores = refiner_scores(scores, filters)
    far = (crops.cells - crops.peak[:, None, None]).square().sum(-1) > reach**2
    weights = scores.masked_fill(far, -torch.inf).flatten(1).softmax(1)
    return (weights[..., None] * crops.cells.flatten(1, 2)).sum(1)


# --- calling the kernels


def expectation(
    windows: Windows,
    taps: Float[Tensor, "N ..."],
    filters: FilterParts,
    reach: float,
    kept: bool,
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N cells"]]:
    """Positions (column, row), and the softmax over each disc if it is kept for the way back."""
    values = windows.values
    found = values.new_empty((len(values), 2))
    weights = torch.empty_like(values) if kept else values
    bias = filters[3] if filters else values
    launch(
        expectation_fwd,
        (len(values),),
        *(values, taps, windows.peaks, weights, found, bias, *windows.map_size, reach * reach),
        KEEP=kept,
        WIDTH=width_of(filters),
        **windows.shape.placed(),
    )
    return found, weights


def score_gradient(
    windows: Windows,
    weights: Float[Tensor, "N cells"],
    found: Float[Tensor, "N 2"],
    found_gradient: Float[Tensor, "N 2"],
) -> Float[Tensor, "N cells"]:
    """The gradient of the scores in the windows, from that of the positions."""
    gradient = torch.empty_like(weights)
    launch(
        expectation_bwd,
        (len(weights),),
        *(windows.peaks, weights, found, found_gradient, gradient, *windows.map_size),
        **windows.shape.placed(),
    )
    return gradient


def scores_to_cosines(
    windows: Windows,
    taps: Float[Tensor, "N ..."],
    gradient: Float[Tensor, "N cells"],
    temperature: float,
    width: int,
) -> None:
    """Turn the gradient of the scores into that of the cosines, in place.

    With a refiner, of `width` channels, the taps of `refiner_gradients` are what counts.
    """
    launch(
        scores_bwd,
        (len(gradient),),
        *(windows.values, taps, gradient, temperature),
        WIDTH=width,
        **windows.shape.constants(),
    )


# --- the kernels


@jit
def expectation_fwd(
    values, taps, peaks, weights, found, second_bias, map_rows, map_cols, reach_squared,
    MARGIN: tl.constexpr, KEEP: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """A query's position: the softmax over the disc, which is stored if KEEP, and its mean."""
    query = tl.program_id(0).to(tl.int64)
    peak = tl.load(peaks + query)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    if WIDTH == 0:
        score = value_at(values + query * (ROWS * COLS), row, col, ROWS, COLS)
    else:
        score = tl.zeros([BLOCK], dtype=tl.float32) + tl.load(second_bias)
        score = gathered_taps(score, taps + query * (9 * ROWS * COLS), row, col, 1, ROWS, COLS)
    x = (corner(peak % map_cols, map_cols, COLS, MARGIN) + col).to(tl.float32)
    y = (corner(peak // map_cols, map_rows, ROWS, MARGIN) + row).to(tl.float32)
    far_x = x - (peak % map_cols).to(tl.float32)
    far_y = y - (peak // map_cols).to(tl.float32)
    near = (far_x * far_x + far_y * far_y <= reach_squared) & (row < ROWS)
    score = tl.where(near, score, float("-inf"))
    weight = tl.exp(score - tl.max(score, 0))
    weight = weight / tl.sum(weight, 0)
    tl.store(found + 2 * query, tl.sum(weight * x, 0))
    tl.store(found + 2 * query + 1, tl.sum(weight * y, 0))
    if KEEP:
        tl.store(weights + query * (ROWS * COLS) + place, weight, mask=row < ROWS)


@jit
def expectation_bwd(
    peaks, weights, found, found_gradient, score_gradient, map_rows, map_cols,
    MARGIN: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of a query's scores: each weight, by how far its cell pulls the position."""
    query = tl.program_id(0).to(tl.int64)
    peak = tl.load(peaks + query)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    x = (corner(peak % map_cols, map_cols, COLS, MARGIN) + col).to(tl.float32)
    y = (corner(peak // map_cols, map_rows, ROWS, MARGIN) + row).to(tl.float32)
    x -= tl.load(found + 2 * query)
    y -= tl.load(found + 2 * query + 1)
    pull = tl.load(found_gradient + 2 * query) * x + tl.load(found_gradient + 2 * query + 1) * y
    weight = value_at(weights + query * (ROWS * COLS), row, col, ROWS, COLS)
    tl.store(score_gradient + query * (ROWS * COLS) + place, weight * pull, mask=row < ROWS)


@jit
def scores_bwd(
    values, taps, gradient, temperature,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of a query's scores, or what its taps give -> that of its cosines, in place."""
    query = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    row, col = place // COLS, place % COLS
    if WIDTH == 0:
        along = value_at(gradient + query * (ROWS * COLS), row, col, ROWS, COLS)
    else:
        along = tl.zeros([BLOCK], dtype=tl.float32)
        along = gathered_taps(along, taps + query * (9 * ROWS * COLS), row, col, -1, ROWS, COLS)
    positive = value_at(values + query * (ROWS * COLS), row, col, ROWS, COLS) > 0
    along = tl.where(positive, along / temperature, 0.0)
    tl.store(gradient + query * (ROWS * COLS) + place, along, mask=row < ROWS)
