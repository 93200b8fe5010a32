"""Labels from the tree of a search: what MCTS measured on its way, as Monte-Carlo values.

Every state was measured when it was drawn, so the labels come for free with the search. They have
the form of `jprm.label.value_problems` and are read by whatever reads its files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jprm.errors import UserError
from jprm.label import ProblemValues, ValuedSolution, truncate
from jprm.label.rollouts import MALFORMED
from jprm.records import Problem
from jprm.ties import mean
from jprm.worlds.base import World, make_solution

Tree = Sequence[Mapping[str, Any]]  # nodes as `mcts.Node.record` writes them, parents first


def estimates(tree: Tree, measured: Callable[[Mapping[str, Any]], float]) -> list[float]:
    """The policy's success rate from every node: measured at a leaf, above it the children's mean."""
    children: dict[int, list[int]] = {}
    for i, node in enumerate(tree):
        children.setdefault(node["parent"], []).append(i)
    values = [0.0] * len(tree)
    for i in reversed(range(len(tree))):  # children stand behind their parents
        below = [values[child] for child in children.get(i, ())]
        values[i] = mean(below) if below else measured(tree[i])
    return values


def tree_labels(row: Mapping[str, Any], problem: Problem, world: World) -> ProblemValues:
    """The values of a search's finished solutions, from a row of `run_search` with MCTS.

    `mc` [T + 1] holds the estimate of every state on the way and is zero after the first zero. A
    solution of two branches is reported once. The record's `n` and `correct` are the root's own
    rollouts. Raises UserError for a row without a tree, or whose tree has no rollouts: the
    verifier's own scores are no labels.
    """
    tree = row["notes"].get("tree")
    if not tree or not tree[0]["rollouts"]:
        raise UserError(f"problem {row['problem_id']}: no rollouts in its tree; search with mcts, rollouts >= 1")

    def right(steps: Sequence[str]) -> bool:
        return world.is_correct(problem, steps)

    def measured(node: Mapping[str, Any]) -> float:
        if node["ended"]:
            return float(right(node["steps"]))
        return sum(map(right, node["rollouts"])) / len(node["rollouts"])

    values = estimates(tree, measured)
    solutions: dict[tuple[str, ...], ValuedSolution] = {}
    for i, node in enumerate(tree):
        steps = tuple(node["steps"])
        if node["ended"] and steps and steps not in solutions:
            first_error, kind = world.truth(problem, steps)
            along, malformed = _along(tree, i, values), kind in MALFORMED
            if world.answer(steps) is not None and not malformed and len(along) == len(steps) + 1:
                solution = make_solution(problem, steps, "policy", first_error, kind)
                solutions[steps] = ValuedSolution(solution, along)
    root = tree[0]["rollouts"]
    return ProblemValues(
        problem_id=problem.id,
        n=len(root),
        correct=sum(map(right, root)),
        rollouts=len(root),
        solutions=tuple(solutions.values()),
        generated_tokens=row["budget"]["generator"]["generated_tokens"],
        prompt_tokens=row["budget"]["generator"]["prompt_tokens"],
        reason="" if solutions else "no usable solution",
    )


def _along(tree: Tree, at: int, values: Sequence[float]) -> tuple[float, ...]:
    """Values of the states on the way to a node, one for each number of steps that was met.

    Those are [T + 1] unless a draw was several steps long. Of two nodes of one length (the end mark
    came as a draw of its own) the later is meant.
    """
    by_length: dict[int, float] = {}
    while at >= 0:
        by_length.setdefault(len(tree[at]["steps"]), values[at])
        at = tree[at]["parent"]
    return tuple(truncate([by_length[t] for t in sorted(by_length)]).tolist())
