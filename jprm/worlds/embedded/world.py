"""The embedded world as a `World`: the splits, and records made of the texts of this room.

Invariant: a problem's split is a hash of its text, so no two splits share a problem, whatever the
seeds and the difficulty.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

import numpy as np

from jprm.config import Config
from jprm.errors import UserError
from jprm.records import Problem, Solution
from jprm.seeds import seed_of
from jprm.tokenizer import Tokenizer, word_tokenizer
from jprm.worlds import base
from jprm.worlds.base import RATIONALE_PIECES, Annotation, Segment, Style, World
from jprm.worlds.embedded import delayed_evidence, documents, solutions
from jprm.worlds.embedded.documents import EmbeddedMix
from jprm.worlds.embedded.problems import NAMES, Difficulty, QuantityGraph, draw_graph, parse_problem, render_problem

SPLIT_OF_HASH = ("train", "train", "dev", "test")
REPEATS = 1000  # draws in a row without a new problem after which the world counts as exhausted

PIECES = (
    *(f"Step {number}: " for number in range(1, 9)),
    *NAMES,
    *(" has ", " gets ", " gets as many as ", " more than ", " fewer than ", " times as many as ", " and "),
    *("How many does ", " get?\n", ". ", ".\n", ". Answer: ", ", so ", " = ", " + ", " - ", " * "),
    *(" is unknown. ", " is asked. ", "print(", ")", " == ", ' and "', '" == "', '")'),
    *("True", "False", "None", "Error"),
    *RATIONALE_PIECES,
    *(str(number) for number in range(solutions.VALUE_LIMIT)),
)


class EmbeddedSettings(Config):
    """What a configuration may say about this world."""

    difficulty: Difficulty = Difficulty()
    mix: EmbeddedMix = EmbeddedMix()


class EmbeddedWorld(World):
    """Word problems over a graph of quantities, in a closed vocabulary, with exact truth."""

    name = "embedded"
    version = "4"
    digest = ""

    def __init__(self, difficulty: Difficulty | None = None, mix: EmbeddedMix | None = None):
        """Takes as defaults a recipe that half a million parameters learn in minutes."""
        self.difficulty = difficulty or Difficulty()
        self.mix = mix or EmbeddedMix()

    def problems(self, split: base.Split, n: int, seed: int) -> list[Problem]:
        """Returns `n` different problems of the split; see `World.problems`."""
        base.check_split(split)
        rng = random.Random(seed_of(seed, self.name, "problems", split))
        found: dict[str, Problem] = {}
        repeats = 0
        while len(found) < n:
            graph = self._draw(rng, split)
            text = render_problem(graph)
            repeats = repeats + 1 if text in found else 0
            if repeats > REPEATS:
                raise UserError(f"this difficulty has only about {len(found)} problems for {split}, {n} were asked")
            tier, answer = f"steps={len(graph.needed)}", str(graph.values[graph.target])
            found[text] = base.make_problem(self.name, text, answer, tier, split)
        return list(found.values())

    def reference(self, problem: Problem, rng: np.random.Generator | None = None) -> Solution:
        """Returns the right solution, with `rng` sometimes one step longer than needed."""
        scalar = None if rng is None else base.scalar_rng(rng)
        steps = solutions.reference_steps(parse_problem(problem.text), scalar, self.mix.unhelpful)
        return base.make_solution(problem, steps, "reference", -1)

    def planted(self, problem: Problem, rng: np.random.Generator) -> Solution | None:
        """Returns a solution with one planted error (`solutions.PLANTED_KINDS`) that later steps carry on."""
        drawn = solutions.plant(parse_problem(problem.text), base.scalar_rng(rng))
        if drawn is None:
            return None
        steps, at, kind = drawn
        return base.make_solution(problem, steps, "planted", at, kind)

    def withheld(
        self, problem: Problem, rng: np.random.Generator, corrected: bool = False
    ) -> tuple[Problem, tuple[Solution, ...]] | None:
        """Returns the problem without one fact, and four solutions of which only later steps tell which are right.

        They contradict a wrong step, or correct it. See `delayed_evidence`. None where no fact can go, or the shorter
        text is of another split. Its answer is "": what is left of the text does not decide it, and `truth`
        cannot read it.
        """
        drawn = delayed_evidence.withhold(parse_problem(problem.text), base.scalar_rng(rng), self.difficulty)
        if drawn is None or split_of(drawn.text) != problem.split:
            return None
        shown = base.make_problem(self.name, drawn.text, "", problem.tier, problem.split)
        kind = "corrected" if corrected else "contradicted"
        return shown, tuple(
            base.make_solution(shown, steps, "withheld", -1 if right else drawn.at, "" if right else kind)
            for steps, right in drawn.solutions(corrected)
        )

    def truth(self, problem: Problem, steps: Sequence[str]) -> tuple[int, str]:
        """Returns (first wrong step or -1, one of `solutions.ERROR_KINDS` or ""), exact for any text."""
        return solutions.first_error(parse_problem(problem.text), steps)

    def answer(self, steps: Sequence[str]) -> str | None:
        """Returns the number that the last step announces."""
        stated = solutions.stated_answer(steps)
        return None if stated is None else str(stated)

    def annotate(
        self,
        problem: Problem,
        steps: Sequence[str],
        step: int,
        style: Style,
        rng: np.random.Generator | None = None,
        noise: float = 0.0,
    ) -> Annotation:
        """Returns the annotator's rationale for `steps[step]`; see `documents.annotate`."""
        scalar = None if rng is None else base.scalar_rng(rng)
        return documents.annotate(parse_problem(problem.text), steps, step, style, scalar, noise)

    def base_documents(self, n: int, seed: int) -> Iterator[list[Segment]]:
        """Yields the first `n` documents of the pretraining mix; see `documents`."""
        rng = random.Random(seed_of(seed, self.name, "base"))
        return islice(documents.documents(lambda: self._draw(rng, "train"), rng, self.mix), n)

    def tokenizer(self) -> Tokenizer:
        """Returns the closed vocabulary: one token per number, name, phrase and tag."""
        return _tokenizer()

    def _draw(self, rng: random.Random, split: str) -> QuantityGraph:
        """Returns the next problem of a split."""
        for _ in range(REPEATS):
            graph = draw_graph(rng, self.difficulty)
            if split_of(render_problem(graph)) == split:
                return graph
        raise UserError(f"this difficulty has no problems for {split}: widen the ranges of {self.difficulty}")


def split_of(text: str) -> str:
    """Returns the split of a problem's text: half are train, a quarter each development and test."""
    return SPLIT_OF_HASH[hashlib.sha256(text.encode()).digest()[0] % len(SPLIT_OF_HASH)]


@cache
def _tokenizer() -> Tokenizer:
    return word_tokenizer(PIECES)
