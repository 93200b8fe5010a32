"""The published GenPRM protocol as data: chat turns, tags, budgets, and a switch for every quirk.

`load(GenPRM, "configs/verify/genprm.toml", ["quirks.keep_evidence=true"])` reads it; that file says
where each value comes from. `VerifySettings(template=...)` takes the result, `ChatDialogue` follows it.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from jprm.config import Config
from jprm.errors import UserError
from jprm.quoting import TextCodec
from jprm.verify.protocol import Budget, RationaleFormat, TokenSampling, cut_at_last
from jprm.verify.snippets import TILDES, CodeSettings
from jprm.verify.texts import ends_of_text

RATIONALE_TOKENS = 512  # on average, with room: published tables have 345 to 503
ELLIPSIS = "....."  # in the place of an analysis, as others who ran the published weights wrote it


def places(*names: str) -> AfterValidator:
    """Checks that a text has these {places} once each and no other, which would reach the model unfilled."""

    def check(text: str) -> str:
        try:
            found = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
        except ValueError as error:
            raise ValueError(f"not a text with {{places}} ({error})") from None
        if sorted(found) != sorted(names):
            expected = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"must hold {expected} once and no other {{place}}")
        return text

    return AfterValidator(check)


Text = Annotated[str, Field(min_length=1)]
FirstTurn = Annotated[str, places("problem", "step")]


class FirstUser(Config):
    """The first user turn, in the two forms that the reference uses."""

    evaluation: FirstTurn
    """The form of the evaluation script, with the places {problem} and {step}."""
    training: FirstTurn
    """The form of the training data, the demo and the model card, with the same places."""


class Chat(Config):
    """The turns of the conversation."""

    bos: str
    """The token that begins a text."""
    user: Text
    """The token that begins a user's turn."""
    assistant: Text
    """The token that begins a turn of the model."""
    end_of_turn: Text
    """The token that stands behind a finished rationale."""
    system: str
    """The system prompt of all styles but "direct"."""
    system_direct: str
    """The system prompt of the style "direct"."""
    first_user: FirstUser
    """The user's first turn, which gives the problem and the first step."""
    later_user: Annotated[str, places("step")]
    """The user's later turns, with the place {step}."""


class Tags(Config):
    """The texts of a rationale. The three that end with `_close` but no verdict are stops."""

    analyze_open: Annotated[str, places("paragraph")]
    """Opens the analysis; {paragraph} is the number of the step, from 1."""
    analyze_close: Text
    """Closes the analysis."""
    verify_open: Text
    """Opens the verification and its first block of code."""
    verify_close: Text
    """Closes the verification."""
    code_open: Text
    """Opens a block of code."""
    code_close: Text
    """Closes a block of code."""
    code_output: Annotated[str, places("output")]
    """Shows what the code printed, at the place {output}."""
    output_open: Text
    """Opens the section that holds the verdict."""
    output_close: Text
    """Closes the section that holds the verdict."""
    verdict_open: Text
    """Opens a forced verdict, up to the brace of its box."""
    verdict_close: Text
    """Closes a verdict behind its word."""
    yes: Text
    """The word of a verdict that the step is right."""
    no: Text
    """The word of a verdict that the step is wrong."""


class GenPRMSampling(TokenSampling):
    """How the reference draws tokens, and how long it lets code run."""

    code_timeout_s: float = Field(gt=0)
    """Seconds that one block of code may run."""


class Quirks(Config):
    """What the reference does that another implementation would not guess."""

    reference: bool = False
    """Read texts, verdicts and code as the published program does. Problems, steps and outputs may spell
    control tokens; the first "Yes}" or "No}" anywhere in a rationale is its verdict (a rationale without one
    is None here, a reward of 1/2 there); only code in "```python" is run, as it stands there, whatever `code` says."""
    first_user: Literal["evaluation", "training"]
    """Which form the first user turn has."""
    generation_prompt: bool
    """Put `assistant` before the active rationale too, and not in the history only."""
    double_bos: bool
    """Begin the text with two beginnings of sequence."""
    retokenize: bool
    """Tokenise what the model wrote again, together with what follows it."""
    keep_evidence: bool
    """Show a forced verdict the code and its output, and not the analysis alone."""
    any_case: bool
    """Count a verdict in another case; it has no probability."""


