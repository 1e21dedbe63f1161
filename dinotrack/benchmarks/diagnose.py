"""Shows where a fit goes wrong: one self-contained HTML page for each clip with TAP-Vid-like truth.

Metrics, whose fault large errors are, errors over time, reliability, the worst points with their
correlation maps, and mistakes of visibility.
"""

import argparse
import base64
import html
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from dinotrack import metrics
from dinotrack.benchmarks.datasets import NEAR, ROOT, Clip, Truth, open_datasets
from dinotrack.benchmarks.methods import Configuration, Options, make_method
from dinotrack.config import parse_assignment
from dinotrack.correlation import correlation_maps
from dinotrack.errors import InputError
from dinotrack.geometry import rescale
from dinotrack.inference import embed
from dinotrack.pipeline import Fitted
from dinotrack.tracks import Tracks
from dinotrack.video import Frames

HELP = "where and why a fit goes wrong, as HTML pages"
WORST = 6  # points shown
MOMENTS = 5  # frames shown of each
APART = 3  # frames between them, as neighbours look alike
TILE = 176  # px: the side of a crop
LEAST_CROP = 64.0  # px of the video that a crop shows at least
WIDE = 240  # px: the width of a whole frame
TRUE, FOUND = (40, 220, 60), (255, 50, 40)  # RGB
CELL = (14, 8)  # px: a frame and point of the error map
LIMITS = (1, 2, 4, 8, 16)  # px at 256 x 256: the colours' steps, and TAP-Vid's
COLOURS = ("#1a9850", "#66bd63", "#c2e699", "#fed976", "#fd8d3c", "#bd0026")
HIDDEN, UNJUDGED = "#b8bcc4", "#ffffff"

