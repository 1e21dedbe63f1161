"""Features as colours: their principal components, as in figure 1 of the DINOv2 paper.

The first component of all features tells the foreground from the rest (foreground.py). The first
three components of the foreground's features are then shown as red, green and blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinotrack.foreground import pca_foreground
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.media.frames import one_frame
from dinotrack.report import markup, pictures
from dinotrack.report.pictures import WIDE
from dinotrack.report.story import Story

PICTURES = 4
"""Frames that are shown."""
LOW, HIGH = 0.02, 0.98
"""Quantiles of a component that are the darkest and the brightest."""
LEAST = 8
"""Cells; a foreground of fewer has no components."""


def colours_section(story: Story) -> str:
    """The components of raw features beside those of refined ones."""
    every = range(len(story.shown))
    step = max(1, len(story.shown) // PICTURES)
    chosen = list(every[::step])[:PICTURES]
    parts = [markup.row(_frame(story, place) for place in chosen)]
    first = next(iter(story.features.values()))
    found = foreground(first, story.fitted.config.foreground.threshold)
    for name, maps in story.features.items():
        masks = at_cells(found, first.grid, maps.grid)
        colours = component_colours(maps, masks)
        parts.append(markup.row(_cells(story, name, maps, (colours, masks), c) for c in chosen))
    said = (
        "The three strongest components of the features of the foreground, as red, green and blue. "
        "The foreground is what the first component of all features sets apart, and the rest is "
        "dark. "
        "Cells of one colour look alike to the tracker, so a part of a thing should keep its "
        "colour from frame to frame. Colours of different rows have nothing to do with each other. "
    )
    missing = "This fit has no ViT, so there are no raw features. " if story.raw is None else ""
    return "".join(parts) + markup.paragraph(said + missing)


def foreground(maps: FeatureMaps, threshold: float) -> Bool[Tensor, "T h w"]:
    """The cells that the first component sets apart; all of them where these are too few."""
    found = pca_foreground(maps.values.float(), threshold)
    return found if found.sum() >= LEAST else torch.ones_like(found)


def at_cells(where: Bool[Tensor, "T h w"], grid: Grid, other: Grid) -> Bool[Tensor, "T rows cols"]:
    """Which cells of another grid lie on the cells that are chosen of one."""
    chosen = FeatureMaps(where[:, None].float(), grid)
    return chosen.resampled(other).values[:, 0] > 0.5


def component_colours(maps: FeatureMaps, where: Bool[Tensor, "T h w"]) -> UInt8[Tensor, "T h w 3"]:
    """RGB of all cells by the first three components of the cells that are chosen."""
    return components(maps, where).colours(maps)


@dataclass(frozen=True)
class Components:
    """The three strongest components of some features, as colours."""

    mean: Float[Tensor, " C"]
    axes: Float[Tensor, "C 3"]
    low: Float[Tensor, " 3"]
    high: Float[Tensor, " 3"]
    """What is darkest and brightest along each axis."""

    def colours(self, maps: FeatureMaps) -> UInt8[Tensor, "T h w 3"]:
        """RGB of all cells of any maps of the same features.

        Each component spans all levels, but for a few outliers. Where there are fewer components,
        the others are grey.
        """
        along = (_tokens(maps) - self.mean) @ self.axes
        flat = self.high - self.low < 1e-6
        unit = ((along - self.low) / torch.where(flat, 1.0, self.high - self.low)).clamp(0, 1)
        return (255 * torch.where(flat, 0.5, unit)).round().to(torch.uint8)


def components(maps: FeatureMaps, where: Bool[Tensor, "T h w"]) -> Components:
    """The first three components of the cells that are chosen, of unit length."""
    chosen = _tokens(maps)[where.cpu()]
    mean = chosen.mean(dim=0)
    centred = chosen - mean
    axes = _axes(centred)
    span = centred @ axes
    return Components(mean, axes, _quantiles(span, LOW), _quantiles(span, HIGH))


def _tokens(maps: FeatureMaps) -> Float[Tensor, "T h w C"]:
    """The features of all cells, of unit length."""
    return F.normalize(maps.values.float(), dim=1).permute(0, 2, 3, 1).cpu()


def _axes(centred: Float[Tensor, "K C"]) -> Float[Tensor, "C 3"]:
    """The first three principal directions, each with its largest entry positive; 0 beyond the
    channels that there are."""
    moment = centred.double().T @ centred.double()
    vectors = torch.linalg.eigh(moment).eigenvectors[:, -3:].flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    signed = vectors * torch.where(largest < 0, -1.0, 1.0)
    axes = torch.zeros(len(vectors), 3)
    axes[:, : signed.shape[1]] = signed.float()
    return axes


def _quantiles(span: Float[Tensor, "K 3"], share: float) -> Float[Tensor, " 3"]:
    """Of each column. Sorting has no limit to how many numbers it takes."""
    place = round(share * (len(span) - 1))
    return span.sort(dim=0).values[place]


def _frame(story: Story, place: int) -> str:
    t = story.shown[place]
    frame = pictures.shrunk(one_frame(story.fitted.video.frames, t), WIDE)
    return markup.figure(frame, f"frame {t}", "half")


def _cells(
    story: Story,
    name: str,
    maps: FeatureMaps,
    seen: tuple[UInt8[Tensor, "T h w 3"], Bool[Tensor, "T h w"]],
    place: int,
) -> str:
    t = story.shown[place]
    frame = one_frame(story.fitted.video.frames, t)
    colours, where = (values[place].cpu().numpy() for values in seen)
    picture = pictures.cells(frame, colours, where, maps.grid, story.fitted.flow.size)
    return markup.figure(picture, f"{name}, frame {t}", "half")
