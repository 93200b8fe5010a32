"""The published GenPRM protocol as data: chat turns, tags, budgets, and a switch for every quirk.

`load(GenPRM, "configs/verify/genprm.toml", ["quirks.keep_evidence=true"])` reads it; that file says
where each value comes from. `VerifySettings(template=...)` takes the result, `ChatDialogue` follows it.

With `chat.turns = "template"` the turns are those of a checkpoint's own chat template: `for_codec` lays them out.
"""

import datetime
import re
import string
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from jprm.config import Config
from jprm.errors import UserError
from jprm.quoting import TextCodec
from jprm.verify.protocol import Budget, Pieces, RationaleFormat, TokenSampling, cut_at_last
from jprm.verify.snippets import TILDES, CodeSettings
from jprm.verify.texts import ends_of_text
from jprm.verify.turns import ChatTurns, template_turns

RATIONALE_TOKENS = 512  # on average, with room: published tables have 345 to 503
DATE = datetime.date(2024, 7, 26)  # what Llama 3.1's template writes where nobody tells it the day
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


def _trimmed(rationale: Pieces, as_shown: Callable[[str], str]) -> Pieces:
    """Returns the pieces of a rationale without the blanks that a template drops at its ends."""
    text = "".join(text for text, _ in rationale)
    shown = as_shown(text)
    start = text.index(shown)
    kept, at = [], 0
    for piece, trained in rationale:
        kept.append((piece[max(0, start - at) : start + len(shown) - at], trained))
        at += len(piece)
    return [piece for piece in kept if piece[0]]


class FirstUser(Config):
    """The first user turn, in the two forms that the reference uses."""

    evaluation: FirstTurn
    """The form of the evaluation script, with the places {problem} and {step}."""
    training: FirstTurn
    """The form of the training data, the demo and the model card, with the same places."""


class Chat(Config):
    """The turns of the conversation."""

    turns: Literal["published", "template"] = "published"
    """Whose turns: those of this section, or those of the checkpoint's own chat template (`--chat` in `evaluate`)."""
    date: datetime.date = DATE
    """The day that a chat template is told which writes today's date."""
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

    @model_serializer(mode="wrap")
    def _as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what only templates need, as identities of runs had it before there was a choice."""
        table = write(self)
        if self.turns == "published":
            table = {key: value for key, value in table.items() if key not in ("turns", "date")}
        return table


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
    _turns: ChatTurns | None = PrivateAttr(None)  # of a chat template

    def for_codec(self, codec: TextCodec) -> Self:
        """Returns this protocol as the chat template of a checkpoint lays it out, where that is asked for.

        From then on the token that ends a turn there ends a text of the codec, too: a base model's tokenizer may name
        another one. The template writes its own beginning and header, so the quirks of those mean nothing.
        Raises UserError for a vocabulary without a template, and as `template_turns` does.
        """
        chat = self.chat
        if chat.turns == "published":
            return self
        if not hasattr(codec, "chat_text"):
            raise UserError("chat.turns = 'template': this vocabulary has no chat template; use the published chat")
        dated: Any = codec
        protocol = self.model_copy()
        protocol._turns = template_turns(dated.on_day(chat.date), chat.system, chat.system_direct)
        dated.end_with(protocol.end_of_turn)
        return protocol

    @property
    def turns(self) -> ChatTurns:
        """The texts around the contents of a conversation."""
        if self._turns is not None:
            return self._turns
        chat, quirks = self.chat, self.quirks
        assert chat.turns == "published", "`for_codec` lays out the turns of a template"
        bos = chat.bos * (2 if quirks.double_bos else 1)
        return ChatTurns(
            openings=(bos + chat.system + chat.user, bos + chat.system_direct + chat.user),
            prompt=chat.assistant if quirks.generation_prompt else "",
            assistant=chat.assistant,
            end=chat.end_of_turn,
            user=chat.user,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how a template lays out this protocol."""
        return (self._turns.note,) if self._turns and self._turns.note else ()

    @property
    def end_of_turn(self) -> str:
        """The text of the token with which the model ends its turn."""
        return self.turns.end_of_turn

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
        return (self.end_of_turn,) if self._turns else (self.chat.user, self.chat.assistant, self.chat.end_of_turn)

    @property
    def verdict_words(self) -> tuple[str, str]:
        """The words of the verdicts Yes and No."""
        return self.tags.yes, self.tags.no

    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns all text before the rationale of the first step. A final newline of a part is dropped."""
        form = getattr(self.chat.first_user, self.quirks.first_user)
        user = form.format(problem=problem.removesuffix("\n"), step=step.removesuffix("\n"))
        return self.turns.begin(user, style == "direct")

    def following(self, before: str, rationale: str, step: str) -> str:
        """Returns all text before a later step's rationale, as `RationaleFormat.following` says."""
        user = self.chat.later_user.format(step=step.removesuffix("\n"))
        return self.turns.follow(before, rationale, user)

    @property
    def history_as_written(self) -> bool:
        """Whether a finished rationale stands behind the same text as the active one."""
        return self.turns.prompt == self.turns.assistant

    def conversation(self, problem: str, steps: Sequence[str], rationales: Sequence[Pieces], style: str) -> Pieces:
        """Returns the text up to the end of the last rationale's turn; that end is learnt with its rationale."""
        turns, pieces = self.turns, []
        before = self.opening(problem, steps[0], style).removesuffix(turns.prompt)
        for n, rationale in enumerate(rationales, 1):
            header = turns.prompt if n == len(rationales) else turns.assistant
            pieces += [(before + header, False), *_trimmed(rationale, turns.rationale_as)]
            pieces.append((turns.end, any(trained for _, trained in rationale)))
            if n < len(rationales):
                before = turns.user + turns.user_as(self.chat.later_user.format(step=steps[n].removesuffix("\n")))
        return pieces

    def authored(self, analysis: str, codes: Sequence[str], is_right: bool, style: str) -> list[str]:
        """Returns the turns as `RationaleFormat.authored` says; the protocol opens the first section of each kind."""
        tags = self.tags
        verdict = f"{{{tags.yes if is_right else tags.no}{tags.verdict_close}"
        analysed = [analysis + tags.analyze_close] if style in ("full", "analysis") else []
        if style not in ("full", "code"):
            return [*analysed, verdict]
        blocks = [tags.code_open * (n > 0) + code + tags.code_close for n, code in enumerate(codes)]
        return [*analysed, *blocks, tags.verify_close + tags.verdict_open + verdict]

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
        turns = self.turns
        around = count("".join(self.tags.model_dump().values()) + turns.assistant)
        given = count(self.opening(problem, steps[0], style)) + sum(count(turns.user + step) for step in steps[1:])
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
