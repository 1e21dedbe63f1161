"""The diagnosis of one case as a self-contained HTML page."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool

from dinotrack import metrics
from dinotrack.benchmarks.case import Case, faults, mistakes, worst_points
from dinotrack.benchmarks.truth import NEAR
from dinotrack.certainty import Certainty, reliability
from dinotrack.geometry import rescale
from dinotrack.media.frames import one_frame
from dinotrack.report import markup, pictures
from dinotrack.report.likeness import correlations, heat_picture, moments
from dinotrack.report.markup import boxes, dot, drawing, figure, stretches, text
from dinotrack.report.pictures import FOUND, TRUE, Picture, Place

CELL = (14, 8)
"""Px: a frame and a point of the error map."""
LIMITS = metrics.THRESHOLDS
"""Px at 256 x 256: the steps of the error map's colours."""
COLOURS = ("#1a9850", "#66bd63", "#c2e699", "#fed976", "#fd8d3c", "#bd0026")
HIDDEN = "#b8bcc4"
UNJUDGED = "#ffffff"
BLACK = "#000000"
BLUE = "#2166ac"

GUIDE = """<p>Green ring: the truth. Red ring: where the point was found. Heat: cosine between the
query's feature and each cell, from the frame's median (dark) to its best (bright). Errors are px at
256 x 256.</p>"""


def page(case: Case, about: str) -> str:
    """The whole page. about: which fit this is."""
    sections = {
        "In short": summary(case),
        "Error over time": error_map(case),
        "Is confidence what it says?": reliability_plot(case.certainty),
        "The worst points": "".join(point_strip(case, n) for n in worst_points(case)),
        "Said to be visible, but hidden": mistake_gallery(case, said=True),
        "Said to be hidden, but visible": mistake_gallery(case, said=False),
    }
    return markup.page(f"{case.name}: {about}", GUIDE, sections)


def summary(case: Case) -> str:
    """Tables of the metrics, and of whose fault large errors are."""
    score = case.truth.score(case.xy, case.visible) | case.certainty.scores()
    percent = {
        "average Jaccard": score["average_jaccard"],
        "delta": score["average_pts_within_thresh"],
        "occlusion accuracy": score["occlusion_accuracy"],
        "recall mean": score["recall_mean"],
        "delta after occlusion": score["after_occlusion"],
        "AJ_RD": score["redetection_jaccard"],
        "calibration error": score["ece"],
        "AUROC of confidence": score["auroc"],
    }
    shown = {
        name: "-" if np.isnan(value) else f"{100 * value:.1f} %" for name, value in percent.items()
    }
    known = faults(case)
    off = known.path + known.features
    missed = case.wrong(said=False).sum()
    invented = case.wrong(said=True).sum()
    hidden = (case.judged & ~case.true_visible).sum()
    blame = {
        f"visible, yet {NEAR:g} px or more off (at 256 x 256)": f"{off} of {known.seen}",
        "... where the most similar cell is right: the path's fault": f"{known.path}",
        "... where another place is more similar: the features' fault": f"{known.features}",
        "said to be hidden, but visible": f"{missed} of {known.seen}",
        "said to be visible, but hidden": f"{invented} of {hidden}",
        "median error": f"{score['median_px']:.2f} px of the video",
    }
    return markup.row((markup.table(shown), markup.table(blame)))


def error_map(case: Case) -> str:
    """Points x frames, the worst on top, coloured by error, as SVG."""
    width, height = CELL
    count, length = case.error.shape
    order = worst_points(case, count)
    order += sorted(set(range(count)) - set(order))
    kind = np.digitize(case.error, LIMITS)
    kind[~case.true_visible] = len(COLOURS)
    kind[~case.judged] = len(COLOURS) + 1
    layers = [
        _cells(kind[order] == number, colour, 0, height - 1)
        for number, colour in enumerate((*COLOURS, HIDDEN, UNJUDGED))
    ]
    unseen = (case.judged & ~case.visible)[order]
    layers.append(_cells(unseen, BLACK, height / 2 - 1, 1.5))
    names = [text(-4, (r + 1) * height - 2, str(n), "end") for r, n in enumerate(order)]
    times = [text((t + 0.5) * width, -4, str(t), "middle") for t in range(0, length, 5)]
    queries = [
        dot((case.query_frame[n] + 0.5) * width, (r + 0.4) * height, 2.2, BLUE)
        for r, n in enumerate(order)
    ]
    size = width * length + 40, height * count + 20
    return _legend() + drawing(-30, -16, *size, [*layers, *names, *times, *queries])


