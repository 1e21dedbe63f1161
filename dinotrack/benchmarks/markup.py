"""HTML and SVG that stand by themselves: figures, tables, and drawings of a few shapes."""

import base64
import html
from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from jaxtyping import Bool

from dinotrack.benchmarks.pictures import Picture

STYLE = """<style>
body { font: 14px sans-serif; margin: 2em; color: #222; background: #f4f5f7 }
.row { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start }
figure { margin: 0 } figcaption { font-size: 11px }
td { padding: 1px 12px 1px 0 } td + td { text-align: right } svg text { font-size: 8px; fill: #444 }
.box { display: inline-block; width: 12px; height: 12px; border: 1px solid #999; margin-left: 10px }
</style>"""


def page(title: str, introduction: str, sections: Mapping[str, str]) -> str:
    """A whole page. introduction and sections are HTML, the sections by their titles."""
    name = html.escape(title)
    head = f'<head><meta charset="utf-8"><title>{name}</title>\n{STYLE}</head>'
    parts = [f"<h2>{heading}</h2>\n{content}\n" for heading, content in sections.items()]
    body = f"<body><h1>{name}</h1>\n{introduction}\n{''.join(parts)}</body>"
    return f'<!doctype html>\n<html lang="en">{head}\n{body}</html>\n'


def row(parts: Iterable[str]) -> str:
    """HTML side by side."""
    return f'<div class="row">{"".join(parts)}</div>'


def figure(picture: Picture, caption: str) -> str:
    """A picture, as a JPEG inside the page, with a caption."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    source = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
    image = f'<img src="{source}" alt="">'
    text = f"<figcaption>{html.escape(caption)}</figcaption>"
    return f'<figure style="width:{picture.shape[1]}px">{image}{text}</figure>'


def table(rows: Mapping[str, str]) -> str:
    """Names and values."""
    lines = [
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    ]
    return f"<table>{''.join(lines)}</table>"


def drawing(left: float, top: float, width: float, height: float, parts: Iterable[str]) -> str:
    """An SVG of that box."""
    box = f"{left:g} {top:g} {width:g} {height:g}"
    inner = "".join(parts)
    return f'<svg viewBox="{box}" width="{width:g}" height="{height:g}">{inner}</svg>'


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Words in a drawing. anchor: start, middle or end."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{html.escape(words)}</text>'


def dot(x: float, y: float, radius: float, colour: str) -> str:
    """A filled circle in a drawing."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>'


def boxes(corners: Iterable[tuple[float, float, float]], height: float, colour: str) -> str:
    """Filled boxes of one height in a drawing, as one path. corners: (left, top, width) of each."""
    path = "".join(
        f"M{left:g} {top:g}h{width:g}v{height:g}h{-width:g}z" for left, top, width in corners
    )
    return f'<path fill="{colour}" d="{path}"/>'


def stretches(where: Bool[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """The runs of true: (first, one past the last) of each."""
    padded = np.concatenate(([0], where.astype(int), [0]))
    edges = np.flatnonzero(np.diff(padded)).reshape(-1, 2)
    return [(first, end) for first, end in edges.tolist()]
