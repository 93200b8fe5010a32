"""The policy's candidates with the scores of every judge: what choosing among N of them gives and costs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.evaluate import (
    BestOfNAccuracy,
    Interval,
    Missing,
    Resamples,
    accuracy_interval,
    finite,
    interval_row,
    mean_difference,
)
from jprm.experiments.applications.judgements import Judgements
from jprm.experiments.applications.tasks import Applications
from jprm.experiments.sweep.table import best_by
from jprm.jobs import Stages
from jprm.search import ModelCost, aggregate
from jprm.seeds import rng_of
from jprm.tasks.benchmark import Item, load_items
from jprm.tasks.policy import Policy
from jprm.tasks.reward_models import model_cost

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class CandidatePool:
    """Problems with the candidates drawn for each, by solution id; some have no usable form.

    most: the candidates of each problem.
    """

    policy: Policy
    missing: Missing
    most: int
    items: dict[str, Item]
    drawn: list[tuple[str, tuple[str, ...]]]  # problem id, the ids of its samples

    @classmethod
    def of(cls, stages: Stages, applications: Applications) -> CandidatePool:
        """The pool of a finished set of candidates."""
        stage, evaluate = stages[applications.sets[1]], applications.config.evaluate
        items = {item.solution.id: item for item in load_items(stage)}
        drawn = [(row["problem_id"], tuple(row["solutions"])) for row in stage.summary["drawn"]]
        return cls(applications.policy, evaluate.missing, evaluate.candidates, items, drawn)

    @functools.cached_property
    def tiers(self) -> dict[str, str]:
        """The tier of each problem that has a usable candidate: the steps that it needs."""
        return {item.problem.id: item.problem.tier for item in self.items.values()}

    @functools.cached_property
    def writing_flops(self) -> float:
        """Mean FLOPs of writing one solution, its problem read anew each time."""
        cost, encode = model_cost(self.policy.model) or ModelCost(), self.policy.model.tokenizer.encode
        of_items = [
            cost.cost(0, len(encode(i.problem.text)), len(encode("".join(i.solution.steps)))).flops
            for i in self.items.values()
        ]
        return float(np.mean(of_items))

    def judging_flops(self, judge: Judgements) -> float:
        """Mean FLOPs of judging one candidate; those without a usable form are not judged."""
        every = [solution for _, solutions in self.drawn for solution in solutions]
        return sum(judge.rewards[s].cost.flops for s in every if s in self.items) / len(every)

    def choosing(self, judge: Judgements) -> BestOfNAccuracy:
        """Accuracy at every N up to `most`, by the scores of a judge."""
        return self.choosing_by(lambda solution: aggregate(judge.rewards[solution].rewards, judge.aggregation))

    def choosing_by(self, score: Callable[[str], float | None]) -> BestOfNAccuracy:
        """The same by a score of solution ids; equal texts of a problem have one id."""
        world, ks = self.policy.world.world, range(1, self.most + 1)
        return best_by(score, self.items, self.drawn, world, ks, self.missing)


def gained(at: Interval, gain: Interval, over: str) -> dict[str, Any]:
    """Returns `accuracy, low, high, gain_over_<over>, gain_low, gain_high`; None for what is not defined."""
    names = ("accuracy", "low", "high", f"gain_over_{over}", "gain_low", "gain_high")
    values = (at.value, at.low, at.high, gain.value, gain.low, gain.high)
    return {name: finite(value) for name, value in zip(names, values, strict=True)}


def best_of_n_rows(pool: CandidatePool, judges: Sequence[Judgements]) -> tuple[Rows, dict[str, BestOfNAccuracy]]:
    """Accuracy against N of each judge, and the gain over the majority, between oracle and chance.

    Chance is a score drawn for each text. It lies below a candidate drawn at random (N = 1): right
    solutions are few texts written often, wrong ones many, and each text has one try to score highest.
    """
    chosen = {judge.name: pool.choosing(judge) for judge in judges}
    first = chosen[judges[0].name]
    chance = pool.choosing_by(lambda solution: float(rng_of(0, "chance", solution).random()))
    methods = [("oracle", first, "pass", 0.0), ("majority", first, "majority", 0.0)]
    methods += [("a random score", chance, "best", 0.0)]
    methods += [(j.name, chosen[j.name], "best", pool.judging_flops(j)) for j in judges]
    rows = []
    for name, best, method, judging in methods:
        for n in best.ks:
            at = best.interval(method, n)
            gain = mean_difference(best.accuracy["majority", n], best.accuracy[method, n], best.resamples)
            rows.append(
                {"figure": "best_of_n", "verifier": name, "n": n}
                | gained(at, gain, "majority")
                | {"n_problems": len(pool.drawn)}
                | {"missing_share": best.missing_share(method, n), "missing_as": best.missing_as}
                | {"flops": n * (pool.writing_flops + judging), "judge_flops": n * judging}
            )
    return rows, chosen


def choice_rows(pool: CandidatePool, judges: Sequence[Judgements], chosen: dict[str, BestOfNAccuracy]) -> Rows:
    """With all candidates: the highest score against the answer with the largest sum of scores."""
    rows, n = [], pool.most
    for judge in judges:
        best = chosen[judge.name]
        row = {"figure": "choices", "verifier": judge.name, "n": n, "n_problems": len(pool.drawn)}
        row |= {"missing_share": best.missing_share("best", n), "missing_as": best.missing_as}
        for method in ("best", "weighted"):
            row |= interval_row(method, best.interval(method, n))
            row |= interval_row(f"{method}_over_majority", best.gain(method, "majority", n))
        rows.append(row)
    return rows


def equal_compute_rows(pool: CandidatePool, judges: Sequence[Judgements], chosen: dict[str, BestOfNAccuracy]) -> Rows:
    """At the cost of the first judge's best-of-N: what the same FLOPs of solving and judging buy others.

    Each takes as many candidates as the budget pays for, up to all that were drawn; `spent` says how
    much of the budget that is. The gain is over the first judge, paired by problem.
    """
    main = judges[0]
    unit = pool.writing_flops + pool.judging_flops(main)
    others = [(j.name, "best", pool.judging_flops(j), chosen[j.name]) for j in judges]
    others.append(("majority", "majority", 0.0, chosen[main.name]))
    rows = []
    for n in (n for n in (1, 2, 4, 8, 16, 32) if n <= pool.most):
        reference = chosen[main.name].accuracy["best", n]
        for name, method, judging, best in others:
            each = pool.writing_flops + judging
            affordable = min(pool.most, max(1, int(n * unit / each * (1 + 1e-9))))
            accuracy = best.accuracy[method, affordable]
            at = best.interval(method, affordable)
            gain = mean_difference(reference, accuracy, best.resamples)
            rows.append(
                {"figure": "equal_compute", "verifier": name, "budget_flops": n * unit}
                | {"n": affordable, "spent": affordable * each / (n * unit), "n_main": n}
                | gained(at, gain, "main")
                | {"n_problems": len(pool.drawn)}
                | {"missing_share": best.missing_share(method, affordable)}
            )
    return rows


def length_rows(pool: CandidatePool, judges: Sequence[Judgements], chosen: dict[str, BestOfNAccuracy]) -> Rows:
    """Best-of-all accuracy of each judge over the steps that problems need, against the first judge."""
    rows, n = [], pool.most
    reference = chosen[judges[0].name].accuracy["best", n]
    tiers = np.array([pool.tiers.get(problem, "") for problem, _ in pool.drawn])
    ids = np.array([problem for problem, _ in pool.drawn])
    for tier in ["", *sorted(set(pool.tiers.values()))]:
        inside = (tiers == tier) | (tier == "")
        resamples = Resamples.of(ids[inside].tolist())
        for judge in judges:
            best = chosen[judge.name]
            accuracy, missing = best.accuracy["best", n], best.missing[n]
            at = accuracy_interval(accuracy[inside], missing[inside], best.missing_as, resamples)
            gain = mean_difference(reference[inside], accuracy[inside], resamples)
            rows.append(
                {"figure": "best_of_n_over_length", "verifier": judge.name, "tier": tier or "all"}
                | {"n": n}
                | gained(at, gain, "main")
                | {"n_problems": int(inside.sum())}
            )
    return rows
