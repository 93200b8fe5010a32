"""The rationale of one step in the published GenPRM protocol, as a state machine over text.

    analysis -> verification -> code -> verification -> ... -> verdict

It differs from the compact protocol where the published one does. Stops are texts of several tokens, and which of them
count depends on the phase. The section of code is forced behind the analysis. A forced verdict may take the
verification back, so that `text` becomes shorter: whoever drives the dialogue compares `text` with what the sampler
holds, and submits the conversation anew where one does not continue the other.

What the reference does with an unexpected end of a turn (it runs stale code, loops, or raises) is
not reproduced: the verdict is forced once, and what cannot be read then is None.
"""

import dataclasses
from typing import Literal

from jprm import records
from jprm.quoting import TextCodec, unquote
from jprm.verify.genprm import GenPRM
from jprm.verify.protocol import Dialogue, Done, Execution, Generate, missing_end
from jprm.verify.snippets import TILDES, code_in, opened_block
from jprm.verify.texts import first_stop, may_stop
from jprm.verify.verdict import Reading, first_box, first_word

NOTHING = Reading(None, "no box")
Phase = Literal["analysis", "verification", "verdict"]


class ChatDialogue(Dialogue):
    """The rationale of one step in the published protocol; the model reads the number of the step from 1 on."""

    _phase: Phase

    def __init__(
        self, published: GenPRM, codec: TextCodec, step: int = 0, style: str = "full", execute: Execution = "executed"
    ):
        """Begins a rationale. Raises UserError for an unknown style or execution."""
        super().__init__(published, codec, step, style, execute)
        self.published, self.tags = published, published.tags
        self._analysis = ""  # up to its closing, with what opened it
        self._turn = ""  # what the model has written since the phase or a code's output forced it
        self._before_turn = ""  # `text` before that
        self._turn_left = 0  # tokens
        tags = self.tags
        if style in ("full", "analysis"):
            self._begin("analysis", tags.analyze_open.format(paragraph=step + 1), self.budget.max_tokens)
        else:
            self._verify(tags.verify_open if style == "code" else tags.verdict_open)

    def feed(self, text: str, tokens: int) -> None:
        """Takes what the model wrote, up to a stop or not, and its length in tokens.

        Text behind a stop is dropped: a token may hold more than the end of the stop.
        """
        assert isinstance(self._action, Generate), "nothing was to be generated"
        # 1. Count the tokens, and find the stop that ends the turn in this phase.
        self.generated_tokens += tokens
        self._turn_left -= tokens
        self._turn += text
        stops = self._action.stops
        if self.tags.code_close in stops and self._open_fence() == "~~~":
            stops += (TILDES,)
        end = first_stop(self._turn, stops)
        if end is None and tokens and self._turn_left > 0:
            # 2. Where another text made the sampler stop, let the model go on.
            if may_stop(text, self.published.all_stops):
                self.text = self._before_turn + self._turn
                self._action = Generate("", self._turn_left, self._action.stops)
                return
            # 3. Else the model ended its turn; a stop may lack no more than its newline.
            if first_stop(self._turn + "\n", stops):
                self._turn += "\n"
                self.forced_tokens += len(self.texts.encode("\n"))
                end = len(self._turn)
        # 4. Drop what stands behind the stop, and go on by the phase.
        self._turn = self._turn[:end]
        self.text = self._before_turn + self._turn
        self._end_turn(stopped=end is not None)

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
        """Says `forced` and lets the model go on, or forces the verdict where the budget is used up."""
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
            self._end_block()
        else:
            if self._turn_left <= 0:
                self._reason = "budget"
            self._force_verdict("")

    def _force_verdict(self, said: str) -> None:
        """Opens the verdict behind what there is, or behind the analysis alone.

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
        """Returns what the block of code that the model writes was opened with; "" for none."""
        unread = (self._before_turn + self._turn)[self._unread :]
        block = opened_block(unread, self.tags.code_open, self.published.code_settings)
        return block[0] if block else ""

    def _missing_closings(self) -> str:
        """Returns what closes the open code and sections of `text`, innermost first."""
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

    def _end_block(self) -> None:
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
        self._run(code)

    def _answer(self, code: str, kind: str, output: str) -> None:
        self.executions.append(records.Execution(code, kind, output))
        shown = self.texts.quote_output(output, self.published.section_tags)
        self._verify(self.tags.code_output.format(output=shown))
        self._unread = len(self.text)

    def _read_verdict(self) -> Reading:
        """Reads the verdict in the output section that the model has written or was given to fill.

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
