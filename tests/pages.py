"""The code blocks and the tables of the README and of docs/, as tests read them."""

import functools
import json
import re
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:\A|\n\n)((?:    [^\n]*\n(?:\n(?=    ))?)+)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: (language, "" where none is given, text)."""
    text = page.read_text(encoding="utf-8")
    indented = INDENTED.findall(FENCE.sub("", text) + "\n")
    return FENCE.findall(text) + [("", textwrap.dedent(block)) for block in indented]


@functools.cache
def documented(name: str) -> dict[str, Any]:
    """What docs/files.md says of a file: its `fields`, and its `example` row, which is None where there is none.

    name: the heading of the file's section, without backticks.
    """
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    sections = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)
    about = dict(zip(sections[1::2], sections[2::2], strict=True))
    section = next(text for heading, text in about.items() if heading.replace("`", "") == name)
    fields = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    examples = [json.loads(text) for language, text in FENCE.findall(section) if language == "json"]
    return {"fields": fields, "example": examples[0] if examples else None}
