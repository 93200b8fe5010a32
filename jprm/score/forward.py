"""Scorers that judge all steps of a solution in one forward pass, many solutions side by side.

Solutions go by length into buckets, each a power of two of tokens, and through the model in batches of one shape per
bucket: few programs are compiled, and little of a batch is padding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from jprm.errors import UserError
from jprm.records import Problem, Solution
from jprm.score.base import Ended, Heard, Item, Known, Scorer, as_rationale

if TYPE_CHECKING:  # these load JAX
    from jprm.data import Document
    from jprm.models import Model

LEAST_ROW_TOKENS = 64
BATCH_TOKENS = 8192
WINDOW = 256  # solutions that are laid out before the model runs: the first verdicts should not wait for all texts


class ForwardScorer(Scorer):
    """Reads P(the step is right) off the model's state at one token for each step. All votes are the same.

    A subclass loads `model` and `params`, with a step head in them (see `jprm.train.loss.step_logits`), and sets
    `context_tokens`, what the model was made for. A longer solution has no verdict, with the reason "context".
    """

    chance: ClassVar[bool] = False
    model: Model
    params: dict[str, Any]
    context_tokens: int

    @abstractmethod
    def document(self, problem: str, steps: Sequence[str]) -> Document:
        """Lays a solution out as tokens, of which those with a weight are where its steps are judged, in their order.

        Raises UserError or ValueError for a text that has no tokens.
        """

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges as `Scorer` says, window by window, and the short solutions of each first."""
        for start in range(0, len(items), WINDOW):
            yield from self._judge(items[start : start + WINDOW], votes, known, heard)

    def _judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        # 1. Lay out what is not known yet; what cannot be laid out, or is too long, is told at once.
        waiting: list[tuple[Solution, Document]] = []
        for problem, solution in items:
            there = {(r.step, r.vote) for r in known.get(solution.id, ())}
            if all((step, vote) in there for step in range(len(solution.steps)) for vote in votes):
                yield Ended(solution.id)
                continue
            try:
                document = self._laid_out(problem, solution)
            except (UserError, ValueError) as error:  # lone surrogates are a UnicodeEncodeError
                yield Ended(solution.id, str(error))
                continue
            if len(document) <= self.context_tokens:
                waiting.append((solution, document))
            else:
                yield self._tell(solution, [None] * len(solution.steps), votes, heard, "context")

        # 2. Bucket by bucket, run the model and tell what it says.
        buckets: dict[int, list[tuple[Solution, Document]]] = {}
        for solution, document in waiting:
            buckets.setdefault(row_tokens(len(document)), []).append((solution, document))
        for tokens, members in sorted(buckets.items()):
            rows = batch_rows(len(members), tokens)
            for start in range(0, len(members), rows):
                batch = members[start : start + rows]
                for (solution, _), found in zip(batch, self._run(batch, tokens, rows), strict=True):
                    yield self._tell(solution, found, votes, heard)

    def _laid_out(self, problem: Problem, solution: Solution) -> Document:
        steps = [step.removesuffix("\n") for step in solution.steps]
        document = self.document(problem.text.removesuffix("\n"), steps)
        judged = int((document.weights > 0).sum())
        if judged != len(steps):
            raise ValueError(f"{len(steps)} steps have {judged} places where they are judged")
        return document

    def _run(self, batch: Sequence[tuple[Solution, Document]], tokens: int, rows: int) -> list[list[float]]:
        from jprm.train.forward import label_probabilities

        documents = [document for _, document in batch]
        found = label_probabilities(self.model, self.params, documents, tokens, rows)
        return [[float(p) for p in probabilities] for probabilities in found if probabilities is not None]

    def _tell(
        self, solution: Solution, scores: Sequence[float | None], votes: Sequence[int], heard: Heard, reason: str = ""
    ) -> Ended:
        try:
            rationales = [
                as_rationale(solution.id, step, vote, self.setup.mode, score, reason)
                for vote in votes
                for step, score in enumerate(scores)
            ]
        except ValueError as error:  # the weights' fault
            return Ended(solution.id, str(error))
        for rationale in rationales:
            heard(rationale)
        return Ended(solution.id)


def row_tokens(tokens: int) -> int:
    """Returns the bucket of a document: the least power of two from 64 on that holds it."""
    return max(LEAST_ROW_TOKENS, 1 << (tokens - 1).bit_length())


def batch_rows(documents: int, tokens: int) -> int:
    """Returns the rows of a batch: a power of two, as many as there are documents or as a batch of 8192 tokens has."""
    return min(1 << (documents - 1).bit_length(), max(1, BATCH_TOKENS // tokens))