Array = npt.NDArray[Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """What a fit said of a clip's queries, beside the truth, over the truth's T frames.

    name: of the page. confidence, visible, judged, error [N, T]; xy [N, T, 2] px of the video.
    judged: bool, what
    TAP-Vid looks at. error: distance at 256 x 256, 0 where the truth is hidden. best [N, T, 2] px:
    the cell most similar to the query.
    """

    name: str
    fitted: Fitted
    truth: Truth
    xy: Array
    visible: Array
    confidence: Array
    judged: Array
    error: Array
    best: Array

    @property
    def frames(self) -> Frames:
        """uint8 RGB [T', H, W, 3], T' >= T."""
        return self.fitted.video.frames

    @property
    def true_xy(self) -> Array:
        """[N, T, 2] px."""
        return self.truth.arrays["tracks"]

    @property
    def true_visible(self) -> Array:
        """bool [N, T]."""
        return self.truth.arrays["visible"]

    @property
    def own(self) -> Array:
        """The frame of each query: int [N]."""
        return np.rint(self.truth.queries[:, 0]).astype(int)

    @property
    def seen(self) -> Array:
        """Judged and truly visible: bool [N, T]."""
        return self.judged & self.true_visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    default = os.environ.get("DINOTRACK_DATA", str(ROOT.parent / "shared"))
    parser.add_argument(
        "--data", type=Path, default=Path(default), help="folder that holds eval/ (DINOTRACK_DATA)"
    )
    parser.add_argument("--datasets", nargs="+", default=[], metavar="SET", help="as of `accuracy`")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only these clips")
    parser.add_argument("--method", default="fast", help="a preset or PRESET/ABLATION (fast)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change settings"
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="keep fits as DIR/CLIP-SEED, and use those there"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("diagnosis"), help="folder of the pages (diagnosis)"
    )


def run(args: argparse.Namespace, say: Say) -> list[Path]:
    """Writes a page for each clip and truth, says where, and returns their paths."""
    settings = dict(parse_assignment(text) for text in args.set)
    method = make_method(args.method, Options(settings, args.device, args.models))
    if not isinstance(method, Configuration):
        raise InputError(
            f"{args.method} has no fit to look into; choose a preset or PRESET/ABLATION"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    written = []
    for clip in open_datasets(args.datasets, args.data, args.clips):
        for case in diagnose(clip, method, args.seed):
            path = args.out / f"{case.name}.html"
            path.write_text(page(case, f"{args.method}, seed {args.seed}"), encoding="utf-8")
            say(f"wrote {path}")
            written.append(path)
    if not written:
        raise InputError(
            "none of these clips has truth about where points are hidden; choose TAP-Vid clips or layers"
        )
    return written


def diagnose(clip: Clip, method: Configuration, seed: int) -> list[Case]:
    """A case for each truth of a clip that says where points are and when they are hidden (BADJA
    doesn't)."""
    truths = [truth for truth in clip.truths if "tracks" in truth.arrays]
    if not truths:
        return []
    fitted = method.fit(clip.name, clip.video, seed)
    names = [clip.name, *(f"{clip.name}-{k}" for k in range(1, len(truths)))]
    return [compare(name, fitted, truth) for name, truth in zip(names, truths, strict=True)]


def compare(name: str, fitted: Fitted, truth: Truth) -> Case:
    """Track a truth's queries, and see how far off they are."""
    tracks: Tracks = fitted.track(truth.queries)
    part = np.s_[:, : truth.frames]
    off = metrics.scale_to_256(tracks.xy[part] - truth.arrays["tracks"], truth.size)
    error = np.where(truth.arrays["visible"], np.linalg.norm(off, axis=-1), 0.0)
    judged = metrics.evaluated_frames(truth.queries, truth.frames, truth.mode)
    best = best_cells(fitted, truth.queries)[part]
    return Case(
        name,
        fitted,
        truth,
        tracks.xy[part],
        tracks.visible[part],
        tracks.confidence[part],
        judged,
        error,
        best,
    )


@torch.no_grad()
def correlations(fitted: Fitted, queries: Array, t: int) -> torch.Tensor:
    """Cosines between the features at queries [N, 3] px of the video and all cells of frame t: [N,
    h, w]."""
    asked = torch.from_numpy(queries).float().to(fitted.maps.device)
    inner = torch.cat(
        (asked[:, :1], rescale(asked[:, 1:], fitted.video.size, _working(fitted))), dim=1
    )
    return correlation_maps(embed(fitted.maps, fitted.grid, inner), fitted.maps[t][None])


def best_cells(fitted: Fitted, queries: Array) -> Array:
    """Where in every frame the feature most similar to the query's lies: [N, T', 2] px of the
    video, a cell coarse."""
    centres = fitted.grid.centres(fitted.maps.device)
    columns = [
        centres[correlations(fitted, queries, t).flatten(1).argmax(dim=1)].cpu()
        for t in range(len(fitted.maps))
    ]
    return rescale(torch.stack(columns, dim=1), _working(fitted), fitted.video.size).numpy()


def faults(case: Case) -> tuple[int, int, int]:
    """Judged visible observations; those off by NEAR or more; and, of these, those whose best cell
    is nearer than that.

    Where the best cell is right, the features knew and the path went wrong; elsewhere they prefer
    another place.
    """
    bad = case.seen & (case.error >= NEAR)
    off = metrics.scale_to_256(case.best - case.true_xy, case.truth.size)
    knew = bad & (np.linalg.norm(off, axis=-1) < NEAR)
    return int(case.seen.sum()), int(bad.sum()), int(knew.sum())


def worst_points(case: Case, count: int = WORST) -> list[int]:
    """The rows with the largest mean error, capped at four times NEAR so that one leap isn't all
    that counts."""
    seen = case.seen
    mean = (case.error.clip(max=4 * NEAR) * seen).sum(axis=1) / seen.sum(axis=1).clip(min=1)
    order = np.argsort(-mean, kind="stable")[:count]
    return [int(n) for n in order if mean[n] > 0]


def moments(error: Array, where: Array, count: int = MOMENTS) -> list[int]:
    """The frames of the largest errors [T], out of `where` bool [T], APART or more from each other,
    in time's order."""
    chosen: list[int] = []
    for t in np.argsort(-error, kind="stable"):
        if (
            where[t]
            and all(abs(int(t) - other) >= APART for other in chosen)
            and len(chosen) < count
        ):
            chosen.append(int(t))
    return sorted(chosen)


def mistakes(case: Case, said: bool, count: int = WORST) -> list[tuple[int, int]]:
    """(point, frame) of the surest mistakes where visibility was `said`, wrongly; one a point."""
    wrong = case.judged & (case.visible == said) & (case.true_visible != said)
    doubt = np.where(wrong, -case.confidence if said else case.confidence, np.inf)
    frame = doubt.argmin(axis=1)
    order = np.argsort(doubt.min(axis=1), kind="stable")[:count]
    return [(int(n), int(frame[n])) for n in order if wrong[n].any()]


def page(case: Case, about: str) -> str:
    """The whole page as HTML."""
    sections = (
        ("In short", summary(case)),
        ("Error over time", error_map(case)),
        ("Is confidence what it says?", reliability_plot(*_certainty(case))),
        ("The worst points", "".join(point_strip(case, n) for n in worst_points(case))),
        ("Said to be visible, but hidden", mistake_gallery(case, said=True)),
        ("Said to be hidden, but visible", mistake_gallery(case, said=False)),
    )
    title = html.escape(f"{case.name}: {about}")
    head = f'<head><meta charset="utf-8"><title>{title}</title>\n{STYLE}</head>'
    body = "".join(f"<h2>{name}</h2>\n{content}\n" for name, content in sections)
    return f'<!doctype html>\n<html lang="en">{head}\n<body><h1>{title}</h1>\n{GUIDE}\n{body}</body></html>\n'


def summary(case: Case) -> str:
    """Tables of the metrics, and of whose fault large errors are."""
    score = case.truth.score(case.xy, case.visible)
    sure, right = _certainty(case)
    percent = {
        "average Jaccard": score["average_jaccard"],
        "delta": score["average_pts_within_thresh"],
        "occlusion accuracy": score["occlusion_accuracy"],
        "recall mean": score["recall_mean"],
        "delta after occlusion": score["after_occlusion"],
        "calibration error": metrics.calibration_error(sure, right),
        "AUROC of confidence": metrics.auroc(sure, right),
    }
    shown = {
        name: "-" if np.isnan(value) else f"{100 * value:.1f} %" for name, value in percent.items()
    }
    seen, bad, knew = faults(case)
    hidden = case.judged & ~case.true_visible
    blame = {
        f"visible, yet {NEAR:g} px or more off (at 256 x 256)": f"{bad} of {seen}",
        "... where the most similar cell is right: the path's fault": f"{knew}",
        "... where another place is more similar: the features' fault": f"{bad - knew}",
        "said to be hidden, but visible": f"{(case.seen & ~case.visible).sum()} of {seen}",
        "said to be visible, but hidden": f"{(hidden & case.visible).sum()} of {hidden.sum()}",
        "median error": f"{score['median_px']:.2f} px of the video",
    }
    return f'<div class="row">{_table(shown)}{_table(blame)}</div>'


def error_map(case: Case) -> str:
    """Points x frames, the worst on top, coloured by error, as SVG."""
    width, height = CELL
    count, length = case.error.shape
    order = worst_points(case, count)
    order += [n for n in range(count) if n not in set(order)]
    kind = np.digitize(case.error, LIMITS)
    kind[~case.true_visible], kind[~case.judged] = len(COLOURS), len(COLOURS) + 1
    layers = [
        _runs(kind[order] == k, colour, 0, height - 1)
        for k, colour in enumerate((*COLOURS, HIDDEN, UNJUDGED))
    ]
    layers.append(_runs((case.judged & ~case.visible)[order], "#000000", height / 2 - 1, 1.5))
    labels = [_text(-4, (row + 1) * height - 2, str(n), "end") for row, n in enumerate(order)]
    labels += [_text((t + 0.5) * width, -4, str(t), "middle") for t in range(0, length, 5)]
    labels += [
        f'<circle cx="{(case.own[n] + 0.5) * width}" cy="{(row + 0.4) * height}" r="2.2" fill="#2166ac"/>'
        for row, n in enumerate(order)
    ]
    return _legend() + _svg(-30, -16, width * length + 40, height * count + 20, layers + labels)


def reliability_plot(confidence: Array, truth: Array) -> str:
    """The share that was visible and near, against confidence, one dot for each of bins of equal
    mass, as SVG."""
    side = 220
    mean, share, count = metrics.reliability(confidence, truth)
    points = [(side * x, side * (1 - y)) for x, y in zip(mean, share, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [
        f'<rect width="{side}" height="{side}" fill="none" stroke="#888"/>',
        f'<line x1="0" y1="{side}" x2="{side}" y2="0" stroke="#888" stroke-dasharray="4"/>',
        f'<polyline points="{line}" fill="none" stroke="#2166ac"/>',
        *(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#2166ac"><title>{c} samples</title></circle>'
            for (x, y), c in zip(points, count, strict=True)
        ),
        *(_text(side * v, side + 12, f"{v:g}", "middle") for v in (0, 0.5, 1)),
        *(_text(-4, side * (1 - v) + 3, f"{v:g}", "end") for v in (0, 0.5, 1)),
        _text(side / 2, side + 24, "confidence", "middle"),
        _text(4, -6, f"share visible and within {NEAR:g} px", "start"),
    ]
    return _svg(-30, -18, side + 50, side + 48, parts)


def point_strip(case: Case, n: int) -> str:
    """A point's query and its worst moments: crops, and the correlation maps of these whole
    frames."""
    times = moments(case.error[n], case.seen[n])
    query = case.truth.queries[n]
    figures = [
        _figure(crop(case.frames[case.own[n]], query[1:], None), f"query, frame {case.own[n]}")
    ]
    for t in times:
        true, found = case.true_xy[n, t], case.xy[n, t]
        hidden = "" if case.visible[n, t] else ", said to be hidden"
        caption = f"frame {t}: {case.error[n, t]:.1f} px off{hidden}, confidence {case.confidence[n, t]:.2f}"
        figures.append(_figure(crop(case.frames[t], true, found), caption))
    heats = [_heat_figure(case, n, t) for t in times]
    mean = case.error[n][case.seen[n]].mean()
    return (
        f"<h3>Point {n}: {mean:.1f} px off on average</h3>"
        f'<div class="row">{"".join(figures)}</div><div class="row">{"".join(heats)}</div>'
    )


def _heat_figure(case: Case, n: int, t: int) -> str:
    cosines = correlations(case.fitted, case.truth.queries[n : n + 1], t)
    places = torch.from_numpy(np.stack((case.true_xy[n, t], case.xy[n, t]))).float()
    inner = rescale(places, case.fitted.video.size, _working(case.fitted)).to(cosines.device)
    true, found = case.fitted.grid.sample(cosines[None], inner[None])[0, :, 0].tolist()
    picture = heat_overlay(case.fitted, t, cosines[0].cpu().numpy())
    scale = WIDE / case.truth.size[1]
    _mark(picture, (case.true_xy[n, t] + 0.5) * scale - 0.5, TRUE)
    _mark(picture, (case.xy[n, t] + 0.5) * scale - 0.5, FOUND)
    caption = f"frame {t}: cosine {true:.2f} at the truth, {found:.2f} where found, {cosines.max():.2f} at the best"
    return _figure(picture, caption)


def mistake_gallery(case: Case, said: bool) -> str:
    """Crops of the surest mistakes, and a list of them all."""
    wrong = case.judged & (case.visible == said) & (case.true_visible != said)
    figures = []
    for n, t in mistakes(case, said):
        true = None if said else case.true_xy[n, t]
        caption = f"point {n}, frame {t}, confidence {case.confidence[n, t]:.2f}"
        query = crop(case.frames[case.own[n]], case.truth.queries[n, 1:], None)
        figures.append(
            _figure(
                np.hstack((query, crop(case.frames[t], true, case.xy[n, t]))), f"query | {caption}"
            )
        )
    rows = {f"point {n}": ", ".join(spans(wrong[n])) for n in np.flatnonzero(wrong.any(axis=1))}
    listed = (
        f"<details><summary>{wrong.sum()} mistakes, all of them</summary>{_table(rows)}</details>"
    )
    return f'<div class="row">{"".join(figures)}</div>{listed}' if rows else "<p>Never.</p>"


def spans(where: Array) -> list[str]:
    """bool [T] -> the runs of true, as "3" or "5-9"."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], where.astype(int), [0]))))
    return [f"{a}" if b - a == 1 else f"{a}-{b - 1}" for a, b in edges.reshape(-1, 2).tolist()]


def crop(frame: Frames, true: Array | None, found: Array | None) -> Frames:
    """A square of TILE px around one or two positions [2] px of a frame, both marked: uint8 RGB."""
    places = np.array([p for p in (true, found) if p is not None], float)
    centre, reach = (places.min(axis=0) + places.max(axis=0)) / 2, np.ptp(places, axis=0).max()
    scale = TILE / max(LEAST_CROP, 1.4 * reach)
    shift = TILE / 2 - scale * centre
    matrix = np.array(((scale, 0, shift[0]), (0, scale, shift[1])))
    tile = np.asarray(cv2.warpAffine(frame, matrix, (TILE, TILE), flags=cv2.INTER_LINEAR), np.uint8)
    for place, colour in ((true, TRUE), (found, FOUND)):
        if place is not None:
            _mark(tile, scale * place + shift, colour)
    return tile


def heat_overlay(fitted: Fitted, t: int, cosines: Array) -> Frames:
    """A whole frame, WIDE px, under a correlation map [h, w]: dark where below its median, hot at
    its best."""
    height, width = fitted.video.size
    size = WIDE, round(WIDE * height / width)
    rows, cols = _working(fitted)
    grid = fitted.grid
    ratio = np.array((size[0] / cols, size[1] / rows))
    shift = (grid.origin + 0.5) * ratio - 0.5
    matrix = np.array(
        ((grid.stride * ratio[0], 0, shift[0]), (0, grid.stride * ratio[1], shift[1]))
    )
    low = float(np.median(cosines))
    level = ((cosines - low) / max(float(cosines.max()) - low, 1e-6)).clip(0, 1).astype(np.float32)
    smooth = cv2.warpAffine(
        level, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    heat = cv2.applyColorMap(np.rint(255 * smooth).astype(np.uint8), cv2.COLORMAP_INFERNO)[
        ..., ::-1
    ]
    grey = cv2.cvtColor(
        cv2.resize(fitted.video.frames[t], size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    return np.asarray(
        cv2.addWeighted(np.ascontiguousarray(heat), 0.65, np.dstack((grey,) * 3), 0.35, 0), np.uint8
    )


def _mark(picture: Frames, xy: Array, colour: tuple[int, int, int]) -> None:
    """Draw a ring around a position [2] px of the picture, into it."""
    centre = [round(16 * float(v)) for v in np.clip(xy, -100, 2 * TILE + 2 * WIDE)]
    for thickness, shade in ((4, (0, 0, 0)), (2, colour)):
        cv2.circle(picture, centre, 16 * 6, shade, thickness, cv2.LINE_AA, 4)


def _certainty(case: Case) -> tuple[Array, Array]:
    """Confidence, and whether the point was visible and near, of the judged observations."""
    return case.truth.certainty(case.xy, case.confidence)


def _working(fitted: Fitted) -> tuple[int, int]:
    """(H, W) of the working frames."""
    return int(fitted.flow.forward.shape[-2]), int(fitted.flow.forward.shape[-1])


def _figure(picture: Frames, caption: str) -> str:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    source = base64.b64encode(data.tobytes()).decode("ascii")
    return (
        f'<figure style="width:{picture.shape[1]}px"><img src="data:image/jpeg;base64,{source}" alt="">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _table(rows: dict[str, str]) -> str:
    lines = (
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{''.join(lines)}</table>"


def _legend() -> str:
    names = [f"under {limit} px" for limit in LIMITS] + [
        f"{LIMITS[-1]} px or more",
        "truly hidden",
        "not judged",
    ]
    boxes = [
        f'<span class="box" style="background:{colour}"></span> {name}'
        for colour, name in zip((*COLOURS, HIDDEN, UNJUDGED), names, strict=True)
    ]
    return f"<p>{' '.join(boxes)}. Black line: said to be hidden. Blue dot: the query.</p>"


def _runs(where: Array, colour: str, top: float, height: float) -> str:
    """One SVG path that fills the true cells of a map [N, T], each run of frames as one box."""
    width, pitch = CELL
    boxes = []
    for row, line in enumerate(where):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(int), [0])))) * width
        boxes += [
            f"M{a} {row * pitch + top:g}h{b - a}v{height:g}h{a - b}z"
            for a, b in edges.reshape(-1, 2).tolist()
        ]
    return f'<path fill="{colour}" d="{"".join(boxes)}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _svg(left: float, top: float, width: float, height: float, parts: Iterable[str]) -> str:
    box = f"{left:g} {top:g} {width:g} {height:g}"
    return f'<svg viewBox="{box}" width="{width:g}" height="{height:g}">{"".join(parts)}</svg>'


GUIDE = """<p>Green ring: the truth. Red ring: where the point was found. Heat: cosine between the query's feature and
each cell, from the frame's median (dark) to its best (bright). Errors are px at 256 x 256.</p>"""
STYLE = """<style>
body { font: 14px sans-serif; margin: 2em; color: #222; background: #f4f5f7 }
.row { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start }
figure { margin: 0 } figcaption { font-size: 11px }
td { padding: 1px 12px 1px 0 } td + td { text-align: right } svg text { font-size: 8px; fill: #444 }
.box { display: inline-block; width: 12px; height: 12px; border: 1px solid #999; margin-left: 10px }
</style>"""
