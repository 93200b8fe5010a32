"""Scorers that read a whole solution at once, and say in one text what they think of each of its steps."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from jprm.records import Rationale, ReadOut, Solution, Verdict
from jprm.score.base import Ended, Heard, Item, Known
from jprm.score.scorers.genprm import GenPRMScorer
from jprm.verify import Execution

Words = tuple[Sequence[bool | None], str]  # what is said of each step, and the kind of what could not be read


class WholeSolutionScorer(GenPRMScorer):
    """A vote is one text of the model about the solution, which a subclass reads step by step."""

    readout: ClassVar[ReadOut] = "vote"
    style: ClassVar[str] = "analysis"
    execute: ClassVar[Execution] = "none"

    @abstractmethod
    def whole(self, solution: Solution) -> Solution:
        """Returns the solution as one step, as the model is shown it."""

    @abstractmethod
    def words(self, text: str, steps: int) -> Words:
        """Reads what a text says of each step [steps]."""

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges whole solutions, and tells `heard` for each step what the text says of it."""
        n_steps = {solution.id: len(solution.steps) for _, solution in items}
        stored = {name: {(r.step, r.vote): r for r in known.get(name, ())} for name in n_steps}
        texts = {
            name: [rows[0, vote] for vote in votes if all((step, vote) in rows for step in range(n_steps[name]))]
            for name, rows in stored.items()
        }

        def hear(whole: Rationale) -> None:
            for rationale in self._by_step(whole, n_steps[whole.solution_id]):
                if (rationale.step, rationale.vote) not in stored[rationale.solution_id]:
                    heard(rationale)

        yield from super().judge([(p, self.whole(s)) for p, s in items], votes, texts, hear)

    def _by_step(self, whole: Rationale, steps: int) -> list[Rationale]:
        """Returns what a text says of each step [steps]; the text and its tokens are those of the first one."""
        found = []
        words, kind = self.words(whole.text, steps)
        for step, word in enumerate(words):
            first = whole if step == 0 else dataclasses.replace(whole, text="", generated_tokens=0, forced_tokens=0)
            verdict = Verdict(word, whole.verdict.p_yes_raw, whole.verdict.p_yes_tempered)
            reason, unread = ("", "") if word is not None else (whole.reason or "no_verdict", whole.unread or kind)
            found.append(dataclasses.replace(first, step=step, verdict=verdict, reason=reason, unread=unread))
        return found
