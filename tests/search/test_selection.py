"""Choosing from step scores: closed forms, tie rules, and best of 32 on StrictPRMBench's files."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from jprm.errors import UserError
from jprm.evaluate import best_of_k, best_of_n, weighted_vote_at_k
from jprm.formats import read_step_scores
from jprm.formats.rows import read_rows
from jprm.search import Candidate, accuracy, aggregate, aggregation, choice, grid, winners
from jprm.search.selection import unjudged
from jprm.seeds import rng_of

HOW = ("last", "min", "mean", "prod", "geometric", "max")


def test_aggregations_by_hand():
    rewards = (0.9, 0.4)
    found = {how: aggregate(rewards, how) for how in HOW}
    expected = {"last": 0.4, "min": 0.4, "mean": 0.65, "prod": 0.36, "geometric": 0.6, "max": 0.9}
    assert found == pytest.approx(expected)
    assert aggregate((0.9, None), "last") is None, "the last step was not judged"
    assert all(aggregate((None, None), how) is None for how in HOW)
    silent = {how: aggregate((0.9, None, 0.4), how) for how in HOW}
    assert silent.pop("last") == 0.4 and set(silent.values()) == {None}, "they need every step"
    assert aggregate((0.0, 0.9), "prod") > aggregate((0.0, 0.8), "prod"), "one zero hides nothing"
    with pytest.raises(UserError, match="unknown aggregation 'medain'.*known: last, min"):
        aggregate(rewards, "medain")


@pytest.mark.parametrize("steps", [2, 4, 8, 12])
def test_min_rejects_a_right_solution_of_t_steps_as_often_as_the_formula_says(steps):
    """A verifier that flips each step with .05: only min grows with the length."""
    flip, n = 0.05, 4000
    wrong = rng_of(0, "flips", steps).random((n, steps)) < flip
    rewards = np.where(wrong, 0.0, 1.0)
    rejected = {how: sum(aggregate(tuple(r), how) < 0.5 for r in rewards) for how in ("min", "last")}
    expected = {"min": 1 - (1 - flip) ** steps, "last": flip}
    for how, share in expected.items():
        at = binomtest(rejected[how], n).proportion_ci(0.999, "wilson")
        assert at.low <= share <= at.high, how
    assert binomtest(rejected["min"], n).proportion_ci(0.999, "wilson").low > flip


def pool(*entries):
    return [Candidate(a, a == "a", tuple(r) if isinstance(r, list) else (r,)) for a, r in entries]


def test_ties():
    """b and a have two votes each and equal sums; b is there first, a has the best candidate."""
    tied = pool(("b", 0.5), ("a", 0.75), ("b", 0.5), ("a", 0.25), ("c", 0.75), (None, 1.0))
    assert winners(tied, pick="majority") == [0]
    assert winners(tied, pick="majority", tie="score") == [1]
    assert winners(tied, pick="majority", tie="shared") == [0, 1]
    assert winners(tied[:5], pick="argmax") == [1]
    assert winners(tied[:5], pick="argmax", tie="score") == [1]
    assert winners(tied[:5], pick="argmax", tie="shared") == [1, 4]
    assert winners(tied, pick="weighted", tie="shared") == [0, 1]
    assert accuracy([tied], "min", "weighted", "shared").tolist() == [0.5]
    assert winners(tied, pick="oracle") == [1]


def test_sums_in_another_order_are_equal():
    forth, back = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1  # `sum` rounds otherwise from Python 3.12 on
    votes = [*(("b", r) for r in forth), *(("a", r) for r in back)]
    assert winners(pool(*votes), pick="weighted", tie="shared") == [0 + 2, 3]


def test_nothing_to_choose_from():
    assert winners([]) == [] and accuracy([[]]).tolist() == [0.0]
    silent = pool((None, 0.5), (None, 0.9))
    assert winners(silent, pick="majority") == [] and winners(silent) == [1]
    unjudged = [Candidate("b", False, (None,)), Candidate("a", True, (0.0,))]
    assert winners(unjudged) == [1], "no judgement loses to any score"
    nobody = [Candidate("b", False, ()), Candidate("a", True, ())]
    assert winners(nobody) == winners(nobody, pick="weighted") == [], "a silent verifier chooses none"
    assert winners(nobody, pick="majority") == [0] and winners(nobody, pick="oracle") == [1]
    with pytest.raises(UserError, match="scores of at least 0"):
        winners(pool(("a", -1.0)), pick="weighted")
    with pytest.raises(UserError, match="unknown tie rule 'random'"):
        winners(silent, tie="random")
    with pytest.raises(UserError, match="unknown choice 'best'"):
        winners(silent, pick="best")


some = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=7
)


@given(some)
def test_all_of_them_at_once_is_the_expectation_of_the_estimators(entries):
    """With k = N there is one subset, and the exact estimators share ties."""
    candidates = pool(*entries)
    scored = [candidate.scored("min") for candidate in candidates]
    expected = best_of_n([scored], [len(entries)]).accuracy
    for method, pick in [("best", "argmax"), ("majority", "majority"), ("weighted", "weighted")]:
        found = accuracy([candidates], "min", pick, "shared")[0]
        assert found == pytest.approx(expected[method, len(entries)][0]), pick
    assert accuracy([candidates], pick="oracle")[0] == expected["pass", len(entries)][0]


unequal = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.0, None]), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=5,
)


@given(unequal, st.sampled_from(HOW), st.sampled_from([1, 40, 400]), st.data())
@settings(deadline=None)
def test_estimators_equal_the_choice_on_every_subset(entries, how, length, data):
    """Long products too, which a float cannot hold; orders differ, and so does their rounding."""
    candidates = [Candidate(a, a == "a", tuple(data.draw(st.permutations(r)) * length)) for a, r in entries]
    found = best_of_n([[c.scored(how) for c in candidates]], range(1, len(entries) + 1))
    for k in found.ks:
        chosen = list(itertools.combinations(candidates, k))
        for method, pick in (("best", "argmax"), ("weighted", "weighted"), ("majority", "majority")):
            expected = accuracy(chosen, how, pick, "shared").mean()
            assert found.accuracy[method, k][0] == pytest.approx(expected), (method, k)
        assert found.missing[k][0] == pytest.approx(unjudged(chosen, how, "argmax").mean())


def test_products_are_compared_in_logs():
    for high, low, steps in ((0.3, 0.2, 20), (1e-3, 5e-4, 400)):
        two = pool(("b", [low] * steps), ("a", [high] * steps))
        for pick in ("argmax", "weighted"):
            assert winners(two, "prod", pick, "shared") == [1]
        found = best_of_n([[c.scored("prod") for c in two]], [2]).accuracy
        assert found["weighted", 2][0] == found["best", 2][0] == 1.0
    assert weighted_vote_at_k(["a", "b"], [0.3**20, 0.2**20], "a", 2) == 1.0
    assert best_of_k([0.1 + 0.2, 0.3], [1, 0], 2) == 0.5


@given(some)
def test_first_is_one_of_the_shared_and_none_beats_the_oracle(entries):
    candidates = pool(*entries)
    for how in aggregation:
        for pick in choice:
            shared = winners(candidates, how, pick, "shared")
            for tie in ("first", "score"):
                one = winners(candidates, how, pick, tie)
                assert len(one) == min(1, len(shared))
                answers = {candidates[i].answer for i in shared}
                assert all(candidates[i].answer in answers for i in one)
    top = accuracy([candidates], pick="oracle")[0]
    assert all(accuracy([candidates], "min", pick)[0] <= top for pick in choice)


def test_one_decorator_adds_an_aggregation():
    @aggregation("second")
    def second(rewards):
        return sorted(rewards)[min(1, len(rewards) - 1)]

    try:
        assert "second" in aggregation.names()
        assert aggregate((0.2, 0.9, 0.4), "second") == 0.4
        rows = grid([pool(("a", [0.1, 0.5]), ("b", [0.2, 0.3]))])
        assert {(r["aggregation"], r["choice"]): r["accuracy"] for r in rows}["second", "argmax"] == 1
        assert len(rows) == len(aggregation.names()) * len(choice.names())
    finally:
        del aggregation._entries["second"]


# Files of real verifiers. The rows shared here are a part of the published ones, so the published
# cells are recomputed by the source's own definitions (StrictPRMBench, exp_clustered_agg.py: logs
# clipped at 1e-30, the lowest index wins ties of candidates; clusters of answers by summed score,
# size, best), and its published choices are compared one by one where they are known.

PRMS = ("math_shepherd", "qwen_prm", "rlhflow_prm", "skywork_prm")
CLIP = 1e-30


def log_product(scores):
    return sum(math.log(max(CLIP, s)) for s in scores)


BY_THE_BOOK = {
    "prod": lambda s: math.exp(log_product(s)),
    "geometric": lambda s: math.exp(log_product(s) / len(s)),
    "mean": lambda s: sum(s) / len(s),
    "min": min,
    "max": max,
    "last": lambda s: s[-1],
}


def chosen_by_the_book(candidates, how, pick):
    score = [BY_THE_BOOK[how](c.rewards) for c in candidates]
    best = lambda members: max(members, key=lambda i: (score[i], -i))  # noqa: E731
    if pick == "argmax":
        return best(range(len(candidates)))
    clusters = defaultdict(list)
    for i, candidate in enumerate(candidates):
        clusters[candidate.answer].append(i)

    def rank(answer):
        members = clusters[answer]
        total = sum(score[i] for i in members)
        votes = float(len(members)) if pick == "majority" else total
        return votes, total, len(members), score[best(members)]

    return best(clusters[max(clusters, key=rank)])


def strict(data_root, prm, benchmark="gsm8k"):
    """{problem: its 32 candidates}, answers joined from the candidate file, numbers by value."""
    folder = data_root / "bon" / "strict"
    if not folder.is_dir():
        pytest.skip(f"no step scores at {folder}")
    scored, rejected = read_step_scores(folder / f"scores_{prm}_{benchmark}.jsonl.gz")
    assert not rejected
    pools = {}
    for row in read_rows(folder / f"candidates_{benchmark}.jsonl.gz"):
        samples, answers = scored[row.value["problem_id"]], row.value["candidates"]
        assert [s.candidate for s in samples] == list(range(32))
        pools[row.value["problem_id"]] = [
            Candidate(value_of(a["extracted_answer"]), s.correct, s.scores)
            for s, a in zip(samples, answers, strict=True)
        ]
    assert len(pools) == len(scored)
    return pools


def value_of(text):
    """The answer by which the source groups candidates."""
    try:
        return f"{float(text.replace(',', '')):.12g}"
    except ValueError:
        return text.strip() or None


@pytest.mark.parametrize("prm", [PRMS[0], *(pytest.param(prm, marks=pytest.mark.slow) for prm in PRMS[1:])])
def test_every_cell_of_best_of_32(data_root, prm):
    pools = strict(data_root, prm)
    for how in HOW:
        for pick in ("argmax", "weighted", "majority"):
            expected = [chosen_by_the_book(cs, how, pick) for cs in pools.values()]
            found = [winners(cs, how, pick, "score") for cs in pools.values()]
            assert found == [[i] for i in expected], (how, pick)
            right = np.mean([cs[i].correct for cs, i in zip(pools.values(), expected, strict=True)])
            assert accuracy(list(pools.values()), how, pick, "score").mean() == right
    oracle = accuracy(list(pools.values()), pick="oracle").mean()
    assert oracle == np.mean([any(c.correct for c in cs) for cs in pools.values()])


# Published choices of Skywork-PRM-7B among 32 candidates (results/matched_trace/
# per_problem_matched_product_gm_min_last_14cell.jsonl at 53376f2): problem, then the index chosen
# by product, geometric mean, min and last.
CHOSEN = """
000 22 14 25 12|003 20 26 26 23|004 22 22 20 30|005 31 31 31 31|006 2 8 8 6|007 28 9 6 28
010 13 21 25 15|011 8 8 4 27|013 24 3 3 14|014 21 21 21 2|015 18 20 20 19|016 24 7 7 8
020 7 30 11 9|022 29 29 19 19|024 17 15 27 16|025 28 28 22 31|026 21 18 21 25|027 8 8 8 2
028 17 17 17 24|029 5 5 5 9|031 5 28 17 4|034 22 9 9 18|035 18 18 18 18|037 12 12 12 12
"""


def test_published_choices_one_by_one(data_root):
    pools = strict(data_root, "skywork_prm")
    compared = 0
    for line in CHOSEN.replace("|", "\n").split("\n"):
        if line and f"gsm8k_{line[:3]}" in pools:
            published = [int(word) for word in line.split()[1:]]
            candidates = pools[f"gsm8k_{line[:3]}"]
            found = [winners(candidates, how)[0] for how in ("prod", "geometric", "min", "last")]
            assert found == published, line
            compared += 1
    assert compared >= 10


def test_reward_and_majority_of_qwens_example(data_root):
    """rm@8 and maj@8 as Qwen2.5-Math's rm_maj_eval.py computes them, on the rows that are here."""
    path = data_root / "bon" / "qwen_rm_maj_math100x8.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no candidates at {path}")
    rows = [row.value for row in read_rows(path)]
    pools = [
        [
            Candidate(answer, right, tuple(score))
            for answer, right, score in zip(r["pred"], r["score"], r["pred_score"], strict=True)
        ]
        for r in rows
    ]
    rm, majority = [], []
    for row in rows:
        scores = [s for (s,) in row["pred_score"]]
        rm.append(row["score"][scores.index(max(scores))])
        top = Counter(row["pred"]).most_common(1)[0][0]
        majority.append(row["score"][row["pred"].index(top)])
    assert accuracy(pools, "last", "argmax").mean() == np.mean(rm)
    assert accuracy(pools, "last", "majority").mean() == np.mean(majority)
