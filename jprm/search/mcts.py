"""Monte-Carlo tree search over steps, with the verifier's score as the value of a state.

Each walk goes from the root to the end of a solution by UCB1; where it finds no children, it draws some and has them
judged. The score of the solution that it ends with is handed up its path. Two values of a node are kept apart:

    value     mean of its own score and of all that was handed up through it. It guides the walks,
              and leans towards the better children, because they are visited more often.
    estimate  the success rate of the policy from here, which a reader of the tree computes: a leaf's
              own measurement, above it the plain mean over the children. They are all draws of the policy and are
              measured before the walk can prefer any, so this is unbiased as long as the measurement neither is biased
              nor steers the walks. `rollouts` > 0 measures by completed solutions that no reward model sees
              (Monte-Carlo values); with 0 the verifier's score is all there is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jprm.records import Problem
from jprm.search.base import Answer, Asking, Found, JudgedBranch, at_least, grow, judge, strategy
from jprm.search.ports import ROOT, Branch
from jprm.search.selection import aggregate, aggregation
from jprm.ties import highest_first, places


@dataclass(eq=False, slots=True)
class TreeNode:
    """A state of the tree; `score` is what the verifier says about it."""

    judged: JudgedBranch
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
        """The mean of its own score, which counts as a visit, and of those handed up through it."""
        return (self.score + self.total) / self.visits

    def record(self) -> dict[str, Any]:
        """Returns the node as JSON values."""
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
    """Walks `walks` times from the root and draws `expand` children at every new node, `max_steps` deep.

    exploration: the constant of UCB1; 0 is greedy. A score is an `aggregation` of the rewards; a branch without a score
    counts as 0, and so does the root. The candidates are the tree's solutions (all that have ended or reached
    `max_steps`), the highest score first. rollouts: how often every new node is completed, for the records of the tree.
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

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Walks the tree `walks` times and returns its solutions; `notes["tree"]` is the tree."""
        nodes = [TreeNode(JudgedBranch(ROOT, ()), 0.0)]
        yield from self._measure(nodes, [0])
        for _ in range(self.walks):
            # 1. Select: go down by UCB1 until the solution is complete.
            path = [0]
            while not self._closed(nodes[path[-1]]):
                node = nodes[path[-1]]
                # 2. Expand: a node that was not left before gets its children, judged and measured.
                if not node.children:
                    [drawn] = yield from grow([node.branch], n=self.expand)
                    judged = yield from judge(drawn)
                    node.children = list(range(len(nodes), len(nodes) + len(judged)))
                    nodes += [TreeNode(j, self._score(j), parent=path[-1]) for j in judged]
                    yield from self._measure(nodes, node.children)
                path.append(self._best_child(nodes, node))
            # 3. Back up: hand the score of the solution to every node on the way.
            for i in path:
                nodes[i].visits += 1
                nodes[i].total += nodes[path[-1]].score
        # 4. Rank the solutions that the tree holds.
        closed = [node for node in nodes if self._closed(node)]
        solutions = [closed[i].judged for i in highest_first([node.score for node in closed])]
        return Found(tuple(solutions), notes={"tree": [node.record() for node in nodes]})

    def _score(self, judged: JudgedBranch) -> float:
        return aggregate(judged.rewards, self.aggregation) or 0.0

    def _closed(self, node: TreeNode) -> bool:
        return node.branch.ended or len(node.branch.steps) >= self.max_steps

    def _best_child(self, nodes: Sequence[TreeNode], parent: TreeNode) -> int:
        """Chooses a child by UCB1; of equal children the earliest."""
        children = [nodes[i] for i in parent.children]
        log = math.log(sum(child.visits for child in children))
        bounds = [c.value + self.exploration * math.sqrt(log / c.visits) for c in children]
        return parent.children[places(bounds).index(0)]

    def _measure(self, nodes: Sequence[TreeNode], new: Sequence[int]) -> Asking[None]:
        """Completes the new nodes' branches `rollouts` times each."""
        going = [i for i in new if not nodes[i].branch.ended] if self.rollouts else []
        branches = [nodes[i].branch for i in going]
        drawn = yield from grow(branches, n=self.rollouts, steps=None, label="rollout")
        for i, wholes in zip(going, drawn, strict=True):
            nodes[i].rollouts = [whole.steps for whole in wholes]
