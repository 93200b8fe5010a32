"""What a scorer is given and what it owes, and the simple kind that needs no sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jprm.errors import UserError
from jprm.records import Problem, Rationale, ReadOut, Solution, Verdict
from jprm.seeds import seed_of
from jprm.verify import Branches, Execution, Executor, GenPRM, Sampler, TextCodec, ThinkPRM, VerifySettings

Item = tuple[Problem, Solution]
Known = Mapping[str, Sequence[Rationale]]
Heard = Callable[[Rationale], None]


@dataclass(frozen=True)
class Generator:
    """A model that can be sampled, its tokenizer, where its code runs, and the rest of `verify`."""

    sampler: Sampler
    executor: Executor | None
    codec: TextCodec
    settings: VerifySettings


@dataclass(frozen=True)
class Setup:
    """What a scorer is made with.

    model: the directory of its weights; None where there is none.
    readout: the reward that is asked of its verdicts.
    stop_early: whether steps behind a unanimous No are wanted no more (see `jprm.verify.verify`).
    generator: loads the model for sampling in a style of `jprm.verify`; may take long.
    """

    model: Path | None
    mode: str
    readout: ReadOut
    seed: int
    stop_early: bool
    generator: Callable[[str, Execution], Generator]


@dataclass(frozen=True, slots=True)
class Ended:
    """A solution is done; `lost` says why it has no judgement, and is empty where it has one."""

    solution_id: str
    lost: str = ""


class Scorer(ABC):
    """Judges the steps of solutions, vote by vote.

    readout: the reward that suits its verdicts, where the user asks for no other.
    samples: whether it samples a model's text, and so wants a sampler and the protocol's settings.
    chance: whether its votes can differ; where they cannot, one is drawn.
    protocol: the protocol of what it samples, which `--protocol` and overrides change.
    """

    readout: ClassVar[ReadOut] = "prob_raw"
    samples: ClassVar[bool] = False
    chance: ClassVar[bool] = True
    protocol: ClassVar[type[GenPRM] | type[ThinkPRM]] = GenPRM

    def __init__(self, setup: Setup):
        self.setup = setup

    @abstractmethod
    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judge every step with the votes asked for, telling `heard` every rationale at once.

        known: rationales by solution id that need not be made again. Votes that are asked for in
        several calls, or after a call that was cut off, have to be those of one call. What goes
        wrong with one item is that item's `Ended`, and nobody else's.
        """

    def branches(self, votes: int) -> Branches | None:
        """The same judge for a search, whose branches share what is said of their beginnings; None
        where this kind of scorer judges whole solutions only.
        """
        return None


class StepScorer(Scorer):
    """Gives every step of one solution at a time a number: P(the step is right)."""

    @abstractmethod
    def scores(self, problem: str, steps: Sequence[str], seed: int) -> Iterable[float | None]:
        """A number from 0 to 1 for each step, None without a judgement.

        seed: another one for every vote; a scorer without chance ignores it.
        """

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """As `Scorer`, one after another."""
        for problem, solution in items:
            there = {(r.step, r.vote) for r in known.get(solution.id, ())}
            try:
                for vote in votes:
                    if any((step, vote) not in there for step in range(len(solution.steps))):
                        for rationale in self._rationales(problem, solution, vote):
                            heard(rationale)
            except UserError:
                raise
            except Exception as error:  # a scorer's fault with one item is told, not raised
                yield Ended(solution.id, f"{type(error).__name__}: {error}")
            else:
                yield Ended(solution.id)

    def _rationales(self, problem: Problem, solution: Solution, vote: int) -> list[Rationale]:
        seed = seed_of(self.setup.seed, solution.id, vote)
        texts = [step.removesuffix("\n") for step in solution.steps]
        scores = list(self.scores(problem.text.removesuffix("\n"), texts, seed))
        if len(scores) != len(texts):
            raise ValueError(f"{len(scores)} scores for {len(texts)} steps")
        return [
            Rationale(
                solution_id=solution.id,
                step=step,
                vote=vote,
                mode=self.setup.mode,
                text="",
                executions=(),
                verdict=_verdict(score),
                generated_tokens=0,
                forced_tokens=0,
                reason="no_verdict" if score is None else "",
            )
            for step, score in enumerate(scores)
        ]


def _verdict(score: float | None) -> Verdict:
    if score is None:
        return Verdict(None, None, None)
    score = float(score)
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"the score {score} is not between 0 and 1")
    return Verdict(score >= 0.5, score, score)
