"""Judged solutions of one form, whoever judged them: rewards per step and what they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jprm.evaluate import Missing
from jprm.pipeline.benchmark import load_items
from jprm.pipeline.lab import Lab
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes, load_rationales
from jprm.records import Rationale
from jprm.score import Ended, Heard, Known, Scorer
from jprm.score import Item as ScorerItem
from jprm.search import ModelCost, StepRewards, Steps, VoteRewards, mean_rewards
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


class StoredVotes(Scorer):
    """A scorer that reads the votes of finished stages; the beginning of a solution counts, too.

    A vote writes step by step, so what it wrote about the first steps is what it would have written
    had it been shown no others.
    """

    def __init__(self, lab: Lab, votes: Sequence[Votes]):
        self._stored: dict[tuple[str, Steps], list[Rationale]] = {}
        for task in votes:
            rationales = load_rationales(lab.stage(task))
            for item in load_items(lab.stage(task.benchmark)):
                steps = item.solution.steps
                for end in range(1, len(steps) + 1):
                    key = item.problem.id, steps[:end]
                    self._stored.setdefault(key, rationales[item.solution.id])

    def judge(self, items: Sequence[ScorerItem], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Recalls the votes. Raises KeyError for a solution that the stages do not hold."""
        for problem, solution in items:
            for rationale in self._stored[problem.id, solution.steps]:
                if rationale.vote in votes and rationale.step < len(solution.steps):
                    heard(dataclasses.replace(rationale, solution_id=solution.id))
            yield Ended(solution.id)


def stored_rewards(lab: Lab, votes: Sequence[Votes], n_votes: int) -> VoteRewards:
    """The rewards of a generative verifier at its first `n_votes` stored votes."""
    cost = model_cost(lab, votes[0].verifier.size)
    return VoteRewards(StoredVotes(lab, votes), n_votes, lab.config.verify.readout, lab.tokenizer, cost)


def voted(lab: Lab, name: str, votes: Sequence[Votes], n_votes: int) -> Judge:
    """A generative verifier at its first `n_votes` stored votes."""
    items = [item for task in votes for item in load_items(lab.stage(task.benchmark))]
    replies = stored_rewards(lab, votes, n_votes).score([(item.problem, item.solution.steps) for item in items])
    rewards = {item.solution.id: reply for item, reply in zip(items, replies, strict=True)}
    assert all(isinstance(reply, StepRewards) for reply in replies), "stored votes lose nothing"
    return Judge(name, True, rewards, votes[0].verifier, lab.config.evaluate.missing)  # type: ignore[arg-type]


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
    rewards = {name: mean_rewards([judge.rewards[name] for judge in judges]) for name in judges[0].rewards}
    return dataclasses.replace(judges[0], name=name, rewards=rewards)
