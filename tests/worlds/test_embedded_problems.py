"""The problem graph: text and graph are the same thing, the knobs hold, and what cannot be read is
said.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.worlds import load_world
from jprm.worlds.embedded.problems import KINDS, NAMES, Difficulty, draw_graph, parse_problem, render_problem

EXAMPLE = "Ann has 8. Joe gets 3 more than Ann. Kim gets as many as Ann and Joe. How many does Kim get?\n"


def test_the_example_is_read():
    graph = parse_problem(EXAMPLE)
    assert graph.values == {"Ann": 8, "Joe": 11, "Kim": 19}
    assert [q.name for q in graph.needed] == ["Joe", "Kim"]
    assert graph.target == "Kim"
    assert render_problem(graph) == EXAMPLE


@given(st.integers(0, 10**6), st.booleans())
def test_text_and_graph_are_the_same_thing(seed, shuffle):
    graph = draw_graph(random.Random(seed), Difficulty(shuffle=shuffle))
    assert parse_problem(render_problem(graph)) == graph


@given(st.integers(0, 10**6), st.sampled_from(KINDS[:3]), st.integers(1, 5), st.integers(0, 2))
def test_the_knobs_hold(seed, kind, steps, extra):
    difficulty = Difficulty(
        steps=(steps,),
        distractors=(extra,),
        kinds=(kind, "sum"),
        base_values=(1, 9),
        constants=(2, 4),
        factors=(2, 2),
        value_max=150,
        names=9,
        shuffle=True,
    )
    graph = draw_graph(random.Random(seed), difficulty)
    assert len(graph.needed) == steps
    assert {q.name for q in graph.quantities} <= set(NAMES[:9])
    assert {q.kind for q in graph.quantities} <= {kind, "sum", "base"}
    assert all(1 <= q.number <= 9 for q in graph.quantities if q.kind == "base")
    assert all(2 <= q.number <= 4 for q in graph.quantities if q.kind not in ("base", "sum"))
    assert all(0 < value <= 150 for value in graph.values.values())
    bases = sum(q.kind == "base" for q in graph.quantities)
    assert steps + 1 <= len(graph.quantities) <= steps + extra + 2 and bases >= 1


def test_needed_steps_follow_their_sources_when_facts_are_shuffled():
    for seed in range(200):
        graph = draw_graph(random.Random(seed), Difficulty(shuffle=True))
        known = set(graph.base_values)
        for quantity in graph.needed:
            assert set(quantity.sources) <= known
            known.add(quantity.name)
        assert graph.needed[-1].name == graph.target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann has eight. How many does Ann get?\n", "cannot read the problem at 'Ann has eight"),
        ("Ann has 8. How many does Ann get?", "cannot read the problem at 'How many"),
        ("Ann has 8. How many does Bob get?\n", "exactly once"),
        ("Ann has 8. Ann has 9. How many does Ann get?\n", "exactly once"),
        ("Ann gets 3 more than Bob. How many does Ann get?\n", "never says"),
        ("Ann gets 3 more than Bob. Bob gets 2 more than Ann. How many does Ann get?\n", "never says"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(UserError, match=message):
        parse_problem(text)


@pytest.mark.parametrize(
    "wrong", [{"steps": ()}, {"steps": (0,)}, {"names": 3}, {"names": 21}, {"kinds": ("div",)}, {"value_max": 500}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError, match="difficulty"):
        load_world("embedded", difficulty=wrong)


def test_a_difficulty_without_problems_ends():
    with pytest.raises(UserError, match="widen"):
        draw_graph(random.Random(0), Difficulty(kinds=("add",), base_values=(90, 99), constants=(50, 60)))