class GenPRM(Config, RationaleFormat):
    """The whole protocol. It is made by `jprm.config.load`, which raises UserError for a wrong key."""

    chat: Chat
    """The turns of the conversation."""
    tags: Tags
    """The texts of a rationale."""
    budget: Budget
    """What a rationale may cost."""
    sampling: GenPRMSampling
    """How tokens are drawn and how long code runs."""
    code: CodeSettings = CodeSettings()
    """How code is read, run and shown."""
    quirks: Quirks
    """Switches for what the reference does in its own way."""

    @property
    def end_of_turn(self) -> str:
        """The text of the token with which the model ends its turn."""
        return self.chat.end_of_turn

    @property
    def retokenize(self) -> bool:
        """Whether the whole text is tokenised anew at every turn."""
        return self.quirks.retokenize

    @property
    def reference(self) -> bool:
        """Whether texts of others may spell control tokens, as they may in the published program."""
        return self.quirks.reference

    @property
    def stops(self) -> tuple[str, ...]:
        """The published texts that end a turn of the model somewhere."""
        return (self.tags.analyze_close, self.tags.code_close, self.tags.output_close)

    @property
    def all_stops(self) -> tuple[str, ...]:
        """All texts that a sampler has to stop at; tildes may end a block of code, too."""
        return (*self.stops, TILDES) if self.code_settings.fences else self.stops

    @property
    def code_settings(self) -> CodeSettings:
        """How code is read, as the quirks have it."""
        return CodeSettings() if self.quirks.reference else self.code

    @property
    def section_tags(self) -> tuple[str, ...]:
        """The texts by which the sections of a rationale are told apart."""
        tags = self.tags
        heads = (tags.analyze_open.partition("\n")[0], tags.verify_open.partition("\n")[0])
        closes = (tags.analyze_close, tags.verify_close, tags.output_close)
        return (*heads, *(text.rstrip("\n") for text in closes), tags.output_open, tags.code_open)

    @property
    def turn_marks(self) -> tuple[str, ...]:
        """The texts that begin and end turns, which are single tokens in a vocabulary that knows this chat."""
        return self.chat.user, self.chat.assistant, self.chat.end_of_turn

    @property
    def verdict_words(self) -> tuple[str, str]:
        """The words of the verdicts Yes and No."""
        return self.tags.yes, self.tags.no

    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns all text before the rationale of the first step. A final newline of a part is dropped."""
        chat = self.chat
        form = getattr(chat.first_user, self.quirks.first_user)
        user = form.format(problem=problem.removesuffix("\n"), step=step.removesuffix("\n"))
        system = chat.system_direct if style == "direct" else chat.system
        bos = chat.bos * (2 if self.quirks.double_bos else 1)
        return bos + system + chat.user + user + self._prompt

    def following(self, before: str, rationale: str, step: str) -> str:
        """Returns all text before a later step's rationale, as `RationaleFormat.following` says."""
        chat = self.chat
        user = chat.later_user.format(step=step.removesuffix("\n"))
        past = before.removesuffix(self._prompt) + chat.assistant + rationale + chat.end_of_turn
        return past + chat.user + user + self._prompt

    @property
    def _prompt(self) -> str:
        return self.chat.assistant if self.quirks.generation_prompt else ""

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Splits a rationale behind its analysis and before its last output section, which is the verdict."""
        tags = self.tags
        before, verdict = cut_at_last(rationale, tags.output_open)
        analysis, closed, code = before.partition(tags.analyze_close)
        if not closed:  # a style without an analysis begins with the code
            analysis, code = "", before
        return analysis + closed, code, verdict

    def without_analysis(self, analysis: str) -> str:
        """Returns the analysis with dots between its opening and its closing."""
        tags = self.tags
        before, after = map(re.escape, tags.analyze_open.format(paragraph="\0").split("\0"))
        opening = re.match(rf"{before}\d+{after}", analysis)
        return opening.group() + ELLIPSIS + tags.analyze_close if opening else ""

    def closes_section(self, rationale: str) -> bool:
        """Whether the model has closed its analysis or its verification; a forced verdict closes them, too."""
        closings = [close.rstrip("\n") for close in (self.tags.verify_close, self.tags.analyze_close)]
        own = rationale.rpartition(self.tags.verdict_open)[0] or rationale
        for close in closings[::-1]:
            own = own.rstrip("\n").removesuffix(close)
        return any(close in own for close in closings)

    def expected_tokens(self, problem: str, steps: Sequence[str], style: str, count: Callable[[str], int]) -> int:
        """Returns the tokens of a conversation about these steps, by the mean length of a published rationale.

        count: the tokens of a text.
        """
        around = count("".join(self.tags.model_dump().values()) + self.chat.assistant)
        given = count(self.opening(problem, steps[0], style)) + sum(count(self.chat.user + step) for step in steps[1:])
        rationale = min(RATIONALE_TOKENS, self.budget.max_tokens) + around
        return given + len(steps) * rationale + self.budget.max_tokens + self.budget.verdict_tokens

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """Returns the tokens that end a text; the stops of this protocol are texts."""
        return list(ends_of_text(codec))

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """Returns the tokens of the words where they stand, between their braces. Raises UserError without them."""
        tags = self.tags
        ids = super().verdict_ids(codec)
        for word, token in zip(self.verdict_words, ids, strict=True):
            if token not in codec.encode(f"{tags.verdict_open}{{{word}{tags.verdict_close}"):
                raise UserError(
                    f"verify: {word!r} is no token of its own in {{{word}}} in this vocabulary, so "
                    "a verdict has no probability; use the tokenizer of the checkpoint"
                )
        return ids
