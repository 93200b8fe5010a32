"""Credits of a tree of rollouts: the value of a node is the mean outcome of its leaves, which is unbiased.

Rollouts share a step where they share its node (`Judged.nodes`); where that is not known, where their tokens up to its
end are the same. The second takes equal draws for one, which biases credit where a step has few likely texts. An edge
is what lies between two branchings. Rollouts drawn one by one are a tree of depth 1, in which `sibling` is the
leave-one-out outcome credit.

A shared beginning stands in every rollout that goes through it. With weight 1 there its copies add up to (leaves below)
of (leaves of the tree), which makes the gradient unbiased. `weights = "edge"` counts every edge once, whatever is below
it; that multiplies depth d by b^d and is another objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError
from jprm.rl.baselines import known_baseline
from jprm.rl.credit import row
from jprm.rl.records import Credit, Judged

END = np.iinfo(np.int32).max  # behind the last step of any rollout
STILL = 1e-6  # a smaller spread of values is none (BranchGRPO)


@dataclass(frozen=True)
class Edge:
    """What `leaves` (indices of rollouts) share between two branchings: the steps `first` to `last` - 1.

    parent: the leaves below the node that it starts from. siblings: those below each other edge from there.
    depth: the branchings before it.
    """

    leaves: tuple[int, ...]
    parent: tuple[int, ...]
    siblings: tuple[tuple[int, ...], ...]
    first: int
    last: int
    depth: int


def edges_of(group: Sequence[Judged], grid: int = 1) -> list[Edge]:
    """Returns the edges of the tree that the rollouts of a group form, branching only behind every `grid` steps."""
    found: list[Edge] = []

    def branch(leaves: tuple[int, ...], begin: int, depth: int) -> int:
        """Adds the edges below a node whose rollouts share the steps before `begin`; returns the step they part at."""
        at, parts = _parted(group, leaves, begin, grid)
        for part in parts:
            last = branch(part, at, depth + 1)
            siblings = tuple(other for other in parts if other is not part)
            found.append(Edge(part, leaves, siblings, at, last, depth))
        return at

    branch(tuple(range(len(group))), 0, 0)
    return found


def _parted(group: Sequence[Judged], leaves: tuple[int, ...], begin: int, grid: int) -> tuple[int, list[tuple]]:
    """Returns the step before which leaves part, on the grid from `begin` on, and the parts; END and none if never."""
    most = max(group[i].n_steps for i in leaves)
    for at in range(begin, most, grid) if len(leaves) > 1 else ():
        parts: dict[bytes, list[int]] = {}
        for i in leaves:
            parts.setdefault(_place(group[i], at + grid), []).append(i)
        if len(parts) > 1:
            return at, [tuple(part) for part in parts.values()]
    return END, []


def _place(judged: Judged, step: int) -> bytes:
    """What names the place of a rollout in its tree before a step."""
    if judged.nodes is not None:
        return judged.nodes[:step].tobytes()
    ids, behind = judged.rollout.ids, np.flatnonzero(judged.rollout.step_of >= step)
    return ids[: behind[0] if len(behind) else len(ids)].tobytes()


@row("sibling", needs=("outcome", "tree"))
def sibling(group: Sequence[Judged], against: str = "siblings", weights: str = "leaf") -> list[Credit]:
    """The value of the edge's end less the mean value of its siblings: the own advantage, in expectation.

    against: "parent" subtracts the value of the parent, which is (1 - 1/b) of it (VinePPO, arXiv 2410.01679); "spread"
    divides that by the std of the parent's leaves + 1e-8 (SPO, arXiv 2505.23564).
    """
    rewards = _rewards(group)
    return _credits(group, edges_of(group), lambda edge: _sibling(edge, rewards, against), weights)


@row("granular", needs=("outcome", "tree"))
def granular(group: Sequence[Judged], grids: Sequence[int] = (1, 2)) -> list[Credit]:
    """The mean of `sibling` over trees that branch behind every step, every second one, ... (after G2RPO)."""
    rewards = _rewards(group)
    made = [
        _credits(group, edges_of(group, grid), lambda edge: _sibling(edge, rewards, "siblings"), "leaf")
        for grid in grids
    ]
    return [Credit(np.mean([c.advantage for c in of], axis=0), of[0].weight) for of in zip(*made, strict=True)]


@row("tree", needs=("outcome", "tree"))
def tree(group: Sequence[Judged], weights: str = "leaf") -> list[Credit]:
    """(V(end) - V(root) + V(end) - V(start)) over the root of the leaves below, rewards leave-one-out (TreeRL).

    arXiv 2506.11902.
    """
    rewards = known_baseline(_rewards(group), "rloo")
    root = tuple(range(len(group)))

    def value(edge: Edge) -> float:
        end = _value(edge.leaves, rewards)
        both = 2 * end - _value(root, rewards) - _value(edge.parent, rewards)
        return both / np.sqrt(len(edge.leaves))

    return _credits(group, edges_of(group), value, weights)


@row("depth", needs=("outcome", "tree"))
def depth(group: Sequence[Judged], clip: float = 5.0, weights: str = "leaf") -> list[Credit]:
    """The z-score of the edge's end among the nodes of its depth, 0 where they hardly differ, clipped (BranchGRPO).

    arXiv 2509.06040. The standard deviation has ddof 1, as torch's has.
    """
    rewards, edges = _rewards(group), edges_of(group)
    values = {edge: _value(edge.leaves, rewards) for edge in edges}

    def score(edge: Edge) -> float:
        peers = np.array([v for e, v in values.items() if e.depth == edge.depth and not np.isnan(v)])
        spread = peers.std(ddof=1) if len(peers) > 1 else 0.0
        return float(np.clip((values[edge] - peers.mean()) / spread, -clip, clip)) if spread > STILL else 0.0

    return _credits(group, edges, score, weights)


def _rewards(group: Sequence[Judged]) -> np.ndarray:
    """The rewards of the leaves [G], nan where an outcome is not known. Raises UserError for a tree of one."""
    if len(group) < 2:
        raise UserError("the credit of a tree compares rollouts of a group, and this group has 1")
    return np.array([np.nan if judged.outcome is None else float(judged.outcome) for judged in group])


def _value(leaves: Sequence[int], rewards: np.ndarray) -> float:
    """The mean reward of leaves; nan where none is known."""
    known = rewards[list(leaves)]
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else np.nan


def _sibling(edge: Edge, rewards: np.ndarray, against: str) -> float:
    value = _value(edge.leaves, rewards)
    if against == "siblings":
        others = np.array([_value(leaves, rewards) for leaves in edge.siblings])
        others = others[~np.isnan(others)]
        return value - float(others.mean()) if len(others) else 0.0
    if against not in ("parent", "spread"):
        raise UserError(f"against = {against!r}: known are siblings, parent, spread")
    gain = value - _value(edge.parent, rewards)
    return gain / (float(np.nanstd(rewards[list(edge.parent)])) + 1e-8) if against == "spread" else gain


def _credits(group: Sequence[Judged], edges: Sequence[Edge], value_of, weights: str) -> list[Credit]:
    """The credits of rollouts whose tokens have what `value_of` says of their edge; an unknown value is neutral."""
    if weights not in ("leaf", "edge"):
        raise UserError(f"weights = {weights!r}: known are leaf, edge")
    advantages = [np.zeros(len(judged.rollout.ids)) for judged in group]
    weight = [judged.rollout.trained.astype(np.float64) for judged in group]
    for edge in edges:
        value = value_of(edge)
        for i in edge.leaves:
            step_of = group[i].rollout.step_of
            here = (step_of >= edge.first) & (step_of < edge.last)
            advantages[i][here] = 0.0 if np.isnan(value) else value
            if weights == "edge":
                weight[i][here] *= len(group) / len(edge.leaves)
    return [Credit(a, w) for a, w in zip(advantages, weight, strict=True)]
