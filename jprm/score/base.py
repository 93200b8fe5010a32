"""What a scorer is given and what it owes, the simple kind that needs no sampler, and all scorers by name."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from jprm import registry
from jprm.errors import UserError
from jprm.execute import CodePlace
from jprm.quoting import TextCodec
from jprm.records import Problem, Rationale, ReadOut, Solution, Verdict
from jprm.sampling import Sampler
from jprm.seeds import seed_of
from jprm.verify import Branches, CheckpointProtocol, Execution, GenPRM, VerifySettings

Item = tuple[Problem, Solution]
Known = Mapping[str, Sequence[Rationale]]  # rationales by solution id
Heard = Callable[[Rationale], None]
Voting = Literal["mean", "majority"]


@dataclass(frozen=True)
class Generator:
    """A model that can be sampled, its tokenizer, where its code runs, and the rest of `verify`."""

    sampler: Sampler
    executor: CodePlace | None
    codec: TextCodec
    settings: VerifySettings


@dataclass(frozen=True)
class Setup:
    """What a scorer is made with.

    model: the directory of its weights; None where there is none.
    mode: how votes share a history, "chain" or "fork" (see `jprm.verify`).
    readout: the reward that is asked of its verdicts.
    seed: decides, with the solution and the vote, what is drawn.
    stop_early: whether the steps behind a unanimous No are not wanted (see `jprm.verify.verify`).
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
    by_beginnings: whether what it says about a step depends on the steps up to it alone, and is kept for
        every solution that begins alike until `forget` is called.
    protocol: the protocol of what it samples, which `--protocol` and overrides change.
    voting: how votes on a solution become its first error: where the mean of the rewards is low, or where most of the
        votes see it.
    """

    readout: ClassVar[ReadOut] = "prob_raw"
    samples: ClassVar[bool] = False
    chance: ClassVar[bool] = True
    by_beginnings: ClassVar[bool] = False
    protocol: ClassVar[type[CheckpointProtocol]] = GenPRM
    voting: ClassVar[Voting] = "mean"

    def __init__(self, setup: Setup):
        self.setup = setup

    @abstractmethod
    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges every step with the votes asked for, and tells `heard` every rationale at once.

        known: rationales by solution id that need not be made again. Votes that are asked for in several
        calls, or after a call that was cut off, have to be those of one call. What goes wrong with one item
        is reported in that item's `Ended` and harms no other.
        """

    def for_search(self, votes: int) -> Scorer:
        """Returns the scorer that a search with this many votes asks: one that judges by beginnings, or itself."""
        return self

    def forget(self, problem: Problem) -> None:
        """Gives up whatever is held for this problem, because its search is over."""
        return


class SharedBeginnings(Scorer):
    """A generative verifier for the branches of searches, which judges every beginning of solutions once."""

    samples: ClassVar[bool] = True
    by_beginnings: ClassVar[bool] = True

    def __init__(self, branches: Branches):
        self._branches = branches

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges as `Scorer` says, all branches together; `known` adds nothing to what is held."""
        assert list(votes) == list(self._branches.votes), "a search asks for the same votes all along"
        judged = self._branches.judge([(problem, solution.steps) for problem, solution in items])
        for (_, solution), rationales in zip(items, judged, strict=True):
            for rationale in rationales:
                heard(dataclasses.replace(rationale, solution_id=solution.id))
            yield Ended(solution.id)

    def forget(self, problem: Problem) -> None:
        """Gives up the conversations about this problem."""
        self._branches.forget(problem)


class StepScorer(Scorer):
    """Gives every step of a solution a number, P(the step is right); it sees one solution at a time."""

    @abstractmethod
    def scores(self, problem: str, steps: Sequence[str], seed: int) -> Iterable[float | None]:
        """Returns a number from 0 to 1 for each step, None without a judgement.

        seed: another one for every vote; a scorer without chance ignores it.
        """

    def judge(self, items: Sequence[Item], votes: Sequence[int], known: Known, heard: Heard) -> Iterator[Ended]:
        """Judges as `Scorer` says, one solution and vote after another."""
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
        return [as_rationale(solution.id, step, vote, self.setup.mode, score) for step, score in enumerate(scores)]


def as_rationale(solution_id: str, step: int, vote: int, mode: str, score: float | None, reason: str = "") -> Rationale:
    """Makes a rationale without text of a number; `reason` says why there is none ("no_verdict" where it is not given).

    Raises ValueError for a number that is not between 0 and 1.
    """
    if score is None:
        return Rationale(solution_id, step, vote, mode, "", (), Verdict(None, None, None), 0, 0, reason or "no_verdict")
    score = float(score)
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"the score {score} is not between 0 and 1")
    return Rationale(solution_id, step, vote, mode, "", (), Verdict(score >= 0.5, score, score), 0, 0)


def _as_scorer(made: Any, name: str) -> type[Scorer]:
    """Returns the class of a scorer; a function `(problem, steps, seed) -> a number per step` becomes one."""
    if inspect.isclass(made):
        if not issubclass(made, Scorer):
            raise UserError(f"scorer {name!r}: {made!r} is neither a Scorer nor a function")
        return made
    about = {key: getattr(made, key) for key in ("__module__", "__qualname__", "__doc__")}
    about["scores"] = lambda self, problem, steps, seed: made(problem, steps, seed)
    return type(made.__name__, (StepScorer,), about)


scorer: registry.Registry[type[Scorer]] = registry.Registry(
    "scorer",
    package="jprm.score.scorers",
    adapt=_as_scorer,
    unknown="no scorer {name!r}; nearest is {near!r} (all: {known}); one of your own is registered by --plugin FILE.py",
)
"""Scorers by name: subclasses of `Scorer`, or functions that return a number for each step of a solution."""


def find_scorer(name: str) -> type[Scorer]:
    """Finds the scorer of that name. Raises UserError, naming the nearest, where there is none."""
    return scorer[name]
