"""Withheld facts: nothing up to the judged step tells, the steps behind it do."""

import random
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.worlds.embedded import Difficulty, EmbeddedWorld
from jprm.worlds.embedded.delayed_evidence import withhold
from jprm.worlds.embedded.problems import draw_graph, render_fact, render_problem
from jprm.worlds.embedded.solutions import first_error, parse_step
from jprm.worlds.embedded.world import split_of

DIFFICULTY = Difficulty(steps=(2, 3, 4, 5), distractors=(0, 1, 2))
seeds = st.integers(0, 2**32)


def drawn(seed):
    """A problem with a withheld fact."""
    rng = random.Random(seed)
    while True:
        graph = draw_graph(rng, DIFFICULTY)
        if found := withhold(graph, rng, DIFFICULTY):
            assert found.graphs[0] == graph
            return found


@given(seeds)
@settings(max_examples=200)
def test_what_is_read_up_to_the_step_stands_before_right_and_wrong_alike(seed):
    found = drawn(seed)
    at, solutions = found.at, found.solutions()
    begins = Counter((steps[: at + 1], right) for steps, right in solutions)
    assert all(begins[begin, True] == begins[begin, False] == 1 for begin, _ in begins)
    ends = Counter((steps[at + 1 :], right) for steps, right in solutions)
    assert all(ends[end, True] == ends[end, False] == 1 for end, _ in ends)
    assert len({steps for steps, _ in solutions}) == 4


@given(seeds)
@settings(max_examples=200)
def test_a_wrong_step_may_be_corrected_by_the_next(seed):
    found = drawn(seed)
    at, name = found.at, found.quantity.name
    pairs = zip(found.solutions(), found.solutions(corrected=True), strict=True)
    begins = Counter()
    for (silent, right), (steps, still) in pairs:
        assert right == still and steps[: at + 1] == silent[: at + 1]
        begins[steps[: at + 1], right] += 1
        parsed = [parse_step(step) for step in steps]
        assert [step.startswith(f"Step {n}: ") for n, step in enumerate(steps, 1)]
        derived = [i for i, step in enumerate(parsed) if step is not None and step.name == name]
        if right:
            assert steps == silent and derived == [at]
        else:
            assert derived == [at, at + 1] and parsed[at].value != parsed[at + 1].value
            assert [s.value for s in parsed[at + 2 :]] == [parse_step(s).value for s in silent[at + 1 :]], (
                "what follows is the same"
            )
    assert set(begins.values()) == {1}


@given(seeds)
@settings(max_examples=200)
def test_a_later_step_uses_the_value_and_decides(seed):
    found = drawn(seed)
    name = found.quantity.name
    for steps, right in found.solutions():
        step = parse_step(steps[found.at])
        assert step is not None and step.name == name and step.value == step.computed
        later = [s for s in map(parse_step, steps[found.at + 1 :]) if s and name in s.symbols]
        operands = [pair for s in later for pair in zip(s.symbols, (s.left, s.right), strict=True)]
        used = {number for symbol, number in operands if symbol == name}
        assert len(used) == 1 and (used == {step.value}) == right


@given(seeds)
@settings(max_examples=200)
def test_the_whole_problem_agrees_with_the_labels(seed):
    found = drawn(seed)
    for i, (steps, right) in enumerate(found.solutions()):
        at, kind = first_error(found.graphs[i % 2], steps)
        assert (at, kind) == (-1, "") if right else at == found.at and kind in ("op", "operand")


@given(seeds)
@settings(max_examples=200)
def test_only_the_sentence_is_gone_and_both_readings_are_of_the_world(seed):
    found = drawn(seed)
    for graph in found.graphs:
        reading = graph.by_name[found.quantity.name]
        assert render_problem(graph).replace(render_fact(reading), "", 1) == found.text
        first, last = DIFFICULTY.factors if reading.kind == "mul" else DIFFICULTY.constants
        assert first <= reading.number <= last
        assert all(2 <= value <= DIFFICULTY.value_max for value in graph.values.values())


def test_records_of_a_split_stay_in_it_and_have_tokens():
    world, rng = EmbeddedWorld(), np.random.default_rng(0)
    kept = 0
    for problem in world.problems("dev", 100, 0):
        if found := world.withheld(problem, rng):
            shown, solutions = found
            kept += 1
            assert split_of(shown.text) == "dev" == shown.split and shown.id != problem.id
            assert sorted(s.first_error != -1 for s in solutions) == [False, False, True, True]
            texts = [shown.text + "".join(s.steps) for s in solutions]
            codec = world.tokenizer()
            assert all(codec.decode(codec.encode(text)) == text for text in texts)
    assert kept > 5
