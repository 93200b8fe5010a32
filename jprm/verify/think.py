"""Whole-solution verification: one long chain of thought, then a forced verdict (ThinkPRM).

The model reads the problem and all steps, criticises step by step inside its thinking, and is then
asked whether the solution is right; P(Yes) at that place is the score (arXiv 2504.16828). Budget
forcing: when it ends its thinking, the end mark is taken back and a trigger is appended, so that it
goes on, for a number of rounds.

    opening | thinking | trigger | thinking | ... | close question | Yes

A solution is verified whole as a `Solution` of one step (`whole`). What the chain says of the single
steps is read from its text (`step_verdicts`).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from jprm import records
from jprm.errors import UserError
from jprm.records import Solution
from jprm.verify.ports import TextCodec
from jprm.verify.protocol import Action, Done, Generate
from jprm.verify.stops import ends_of_text
from jprm.verify.template import Budget, Execution
from jprm.verify.texts import texts_of
from jprm.verify.verdict import bare, boxed


@dataclass(frozen=True)
class ThinkPRM:
    """The strings of the chain. `close`, `yes` and `no` have to be tokens.

    prompt: with the places `{problem}` and `{solution}`. budget: tokens of the thinking, rounds of
        it, tokens of the verdict. triggers: what a further round begins with, in turn.
    """

    prompt: str = "{problem}{solution}"
    opening: str = "<think>\n"
    close: str = "</think>"
    question: str = "\nIs the solution correct? "
    yes: str = "Yes"
    no: str = "No"
    triggers: tuple[str, ...] = ("\nLet me double check", "\nLet's verify again", "\nDid I miss something?")
    budget: Budget = Budget(max_tokens=8192, max_rounds=1, verdict_tokens=1)


class ThinkDialogue:
    """The chain in the making: a pure machine with the actions and fields of `Dialogue`.

    It is total: every feed but the last uses up a round, so it ends in Done after `max_rounds` + 1.
    """

    def __init__(self, template: ThinkPRM, codec: TextCodec, budget: Budget | None = None):
        """`budget` defaults to the template's. Raises UserError where no round is allowed."""
        self.template, self.codec, self.texts = template, codec, texts_of(codec)
        self.budget = budget or template.budget
        if self.budget.max_rounds < 1 or self.budget.max_tokens < 1:
            raise UserError("ThinkPRM: the budget needs at least one round and one token")
        self.text = ""
        self.executions: list[records.Execution] = []
        self.generated_tokens = self.forced_tokens = 0
        self._thought = 0  # tokens of thinking
        self._rounds = 0
        self._asked = False
        self._reason = "no_verdict"
        self._action: Action
        self._think(template.opening)

    def next_action(self) -> Action:
        """What is to be done now; the same answer until something is fed."""
        return self._action

    def feed(self, text: str, tokens: int) -> None:
        """Take the model's turn: its text up to and including the stop, and its length."""
        assert isinstance(self._action, Generate), "nothing was to be generated"
        self.generated_tokens += tokens
        self.text += text
        if self._asked:
            self._finish(bare(text))
            return
        self._thought += tokens
        self._rounds += 1
        left = self.budget.max_tokens - self._thought
        if self._rounds < self.budget.max_rounds and left > 0:
            self.text = self.text.removesuffix(self.template.close)
            self._think(self.template.triggers[(self._rounds - 1) % len(self.template.triggers)])
        else:
            self._ask()

    def feed_outcome(self, text: str, kind: str) -> None:
        """Never called: this protocol runs no code."""
        raise AssertionError("nothing was to be run")

    def _think(self, forced: str) -> None:
        self._say(forced)
        left = self.budget.max_tokens - self._thought
        self._action = Generate(forced, left, (self.template.close,))

    def _ask(self) -> None:
        if not self.text.endswith(self.template.close):  # cut short, or ended in another way
            self._reason = "budget" if self._thought >= self.budget.max_tokens else "no_verdict"
            self._say(self.template.close)
        self._say(self.template.question)
        self._asked = True
        self._action = Generate(self.template.question, self.budget.verdict_tokens, ())

    def _finish(self, word: str) -> None:
        correct = {self.template.yes: True, self.template.no: False}.get(word)
        unread = "" if correct is not None else "another text" if word else "nothing"
        self._action = Done(correct, self._reason if correct is None else "", "", unread)

    def _say(self, forced: str) -> None:
        self.text += forced
        self.forced_tokens += len(self.texts.encode(forced))


class ThinkFormat:
    """How the driver lays the chain out; see `jprm.verify.format.Format`."""

    end_of_turn = ""
    retokenize = reference = False

    def __init__(self, template: ThinkPRM):
        self.template = template

    def dialogue(
        self, codec: TextCodec, step: int, style: str, execute: Execution, budget: Budget | None
    ) -> ThinkDialogue:
        """As `Format`. Raises UserError for styles and code, which a chain does not have."""
        if style != "analysis" or execute != "none":
            raise UserError(
                f"ThinkPRM has no style {style!r} with execute {execute!r}; set style = 'analysis' and execute = 'none'"
            )
        return ThinkDialogue(self.template, codec, budget)

    def opening(self, problem: str, step: str, style: str) -> str:
        """As `Format`."""
        return self.template.prompt.format(problem=problem, solution=step)

    def following(self, before: str, rationale: str, step: str) -> str:
        """Raises UserError: a chain reads the whole solution."""
        raise UserError("ThinkPRM judges whole solutions; verify `whole(solution)`, of one step")

    def parts(self, rationale: str) -> tuple[str, str, str]:
        """As `Format`: all is analysis. (Nothing follows a chain that it could be shortened for.)"""
        return rationale, "", ""

    def without_analysis(self, analysis: str) -> str:
        """As `Format`: nothing."""
        return ""

    def stop_ids(self, codec: TextCodec) -> list[int]:
        """As `Format`."""
        return [codec.token_id(self.template.close), *ends_of_text(codec)]

    def stop_when(self, codec: TextCodec) -> None:
        """As `Format`."""
        return None

    def verdict_ids(self, codec: TextCodec) -> tuple[int, int]:
        """As `Format`."""
        return codec.token_id(self.template.yes), codec.token_id(self.template.no)


def whole(solution: Solution) -> Solution:
    """The solution as one step, so that one verdict is about all of it."""
    return dataclasses.replace(solution, steps=("".join(solution.steps),))


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
    r"""What a chain says of each step [steps]: its last boxed word on it, None where it says none.

    A word belongs to the step whose heading ("Step 2: ...") stands before it and behind the last
    word, else to one that begins a sentence there ("In step 2 ...") or is looked at again ("let me
    recheck step 2"), and else to the step behind that
    of the last word: "the 14 of step 1" inside of a sentence names no other. Later rounds correct
    earlier ones. Marks around the word (`\boxed{\text{correct}}`) are passed over.
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


def process_filter(text: str, first_error: int, steps: int, tokens: int, max_tokens: int = 4096) -> str:
    """Why a self-made chain is not to be learnt from; "" where it is.

    It has to judge every step up to the first error (all, for -1) as the gold labels do; what it
    says behind the first error is not asked. The outcome alone would keep chains that are right for
    wrong reasons. Balancing the classes of what is kept is the caller's.
    """
    if tokens > max_tokens:
        return "chain beyond the token limit"
    judged = steps if first_error < 0 else first_error + 1
    verdicts = step_verdicts(text, steps)[:judged]
    if None in verdicts:
        return "a step without a verdict"
    gold = [t != first_error for t in range(judged)]
    return "" if verdicts == gold else "a verdict that is not the label"
