"""What a search strategy is, and how it asks for what it needs.

A strategy's `search` is a generator. It yields requests, is sent what they gave, and returns what it found:

    @strategy("first_of_two")
    @dataclass(frozen=True)
    class FirstOfTwo:
        def search(self, problem, answer):
            [drawn] = yield from grow([ROOT], n=2, steps=None)
            return Found(tuple((yield from judge(drawn))))

So a strategy reads from top to bottom for one problem, while the driver runs many side by side and
puts their requests into common batches.
"""

import dataclasses
import difflib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from jprm.errors import UserError
from jprm.records import Problem
from jprm.registry import Registry
from jprm.search.ports import Branch, Grow, Revision
from jprm.search.selection import rank

Answer = Callable[[Sequence[str]], str | None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """The request for the rewards of these branches."""

    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Revise:
    """The request to rewrite these solutions."""

    revisions: tuple[Revision, ...]


Request = Grow | JudgeRequest | Revise
Asking = Generator[Request, Any, T]  # yields requests, is sent their results, returns a T


@dataclass(frozen=True, slots=True)
class JudgedBranch:
    """A branch with the rewards [T] of its steps and what was written about them."""

    branch: Branch
    rewards: tuple[float | None, ...]
    analyses: tuple[str, ...] = ()

    def score(self, aggregation: str) -> float:
        """Returns one number to compare by; -inf for a branch without a score, which loses to any."""
        return rank(self.rewards, aggregation)


@dataclass(frozen=True, slots=True)
class Found:
    """The candidate solutions of a search, in an order that ties may be broken by.

    pools: the candidates (by index) that were there after each turn, where turns make sense; the
    last pool is the result, all candidates where there are none. notes: further JSON values.
    """

    candidates: tuple[JudgedBranch, ...]
    pools: tuple[tuple[int, ...], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """Settings of a search, as a frozen dataclass; another value of any of them is another search."""

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Searches one problem. It must depend on nothing but its arguments and the replies."""
        ...


strategy: Registry[type] = Registry("strategy")
"""Search strategies by name: frozen dataclasses of settings, whose `search` asks for branches and judgements."""


def make_strategy(name: str, **settings: Any) -> Strategy:
    """Makes the strategy of that name.

    Raises UserError for an unknown name or setting, and for a value of another type.
    """
    cls = strategy[name]
    known = [f.name for f in dataclasses.fields(cls)]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise UserError(f"strategy {name!r} has no setting {key!r}{hint}")
    types, any_class = get_type_hints(cls), ConfigDict(arbitrary_types_allowed=True)
    for key, value in settings.items():
        try:
            whole = not isinstance(value, Mapping)  # a table is one of the fields of a setting's class
            TypeAdapter(types[key], config=any_class).validate_python(value, strict=whole)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"strategy {name!r}: {key} = {value!r}: {reason}") from None
    return cls(**settings)


def at_least(lowest: int, **settings: int) -> None:
    """Raises UserError for a setting below `lowest`."""
    for name, value in settings.items():
        if value < lowest:
            raise UserError(f"search: {name} = {value} must be at least {lowest}")


def grow(branches: Sequence[Branch], **how: Any) -> Asking[list[list[Branch]]]:
    """Asks for continuations of each branch; `how` is as in `Grow`. No branches need no request."""
    if not branches:
        return []
    reply = yield Grow(tuple(branches), **how)
    return [list(children) for children in reply]


def judge(branches: Sequence[Branch]) -> Asking[list[JudgedBranch]]:
    """Asks for the rewards of the branches."""
    return list((yield JudgeRequest(tuple(branches)))) if branches else []


def revise(revisions: Sequence[Revision]) -> Asking[list[Branch]]:
    """Asks for the rewritten solutions."""
    return list((yield Revise(tuple(revisions)))) if revisions else []
