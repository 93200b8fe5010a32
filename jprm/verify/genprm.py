"""The published GenPRM protocol as data: chat turns, tags, budgets, and a switch for every quirk.

`load(GenPRM, "configs/verify/genprm.toml", ["quirks.keep_evidence=true"])` reads it; that file says
where each value comes from. `Settings(template=...)` takes the result, `ChatDialogue` follows it.
"""

from __future__ import annotations

import string
from typing import Annotated, Literal

import pydantic

from jprm.config import Config
from jprm.verify.snippets import TILDES, CodeSettings
from jprm.verify.template import Budget


def _places(*names: str) -> pydantic.AfterValidator:
    """A check that a text has these {places} and no other, which would reach the model unfilled."""

    def check(text: str) -> str:
        try:
            found = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
        except ValueError as error:
            raise ValueError(f"not a text with {{places}} ({error})") from None
        if sorted(found) != sorted(names):
            expected = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"must hold {expected} once and no other {{place}}")
        return text

    return pydantic.AfterValidator(check)


Text = Annotated[str, pydantic.Field(min_length=1)]
FirstTurn = Annotated[str, _places("problem", "step")]
Tokens = Annotated[int, pydantic.Field(ge=1)]


class FirstUser(Config):
    """The first user turn, in the two forms that the reference uses."""

    evaluation: FirstTurn
    training: FirstTurn


class Chat(Config):
    """The turns of the conversation. `end_of_turn` stands behind a finished rationale."""

    bos: str
    user: Text
    assistant: Text
    end_of_turn: Text
    system: str
    system_direct: str
    first_user: FirstUser
    later_user: Annotated[str, _places("step")]


class Tags(Config):
    """The texts of a rationale. The three that end with `_close` but no verdict are stops."""

    analyze_open: Annotated[str, _places("paragraph")]
    analyze_close: Text
    verify_open: Text
    verify_close: Text
    code_open: Text
    code_close: Text
    code_output: Annotated[str, _places("output")]
    output_open: Text
    output_close: Text
    verdict_open: Text
    verdict_close: Text
    yes: Text
    no: Text


class Limits(Config):
    """What one step's rationale may cost; see `jprm.verify.Budget`."""

    max_tokens: Tokens
    max_rounds: Annotated[int, pydantic.Field(ge=0)]
    verdict_tokens: Tokens


class Sampling(Config):
    """How the reference samples, and how long it lets code run."""

    temperature: Annotated[float, pydantic.Field(ge=0)]
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)]
    top_k: Annotated[int, pydantic.Field(ge=0)]
    code_timeout_s: Annotated[float, pydantic.Field(gt=0)]


class Quirks(Config):
    """What the reference does that another implementation would not guess.

    generation_prompt: `assistant` stands before the active rationale too, not in the history only.
    double_bos: the text begins with two beginnings of sequence.
    retokenize: what the model wrote is tokenised again with what follows it.
    keep_evidence: a verdict that is forced sees the code and its output, not the analysis alone.
    any_case: a verdict in another case counts; it has no probability.
    reference: texts and verdicts are read as the published program reads them. Problems, steps and
        outputs may spell control tokens, and the first "Yes}" or "No}" anywhere in a rationale is
        its verdict (without one it is None here, a reward of 1/2 there). Only code in "```python"
        is run, as it stands there, whatever `code` says.
    """

    reference: bool = False
    first_user: Literal["evaluation", "training"]
    generation_prompt: bool
    double_bos: bool
    retokenize: bool
    keep_evidence: bool
    any_case: bool


class GenPRM(Config):
    """The whole protocol. Made by `jprm.config.load`, which raises UserError for a wrong key."""

    chat: Chat
    tags: Tags
    budget: Limits
    sampling: Sampling
    code: CodeSettings = CodeSettings()
    quirks: Quirks

    @property
    def stops(self) -> tuple[str, ...]:
        """The published texts that end a turn of the model somewhere."""
        return (self.tags.analyze_close, self.tags.code_close, self.tags.output_close)

    @property
    def more_stops(self) -> tuple[str, ...]:
        """Further texts that end a block of code."""
        return (TILDES,) if self.code_settings.fences else ()

    @property
    def all_stops(self) -> tuple[str, ...]:
        """What a sampler has to stop at."""
        return self.stops + self.more_stops

    @property
    def code_settings(self) -> CodeSettings:
        """How code is read, in force."""
        return CodeSettings() if self.quirks.reference else self.code

    @property
    def section_tags(self) -> tuple[str, ...]:
        """The texts by which the sections of a rationale are told apart."""
        tags = self.tags
        heads = (tags.analyze_open.partition("\n")[0], tags.verify_open.partition("\n")[0])
        closes = (tags.analyze_close, tags.verify_close, tags.output_close)
        return (*heads, *(text.rstrip("\n") for text in closes), tags.output_open, tags.code_open)

    @property
    def limits(self) -> Budget:
        """The budget as the machines take it."""
        return Budget(**self.budget.model_dump())

    def opening(self, problem: str, step: str, style: str) -> str:
        """All text before the rationale of the first step. A final newline of a part is dropped."""
        chat = self.chat
        form = getattr(chat.first_user, self.quirks.first_user)
        user = form.format(problem=problem.removesuffix("\n"), step=step.removesuffix("\n"))
        system = chat.system_direct if style == "direct" else chat.system
        bos = chat.bos * (2 if self.quirks.double_bos else 1)
        return bos + system + chat.user + user + self._prompt

    def following(self, before: str, rationale: str, step: str) -> str:
        """All text before a later step's rationale, from that before the last one and the last."""
        chat = self.chat
        user = chat.later_user.format(step=step.removesuffix("\n"))
        past = before.removesuffix(self._prompt) + chat.assistant + rationale + chat.end_of_turn
        return past + chat.user + user + self._prompt

    @property
    def _prompt(self) -> str:
        return self.chat.assistant if self.quirks.generation_prompt else ""
