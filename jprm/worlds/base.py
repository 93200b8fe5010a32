"""What a world is: problems and, where it has an oracle, the truth of each step, an annotator, training text.

Everything above (labels, verification, evaluation) talks to this protocol and to nothing of a particular world. The
pieces of a rationale that must be single tokens stand here, because a world owns its vocabulary and lies below the
rationale protocol, which imports them for its templates.

Invariant: all that a world says about a problem is a function of the problem's text, so records read back from a file
are as good as the ones just made.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from jprm.errors import UserError
from jprm.grade import same_answer
from jprm.records import Problem, Solution, stable_id

if TYPE_CHECKING:  # loads tokenizers
    from jprm.tokenizer import Tokenizer

Split = Literal["train", "dev", "test"]
Style = Literal["full", "code", "analysis", "direct"]
SPLITS: tuple[Split, ...] = get_args(Split)
STYLES: tuple[Style, ...] = get_args(Style)
UNKNOWN = "unknown"  # the kind of an error of which the truth is not known

ANALYZE_OPEN, ANALYZE_CLOSE = "<analyze>", "</analyze>\n"
CODE_OPEN, CODE_CLOSE = "<verify>", "</verify>\n"
OUTPUT_OPEN, OUTPUT_CLOSE = "[Code output: ", "]\n"
VERDICT_OPEN, VERDICT_CLOSE = "<output>\\boxed{", "}</output>\n"
YES, NO = "Yes", "No"
RATIONALE_PIECES = (
    *(ANALYZE_OPEN, ANALYZE_CLOSE, CODE_OPEN, CODE_CLOSE, OUTPUT_OPEN, OUTPUT_CLOSE),
    *(VERDICT_OPEN, YES, NO, VERDICT_CLOSE),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a training document; the loss counts its tokens only where `trained`."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the annotator writes about one step, without tags.

    `analysis` is in the style asked for ("" where the style shows none). `code` is always there: it prints True where
    the annotator holds the step right, so it also filters rationales of styles that do not show it.
    """

    analysis: str
    code: str


class World(Protocol):
    """A source of problems. Built by `jprm.worlds.load_world`; one of your own is registered by `jprm.worlds.world`.

    With an oracle it knows the exact truth of every step, and can therefore plant errors, annotate, and write documents
    in a vocabulary of its own. Without one (`has_oracle`) it grades final answers: the truth of steps is unknown, and
    what needs more raises UserError.
    """

    name: str
    version: str  # changes whenever the same call would return another text
    digest: str  # of the files that it reads; "" where it reads none
    has_oracle: bool = True
    path_settings: frozenset[str] = frozenset()  # settings that name files, whose contents `digest` stands for
    step_end: str = "\n"  # the text that ends a step; "" where none does by itself
    rejected: Sequence[str] = ()  # rows of its files that are left out: "file:line: reason"

    def problems(self, split: Split, n: int, seed: int) -> list[Problem]:
        """Returns `n` different problems, prefix-stable; splits share no text, whatever the seeds."""
        ...

    def reference(self, problem: Problem, rng: np.random.Generator | None = None) -> Solution:
        """Returns a right solution; with `rng` sometimes one with a right but unhelpful step.

        Raises UserError where the world knows none.
        """
        ...

    def planted(self, problem: Problem, rng: np.random.Generator) -> Solution | None:
        """Returns a solution with one planted error that later steps carry on; None if none was found."""
        raise self._without_oracle("planted errors", "label solutions of a policy (labels.planted_solutions = 0)")

    def truth(self, problem: Problem, steps: Sequence[str]) -> tuple[int | None, str]:
        """Returns (0-based first wrong step, -1 for none, None for unknown; kind of the error, "" or "unknown")."""
        return None, UNKNOWN

    def split_steps(self, text: str) -> tuple[str, ...]:
        """Returns the steps of a solution's text, by default one a line, each ending with a newline."""
        return lines(text)

    def answer(self, steps: Sequence[str]) -> str | None:
        """Returns the final answer that the steps state, which are a solution or the beginning of one."""
        ...

    def is_correct(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Returns whether the final answer is right; says nothing about the steps."""
        stated = self.answer(steps)
        return stated is not None and same_answer(stated, problem.answer)

    def annotate(
        self,
        problem: Problem,
        steps: Sequence[str],
        step: int,
        style: Style,
        rng: np.random.Generator | None = None,
        noise: float = 0.0,
    ) -> Annotation:
        """Returns the teacher's rationale for a step, bad with probability `noise` (drawn from `rng`)."""
        raise self._without_oracle("annotator", "have a model write the rationales")

    def base_documents(self, n: int, seed: int) -> Iterator[list[Segment]]:
        """Returns `n` documents to pretrain on, of train problems only; prefix-stable."""
        raise self._without_oracle("documents to pretrain on", "start from a checkpoint instead of a preset")

    def tokenizer(self) -> Tokenizer:
        """Returns the vocabulary of this world's texts and of `RATIONALE_PIECES`."""
        raise self._without_oracle("vocabulary of its own", "use a checkpoint, which brings its tokenizer")

    def _without_oracle(self, lacks: str, instead: str) -> UserError:
        return UserError(f"the world {self.name} has no {lacks}: {instead}")


def make_problem(world: str, text: str, answer: str, tier: str, split: str) -> Problem:
    """Returns a problem whose id is a function of the world and the text."""
    return Problem(id=stable_id(world, text), text=text, answer=answer, tier=tier, split=split)


def make_solution(
    problem: Problem, steps: Sequence[str], source: str, first_error: int | None, error_kind: str = ""
) -> Solution:
    """Returns a solution whose id is a function of the problem and the steps."""
    return Solution(
        id=stable_id(problem.id, source, *steps),
        problem_id=problem.id,
        steps=tuple(steps),
        source=source,
        first_error=first_error,
        error_kind=error_kind,
    )


def lines(text: str) -> tuple[str, ...]:
    """Returns the non-empty lines of a text, each ending with a newline, a cut-off last one too."""
    return tuple(line + "\n" for line in text.split("\n") if line.strip())


def scalar_rng(rng: np.random.Generator) -> random.Random:
    """Returns a generator of the standard library, seeded from `rng`: it draws single numbers faster than numpy's."""
    return random.Random(int(rng.integers(2**63)))


def printed(code: str, output: str) -> list[Segment]:
    """Writes a program and what it prints; only the output is learnt."""
    shown = f"{CODE_OPEN}{code}{CODE_CLOSE}{OUTPUT_OPEN}"
    return [Segment(shown, False), Segment(output, True), Segment(OUTPUT_CLOSE, False)]


def check_split(split: str) -> None:
    """Raises UserError where no split has this name."""
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, it is {split!r}")
