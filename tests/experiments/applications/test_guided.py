"""Guided search and its reference: by hand, and where everything was lost."""

import pytest

from jprm.errors import UserError
from jprm.experiments.applications.config import SearchSection
from jprm.experiments.applications.guided import Reference, guided_rows
from jprm.experiments.applications.search_choices import check_search, settings_of
from jprm.tasks.search import Search

TASK = Search("beam", "{}", None, None, 1, 2, "test")  # pyright: ignore[reportArgumentType]


def row(name, *candidates, flops=0.0, reread=0.0):
    """A row with candidates of (reward, right)."""
    spent = {"prompt_tokens": 1, "generated_tokens": 1, "flops": flops / 2}
    spent["reread_flops"] = reread / 2
    return {
        "problem_id": name,
        "candidates": [
            {"steps": ["s"], "answer": str(right), "correct": right, "rewards": [reward]}
            for reward, right in candidates
        ],
        "pools": [],
        "error": "" if candidates else "E: no",
        "budget": {"generator": spent, "verifier": spent},
    }


REFERENCE = Reference.searched(
    [row("a", (0.9, True), (0.1, False), flops=20.0), row("b", (0.2, True), (0.7, False), flops=20.0)], 2
)


def test_a_search_is_compared_with_as_many_candidates_as_it_could_have_paid_for():
    assert REFERENCE.each == 10.0 and REFERENCE.problems == ["a", "b"]
    rows = [row("a", (0.5, True), flops=5.0), row("b", (0.5, True), flops=9.0)]
    [one] = guided_rows([("mine", TASK, rows)], {"mine": REFERENCE})
    assert (one["n"], one["accuracy"], one["best_of_n"]) == (1, 1.0, 0.5)
    assert one["gain"] == 0.5 and one["spent"] == pytest.approx(10 / 7)
    dear = [row("a", (0.5, True), flops=30.0), row("b", (0.5, False), flops=34.0)]
    [two] = guided_rows([("mine", TASK, dear)], {"mine": REFERENCE})
    assert (two["n"], two["best_of_n"]) == (2, 0.5), "no more than were drawn"
    again = [row(name, (0.5, True), flops=20.0, reread=12.0) for name in "ab"]
    [three] = guided_rows([("mine", TASK, again)], {"mine": REFERENCE})
    assert (three["n"], three["cached_n"], three["cached_flops"]) == (2, 1, 8.0)
    assert (three["gain"], three["cached_gain"]) == (0.5, 0.5)


def test_a_search_that_lost_everything_is_a_row():
    [found] = guided_rows([("mine", TASK, [row("a"), row("b")])], {"mine": REFERENCE})
    assert (found["lost"], found["accuracy"], found["spent"]) == (2, 0.0, None)


def test_the_candidates_of_a_lost_problem_are_wrong():
    reference = Reference.searched([row("a", (0.9, True), (0.1, True), flops=2.0), row("b")], 2)
    assert reference.best.accuracy["best", 2].tolist() == [1.0, 0.0]


def test_lists_are_axes_and_sizes_are_given():
    search = SearchSection(settings={"beam": {"width": [2, 4], "depth": 3}}, width=1, expand=5)
    assert settings_of(search, "beam") == [{"width": 2, "expand": 5, "depth": 3}, {"width": 4, "expand": 5, "depth": 3}]
    assert settings_of(search, "mcts") == [{"walks": 5, "expand": 5}]
    assert settings_of(search, "best_of_n") == [{}]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"strategies": ("beem",)}, "did you mean 'beam'"),
        ({"scorers": ("hed",)}, "nearest is 'head'"),
        ({"settings": {"beam": {"wdth": 2}}}, "did you mean 'width'"),
        ({"settings": {"lookahead": {"width": 2}}}, "not among search.strategies"),
        ({"settings": {"beam": {"width": [2, 0]}}}, "at least 1"),
        ({"models": {"qwen-prm": "x"}}, "search.models.qwen-prm: not among search.scorers"),
        ({"scorers": ("qwen-prm",), "models": {"qwen-prm": "no/such"}}, "search.models.qwen-prm no/such: no such"),
        ({"scorers": ("genprm",), "models": {"genprm": "x"}}, "search.models.genprm: this scorer writes text"),
    ],
)
def test_a_wrong_name_is_said_before_anything_runs(asked, message):
    with pytest.raises(UserError, match=message):
        check_search(SearchSection(**asked))
