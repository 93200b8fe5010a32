"""Truth of steps, planted errors and the annotator, against each other and against cases worked by
hand.
"""

import contextlib
import io
import random
import re

import pytest

from jprm.worlds.embedded.documents import annotate
from jprm.worlds.embedded.problems import Difficulty, draw_graph, parse_problem
from jprm.worlds.embedded.solutions import (
    PLANTED_KINDS,
    first_error,
    parse_step,
    plant,
    reference_steps,
    render_step,
    stated_answer,
)

PROBLEM = parse_problem(
    "Ann has 8. Joe gets 3 more than Ann. Bob has 3. Kim gets as many as Ann and Joe. How many does Kim get?\n"
)
ONE = "Step 1: Joe = Ann + 3 = 8 + 3 = 11, so Joe has 11.\n"
TWO = "Step 2: Kim = Ann + Joe = 8 + 11 = 19, so Kim has 19. Answer: 19.\n"
GRAPHS = [draw_graph(random.Random(seed), Difficulty(distractors=(0, 1, 2))) for seed in range(300)]


def printed(code: str) -> str:
    """What a program of the annotator prints; "Error" where it fails."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(code, {})
    except TypeError:
        return "Error"
    return out.getvalue().strip()


def judged(graph, steps, index, **noise) -> bool:
    return printed(annotate(graph, steps, index, "full", **noise).code) == "True"


def test_the_reference_is_what_one_would_write():
    assert reference_steps(PROBLEM) == (ONE, TWO)
    assert stated_answer((ONE, TWO)) == 19


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ((ONE, TWO), (-1, "")),
        ((ONE, TWO.replace("8 + 11", "11 + 8")), (-1, "")),  # commuted
        ((ONE.replace("8 + 3 = 11, so Joe has 11", "8 + 3 = 12, so Joe has 12"), TWO), (0, "slip")),
        ((ONE.replace("so Joe has 11", "so Joe has 12"), TWO), (0, "slip")),
        ((ONE.replace("= 8 + 3 = 11, so Joe has 11", "= 9 + 3 = 12, so Joe has 12"), TWO), (0, "operand")),
        ((ONE.replace("= 8 + 3 = 11, so Joe has 11", "= 8 - 3 = 5, so Joe has 5"), TWO), (0, "op")),
        ((TWO,), (0, "skip")),
        ((ONE.replace("Joe", "Bob"), TWO), (0, "quantity")),
        ((ONE.replace("Joe", "Zoe"), TWO), (0, "quantity")),
        ((ONE.replace("\n", " Answer: 11.\n"), TWO), (0, "answer")),
        ((ONE, TWO.replace("Answer: 19", "Answer: 18")), (1, "answer")),
        ((ONE, TWO.replace(" Answer: 19.", "")), (1, "noanswer")),
        ((ONE, "so it is 19\n"), (1, "format")),
        ((ONE, TWO.rstrip("\n")), (1, "format")),
        ((ONE.replace("so Joe", "so Ann"), TWO), (0, "format")),
        ((), (0, "noanswer")),
    ],
)
def test_truth_of_cases_worked_by_hand(steps, error):
    assert first_error(PROBLEM, steps) == error


def test_steps_are_read_back():
    for graph in GRAPHS:
        for number, text in enumerate(reference_steps(graph), 1):
            step = parse_step(text)
            assert step is not None and render_step(number, step) == text
    slip = ONE.replace("8 + 3 = 11,", "8 + 3 = 12,")
    step = parse_step(slip)
    assert step is not None and (step.result, step.value) == (12, 11) and render_step(1, step) == slip


def test_references_are_right_with_and_without_an_unhelpful_step():
    longer = 0
    for seed, graph in enumerate(GRAPHS):
        plain, padded = reference_steps(graph), reference_steps(graph, random.Random(seed), 1.0)
        for steps in (plain, padded):
            assert first_error(graph, steps) == (-1, "")
            assert stated_answer(steps) == graph.values[graph.target]
            assert [judged(graph, steps, i) for i in range(len(steps))] == [True] * len(steps)
        longer += len(padded) == len(plain) + 1
        assert len(padded) in (len(plain), len(plain) + 1)
    assert longer > 50, "distractors that can be derived give unhelpful steps"


def test_planted_errors_are_wrong_exactly_where_they_were_planted():
    kinds: dict[str, int] = {}
    for seed in range(5):
        for number, graph in enumerate(GRAPHS):
            drawn = plant(graph, random.Random(seed * 1000 + number))
            if drawn is None:
                continue
            steps, at, kind = drawn
            right = reference_steps(graph)
            kinds[kind] = kinds.get(kind, 0) + 1
            assert first_error(graph, steps)[0] == at
            assert steps[:at] == right[:at] and len(steps) == len(right)
            assert [judged(graph, steps, i) for i in range(at + 1)] == [True] * at + [False]
            for text in steps:  # later steps carry the error on: each agrees with itself and with those before
                step = parse_step(text)
                assert step is not None and all(0 <= int(n) < 200 for n in re.findall(r"\d+", text))
                assert kind == "slip" or step.value == step.computed
            values = {s.name: s.value for s in map(parse_step, steps) if s is not None}
            for text in steps[at + 1 :]:
                step = parse_step(text)
                assert step is not None
                assert step.left == values.get(step.symbols[0], graph.base_values.get(step.symbols[0]))
    assert set(kinds) == set(PLANTED_KINDS) and min(kinds.values()) > 60


def test_the_annotator_agrees_with_the_truth_on_mutilated_solutions():
    """Any one number of a right solution changed: the check fails where truth says the first error
    is.
    """
    seen: dict[str, int] = {}
    for seed, graph in enumerate(GRAPHS):
        rng = random.Random(seed)
        steps = list(reference_steps(graph))
        index = rng.randrange(len(steps))
        numbers = list(re.finditer(r"(?<=[= *+-])\d+(?=[ ,.])", steps[index]))
        number = rng.choice(numbers)
        changed = steps[index][: number.start()] + str(rng.randrange(200)) + steps[index][number.end() :]
        steps[index] = changed
        at, kind = first_error(graph, steps)
        seen[kind] = seen.get(kind, 0) + 1
        upto = len(steps) if at < 0 else at
        assert [judged(graph, steps, i) for i in range(upto)] == [True] * upto
        if at >= 0:
            step, right = parse_step(steps[at]), parse_step(reference_steps(graph)[at])
            assert step is not None and right is not None
            blind = kind in ("operand", "op") and step.value == right.value
            assert judged(graph, steps, at) is blind
    assert {"", "slip", "operand", "answer"} <= set(seen)


def test_annotations_in_every_style():
    steps = (ONE, TWO)
    facts = "Kim gets as many as Ann and Joe. Ann has 8. Joe has 11. Kim is asked. "
    code = 'print(8 + 11 == 19 == 19 and "Kim" == "Kim")'
    texts = {style: annotate(PROBLEM, steps, 1, style) for style in ("full", "code", "analysis", "direct")}
    assert {style: a.analysis for style, a in texts.items()} == {
        "full": facts,
        "code": "",
        "analysis": facts + "8 + 11 = 19.\n",
        "direct": "",
    }
    assert {a.code for a in texts.values()} == {code}


def test_annotations_of_steps_that_lead_nowhere():
    assert annotate(PROBLEM, ("what\n",), 0, "full").code == "print(False)"
    skip = annotate(PROBLEM, (TWO,), 0, "analysis")
    assert skip.analysis == ("Kim gets as many as Ann and Joe. Ann has 8. Joe is unknown. Kim is asked. ")
    assert printed(skip.code) == "False", "an unfounded step is wrong, its check does not crash"
    base = annotate(PROBLEM, (ONE.replace("Joe", "Bob"),), 0, "full")
    assert (base.analysis, base.code) == ("Bob has 3. ", "print(3 == 11)")
    nobody = annotate(PROBLEM, (ONE.replace("Joe", "Zoe"),), 0, "full")
    assert (nobody.analysis, nobody.code) == ("Zoe is unknown. ", "print(None == 11)")


def test_noise_is_half_misread_and_half_sycophantic():
    wrong = (ONE.replace("= 8 + 3 = 11, so Joe has 11", "= 9 + 3 = 12, so Joe has 12"), TWO)
    codes = [annotate(PROBLEM, wrong, 0, "full", random.Random(s), 1.0).code for s in range(2000)]
    sycophantic = codes.count("print(9 + 3 == 12)") / len(codes)
    assert 0.46 < sycophantic < 0.54  # three standard deviations of 2000 draws are .034
    assert {"print(8 == 12)", "print(3 == 12)"} <= set(codes), "other facts are misread"
    some = [annotate(PROBLEM, wrong, 0, "full", random.Random(s), 0.1).code for s in range(2000)]
    assert 0.08 < sum(code != "print(8 + 3 == 12)" for code in some) / 2000 < 0.12 * 1.05
