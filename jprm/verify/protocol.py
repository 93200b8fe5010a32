"""What all rationale protocols share: their actions, their budget, and the two things that each of them is.

A `RationaleFormat` is data: it says how a conversation is laid out as text. A `Dialogue` is the
rationale of one step in the making, a state machine over that text:

    dialogue = CompactDialogue(EMBEDDED, codec, step=0, style="full", execute="executed")
    while not isinstance(action := dialogue.next_action(), Done):
        Generate -> dialogue.feed(text, tokens)         the model's turn
        Execute  -> dialogue.feed_outcome(text, kind)   the code's turn

Every dialogue is pure: it knows no sampler, no clock and no randomness. It is total: whatever text is fed, it ends in
Done, with a verdict or with None and a reason. Every turn of the model but the last uses up a token of the budget or a
round; when either is gone the verdict is forced, and the turn behind a forced verdict's opening is the last.

This shape rules out what fails in the reference (GenPRM, genprm_inference.py): a verdict that is read from the middle
of the analysis, code of an earlier block that runs again because a later one was cut off, a loop without end where the
model stops in an unexpected way, and a missing verdict that counts as "No".
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field

from jprm import records
from jprm.config import Config
from jprm.errors import UserError
from jprm.quoting import TextCodec, unquote
from jprm.sampling import SamplingParams
from jprm.verify.texts import texts_of
from jprm.worlds.base import Style

Execution = Literal["executed", "invented", "none"]
NO_CODE = "Code format error: No code found."  # the reference's words


class Budget(Config):
    """What the rationale of one step may cost."""

    max_tokens: int = Field(ge=1)
    """Tokens of a rationale, generated and forced together; when they are used up the verdict is forced."""
    max_rounds: int = Field(ge=0)
    """Blocks of code (of ThinkPRM: rounds of thinking) after which the verdict is forced."""
    verdict_tokens: int = Field(ge=1)
    """Tokens that the model may write behind the opening of a forced verdict."""


class TokenSampling(Config):
    """How tokens are drawn."""

    temperature: float = Field(ge=0)
    """Divides the logits; 0 always takes the likeliest token."""
    top_p: float = Field(gt=0, le=1)
    """The likeliest tokens that together have this probability are drawn from."""
    top_k: int = Field(ge=0)
    """So many of the likeliest tokens are drawn from; 0 sets no limit."""

    @property
    def params(self) -> SamplingParams:
        """What a sampler is given."""
        return SamplingParams(self.temperature, self.top_k, self.top_p)


@dataclass(frozen=True, slots=True)
class Generate:
    """Feed `forced` (which may be empty), then sample up to `max_tokens` until one of the stops.

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
    """The rationale is complete. Where `correct` is None there is no judgement, and `reason` says why.

    reason: "budget" (tokens or rounds were used up) or "no_verdict" (the model ended its turn
        without one), and the forced verdict could not be read either.
    closing: the end of the rationale, which nobody has written yet; it belongs to `Dialogue.text`
        and has to be fed before the next step.
    unread: where there is no judgement, the kind of what stands in its place (see `jprm.verify.verdict`).
    word_at: where the verdict's word begins in the model's last turn, in characters; None where it
        is the last Yes or No of that turn.
    """

    correct: bool | None
    reason: str
    closing: str
    unread: str = field(default="", compare=False)
    word_at: int | None = field(default=None, compare=False)


Action = Generate | Execute | Done
Pieces = list[tuple[str, bool]]  # texts of a training document, each with whether the model learns to write it


