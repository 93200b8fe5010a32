"""Sampled rationales, ready to be read: problem, steps, votes, and one vote's text with its code.

Invariant: cutting a text into pieces loses no character of it. What a model wrote is data: the template escapes it.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from jprm.records import Problem, Rationale, ReadOut, Solution
from jprm.ties import mean

# The formats of the embedded template and of the published GenPRM checkpoints.
_PIECE = re.compile(
    r"\[Code output: (?P<output>.*?)\]\n"
    r"|\[Code Output\]\s*```\n(?P<block>.*?)\n?```\n?"
    r"|```python\n(?P<fenced>.*?)\n?```\n?"
    r"|<verify>(?P<code>(?:(?!</verify>|```).)*)</verify>\n?"
    r"|\\boxed\{(?P<verdict>Yes|No)\}"
    r"|(?P<tag></?(?:analyze|verify|output)>\n?)",
    re.DOTALL,
)
_STYLES = {
    Keyword: "kw", Operator.Word: "kw", Name.Builtin: "fn", Number: "num", String: "str", Comment: "com",
}  # fmt: skip


@dataclass(frozen=True)
class StepCard:
    """A judged step: its text, its truth (None where unknown), all its votes' rewards, and one vote's rationale."""

    text: str
    truth: bool | None
    rewards: tuple[float | None, ...]
    rationale: str
    note: str = ""

    @property
    def reward(self) -> float | None:
        """The mean reward of the votes that judged; None where none did."""
        judged = [reward for reward in self.rewards if reward is not None]
        return mean(judged) if judged else None


@dataclass(frozen=True)
class SolutionCard:
    """A judged solution to open and read.

    `label` and `prediction` are 0-based first errors, -1 for none and None where unknown.
    """

    problem: str
    steps: tuple[StepCard, ...]
    label: int | None
    prediction: int | None
    origin: str = ""

    @property
    def outcome(self) -> tuple[str, str]:
        """Whether the verifier was right, as a class of the style sheet and as a word."""
        if self.label is None:
            return "unknown", "no label"
        if self.label == self.prediction:
            return "hit", "passed" if self.label == -1 else "found"
        return "miss", "false alarm" if self.label == -1 and self.prediction is not None else "missed"

    @property
    def facts(self) -> str:
        """Where the solution comes from, its first error, and the one that was predicted."""
        said = "no verdict" if self.prediction is None else f"predicted {_position(self.prediction)}"
        facts = f"label {_position(self.label)}, {said}"
        return f"{self.origin}; {facts}" if self.origin else facts


def card_of(
    problem: Problem,
    solution: Solution,
    rationales: Sequence[Rationale],
    prediction: int | None,
    *,
    vote: int = 0,
    readout: ReadOut = "vote",
) -> SolutionCard:
    """A card from stored records: every vote's reward, and the text of vote number `vote`."""
    steps = []
    for t, text in enumerate(solution.steps):
        here = sorted((r for r in rationales if r.step == t), key=lambda r: r.vote)
        chosen = next((r for r in here if r.vote == vote), None)
        # Nothing is said about the steps after the first error: they were built upon it.
        error = solution.first_error
        truth = None if error is None or 0 <= error < t else t != error
        rewards = tuple(r.verdict.reward(readout) for r in here)
        steps.append(StepCard(text, truth, rewards, chosen.text if chosen else "", chosen.reason if chosen else ""))
    origin = " ".join(filter(None, (solution.source, solution.error_kind)))
    return SolutionCard(problem.text, tuple(steps), solution.first_error, prediction, origin)


def pieces(text: str) -> list[tuple[str, str, str]]:
    """Cuts a rationale into (kind, shown, raw); the raw parts joined are `text` again.

    The kinds are "text", "tag", "code", "output" and "verdict".
    """
    kinds = {"block": "output", "fenced": "code"}
    found, end = [], 0
    for match in _PIECE.finditer(text):
        if match.start() > end:
            found.append(("text", text[end : match.start()], text[end : match.start()]))
        name = match.lastgroup or "tag"
        found.append((kinds.get(name, name), match[name], match[0]))
        end = match.end()
    if end < len(text):
        found.append(("text", text[end:], text[end:]))
    return found


def highlighted(code: str) -> list[tuple[str, str]]:
    """Python code in parts, each with the style of its tokens ("" for most); the parts joined are the code again."""
    tokens = PythonLexer().get_tokens_unprocessed(code)
    styled = ((next((style for of, style in _STYLES.items() if kind in of), ""), part) for _, kind, part in tokens)
    runs = itertools.groupby(styled, key=lambda token: token[0])
    return [(style, "".join(part for _, part in run)) for style, run in runs]


def _position(first_error: int | None) -> str:
    if first_error is None:
        return "unknown"
    return "no error" if first_error < 0 else f"step {first_error + 1}"
