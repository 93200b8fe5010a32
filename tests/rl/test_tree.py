"""Trees of rollouts: their edges, the values of their nodes, and which credits have the gradient of the outcome."""

import itertools

import numpy as np
import pytest

from jprm.rl import credit
from jprm.rl.rows.tree import edges_of
from tests.rl.groups import judged


def full_tree(depth, branches, outcomes=None, actions=None):
    """A group drawn as a tree: a token a step, whose node is its place among the nodes of its depth."""
    group = []
    for i, path in enumerate(itertools.product(range(branches), repeat=depth)):
        nodes = [int(np.ravel_multi_index(path[: d + 1], (branches,) * (d + 1))) for d in range(depth)]
        ids = [(actions or {}).get(path[: d + 1], nodes[d]) for d in range(depth)]
        group.append(
            judged([1] * depth, bool(outcomes[i]) if outcomes else False, index=i, ids=np.array(ids), nodes=nodes)
        )
    return group


@pytest.mark.parametrize(
    ("depth", "branches", "drawn", "alone"), [(3, 2, 14, 24), (4, 2, 30, 64), (3, 4, 84, 192), (3, 6, 258, 648)]
)
def test_a_tree_has_as_many_edges_as_segments_are_drawn(depth, branches, drawn, alone):
    group = full_tree(depth, branches)
    assert len(edges_of(group)) == drawn and len(group) * depth == alone


def test_rollouts_drawn_one_by_one_are_a_tree_of_depth_1_with_the_outcome_credit():
    group = [judged([2, 1, 2], o, index=i) for i, o in enumerate((True, False, False, True))]
    assert [(e.leaves, e.depth, e.first) for e in edges_of(group)] == [((i,), 0, 0) for i in range(4)]
    for one, other in zip(credit("sibling", group), credit("outcome", group), strict=True):
        np.testing.assert_allclose(one.advantage, other.advantage)
        np.testing.assert_allclose(one.weight, other.weight)


def test_a_tree_is_read_off_shared_tokens_where_nodes_are_not_known():
    texts = ([1, 2, 3], [1, 2, 4], [1, 5, 3], [6, 2, 3])
    group = [
        judged([1, 1, 1], o, index=i, ids=np.array(ids))
        for i, (o, ids) in enumerate(zip((1, 0, 0, 0), texts, strict=True))
    ]
    found = {(edge.leaves, edge.first, min(edge.last, 3), edge.depth) for edge in edges_of(group)}
    assert found == {
        *(((0, 1, 2), 0, 1, 0), ((3,), 0, 3, 0)),
        *(((0, 1), 1, 2, 1), ((2,), 1, 3, 1)),
        *(((0,), 2, 3, 2), ((1,), 2, 3, 2)),
    }
    made = [c.advantage for c in credit("sibling", group)]
    np.testing.assert_allclose(made[0], [1 / 3, 1 / 2, 1])
    np.testing.assert_allclose(made[1], [1 / 3, 1 / 2, -1])
    np.testing.assert_allclose(made[3], -1 / 3)
    halves = [c.advantage for c in credit("sibling", group, against="parent")]
    np.testing.assert_allclose(halves[0], [1 / 3 - 1 / 4, 1 / 2 - 1 / 3, 1 / 2])
    spread = credit("sibling", group, against="spread")[0].advantage
    np.testing.assert_allclose(spread[0], (1 / 3 - 1 / 4) / np.std([1, 0, 0, 0]), rtol=1e-6)


def test_a_beginning_that_all_share_has_no_credit_and_a_grid_branches_less_often():
    group = [judged([1, 1, 1], o, index=o, ids=np.array([1, 2 + o, 5 + o])) for o in (0, 1)]
    made = credit("sibling", group)[1].advantage
    np.testing.assert_allclose(made, [0, 1, 1])
    assert [(e.first, e.leaves) for e in edges_of(group, 2)] == [(0, (0,)), (0, (1,))]
    np.testing.assert_allclose(credit("granular", group)[1].advantage, [0.5, 1, 1])
    np.testing.assert_allclose(credit("granular", group, grids=(3,))[1].advantage, [1, 1, 1])


def test_treerl_and_depth_scores_are_their_formulas():
    group = full_tree(2, 2, (1, 0, 0, 0))
    r = (np.array([1, 0, 0, 0]) - 0.25) * 4 / 3
    inner, leaf = r[:2].mean(), r[0]
    np.testing.assert_allclose(credit("tree", group)[0].advantage, [2 * inner / np.sqrt(2), leaf + leaf - inner])
    depth = credit("depth", group)[0].advantage
    np.testing.assert_allclose(depth, [0.25 / np.std([0.5, 0], ddof=1), 0.75 / np.std([1, 0, 0, 0], ddof=1)])
    assert not any(c.advantage.any() for c in credit("depth", full_tree(2, 2, (1, 1, 1, 1))))
    assert credit("depth", group, clip=0.5)[0].advantage.max() == 0.5


PI = np.array([[0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])  # of the root, and behind each of its two actions
RIGHT = {(0, 0): 1, (0, 1): 0, (1, 0): 0, (1, 1): 1}


def enumerated(**settings):
    """The expected gradients at the root and below it, of credit on all 64 trees of depth 2 with two branches."""
    total, seen = np.zeros_like(PI), 0.0
    for first in itertools.product((0, 1), repeat=2):
        for second in itertools.product((0, 1), repeat=4):
            paths = [(first[i // 2], second[i]) for i in range(4)]
            chance = np.prod([PI[0, a] for a in first]) * np.prod([PI[1 + a, b] for a, b in paths])
            actions = {(i // 2,): first[i // 2] for i in range(4)} | {(i // 2, i % 2): second[i] for i in range(4)}
            group = full_tree(2, 2, [RIGHT[path] for path in paths], actions)
            for made, (a, b) in zip(credit("sibling", group, **settings), paths, strict=True):
                for place, action, c in zip((0, 1 + a), (a, b), made.advantage * made.weight / 4, strict=True):
                    total[place] -= chance * c * PI[place]
                    total[place, action] += chance * c
            seen += chance
    assert seen == pytest.approx(1)
    return total


def test_siblings_with_leaf_weights_have_the_gradient_and_others_a_multiple_at_each_depth():
    g = np.zeros_like(PI)
    for (a, b), r in RIGHT.items():
        for place, action in ((0, a), (1 + a, b)):
            g[place] -= PI[0, a] * PI[1 + a, b] * r * PI[place]
            g[place, action] += PI[0, a] * PI[1 + a, b] * r
    np.testing.assert_allclose(enumerated(), g, atol=1e-12)
    np.testing.assert_allclose(enumerated(against="parent"), g / 2, atol=1e-12)
    edge = enumerated(weights="edge")
    np.testing.assert_allclose(edge[0], 2 * g[0], atol=1e-12)
    np.testing.assert_allclose(edge[1:], 4 * g[1:], atol=1e-12)
