"""The weighted vote against the enumeration of subsets, and drawn against exact."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import maj_at_k, weighted_vote_at_k


def _winner_share(chosen, truth):
    weight = {}
    for answer, score in chosen:
        if answer is not None and score is not None:
            weight[answer] = weight.get(answer, 0.0) + score
    top = [a for a in weight if weight[a] == max(weight.values())]
    return (truth in top) / len(top) if top else 0.0


candidates = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([0.0, 0.25, 0.5, 1.0, None])),
    min_size=1,
    max_size=8,
)


@given(candidates, st.data())
def test_equals_enumeration(pool, data):
    k = data.draw(st.integers(1, len(pool)))
    expected = np.mean([_winner_share(c, "a") for c in itertools.combinations(pool, k)])
    answers, scores = zip(*pool, strict=True)
    assert weighted_vote_at_k(answers, scores, "a", k) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9), st.data())
def test_equal_weights_are_the_plain_majority(answers, data):
    k = data.draw(st.integers(1, len(answers)))
    weighted = weighted_vote_at_k(answers, [0.5] * len(answers), "a", k)
    assert weighted == pytest.approx(maj_at_k(answers, "a", k))


def test_drawn_subsets_are_unbiased():
    """40 different scores: the share over drawn subsets against that over 20 000 fresh ones."""
    rng = np.random.default_rng(0)
    answers, scores = rng.choice(list("abc"), 40).tolist(), rng.random(40).tolist()
    fresh = [_winner_share([(answers[i], scores[i]) for i in rng.permutation(40)[:11]], "a") for _ in range(20_000)]
    found = weighted_vote_at_k(answers, scores, "a", 11)
    assert found == pytest.approx(np.mean(fresh), abs=4 * 0.5 / np.sqrt(2000))
    assert 0.1 < found < 0.9


@pytest.mark.parametrize(
    ("answers", "scores", "k", "message"),
    [
        (["a"], [0.1, 0.2], 1, "1 answers but 2 scores"),
        (["a"], [-0.1], 1, "at least 0"),
        (["a"], [float("nan")], 1, "at least 0"),
        (["a", "b"], [0.1, 0.2], 3, "between 1 and 2"),
    ],
)
def test_bad_candidates_are_refused(answers, scores, k, message):
    with pytest.raises(UserError, match=message):
        weighted_vote_at_k(answers, scores, "a", k)
