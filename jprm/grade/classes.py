"""Finds which answers to a problem are the same, so that votes for `0.5` and `1/2` are counted together.

Equality of spellings as the grader sees it is not transitive everywhere ("10,100" may be a number or a list), so
classes are no connected components. Each has a representative, and an answer belongs to the first class whose
representative it equals. Classes are opened in the order of their spellings' frequency (of equals the shortest, then
the alphabet), so that the order of the answers counts for nothing. A pair that cannot be compared (unparsed, timeout,
error) is not equal.

Where candidates are graded, their grades are the truth: an answer that was graded right and one that was graded wrong
are two answers, whatever the comparison says.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from jprm.execute import Pool
from jprm.grade.exact import EQUAL, Grade, by_spelling
from jprm.grade.grader import PRELOAD, Grader

Grouping = Literal["equivalent", "exact"]  # how answers are told apart where votes are counted
# Pairs of different texts -> whether each pair is equal.
Equal = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]


T = TypeVar("T", bound=Any)
_INTEGER = re.compile(r"[-+]?\d{1,4000}")


def spelled_alike(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    r"""Returns whether pairs are equal as far as the spelling tells: rational numbers, words, layout."""
    return [by_spelling(a, b)[0] == EQUAL for a, b in pairs]


def representatives(
    problems: Sequence[Sequence[str | None]],
    grades: Sequence[Sequence[bool]] | None = None,
    equal: Equal = spelled_alike,
) -> list[list[str | None]]:
    """Replaces every answer of every problem by its class's representative; None stays None.

    `grades` are those of the candidates that gave the answers; a spelling that was graded both right
    and wrong counts as what it was graded more often, wrong where that is the same. Integers are
    compared here; `equal` hears of the other pairs, those of all problems at once.
    """
    found: list[dict[str, str]] = [{} for _ in problems]
    left = [_ordered(answers) for answers in problems]
    balances = [_balances(*both) for both in zip(problems, grades or problems, strict=True)]
    while any(left):
        asked: list[tuple[int, str, str]] = []
        for at, waiting in enumerate(left):
            if not waiting:
                continue
            head = waiting.pop(0)
            found[at][head] = head
            right = balances[at][head] > 0
            for other in waiting:
                if grades is not None and (balances[at][other] > 0) != right:
                    continue
                if _INTEGER.fullmatch(head) and _INTEGER.fullmatch(other):
                    if int(head) == int(other):
                        found[at][other] = head
                else:
                    asked.append((at, head, other))
        verdicts = equal([(head, other) for _, head, other in asked]) if asked else []
        for (at, head, other), same in zip(asked, verdicts, strict=True):
            if same:
                found[at][other] = head
        left = [[answer for answer in waiting if answer not in found[at]] for at, waiting in enumerate(left)]
    return [
        [None if answer is None else found[at][answer] for answer in answers] for at, answers in enumerate(problems)
    ]


def united(problems: Sequence[Sequence[T]], equal: Equal = spelled_alike) -> list[list[T]]:
    """Gives every candidate of every problem its answer's representative for its `answer`.

    Candidates are dataclasses with an `answer`, of which only texts are compared, and whether it is `correct`.
    """
    texts = [[c.answer if isinstance(c.answer, str) else None for c in each] for each in problems]
    grades = [[c.correct for c in each] for each in problems]
    return [
        [
            c if answer is None else dataclasses.replace(c, answer=answer)
            for c, answer in zip(candidates, answers, strict=True)
        ]
        for candidates, answers in zip(problems, representatives(texts, grades, equal), strict=True)
    ]


def _balances(answers: Sequence[str | None], grades: Sequence[Any]) -> Counter[str | None]:
    """Returns how many more of a spelling's candidates were graded right than wrong."""
    balance: Counter[str | None] = Counter()
    for answer, right in zip(answers, grades, strict=True):
        balance[answer] += 1 if right else -1
    return balance


def _ordered(answers: Sequence[str | None]) -> list[str]:
    counts = Counter(answer for answer in answers if answer is not None)
    return sorted(counts, key=lambda answer: (-counts[answer], len(answer), answer))


class Equivalence:
    """`Equal` by the whole grader: what spelling leaves open goes to a pool; a context manager.

    The pool starts with the first pair that needs it; every pair is compared once. `untold` counts
    the grades of pairs that could not be compared. Raises UserError where no pool can be had.
    """

    def __init__(self, workers: int = 2, timeout_s: float = 5.0):
        self.untold: Counter[Grade] = Counter()
        self._known: dict[tuple[str, str], bool] = {}
        self._workers, self._timeout_s = workers, timeout_s
        self._pool: Pool | None = None
        self._grader: Grader | None = None

    def __enter__(self) -> Equivalence:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the pool, if there is one; pairs that were compared are still known."""
        if self._pool is not None:
            self._pool.close()

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Returns whether each pair is equal; waits for those that need the pool, all at once."""
        open_pairs = []
        for pair in dict.fromkeys(pairs):
            if pair not in self._known:
                verdict = by_spelling(*pair)[0]
                if verdict is None:
                    open_pairs.append(pair)
                else:
                    self._keep(pair, verdict.grade)
        waiting = [self._grading().submit(*pair) for pair in open_pairs]
        for pair, future in zip(open_pairs, waiting, strict=True):
            self._keep(pair, future.result().grade)
        return [self._known[pair] for pair in pairs]

    def _keep(self, pair: tuple[str, str], grade: Grade) -> None:
        self._known[pair] = grade == "equal"
        if grade not in ("equal", "different"):
            self.untold[grade] += 1

    def _grading(self) -> Grader:
        if self._grader is None:
            self._pool = Pool(self._workers, self._timeout_s, preload=PRELOAD)
            self._grader = Grader(self._pool, sessions=self._workers)
        return self._grader
