"""A conversation of the driver: the text before a step's rationale, its tokens, and how it is made shorter.

A history grows by some 350 to 500 tokens a step in the published protocol, and long solutions
outgrow the context. `Overflow` says what is done then: earlier rationales lose a part, the oldest
first and no more of them than need be. A rationale that was shortened stays so.

    give_up         nothing: there is no verdict for this step and the later ones
    drop_code       analysis and verdict are left; so is what a forced verdict is shown
    drop_analysis   code, its output and the verdict are left
    verdict_only    the verdict is left
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any, Literal

from jprm.execute import Session
from jprm.quoting import TextCodec, marks, unquote
from jprm.records import Rationale, Verdict
from jprm.verify.protocol import Dialogue, RationaleFormat
from jprm.verify.table import VoteTable
from jprm.verify.texts import texts_of

Overflow = Literal["give_up", "drop_code", "drop_analysis", "verdict_only"]


@dataclass(frozen=True)
class History:
    """A problem with its first steps, and a rationale for all of them but the last.

    problem, steps, rationales: as they stand in the text, quoted. text: as the model reads it.
    shortened: how many rationales, from the first on, lack a part.
    """

    format: RationaleFormat
    problem: str
    steps: tuple[str, ...]
    style: str
    text: str
    rationales: tuple[str, ...] = ()
    shortened: int = 0

    @property
    def quoted_last(self) -> int:
        """Spellings of control tokens in what came last: the step, and with the first step the problem."""
        first = marks(self.problem) if len(self.steps) == 1 else 0
        return first + marks(self.steps[-1])

    @classmethod
    def begin(cls, format: RationaleFormat, problem: str, step: str, style: str) -> History:
        """Returns the history before the rationale of the first step."""
        return cls(format, problem, (step,), style, format.opening(problem, step, style))

    def following(self, rationale: str, step: str) -> History:
        """Returns the history before the rationale of the next step, which is given."""
        return dataclasses.replace(
            self,
            steps=(*self.steps, step),
            text=self.format.following(self.text, rationale, step),
            rationales=(*self.rationales, rationale),
        )

    def shorter(self, overflow: Overflow) -> History | None:
        """Returns the history with one more rationale shortened; None where there is none left."""
        if overflow == "give_up" or self.shortened == len(self.rationales):
            return None
        rationales = list(self.rationales)
        rationales[self.shortened] = self._short(rationales[self.shortened], overflow)
        other = History.begin(self.format, self.problem, self.steps[0], self.style)
        for rationale, step in zip(rationales, self.steps[1:], strict=True):
            other = other.following(rationale, step)
        return dataclasses.replace(other, shortened=self.shortened + 1)

    def _short(self, rationale: str, overflow: Overflow) -> str:
        analysis, code, verdict = self.format.parts(rationale)
        if overflow == "drop_code":
            return analysis + verdict
        if overflow == "drop_analysis":
            return self.format.without_analysis(analysis) + code + verdict
        return verdict


@dataclass(eq=False)
class OpenConversation:
    """One conversation that the sampler holds: a vote on all steps from `step` on (chain) or on this one only (fork).

    history: the conversation up to this step's rationale. text: all of it, as the sampler holds it.
    ids: its tokens. exact: whether `ids` are the tokens of `text`.
    turn: tokens that were generated since something was forced. logprobs: of Yes and No at each of
        them. fed: how many of them the dialogue has been fed.
    restarts: times that the conversation was submitted anew.
    """

    table: VoteTable
    vote: int
    step: int
    dialogue: Dialogue
    session: Session | None
    history: History
    text: str
    ids: list[int]
    exact: bool = True
    handle: int = -1
    turn: list[int] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    fed: int = 0
    restarts: int = 0

    def rationale(self, verdict: Verdict, reason: str, unread: str = "") -> Rationale:
        """Returns what was written about this step, behind the history that was shown."""
        dialogue, history = self.dialogue, self.history
        return Rationale(
            solution_id=self.table.solution.id,
            step=self.step,
            vote=self.vote,
            mode=self.table.mode,
            text=unquote(dialogue.text),
            executions=tuple(dialogue.executions),
            verdict=verdict,
            generated_tokens=dialogue.generated_tokens,
            forced_tokens=dialogue.forced_tokens,
            reason=reason,
            shortened=history.shortened,
            unread=unread,
            quoted=marks(dialogue.text) + history.quoted_last,
        )


class ContextWindow:
    """Turns the texts of conversations into tokens that fit into the sampler's context."""

    def __init__(self, format: RationaleFormat, codec: TextCodec, context_tokens: int, overflow: Overflow):
        self._context_tokens = context_tokens
        self._overflow: Overflow = overflow
        self._retokenize = format.retokenize
        self._encode_anew = texts_of(codec, format.reference).encode
        # The same few texts are forced over and over: every vote is given the same steps.
        self._encode = functools.lru_cache(maxsize=4096)(lambda text: tuple(self._encode_anew(text)))

    def fit(
        self, history: History, said: str, max_tokens: int, held: OpenConversation | None
    ) -> tuple[History, list[int], bool]:
        """Returns the history, shortened as far as need be, all tokens with `said` behind it, and whether they fit.

        said: the rationale so far. max_tokens: that the model may add. held: the conversation whose
            tokens are kept where the text goes on from its text.
        """
        room = self._context_tokens - max_tokens
        ids, shorter = self._tokens(history.text + said, held), history
        while len(ids) > room:
            shorter = shorter.shorter(self._overflow)
            if shorter is None:
                return history, ids, False
            ids = list(self._encode_anew(shorter.text + said))
        return shorter, ids, True

    def _tokens(self, text: str, held: OpenConversation | None) -> list[int]:
        """A text that is the same to the letter is never tokenised again."""
        if held is not None and held.exact and text.startswith(held.text):
            rest = text[len(held.text) :]
            if not (rest and self._retokenize):
                return [*held.ids, *self._encode(rest)]
        return list(self._encode_anew(text))
