"""What a baseline says of stored solutions: one forward pass over all of them, in packed rows."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.jobs import Stage, Stages, Task, write_rows
from jprm.records import Problem, read_jsonl
from jprm.search import Cost, RewardModel, StepRewards, Steps
from jprm.tasks.base import load_weights
from jprm.tasks.baseline import Baseline
from jprm.tasks.benchmark import SolutionSet, load_items
from jprm.tasks.resources import Speed, TaskContext

FIELDS = {"solution_id": str, "rewards": list, "tokens": int, "flops": float | int}
EXPECTED_TOKENS = 128  # of a solution; only the plan and the ETA use it


@dataclass(frozen=True, eq=False)
class Scores(Task):
    """A reward per step of each solution (outcome: of the last step only); `load_scores` reads them.

    backward: the steps are shown last one first.
    """

    kind: ClassVar[str] = "scores"
    baseline: Baseline
    benchmark: SolutionSet
    backward: bool = False

    @property
    def label(self) -> str:
        way = " backwards" if self.backward else ""
        return f"scores of {self.baseline.label} on {self.benchmark.name}{way}"

    def parents(self) -> tuple[Task, ...]:
        return self.baseline, self.benchmark

    def inputs(self) -> dict[str, Any]:
        return {"backward": self.backward}

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        items = load_items(context.stages[self.benchmark])
        turn = -1 if self.backward else 1
        model = HeadRewards(context.stages, self.baseline)
        replies = model.score([(item.problem, item.solution.steps[::turn]) for item in items])
        rows = [
            {
                "solution_id": item.solution.id,
                "rewards": reply.rewards[::turn],
                "tokens": reply.cost.prompt_tokens,
                "flops": reply.cost.flops,
            }
            for item, reply in zip(items, replies, strict=True)
        ]
        write_rows(stage.file("scores.jsonl"), rows)
        return {"solutions": len(rows), "tokens": sum(row["tokens"] for row in rows)}

    def flops(self) -> float:
        from jprm.models.costs import forward_flops

        n, like = EXPECTED_TOKENS, self.baseline.like
        return self.benchmark.size * forward_flops(like.base.config, n, n * (n + 1) / 2, 1)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.train


class HeadRewards(RewardModel):
    """The rewards of a baseline, by its weights."""

    def __init__(self, stages: Stages, baseline: Baseline):
        self.stages, self.baseline = stages, baseline

    @functools.cached_property
    def _params(self) -> dict:
        return load_weights(self.stages, self.baseline)

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards]:
        """Scores all items in packed rows. The rewards of a solution that is too long are None."""
        from jprm.models.costs import forward_flops
        from jprm.train.forward import label_probabilities

        like, row_tokens = self.baseline.like, self.baseline.like.verify.context_tokens
        documents = [self.baseline.document(problem, steps, [0.0] * len(steps)) for problem, steps in items if steps]
        model = like.base.model
        found = iter(label_probabilities(model, self._params, documents, row_tokens) if documents else [])
        lengths = iter([len(document) for document in documents])
        replies = []
        for _, steps in items:
            if not steps:
                replies.append(StepRewards(()))
                continue
            p, n = next(found), next(lengths)
            rewards: tuple[float | None, ...] = (None,) * len(steps)
            if p is not None:
                rewards = (*rewards[len(p) :], *map(float, p))
            verdicts = 1 if self.baseline.target == "verdict" else 0
            flops = forward_flops(like.base.config, n, n * (n + 1) / 2, verdicts)
            replies.append(StepRewards(rewards, Cost(n, 0, flops)))
        return replies


def load_scores(stage: Stage) -> dict[str, StepRewards]:
    """The rewards by solution id, with what reading the solution cost."""
    return {
        row["solution_id"]: StepRewards(tuple(row["rewards"]), Cost(row["tokens"], 0, row["flops"]))
        for row in read_jsonl(stage.file("scores.jsonl"), FIELDS)
    }
