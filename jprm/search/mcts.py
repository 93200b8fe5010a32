"""Monte-Carlo tree search over steps, with the verifier's score as the value of a state.

Each walk goes from the root to the end of a solution by UCB1; where it finds no children, it draws
some and has them judged. The score of the solution that it ends with is handed up its path. Two
values of a node are kept apart:

    value     mean of its own score and of all that was handed up through it. It guides the walks,
              and leans towards the better children, because they are visited more often.
    estimate  the success rate of the policy from here: a leaf's own measurement, above it the plain
              mean over the children. They are all draws of the policy and are measured before the
              walk can prefer any, so this is unbiased as long as the measurement neither is biased
              nor steers the walks. `rollouts` > 0 measures by completed solutions that are shown to
              no scorer (Monte-Carlo labels, see `tree_labels`); 0 takes the verifier's word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jprm.records import Problem
from jprm.search.plan import Answer, Found, Judged, Talk, at_least, grow, judge, strategy
from jprm.search.ports import ROOT, Branch
from jprm.search.selection import aggregate, aggregation
from jprm.ties import places


@dataclass(eq=False, slots=True)
class Node:
    """A state of the tree; `score` is the verifier's word on it."""

    judged: Judged
    score: float
    parent: int = -1
    children: list[int] = field(default_factory=list)
    visits: int = 1
    total: float = 0.0  # handed up, without its own score
    rollouts: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def branch(self) -> Branch:
        """The solution so far."""
        return self.judged.branch

    @property
    def value(self) -> float:
        """Mean of its own score, which counts as a visit, and of those handed up through it."""
        return (self.score + self.total) / self.visits

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
    """`walks` from the root, with `expand` children drawn at every new node, `max_steps` deep.

    exploration: the constant of UCB1; 0 is greedy. A score is an `aggregation` of the rewards; a
    branch without a score counts as 0, and so does the root. The candidates are the tree's
    solutions (all that have ended or reached `max_steps`), the highest score first.
    """

    walks: int = 8
    expand: int = 4
    exploration: float = 1.0
    aggregation: str = "last"
    max_steps: int = 20
    rollouts: int = 0

    def __post_init__(self):
        at_least(1, walks=self.walks, expand=self.expand, max_steps=self.max_steps)
        at_least(0, rollouts=self.rollouts)
        aggregation[self.aggregation]

    def search(self, problem: Problem, answer: Answer) -> Talk[Found]:
        """As `Strategy`."""
        nodes = [Node(Judged(ROOT, ()), 0.0)]
        yield from self._measure(nodes, [0])
        for _ in range(self.walks):
            path = [0]
            while not self._closed(nodes[path[-1]]):
                node = nodes[path[-1]]
                if not node.children:
                    [drawn] = yield from grow([node.branch], n=self.expand)
                    judged = yield from judge(drawn)
                    node.children = list(range(len(nodes), len(nodes) + len(judged)))
                    nodes += [Node(j, self._score(j), parent=path[-1]) for j in judged]
                    yield from self._measure(nodes, node.children)
                path.append(self._best_child(nodes, node))
            for i in path:
                nodes[i].visits += 1
                nodes[i].total += nodes[path[-1]].score
        closed = [node for node in nodes if self._closed(node)]
        place = places([node.score for node in closed])
        solutions = [closed[i] for i in sorted(range(len(closed)), key=place.__getitem__)]
        tree = [node.record() for node in nodes]
        return Found(tuple(node.judged for node in solutions), notes={"tree": tree})

    def _score(self, judged: Judged) -> float:
        return aggregate(judged.rewards, self.aggregation) or 0.0

    def _closed(self, node: Node) -> bool:
        return node.branch.ended or len(node.branch.steps) >= self.max_steps

    def _best_child(self, nodes: Sequence[Node], parent: Node) -> int:
        """By UCB1; of equal children the earliest."""
        children = [nodes[i] for i in parent.children]
        log = math.log(sum(child.visits for child in children))
        bounds = [c.value + self.exploration * math.sqrt(log / c.visits) for c in children]
        return parent.children[places(bounds).index(0)]

    def _measure(self, nodes: Sequence[Node], new: Sequence[int]) -> Talk[None]:
        """Complete the new nodes' branches `rollouts` times each."""
        going = [i for i in new if not nodes[i].branch.ended] if self.rollouts else []
        branches = [nodes[i].branch for i in going]
        drawn = yield from grow(branches, n=self.rollouts, steps=None, label="rollout")
        for i, wholes in zip(going, drawn, strict=True):
            nodes[i].rollouts = [whole.steps for whole in wholes]
