"""What a conversation holds before a step's rationale, and how it is made shorter.

A history grows by some 350 to 500 tokens a step in the published protocol, and long solutions
outgrow the context. `Overflow` says what is done then: earlier rationales lose a part, the oldest
first and no more of them than need be. A rationale that was shortened stays so.

    give_up         nothing: no verdict for this step and the later ones
    drop_code       analysis and verdict are left; so is what a forced verdict is shown
    drop_analysis   code, its output and the verdict are left
    verdict_only    the verdict is left
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from jprm.quoting import marks
from jprm.verify.format import Format

Overflow = Literal["give_up", "drop_code", "drop_analysis", "verdict_only"]


@dataclass(frozen=True)
class History:
    """A problem with its first steps, and a rationale for all of them but the last.

    problem, steps, rationales: as they stand in the text, quoted. text: as the model reads it.
    shortened: how many rationales, from the first on, lack a part.
    """

    format: Format
    problem: str
    steps: tuple[str, ...]
    style: str
    text: str
    rationales: tuple[str, ...] = ()
    shortened: int = 0

    @property
    def quoted_last(self) -> int:
        """Spellings of control tokens in what came last: the step, the problem before the first."""
        first = marks(self.problem) if len(self.steps) == 1 else 0
        return first + marks(self.steps[-1])

    @classmethod
    def begin(cls, format: Format, problem: str, step: str, style: str) -> History:
        """Before the rationale of the first step."""
        return cls(format, problem, (step,), style, format.opening(problem, step, style))

    def following(self, rationale: str, step: str) -> History:
        """Before the rationale of the next step, which is given."""
        return dataclasses.replace(
            self,
            steps=(*self.steps, step),
            text=self.format.following(self.text, rationale, step),
            rationales=(*self.rationales, rationale),
        )

    def shorter(self, overflow: Overflow) -> History | None:
        """With one more rationale shortened; None where there is none left."""
        if overflow == "give_up" or self.shortened == len(self.rationales):
            return None
        rationales = list(self.rationales)
        rationales[self.shortened] = self._short(rationales[self.shortened], overflow)
        other = History.begin(self.format, self.problem, self.steps[0], self.style)
        for rationale, step in zip(rationales, self.steps[1:], strict=True):
            other = other.following(rationale, step)
        return dataclasses.replace(other, shortened=self.shortened + 1)

    def _short(self, rationale: str, overflow: Overflow) -> str:
        analysis, code, verdict = self.format.parts(rationale)
        if overflow == "drop_code":
            return analysis + verdict
        if overflow == "drop_analysis":
            return self.format.without_analysis(analysis) + code + verdict
        return verdict
