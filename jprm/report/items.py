"""Judged solutions, ready to be browsed: problem, steps, and what each vote wrote, ran, read and decided.

The page holds them as data, which a script turns into text nodes; so nothing that a model wrote can become markup. A
piece of text that several votes wrote is stored once.

Invariant: cutting a text into pieces loses no character of it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from jprm.records import Problem, Rationale, ReadOut, Solution
from jprm.ties import mean

MOST_BYTES = 3_200_000  # of all judged solutions of a page, which is to stay below 5 MB
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


@dataclass(frozen=True)
class StepVote:
    """What one vote says of a step: its verdict and reward (None: no judgement), its text, and why there is none."""

    vote: int
    verdict: bool | None
    reward: float | None
    text: str
    note: str = ""


@dataclass(frozen=True)
class VotedStep:
    """A step with its truth (None where unknown) and the votes on it."""

    text: str
    truth: bool | None
    votes: tuple[StepVote, ...]

    @property
    def reward(self) -> float | None:
        """The mean reward of the votes that judged; None where none did."""
        judged = [vote.reward for vote in self.votes if vote.reward is not None]
        return mean(judged) if judged else None

    @property
    def disagrees(self) -> bool:
        """Whether some votes say Yes and others No."""
        return {True, False} <= {vote.verdict for vote in self.votes}


@dataclass(frozen=True)
class JudgedItem:
    """A judged solution. `label` and `prediction` are 0-based first errors, -1 for none and None where unknown."""

    id: str
    problem: str
    origin: str
    label: int | None
    prediction: int | None
    steps: tuple[VotedStep, ...]

    @property
    def tags(self) -> list[str]:
        """The filters that it passes: right or wrong where the truth is known, disagreement, none."""
        found = [] if self.label is None else ["right" if self.label == self.prediction else "wrong"]
        found += ["disagreement"] * any(step.disagrees for step in self.steps)
        silent = self.prediction is None or any(vote.verdict is None for step in self.steps for vote in step.votes)
        return found + ["none"] * silent


def judged_item(
    problem: Problem,
    solution: Solution,
    rationales: Sequence[Rationale],
    prediction: int | None,
    label: int | None,
    readout: ReadOut = "vote",
) -> JudgedItem:
    """A judged solution from stored records; the label is the truth as it is counted."""
    steps = []
    for t, text in enumerate(solution.steps):
        here = sorted((r for r in rationales if r.step == t), key=lambda r: r.vote)
        # Nothing is said about the steps after the first error: they were built upon it.
        error = solution.first_error
        truth = None if error is None or 0 <= error < t else t != error
        votes = (StepVote(r.vote, r.verdict.correct, r.verdict.reward(readout), r.text, r.reason) for r in here)
        steps.append(VotedStep(text.strip(), truth, tuple(votes)))
    origin = " ".join(filter(None, (solution.source, solution.error_kind)))
    return JudgedItem(solution.id, problem.text.strip(), origin, label, prediction, tuple(steps))


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


@dataclass(frozen=True)
class Items:
    """The judged solutions of one cell, for the browser of a page; `most_bytes` is their share of it."""

    title: str
    items: Sequence[JudgedItem]
    most_bytes: int = MOST_BYTES

    @property
    def data(self) -> Markup:
        """JSON for a script element, in which no end tag can stand.

        Where all would be too much, solutions that were judged wrongly or not at all come first, then those on which
        votes disagree; the page says how many there are.
        """
        strings: dict[str, int] = {}
        size, kept = 0, []
        order = sorted(range(len(self.items)), key=lambda i: _dullness(self.items[i]))
        for i in order:
            before = len(strings)
            row = _packed(self.items[i], strings)
            added = list(strings)[before:]
            size += len(_json(row)) + len(_json(added))
            if size > self.most_bytes and kept:
                break
            kept.append((i, row))
        rows = [row for _, row in sorted(kept, key=lambda one: one[0])]
        return Markup(_json({"strings": list(strings), "items": rows, "of": len(self.items)}))


def _dullness(item: JudgedItem) -> int:
    return 0 if {"wrong", "none"} & {*item.tags} else 1 if "disagreement" in item.tags else 2


def _packed(item: JudgedItem, strings: dict[str, int]) -> list[Any]:
    """A solution as nested lists, its texts as places in `strings`; the script of the page reads it."""

    def at(text: str) -> int:
        return strings.setdefault(text, len(strings))

    def of_vote(vote: StepVote) -> list[Any]:
        reward = None if vote.reward is None else round(vote.reward, 3)
        parts = [(kind, shown.strip("\n")) for kind, shown, _ in pieces(vote.text) if kind != "tag"]
        texts = [part for kind, shown in parts if _is_shown(kind, shown) for part in (kind[0], at(shown))]
        return [vote.vote, None if vote.verdict is None else int(vote.verdict), reward, at(vote.note), *texts]

    steps = [
        [at(step.text), step.truth, None if step.reward is None else round(step.reward, 3), [*map(of_vote, step.votes)]]
        for step in item.steps
    ]
    return [item.id, at(item.problem), at(item.origin), item.label, item.prediction, item.tags, steps]


def _is_shown(kind: str, shown: str) -> bool:
    return kind != "text" or any(map(str.isalnum, shown))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
