"""Whole-solution verification by any instruct model: which paragraph of a solution is the first wrong one?

This is ProcessBench's protocol for critics (arXiv 2412.06559): the solution stands in numbered
paragraphs, the model answers with the number of the first wrong one, or -1, and of several replies the
number that most of them give counts. The question is put into the checkpoint's own chat template, as
the one turn of a user.

A solution is verified whole as a `Solution` of one step (`in_paragraphs`). What a reply says of the
single steps follows from the number that it names (`paragraph_verdicts`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from jprm.config import Config
from jprm.errors import UserError
from jprm.quoting import TextCodec
from jprm.records import Solution
from jprm.verify.genprm import places
from jprm.verify.protocol import Budget, Dialogue, Done, Execution, Generate, RationaleFormat, TokenSampling
from jprm.verify.texts import ends_of_text
from jprm.verify.verdict import boxed

if TYPE_CHECKING:
    from jprm.chat import ChatCodec

THOUGHT_ENDS = "</think>"
_NUMBER = re.compile(r"(?:<?\s*paragraph[\s_]*)?([-\u2212]?\d{1,9})\s*>?", re.IGNORECASE)
_PLACE = "\ue000"  # of private use: no template writes it


class Critique(Config, RationaleFormat):
    """The question and what an answer may cost; `configs/verify/critique.toml` holds the default."""

    prompt: Annotated[str, places("problem", "solution")]
    """What the user asks, with the places {problem} and {solution}; other braces are doubled."""
    max_tokens: int = Field(ge=1)
    """Tokens of a reply, thinking included."""
    sampling: TokenSampling
    """How tokens are drawn."""
    chat: tuple[str, str] | None = None
    """The texts before and behind the question; by default those of the checkpoint's chat template."""

    def for_codec(self, codec: ChatCodec) -> Critique:
        """Returns the format with the turns of this checkpoint's chat template around the question.

        Raises UserError where the directory has no template, or one that does not show the question as it is.
        """
        if self.chat is not None:
            return self
        text = codec.chat_text([{"role": "user", "content": _PLACE}], generation_prompt=True)
        if text.count(_PLACE) != 1:
            raise UserError(
                f"{codec.source}: the chat template does not show a user's question as it is; give "
                "chat=[BEFORE, BEHIND], the texts around the question"
            )
        before, _, behind = text.partition(_PLACE)
        return self.model_copy(update={"chat": (before, behind)})

    @property
    def budget(self) -> Budget:
        """The budget of a dialogue, which has one turn."""
        return Budget(max_tokens=self.max_tokens, max_rounds=0, verdict_tokens=1)

    @property
    def verdict_words(self) -> tuple[str, ...]:
        """No words: the verdict is a number."""
        return ()

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """Raises UserError: a reply that names a paragraph has no P(Yes)."""
        raise UserError("a critic names a paragraph and has no P(Yes); use --readout vote")

    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns all text before the reply about a solution that is given as one step."""
        before, behind = self.chat or ("", "")
        question = self.prompt.format(problem=problem.removesuffix("\n"), solution=step.removesuffix("\n"))
        return before + question + behind

    def following(self, before: str, rationale: str, step: str) -> str:
        """Raises UserError: a critic reads the whole solution."""
        raise UserError("a critic judges whole solutions; verify `in_paragraphs(solution)`, of one step")

    def expected_tokens(self, problem: str, steps: Sequence[str], style: str, count: Callable[[str], int]) -> int:
        """Returns the tokens of the longest conversation about these steps; `count` gives the tokens of a text."""
        return count(self.opening(problem, _paragraphs(steps), style)) + self.max_tokens

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Takes all for analysis; nothing follows a reply that it could be shortened for."""
        return rationale, "", ""

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """Returns the tokens that end a text."""
        return [*ends_of_text(codec)]


class CritiqueDialogue(Dialogue):
    """The reply in the making: one turn of the model."""

    def __init__(
        self, template: Critique, codec: TextCodec, step: int = 0, style: str = "analysis", execute: Execution = "none"
    ):
        """Begins a reply. Raises UserError for styles and code, which a reply does not have."""
        super().__init__(template, codec, step, style, execute)
        if style != "analysis" or execute != "none":
            raise UserError(
                f"a critic has no style {style!r} with execute {execute!r}; set style = 'analysis' and execute = 'none'"
            )
        self._action = Generate("", self.budget.max_tokens, ())

    def feed(self, text: str, tokens: int) -> None:
        """Takes the model's turn, whole: its text and its length in tokens."""
        assert isinstance(self._action, Generate), "nothing was to be generated"
        self.generated_tokens += tokens
        self.text += text
        number, unread = first_wrong(self.text)
        if number is None and tokens >= self.budget.max_tokens:
            self._reason = "budget"
        correct = None if number is None else number < 0
        self._action = Done(correct, self._reason if correct is None else "", "", unread)


def in_paragraphs(solution: Solution) -> Solution:
    """Returns the solution as one step that holds all of them in numbered paragraphs."""
    return dataclasses.replace(solution, steps=(_paragraphs(solution.steps),))


def _paragraphs(steps: Sequence[str]) -> str:
    numbered = (f"<paragraph_{n}>\n{step.strip()}\n</paragraph_{n}>" for n, step in enumerate(steps))
    return "\n\n".join(numbered)


def first_wrong(text: str) -> tuple[int | None, str]:
    """Reads the number in the last box of a reply, -1 for none wrong; where there is none to read, the kind of what is.

    Boxes inside of its thinking do not count.
    """
    words = [word for _, word in boxed(text.rpartition(THOUGHT_ENDS)[2])]
    if not words:
        return None, "no box"
    found = _NUMBER.fullmatch(words[-1])
    if found is None:
        return None, "box holds another text" if words[-1] else "box is empty"
    number = int(found[1].replace("\u2212", "-"))
    return (number, "") if number >= -1 else (None, "box holds another number")


def paragraph_verdicts(text: str, steps: int) -> tuple[list[bool | None], str]:
    """Returns what a reply says of each step [steps], and the kind of what cannot be read.

    Steps before the wrong one are right, and from there on the solution is wrong, so that the reward of a step says
    whether all up to it is right. A number that no paragraph has is no verdict.
    """
    number, unread = first_wrong(text)
    if number is not None and number >= steps:
        number, unread = None, "box holds another number"
    if number is None:
        return [None] * steps, unread
    return [number < 0 or step < number for step in range(steps)], ""
