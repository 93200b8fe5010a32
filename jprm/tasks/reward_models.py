"""Reward models of searches over the models of an experiment: verifiers, stored votes, registered scorers, controls."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from jprm.errors import UserError
from jprm.jobs import Stages
from jprm.records import Problem, Rationale
from jprm.score import Ended, Generator, Heard, Known, Scorer, Setup, SharedBeginnings, find_scorer
from jprm.score import Item as ScorerItem
from jprm.search import ModelCost, RewardModel, StepRewards, Steps, VoteRewards
from jprm.seeds import rng_of, seed_of
from jprm.tasks.benchmark import load_items
from jprm.tasks.model_source import ModelSource, ModelWeights
from jprm.tasks.resources import TaskContext
from jprm.tasks.verifier import TrainedVerifier
from jprm.tasks.votes import VerifierSampling, Votes, load_rationales
from jprm.verify import Branches, Execution, Template

Change = Callable[[Problem, Steps, StepRewards], StepRewards]


def model_cost(source: ModelSource) -> ModelCost | None:
    """The FLOPs of a model's forward pass, which is linear in its three counts; None where it is not here."""
    if not isinstance(source, ModelWeights):
        return None
    from jprm.models.costs import forward_flops

    return ModelCost(*(forward_flops(source.config, *count) for count in ((1, 0, 0), (0, 1, 0), (0, 0, 1))))


def verifier_rewards(context: TaskContext, sampling: VerifierSampling, votes: int) -> RewardModel:
    """A trained verifier, which judges every beginning of solutions once."""
    verifier = sampling.verifier
    branches = Branches(
        votes,
        sampling.engine(context.stages),
        sampling.pool(context),
        verifier.base.tokenizer,
        sampling.settings,
        seed_of(verifier.seed, "search votes"),
    )
    return _whole(sampling, SharedBeginnings(branches), votes, model_cost(verifier.base))


def registered_rewards(
    context: TaskContext,
    sampling: VerifierSampling,
    name: str,
    votes: int,
    styled: Callable[[str], TrainedVerifier],
    model: Path | None = None,
) -> RewardModel:
    """Any scorer of `jprm.score` by its name; `styled` gives the verifier that writes in a style.

    model: the directory of the checkpoint that it judges with, where that is no verifier of the run.

    Raises UserError for an unknown name, and for a style that the run has no verifier of.
    """
    verifier, verify, cls = sampling.verifier, sampling.verify, find_scorer(name)

    def generator(style: str, execution: Execution) -> Generator:
        trained = styled(style)
        if not context.stages[trained].done:
            raise UserError(f"the sweep has trained no verifier {trained.label}; choose another scorer")
        own = dataclasses.replace(sampling, verifier=trained, execution=execution)
        engine = own.engine(context.stages)
        return Generator(engine, own.pool(context), trained.base.tokenizer, own.settings)

    seed = seed_of(verifier.seed, "search votes")
    scorer = cls(Setup(model, sampling.mode, verify.readout, seed, stop_early=False, generator=generator))
    return _whole(sampling, scorer, votes, model_cost(verifier.base) if cls.samples else None)


def stored_rewards(stages: Stages, votes: Sequence[Votes], n_votes: int) -> VoteRewards:
    """The rewards of a trained verifier at its first `n_votes` stored votes."""
    sampling = votes[0].sampling
    assert isinstance(sampling, VerifierSampling)
    base = sampling.verifier.base
    return VoteRewards(StoredVotes(stages, votes), n_votes, sampling.readout, base.tokenizer, model_cost(base))


def whole_steps(sampling: VerifierSampling, model: RewardModel) -> RewardModel:
    """A reward model that is asked only about what this verifier could read."""
    template = sampling.verifier.template
    opening = template.openings[sampling.verifier.style] if isinstance(template, Template) else ""
    accepts = sampling.verifier.base.tokenizer.accepts
    return WholeSteps(model, lambda step: accepts(step + opening))


