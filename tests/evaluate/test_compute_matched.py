"""Solutions against verifications: against enumeration, and at equal cost."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import (
    VerifiedSolution,
    accuracy_interval,
    best_of_k,
    best_of_verified,
    compute_matched,
    maj_at_k,
    none_verified,
)

pools = st.integers(1, 3).flatmap(
    lambda v: st.lists(
        st.builds(
            VerifiedSolution, st.sampled_from("ab"), st.booleans(), st.tuples(*[st.sampled_from([0.0, 1.0, None])] * v)
        ),
        min_size=1,
        max_size=4,
    )
)


def _mean(votes):
    judged = [vote for vote in votes if vote is not None]
    return sum(judged) / len(judged) if judged else -1.0


@given(pools, st.data())
def test_every_choice_of_solutions_and_votes_equals_enumeration(pool, data):
    s = data.draw(st.integers(1, len(pool)))
    v = data.draw(st.integers(1, len(pool[0].votes)))
    outcomes, silent = [], []
    for chosen in itertools.combinations(pool, s):
        for votes in itertools.product(*(itertools.combinations(c.votes, v) for c in chosen)):
            scores = [_mean(vote) for vote in votes]
            silent.append(max(scores) < 0)
            top = [c.correct for c, x in zip(chosen, scores, strict=True) if x == max(scores)]
            outcomes.append(0.0 if silent[-1] else np.mean(top))
    assert best_of_verified(pool, [s], v)[0] == pytest.approx(np.mean(outcomes))
    assert none_verified(pool, [s], v)[0] == pytest.approx(np.mean(silent))


def test_silence_about_every_solution_is_wrong_or_left_out():
    heard = [VerifiedSolution("a", True, (1.0, None)), VerifiedSolution("b", False, (0.0, None))]
    silent = [VerifiedSolution("a", True, (None, None))] * 2
    wrong = compute_matched([heard, silent], [1, 2], [1, 2], 1.0)
    assert wrong.accuracy[2, 2].tolist() == [1.0, 0.0] and wrong.missing[2, 2].tolist() == [0, 1]
    assert wrong.accuracy[2, 1].tolist() == [0.5, 0.0], "(1, 1), (1, -), (-, 0), (-, -)"
    assert wrong.accuracy[2, 0].tolist() == [0.5, 1.0], "a majority needs no verdict"
    out = compute_matched([heard, silent], [1, 2], [1, 2], 1.0, missing="excluded")
    found = [
        accuracy_interval(out.accuracy[at], out.missing[at], "excluded", out.resamples).value for at in ((2, 2), (2, 1))
    ]
    assert found == pytest.approx([1.0, 0.5 / 0.75])


def _problem(rng, rate, solutions=16, votes=8):
    right = rng.random(solutions) < rate
    says_yes = rng.random((solutions, votes)) < np.where(right, 0.75, 0.35)[:, None]
    return [
        VerifiedSolution("a" if r else f"b{rng.integers(3)}", bool(r), tuple(map(float, row)))
        for r, row in zip(right, says_yes, strict=True)
    ]


def test_all_votes_at_once_are_plain_best_of_k():
    pool = _problem(np.random.default_rng(0), 0.4)
    found = best_of_verified(pool, range(1, 17), 8)
    scores, correct = [_mean(s.votes) for s in pool], [s.correct for s in pool]
    assert found == pytest.approx([best_of_k(scores, correct, k) for k in range(1, 17)])


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    problems = [_problem(rng, rate) for rate in rng.beta(1, 1, 80)]
    return problems, compute_matched(problems, [1, 2, 4, 8, 16], [1, 2, 4, 8], 1.0)


def test_self_consistency_is_the_plurality(table):
    problems, found = table
    expected = [maj_at_k([s.answer for s in p], "a", 8) for p in problems]
    assert found.accuracy[8, 0] == pytest.approx(np.array(expected))
    single = [np.mean([s.correct for s in p]) for p in problems]
    assert found.accuracy[1, 4] == pytest.approx(np.array(single))  # one solution leaves no choice


def test_the_frontier_spends_no_more_than_its_budget(table):
    _, found = table
    budgets = [1, 3, 6, 12, 24, 48, 144]
    for row in found.frontier(budgets):
        assert all(found.cost(s, v) <= row.budget for s, v in row.chosen)
        assert all(s <= row.budget for s in row.solutions)
        assert (row.verifier is None) == (row.budget < 2) == (row.gain is None)
        if row.gain and row.verifier:
            gap = row.verifier.value - row.self_consistency.value
            assert row.gain.value == pytest.approx(gap)
            assert row.gain.low <= row.gain.value <= row.gain.high


def test_each_half_is_scored_at_the_point_chosen_on_the_other():
    """Verified points of pure noise look better where they were chosen, and not elsewhere."""
    rng = np.random.default_rng(2)
    gains = []
    for _ in range(30):
        problems = [
            [
                VerifiedSolution("a" if r else "b", bool(r), tuple(rng.choice([0.0, 1.0], 4)))
                for r in rng.random(4) < 0.5
            ]
            for _ in range(30)
        ]
        found = compute_matched(problems, [1, 2, 3, 4], [1, 2, 3, 4], 0.1)
        verifier = found.frontier([10])[0].verifier
        best = max(x.mean() for point, x in found.accuracy.items() if point[1])
        plain = found.accuracy[1, 0].mean()
        assert verifier is not None
        gains.append((verifier.value - plain, best - plain))
    crossed, chosen_in_place = np.mean(gains, axis=0)
    error = np.std([g[0] for g in gains]) / np.sqrt(30)
    assert abs(crossed) < 3.5 * error
    assert chosen_in_place > crossed + 3 * error


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ([], "0 solutions"),
        ([VerifiedSolution("a", True, (1.0,))] * 2, "at least 1 votes"),
        ([VerifiedSolution("a", True, (1.0, 0.3))] * 2, "1, 0 or None"),
    ],
)
def test_tables_that_are_too_small_or_no_votes_are_refused(problem, message):
    with pytest.raises(UserError, match=message):
        compute_matched([problem], [1, 2], [2], 1.0)


def test_impossible_questions_are_refused(table):
    _, found = table
    with pytest.raises(UserError, match="no solution"):
        found.frontier([0.5])
    with pytest.raises(UserError, match="cost ratio"):
        compute_matched([_problem(np.random.default_rng(0), 0.5)], [1], [1], 0.0)
