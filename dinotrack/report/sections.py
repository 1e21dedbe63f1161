"""The report of a run: one self-contained HTML file, of a section after the other.

A section is a function of a `Story` that gives HTML, and one line in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dinotrack.errors import printable
from dinotrack.files import replacing
from dinotrack.progress import Progress, silent
from dinotrack.report import markup
from dinotrack.report.answers import answers_section
from dinotrack.report.browser import browser_section
from dinotrack.report.charts import losses_section, stages_section
from dinotrack.report.colours import colours_section
from dinotrack.report.motion import overlay_section, trajectories_section
from dinotrack.report.neighbours import neighbours_section
from dinotrack.report.repeating import repeating_section
from dinotrack.report.story import Story

SECTIONS: dict[str, Callable[[Story], str]] = {
    "Overlay": overlay_section,
    "Trajectories": trajectories_section,
    "Tracks": browser_section,
    "Features as colours": colours_section,
    "Features along tracks": neighbours_section,
    "Where points were looked for": answers_section,
    "Losses": losses_section,
    "Time and memory": stages_section,
    "How to repeat it": repeating_section,
}
"""The title of a section -> the function that writes it, in the order of the page."""


def report_page(story: Story, progress: Progress = silent) -> str:
    """The whole page."""
    sections = {}
    for done, (title, write) in enumerate(SECTIONS.items()):
        progress("report", done, len(SECTIONS))
        sections[title] = write(story)
    progress("report", len(SECTIONS), len(SECTIONS))
    name = f"dinotrack: {printable(story.name)}"
    return markup.page(name, markup.contents(SECTIONS), sections, markup.resource("browser.js"))


def write_report(path: Path, story: Story, progress: Progress = silent) -> None:
    """Write the report of a run into an .html file. Raises InputError where that can't be."""
    page = report_page(story, progress)
    with replacing(path) as part:
        part.write_bytes(page.encode("utf-8", "backslashreplace"))