def _whole(sampling: VerifierSampling, scorer: Scorer, votes: int, cost: ModelCost | None) -> RewardModel:
    tokenizer = sampling.verifier.base.tokenizer
    return whole_steps(sampling, VoteRewards(scorer, votes, sampling.readout, tokenizer, cost))


class StoredVotes(Scorer):
    """A scorer that reads the votes of finished stages, also for the beginnings of their solutions.

    A vote writes step by step, so what it wrote about the first steps is what it would have written had it been shown
    no others.
    """

    def __init__(self, stages: Stages, votes: Sequence[Votes]):
        self._stored: dict[tuple[str, Steps], list[Rationale]] = {}
        for task in votes:
            rationales = load_rationales(stages[task])
            for item in load_items(stages[task.benchmark]):
                steps = item.solution.steps
                for end in range(1, len(steps) + 1):
                    self._stored.setdefault((item.problem.id, steps[:end]), rationales[item.solution.id])

    def judge(self, items: Sequence[ScorerItem], votes: Sequence[int], known: Known, heard: Heard):
        """Recalls the votes. Raises KeyError for a solution that the stages do not hold."""
        for problem, solution in items:
            for rationale in self._stored[problem.id, solution.steps]:
                if rationale.vote in votes and rationale.step < len(solution.steps):
                    heard(dataclasses.replace(rationale, solution_id=solution.id))
            yield Ended(solution.id)


class WholeSteps(RewardModel):
    """Asks another reward model only about solutions in whole steps.

    Others, which were cut off or cannot be read again, have no rewards. Sets of candidates leave them out as well.
    """

    def __init__(self, model: RewardModel, accepts: Callable[[str], bool]):
        self.model, self.accepts = model, accepts

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards | Exception]:
        """Returns the rewards of the other model, and None for every step of what it is not asked about."""
        whole = [all(s.endswith("\n") and self.accepts(s) for s in steps) for _, steps in items]
        asked = [item for item, judged in zip(items, whole, strict=True) if judged]
        replies = iter(self.model.score(asked) if asked else [])
        return [
            next(replies) if judged else StepRewards((None,) * len(steps), analyses=("",) * len(steps))
            for (_, steps), judged in zip(items, whole, strict=True)
        ]

    def forget(self, problem: Problem) -> None:
        """Tells the other model that the search of this problem is over."""
        self.model.forget(problem)


class Changed(RewardModel):
    """Another model's rewards, each reply changed by a function: a control that lacks something."""

    def __init__(self, model: RewardModel, change: Change):
        self.model, self.change = model, change

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards | Exception]:
        """Returns the changed rewards; an item on which the other model fails is answered by its exception."""
        return [
            reply if isinstance(reply, Exception) else self.change(*item, reply)
            for item, reply in zip(items, self.model.score(items), strict=True)
        ]

    def forget(self, problem: Problem) -> None:
        """Tells the other model that the search of this problem is over."""
        self.model.forget(problem)


def blind(stock: Sequence[float | None], seed: int) -> Change:
    """Draws rewards from a stock, the same whenever a text is met; costs and analyses stay as they are."""

    def change(problem: Problem, steps: Steps, reply: StepRewards) -> StepRewards:
        drawn = rng_of(seed, "blind", problem.id, *steps).integers(len(stock), size=len(steps))
        return StepRewards(tuple(stock[i] for i in drawn), reply.cost, reply.analyses)

    return change


def shuffled(seed: int) -> Change:
    """Moves rewards and analyses to other steps of the same solution."""

    def change(problem: Problem, steps: Steps, reply: StepRewards) -> StepRewards:
        order = rng_of(seed, "shuffled", problem.id, *steps).permutation(len(steps))
        analyses = tuple(reply.analyses[i] for i in order) if reply.analyses else ()
        return StepRewards(tuple(reply.rewards[i] for i in order), reply.cost, analyses)

    return change
