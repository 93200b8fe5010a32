"""What a baseline says of stored solutions: one forward pass over all of them, in packed rows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.models.costs import forward_flops
from jprm.pipeline.benchmark import Benchmark, load_items
from jprm.pipeline.lab import Lab, Task
from jprm.records import Problem, append_jsonl, read_jsonl
from jprm.runs import Stage
from jprm.search import Cost, StepRewards
from jprm.uses.baseline import Baseline
from jprm.uses.hindsight import HindsightSet


@dataclass(frozen=True)
class Scores:
    """A reward per step of each solution (outcome: of the last step only); `load_scores` reads them."""

    kind: ClassVar[str] = "scores"
    version: ClassVar[int] = 1
    baseline: Baseline
    benchmark: Benchmark | HindsightSet
    backward: bool = False  # the steps are shown last one first

    @property
    def label(self) -> str:
        """How the progress line calls it."""
        way = " backwards" if self.backward else ""
        return f"scores of {self.baseline.label} on {self.benchmark.name}{way}"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """Who judges, and what."""
        return self.baseline, self.benchmark

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """The direction; the read-out has no further settings."""
        return {"backward": self.backward}

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """In one go."""
        items = load_items(lab.stage(self.benchmark))
        scorer = HeadScorer(lab, self.baseline)
        asked = [(i.problem, i.solution.steps[::-1] if self.backward else i.solution.steps) for i in items]
        replies = scorer.score(asked)
        path = stage.file("scores.jsonl")
        path.unlink(missing_ok=True)  # an earlier sitting may have died here
        rows = [
            {
                "solution_id": item.solution.id,
                "rewards": reply.rewards[::-1] if self.backward else reply.rewards,
                "tokens": reply.cost.prompt_tokens,
                "flops": reply.cost.flops,
            }
            for item, reply in zip(items, replies, strict=True)
        ]
        append_jsonl(path, rows)
        return {"solutions": len(rows), "tokens": sum(row["tokens"] for row in rows)}

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs: solutions are read, as if each filled a policy's context."""
        n = lab.config.labels.context_tokens
        config = lab.model_config(self.baseline.like.size)
        return self.benchmark.size(lab) * forward_flops(config, n, n * (n + 1) / 2, 1)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 3 + self.flops(lab) / lab.rates.train


class HeadScorer:
    """A `jprm.search.StepScorer` over the weights of a baseline."""

    def __init__(self, lab: Lab, baseline: Baseline):
        self.lab, self.baseline = lab, baseline
        self.row_tokens = lab.config.verify.context_tokens

    @functools.cached_property
    def _params(self) -> dict:
        return self.baseline.params(self.lab)

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards]:
        """As `StepScorer`; a solution that is too long has no rewards, one without steps none."""
        from jprm.train.forward import label_probabilities

        lab, size = self.lab, self.baseline.like.size
        documents = [
            self.baseline.document(lab, problem, steps, [0.0] * len(steps)) for problem, steps in items if steps
        ]
        found = iter(
            label_probabilities(lab.model(size), self._params, documents, self.row_tokens) if documents else []
        )
        lengths = iter([len(document) for document in documents])
        config, replies = lab.model_config(size), []
        for _, steps in items:
            if not steps:
                replies.append(StepRewards(()))
                continue
            p, n = next(found), next(lengths)
            rewards: tuple[float | None, ...] = (None,) * len(steps)
            if p is not None:
                rewards = (*rewards[len(p) :], *map(float, p))
            flops = forward_flops(config, n, n * (n + 1) / 2, 0 if self.baseline.target != "verdict" else 1)
            replies.append(StepRewards(rewards, Cost(n, 0, flops)))
        return replies


SCORES = {"solution_id": str, "rewards": list, "tokens": int, "flops": float | int}


def load_scores(stage: Stage) -> dict[str, StepRewards]:
    """Rewards by solution id, with what reading the solution cost."""
    return {
        row["solution_id"]: StepRewards(tuple(row["rewards"]), Cost(row["tokens"], 0, row["flops"]))
        for row in read_jsonl(stage.file("scores.jsonl"), SCORES)
    }
