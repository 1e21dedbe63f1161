"""What the fit was like: its losses, and the time and the memory of each stage."""

from __future__ import annotations

import html

import numpy as np
from jaxtyping import Float

from dinotrack.report import markup
from dinotrack.report.story import Story

WIDTH, HEIGHT = 320, 150
"""Px: of the plot of one loss."""
MOST_STEPS = 400
"""Points of a curve; of a longer fit, each is the mean of some steps."""
SMOOTH = 20
"""So many parts of a fit: a smooth curve is the mean over such a part."""
BAR = 9.0
"""Em: the longest bar."""


def losses_section(story: Story) -> str:
    """A curve for each term of the loss."""
    losses = {name: np.asarray(values, float) for name, values in _losses(story).items()}
    if not losses:
        return markup.paragraph("No step was trained, or an older fit did not note its losses.")
    plots = (curve(name, values) for name, values in losses.items())
    return markup.row(plots) + markup.paragraph(
        "Each term of the loss over the steps, as it is before it is weighted; the strong line is "
        "its running mean. Single steps differ, because each sees other frames."
    )


def _losses(story: Story) -> dict[str, list[float]]:
    held = story.fitted.state.losses
    return {name: list(values) for name, values in held.items() if len(values) > 0}


def curve(name: str, values: Float[np.ndarray, " S"]) -> str:
    """One loss as SVG: every step thin, and their running mean strong."""
    steps = len(values)
    kept = _thinned(values)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return ""
    top = max(float(np.quantile(kept, 0.995)), 1e-12)
    window = max(1, len(kept) // SMOOTH)
    padded = np.pad(kept, (window // 2, window - 1 - window // 2), mode="edge")
    smooth = np.convolve(padded, np.full(window, 1 / window), mode="valid")
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" class="rule"/>',
        _line(kept, top, 'class="ink" stroke-width="0.7" opacity="0.45"'),
        _line(smooth, top, 'class="ink" stroke-width="2"'),
        markup.text(0, -6, name, "start"),
        markup.text(-4, 10, f"{top:.3g}", "end"),
        markup.text(-4, HEIGHT, "0", "end"),
        markup.text(WIDTH, HEIGHT + 14, f"{steps:,} steps", "end"),
    ]
    return markup.drawing(-48, -20, WIDTH + 52, HEIGHT + 38, parts, "chart")


def _thinned(values: Float[np.ndarray, " S"]) -> Float[np.ndarray, " K"]:
    """At most MOST_STEPS numbers, each the mean of the steps that it stands for."""
    parts = np.array_split(values, min(len(values), MOST_STEPS))
    return np.array([part.mean() for part in parts])


def _line(values: Float[np.ndarray, " K"], top: float, look: str) -> str:
    across = np.linspace(0, WIDTH, len(values)) if len(values) > 1 else np.array((WIDTH / 2,))
    down = HEIGHT * (1 - (values / top).clip(0, 1))
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return f'<polyline points="{places}" {look}/>'


def stages_section(story: Story) -> str:
    """Seconds and peak memory of each stage, as the run noted them."""
    seconds = story.numbers("seconds")
    if not seconds:
        return markup.paragraph("There is no run.json that tells it.")
    memory = story.numbers("peak_megabytes")
    most = max(max(seconds.values()), 1e-9)
    peak = max(max(memory.values(), default=0.0), 1e-9)
    rows = [
        _stage(name, (taken, most), (memory.get(name), peak)) for name, taken in seconds.items()
    ]
    whole = f"<tr><td><b>in all</b></td><td>{sum(seconds.values()):.1f} s</td><td></td></tr>"
    said = (
        "Memory is the most that the process had held by the end of the stage. Where a fit was "
        "loaded rather than trained, the times are those of the run that loaded it."
    )
    table = f'<div class="scroll"><table>{"".join(rows)}{whole}</table></div>'
    return table + markup.paragraph(said)


def _stage(name: str, time: tuple[float, float], memory: tuple[float | None, float]) -> str:
    """A row of the table. time, memory: what the stage took, and the most that any did."""
    taken, longest = time
    held, most = memory
    cells = [html.escape(name), f"{taken:.1f} s {_bar(taken / longest)}"]
    cells.append("" if held is None else f"{held:.0f} MB {_bar(held / most)}")
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _bar(share: float) -> str:
    width = BAR * min(max(share, 0.0), 1.0)
    blank = BAR - width
    style = f"width:{width:.2f}em;margin-right:{blank:.2f}em"
    return f'<span class="bar" style="{style}"></span>'
