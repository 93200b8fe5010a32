"""Area under the curve against all pairs, scores of parts, and MR-MATH's published verifiers."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import Resamples, auc, auc_difference, auc_interval, confusion, measure
from jprm.formats import read_benchmark
from jprm.formats.judged import until_first_error
from jprm.formats.rows import read_rows


def all_pairs(labels, scores):
    right = [s for label, s in zip(labels, scores, strict=True) if label]
    flawed = [s for label, s in zip(labels, scores, strict=True) if not label]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in flawed]
    return sum(wins) / len(wins) if wins else math.nan


scored = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30)


@given(scored)
def test_the_area_is_the_share_of_pairs_in_order(pairs):
    labels, scores = [x for x, _ in pairs], [float(x) for _, x in pairs]
    assert auc(labels, scores) == pytest.approx(all_pairs(labels, scores), nan_ok=True)


def test_its_interval_draws_problems():
    rng = np.random.default_rng(1)
    labels, problems = rng.random(40) < 0.6, [i // 4 for i in range(40)]
    scores = np.round(labels + rng.normal(size=40), 1)
    resamples = Resamples.of(problems, resamples=199)
    order = np.sign(scores[:, None] - scores[None, :]) / 2 + 0.5  # [i, j]: i above j
    pairs = labels[:, None] & ~labels[None, :]
    shares = np.where(labels, order[:, ~labels].mean(axis=1), order[labels].mean(axis=0))
    slow = []
    for r, of_problems in enumerate(resamples.weights):
        weights = of_problems[problems]
        both = np.outer(weights, weights) * pairs
        won, whole = (both * order).sum(), both.sum()
        for stream, kind in enumerate((labels, ~labels)):
            table = np.zeros((10, 2))
            for i in np.flatnonzero(kind):
                table[problems[i]] += shares[i], 1 - shares[i]
            unseen = resamples.unseen(table, stream)[r] * weights[~kind].sum()
            won, whole = won + unseen[0], whole + unseen.sum()
        slow.append(won / whole)
    found = auc_interval(labels, scores, resamples)
    slow.sort()
    assert (found.low, found.high) == pytest.approx((slow[3], slow[-4]))


def test_areas_of_perfect_and_of_equal_rankings_have_room():
    labels, resamples = [True, False] * 30, Resamples.of(range(60))
    perfect, chance = [1.0, 0.0] * 30, [0.0] * 60
    at = auc_interval(labels, perfect, resamples)
    assert (at.value, at.high) == (1.0, 1.0) and 0.8 < at.low < 0.95
    gap = auc_difference(labels, perfect, perfect, resamples)
    assert gap.value == 0.0 and gap.low < 0 < gap.high and gap.p == 1.0
    gain = auc_difference(labels, chance, perfect, resamples)
    assert gain.value == 0.5 and gain.low > 0 and gain.high < 0.6
    assert math.isnan(auc_interval([True] * 60, perfect, resamples).low)
    assert math.isnan(auc_interval([True] * 59 + [False], perfect, resamples).low), "one flawed"


def test_bad_scores():
    with pytest.raises(UserError, match="nan"):
        auc([True, False], [0.1, math.nan])
    with pytest.raises(UserError, match="shape"):
        auc([True, False], [0.1])


# Macro F1 of solutions and of steps, AUC of solutions and of steps, computed once with the official
# script's arithmetic (GAIR-NLP/ReasonEval, mr-math_eval.py) from the 101 rows that are shared.
PUBLISHED = {
    "reasoneval_llama2-7b": (0.644545, 0.581722, 0.792386, 0.761652),
    "reasoneval_wizardmath-7b-v1.0": (0.696271, 0.669987, 0.815149, 0.823371),
    "reasoneval_mistral-7b": (0.741942, 0.643378, 0.837520, 0.830523),
    "reasoneval_llemma-7b": (0.722745, 0.724008, 0.805730, 0.897546),
    "reasoneval_abel-7b-002": (0.750912, 0.668190, 0.854003, 0.893662),
    "reasoneval_wizardmath-7b-v1.1": (0.791343, 0.714238, 0.863815, 0.877416),
    "roscoe-sa": (0.519644, None, 0.586735, None),
    "roscoe-ss": (0.514851, None, 0.497645, None),
    "gpt3_5_turbo": (0.582151, 0.519097, None, None),
}


def verdicts(scores, threshold):
    """Right where the score lies above the threshold, flawed where it does not."""
    return [score > threshold for score in scores]


def merge_pieces(scores, pieces):
    """Scores of steps from those of their parts in order: the least of each step's `pieces[i]`."""
    ends = np.cumsum(pieces)
    return [min(scores[end - n : end]) for end, n in zip(ends, pieces, strict=True)]


def macro_f1(truth, judged):
    return float(measure(confusion(truth, judged).sum(axis=0))["macro_f1"])


def prompted(row, steps):
    """The verdict of a prompted model: on the solution (None for a word that is neither), on steps."""
    word = row["correctness_pred"]
    whole = {"Correct": True, "correct": True, "Wrong": False, "wrong": False}.get(word)
    named = re.search(r"\d+", row["error_step_pred"])
    first = int(named[0]) - 1 if named and whole is not True else -1
    # what follows the named step is not judged; where the truth has a label, that is a miss
    return whole, until_first_error(first if first < steps else -1, steps)


@pytest.mark.parametrize("verifier", PUBLISHED)
def test_published_verifiers_on_mr_math(data_root, verifier):
    folder = data_root / "mr_math"
    file = folder / "predictions_invalid" / f"{verifier}_eval_results.jsonl.gz"
    if not file.is_file():
        pytest.skip(f"no MR-MATH verifiers at {folder}")
    items = read_benchmark(folder / "mr-math_invalid_errors.jsonl.gz").items
    rows = {str(row.value["id"]): row.value for row in read_rows(file)}
    truth = [[item.first_error == -1] for item in items]
    f1, step_f1, area, step_area = PUBLISHED[verifier]
    if verifier == "gpt3_5_turbo":
        pairs = [prompted(rows[item.id], len(item.steps)) for item in items]
        assert macro_f1(truth, [[whole] for whole, _ in pairs]) == pytest.approx(f1, abs=1e-6)
        steps = macro_f1([item.labels for item in items], [steps for _, steps in pairs])
        assert steps == pytest.approx(step_f1, abs=1e-6)
        return
    if step_f1 is None:  # one score for the whole solution
        worst, threshold = [rows[item.id]["scores"] for item in items], 0.025
    else:
        valid = [[sum(part[1:]) for part in rows[item.id]["scores"]] for item in items]
        steps = [merge_pieces(v, item.pieces) for v, item in zip(valid, items, strict=True)]
        worst, threshold = [min(s) for s in steps], 0.5
        judged = [verdicts(s, threshold) for s in steps]
        assert macro_f1([i.labels for i in items], judged) == pytest.approx(step_f1, abs=1e-6)
        known = [
            (label, score)
            for item, s in zip(items, steps, strict=True)
            for label, score in zip(item.labels, s, strict=True)
            if label is not None
        ]
        assert auc(*zip(*known, strict=True)) == pytest.approx(step_area, abs=1e-6)
    assert macro_f1(truth, [verdicts([w], threshold) for w in worst]) == pytest.approx(f1, abs=1e-6)
    assert auc([right for (right,) in truth], worst) == pytest.approx(area, abs=1e-6)
