"""What the driver needs to know of a rationale format: one class per kind of format.

`PlainFormat` puts problem, steps and rationales one behind the other; `ChatFormat` makes them the
turns of a chat. Both say where texts stand, never what the driver does about it.
"""

from __future__ import annotations

import re
from typing import Protocol

from jprm import records
from jprm.errors import UserError
from jprm.verify.chat_dialogue import ChatDialogue
from jprm.verify.genprm import GenPRM
from jprm.verify.ports import StopWhen, TextCodec
from jprm.verify.protocol import Action, Dialogue
from jprm.verify.stops import ends_of_text, stop_when
from jprm.verify.template import Budget, Execution, Template
from jprm.verify.think import ThinkFormat, ThinkPRM

ELLIPSIS = "....."  # in the place of an analysis, as others who ran the published weights wrote it


class Machine(Protocol):
    """A rationale in the making; `Dialogue` says what the methods promise."""

    text: str
    executions: list[records.Execution]
    generated_tokens: int
    forced_tokens: int

    def next_action(self) -> Action:
        """What is to be done now."""
        ...

    def feed(self, text: str, tokens: int) -> None:
        """Take the model's turn."""
        ...

    def feed_outcome(self, text: str, kind: str) -> None:
        """Take what the code printed."""
        ...


class Format(Protocol):
    """A way to lay out a conversation.

    end_of_turn: the text of the token with which the model ends its turn; "" where it shows none.
    retokenize: whether the whole text is tokenised anew at every turn.
    reference: whether texts of others may spell control tokens, as in the published program.
    """

    end_of_turn: str
    retokenize: bool
    reference: bool

    def dialogue(self, codec: TextCodec, step: int, style: str, execute: Execution, budget: Budget | None) -> Machine:
        """The machine for the rationale of a step."""
        ...

    def opening(self, problem: str, step: str, style: str) -> str:
        """All text before the rationale of the first step."""
        ...

    def following(self, before: str, rationale: str, step: str) -> str:
        """All text before the next step's rationale, given all before this one and this one."""
        ...

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Its analysis, its code with what that printed, and its verdict; any may be ""."""
        ...

    def without_analysis(self, analysis: str) -> str:
        """What is left of an analysis where its words are dropped."""
        ...

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """The tokens that end a turn."""
        ...

    def stop_when(self, codec: TextCodec) -> StopWhen | None:
        """The question that decides on stops of several tokens; None if there are none."""
        ...

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """The tokens of the verdicts Yes and No. Raises UserError where they are not tokens."""
        ...


class PlainFormat:
    """Text behind text, stops of one token each."""

    end_of_turn = ""
    retokenize = reference = False

    def __init__(self, template: Template):
        self.template = template

    def dialogue(self, codec: TextCodec, step: int, style: str, execute: Execution, budget: Budget | None) -> Machine:
        """As `Format`."""
        return Dialogue(self.template, codec, style, execute, budget)

    def opening(self, problem: str, step: str, style: str) -> str:
        """As `Format`."""
        return problem + step

    def following(self, before: str, rationale: str, step: str) -> str:
        """As `Format`."""
        return before + rationale + step

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """As `Format`."""
        before, verdict = _cut(rationale, self.template.verdict_opening)
        analysis, code_open, code = before.partition(self.template.code_open)
        return analysis, code_open + code, verdict

    def without_analysis(self, analysis: str) -> str:
        """As `Format`: nothing."""
        return ""

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """As `Format`."""
        return [codec.token_id(stop) for stop in self.template.stops] + [*ends_of_text(codec)]

    def stop_when(self, codec: TextCodec) -> None:
        """As `Format`."""
        return None

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """As `Format`."""
        return codec.token_id(self.template.yes), codec.token_id(self.template.no)


class ChatFormat:
    """The turns of the published protocol, stops that are texts."""

    def __init__(self, published: GenPRM):
        self.published = published
        self.end_of_turn = published.chat.end_of_turn
        self.retokenize = published.quirks.retokenize
        self.reference = published.quirks.reference
        self.opening = published.opening
        self.following = published.following

    def dialogue(self, codec: TextCodec, step: int, style: str, execute: Execution, budget: Budget | None) -> Machine:
        """As `Format`."""
        return ChatDialogue(self.published, codec, step, style, execute, budget)

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """As `Format`: a rationale's verdict is its last output section."""
        tags = self.published.tags
        before, verdict = _cut(rationale, tags.output_open)
        analysis, closed, code = before.partition(tags.analyze_close)
        if not closed:  # a style without an analysis begins with the code
            analysis, code = "", before
        return analysis + closed, code, verdict

    def without_analysis(self, analysis: str) -> str:
        """As `Format`: dots between its opening and its closing."""
        tags = self.published.tags
        before, after = map(re.escape, tags.analyze_open.format(paragraph="\0").split("\0"))
        opening = re.match(rf"{before}\d+{after}", analysis)
        return opening.group() + ELLIPSIS + tags.analyze_close if opening else ""

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """As `Format`."""
        return list(ends_of_text(codec))

    def stop_when(self, codec: TextCodec) -> StopWhen:
        """As `Format`."""
        return stop_when(codec, self.published.all_stops)

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """As `Format`: the tokens of the words where they stand, between their braces."""
        tags = self.published.tags
        yes, no = codec.token_id(tags.yes), codec.token_id(tags.no)
        for word, token in ((tags.yes, yes), (tags.no, no)):
            if token not in codec.encode(f"{tags.verdict_open}{{{word}{tags.verdict_close}"):
                raise UserError(
                    f"verify: {word!r} is no token of its own in {{{word}}} in this vocabulary, so "
                    "a verdict has no probability; use the tokenizer of the checkpoint"
                )
        return yes, no


def _cut(rationale: str, opening: str) -> tuple[str, str]:
    """A rationale before and from the last `opening` on; all is before where there is none."""
    before, opened, after = rationale.rpartition(opening)
    return (before, opened + after) if opened else (rationale, "")


def format_of(template: Template | GenPRM | ThinkPRM) -> Format:
    """The layout that belongs to a template."""
    if isinstance(template, ThinkPRM):
        return ThinkFormat(template)
    return ChatFormat(template) if isinstance(template, GenPRM) else PlainFormat(template)
