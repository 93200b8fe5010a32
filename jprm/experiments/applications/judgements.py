"""What a verifier said of solutions, in one form whoever said it: rewards per step and what they cost."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jprm.evaluate import Missing
from jprm.jobs import Stages, Task
from jprm.search import StepRewards, mean_rewards
from jprm.tasks.benchmark import load_items
from jprm.tasks.reward_models import stored_rewards
from jprm.tasks.scores import Scores, load_scores
from jprm.tasks.votes import Votes


@dataclass(frozen=True)
class Judgements:
    """The rewards of a verifier by solution id, for the sets that it has judged.

    by_steps: whether it judges each step; else only the last, which stands for the whole solution. trained: the task
    that trained it. missing: what counts where it has no verdict (`jprm.evaluate.missing`).
    """

    name: str
    by_steps: bool
    rewards: Mapping[str, StepRewards]
    trained: Task
    missing: Missing = "wrong"

    @property
    def needed(self) -> slice:
        """The steps from which its verdict is read."""
        return slice(None) if self.by_steps else slice(-1, None)

    @property
    def aggregation(self) -> str:
        """How its rewards become one score: by the worst step of a process verifier, else by the last."""
        return "min" if self.by_steps else "last"


def voted(stages: Stages, name: str, votes: Sequence[Votes], n_votes: int, missing: Missing) -> Judgements:
    """The judgements of a generative verifier at its first `n_votes` stored votes."""
    items = [item for task in votes for item in load_items(stages[task.benchmark])]
    replies = stored_rewards(stages, votes, n_votes).score([(item.problem, item.solution.steps) for item in items])
    rewards = {item.solution.id: reply for item, reply in zip(items, replies, strict=True)}
    assert all(isinstance(reply, StepRewards) for reply in replies), "stored votes lose nothing"
    [verifier] = votes[0].sampling.parents()
    return Judgements(name, True, rewards, verifier, missing)  # type: ignore[arg-type]


def scored(stages: Stages, name: str, scores: Sequence[Scores], missing: Missing) -> Judgements:
    """The judgements of a baseline."""
    rewards: dict[str, StepRewards] = {}
    for task in scores:
        rewards |= load_scores(stages[task])
    baseline = scores[0].baseline
    return Judgements(name, baseline.target == "steps", rewards, baseline, missing)


def averaged(name: str, parts: Sequence[Judgements]) -> Judgements:
    """The mean of several judgements, whose costs add up."""
    rewards = {name: mean_rewards([part.rewards[name] for part in parts]) for name in parts[0].rewards}
    return dataclasses.replace(parts[0], name=name, rewards=rewards)


def joined(name: str, parts: Sequence[Judgements]) -> Judgements:
    """The judgements of one verifier on several sets as one."""
    rewards = {key: reply for part in parts for key, reply in part.rewards.items()}
    return dataclasses.replace(parts[0], name=name, rewards=rewards)
