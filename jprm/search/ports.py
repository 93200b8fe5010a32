"""What a search needs from others, and the records that pass between them.

A generator grows branches, a reward model rewards their steps, a refiner rewrites a solution after
criticism. They are declared here and not imported, so that strategies know
neither JAX nor processes, and their tests run on scripts.

Each answers a batch item by item; an item that fails may be answered by its exception, which loses
this item's problem and no other.

Invariant: what any of them returns for an item is a function of that item and of what the search of
the same problem asked before, never of the rest of the batch or of other searches. So a search can
be killed and taken up again at any problem.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jprm.errors import UserError
from jprm.records import Problem
from jprm.search.budget import Cost

Path = tuple[int | str, ...]
Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """A solution in the making.

    path: the number of each draw on the way here, which names its randomness: two branches with
        the same text and different paths go on differently. ended: nothing can follow.
    """

    steps: Steps = ()
    path: Path = ()
    ended: bool = False


ROOT = Branch()


@dataclass(frozen=True, slots=True)
class Grow:
    """The request for `n` continuations of each branch, of up to `steps` steps (None: to the end).

    greedy: without randomness, and so once (`n` is 1). first: the number of the first draw, so that later
    requests for the same branch draw anew. label: keeps draws of another kind apart from these.
    """

    branches: tuple[Branch, ...]
    n: int = 1
    steps: int | None = 1
    greedy: bool = False
    first: int = 0
    label: str = ""

    def __post_init__(self):
        """Raises UserError for several continuations that could not differ."""
        if self.greedy and self.n > 1:
            raise UserError(f"search: greedy continuations are all the same; n = {self.n} must be 1")

    def paths(self, branch: Branch) -> list[Path]:
        """Returns the paths of a branch's continuations."""
        stem = (*branch.path, self.label) if self.label else branch.path
        return [(*stem, i) for i in range(self.first, self.first + self.n)]


@dataclass(frozen=True, slots=True)
class Grown:
    """The continuations of each branch of a `Grow`, in its order, and what they cost."""

    branches: tuple[tuple[Branch, ...], ...]
    cost: Cost = Cost()


@dataclass(frozen=True, slots=True)
class StepRewards:
    """Rewards [T] in [0, 1] of the steps of a solution, None for a step that could not be judged.

    analyses: what was written about each step, where anything was; the critic hands it on.
    """

    rewards: tuple[float | None, ...]
    cost: Cost = Cost()
    analyses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Revision:
    """A solution to be rewritten after criticism.

    step: index of the step that is doubted. path: names the randomness of the rewriting.
    """

    steps: Steps
    step: int
    feedback: str
    path: Path


@dataclass(frozen=True, slots=True)
class Revised:
    """The rewritten solution, and what it cost."""

    branch: Branch
    cost: Cost = Cost()


class StepGenerator(Protocol):
    """Writes solutions step by step."""

    def grow(self, requests: Sequence[tuple[Problem, Grow]]) -> Sequence[Grown | Exception]:
        """Returns the continuations asked for, request by request.

        A continuation of a branch that has ended, or that cannot go on, is an ended branch.
        """
        ...

    def forget(self, problem: Problem) -> None:
        """Gives up whatever is held for this problem, because its search is over."""
        ...


class RewardModel(ABC):
    """Rewards the steps of solutions and of their beginnings.

    The rewards are functions of the items alone; the costs may also depend on what the same search has asked before.
    """

    @abstractmethod
    def score(self, items: Sequence[tuple[Problem, Steps]]) -> Sequence[StepRewards | Exception]:
        """Returns one reward per step of each item, or the exception that an item ended in."""

    def forget(self, problem: Problem) -> None:
        """Gives up whatever is held for this problem, because its search is over."""
        return


class Refiner(Protocol):
    """Rewrites solutions."""

    def revise(self, items: Sequence[tuple[Problem, Revision]]) -> Sequence[Revised | Exception]:
        """Returns the new solution of each item."""
        ...
