"""From a group of judged rollouts to an array of token credits: the one thing in which methods differ.

A row is a function of one problem's group, registered by name:

    @row("outcome", needs=("outcome",))
    def outcome(group, baseline="rloo"):
        return [even(judged, a) for judged, a in zip(group, outcome_credit(group, baseline))]

`credit` applies it and holds it to the invariants: credit is a function of the stored records of the group, so that any
row can be computed on any run's rollouts afterwards; tokens that are not trained have weight 0; all numbers are finite.
A guarded rollout has a wrong outcome and steps that nobody judged, and never more credit than the honest rollout of its
group that has the least: where a wrong step costs something, a step that nobody judged would else be better paid.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.registry import Registry
from jprm.rl.records import Credit, Judged

NEEDS = ("outcome", "votes", "values", "prefix", "tree")
UNKNOWN = "no row {name!r}; nearest is {near!r} (all: {known}); one of your own is registered by --plugin FILE.py"


@dataclass(frozen=True)
class Row:
    """A way to give credit. needs: what has to be known of its rollouts; "tree" asks for rollouts drawn as a tree."""

    needs: frozenset[str]
    credit: Callable[..., Sequence[Credit]]

    def settings(self) -> dict[str, Any]:
        """The settings that it takes, with their defaults."""
        parameters = list(inspect.signature(self.credit).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}


def _as_row(made: Callable[..., Sequence[Credit]], name: str, *, needs: Iterable[str] = ()) -> Row:
    if wrong := sorted(set(needs) - set(NEEDS)):
        raise UserError(f"row {name!r}: nothing is called {wrong[0]!r} that a row may need; known: {', '.join(NEEDS)}")
    return Row(frozenset(needs), made)


row: Registry[Row] = Registry("row", package="jprm.rl.rows", adapt=_as_row, unknown=UNKNOWN)
"""Rows by name. One takes a group of `Judged` and settings, and returns a `Credit` for each; `needs`: what it reads."""


def find_row(name: str) -> Row:
    """Finds the row of that name. Raises UserError, naming the nearest, where there is none."""
    return row[name]


def credit(row: str, group: Sequence[Judged], **settings: Any) -> list[Credit]:
    """Returns the credit of every rollout of one problem's group, in its order, by the row of that name.

    A group that the row learns nothing from has advantage 0 everywhere, and the fact `informed` 0.
    Raises UserError for an unknown row or setting, rollouts of several problems, rollouts without what the row needs,
    and credit that breaks an invariant. What a row itself raises, it raises.
    """
    chosen = find_row(row)
    check_settings(row, settings)
    _check_group(row, chosen, group)
    shown = [judged.guarded() for judged in group]
    made = list(chosen.credit(shown, **settings))
    if len(made) != len(group):
        raise UserError(f"the row {row} gave {len(made)} credits for {len(group)} rollouts")
    kept = [_kept(row, judged, given) for judged, given in zip(group, made, strict=True)]
    advantages = _capped(group, [given.advantage for given in kept])
    informed = float(any(advantage.any() for advantage in advantages))
    return [
        Credit(advantage, given.weight, {**given.facts, "informed": informed})
        for advantage, given in zip(advantages, kept, strict=True)
    ]


def even(judged: Judged, advantage: float, **facts: float) -> Credit:
    """Returns the credit that gives every token the same advantage."""
    return by_token(judged, np.full(len(judged.rollout.ids), float(advantage)), **facts)


def by_step(judged: Judged, advantages: ArrayLike, **facts: float) -> Credit:
    """Returns the credit that gives every token the advantage of its step, from advantages [T]."""
    per_step = np.asarray(advantages, np.float64)
    if not len(per_step):
        return even(judged, 0.0, **facts)
    return by_token(judged, per_step[judged.rollout.step_of], **facts)  # -1 takes any: such a token is not trained


def by_token(judged: Judged, advantages: np.ndarray, **facts: float) -> Credit:
    """Returns the credit of advantages [L], with weight 1 on every token that is trained."""
    return Credit(advantages, judged.rollout.trained.astype(np.float64), facts)


def step_tokens(judged: Judged) -> np.ndarray:
    """Counts the trained tokens of each step [T]."""
    return np.bincount(judged.rollout.step_of[judged.rollout.trained], minlength=judged.n_steps)


def step_means(judged: Judged, given: Credit) -> np.ndarray:
    """Returns the mean advantage of the trained tokens of each step [T]; nan for a step without one."""
    trained, tokens = judged.rollout.trained, step_tokens(judged)
    total = np.bincount(judged.rollout.step_of[trained], given.advantage[trained], minlength=judged.n_steps)
    return np.where(tokens > 0, total / np.maximum(tokens, 1), np.nan)


def to_go(steps: np.ndarray) -> np.ndarray:
    """Returns what is still to come from each step on, itself included [T]."""
    return np.cumsum(steps[::-1])[::-1]


def token_mean(judged: Judged, advantage: np.ndarray) -> float:
    """Returns the mean advantage of the trained tokens of a rollout; nan where it has none."""
    trained = judged.rollout.trained
    return float(advantage[trained].mean()) if trained.any() else np.nan


def check_settings(name: str, settings: Iterable[str]) -> None:
    """Raises UserError for an unknown row, and for a setting that it does not have."""
    known = find_row(name).settings()
    if unknown := sorted(set(settings) - known.keys()):
        raise UserError(f"the row {name} has no setting {unknown[0]!r}; known: {', '.join(known) or 'none'}")


def _check_group(name: str, chosen: Row, group: Sequence[Judged]) -> None:
    if not group:
        raise UserError("a group without rollouts has no credit")
    if len(problems := {judged.rollout.problem_id for judged in group}) > 1:
        raise UserError(f"a group is of one problem, and this one of {', '.join(sorted(problems))}")
    for need in ("values", "prefix"):
        missing = [judged.rollout.index for judged in group if need in chosen.needs and getattr(judged, need) is None]
        if missing:
            raise UserError(f"the row {name} needs '{need}', which rollout {missing[0]} does not have")


def _kept(name: str, judged: Judged, given: Credit) -> Credit:
    """The credit of a row as numbers that may be trained on. Raises UserError where it breaks an invariant."""
    trained = judged.rollout.trained
    advantage, weight = (np.asarray(values, np.float64) for values in (given.advantage, given.weight))
    if advantage.shape != trained.shape or weight.shape != trained.shape:
        raise UserError(f"the row {name} gave {advantage.shape} and {weight.shape} numbers for {trained.shape} tokens")
    advantage, weight = np.where(trained, advantage, 0.0), np.where(trained, weight, 0.0)
    if not (np.isfinite(advantage).all() and np.isfinite(weight).all() and (weight >= 0).all()):
        raise UserError(f"the row {name} gave an advantage or a weight that is not finite, or a weight below 0")
    return Credit(advantage, weight, given.facts)


def _capped(group: Sequence[Judged], advantages: list[np.ndarray]) -> list[np.ndarray]:
    """No token of a guarded rollout has more than the least mean of the rollouts that the guard lets pass."""
    pairs = list(zip(group, advantages, strict=True))
    honest = [token_mean(judged, a) for judged, a in pairs if not judged.guard and judged.rollout.trained.any()]
    if not honest:
        return advantages
    return [
        np.where(judged.rollout.trained, np.minimum(a, min(honest)), 0.0) if judged.guard else a for judged, a in pairs
    ]
