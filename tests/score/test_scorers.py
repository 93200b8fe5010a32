"""Scorers by name: registration, the simple kind, and what each built-in one asks of a model."""

import math

import pytest

from jprm.errors import UserError
from jprm.records import Problem, Solution
from jprm.score import Generator, Scorer, Setup, StepScorer, find_scorer, scorer
from jprm.verify import VerifySettings
from tests.verify.fakes import FakeExecutor, ScriptedSampler
from tests.verify.published import codec, published

ITEMS = [(Problem(f"p{i}", f"Problem {i}\n", ""), Solution(f"s{i}", f"p{i}", ("a\n", "b\n"), "t")) for i in range(3)]


def setup(generator=None, **changes):
    about = dict(model=None, mode="chain", readout="prob_raw", seed=4, stop_early=False)
    return Setup(**(about | changes), generator=generator)  # type: ignore[arg-type]


def judge(made, votes=(0, 1), known=None):
    heard = []
    ended = list(made.judge(ITEMS, votes, known or {}, heard.append))
    return {e.solution_id: e.lost for e in ended}, heard


def test_built_in_scorers_are_found():
    assert {"genprm", "direct"} <= {*scorer}
    with pytest.raises(UserError, match="no scorer 'direkt'; nearest is 'direct'"):
        find_scorer("direkt")


def test_a_name_is_taken_once():
    @scorer("test-taken")
    def mine(problem, steps, seed):
        return [1.0] * len(steps)

    assert mine("p", ["a"], 0) == [1.0], "the function is left as it is"
    with pytest.raises(UserError, match="'test-taken' of .* is taken by"):

        @scorer("test-taken")
        class Other(StepScorer):
            def scores(self, problem, steps, seed):
                return []

    with pytest.raises(UserError, match="neither a Scorer nor a function"):
        scorer("test-object")(int)
    assert issubclass(find_scorer("test-taken"), Scorer)


def test_a_step_scorer_sees_the_texts_and_is_not_asked_twice():
    seen = []

    class Seen(StepScorer):
        def scores(self, problem, steps, seed):
            seen.append((problem, list(steps), seed))
            return [0.75, None]

    ended, heard = judge(Seen(setup()))
    assert ended == {"s0": "", "s1": "", "s2": ""}
    assert [s[:2] for s in seen[:2]] == [("Problem 0", ["a", "b"])] * 2
    assert len({s[2] for s in seen}) == 6, "a seed for every vote"
    assert [(r.step, r.vote, r.verdict.p_yes_raw) for r in heard[:4]] == [
        (0, 0, 0.75),
        (1, 0, None),
        (0, 1, 0.75),
        (1, 1, None),
    ]
    seen.clear()
    known = {"s1": [r for r in heard if r.solution_id == "s1"]}
    _, again = judge(Seen(setup()), known=known)
    assert {r.solution_id for r in again} == {"s0", "s2"} and len(seen) == 4


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([0.5], "ValueError: 1 scores for 2 steps"),
        ([0.5, 1.5], "ValueError: the score 1.5 is not between 0 and 1"),
        ([0.5, math.nan], "ValueError: the score nan is not between 0 and 1"),
        (["x", 1], "ValueError: could not convert string to float: 'x'"),
    ],
)
def test_scores_that_are_none_lose_their_item(scores, reason):
    class Wrong(StepScorer):
        def scores(self, problem, steps, seed):
            return scores if problem == "Problem 1" else [0.0, 1.0]

    ended, heard = judge(Wrong(setup()))
    assert ended == {"s0": "", "s1": reason, "s2": ""}
    assert {r.solution_id for r in heard} == {"s0", "s2"}


def test_direct_reads_the_probability_at_the_verdict():
    shown = []

    def script(sample_id, text):
        shown.append(text)
        return "{Yes}$\n</output>\n" if text.count("<output>") == 1 else "{No}$\n</output>\n"

    def generator(style, execute):
        assert (style, execute) == ("direct", "none")
        tokenizer = codec()
        sampler = ScriptedSampler(tokenizer, script, margin=3.0)
        settings = VerifySettings(
            context_tokens=sampler.context_tokens, style=style, execute=execute, template=published()
        )
        return Generator(sampler, None, tokenizer, settings)

    ended, heard = judge(find_scorer("direct")(setup(generator)), votes=(0,))
    assert set(ended.values()) == {""} and "critique the paragraphs in solution directly" in shown[0]
    yes = 1 / (1 + math.exp(-3.0))
    for row in heard:
        expected = yes if row.step == 0 else 1 - yes
        assert row.verdict.reward("prob_raw") == pytest.approx(expected)
        assert "<analyze>" not in row.text


def test_a_text_without_tokens_loses_its_item_only():
    def generator(style, execute):
        tokenizer = codec()
        tokenizer._refused = "Problem 1"
        script = lambda *_: "{Yes}$\n</output>\n"  # noqa: E731
        sampler = ScriptedSampler(tokenizer, script)
        settings = VerifySettings(
            context_tokens=sampler.context_tokens, style=style, execute=execute, template=published()
        )
        return Generator(sampler, FakeExecutor(), tokenizer, settings)

    ended, heard = judge(find_scorer("direct")(setup(generator)), votes=(0,))
    assert ended == {"s1": "problem: the vocabulary cannot write it", "s0": "", "s2": ""}
    assert {r.solution_id for r in heard} == {"s0", "s2"}


def test_who_judges_by_beginnings():
    """Scorers that write do; not one made from them that judges in a way of its own."""
    tokenizer = codec()

    def generator(style, execution):
        sampler = ScriptedSampler(tokenizer, lambda sample_id, text: "{Yes}</output>\n")
        settings = VerifySettings(
            context_tokens=sampler.context_tokens, style=style, execute=execution, template=published()
        )
        return Generator(sampler, FakeExecutor(), tokenizer, settings)

    class Mine(find_scorer("genprm")):
        def judge(self, items, votes, known, heard):
            yield from super().judge(items, votes, known, heard)

    class Simple(StepScorer):
        def scores(self, problem, steps, seed):
            return [1.0] * len(steps)

    for made in (Mine(setup(generator)), Simple(setup())):
        assert made.for_search(2) is made and not made.by_beginnings
    shared = find_scorer("direct")(setup(generator)).for_search(2)
    assert shared.by_beginnings and shared.for_search(2) is shared
    ended, heard = judge(shared)
    assert ended == {"s0": "", "s1": "", "s2": ""}
    for name in ended:
        own = [r for r in heard if r.solution_id == name]
        assert [(r.step, r.vote) for r in own] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(r.verdict.correct and r.text for r in heard)
    shared.forget(ITEMS[0][0])
