"""Which credits have the gradient of the expected outcome: by enumeration of a random policy over three tokens, thrice.

Every trajectory is judged by its exact values. Its partner in a group is any rollout with each outcome, since rows here
read no more of it. A gradient is over the logits of all 13 states.
"""

import itertools

import numpy as np
import pytest

from jprm.rl import credit
from jprm.rl.credit import to_go
from tests.rl.groups import judged

TOKENS, STEPS, DRAWS = 3, 3, 40
LEAVES = list(itertools.product(range(TOKENS), repeat=STEPS))
STATES = {s: i for i, s in enumerate(s for n in range(STEPS) for s in itertools.product(range(TOKENS), repeat=n))}


def policy(rng):
    logits = rng.standard_normal((len(STATES), TOKENS))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def values(pi, right):
    """The value of every state and end under a policy."""
    found = {leaf: float(r) for leaf, r in zip(LEAVES, right, strict=True)}
    for state in sorted(STATES, key=len, reverse=True):
        found[state] = sum(pi[STATES[state], a] * found[(*state, a)] for a in range(TOKENS))
    return found


def gradient(pi, credits):
    """Returns the expected gradient over a policy's logits when each end has the credits [STEPS]."""
    total = np.zeros_like(pi)
    for leaf in LEAVES:
        places = [STATES[leaf[:t]] for t in range(STEPS)]
        chance = np.prod([pi[place, a] for place, a in zip(places, leaf, strict=True)])
        for place, a, c in zip(places, leaf, credits[leaf], strict=True):
            total[place] -= chance * c * pi[place]
            total[place, a] += chance * c
    return total


def by_row(pi, right, name, known, **settings):
    """The credits of each end, in a group with one other rollout, expected over that."""
    outcome = dict(zip(LEAVES, map(bool, right), strict=True))
    rate, found = values(pi, right)[()], {}
    for leaf in LEAVES:
        states = [known[leaf[:t]] for t in range(STEPS + 1)]
        one = judged([1] * STEPS, outcome[leaf], values=states)
        others = {r: judged([1] * STEPS, r, index=1, values=states) for r in (True, False)}
        made = {r: credit(name, [one, other], **settings)[0].advantage for r, other in others.items()}
        found[leaf] = rate * made[True] + (1 - rate) * made[False]
    return found


def cosine(one, two):
    return float((one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum()))


@pytest.fixture(scope="module")
def draws():
    rng = np.random.default_rng(0)
    found = []
    while len(found) < DRAWS:
        pi, mu, right = policy(rng), policy(rng), rng.integers(0, 2, len(LEAVES))
        if 0 < right.sum() < len(LEAVES):
            found.append((pi, mu, right, {state: rng.random() for state in values(pi, right)}))
    return found


def truth(pi, right):
    outcome = dict(zip(LEAVES, right, strict=True))
    return gradient(pi, {leaf: [r] * STEPS for leaf, r in outcome.items()})


def test_outcome_and_own_advantage_have_the_gradient_of_the_outcome(draws):
    for pi, _, right, _ in draws[:8]:
        g, exact = truth(pi, right), values(pi, right)
        np.testing.assert_allclose(gradient(pi, by_row(pi, right, "outcome", exact)), g, atol=1e-12)
        doubled = gradient(pi, by_row(pi, right, "pav", exact, alpha=1.0, best_of=1))
        np.testing.assert_allclose(doubled, 2 * g, atol=1e-12)  # outcome once, own advantage once


def test_the_advantage_under_another_policy_is_another_objective_unless_it_is_summed(draws):
    alike = []
    for pi, mu, right, _ in draws:
        g, other = truth(pi, right), values(mu, right)
        alike.append(cosine(gradient(pi, by_row(pi, right, "pav", other, alpha=3.0, best_of=1)), g))
        summed = gradient(pi, by_row(pi, right, "pav", other, alpha=3.0, best_of=1, accumulate=True))
        np.testing.assert_allclose(summed, 4 * g, atol=1e-12)
    assert sum(c < 1 - 1e-6 for c in alike) >= 35 and min(alike) < 0.9


def test_shaping_leaves_the_gradient_where_it_was_and_a_kept_end_does_not(draws):
    kept = []
    for pi, _, right, potential in draws:
        g = truth(pi, right)
        shaped = by_row(pi, right, "shaped-values", potential)
        np.testing.assert_allclose(gradient(pi, shaped), g, atol=1e-12)
        kept.append(cosine(gradient(pi, {leaf: c + potential[leaf] for leaf, c in shaped.items()}), g))
    assert sum(c < 1 - 1e-6 for c in kept) >= 35 and min(kept) < 0.9


def test_raw_potentials_to_go_are_another_objective(draws):
    alike = []
    for pi, _, right, potential in draws:
        ahead = {leaf: np.array([potential[leaf[: t + 1]] for t in range(STEPS)]) for leaf in LEAVES}
        both = {leaf: r + to_go(ahead[leaf]) for leaf, r in zip(LEAVES, right, strict=True)}
        alike.append(cosine(gradient(pi, both), truth(pi, right)))
    assert sum(c < 1 - 1e-6 for c in alike) >= 35


def chain_credits(potential, end):
    """Credits of every walk of six moves on a chain of four states that ends at the last: stay or go on, with a loop.

    end: what the potential of a walk's end counts besides.
    """
    found = {}
    for walk in itertools.product((0, 1), repeat=6):
        places = np.minimum(np.concatenate([[0], np.cumsum(walk)]), 3)
        one = judged([1] * 6, bool(places[-1] == 3), values=potential[places])
        made = credit("shaped-values", [one, judged([1] * 6, False, index=1, values=potential[places])])[0].advantage
        found[walk] = made + end * potential[places[-1]]
    return found


def best_first_moves(credits):
    """The first moves that the best walks begin with, by what the first step has to come."""
    best = max(c[0] for c in credits.values())
    return {walk for walk, c in credits.items() if c[0] > best - 1e-9}


def test_shaping_changes_no_optimal_walk_on_a_chain_with_a_loop_and_a_kept_end_changes_some():
    rng = np.random.default_rng(0)
    optimal = best_first_moves(chain_credits(np.zeros(4), 0))
    potentials = [rng.random(4) for _ in range(100)]
    assert all(best_first_moves(chain_credits(phi, 0)) == optimal for phi in potentials[:20])
    hovering = np.array([0.0, 0.9, 0.0, 0.0])  # a state that looks good and is not the goal
    assert best_first_moves(chain_credits(hovering, 3)) != optimal
