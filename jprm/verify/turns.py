"""The turns of a chat as text, and what they are under a checkpoint's own chat template.

`ChatTurns` is data: the texts around the contents of a conversation. `template_turns` finds it by rendering marked
contents and reading what stands around the marks. It is believed only where it then gives the template's text for
conversations of one to three turns, with and without blanks around their contents.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jprm.errors import UserError

if TYPE_CHECKING:  # loads tokenizers
    from jprm.chat import ChatCodec

ROLES = ("user", "assistant")
MARK = "\ue000"  # of private use: no template looks for it
BLANKS = " \n"
MERGED = "{system}\n\n"  # a system prompt at the beginning of the first user's turn
# A rationale is no thinking of Qwen3's kind, and says so where a template asks; others take no notice.
OPTIONS = {"enable_thinking": False}


@dataclass(frozen=True)
class ChatTurns:
    """The texts around the contents of a conversation; pairs are for all styles but "direct", and for that.

    openings: before the first user's content, with the system prompt. leads: the system prompt where it is a part of
    that content. prompt: before the active rationale. assistant: before a finished one. end: behind a finished one.
    user: behind that, before the next user's content.
    user_as, rationale_as: what becomes of the blanks at the ends of a content. note: what the user should know.
    """

    openings: tuple[str, str]
    prompt: str
    assistant: str
    end: str
    user: str
    leads: tuple[str, str] = ("", "")
    user_as: Callable[[str], str] = str
    rationale_as: Callable[[str], str] = str
    note: str = ""

    @property
    def end_of_turn(self) -> str:
        """The text of the token with which the model ends its turn."""
        return self.end.strip()

    def begin(self, content: str, direct: bool) -> str:
        """Returns all text before the first rationale."""
        return self.openings[direct] + self.user_as(self.leads[direct] + content) + self.prompt

    def finished(self, before: str, rationale: str) -> str:
        """Returns the text up to the end of a rationale, given all text before it."""
        return before.removesuffix(self.prompt) + self.assistant + self.rationale_as(rationale) + self.end

    def follow(self, before: str, rationale: str, content: str) -> str:
        """Returns all text before the next rationale, given all text before this one."""
        return self.finished(before, rationale) + self.user + self.user_as(content) + self.prompt


def template_turns(codec: ChatCodec, system: str, system_direct: str) -> ChatTurns:
    """Returns the turns of a checkpoint's own chat template.

    system, system_direct: the system prompts; "" leaves the message out, and the template may write one of its own.
    Where the template refuses, drops or moves a system prompt, the first user's turn begins with it.

    Raises UserError for a template that does not write one turn behind the other, each in the same way.
    """
    systems = (system, system_direct)
    try:
        return _read_turns(codec, systems, merged=False)
    except UserError:
        if not any(systems):
            raise
    note = (
        f"{codec.source}: the chat template has no place for a system prompt, so the first user's turn begins with it"
    )
    return dataclasses.replace(_read_turns(codec, systems, merged=True), note=note)


def _read_turns(codec: ChatCodec, systems: tuple[str, str], merged: bool) -> ChatTurns:
    from jprm.chat.render import SHOWN_AS

    def render(contents: Sequence[str], system: str) -> str:
        said = [{"role": ROLES[n % 2], "content": content} for n, content in enumerate(contents)]
        if system and not merged:
            said = [{"role": "system", "content": system}, *said]
        return codec.chat_text(said, generation_prompt=True, **OPTIONS)

    # 1. What stands around marked contents, which has to be the same in every turn.
    marks = [f"{MARK}{n}{MARK}" for n in range(5)]
    openings = []
    for system in systems:
        opening, assistant, behind, *again, prompt = _around(codec, render(marks, system), marks)
        if again != [assistant, behind] or _around(codec, render(marks[:1], system), marks[:1]) != [opening, prompt]:
            raise _refused(codec, "writes a turn in another way where more turns follow")
        if not merged and system.strip() not in opening:
            raise _refused(codec, "drops the system prompt, or moves it")
        openings.append(opening)
    # 2. The special token that ends a turn.
    ending = re.match(rf"\s*(?:{'|'.join(map(re.escape, codec.special_texts))})", behind)
    if ending is None:
        raise _refused(codec, f"ends a turn of the assistant with no special token (there is {behind[:20]!r})")
    turns = ChatTurns(
        openings=(openings[0], openings[1]),
        prompt=prompt,
        assistant=assistant,
        end=ending.group(),
        user=behind[ending.end() :],
        leads=(_lead(systems[0]), _lead(systems[1])) if merged else ("", ""),
    )
    # 3. What becomes of blanks; then all has to fit.
    cases = [
        (texts[:n], direct)
        for texts in (marks, [BLANKS + mark + BLANKS for mark in marks])
        for n in (1, 3, 5)
        for direct in (False, True)
    ]
    expected = [render([turns.leads[d] + texts[0], *texts[1:]], systems[d]) for texts, d in cases]
    for user_as, rationale_as in itertools.product(SHOWN_AS, repeat=2):
        turns = dataclasses.replace(turns, user_as=user_as, rationale_as=rationale_as)
        if [_laid_out(turns, *case) for case in cases] == expected:
            return turns
    raise _refused(codec, "changes the contents of turns")


def _lead(system: str) -> str:
    return MERGED.format(system=system) if system else ""


def _around(codec: ChatCodec, text: str, marks: Sequence[str]) -> list[str]:
    """Returns the texts before, between and behind the marks, each of which has to stand there once and in order."""
    pattern = "|".join(marks)
    if re.findall(pattern, text) != list(marks):
        raise _refused(codec, "does not show every content once, in the order of the turns")
    return re.split(pattern, text)


def _laid_out(turns: ChatTurns, contents: Sequence[str], direct: bool) -> str:
    text = turns.begin(contents[0], direct)
    for rationale, content in zip(contents[1::2], contents[2::2], strict=True):
        text = turns.follow(text, rationale, content)
    return text


def _refused(codec: ChatCodec, what: str) -> UserError:
    return UserError(
        f"{codec.source}: the chat template {what}, so no conversation about steps can be laid out in it; "
        "use the published chat (--chat published) with chat.* of this model's turns"
    )
