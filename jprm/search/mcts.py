"""Monte-Carlo tree search over steps, with the verifier's score as the value of a state.

Each iteration walks from the root to a leaf by UCB1, draws the leaf's children, has them judged,
and hands the mean of their scores up the path. Two values of a node are kept apart:

    value     mean of all that was handed up through it. It guides the walk, and leans towards the
              better children, because they are visited more often.
    estimate  the success rate of the policy from here: a leaf's own measurement, above it the plain
              mean over the children. They are all draws of the policy and are measured before the
              walk can prefer any, so this is unbiased as long as the measurement neither is biased
              nor steers the walk. `rollouts` > 0 measures by completed solutions that are shown to
              no scorer (Monte-Carlo labels, see `tree_labels`); 0 takes the verifier's word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jprm.records import Problem
from jprm.search.plan import (
    Answer,
    Found,
    Judged,
    Talk,
    at_least,
    grow,
    judge,
    strategy,
)
from jprm.search.ports import ROOT, Branch
from jprm.search.selection import aggregation


@dataclass(eq=False, slots=True)
class Node:
    """A state of the tree; `score` is the verifier's word on it."""

    judged: Judged
    score: float
    parent: int = -1
    children: list[int] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    rollouts: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def branch(self) -> Branch:
        """The solution so far."""
        return self.judged.branch

    @property
    def value(self) -> float:
        """Mean of the scores handed up through this node; its own before any were."""
        return self.total / self.visits if self.visits else self.score

    def record(self) -> dict[str, Any]:
        """As JSON; `score` None where nothing was judged."""
        return {
            "steps": list(self.branch.steps),
            "ended": self.branch.ended,
            "parent": self.parent,
            "visits": self.visits,
            "value": self.value,
            "score": self.score,
            "rollouts": [list(steps) for steps in self.rollouts],
        }


@strategy("mcts")
@dataclass(frozen=True)
class Mcts:
    """`iterations` expansions of `expand` children each, at most `max_steps` deep.

    exploration: the constant of UCB1; 0 is greedy. A score is an `aggregation` of the rewards; a
    branch without any judgement counts as 0. The candidates are the tree's finished solutions, best
    first; without any, its best leaf is completed.
    """

    iterations: int = 16
    expand: int = 4
    exploration: float = 1.0
    aggregation: str = "last"
    max_steps: int = 20
    rollouts: int = 0

    def __post_init__(self):
        at_least(1, iterations=self.iterations, expand=self.expand, max_steps=self.max_steps)
        at_least(0, rollouts=self.rollouts)
        aggregation[self.aggregation]

    def search(self, problem: Problem, answer: Answer) -> Talk[Found]:
        """As `Strategy`."""
        nodes = [Node(Judged(ROOT, ()), 0.0)]
        yield from self._measure(nodes, [0])
        for _ in range(self.iterations):
            path = self._walk(nodes)
            leaf = nodes[path[-1]]
            if self._closed(leaf):
                scores = [leaf.score]
            else:
                [drawn] = yield from grow([leaf.branch], n=self.expand)
                judged = yield from judge(drawn)
                leaf.children = list(range(len(nodes), len(nodes) + len(judged)))
                nodes += [Node(j, self._score(j), parent=path[-1]) for j in judged]
                yield from self._measure(nodes, leaf.children)
                scores = [nodes[i].score for i in leaf.children]
                for i in leaf.children:
                    nodes[i].visits, nodes[i].total = 1, nodes[i].score
            for i in path:
                nodes[i].visits += len(scores)
                nodes[i].total += sum(scores)
        candidates = sorted((n for n in nodes if n.branch.ended), key=lambda n: -n.score)
        found = [node.judged for node in candidates]
        if not found:
            tips = [node for node in nodes if not node.children]
            top = max(tips, key=lambda node: node.score)
            [[whole]] = yield from grow([top.branch], steps=None, label="whole")
            found = yield from judge([whole])
        return Found(tuple(found), notes={"tree": [node.record() for node in nodes]})

    def _score(self, judged: Judged) -> float:
        score = judged.score(self.aggregation)
        return 0.0 if score == -math.inf else score

    def _closed(self, node: Node) -> bool:
        return node.branch.ended or len(node.branch.steps) >= self.max_steps

    def _walk(self, nodes: Sequence[Node]) -> list[int]:
        """From the root to a leaf; of equal children the earliest."""
        path = [0]
        while children := nodes[path[-1]].children:
            log = math.log(nodes[path[-1]].visits)
            bound = [
                nodes[i].value + self.exploration * math.sqrt(log / nodes[i].visits)
                for i in children
            ]
            path.append(children[bound.index(max(bound))])
        return path

    def _measure(self, nodes: Sequence[Node], new: Sequence[int]) -> Talk[None]:
        """Complete the new nodes' branches `rollouts` times each."""
        going = [i for i in new if not nodes[i].branch.ended] if self.rollouts else []
        branches = [nodes[i].branch for i in going]
        drawn = yield from grow(branches, n=self.rollouts, steps=None, label="rollout")
        for i, wholes in zip(going, drawn, strict=True):
            nodes[i].rollouts = [whole.steps for whole in wholes]
