"""What docs/studio.md says of keys is what the page does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "dinotrack" / "studio" / "page"


def told_by_the_page() -> list[tuple[str, str]]:
    """The keys of keys.js and what they do, as the help sheet shows them."""
    source = (PAGE / "keys.js").read_text(encoding="utf-8")
    table = source.partition("const GROUPS = [")[2].partition("\n];")[0]
    return re.findall(r'^    \[\[.*?\], "([^"]+)", "([^"]+)"[,\]]', table, re.MULTILINE)


def told_by_the_docs() -> list[tuple[str, str]]:
    """The rows of the table in docs/studio.md."""
    text = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")
    table = text.partition("## Keys")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*`) \| (.*) \|$", table, re.MULTILINE)
    return [(keys.replace("`", ""), what) for keys, what in rows]


def test_docs_tell_of_every_key() -> None:
    assert len(told_by_the_page()) > 30
    assert told_by_the_docs() == told_by_the_page()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No address of another site, no style or script within the page, modules of our size."""
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, file
        assert len(text.splitlines()) <= 350, file
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
