"""What the tools that write pages of docs/ from the code share."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from jprm.errors import UserError


def cell(text: str) -> str:
    """A text of one line as a cell of a Markdown table: its bars are escaped."""
    return text.replace("|", r"\|")


def prose(text: str) -> str:
    """A text that Markdown shows as it is: what looks like HTML outside of backticks is escaped."""
    text = text.replace("```", r"\`\`\`")  # a fence that is spoken of begins no code
    parts = re.split(r"(?<!\\)(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def written(page: Callable[[], str], path: Path, tool: str, check: bool) -> int:
    """Writes a page, or with `check` compares it; returns the exit code, 1 where it is not current.

    tool: the module to name for writing it anew. A UserError of `page` is told in one line, with exit code 2.
    """
    try:
        text = page()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not check:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path}: not current; run: python -m {tool}", file=sys.stderr)
    return 1
