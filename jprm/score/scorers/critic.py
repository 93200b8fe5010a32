"""Any instruct model as a critic, by ProcessBench's own protocol: it names the first wrong paragraph."""

from typing import ClassVar

from jprm.records import Solution
from jprm.score import scorer
from jprm.score.base import Voting
from jprm.score.whole import WholeSolutionScorer, Words
from jprm.verify import CheckpointProtocol, Critique, in_paragraphs, paragraph_verdicts


@scorer("critic")
class CriticScorer(WholeSolutionScorer):
    """Any instruct model, asked for the first wrong paragraph (ProcessBench); the number that most votes give counts.

    A step before that paragraph is right, one from there on is not; so in a search the reward of a step is the share of
    votes that find no mistake up to it.
    """

    voting: ClassVar[Voting] = "majority"
    protocol: ClassVar[type[CheckpointProtocol]] = Critique

    def whole(self, solution: Solution) -> Solution:
        """Returns the solution in numbered paragraphs."""
        return in_paragraphs(solution)

    def words(self, text: str, steps: int) -> Words:
        """Reads the number that a reply ends with."""
        return paragraph_verdicts(text, steps)
