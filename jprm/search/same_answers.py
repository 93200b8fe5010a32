"""Lets candidates with equal answers vote together, however each is spelled."""

from __future__ import annotations

from collections.abc import Sequence

from jprm.grade import Equivalence, united
from jprm.search.selection import Candidate


def voting(pools: Sequence[Sequence[Candidate]]) -> tuple[list[list[Candidate]], str]:
    """Gives equal answers of candidates one spelling; returns the candidates, and says in words what changed.

    Answers that spelling cannot compare are compared in an execution pool, for seconds each at most.
    """
    with Equivalence() as equal:
        found = united(pools, equal)
    before, after = (sum(len({c.answer for c in p}) for p in each) for each in (pools, found))
    untold = ", ".join(f"{count} {grade}" for grade, count in equal.untold.items())
    said = [f"{before - after} spellings vote with an equal answer"] * (before > after)
    said += [f"pairs that could not be compared count as different: {untold}"] * bool(untold)
    return found, "; ".join(said)