def reliability_plot(certainty: Certainty) -> str:
    """The share that was visible and near, against confidence, one dot for each of bins of equal
    mass, as SVG."""
    side = 220
    bins = reliability(certainty.confidence, certainty.correct)
    means, shares, counts = (values.tolist() for values in bins)
    points = [
        (side * mean, side * (1 - share), count)
        for mean, share, count in zip(means, shares, counts, strict=True)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    ticks = (0, 0.5, 1)
    diagonal = f'<line x1="0" y1="{side}" x2="{side}" y2="0" stroke="#888" stroke-dasharray="4"/>'
    parts = [
        f'<rect width="{side}" height="{side}" fill="none" stroke="#888"/>',
        diagonal,
        f'<polyline points="{line}" fill="none" stroke="{BLUE}"/>',
        *(_counted_dot(x, y, count) for x, y, count in points),
        *(text(side * tick, side + 12, f"{tick:g}", "middle") for tick in ticks),
        *(text(-4, side * (1 - tick) + 3, f"{tick:g}", "end") for tick in ticks),
        text(side / 2, side + 24, "confidence", "middle"),
        text(4, -6, f"share visible and within {NEAR:g} px", "start"),
    ]
    return drawing(-30, -18, side + 50, side + 48, parts)


def point_strip(case: Case, n: int) -> str:
    """A point's query and its worst moments: crops, and the correlation maps of these whole
    frames."""
    times = moments(case.error[n], case.seen[n])
    crops = [figure(_query_crop(case, n), f"query, frame {case.query_frame[n]}")]
    crops += [_moment(case, n, t) for t in times]
    heats = [_heat_figure(case, n, t) for t in times]
    mean = case.error[n][case.seen[n]].mean()
    heading = f"<h3>Point {n}: {mean:.1f} px off on average</h3>"
    return heading + markup.row(crops) + markup.row(heats)


def mistake_gallery(case: Case, said: bool) -> str:
    """Crops of the surest mistakes, and a list of them all."""
    wrong = case.wrong(said)
    rows = {f"point {n}": ", ".join(spans(wrong[n])) for n in np.flatnonzero(wrong.any(axis=1))}
    if not rows:
        return "<p>Never.</p>"
    shown = markup.row(_mistakes(case, said))
    title = f"<summary>{wrong.sum()} mistakes, all of them</summary>"
    return f"{shown}<details>{title}{markup.table(rows)}</details>"


def spans(where: Bool[np.ndarray, " T"]) -> list[str]:
    """The runs of true, as "3" or "5-9"."""
    return [
        f"{first}" if end - first == 1 else f"{first}-{end - 1}" for first, end in stretches(where)
    ]


def _moment(case: Case, n: int, t: int) -> str:
    """Where a point is and where it was found, in a frame."""
    tile = _crop(case, t, case.true_xy[n, t], case.xy[n, t])
    hidden = "" if case.visible[n, t] else ", said to be hidden"
    sure = f"confidence {case.confidence[n, t]:.2f}"
    return figure(tile, f"frame {t}: {case.error[n, t]:.1f} px off{hidden}, {sure}")


def _mistakes(case: Case, said: bool) -> Iterator[str]:
    for n, t in mistakes(case, said):
        true = None if said else case.true_xy[n, t]
        tile = _crop(case, t, true, case.xy[n, t])
        caption = f"query | point {n}, frame {t}, confidence {case.confidence[n, t]:.2f}"
        yield figure(np.hstack((_query_crop(case, n), tile)), caption)


def _crop(case: Case, t: int, true: Place | None, found: Place | None) -> Picture:
    return pictures.crop(one_frame(case.fitted.video.frames, t), true, found)


def _query_crop(case: Case, n: int) -> Picture:
    """The query, as if it were the truth."""
    return _crop(case, int(case.query_frame[n]), case.truth.queries[n, 1:], None)


def _heat_figure(case: Case, n: int, t: int) -> str:
    """Where in a frame the query's feature has a match."""
    fitted = case.fitted
    cosines = correlations(fitted, case.truth.queries[n : n + 1], t)
    places = np.stack((case.true_xy[n, t], case.xy[n, t]))
    working = rescale(torch.from_numpy(places).float(), fitted.video.size, fitted.flow.size)
    read = fitted.maps.grid.sample(cosines[None], working.to(cosines.device)[None])
    true, found = read[0, :, 0].tolist()
    marks = ((places[0], TRUE), (places[1], FOUND))
    picture = heat_picture(fitted, cosines[0], t, marks)
    where = f"{true:.2f} at the truth, {found:.2f} where found"
    return figure(picture, f"frame {t}: cosine {where}, {cosines.max():.2f} at the best")


def _cells(where: Bool[np.ndarray, "N T"], colour: str, top: float, height: float) -> str:
    """The true cells of the error map, each run of frames as one box."""
    width, pitch = CELL
    corners = [
        (first * width, number * pitch + top, (end - first) * width)
        for number, line in enumerate(where)
        for first, end in stretches(line)
    ]
    return boxes(corners, height, colour)


def _counted_dot(x: float, y: float, count: int) -> str:
    """A dot that says how many samples it stands for."""
    where = f'cx="{x:.1f}" cy="{y:.1f}"'
    return f'<circle {where} r="4" fill="{BLUE}"><title>{count} samples</title></circle>'


def _legend() -> str:
    """What the colours of the error map mean."""
    names = [*(f"under {limit} px" for limit in LIMITS), f"{LIMITS[-1]} px or more"]
    names += ["truly hidden", "not judged"]
    shown = [
        f'<span class="box" style="background:{colour}"></span> {name}'
        for colour, name in zip((*COLOURS, HIDDEN, UNJUDGED), names, strict=True)
    ]
    return f"<p>{' '.join(shown)}. Black line: said to be hidden. Blue dot: the query.</p>"
