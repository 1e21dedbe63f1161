"""HTML and SVG that stand by themselves: pages, figures, tables, and drawings of a few shapes."""

import base64
import hashlib
import html
import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from dinotrack.report.pictures import Picture

VIEWPORT = '<meta name="viewport" content="width=device-width,initial-scale=1">'
QUALITY = 85
"""Of JPEGs, out of 100."""


def page(title: str, introduction: str, sections: Mapping[str, str], script: str = "") -> str:
    """A whole page. introduction and sections are HTML, the sections by their titles.

    script: JavaScript that the page runs. A page with one lets nothing else run, whatever its texts
    say, and no browser fetches anything for it.
    """
    name = html.escape(title)
    meta = '<meta charset="utf-8">' + VIEWPORT
    style = f"<style>\n{resource('page.css')}</style>"
    head = f"<head>{meta}{_policy(script) if script else ''}<title>{name}</title>\n{style}</head>"
    parts = [
        f'<section id="{anchor(heading)}"><h2>{heading}</h2>\n{content}</section>\n'
        for heading, content in sections.items()
    ]
    run = f"<script>{script}</script>\n" if script else ""
    body = f"<body><h1>{name}</h1>\n{introduction}\n{''.join(parts)}{run}</body>"
    return f'<!doctype html>\n<html lang="en">{head}\n{body}</html>\n'


def resource(name: str) -> str:
    """A file that lies beside this one, which goes into pages."""
    return importlib.resources.files("dinotrack.report").joinpath(name).read_text("utf-8")


def contents(headings: Iterable[str]) -> str:
    """Links to sections of the same page."""
    links = (f'<a href="#{anchor(heading)}">{heading}</a>' for heading in headings)
    return f"<nav>{''.join(links)}</nav>"


def anchor(heading: str) -> str:
    """The name by which a link finds a section."""
    return "about-" + re.sub(r"\W+", "-", heading.lower()).strip("-")


def paragraph(words: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(words)}</p>"


def row(parts: Iterable[str]) -> str:
    """HTML side by side."""
    return f'<div class="row">{"".join(parts)}</div>'


def figure(picture: Picture, caption: str, kind: str = "") -> str:
    """A picture, as a JPEG inside the page, with a caption. kind: a class of page.css."""
    image = f'<img src="{jpeg(picture)}" alt="">'
    words = f"<figcaption>{html.escape(caption)}</figcaption>"
    width = picture.shape[1]
    named = f' class="{kind}"' if kind else ""
    return f'<figure{named} style="width:{width}px">{image}{words}</figure>'


def jpeg(picture: Picture, quality: int = QUALITY) -> str:
    """A picture as a JPEG, as a URL that holds it."""
    _, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return embedded(content.tobytes(), "image/jpeg")


def embedded(content: bytes, kind: str) -> str:
    """A file as a URL that holds it. kind: its MIME type."""
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")


def packed(numbers: np.ndarray) -> str:
    """An array as text that a script reads: its bytes, the lowest of each number first."""
    little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")


def island(name: str, values: Any) -> str:
    """Values that a script of the page reads, as JSON that can't end the element it stands in."""
    text_of = json.dumps(values, allow_nan=False, separators=(",", ":"))
    safe = text_of.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def table(rows: Mapping[str, str], kind: str = "") -> str:
    """Names and values. kind: a class of page.css."""
    lines = [
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    ]
    named = f' class="{kind}"' if kind else ""
    return f"<table{named}>{''.join(lines)}</table>"


def drawing(
    left: float, top: float, width: float, height: float, parts: Iterable[str], kind: str = ""
) -> str:
    """An SVG of that box. kind: a class of page.css."""
    box = f"{left:g} {top:g} {width:g} {height:g}"
    inner = "".join(parts)
    named = f' class="{kind}"' if kind else ""
    return f'<svg{named} viewBox="{box}" width="{width:g}" height="{height:g}">{inner}</svg>'


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


def _policy(script: str) -> str:
    """What tells a browser to run this script alone, and to fetch nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    allowed = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
    return policy + '<link rel="icon" href="data:,">'
