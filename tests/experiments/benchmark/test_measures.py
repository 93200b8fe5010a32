"""The numbers of the table against a count by hand over every subset of votes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.evaluate import auc, measure
from jprm.experiments.benchmark.judged import Account, JudgedRow, judged
from jprm.experiments.benchmark.measures import scores
from jprm.formats import JudgedSolution
from jprm.records import Execution, Problem, Rationale, Solution, Verdict
from jprm.tasks.benchmark_file import BenchmarkRow, read_rows
from jprm.verify import first_error, mean_reward

REWARD = st.sampled_from([0.0, 1.0, None, 0.25, 0.5])


def item(name, labels, subset="s", category="", problem=None):
    truth = JudgedSolution("b", name, problem or name, ("x",) * len(labels), tuple(labels), subset, category)
    record = Problem(problem or name, "p\n", "")
    return BenchmarkRow(truth, record, Solution(name, record.id, ("x\n",) * len(labels), "b"))


@st.composite
def solutions(draw):
    n = draw(st.integers(1, 4))
    found = []
    for i in range(draw(st.integers(2, 6))):
        steps = draw(st.integers(1, 3))
        labels = draw(st.lists(st.booleans(), min_size=steps, max_size=steps))
        rewards = [draw(st.lists(REWARD, min_size=n, max_size=n)) for _ in range(steps)]
        lost = draw(st.integers(0, 9)) == 0
        subset = draw(st.sampled_from(["u", "v"]))
        found.append((item(str(i), labels, subset, f"c{subset}"), None if lost else rewards))
    return n, found


def as_judged(one, rewards):
    if rewards is None:
        return JudgedRow(one, None, (), "lost")
    table = [[math.nan if r is None else r for r in step] for step in rewards]
    return JudgedRow(one, np.array(table), ())


def by_hand(found, n, k, missing):
    """Expected counts over all k-subsets, one subset after another."""
    right, total, whole, steps = {}, {}, np.zeros(4), np.zeros(4)
    for one, rewards in found:
        truth = one.truth
        kind = truth.first_error >= 0
        total.setdefault(kind, 0)
        chosen = list(itertools.combinations(range(n), k))
        for subset in chosen:
            share = 1 / len(chosen)
            if rewards is None:
                means, said = [None] * len(truth.steps), None
            else:
                means = [mean_reward([step[v] for v in subset]) for step in rewards]
                said = first_error(means)
            if said is not None or missing == "wrong":
                total[kind] += share
                right[kind] = right.get(kind, 0.0) + share * (said == truth.first_error)
                claims_right = None if said is None else said < 0
                whole[column(not kind, claims_right)] += share
            for label, mean in zip(truth.labels, means, strict=True):
                if mean is not None or missing == "wrong":
                    steps[column(label, None if mean is None else mean >= 0.5)] += share
    error, correct = (right.get(kind, 0.0) / total[kind] if total.get(kind) else math.nan for kind in (True, False))
    both = error + correct
    f1 = 0.0 if both == 0 else 2 * error * correct / both
    return error, correct, f1, whole, steps


def column(label, judgement):
    """TP, FP, TN, FN; no judgement is wrong."""
    if label:
        return 0 if judgement is True else 3
    return 2 if judgement is False else 1


def same(found, expected):
    return found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(solutions(), st.sampled_from(["wrong", "excluded"]))
def test_every_number_at_every_k(case, missing):
    n, found = case
    rows = scores([as_judged(*one) for one in found], n, full=True, missing=missing)
    for row in rows:
        if row.group.startswith("category"):
            continue
        members = [one for one in found if row.group in ("overall", one[0].truth.subset)]
        assert row.n_items == len(members)
        error, correct, f1, whole, steps = by_hand(members, n, row.k, missing)
        at = {name: found.value for name, found in row.measures.items()}
        assert same(at["error_acc"], error) and same(at["correct_acc"], correct)
        assert same(at["f1"], f1)
        for name in ("f1", "negative_f1", "macro_f1", "accuracy"):
            assert same(at[f"solution_{name}"], float(measure(whole)[name]))
            assert same(at[f"step_{name}"], float(measure(steps)[name]))
        assert same(at["prm_score"], float(measure(steps)["prm_score"]))
    by_group = {(r.group, r.k): r.measures for r in rows}
    subsets = dict.fromkeys(one.truth.subset for one, _ in found)
    for k in range(1, n + 1):
        for subset in subsets:  # a category of one class is that class
            same_score = by_group[f"category c{subset}", k]["prm_score"].value
            assert same(same_score, by_group[subset, k]["prm_score"].value)
        if len(subsets) > 1:
            mean = np.mean([by_group[subset, k]["f1"].value for subset in subsets])
            assert same(by_group["overall", k]["average_f1"].value, float(mean))


@given(solutions())
def test_areas_rank_by_mean_rewards(case):
    n, found = case
    for missing in ("excluded", "wrong"):
        rows = scores([as_judged(*one) for one in found], n, full=True, missing=missing)
        at = next(r for r in rows if r.group == "overall" and r.k == n).measures
        whole, steps = [], []
        for one, rewards in found:
            known = [[None]] * len(one.truth.steps) if rewards is None else rewards
            means = [mean_reward(step) for step in known]
            verdict = first_error(means)
            least = None if verdict is None else min(m for m in means if m is not None)
            whole.append((one.truth.first_error < 0, least))
            steps += zip(one.truth.labels, means, strict=True)
        for name, ranked in (("solution_auc", whole), ("step_auc", steps)):
            if missing == "wrong":  # below, or above, all that was judged
                ranked = [(x, (-9.0 if x else 9.0) if s is None else s) for x, s in ranked]
            else:
                ranked = [(x, s) for x, s in ranked if s is not None]
            if ranked:
                assert same(at[name].value, auc(*zip(*ranked, strict=True)))
            else:
                assert name not in at


def test_intervals_are_over_problems():
    """Copies of a solution of one problem are no new evidence; of other problems they are."""
    rng = np.random.default_rng(0)
    base = [(i, bool(rng.integers(2)), float(rng.integers(2))) for i in range(30)]

    def width(copies, own_problem):
        found = [
            as_judged(item(f"{i}-{c}", [label], problem=f"{i}-{c}" if own_problem else str(i)), [[reward]])
            for i, label, reward in base
            for c in range(copies)
        ]
        at = scores(found, 1, full=False)[0].measures["f1"]
        assert at.low < at.value < at.high
        return at.high - at.low

    assert width(4, False) == pytest.approx(width(1, False))
    assert width(4, True) < 0.7 * width(1, True)


def rationale(step, vote, correct, code=()):
    verdict = Verdict(correct, None, None)
    executions = tuple(Execution("c", kind, "t") for kind in code)
    reason = "" if correct is not None else "budget"
    return Rationale("a", step, vote, "chain", "t", executions, verdict, 3, 2, reason)


def test_what_counts_ends_at_a_unanimous_no():
    one = item("a", [True, False, True])
    rows = [rationale(s, v, (s, v) not in {(1, 0), (1, 1)}) for s in range(3) for v in range(3)]
    for n, steps in ((2, 2), (3, 3)):
        early = judged(one, rows, n, "vote", stop_early=True)
        assert early is not None and early.rewards is not None and early.rewards.shape == (steps, n)
    # Of the last step nothing is stored: two votes need it no more, the third makes all need it.
    assert judged(one, [r for r in rows if r.step < 2], 2, "vote", stop_early=True) is not None
    assert judged(one, [r for r in rows if r.step < 2], 3, "vote", stop_early=True) is None
    assert judged(one, [r for r in rows if r.step < 2], 2, "vote", stop_early=False) is None
    # Without probabilities no step is called wrong by them.
    assert judged(one, rows[:6], 2, "prob_raw", stop_early=True) is None


def test_the_account_counts_what_counts():
    one = item("a", [True, True])
    rows = [rationale(0, 0, True, ["ok", "error"]), rationale(1, 0, None, ["timeout"]), rationale(0, 1, True, ["ok"])]
    counted = judged(one, rows, 1, "vote", stop_early=False)
    assert counted is not None
    account = Account.of([counted])
    assert (account.rationales, account.generated_tokens, account.forced_tokens) == (2, 6, 4)
    assert account.none == {"budget": 1} and account.none_share == 0.5
    assert account.code == {"error": 1, "ok": 1, "timeout": 1}


@pytest.mark.parametrize("subset", ["gsm8k", "math"])
def test_processbench_of_predictions_that_read_nothing(data_root, subset):
    """Closed forms on the real file: what a judge gets that always names the same step, or none."""
    found = read_rows(data_root / "processbench" / f"{subset}.jsonl.gz")
    assert not found.rejected
    labels = [one.truth.first_error for one in found.rows]
    for name in (-1, 0):
        rows = [
            as_judged(one, [[0.0 if step == name else 1.0] for step in range(len(one.truth.steps))])
            for one in found.rows
        ]
        at = scores(rows, 1, full=False)[0].measures
        erroneous = [label for label in labels if label >= 0]
        assert at["error_acc"].value == pytest.approx(erroneous.count(name) / len(erroneous))
        assert at["correct_acc"].value == (1.0 if name < 0 else 0.0)
        assert at["f1"].value == 0.0
        share = len(erroneous) / len(labels)
        expected = 2 * (1 - share) / (2 - share) if name < 0 else 0.0
        assert at["solution_f1"].value == pytest.approx(expected)


def test_texts_are_the_files_to_the_letter(data_root):
    found = read_rows(data_root / "processbench" / "math.jsonl.gz")
    for one in found.rows:
        assert one.problem.text.removesuffix("\n") == one.truth.problem
        texts = [step.removesuffix("\n") for step in one.solution.steps]
        assert tuple(texts) == one.truth.steps
    assert len({one.solution.id for one in found.rows}) == len(found.rows)
