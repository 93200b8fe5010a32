"""PRM-Score, macro F1 and binary F1: by hand, in closed form, and from published judgements."""

import collections
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import (
    Resamples,
    confusion,
    first_error_f1,
    measure,
    measure_intervals,
    prm_scores,
    trivial_baselines,
)
from jprm.evaluate.confusion import TN, TP
from jprm.formats import read_benchmark
from jprm.formats.rows import read_rows

TRUTH = [(True, True, False, None), (False, True), (True, True)]
JUDGED = [(True, False, False, True), (True, True), (True, None)]


def test_by_hand():
    counts = confusion(TRUTH, JUDGED)
    assert counts.tolist() == [[1, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 1]]
    found = measure(counts.sum(axis=0))  # TP 3, FP 1, TN 1, FN 2
    expected = {"precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3, "accuracy": 4 / 7}
    expected |= {"negative_precision": 1 / 3, "negative_recall": 1 / 2, "negative_f1": 2 / 5}
    expected |= {"macro_f1": (2 / 3 + 2 / 5) / 2, "prm_score": (2 / 3 + 2 / 5) / 2}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_none_is_wrong_whatever_the_truth():
    assert confusion([(True, False)], [(None, None)]).tolist() == [[0, 1, 0, 1]]


def test_lengths_must_agree():
    with pytest.raises(UserError, match="solution 1: 2 steps but 1 judgements"):
        confusion([(True,), (True, False)], [(True,), (True,)])
    with pytest.raises(UserError, match="2 solutions but 1"):
        confusion([(True,), (True,)], [(True,)])


truths = st.lists(st.booleans(), min_size=1, max_size=40).filter(lambda x: len(set(x)) == 2)


@given(truths)
def test_closed_forms_of_predictors_that_read_nothing(truth):
    share = sum(truth) / len(truth)
    always = measure(confusion([truth], [[True] * len(truth)])[0])
    assert always["f1"] == pytest.approx(2 * share / (1 + share)) and always["negative_f1"] == 0
    assert always["prm_score"] == pytest.approx(share / (1 + share))
    never = measure(confusion([truth], [[False] * len(truth)])[0])
    assert never["prm_score"] == pytest.approx((1 - share) / (2 - share))
    assert measure(confusion([truth], [truth])[0])["prm_score"] == 1.0
    assert measure(confusion([truth], [[not t for t in truth]])[0])["prm_score"] == 0.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(pairs):
    found = measure(confusion([[t for t, _ in pairs]], [[j for _, j in pairs]])[0])
    for sign in ("", "negative_"):
        p, r = float(found[f"{sign}precision"]), float(found[f"{sign}recall"])
        if p + r > 0:
            assert found[f"{sign}f1"] == pytest.approx(2 * p * r / (p + r))


def test_a_class_without_flaws_has_f1_for_its_score():
    counts = confusion([(True, True, True, True)], [(True, True, True, False)])
    assert measure(counts[0])["prm_score"] == pytest.approx(2 * 3 / 7)
    assert measure(counts[0])["macro_f1"] == pytest.approx(3 / 7)  # negative F1 is 0


def test_overall_pools_steps_and_a_category_averages_classes():
    counts = np.array([[3, 1, 1, 1], [1, 0, 2, 1], [4, 0, 0, 0]], dtype=float)
    resamples = Resamples.of([0, 1, 2], resamples=50)
    found = prm_scores(counts, ["a", "b", "c"], ["x", "x", "y"], resamples)
    single = [float(measure(row)["prm_score"]) for row in counts]
    assert list(found) == ["overall", "x", "y", "a", "b", "c"]
    assert [found[name].value for name in "abc"] == pytest.approx(single)
    assert found["x"].value == pytest.approx((single[0] + single[1]) / 2)
    assert found["overall"].value == pytest.approx(float(measure([8, 1, 3, 2])["prm_score"]))


def test_intervals_are_those_of_weighted_problems_and_an_unseen_one():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, size=(30, 4)).astype(float)
    problems = np.array([i // 2 for i in range(30)])
    resamples = Resamples.of(problems.tolist(), resamples=199)
    right, flawed = (counts[0::2] + counts[1::2])[:, [0, 3]], (counts[0::2] + counts[1::2])[:, 1:3]
    of_right, of_flawed = resamples.unseen(right, 0), resamples.unseen(flawed[:, ::-1], 1)
    slow = []
    for r, weights in enumerate(resamples.weights):
        tp, fp, tn, fn = sum(w * row for w, row in zip(weights[problems], counts, strict=True))
        tp, fn = tp + of_right[r, 0], fn + of_right[r, 1]
        tn, fp = tn + of_flawed[r, 0], fp + of_flawed[r, 1]
        slow.append((2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2)
    found = measure_intervals(counts, resamples)["prm_score"]
    slow.sort()  # 200 places between 199 values: the fourth is the last below 5
    assert (found.low, found.high) == pytest.approx((slow[3], slow[-4]))
    assert found.low < found.value < found.high


# Computed once with the official scorer's arithmetic (ssmisya/PRMBench, NJUNLP/R-PRM
# new_get_result.py) from R-PRM's published judgements of the 4962 rows that are shared.
RPRM = {
    "overall": 0.647239521635249,
    "domain_inconsistency": 0.6346461377525825,
    "missing_condition": 0.6166786674611658,
    "multi_solutions": 0.9851940776310524,
    "circular": 0.6454302735026108,
    "redundency": 0.5280893096324708,
    "step_contradiction": 0.6244925127428975,
    "confidence": 0.6894385016642488,
    "deception": 0.6731527841166054,
    "counterfactual": 0.6980887542509074,
}


def test_published_judgements_on_prmbench(data_root):
    folder = data_root / "prmbench"
    if not (folder / "rprm_predictions.jsonl.gz").is_file():
        pytest.skip(f"no PRMBench judgements at {folder}")
    judged = {}
    for row in read_rows(folder / "rprm_predictions.jsonl.gz"):
        labels = row.value["scores"]["step_level_validity_labels"]
        judged.setdefault(row.value["idx"], labels)
    items = read_benchmark(folder / "prmbench.jsonl.gz").items
    truth = [item.labels for item in items]
    verdict = [judged[f"{item.subset}_{item.id}"] for item in items]
    counts = confusion(truth, verdict)
    assert collections.Counter(dict(zip(("TP", "FP", "TN", "FN"), counts.sum(0), strict=True))) == {
        "TP": 45026,
        "FP": 4245,
        "TN": 6376,
        "FN": 11677,
    }
    resamples = Resamples.of([item.problem for item in items], resamples=200)
    found = prm_scores(counts, [i.subset for i in items], [i.category for i in items], resamples)
    assert {name: found[name].value for name in RPRM} == pytest.approx(RPRM, abs=1e-12)
    assert found["overall"].low < 0.647 < found["overall"].high


@pytest.mark.parametrize("subset", ["gsm8k", "math", "olympiadbench", "omnimath"])
def test_trivial_predictors_on_processbench(data_root, subset):
    path = data_root / "processbench" / f"{subset}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no ProcessBench at {path}")
    items = read_benchmark(path).items
    labels, sizes = [i.first_error for i in items], [len(i.steps) for i in items]
    closed, n_error = trivial_baselines(labels, sizes), sum(label >= 0 for label in labels)
    always = {"always correct": [-1] * len(labels), "always the first step": [0] * len(labels)}
    always["always the last step"] = [size - 1 for size in sizes]
    for name, predictions in always.items():
        assert first_error_f1(labels, predictions) == closed[name]
        assert closed[name].f1 == 0.0  # each is blind to one of the two kinds
    m = sum(1 / size for label, size in zip(labels, sizes, strict=True) if label >= 0) / n_error
    assert closed["random"].f1 == pytest.approx(2 * m / (1 + math.sqrt(m)) ** 2)
    flagged = measure(confusion([[label < 0] for label in labels], [[False]] * len(labels)).sum(axis=0))
    assert flagged["negative_f1"] == pytest.approx(2 * n_error / (len(labels) + n_error))


def test_a_precision_without_steps_of_the_other_kind_has_no_interval():
    counts = np.zeros((5, 4))
    counts[:, TP] = 1.0
    found = measure_intervals(counts, Resamples.of(range(5)))
    assert found["precision"].value == 1.0 and np.isnan(found["precision"].low)
    assert found["recall"].low < 0.7
    flawed = np.zeros((5, 4))
    flawed[:, TN] = 1.0
    found = measure_intervals(flawed, Resamples.of(range(5)))["negative_precision"]
    assert found.value == 1.0 and np.isnan(found.low)
