"""The texts of a rationale: what is forced, where the model stops, how code and verdict are read.

A template holds strings and budgets only; `protocol` is the machine that follows them. EMBEDDED is
the protocol of the worlds of this package; the published protocol has other rules (`genprm`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from jprm.verify.snippets import CodeSettings, code_in
from jprm.verify.verdict import first_box
from jprm.worlds import base

Style = base.Style
Execution = Literal["executed", "invented", "none"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What one step's rationale may cost.

    max_tokens: of the rationale, generated and forced together; then the verdict is forced.
    max_rounds: code blocks after which the verdict is forced.
    verdict_tokens: what the model may write after the verdict's opening.
    """

    max_tokens: int
    max_rounds: int
    verdict_tokens: int


@dataclass(frozen=True)
class Template:
    """The strings of one rationale format.

    openings: per style, the forced beginning of a rationale.
    stops: texts of one token each that end the model's turn; any of them may be a false alarm.
    sections: (open, close) pairs that are closed before a verdict is forced.
    code_open, code_close: what lies between the last pair is run; `code_close` is a stop.
    code: how that is read and its output shown.
    verdict_opening: directly followed by `yes` or `no`, then `verdict_closing`.
    unknown_output: shown for an output that the vocabulary cannot write.
    """

    openings: Mapping[str, str]
    stops: tuple[str, ...]
    sections: tuple[tuple[str, str], ...]
    code_open: str
    code_close: str
    output_open: str
    output_close: str
    verdict_opening: str
    yes: str
    no: str
    verdict_closing: str
    budget: Budget
    no_code: str = "Code format error: No code found."
    unknown_output: str = "Error"
    max_output_chars: int = 1024
    code: CodeSettings = CodeSettings()

    def code_of(self, text: str) -> str:
        """The code of a text that ends with `code_close`; "" where no block was opened."""
        _, opened, code = text.removesuffix(self.code_close).rpartition(self.code_open)
        return code_in(code, self.code) if opened else ""

    def shown(self, output: str, accepts: Callable[[str], bool]) -> str:
        """What the model reads of an output: bounded, and writable in its vocabulary."""
        if len(output) > self.max_output_chars and not self.code.output_chars:  # else it is cut
            output = output[: self.max_output_chars] + "..."
        return output if accepts(output) else self.unknown_output

    def read_verdict(self, text: str) -> bool | None:
        """The verdict that `text` ends with: True, False, or None where it ends with none.

        Read only directly after the last verdict opening, matched exactly: a "Yes}" of the analysis
        is no verdict, nor is "yes" or "Yes, but".
        """
        _, opened, tail = text.rpartition(self.verdict_opening)
        for word, correct in ((self.yes, True), (self.no, False)):
            rest = tail.removeprefix(word)
            if opened and len(rest) < len(tail) and self.verdict_closing.startswith(rest):
                return correct
        return None

    def unread(self, text: str) -> str:
        """What stands where `text` has no verdict, by kind."""
        _, opened, tail = text.rpartition(self.verdict_opening)
        brace = "{" if self.verdict_opening.endswith("{") else ""
        return first_box(brace + tail, self.yes, self.no, False, bool(opened)).unread

    def missing_closing(self, text: str) -> str:
        """What `text` still lacks of the verdict's closing."""
        return missing_end(text, self.verdict_closing)

    def forced_verdict(self, text: str) -> str:
        """The text that closes what is open in `text`, innermost first, and opens the verdict."""
        if text.endswith(self.verdict_opening):
            return ""
        opened = [(text.rfind(start), end) for start, end in self.sections]
        unclosed = sorted((at, end) for at, end in opened if at > text.rfind(end))
        return "".join(end for _, end in reversed(unclosed)) + self.verdict_opening


def missing_end(text: str, end: str) -> str:
    """What `text` lacks of an end that it may have begun."""
    written = next(n for n in range(len(end), -1, -1) if text.endswith(end[:n]))
    return end[written:]


EMBEDDED = Template(
    openings={
        "full": base.ANALYZE_OPEN,
        "code": base.CODE_OPEN,
        "analysis": base.ANALYZE_OPEN,
        "direct": base.VERDICT_OPEN,
    },
    # The verdict's word itself is a stop: waiting for the closing would cost one decode step more.
    stops=(base.CODE_CLOSE, base.YES, base.NO),
    sections=(
        (base.ANALYZE_OPEN, base.ANALYZE_CLOSE),
        (base.CODE_OPEN, base.CODE_CLOSE),
        (base.OUTPUT_OPEN, base.OUTPUT_CLOSE),
    ),
    code_open=base.CODE_OPEN,
    code_close=base.CODE_CLOSE,
    output_open=base.OUTPUT_OPEN,
    output_close=base.OUTPUT_CLOSE,
    verdict_opening=base.VERDICT_OPEN,
    yes=base.YES,
    no=base.NO,
    verdict_closing=base.VERDICT_CLOSE,
    budget=Budget(max_tokens=96, max_rounds=3, verdict_tokens=1),
    max_output_chars=64,
)
