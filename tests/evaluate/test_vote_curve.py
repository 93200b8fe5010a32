"""The curve over votes against the enumeration of subsets with plain Python means."""

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import first_error_f1, vote_curve
from jprm.verify import first_error, mean_reward


def _first_error(item, chosen, threshold=0.5):
    """The prediction of a set of votes, as slowly and obviously as possible."""
    for t, step in enumerate(item):
        judged = [step[i] for i in chosen if step[i] is not None]
        if not judged:
            return None
        if sum(judged) / len(judged) < threshold:
            return t
    return -1


reward_tables = st.integers(1, 5).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 0.25, 0.5, None]), min_size=n, max_size=n), min_size=1, max_size=4
    )
)


@given(reward_tables, st.data())
@settings(max_examples=150, deadline=None)
def test_every_k_equals_enumeration(item, data):
    label, n = data.draw(st.integers(-1, len(item) - 1)), len(item[0])
    curve = vote_curve([item], [label], ["p"])
    for k in range(1, n + 1):
        said = [_first_error(item, c) for c in itertools.combinations(range(n), k)]
        assert curve.at(k)[0] == pytest.approx(np.mean([verdict == label for verdict in said]))
        assert curve.missing_share(k) == pytest.approx(np.mean([v is None for v in said]))
    assert all(curve.exact)


def test_agrees_with_the_verifiers_own_rule():
    """All votes at once must give what the driver would have predicted."""
    votes = pytest.importorskip("jprm.verify.votes")
    rng = np.random.default_rng(0)
    for _ in range(200):
        item = [[None if u < 0.2 else float(u < 0.6) for u in step] for step in rng.random((3, 4))]
        means = [votes.mean_reward(step) for step in item]
        assert votes.first_error(means) == _first_error(item, range(4))


