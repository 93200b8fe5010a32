"""ThinkPRM: one chain of thought over the whole solution, with a word on each step and a verdict in the end."""

from typing import ClassVar

from jprm.records import Solution
from jprm.score import scorer
from jprm.score.whole import WholeSolutionScorer, Words
from jprm.verify import CheckpointProtocol, ThinkPRM, step_verdicts, whole


@scorer("thinkprm")
class ThinkPRMScorer(WholeSolutionScorer):
    """What a chain says of a step is its last boxed word on it, and that is the vote.

    P(Yes) belongs to the whole solution, about which the chain is asked once: with `prob_raw` every
    step that the chain judges has this number, which scores solutions but finds no first error.
    """

    protocol: ClassVar[type[CheckpointProtocol]] = ThinkPRM

    def whole(self, solution: Solution) -> Solution:
        """Returns the solution with its steps numbered."""
        return whole(solution)

    def words(self, text: str, steps: int) -> Words:
        """Reads the boxed words of a chain."""
        return step_verdicts(text, steps), "no box"
