"""docs/formats.md: its table, which is made from `FORMATS`.

`python -m tests.formats_page` writes it anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from dinotrack.formats import FORMATS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats.md"
BETWEEN = re.compile(r"(?<=<!-- formats -->\n).*?(?=<!-- /formats -->)", re.DOTALL)
"""What the table takes the place of."""


def table() -> str:
    """All formats as a table of Markdown."""
    rows = [("format", "ending", "program", "", "frame 0", "hidden stretch"), ("---",) * 6]
    for name, each in FORMATS.items():
        does = " and ".join(
            word for word, able in (("written", each.write), ("read", each.read)) if able
        )
        program = each.program
        if each.needs:
            packages = " ".join(each.needs.values())
            program += f" (`pip install {packages}`)"
        first = str(each.first_frame)
        rows.append((f"`{name}`", f"`{each.ending}`", program, does, first, each.hidden))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BETWEEN.sub(lambda _: table(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