def _noisy_votes(n_items, n_votes, accuracy, seed, steps=3):
    """Independent votes, each right on each step with the given rate."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n_items) < 0.5, -1, rng.integers(0, steps, n_items))
    truth = np.ones((n_items, steps, 1))
    truth[np.flatnonzero(labels >= 0), labels[labels >= 0]] = 0.0
    right = rng.random((n_items, steps, n_votes)) < accuracy
    return np.where(right, truth, 1.0 - truth).tolist(), labels.tolist()


def test_independent_votes_follow_the_binomial_law():
    """With one step, maj@k of votes right at rate q is a binomial tail; at a tie "right" wins."""
    from scipy.stats import binom

    rewards, labels = _noisy_votes(4000, 7, 0.7, seed=1, steps=1)
    curve = vote_curve(rewards, labels, range(4000), ks=[1, 3, 4, 7])
    for k in (1, 3, 4, 7):
        assert curve.score(k).error_acc == pytest.approx(binom.sf(k // 2, k, 0.7), abs=0.03)
        assert curve.score(k).correct_acc == pytest.approx(binom.sf((k - 1) // 2, k, 0.7), abs=0.03)


def test_all_votes_equal_the_plain_score():
    rewards, labels = _noisy_votes(200, 5, 0.8, seed=2)
    curve = vote_curve(rewards, labels, range(200))
    plain = first_error_f1(labels, [_first_error(item, range(5)) for item in rewards])
    assert curve.score(5) == plain
    row = curve.rows()[-1]
    assert (row["n_votes"], row["f1"], row["n_items"]) == (5, plain.f1, 200)
    assert row["f1_low"] < row["f1"] < row["f1_high"]


def test_votes_help_and_the_gain_is_paired():
    rewards, labels = _noisy_votes(400, 8, 0.75, seed=3)
    curve = vote_curve(rewards, labels, [i // 2 for i in range(400)])
    gain = curve.gain(8)
    assert gain.low > 0 and gain.value == pytest.approx(curve.f1(8).value - curve.f1(1).value)
    assert curve.samples().shape == (2000, 8)
    assert np.sort(curve.samples()[:, 0])[49] == curve.f1(1).low


def test_a_vote_without_judgement_is_left_out():
    # Right unless the silent votes were counted as "No".
    item = [[1.0, None, None], [None, 1.0, None], [0.0, 0.0, None]]
    curve = vote_curve([item], [2], ["p"])
    assert curve.at(3)[0] == 1.0
    assert curve.at(2)[0] == pytest.approx(1 / 3), "two votes judge all three steps in one way"
    assert curve.at(1)[0] == 0.0 and curve.missing_share(1) == 1.0
    assert curve.none_share == pytest.approx(5 / 9)


def test_no_verdict_is_no_right_verdict():
    """Four right solutions that nobody judged, four wrong ones that are found."""
    silent, found = [[None, None], [None, None]], [[1.0, 1.0], [0.0, 0.0]]
    rewards, labels = [silent] * 4 + [found] * 4, [-1] * 4 + [1] * 4
    curve = vote_curve(rewards, labels, range(8))
    at = curve.score(2)
    assert (at.correct_acc, at.error_acc, at.f1) == (0.0, 1.0, 0.0)
    row = curve.rows()[-1]
    assert row["missing_share"] == 0.5 and row["missing_as"] == "wrong"
    half = vote_curve([found[:1] * 2, *rewards], [-1, *labels], range(9), missing="excluded")
    assert half.score(2).correct_acc == 1.0 and half.rows()[-1]["missing_as"] == "excluded"
    assert math.isnan(vote_curve(rewards, labels, range(8), missing="excluded").f1(2).value)
    with pytest.raises(UserError, match="'wrong' or 'excluded'"):
        vote_curve(rewards, labels, range(8), missing="right")


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=n, max_size=n), min_size=1, max_size=2),
            min_size=2,
            max_size=4,
        )
    ),
    st.data(),
)
def test_excluded_is_the_accuracy_of_all_verdicts_that_there_are(rewards, data):
    labels = [data.draw(st.integers(-1, len(item) - 1)) for item in rewards]
    curve = vote_curve(rewards, labels, range(len(rewards)), missing="excluded")
    for k in curve.ks:
        said: dict[bool, list[bool]] = {True: [], False: []}
        for item, label in zip(rewards, labels, strict=True):
            for chosen in itertools.combinations(range(len(item[0])), k):
                if (verdict := _first_error(item, chosen)) is not None:
                    said[label >= 0].append(verdict == label)
        at = curve.score(k)
        for accuracy, kind in ((at.error_acc, True), (at.correct_acc, False)):
            expected = np.mean(said[kind]) if said[kind] else math.nan
            assert accuracy == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("votes", [[0.7, 0.6, 0.5, 0.2], [0.3, 0.4, 0.6, 0.7], [0.2, 0.6, 0.7]])
def test_a_mean_of_one_half_is_no_error_in_any_order(votes):
    """Sums of the first two are the float below 2 in some orders; the rule is that of `first_error`."""
    assert first_error([mean_reward(votes)]) == -1
    for order in itertools.permutations(votes):
        curve = vote_curve([[list(order)]], [-1], ["p"], ks=[len(votes)])
        assert curve.at(len(votes))[0] == 1.0


def test_half_of_forty_votes_is_still_exact():
    """1e11 subsets, but three different votes: a hypergeometric law."""
    from scipy.stats import hypergeom

    item = [[1.0] * 22 + [0.0] * 15 + [None] * 3]
    curve = vote_curve([item], [0], ["p"], ks=[20])
    expected = sum(
        hypergeom(40, 3, 20).pmf(silent) * hypergeom(37, 15, 20 - silent).sf((20 - silent) // 2) for silent in range(4)
    )
    assert curve.exact == (True,) and curve.at(20)[0] == pytest.approx(expected)


def test_a_table_may_end_where_every_vote_rejects():
    full, cut = [[1.0, 1.0], [0.0, 0.25], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.25]]
    for label in (-1, 0, 1, 2):
        assert np.array_equal(vote_curve([full], [label], ["p"]).correct, vote_curve([cut], [label], ["p"]).correct)


def test_more_choices_than_the_limit_are_drawn_and_said_so():
    rewards, labels = _noisy_votes(60, 24, 0.75, seed=4)
    noise = np.random.default_rng(6).random((60, 3, 24)) * 1e-3  # no two votes are the same
    rewards = np.clip(np.array(rewards) * 0.9 + noise, 0, 1).tolist()
    curve = vote_curve(rewards, labels, range(60), ks=[1, 12, 24])
    assert curve.exact == (True, False, True)
    again = vote_curve(rewards, labels, range(60), ks=[12])
    assert np.array_equal(again.at(12), curve.at(12))
    # 12 random votes of 24, against fresh draws of an independent generator.
    rng = np.random.default_rng(9)
    fresh = np.mean(
        [
            _first_error(item, rng.choice(24, 12, replace=False)) == label
            for item, label in zip(rewards, labels, strict=True)
            for _ in range(40)
        ]
    )
    assert curve.at(12).mean() == pytest.approx(fresh, abs=0.03)


def test_16_independent_votes_take_few_choices(monkeypatch):
    """All subsets of all sizes of 600 items; real votes agree more than these and take fewer choices still."""
    module, sizes = sys.modules["jprm.evaluate.vote_curve"], []
    multisets = module.multisets

    def counting(counts):
        sizes.append(math.prod(count + 1 for count in counts))
        return multisets(counts)

    monkeypatch.setattr(module, "multisets", counting)
    rewards, labels = _noisy_votes(600, 16, 0.8, seed=5)
    curve = vote_curve(rewards, labels, range(600))
    assert all(curve.exact) and len(sizes) == 600
    assert np.mean(sizes) < 700, "2 ** 16 subsets each would be 65,536"


@pytest.mark.parametrize(
    ("rewards", "labels", "message"),
    [
        ([[[1.0]]], [-1, 0], "2 labels"),
        ([], [], "no items"),
        ([[[1.0]], [[1.0, 0.0]]], [-1, -1], "item 1 has 2 votes"),
        ([[[1.0], [1.0, 0.0]]], [0], "item 0"),
        ([[["yes"]]], [0], "item 0"),
    ],
)
def test_bad_tables_are_refused(rewards, labels, message):
    with pytest.raises(UserError, match=message):
        vote_curve(rewards, labels, range(len(rewards)))


def test_an_unknown_k_is_refused():
    with pytest.raises(UserError, match=r"computed: \[2\]"):
        vote_curve([[[1.0, 1.0]]], [-1], ["p"], ks=[2]).at(1)
    with pytest.raises(UserError, match=r"1\.\.2"):
        vote_curve([[[1.0, 1.0]]], [-1], ["p"], ks=[3])


def test_a_stream_of_arrays_equals_lists():
    item = [[1.0, None, 0.25], [0.0, 0.0, 1.0]]
    array = np.array([[1.0, np.nan, 0.25], [0.0, 0.0, 1.0]])
    listed = vote_curve([item] * 3, [1, -1, 0], "abc")
    streamed = vote_curve((array for _ in range(3)), [1, -1, 0], "abc")
    assert np.array_equal(listed.correct, streamed.correct)
    assert listed.none_share == streamed.none_share == pytest.approx(1 / 6)


def test_tables_of_votes_do_not_pile_up():
    """One table is held at a time: five times the items, without the memory of their votes."""
    import tracemalloc

    n_votes, step = 140, np.tile([1.0, 1.0, 1.0, 0.0], 35)

    def peak_bytes(n_items):
        rng, labels = np.random.default_rng(1), [-1, 0] * (n_items // 2)
        tables = (rng.permutation(step)[None] for _ in range(n_items))
        tracemalloc.start()
        curve = vote_curve(tables, labels, range(n_items), ks=[1, n_votes])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert curve.correct.shape == (n_items, 2) and all(curve.exact)
        return peak

    peak_bytes(100), peak_bytes(500)  # choices and draws that stay in caches
    few, many = peak_bytes(100), peak_bytes(500)
    assert many - few < 400 * step.nbytes / 2


def test_an_interval_of_what_was_judged_knows_nothing_of_the_silent():
    """Where nine in ten are silent, 100 solutions of a kind say as much as ten."""
    found, silent = {-1: [[1.0], [1.0]], 1: [[1.0], [0.0]]}, [[None], [None]]
    labels = [-1, 1] * 10
    alone = vote_curve([found[y] for y in labels], labels, range(20)).f1(1)
    tables = [found[y] for y in labels] + [silent] * 180
    whole = vote_curve(tables, labels * 10, range(200), missing="excluded")
    assert whole.f1(1).value == alone.value == 1.0
    assert whole.f1(1).low == pytest.approx(alone.low, abs=0.02) and alone.low < 0.9
    assert np.percentile(whole.samples(), 2.5) < 0.9
    gain = whole.gain(1)
    assert gain.value == 0.0 and gain.low <= 0.0 <= gain.high
