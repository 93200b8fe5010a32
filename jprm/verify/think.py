"""Whole-solution verification: one long chain of thought, then a forced verdict (ThinkPRM).

The model reads the problem and all steps, criticises step by step inside its thinking, and is then
asked whether the solution is right; P(Yes) at that place is the score (arXiv 2504.16828). Budget
forcing: when it ends its thinking, the end mark is taken back and a trigger is appended, so that it
goes on, for a number of rounds.

    opening | thinking | trigger | thinking | ... | close question | Yes

A solution is verified whole as a `Solution` of one step (`whole`). What the chain says of the single
steps is read from its text (`step_verdicts`).
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from jprm.config import Config
from jprm.errors import UserError
from jprm.quoting import TextCodec
from jprm.records import Solution
from jprm.verify.genprm import Text, places
from jprm.verify.protocol import Budget, Dialogue, Done, Execution, Generate, Pieces, RationaleFormat, TokenSampling
from jprm.verify.texts import ends_of_text
from jprm.verify.verdict import bare, boxed


def _thinks(budget: Budget) -> Budget:
    if budget.max_rounds < 1:
        raise ValueError("max_rounds must be at least 1: a chain thinks before its verdict")
    return budget


class ThinkPRM(Config, RationaleFormat):
    """The texts of the chain and what it may cost; `configs/verify/thinkprm.toml` holds the published ones."""

    prompt: Annotated[str, places("problem", "solution")]
    """All text before the chain, with the places {problem} and {solution}; control tokens stand in it as texts."""
    think_open: str
    """The forced beginning of the chain."""
    think_close: Text
    """The token that ends the thinking."""
    question: str
    """The forced question behind the thinking."""
    yes: Text
    """The token that answers that the solution is right."""
    no: Text
    """The token that answers that it is wrong."""
    triggers: tuple[str, ...] = Field(min_length=1)
    """What further rounds of thinking begin with, in turn."""
    budget: Annotated[Budget, AfterValidator(_thinks)]
    """Tokens of the thinking, rounds of it (at least 1), and tokens of the verdict."""
    sampling: TokenSampling
    """How tokens are drawn."""

    @property
    def verdict_words(self) -> tuple[str, str]:
        """The words of the verdicts Yes and No."""
        return self.yes, self.no

    def opening(self, problem: str, step: str, style: str) -> str:
        """Returns all text before the chain on a solution that is given as one step."""
        return self.prompt.format(problem=problem.removesuffix("\n"), solution=step.removesuffix("\n"))

    def following(self, before: str, rationale: str, step: str) -> str:
        """Raises UserError: a chain reads the whole solution."""
        raise UserError("ThinkPRM judges whole solutions; verify `whole(solution)`, of one step")

    def expected_tokens(self, problem: str, steps: Sequence[str], style: str, count: Callable[[str], int]) -> int:
        """Returns the tokens of the longest chain about these steps; `count` gives the tokens of a text."""
        again = "".join(self.triggers[i % len(self.triggers)] for i in range(self.budget.max_rounds - 1))
        given = (
            self.opening(problem, numbered(steps), style),
            self.think_open + again + self.think_close + self.question,
        )
        return sum(map(count, given)) + self.budget.max_tokens + self.budget.verdict_tokens

    def conversation(self, problem: str, steps: Sequence[str], rationales: Sequence[Pieces], style: str) -> Pieces:
        """Returns the prompt and the chain on the whole solution, which is one step."""
        [step], [chain] = steps, rationales
        return [(self.opening(problem, step, style), False), *chain]

    def authored(self, analysis: str, codes: Sequence[str], is_right: bool, style: str) -> list[str]:
        """Returns the thinking and the verdict; a chain has no code."""
        return [analysis + self.think_close, self.yes if is_right else self.no]

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """Takes all for analysis; nothing follows a chain that it could be shortened for."""
        return rationale, "", ""

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """Returns the tokens that end the thinking or a text."""
        return [codec.token_id(self.think_close), *ends_of_text(codec)]


class ThinkDialogue(Dialogue):
    """The chain in the making. Every feed but the last uses up a round, so it ends after `max_rounds` + 1 feeds."""

    def __init__(
        self, template: ThinkPRM, codec: TextCodec, step: int = 0, style: str = "analysis", execute: Execution = "none"
    ):
        """Begins a chain. Raises UserError for styles and code, which a chain does not have."""
        super().__init__(template, codec, step, style, execute)
        if style != "analysis" or execute != "none":
            raise UserError(
                f"ThinkPRM has no style {style!r} with execute {execute!r}; set style = 'analysis' and execute = 'none'"
            )
        self.template = template
        self._thought = 0  # tokens of thinking
        self._asked = False
        self._think(template.think_open)

    def feed(self, text: str, tokens: int) -> None:
        """Takes the model's turn: its text up to and including the stop, and its length in tokens."""
        assert isinstance(self._action, Generate), "nothing was to be generated"
        self.generated_tokens += tokens
        self.text += text
        if self._asked:
            self._finish(bare(text))
            return
        self._thought += tokens
        self._rounds += 1
        if self._rounds < self.budget.max_rounds and self._thought < self.budget.max_tokens:
            self.text = self.text.removesuffix(self.template.think_close)
            self._think(self.template.triggers[(self._rounds - 1) % len(self.template.triggers)])
        else:
            self._ask()

    def _think(self, forced: str) -> None:
        self._say(forced)
        self._action = Generate(forced, self.budget.max_tokens - self._thought, (self.template.think_close,))

    def _ask(self) -> None:
        if not self.text.endswith(self.template.think_close):  # it was cut short, or ended in another way
            self._reason = "budget" if self._thought >= self.budget.max_tokens else "no_verdict"
            self._say(self.template.think_close)
        self._say(self.template.question)
        self._asked = True
        self._action = Generate(self.template.question, self.budget.verdict_tokens, ())

    def _finish(self, word: str) -> None:
        yes, no = (bare(word) for word in self.template.verdict_words)
        correct = {yes: True, no: False}.get(word)
        unread = "" if correct is not None else "another text" if word else "nothing"
        self._action = Done(correct, self._reason if correct is None else "", "", unread)


