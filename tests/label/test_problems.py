"""Labels on problems of files: a scripted policy that writes paragraphs, graded by its final answers alone."""

import json

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.label import RolloutSettings, value_problems
from jprm.label.rollouts import choose_solutions
from jprm.label.runner import WrittenSolution
from jprm.sampling import SampleEvent
from jprm.seeds import rng_of
from jprm.worlds import load_world

FIRST = ("Take half.\n\n", "Guess.\n\n")
RIGHT = ("So it is $\\boxed{\\frac12}$.", "The answer is 0.5")
LAST = (*RIGHT, "Hence \\boxed{2}.", "I do not know.", "So \\boxed{\\frac{1")


class Characters:
    """A codec of single characters; 0 ends a text."""

    eos_id = 0

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        return "".join(chr(i) for i in ids if i)

    def accepts(self, text):
        return True


class Writer:
    """Writes one of `FIRST` and one of `LAST`, as its sample id says; behind "Guess." it never finds the answer."""

    def __init__(self):
        self.pending, self.prompts, self.count = {}, [], 0

    @property
    def busy(self):
        return bool(self.pending)

    def submit(self, prompt, sample_ids, *, max_tokens, stops):
        text = "".join(map(chr, prompt))
        self.prompts.append(text)
        handles = []
        for sample in sample_ids:
            rng = np.random.default_rng(sample)
            started = [first for first in FIRST if text.endswith(first)]
            first = started[0] if started else FIRST[rng.integers(2)]
            last = LAST[rng.integers(5) if first == FIRST[0] else rng.integers(2, 5)]
            self.count += 1
            handles.append(self.count)
            self.pending[handles[-1]] = [*map(ord, last if started else first + last), 0][:max_tokens]
        return handles

    def poll(self):
        done, self.pending = self.pending, {}
        nothing = np.zeros((0, 0), np.float32)
        return [SampleEvent(h, h, ids, "stop" if ids[-1] == 0 else "length", nothing) for h, ids in done.items()]

    def release(self, handle):
        pass


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("problems") / "halves.jsonl"
    rows = [{"problem": f"What is {i} out of {2 * i}?", "answer": "1/2"} for i in range(1, 31)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_world("problems", train=str(path), dev_share=0, test_share=0)


def rollout(world, problem, text, finished=True):
    steps = world.split_steps(text)
    return WrittenSolution(steps, world.is_correct(problem, steps), finished, len(text))


def test_usable_samples_end_with_an_answer_and_their_truth_is_unknown(world):
    [problem] = world.problems("train", 1, 0)
    samples = [rollout(world, problem, first + last) for first in FIRST for last in LAST]
    samples.append(rollout(world, problem, "Cut off.\n\nSo \\boxed{1/2}, and", finished=False))
    settings = RolloutSettings(correct_per_problem=9, wrong_per_problem=9, planted_per_problem=0)
    chosen = choose_solutions(problem, samples, world, Characters(), settings, rng_of(0))
    assert {s.steps for s in chosen} == {(first, last + "\n") for first in FIRST for last in LAST[:3]}
    assert {(s.first_error, s.error_kind, s.source) for s in chosen} == {(None, "unknown", "policy")}
    right = [world.is_correct(problem, s.steps) for s in chosen]
    assert right == [True] * 4 + [False] * 2  # the two spellings of the answer behind each beginning


def test_planted_solutions_are_refused_by_name(world):
    [problem] = world.problems("train", 1, 0)
    with pytest.raises(UserError, match="the world problems has no planted errors"):
        choose_solutions(problem, [], world, Characters(), RolloutSettings(planted_per_problem=1), rng_of(0))


def test_values_of_paragraphs(world):
    """Behind "Take half." two endings of five are right, behind "Guess." none."""
    writer, settings = Writer(), RolloutSettings(planted_per_problem=0)
    chunks = value_problems(world.problems("train", 30, 0), world, writer, Characters(), settings, seed=0)
    records = [record for chunk in chunks for record in chunk]
    values = {first: [] for first in FIRST}
    for record in records:
        assert record.reason == ""
        for valued in record.solutions:
            assert len(valued.solution.steps) == 2 and len(valued.mc) == 3
            values[valued.solution.steps[0]].append((valued.mc[1], record.rollouts))
    assert {value for value, _ in values[FIRST[1]]} == {0.0}
    hits, draws = sum(v * k for v, k in values[FIRST[0]]), sum(k for _, k in values[FIRST[0]])
    assert draws > 1000 and abs(hits / draws - 0.4) < 4 * (0.24 / draws) ** 0.5
    # a state is the text that the policy wrote, up to the blank line, and nothing more
    assert any(prompt.endswith("?\nTake half.\n\n") for prompt in writer.prompts)
    assert all(prompt.endswith(("?\n", *FIRST)) for prompt in writer.prompts)
