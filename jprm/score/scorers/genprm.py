"""The generative verifier: analysis, code that runs, verdict, for each step and vote; or fewer of these."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from jprm.errors import UserError
from jprm.records import ReadOut
from jprm.score.base import Ended, Generator, Heard, Item, Known, Scorer, SharedBeginnings, scorer
from jprm.verify import LOST, Branches, Execution, verify


@scorer("genprm")
class GenPRMScorer(Scorer):
    """Analysis and executed code. The published evaluation got the words, not probabilities."""

    readout: ClassVar[ReadOut] = "vote"
    samples: ClassVar[bool] = True
    style: ClassVar[str] = "full"
    execute: ClassVar[Execution] = "executed"

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges as `Scorer` says, all conversations side by side."""
        setup, generator = self.setup, self._generator()
        writable = []
        for item in items:
            if fault := _unreadable(item, generator):
                yield Ended(item[1].id, fault)
            else:
                writable.append(item)
        model = generator.sampler, generator.executor, generator.codec, generator.settings
        for rationales in verify(writable, votes, *model, setup.seed, setup.stop_early, known, heard):
            lost = (r.reason for r in rationales if r.reason.startswith(LOST))
            yield Ended(rationales[0].solution_id, next(lost, ""))

    def for_search(self, votes: int) -> Scorer:
        """Returns the same judge by beginnings, or itself where a subclass judges in a way of its own."""
        if type(self).judge is not GenPRMScorer.judge:
            return self
        g = self._generator()
        return SharedBeginnings(Branches(votes, g.sampler, g.executor, g.codec, g.settings, self.setup.seed))

    def _generator(self) -> Generator:
        return self.setup.generator(self.style, self.execute)


@scorer("genprm-code")
class CodeScorer(GenPRMScorer):
    """Executed code without an analysis, for a checkpoint that was trained so."""

    style: ClassVar[str] = "code"


@scorer("genprm-analysis")
class AnalysisScorer(GenPRMScorer):
    """An analysis without code, for a checkpoint that was trained so."""

    style: ClassVar[str] = "analysis"
    execute: ClassVar[Execution] = "none"


@scorer("direct")
class DirectScorer(GenPRMScorer):
    """The verdict alone: P(Yes) at one position, under the published system prompt for it."""

    readout: ClassVar[ReadOut] = "prob_raw"
    style: ClassVar[str] = "direct"
    execute: ClassVar[Execution] = "none"


def _unreadable(item: Item, generator: Generator) -> str:
    """Says why this item's texts have no tokens; "" where they have."""
    problem, solution = item
    for name, text in (("problem", problem.text), *enumerate(solution.steps)):
        where = name if name == "problem" else f"step {name}"
        try:
            accepted = generator.codec.accepts(text)
        except (UserError, ValueError) as error:  # lone surrogates are a UnicodeEncodeError
            return f"{where}: {error}"
        if not accepted:
            return f"{where}: the vocabulary cannot write it"
    return ""
