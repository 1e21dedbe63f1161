"""The tables of formats in docs/formats.md and README.md, which are made from `FORMATS`.

`python -m tests.formats_page` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from dinotrack.formats import FORMATS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "formats.md"
README = ROOT / "README.md"
BETWEEN = re.compile(r"(?<=<!-- formats -->\n).*?(?=<!-- /formats -->)", re.DOTALL)
"""What the table takes the place of."""


def table() -> str:
    """All formats as a table of Markdown."""
    head = ("format", "ending", "program", "here it is", "frame 0", "hidden stretch")
    rows = [head, ("---",) * len(head)]
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


def short_table() -> str:
    """The same without what only docs/formats.md explains."""
    rows = ["| `--format` | program | here it is |\n", "|---|---|---|\n"]
    for line in table().splitlines()[2:]:
        name, ending, program, does, *_ = line.strip("| ").split(" | ")
        rows.append(f"| {name} ({ending}) | {program} | {does} |\n")
    return "".join(rows)


def main() -> None:
    """Write the tables into their pages."""
    for page, made in ((PAGE, table()), (README, short_table())):
        text = page.read_text(encoding="utf-8")
        page.write_text(BETWEEN.sub(lambda _, made=made: made, text), encoding="utf-8")


if __name__ == "__main__":
    main()