class RationaleFormat(ABC):
    """How the conversations of a protocol are laid out as text, and which tokens end a turn of the model."""

    # The text of the token with which the model ends its turn; "" where the layout shows none.
    end_of_turn: ClassVar[str] = ""
    # Whether the whole text is tokenised anew at every turn.
    retokenize: ClassVar[bool] = False
    # Whether texts of others may spell control tokens, as they may in the published program.
    reference: ClassVar[bool] = False
    # The stops that are texts of several tokens; a sampler needs their `trigger_ids`.
    all_stops: ClassVar[tuple[str, ...]] = ()
    # The texts that begin and end turns, which are single tokens in a vocabulary that knows this chat.
    turn_marks: ClassVar[tuple[str, ...]] = ()
    # What the user should know of the layout.
    notes: ClassVar[tuple[str, ...]] = ()
    # The state machine that plays a protocol of one's own; None where that of the class below it does.
    dialogue: "ClassVar[type[Dialogue] | None]" = None
    # Whether a rationale stands in the history behind the same text as when it was written.
    history_as_written: ClassVar[bool] = True

    def for_codec(self, codec: TextCodec) -> Self:
        """Returns this protocol with all texts that it takes from a checkpoint's tokenizer. Raises UserError."""
        return self

    @property
    @abstractmethod
    def verdict_words(self) -> tuple[str, ...]:
        """The words of the verdicts Yes and No; none where a verdict is no word."""

    @abstractmethod
    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns all text before the rationale of the first step."""

    @abstractmethod
    def following(self, before: str, rationale: str, step: str) -> str:
        """Returns all text before the next step's rationale, given all text before this one and this one."""

    def conversation(self, problem: str, steps: Sequence[str], rationales: Sequence[Pieces], style: str) -> Pieces:
        """Returns the text up to the end of the last of these rationales, of the first steps, as pieces.

        Raises NotImplementedError for protocols that no model is trained in here, such as the critic's.
        """
        raise NotImplementedError(f"nobody trains a model to write {type(self).__name__}")

    def authored(self, analysis: str, codes: Sequence[str], is_right: bool, style: str) -> list[str]:
        """Returns what an author of a rationale writes in this style, turn by turn, where the model would.

        analysis, codes: without tags; a style without them leaves them out. is_right: the verdict. Raises
        NotImplementedError as `conversation` does.
        """
        raise NotImplementedError(f"nobody trains a model to write {type(self).__name__}")

    @abstractmethod
    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Splits a rationale into its analysis, its code with what that printed, and its verdict; any may be ""."""

    def without_analysis(self, analysis: str) -> str:
        """Returns what is left of an analysis where its words are dropped."""
        return ""

    def closes_section(self, rationale: str) -> bool:
        """Whether a rationale has the end of a section that no one but the model writes; True where it writes none."""
        return True

    @abstractmethod
    def stop_ids(self, codec: TextCodec) -> list[int]:
        """Returns the tokens that end a turn."""

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """Returns the tokens of the verdicts Yes and No. Raises UserError where they are not single tokens."""
        yes, no = self.verdict_words
        return codec.token_id(yes), codec.token_id(no)


class Dialogue(ABC):
    """The rationale of one step in the making.

    text: all of it so far, with what was forced and what code printed, as the next steps will see it.
    executions: the code that ran and what the model read of its output, also where that was taken back.
    generated_tokens, forced_tokens: what was drawn and what was given, with text that was taken back.
    """

    _action: Action

    def __init__(
        self, format: Any, codec: TextCodec, step: int = 0, style: str = "full", execute: Execution = "executed"
    ):
        """Begins the rationale of a 0-based step. Raises UserError for an unknown style or execution."""
        for name, value, kind in (("style", style, Style), ("execute", execute, Execution)):
            if value not in get_args(kind):
                raise UserError(f"{name} {value!r} is unknown; known: {', '.join(get_args(kind))}")
        self.codec, self.texts = codec, texts_of(codec, format.reference)
        self.style, self.execute, self.budget = style, execute, format.budget
        self.text = ""
        self.executions: list[records.Execution] = []
        self.generated_tokens = self.forced_tokens = 0
        self._rounds = 0
        self._unread = 0  # where the text begins that has not been searched for code
        self._reason = "no_verdict"

    @property
    def out_of_budget(self) -> bool:
        """Whether tokens or rounds were used up before there was a verdict, which is then forced."""
        return self._reason == "budget"

    def next_action(self) -> Action:
        """Returns what is to be done now; the answer stays the same until something is fed."""
        return self._action

    @abstractmethod
    def feed(self, text: str, tokens: int) -> None:
        """Takes the model's turn: its text up to and including the stop, and its length in tokens."""

    def feed_outcome(self, text: str, kind: str) -> None:
        """Takes what the code printed (or the sentence that says why it did not) and the kind of outcome."""
        assert isinstance(self._action, Execute), "nothing was to be run"
        self._answer(self._action.code, kind, text)

    def _run(self, code: str) -> None:
        """Has the code of a block run, or answers that there is none."""
        if code:
            self._action = Execute(unquote(code))
        else:
            self._answer(code, "no_code", NO_CODE)

    def _answer(self, code: str, kind: str, output: str) -> None:
        raise NotImplementedError("a protocol without code asks for none to be run")

    def _say(self, forced: str) -> None:
        self.text += forced
        self.forced_tokens += len(self.texts.encode(forced))


def missing_end(text: str, end: str) -> str:
    """Returns what `text` lacks of an end that it may have begun."""
    written = next(n for n in range(len(end), -1, -1) if text.endswith(end[:n]))
    return end[written:]


def cut_at_last(text: str, opening: str) -> tuple[str, str]:
    """Splits a text before its last `opening`; where there is none, all of it stands before."""
    at = text.rfind(opening)
    return (text[:at], text[at:]) if at >= 0 else (text, "")
