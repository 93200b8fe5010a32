"""Judged solutions of one form, whoever judged them: rewards per step and what they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jprm.evaluate import Missing
from jprm.pipeline.benchmark import Item, load_items
from jprm.pipeline.lab import Lab
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes, load_rationales
from jprm.records import Problem, Rationale, Solution
from jprm.search import ModelCost, StepRewards, VotedScorer
from jprm.search.reversed import mean_rewards
from jprm.uses.baseline import Baseline
from jprm.uses.scores import Scores, load_scores


@dataclass(frozen=True)
class Judge:
    """A verifier, by what it said: rewards by solution id, for the sets that it has judged.

    by_steps: whether it judges each step; else only the last, which stands for the whole solution.
    missing: what counts where it has no verdict (`jprm.evaluate.missing`).
    """

    name: str
    by_steps: bool
    rewards: Mapping[str, StepRewards]
    trained: Verifier | Baseline
    missing: Missing = "wrong"

    @property
    def needed(self) -> slice:
        """The steps that its verdict is read off."""
        return slice(None) if self.by_steps else slice(-1, None)

    @property
    def aggregation(self) -> str:
        """How its rewards become one score: the worst step of a process verifier."""
        return "min" if self.by_steps else "last"


def model_cost(lab: Lab, size: str) -> ModelCost:
    """FLOPs of a preset's forward pass, which is linear in its three counts."""
    from jprm.models.costs import forward_flops

    config = lab.model_config(size)
    counts = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    return ModelCost(*(forward_flops(config, *count) for count in counts))


class StoredScorer(VotedScorer):
    """A `StepScorer` that reads the votes of finished stages; the beginning of a solution counts, too.

    A vote writes step by step, so what it wrote about the first steps is what it would have written
    had it been shown no others.
    """

    def __init__(self, lab: Lab, votes: Sequence[Votes], n_votes: int):
        """Raises KeyError later, for a solution that these stages do not hold."""
        super().__init__(
            self._recall, n_votes, lab.config.verify.readout, lab.tokenizer, model_cost(lab, votes[0].verifier.size)
        )
        self._stored: dict[tuple[str, tuple[str, ...]], list[Rationale]] = {}
        for task in votes:
            rationales = load_rationales(lab.stage(task))
            for item in load_items(lab.stage(task.benchmark)):
                steps = item.solution.steps
                for end in range(1, len(steps) + 1):
                    key = item.problem.id, steps[:end]
                    self._stored.setdefault(key, rationales[item.solution.id])

    def _recall(self, items: Sequence[tuple[Problem, Solution]], votes: Sequence[int]) -> Iterator[Rationale]:
        for problem, solution in items:
            for rationale in self._stored[problem.id, solution.steps]:
                if rationale.vote in votes and rationale.step < len(solution.steps):
                    yield dataclasses.replace(rationale, solution_id=solution.id)


def voted(lab: Lab, name: str, votes: Sequence[Votes], n_votes: int) -> Judge:
    """A generative verifier at its first `n_votes` stored votes."""
    items = _items(lab, votes)
    scorer = StoredScorer(lab, votes, n_votes)
    replies = scorer.score([(item.problem, item.solution.steps) for item in items])
    ids = (item.solution.id for item in items)
    rewards = dict(zip(ids, replies, strict=True))
    return Judge(name, True, rewards, votes[0].verifier, lab.config.evaluate.missing)


def scored(lab: Lab, name: str, scores: Sequence[Scores]) -> Judge:
    """A baseline."""
    rewards: dict[str, StepRewards] = {}
    for task in scores:
        rewards |= load_scores(lab.stage(task))
    baseline = scores[0].baseline
    by_steps = baseline.target == "steps"
    return Judge(name, by_steps, rewards, baseline, lab.config.evaluate.missing)


def averaged(name: str, judges: Sequence[Judge]) -> Judge:
    """The mean of several judges, whose costs add up."""
    rewards = {}
    for solution_id in judges[0].rewards:
        reply = mean_rewards([judge.rewards[solution_id] for judge in judges])
        assert isinstance(reply, StepRewards)
        rewards[solution_id] = reply
    return dataclasses.replace(judges[0], name=name, rewards=rewards)


def _items(lab: Lab, tasks: Sequence[Votes]) -> list[Item]:
    return [item for task in tasks for item in load_items(lab.stage(task.benchmark))]
