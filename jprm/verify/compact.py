"""The compact protocol of the worlds of this package: one text, and tags that are single tokens.

    problem step1 <analyze>...</analyze> <verify>code</verify> [Code output: ...] <output>verdict</output> step2 ...

The model opens and closes the sections itself. The template forces only what opens a rationale,
what code printed, and the verdict where the budget is used up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jprm import records
from jprm.quoting import TextCodec
from jprm.verify.protocol import (
    Budget,
    Dialogue,
    Done,
    Execution,
    Generate,
    Pieces,
    RationaleFormat,
    cut_at_last,
    missing_end,
)
from jprm.verify.snippets import CodeSettings, code_in
from jprm.verify.texts import ends_of_text
from jprm.verify.verdict import first_box
from jprm.worlds import base


@dataclass(frozen=True)
class Template(RationaleFormat):
    """The compact protocol: its strings, and what may be chosen.

    budget: what a rationale may cost.
    max_output_chars: characters of an output that are shown, unless `code.output_chars` cuts it.
    code: how code is read and its output shown.
    """

    # The forced beginning of a rationale in each style.
    openings: ClassVar[Mapping[str, str]] = {
        "full": base.ANALYZE_OPEN,
        "code": base.CODE_OPEN,
        "analysis": base.ANALYZE_OPEN,
        "direct": base.VERDICT_OPEN,
    }
    # Tokens that end the model's turn; any of them may be a false alarm. The verdict's word itself is
    # one: waiting for the closing would cost one decode step more.
    stops: ClassVar[tuple[str, ...]] = (base.CODE_CLOSE, base.YES, base.NO)
    # What is closed before a verdict is forced.
    sections: ClassVar[tuple[tuple[str, str], ...]] = (
        (base.ANALYZE_OPEN, base.ANALYZE_CLOSE),
        (base.CODE_OPEN, base.CODE_CLOSE),
        (base.OUTPUT_OPEN, base.OUTPUT_CLOSE),
    )
    code_open, code_close = base.CODE_OPEN, base.CODE_CLOSE  # what lies between the last pair is run
    output_open, output_close = base.OUTPUT_OPEN, base.OUTPUT_CLOSE
    verdict_opening, verdict_closing = base.VERDICT_OPEN, base.VERDICT_CLOSE  # around `yes` or `no`
    yes, no = base.YES, base.NO
    unknown_output = "Error"  # in the place of an output that the vocabulary cannot write

    budget: Budget = Budget(max_tokens=96, max_rounds=3, verdict_tokens=1)
    max_output_chars: int = 64
    code: CodeSettings = CodeSettings()

    # The layout: problem, steps and rationales one behind the other.

    @property
    def verdict_words(self) -> tuple[str, str]:
        """The words of the verdicts Yes and No."""
        return self.yes, self.no

    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns the problem and the first step."""
        return problem + step

    def following(self, before: str, rationale: str, step: str) -> str:
        """Returns the text so far with the rationale and the next step behind it."""
        return before + rationale + step

    def conversation(self, problem: str, steps: Sequence[str], rationales: Sequence[Pieces], style: str) -> Pieces:
        """Returns the problem, then each step and its rationale."""
        pieces: Pieces = [(problem, False)]
        for step, rationale in zip(steps, rationales, strict=False):
            pieces += [(step, False), *rationale]
        return pieces

    def authored(self, analysis: str, codes: Sequence[str], is_right: bool, style: str) -> list[str]:
        """Returns the turns up to the end of each code and up to the verdict's word.

        What opens the rationale is forced; all later tags the verifier writes itself.
        """
        word = self.yes if is_right else self.no
        if style == "direct":
            return [word]
        analysed = analysis + self.sections[0][1] if style in ("full", "analysis") else ""
        verdict = self.verdict_opening + word
        if style == "analysis":
            return [analysed + verdict]
        turns = [self.code_open + code + self.code_close for code in codes]
        turns[0] = analysed + turns[0] if style == "full" else turns[0].removeprefix(self.code_open)
        return [*turns, verdict]

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Splits a rationale before its last verdict, and that before its first code."""
        before, verdict = cut_at_last(rationale, self.verdict_opening)
        analysis, code_open, code = before.partition(self.code_open)
        return analysis, code_open + code, verdict

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """Returns the tokens of the stops, and those that end a text."""
        return [codec.token_id(stop) for stop in self.stops] + [*ends_of_text(codec)]

    # What a rationale says.

    def code_of(self, text: str) -> str:
        """Returns the code of a text that ends with `code_close`; "" where no block was opened."""
        _, opened, code = text.removesuffix(self.code_close).rpartition(self.code_open)
        return code_in(code, self.code) if opened else ""

    def shown(self, output: str, accepts: Callable[[str], bool]) -> str:
        """Returns what the model reads of an output: bounded, and writable in its vocabulary."""
        if len(output) > self.max_output_chars and not self.code.output_chars:  # else it is cut already
            output = output[: self.max_output_chars] + "..."
        return output if accepts(output) else self.unknown_output

    def read_verdict(self, text: str) -> bool | None:
        """Returns the verdict that `text` ends with: True, False, or None where it ends with none.

        It is read only directly behind the last verdict opening and matched exactly: a "Yes}" of the
        analysis is no verdict, nor is "yes" or "Yes, but".
        """
        _, opened, tail = text.rpartition(self.verdict_opening)
        for word, correct in ((self.yes, True), (self.no, False)):
            rest = tail.removeprefix(word)
            if opened and len(rest) < len(tail) and self.verdict_closing.startswith(rest):
                return correct
        return None

    def unread(self, text: str) -> str:
        """Says what a text without a verdict has in its place; `jprm.verify.verdict` lists the kinds."""
        _, opened, tail = text.rpartition(self.verdict_opening)
        brace = "{" if self.verdict_opening.endswith("{") else ""
        return first_box(brace + tail, self.yes, self.no, False, bool(opened)).unread

    def forced_verdict(self, text: str) -> str:
        """Returns the text that closes what is open in `text`, innermost first, and opens the verdict."""
        if text.endswith(self.verdict_opening):
            return ""
        opened = [(text.rfind(start), end) for start, end in self.sections]
        unclosed = sorted((at, end) for at, end in opened if at > text.rfind(end))
        return "".join(end for _, end in reversed(unclosed)) + self.verdict_opening


EMBEDDED = Template()


class CompactDialogue(Dialogue):
    """The rationale of one step in the compact protocol.

    It ends after at most `max_tokens + 2 * max_rounds + 2` actions, and its text is never taken back.
    """

    def __init__(
        self, template: Template, codec: TextCodec, step: int = 0, style: str = "full", execute: Execution = "executed"
    ):
        """Begins a rationale. Raises UserError for an unknown style or execution."""
        super().__init__(template, codec, step, style, execute)
        self.template = template
        self._final = False  # whether the next turn is the verdict's word alone
        self._turn(template.openings[style])

    def feed(self, text: str, tokens: int) -> None:
        """Takes the model's turn: its text up to and including the stop, and its length in tokens."""
        assert isinstance(self._action, Generate), "nothing was to be generated"
        template = self.template
        self.text += text
        self.generated_tokens += tokens
        verdict = template.read_verdict(self.text)
        false_alarm = text.endswith(template.stops)
        if verdict is not None or self._final:
            self._finish(verdict)
        elif text.endswith(template.code_close):
            self._rounds += 1
            self._end_block()
        elif (tokens > 0 and false_alarm) or self._left <= 0:
            self._turn("")
        else:  # the model ended its turn in a way that the protocol does not know
            self._turn(template.forced_verdict(self.text))

    @property
    def _left(self) -> int:
        return self.budget.max_tokens - self.generated_tokens - self.forced_tokens

    def _turn(self, forced: str) -> None:
        """Says `forced`, then lets the model write: freely, or only the verdict where it is due."""
        self._say(forced)
        if self._left <= 0 or self._rounds >= self.budget.max_rounds:
            if verdict := self.template.forced_verdict(self.text):
                self._say(verdict)
                forced += verdict
                self._reason = "budget"
        self._final = self.text.endswith(self.template.verdict_opening)
        max_tokens = self.budget.verdict_tokens if self._final else self._left
        self._action = Generate(forced, max_tokens, self.template.stops)

    def _end_block(self) -> None:
        code = self.template.code_of(self.text[self._unread :])
        self._unread = len(self.text)
        if self.execute == "none":
            self._turn("")
        elif self.execute == "invented":
            self._turn(self.template.output_open)
        else:
            self._run(code)

    def _answer(self, code: str, kind: str, output: str) -> None:
        shown = self.template.shown(output, self.codec.accepts)
        self.executions.append(records.Execution(code, kind, shown))
        self._turn(self.template.output_open + self.texts.quote(shown) + self.template.output_close)
        self._unread = len(self.text)

    def _finish(self, correct: bool | None) -> None:
        closing = missing_end(self.text, self.template.verdict_closing)
        unread = self.template.unread(self.text) if correct is None else ""
        self._say(closing)
        self._action = Done(correct, self._reason if correct is None else "", closing, unread)
