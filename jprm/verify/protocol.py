"""The rationale of one step as a state machine over text: what to generate, run, or conclude next.

    dialogue = Dialogue(template, codec, style="full", execute="executed")
    while not isinstance(action := dialogue.next_action(), Done):
        Generate -> dialogue.feed(text, tokens)         the model's turn
        Execute  -> dialogue.feed_outcome(text, kind)   the code's turn

It is pure: no sampler, no clock, no randomness. It is total: whatever text is fed, it ends in Done
after at most `max_tokens + 2 * max_rounds + 2` actions, with a verdict or with None and a reason.
Why: every turn of the model but the last uses up a token of the budget or a round; when either is
gone the verdict is forced, and the turn after a verdict's opening is the last.

The reference's failures that this shape rules out: a verdict read from the middle of the analysis,
code of an earlier block run again because a later one was cut off, a loop without end when the
model stops in an unexpected way, a missing verdict counted as "No" (GenPRM, genprm_inference.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from jprm import records
from jprm.errors import UserError
from jprm.quoting import unquote
from jprm.verify.ports import TextCodec
from jprm.verify.template import Budget, Execution, Template
from jprm.verify.texts import texts_of


@dataclass(frozen=True, slots=True)
class Generate:
    """Feed `forced` (may be empty), then sample up to `max_tokens` until one of the stops.

    `forced` ends the dialogue's `text`. Where a dialogue may take text back (`ChatDialogue`), the
    sampler has to be brought to `text`, whatever it holds.
    """

    forced: str
    max_tokens: int
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Execute:
    """Run this code in the vote's session."""

    code: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end. `correct` None means no judgement, and `reason` says why.

    reason: "budget" (tokens or rounds were used up) or "no_verdict" (the model ended its turn
        without one), and the forced verdict could not be read either.
    closing: end of the rationale that nobody has written yet; it belongs to `Dialogue.text` and has
        to be fed before the next step.
    unread: where there is no judgement, what stands in its place (see `jprm.verify.verdict`).
    word_at: where the verdict's word begins in the model's last turn, in characters; None where it
        is the last Yes or No of it.
    """

    correct: bool | None
    reason: str
    closing: str
    unread: str = field(default="", compare=False)
    word_at: int | None = field(default=None, compare=False)


Action = Generate | Execute | Done


class Dialogue:
    """One step's rationale in the making.

    text: all of it so far, forced text and code output included.
    executions: the code that ran and what the model read of it.
    generated_tokens, forced_tokens: their sum is the length of `text` in tokens.
    """

    def __init__(
        self,
        template: Template,
        codec: TextCodec,
        style: str = "full",
        execute: Execution = "executed",
        budget: Budget | None = None,
    ):
        """`budget` defaults to the template's. Raises UserError for an unknown style or mode."""
        if style not in template.openings:
            raise UserError(f"style {style!r} is unknown; known: {', '.join(template.openings)}")
        if execute not in get_args(Execution):
            known = ", ".join(get_args(Execution))
            raise UserError(f"execute {execute!r} is unknown; known: {known}")
        self.template = template
        self.codec, self.texts = codec, texts_of(codec)
        self.style = style
        self.execute = execute
        self.budget = budget or template.budget
        self.text = ""
        self.executions: list[records.Execution] = []
        self.generated_tokens = 0
        self.forced_tokens = 0
        self._rounds = 0
        self._unread = 0  # where the text begins that has not been searched for code
        self._reason = "no_verdict"
        self._final = False
        self._action: Action
        self._turn(template.openings[style])

    def next_action(self) -> Action:
        """What is to be done now; the same answer until something is fed."""
        return self._action

    def feed(self, text: str, tokens: int) -> None:
        """Take the model's turn: its text up to and including the stop, and its length."""
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
            self._run_code()
        elif (tokens > 0 and false_alarm) or self._left <= 0:
            self._turn("")
        else:  # the model ended its turn in a way that the protocol does not know
            self._turn(template.forced_verdict(self.text))

    def feed_outcome(self, text: str, kind: str) -> None:
        """Take what the code printed (or the sentence that says why it did not) and its kind."""
        assert isinstance(self._action, Execute), "nothing was to be run"
        self._answer(self._action.code, kind, text)

    @property
    def _left(self) -> int:
        return self.budget.max_tokens - self.generated_tokens - self.forced_tokens

    def _turn(self, forced: str) -> None:
        """Say `forced`, then let the model write: freely, or only the verdict where it is due."""
        self._say(forced)
        if self._left <= 0 or self._rounds >= self.budget.max_rounds:
            if verdict := self.template.forced_verdict(self.text):
                self._say(verdict)
                forced += verdict
                self._reason = "budget"
        self._final = self.text.endswith(self.template.verdict_opening)
        max_tokens = self.budget.verdict_tokens if self._final else self._left
        self._action = Generate(forced, max_tokens, self.template.stops)

    def _run_code(self) -> None:
        code = self.template.code_of(self.text[self._unread :])
        self._unread = len(self.text)
        if self.execute == "none":
            self._turn("")
        elif self.execute == "invented":
            self._turn(self.template.output_open)
        elif code:
            self._action = Execute(unquote(code))
        else:
            self._answer(code, "no_code", self.template.no_code)

    def _answer(self, code: str, kind: str, output: str) -> None:
        shown = self.template.shown(output, self.codec.accepts)
        self.executions.append(records.Execution(code, kind, shown))
        shown = self.texts.quote(shown)
        self._turn(self.template.output_open + shown + self.template.output_close)
        self._unread = len(self.text)

    def _finish(self, correct: bool | None) -> None:
        closing = self.template.missing_closing(self.text)
        unread = self.template.unread(self.text) if correct is None else ""
        self._say(closing)
        self._action = Done(correct, self._reason if correct is None else "", closing, unread)

    def _say(self, forced: str) -> None:
        self.text += forced
        self.forced_tokens += len(self.texts.encode(forced))
