"""A search end to end on the embedded world: a scripted policy and the world's truth."""

import pytest

from jprm.search import (
    BestOfN,
    Choosing,
    Layout,
    RewardModel,
    SampledSteps,
    StepRewards,
    boundary_ids,
    correctness,
    make_strategy,
    run_search,
    summary,
)
from jprm.seeds import rng_of
from jprm.worlds import load_world
from tests.search.toys import gain
from tests.verify.fakes import ScriptedSampler

WORLD = load_world("embedded")
PROBLEMS = WORLD.problems("dev", 24, seed=0)
LAST = Choosing("last")


def known_solutions(problem):
    """What the scripted policy can write: half the time the reference, else a planted error."""
    drawn = [WORLD.planted(problem, rng_of(0, problem.id, i)) for i in range(6)]
    planted = [s for s in drawn if s is not None and WORLD.answer(s.steps) is not None]
    return [WORLD.reference(problem)] * len(planted) + planted


SOLUTIONS = {problem.text: [s.steps for s in known_solutions(problem)] for problem in PROBLEMS}


def policy(sample_id, text):
    """Goes on with one of the solutions that begin with what is there."""
    problem, solutions = next((p, s) for p, s in SOLUTIONS.items() if text.startswith(p))
    so_far = text[len(problem) :]
    fitting = [whole for s in solutions if (whole := "".join(s)).startswith(so_far)]
    return fitting[sample_id % len(fitting)][len(so_far) :]


class Policy(ScriptedSampler):
    """Knows the stops of each conversation; they differ where whole solutions are drawn beside steps."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.stops_of = {}

    def submit(self, *arguments, stops, **keywords):
        handles = super().submit(*arguments, stops=stops, **keywords)
        self.stops_of |= dict.fromkeys(handles, list(stops))
        return handles

    def _finish(self, handle, conversation):
        self.stops = self.stops_of[handle]
        return super()._finish(handle, conversation)


def generator(**how):
    tokenizer = WORLD.tokenizer()
    layout = Layout(
        boundary_ids(tokenizer, tokenizer.vocab_size),
        WORLD.split_steps,
        max_tokens=200,
        is_final=lambda steps: WORLD.answer(steps) is not None,
    )
    sampler = Policy(tokenizer, policy, slots=64)
    return SampledSteps(sampler, tokenizer, layout, seed=1, **how), sampler


class Truth(RewardModel):
    """1 up to the first wrong step, 0 from there. That there is no answer yet is no fault."""

    def score(self, items):
        replies = []
        for problem, steps in items:
            first, kind = WORLD.truth(problem, steps)
            ends = first if first >= 0 and kind != "noanswer" else len(steps)
            replies.append(StepRewards(tuple(float(t < ends) for t in range(len(steps)))))
        return replies


@pytest.mark.parametrize("name", ["beam", "dvts", "mcts", "lookahead"])
@pytest.mark.parametrize("share", [False, True])
def test_with_the_worlds_truth_every_problem_is_solved(tmp_path, name, share):
    how = {"width": 2, "expand": 4} if name != "mcts" else {"walks": 4, "expand": 4}
    how |= {"greedy": False} if name == "lookahead" else {}
    steps, sampler = generator(share=share)
    rows = run_search(PROBLEMS, make_strategy(name, **how), steps, Truth(), WORLD, tmp_path / "x", in_flight=4)
    assert correctness(rows, LAST).mean() == 1.0
    one = run_search(PROBLEMS, BestOfN(1), generator()[0], Truth(), WORLD, tmp_path / "one")
    assert gain(rows, one, LAST).is_positive
    assert not sampler.conversations, "every slot was given back"
    assert any(parent is not None for parent in sampler.parents) == share
    for row, problem in zip(rows, PROBLEMS, strict=True):
        for candidate in row["candidates"]:
            assert tuple(candidate["steps"]) in SOLUTIONS[problem.text], "steps were cut and joined"
    assert summary(rows, LAST)["lost"] == {}
