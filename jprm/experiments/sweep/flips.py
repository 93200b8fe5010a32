"""Two cells flip on a solution where one names its first error right and the other does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.evaluate import SOME_ERROR
from jprm.experiments.sweep.table import Measured
from jprm.tasks.benchmark import load_known
from jprm.tasks.vote_store import RATIONALES, stream_rewards
from jprm.verify import first_error, mean_reward

SHOWN_CHARS = 60  # of a problem


@dataclass(frozen=True)
class Flip:
    """A solution that one of two cells judges right.

    truth, a, b: the 0-based first error in truth, and as each cell names it with all of its votes; -1 for none.
    `truth` is None where it is only known that there is an error, `a` or `b` where there is no verdict.
    """

    solution_id: str
    problem: str
    truth: int | None
    a: int | None
    b: int | None

    @property
    def gained(self) -> bool:
        """Returns whether it is the second cell that is right."""
        return _is_right(self.b, self.truth)

    def __str__(self) -> str:
        problem = " ".join(self.problem.split())
        short = problem if len(problem) <= SHOWN_CHARS else f"{problem[:SHOWN_CHARS]}..."
        truth = "some step" if self.truth is None else _named(self.truth)
        return f"{self.solution_id}: {truth} is wrong; A says {_said(self.a)}, B says {_said(self.b)}   {short}"


def flips_of(first: Measured, second: Measured) -> tuple[Flip, ...]:
    """Returns the solutions on which two cells flip, in the order of the set that both have judged."""
    a, b, found = _verdicts(first), _verdicts(second), []
    for item, label in zip(*load_known(first.stages[first.cell.votes.benchmark]), strict=True):
        name, truth = item.solution.id, None if label == SOME_ERROR else int(label)
        if _is_right(a[name], truth) != _is_right(b[name], truth):
            found.append(Flip(name, item.problem.text, truth, a[name], b[name]))
    return tuple(found)


def flip_lines(flips: Sequence[Flip], most: int) -> list[str]:
    """Writes the flips in words: of each direction at most `most`, and a count of the rest."""
    lines = []
    for who, found in (("A", [f for f in flips if not f.gained]), ("B", [f for f in flips if f.gained])):
        lines.append(f"  only {who} is right on {len(found)} solution{'s' * (len(found) != 1)}")
        lines += [f"    {flip}" for flip in found[:most]]
        if more := len(found[most:]):
            lines.append(f"    and {more} more (--flips {len(found)} lists all)")
    return lines


def flip_row(flip: Flip) -> dict[str, Any]:
    """Returns a flip as JSON holds it."""
    return {"solution_id": flip.solution_id, "problem": flip.problem} | {
        key: getattr(flip, key) for key in ("truth", "a", "b")
    }


def _verdicts(measured: Measured) -> dict[str, int | None]:
    votes = measured.cell.votes
    stored = stream_rewards(measured.stages[votes].file(RATIONALES), votes.n_votes, votes.sampling.readout)
    return {
        name: first_error([mean_reward([None if np.isnan(v) else float(v) for v in step]) for step in table])
        for name, table in stored
    }


def _is_right(named: int | None, truth: int | None) -> bool:
    return named is not None and (named == truth or (truth is None and named >= 0))


def _named(step: int) -> str:
    return "no step" if step < 0 else f"step {step + 1}"


def _said(step: int | None) -> str:
    return "nothing" if step is None else _named(step)
