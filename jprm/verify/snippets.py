"""The code of a rationale: which text of it is code, and how that is run and its output shown."""

import re

from pydantic import Field

from jprm.config import Config

TILDES = "\n~~~\n"
_FENCE = re.compile(
    r"^[ \t]*(?P<fence>```|~~~)[ \t]*\{?\.?(?:i?python[\d.]*|py[\d.]*)\}?(?:[ \t:,{][^\n`]*)?\r?\n",
    re.IGNORECASE | re.M,
)
_MARGIN = re.compile(r"(?:[ \t]*\r?\n)*([ \t]*)")


class CodeSettings(Config):
    """How code is read, run and shown. With nothing set it is as in the published program."""

    fences: bool = False
    """Let a block open with ```py, ```Python, ```python3 or with tildes, and be indented as a whole."""
    main: bool = False
    """Run the body of `if __name__ == "__main__":`."""
    keep_printed: bool = False
    """Show what was printed before an error, and then the error."""
    output_chars: int = Field(default=0, ge=0)
    """Of more characters of output show the first and the last half, and how many lie between; 0: the first 16384."""

    @property
    def options(self) -> str:
        """The line behind the code that tells the place which runs it what is asked (see `jprm.execute.runner`)."""
        from jprm.execute.runner import OPTIONS  # a configuration is read without the pool

        words = ["main"] * self.main + ["printed"] * self.keep_printed
        words += [f"ends={self.output_chars}"] if self.output_chars else []
        return OPTIONS + " ".join(words) if words else ""


def opened_block(text: str, code_open: str, settings: CodeSettings) -> tuple[str, str] | None:
    """Returns what closes the last block of code that `text` opens, and the block's text; None without one."""
    at = text.rfind(code_open)
    begins, close = (at + len(code_open), "```") if at >= 0 else (-1, "")
    for found in _FENCE.finditer(text) if settings.fences else ():
        if found.end() > begins:
            begins, close = found.end(), found["fence"]
    return (close, text[begins:]) if begins >= 0 else None


def code_in(block: str, settings: CodeSettings) -> str:
    """Returns the code of a block, and takes the indentation of its first line off every line that has it.

    Lines of a text in quotes may have less.
    """
    margin = _MARGIN.match(block)
    if settings.fences and margin and margin[1]:
        block = re.sub(f"^{margin[1]}", "", block, flags=re.M)
    return block.strip()
