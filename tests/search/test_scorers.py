"""Scorers made of scorers: reversed steps and its control, fast and slow."""

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.search import Cascade, Cost, Mean, Reversed, StepRewards
from jprm.seeds import rng_of
from tests.search.toys import Scored, noise, problems

PROBLEM = problems(1)[0]


class Reader:
    """Says of a step whether the steps that it has read so far hold a number twice."""

    def score(self, items):
        return [
            StepRewards(
                tuple(float(step not in steps[:t]) for t, step in enumerate(steps)),
                Cost(1, len(steps), 2.0),
                tuple(f"{t}: {step}" for t, step in enumerate(steps)),
            )
            for _, steps in items
        ]


def test_backwards_is_read_last_step_first_and_reported_in_order():
    steps = ("1", "2", "1", "3")
    [forward] = Reader().score([(PROBLEM, steps)])
    [backward] = Reversed(Reader()).score([(PROBLEM, steps)])
    assert forward.rewards == (1.0, 1.0, 0.0, 1.0)
    assert backward.rewards == (0.0, 1.0, 1.0, 1.0), "the fault shows only behind the step"
    assert backward.analyses == ("3: 1", "2: 2", "1: 1", "0: 3")
    [both] = Mean([Reader(), Reversed(Reader())]).score([(PROBLEM, steps)])
    assert both.rewards == (0.5, 1.0, 0.5, 1.0) and both.analyses == forward.analyses
    assert both.cost == Cost(2, 8, 4.0)


def test_the_control_of_two_forward_passes_sees_nothing_of_what_comes_later():
    """Over many solutions whose fault shows only behind the step: the area under the curve."""
    from jprm.evaluate import auc

    def noisy(scorer, seed):
        def rewards(problem, steps):
            [reply] = scorer.score([(problem, steps)])
            return [r + rng_of(seed, *steps, t).normal() for t, r in enumerate(reply.rewards)]

        return Scored(rewards)

    items, labels = [], []
    for i in range(400):
        digits = rng_of(0, "digits", i).integers(0, 9, 4)
        items.append((PROBLEM, tuple(f"{i} {d}" for d in digits)))
        labels.append(digits[0] not in digits[1:])  # the first step is at fault if it comes again
    scorers = {
        "one": noisy(Reader(), 1),
        "control": Mean([noisy(Reader(), 1), noisy(Reader(), 2)]),
        "both": Mean([noisy(Reader(), 1), Reversed(noisy(Reader(), 2))]),
    }
    area = {name: auc(labels, [reply.rewards[0] for reply in scorer.score(items)]) for name, scorer in scorers.items()}
    assert area["both"] > area["one"] + 0.1
    assert abs(area["control"] - area["one"]) < 0.05


def test_a_none_leaves_the_step_to_the_others():
    first = Scored(lambda p, s: [None, 0.5, None])
    second = Scored(lambda p, s: [0.2, 1.0, None])
    [reply] = Mean([first, second]).score([(PROBLEM, ("a", "b", "c"))])
    assert reply.rewards == (0.2, 0.75, None)
    with pytest.raises(UserError, match="no scorers"):
        Mean([])


class Failing:
    """Answers the second item by an exception."""

    def score(self, items):
        good = Reader().score(items)
        return [ValueError("broken") if i == 1 else reply for i, reply in enumerate(good)]


@pytest.mark.parametrize("scorer", [Reversed(Failing()), Mean([Reader(), Failing()]), Cascade(Failing(), Reader())])
def test_a_failed_item_stays_one_failed_item(scorer):
    replies = scorer.score([(PROBLEM, ("a",))] * 3)
    assert [isinstance(reply, ValueError) for reply in replies] == [False, True, False]


def test_the_slow_scorer_reads_only_what_the_fast_one_is_unsure_of():
    asked = []

    def slow(problem, steps):
        asked.append(steps)
        return [0.01] * len(steps)

    rewards = {"sure": [0.9, 0.1, 1.0], "unsure": [0.9, 0.5, 0.95], "silent": [0.9, 0.9, None]}
    cascade = Cascade(Scored(lambda p, s: rewards[s[0]]), Scored(slow), 0.3, 0.7)
    items = [(PROBLEM, (name, "x", "y")) for name in rewards]
    sure, unsure, silent = cascade.score(items)
    assert sure.rewards == (0.9, 0.1, 1.0)
    assert unsure.rewards == (0.9, 0.01, 0.95)
    assert silent.rewards == (0.9, 0.9, 0.01)
    assert asked == [("unsure", "x"), ("silent", "x", "y")]
    assert [reply.cost.tokens for reply in (sure, unsure, silent)] == [3, 5, 6]
    with pytest.raises(UserError, match="band"):
        Cascade(noise(), noise(), -0.1, 0.5)


def test_the_ends_of_the_band():
    items = [(PROBLEM, tuple(f"{i} {t}" for t in range(4))) for i in range(50)]
    fast, slow = noise(1), noise(2)
    always = Cascade(fast, slow, 0.0, 1.0).score(items)
    never = Cascade(fast, slow, 0.6, 0.4).score(items)
    assert [r.rewards for r in always] == [r.rewards for r in slow.score(items)]
    assert [r.rewards for r in never] == [r.rewards for r in fast.score(items)]
    some = [Cascade(fast, slow, 0.5 - w, 0.5 + w).score(items) for w in (0.0, 0.1, 0.3, 0.5)]
    tokens = [sum(r.cost.tokens for r in replies) for replies in some]
    assert tokens == sorted(tokens) and tokens[0] == 200 and tokens[-1] == 400
    assert np.isfinite(tokens).all()
