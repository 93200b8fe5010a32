"""The audit of credit: how near any row's credit on stored rollouts is to the exact advantage.

The unit is a step. Its credit is the mean advantage of its trained tokens, its exact advantage V(after) - V(before)
under the policy. Credit has the scale that the row gives it, so bias and variance are in its own units. Intervals are
over problems (`jprm.evaluate.Resamples`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from jprm.errors import UserError, one_line
from jprm.evaluate import Interval, Resamples, interval, interval_row, mean_interval, share_interval
from jprm.rl.credit import check_settings, credit, find_row, step_means
from jprm.rl.records import Credit
from jprm.rl.stored import StoredGroup

MOST_LOST = 0.05  # the share of groups on which a row may raise before the command stops
NOTHING = 1e-9  # a smaller exact advantage has no sign


@dataclass(frozen=True)
class Credited:
    """The credits of a row on groups; None where it raised, and `lost` says why by problem."""

    credits: tuple[list[Credit] | None, ...]
    lost: tuple[tuple[str, str], ...]


def credited(name: str, groups: Sequence[StoredGroup], **settings: Any) -> Credited:
    """Applies a row to groups; what it raises loses a group with its reason.

    Raises UserError for an unknown row or setting, and where 5 % of the groups are lost.
    """
    check_settings(name, settings)
    made: list[list[Credit] | None] = []
    lost: list[tuple[str, str]] = []
    for group in groups:
        try:
            made.append(credit(name, group.judged, **settings))
        except Exception as error:  # a row's fault with one group, which may be other people's code
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"
            made.append(None)
            lost.append((group.problem_id, reason))
            if len(lost) >= MOST_LOST * len(groups):
                raise UserError(
                    f"the row {name} failed on {len(lost)} of {len(groups)} groups, which is {MOST_LOST:.0%} or more; "
                    f"the last is the problem {group.problem_id!r}: {reason}"
                ) from None
    return Credited(tuple(made), tuple(lost))


def missing_needs(name: str, groups: Sequence[StoredGroup]) -> list[str]:
    """Returns what a row needs and no rollout has. Raises UserError for an unknown row."""
    every = [judged for group in groups for judged in group.judged]
    present = {
        "outcome": any(j.outcome is not None for j in every),
        "votes": any((j.votes >= 0).any() for j in every),
        "values": any(j.values is not None for j in every),
        "prefix": any(j.prefix is not None for j in every),
        "tree": True,  # rollouts drawn one by one are a tree of depth 1
    }
    return sorted(need for need in find_row(name).needs if not present[need])


def audit(name: str, groups: Sequence[StoredGroup], **settings: Any) -> dict[str, Any]:
    """Returns a row of the audit's table, as docs/files.md says.

    Where no exact values are stored, `values` stand in for them. Raises UserError as `credited` does.
    """
    made = credited(name, groups, **settings)
    kept = [(group, credits) for group, credits in zip(groups, made.credits, strict=True) if credits is not None]
    silent = [not credits[0].facts["informed"] for _, credits in kept]
    found: dict[str, Any] = {
        "row": name,
        "groups": len(groups),
        "lost": len(made.lost),
        "reason": made.lost[0][1] if made.lost else "",
        "silent_share": float(np.mean(silent)) if silent else None,
    }
    problems, given, exact = _steps(kept)
    found["steps"] = len(given)
    measures: dict[str, Interval | None] = dict.fromkeys(("spearman", "bias", "variance", "sign_errors"))
    if len(given):
        resamples = Resamples.of(problems)
        signed = np.abs(exact) > NOTHING
        wrong = signed & (given * np.sign(exact) < 0)
        measures = {
            "spearman": _spearman(given, exact, resamples),
            "bias": mean_interval(given - exact, resamples),
            "variance": _variance(given, resamples),
            "sign_errors": share_interval(wrong.astype(float), signed.astype(float), resamples),
        }
    return found | {key: value for name, at in measures.items() for key, value in interval_row(name, at).items()}


def has_exact(groups: Sequence[StoredGroup]) -> bool:
    """Whether any rollout has exact values, so that an audit does not have to take the measured ones."""
    return any(exact is not None for group in groups for exact in group.exact)


def _steps(kept: Sequence[tuple[StoredGroup, list[Credit]]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the problem, the credit and the exact advantage of every step that has both [n]."""
    stored = has_exact([group for group, _ in kept])
    problems: list[str] = []
    given, exact = [np.zeros(0)], [np.zeros(0)]
    for group, credits in kept:
        for judged, of_rollout, known in zip(group.judged, credits, group.exact, strict=True):
            values = known if stored else judged.values
            if values is not None:
                means = step_means(judged, of_rollout)
                has = ~np.isnan(means)
                problems += [group.problem_id] * int(has.sum())
                given.append(means[has])
                exact.append(np.diff(values)[has])
    return problems, np.concatenate(given), np.concatenate(exact)


def _spearman(one: np.ndarray, two: np.ndarray, resamples: Resamples) -> Interval:
    """The correlation of the ranks [n], which are those of all steps in every resample; nan where one is constant."""
    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (one, two))
    terms = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

    def correlation(sums: np.ndarray) -> np.ndarray:
        mean = sums[:, 1:] / sums[:, :1]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.sqrt((mean[:, 2] - mean[:, 0] ** 2) * (mean[:, 3] - mean[:, 1] ** 2))
            return np.where(spread > 0, (mean[:, 4] - mean[:, 0] * mean[:, 1]) / spread, np.nan)

    return interval(float(correlation(terms.sum(axis=0)[None])[0]), correlation(resamples.sums(terms)))


def _variance(values: np.ndarray, resamples: Resamples) -> Interval:
    """The variance of credit over steps [n]."""
    sums = resamples.sums(np.stack([np.ones(len(values)), values, values**2], axis=1))
    return interval(float(values.var()), np.maximum(0.0, sums[:, 2] / sums[:, 0] - (sums[:, 1] / sums[:, 0]) ** 2))
