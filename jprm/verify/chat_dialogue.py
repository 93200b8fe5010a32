"""The rationale of one step in the published GenPRM protocol, as a state machine over text.

    analysis -> verification -> code -> verification -> ... -> verdict

Like `Dialogue`, with the same actions: pure, and total whatever text is fed. It differs where the
published protocol does. Stops are texts of several tokens, and which ones count depends on the
phase. The section of code is forced behind the analysis. A forced verdict may take the
verification back, so `text` can become shorter: whoever drives it compares `text` with what the
sampler holds, and submits anew where one does not continue the other.

What the reference does with an unexpected end of a turn (runs stale code, loops, raises) is not
reproduced: the verdict is forced once, and what cannot be read then is None.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from jprm import records
from jprm.errors import UserError
from jprm.quoting import unquote
from jprm.verify.genprm import GenPRM
from jprm.verify.ports import TextCodec
from jprm.verify.protocol import Action, Done, Execute, Generate
from jprm.verify.snippets import TILDES, code_in, opened_block
from jprm.verify.stops import first_stop, may_stop
from jprm.verify.template import Budget, Execution, Style, missing_end
from jprm.verify.texts import texts_of
from jprm.verify.verdict import Reading, first_box, first_word

NO_CODE = "Code format error: No code found."
NOTHING = Reading(None, "no box")
Phase = Literal["analysis", "verification", "verdict"]


class ChatDialogue:
    """One step's rationale in the making. `step` is 0-based; the model reads it 1-based.

    text: the rationale so far, as the next steps will see it.
    executions: the code that ran and what it printed, taken back or not.
    generated_tokens, forced_tokens: what was drawn and given, text that was taken back included.
    """

    def __init__(
        self,
        published: GenPRM,
        codec: TextCodec,
        step: int = 0,
        style: str = "full",
        execute: Execution = "executed",
        budget: Budget | None = None,
    ):
        """`budget` defaults to the published. Raises UserError for an unknown style or mode."""
        for name, value, kind in (("style", style, Style), ("execute", execute, Execution)):
            if value not in get_args(kind):
                raise UserError(f"{name} {value!r} is unknown; known: {', '.join(get_args(kind))}")
        self.published, self.tags, self.codec = published, published.tags, codec
        self.texts = texts_of(codec, published.quirks.reference)
        self.style, self.execute = style, execute
        self.budget = budget or published.limits
        self.text = ""
        self.executions: list[records.Execution] = []
        self.generated_tokens = self.forced_tokens = 0
        self._analysis = ""  # up to its closing, with what opened it
        self._turn = ""  # what the model has written since the phase or a code's output forced it
        self._before_turn = ""  # `text` before that
        self._turn_left = 0  # tokens
        self._unread = 0  # where the text begins that has not been searched for code
        self._rounds = 0
        self._reason = "no_verdict"
        self._phase: Phase
        self._action: Action
        if style in ("full", "analysis"):
            opening = self.tags.analyze_open.format(paragraph=step + 1)
            self._begin("analysis", opening, self.budget.max_tokens)
        else:
            tags = self.tags
            self._verify(tags.verify_open if style == "code" else tags.verdict_open)

    def next_action(self) -> Action:
        """What is to be done now; the same answer until something is fed."""
        return self._action

    def feed(self, text: str, tokens: int) -> None:
        """Take what the model wrote, up to a stop or not, and its length in tokens.

        Text behind a stop is dropped: a token may hold more than the end of the stop.
        """
        assert isinstance(self._action, Generate), "nothing was to be generated"
        self.generated_tokens += tokens
        self._turn_left -= tokens
        self._turn += text
        stops = self._action.stops
        if self.tags.code_close in stops and self._open_fence() == "~~~":
            stops += self.published.more_stops
        end = first_stop(self._turn, stops)
        if end is None and tokens and self._turn_left > 0:
            if may_stop(text, self.published.all_stops):  # a false alarm
                self.text = self._before_turn + self._turn
                self._action = Generate("", self._turn_left, self._action.stops)
                return
            # The model ended its turn; a stop may lack no more than its newline.
            if first_stop(self._turn + "\n", stops):
                self._turn += "\n"
                self.forced_tokens += len(self.texts.encode("\n"))
                end = len(self._turn)
        self._turn = self._turn[:end]
        self.text = self._before_turn + self._turn
        self._end_turn(stopped=end is not None)

    def feed_outcome(self, text: str, kind: str) -> None:
        """Take what the code printed (or the sentence that says why it did not) and its kind."""
        assert isinstance(self._action, Execute), "nothing was to be run"
        self._answer(self._action.code, kind, text)

    # Phases.

    def _begin(self, phase: Phase, forced: str, max_tokens: int) -> None:
        self._say(forced)
        self._phase, self._turn, self._before_turn = phase, "", self.text
        self._turn_left = max_tokens
        self._action = Generate(forced, max_tokens, self._stops(phase))

    def _stops(self, phase: Phase) -> tuple[str, ...]:
        tags = self.tags
        if phase == "analysis":
            return (tags.analyze_close,)
        runs_code = phase == "verification" and self.style in ("full", "code")
        if runs_code and self.execute != "none":
            return (tags.code_close, tags.output_close)
        return (tags.output_close,)

    def _verify(self, forced: str) -> None:
        """Say `forced` and let the model go on, or force the verdict where the budget is used up."""
        left = self.budget.max_tokens - len(self.texts.encode(self.text + forced))
        if left > 0 and self._rounds < self.budget.max_rounds:
            self._begin("verification", forced, left)
        else:
            self._say(forced)
            self._reason = "budget"
            self._force_verdict(forced)

    def _end_turn(self, stopped: bool) -> None:
        tags, verdict = self.tags, self._read_verdict()
        if self._phase == "analysis":
            closing = tags.analyze_close.rstrip("\n")
            self._analysis = self._before_turn + self._turn.partition(closing)[0]
            self._verify(tags.verify_open if self.style == "full" else tags.verdict_open)
        elif self._phase == "verdict" or verdict.correct is not None or self._turn.endswith(tags.output_close):
            self._finish(verdict)
        elif stopped:
            self._run_code()
        else:
            if self._turn_left <= 0:
                self._reason = "budget"
            self._force_verdict("")

    def _force_verdict(self, said: str) -> None:
        """Open the verdict behind what there is, or behind the analysis alone.

        said: the end of `text` that the sampler has not been given.
        """
        tags = self.tags
        if self._analysis and not self.published.quirks.keep_evidence:
            self.text = said = self._analysis
            opening = tags.analyze_close + tags.verdict_open
        elif said.endswith(tags.verdict_open):
            opening = ""
        else:
            opening = self._missing_closings() + tags.verdict_open
        self._begin("verdict", opening, self.budget.verdict_tokens)
        self._action = Generate(said + opening, self.budget.verdict_tokens, (tags.output_close,))

    def _open_fence(self) -> str:
        """What the block of code that the model writes was opened with; "" for none."""
        unread = (self._before_turn + self._turn)[self._unread :]
        block = opened_block(unread, self.tags.code_open, self.published.code_settings)
        return block[0] if block else ""

    def _missing_closings(self) -> str:
        """What closes the open code and sections of `text`, innermost first."""
        tags, text = self.tags, self.text
        analyze_open = tags.analyze_open.partition("\n")[0]
        verify_open = tags.verify_open.partition("\n")[0]
        block = opened_block(text, tags.code_open, self.published.code_settings)
        closing = ""
        if block and tags.code_close not in block[1] and TILDES not in block[1]:
            closing = TILDES if block[0] == "~~~" else tags.code_close
        if text.rfind(verify_open) > text.rfind(tags.verify_close):
            closing += tags.verify_close
        if text.rfind(analyze_open) > text.rfind(tags.analyze_close):
            closing += tags.analyze_close
        return closing

    # Code and verdict.

    def _run_code(self) -> None:
        unread, settings = self.text[self._unread :], self.published.code_settings
        closing = next((end for end in (self.tags.code_close, TILDES) if unread.endswith(end)), "")
        opened = opened_block(unread.removesuffix(closing) + "\n", self.tags.code_open, settings)
        code = code_in(opened[1], settings) if opened else ""
        self._unread = len(self.text)
        if self.execute == "invented":
            self._rounds += bool(opened)  # any other fence closes the output that was invented
            self._verify(self.tags.code_output.partition("{output}")[0] if opened else "")
            return
        self._rounds += 1
        if code:
            self._action = Execute(unquote(code))
        else:
            self._answer(code, "no_code", NO_CODE)

    def _answer(self, code: str, kind: str, output: str) -> None:
        self.executions.append(records.Execution(code, kind, output))
        shown = self.texts.quote_output(output, self.published.section_tags)
        self._verify(self.tags.code_output.format(output=shown))
        self._unread = len(self.text)

    def _read_verdict(self) -> Reading:
        """The verdict in the output section that the model has written or was given to fill.

        Only the model's own turn is read: neither an analysis nor a code's output can judge. `at` is
        a character of the turn.
        """
        tags, quirks = self.tags, self.published.quirks
        if quirks.reference:
            ended = self._phase == "verdict" or self._turn.endswith(tags.output_close)
            return first_word(self.text, tags.yes, tags.no) if ended else NOTHING
        opened = self._before_turn.endswith(tags.verdict_open)
        at = 0 if opened else self._turn.rfind(tags.output_open)
        if at < 0:
            return NOTHING
        found = first_box(self._turn[at:], tags.yes, tags.no, quirks.any_case, opened)
        return dataclasses.replace(found, at=len(unquote(self._turn[: at + found.at])))

    def _finish(self, verdict: Reading) -> None:
        closed = self.text.endswith(self.tags.output_close)
        closing = "" if closed else missing_end(self.text, self.tags.verdict_close)
        self._say(closing)
        read = verdict.correct is not None
        word_at = None if self.published.quirks.reference else verdict.at
        reason = "" if read else self._reason
        self._action = Done(verdict.correct, reason, closing, verdict.unread, word_at)

    def _say(self, forced: str) -> None:
        self.text += forced
        self.forced_tokens += len(self.texts.encode(forced))