_NUMBERED = re.compile(r"\s*Step \d+:\s*")


def whole(solution: Solution) -> Solution:
    """Returns the solution as one step that holds all of them, so that one verdict is about the solution."""
    return dataclasses.replace(solution, steps=(numbered(solution.steps),))


def numbered(steps: Sequence[str]) -> str:
    """Returns the steps one behind the other, each with its number before it, as the published program does."""
    texts = (step[found.end() :] if (found := _NUMBERED.match(step)) else step for step in steps)
    return "\n".join(f"Step {number}: {text.strip()}" for number, text in enumerate(texts, start=1))


_WORDS = {"correct": True, "incorrect": False}
# Where a sentence begins, perhaps with marks of a heading or of a list, or a word or two that lead on.
_BEGINS = r"(?P<line>\A|\n)[\s#*_>|-]*|(?:[.!?;:}$)]\**\s+|\A\s*)[*_]*"
_AGAIN = r"\b(?:re-?|double[ -])?(?:check|verify|examine|consider|evaluate|assess|visit)(?:ing)?\s+"
_LEADS = r"(?:(?:in|for|on|at|now|next|then|so|and|but|again|checking|verifying),?\s+){0,2}"
_STEP = re.compile(
    rf"(?P<begins>{_BEGINS}|{_AGAIN})?{_LEADS}\bstep[\s-]*#?(?P<number>\d+)(?P<heads>[*_\s]*[:)\u2013\u2014]|\.\s)?",
    re.IGNORECASE,
)


def step_verdicts(text: str, steps: int) -> list[bool | None]:
    r"""Returns what a chain says of each step [steps]: its last boxed word on it, None where it says none.

    A word belongs to the step whose heading ("Step 2: ...") stands before it and behind the last word, else to one that
    begins a sentence there ("In step 2 ...") or is looked at again ("let me recheck step 2"), and else to the step
    behind that of the last word: "the 14 of step 1" inside of a sentence names no other. Later rounds correct earlier
    ones. Marks around the word (`\boxed{\text{correct}}`) are passed over.
    """
    verdicts: list[bool | None] = [None] * steps
    behind, following = 0, 1
    for at, word in boxed(text):
        if word.casefold() not in _WORDS:
            continue
        number = _named(text[behind:at]) or following
        if 1 <= number <= steps:
            verdicts[number - 1] = _WORDS[word.casefold()]
        behind, following = at, number + 1
    return verdicts


def _named(text: str) -> int:
    """Returns the number of the step that a stretch of text is about; 0 if it names none."""
    lines, headings, sentences = [], [], []
    for found in _STEP.finditer(text):
        if found["begins"] is None:
            continue
        kind = sentences if not found["heads"] else headings if found["line"] is None else lines
        kind.append(int(found["number"]))
    # Headings follow one another; the first sentence says what it is about, later ones refer.
    return lines[-1] if lines else headings[-1] if headings else sentences[0] if sentences else 0
