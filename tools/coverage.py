"""Measures how often intervals hold the truth, on simulated data of known truth.

    python -m tools.coverage                    every row, 500 data sets each (some 20 minutes on one core)
    python -m tools.coverage grid               scores near 0 and 1 and of few problems, as a table
    python -m tools.coverage chinchilla --sets 100

A 95 % interval should cover in 93-97 % of the data sets; with 500 of them the measured share itself is
good to 1 %. Rows outside are marked, and the docstrings and `measured_coverage` quote them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from jprm.evaluate import (
    Interval,
    Resamples,
    VerifiedSolution,
    VoteCurve,
    compute_matched,
    f1_difference,
    f1_interval,
    mcnemar,
    mean_difference,
    mean_interval,
    minimum_detectable_effect,
    over_seeds,
    permutation_test,
    replay_adaptive,
    seed_spread,
)
from jprm.scaling import (
    Chinchilla,
    fit_chinchilla,
    fit_envelope,
    fit_isoflop,
    fit_power_law,
    fit_power_sum,
    fit_vote_law,
    fit_votes,
    hold_out,
    project_chinchilla,
)
from tools import coverage_grid, coverage_scores

Hits = Iterator[tuple[str, bool]]
Trial = Callable[[np.random.Generator, int], Hits]
E, A, B, ALPHA, BETA = 1.8, 480.0, 2100.0, 0.35, 0.37  # about those of Besiroglu et al. 2024
BEST_POWER = BETA / (ALPHA + BETA)


def holds(found: Interval, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return found.low <= truth <= found.high


def cluster_bootstrap(rng: np.random.Generator, trial: int) -> Hits:
    """Means, F1 and paired differences of 200 problems with two solutions each."""
    ids, rate = [i // 2 for i in range(400)], np.repeat(rng.beta(2, 1, 200), 2)
    labels = np.where(rng.random(400) < 0.5, -1, 1)
    first = (rng.random(400) < rate).astype(float)
    second = np.where(rng.random(400) < 0.15, 1.0, first)
    draws = Resamples.of(ids, seed=trial, resamples=1000)
    yield "mean, 200 problems x 2", holds(mean_interval(first, draws), 2 / 3)
    yield "F1, 200 problems x 2", holds(f1_interval(labels, first, draws), 2 / 3)
    yield "paired mean difference", holds(mean_difference(first, second, draws), 0.05)
    yield "paired F1 difference", holds(f1_difference(labels, first, second, draws), 0.05)
    small = (rng.random(30) < 0.7).astype(float)
    yield "mean, 30 problems", holds(mean_interval(small, Resamples.of(range(30), seed=trial)), 0.7)


def tests(rng: np.random.Generator, trial: int) -> Hits:
    """Shares of data sets in which a test at 5 % does not reject: .95 under the null, .2 at the MDE."""
    n, ids = 200, range(200)
    kind = rng.choice(4, n, p=[0.45, 0.125, 0.125, 0.3])  # both, first, second, neither
    first, second = np.isin(kind, (0, 1)).astype(float), np.isin(kind, (0, 2)).astype(float)
    p = permutation_test(first, second, ids, seed=trial, permutations=1000)
    yield "permutation test, null kept", p > 0.05
    yield "McNemar, null kept", mcnemar(first, second) > 0.05
    labels = np.where(np.arange(n) % 2, 0, -1)
    p = permutation_test(first, second, ids, labels=labels, seed=trial, permutations=1000)
    yield "permutation test of F1, null kept", p > 0.05
    effect = minimum_detectable_effect(np.sqrt(0.25 / n))
    kind = rng.choice(3, n, p=[0.75, 0.125 - effect / 2, 0.125 + effect / 2])
    gap = np.array([0.0, -1.0, 1.0])[kind]
    error = gap.std(ddof=1) / np.sqrt(n)
    yield "missed at the MDE (nominal .200)", bool(abs(gap.mean()) < 1.96 * error)


def seeds(rng: np.random.Generator, trial: int) -> Hits:
    """Three and five seeds with an sd of .03 on 100 problems with an sd of .3 and a rest of .3."""
    for n in (3, 5):
        a, b = rng.normal(0, 0.03, (n, 1)), rng.normal(0, 0.3, 100)
        y = 0.6 + a + b + rng.normal(0, 0.3, (n, 100))
        found = seed_spread(list(y), [range(100)] * n)
        yield f"seed_spread mean, {n} seeds, shared problems", holds(found.mean, 0.6)
        yield f"seed_spread seed_sd, {n} seeds", holds(found.seed_sd, 0.03)
        own = 0.6 + a + rng.normal(0, 0.42, (n, 100))
        nested = seed_spread(list(own), [[(s, p) for p in range(100)] for s in range(n)])
        yield f"seed_spread mean, {n} seeds, own problems", holds(nested.mean, 0.6)
        yield f"over_seeds, {n} seeds", holds(over_seeds(own.mean(axis=1).tolist()), 0.6)


def chinchilla(rng: np.random.Generator, trial: int) -> Hits:
    """5 x 5 and 6 x 8 grids of runs with 1 % noise, normal or Student's t with 3 degrees."""
    for grid, noise, n, d, loss in grids(rng):
        for bootstrap in ("residuals", "points"):
            if bootstrap == "points" and noise == "t3":
                continue
            fit = fit_chinchilla(n, d, loss, resamples=200, bootstrap=bootstrap, seed=trial)
            yield from chinchilla_hits(fit, f"Chinchilla {grid} {noise}, {bootstrap}")


def projection(rng: np.random.Generator, trial: int) -> Hits:
    """The same grids by least squares."""
    for grid, noise, n, d, loss in grids(rng):
        fit = project_chinchilla(n, d, loss, seed=trial)
        yield from chinchilla_hits(fit, f"least squares {grid} {noise}")


def grids(rng: np.random.Generator) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, np.ndarray]]:
    """Grid, noise, parameters, tokens and losses."""
    for sizes, counts, noise in ((5, 5, "normal"), (6, 8, "normal"), (6, 8, "t3")):
        size, data = np.geomspace(5e7, 5e9, sizes), np.geomspace(1e9, 1e11, counts)
        n, d = (x.ravel() for x in np.meshgrid(size, data))
        error = rng.normal(0, 0.01, n.size) if noise == "normal" else 0.006 * rng.standard_t(3, n.size)
        yield f"{sizes}x{counts}", noise, n, d, (E + A * n**-ALPHA + B * d**-BETA) * np.exp(error)


def chinchilla_hits(fit: Chinchilla, row: str) -> Hits:
    """The exponents, the floor and the best size at 1e22 FLOPs."""
    truth = {"E": E, "alpha": ALPHA, "beta": BETA, "a": BEST_POWER, "best N": best_size(1e22)}
    found = fit.intervals | {"best N": fit.optimal(1e22)[0]}
    for name, value in truth.items():
        yield f"{row}: {name}", holds(found[name], value)


def best_size(flops: float) -> float:
    """Parameters of the least loss at a budget."""
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (flops / 6) ** BEST_POWER


def joint(rng: np.random.Generator, trial: int) -> Hits:
    """Error over 4 sizes x 4 data sets x 5 numbers of votes with 2 % noise."""
    grid = np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e3, 1e5, 4), [1, 2, 4, 8, 16])
    p, d, v = (x.ravel() for x in grid)
    y = 0.05 + 20 * p**-0.35 + 3 * d**-0.4 + 0.2 * v**-0.6
    axes = {"params": p, "examples": d, "votes": v}
    fit = fit_power_sum(axes, y * np.exp(rng.normal(0, 0.02, y.size)), resamples=200, seed=trial)
    yield "joint law: floor", holds(fit.floor, 0.05)
    for axis, truth in (("params", 0.35), ("examples", 0.4), ("votes", 0.6)):
        yield f"joint law: exponent of {axis}", holds(fit.exponent(axis), truth)
    log_p = (np.log(0.35 * 20 / (0.6 * 0.2)) + 0.6 * np.log(1e8)) / 0.95
    yield ("joint law: best size at size x votes = 1e8", holds(fit.split("params", "votes", 1e8)[0], np.exp(log_p)))


def prediction(rng: np.random.Generator, trial: int) -> Hits:
    """The prediction interval of the run of the largest compute, left out of the fit."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(5e7, 5e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = (E + A * n**-ALPHA + B * d**-BETA) * np.exp(rng.normal(0, 0.01, n.size))
    held = hold_out({"params": n, "tokens": d}, loss, n * d, resamples=200, seed=trial)
    yield "held-out point in its prediction interval", bool(held.inside[0])


def isoflop(rng: np.random.Generator, trial: int) -> Hits:
    """Parabolas of 9 sizes over a factor of 30 at 5 budgets, centred, 0.5 % noise."""
    c, n = isoflop_runs(np.geomspace(0.18, 5.5, 9))
    loss = E + A * n**-ALPHA + B * (c / 6 / n) ** -BETA
    loss = loss * np.exp(rng.normal(0, 0.005, c.size))
    fit = fit_isoflop(c, n, loss, resamples=400, seed=trial)
    yield "isoFLOP: a", holds(fit.a, BEST_POWER)
    yield "isoFLOP: best size at 1e22 FLOPs", holds(fit.at(1e22), best_size(1e22))


def isoflop_runs(spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute and sizes around the best at 5 budgets."""
    c = np.repeat(np.geomspace(1e18, 1e21, 5), len(spread))
    return c, best_size(1.0) * c**BEST_POWER * np.tile(spread, 5)


def envelope(rng: np.random.Generator, trial: int) -> Hits:
    """Curves of 16 sizes, each 0.5 % off as a whole, read at 30 budgets."""
    sizes, spent = np.geomspace(5e7, 2e10, 16), np.geomspace(1e17, 1e22, 60)
    off = np.exp(rng.normal(0, 0.005, 16))
    curves = [
        (n, spent, (E + A * n**-ALPHA + B * (spent / 6 / n) ** -BETA) * o) for n, o in zip(sizes, off, strict=True)
    ]
    fit = fit_envelope(curves, np.geomspace(1e18, 1e21, 30), resamples=400, seed=trial)
    yield "envelope: a", holds(fit.a, BEST_POWER)
    yield "envelope: best size at 1e22 FLOPs", holds(fit.at(1e22), best_size(1e22))


def power_law(rng: np.random.Generator, trial: int) -> Hits:
    """One axis: the design that the method was chosen on, then others; normal errors, or t with 4 degrees."""
    designs = (  # points, repetitions, range of x, c, a, b, standard deviation
        (9, 1, (1e5, 1e7), (1.0, 30, 0.3), 0.01),
        (6, 1, (1e5, 1e7), (1.0, 30, 0.3), 0.01),
        (15, 1, (1e5, 1e7), (1.0, 30, 0.3), 0.01),
        (5, 1, (1e5, 1e7), (1.0, 30, 0.3), 0.005),
        (3, 3, (1e5, 1e7), (1.0, 30, 0.3), 0.01),
        (9, 1, (1e5, 1e9), (0.3, 5, 0.15), 0.005),
        (6, 1, (1e2, 1e5), (0.02, 1, 0.4), 0.002),
    )
    for points, times, ends, (c, a, b), sd in designs:
        x = np.repeat(np.geomspace(*ends, points), times)
        fit = fit_power_law(x, c + a * x**-b + rng.normal(0, sd, x.size))
        name = f"power law, {points} x, {times} seeds, b = {b}, c = {c}"
        yield f"{name}: c", holds(fit.parameters["c"], c)
        yield f"{name}: b", holds(fit.parameters["b"], b)
    x = np.geomspace(1e5, 1e7, 9)
    fit = fit_power_law(x, 1.0 + 30 * x**-0.3 + 0.007 * rng.standard_t(4, 9))
    yield "power law, 9 x, heavy tails: c", holds(fit.parameters["c"], 1.0)
    yield "power law, 9 x, heavy tails: b", holds(fit.parameters["b"], 0.3)


def vote_curve_fit(rng: np.random.Generator, trial: int) -> Hits:
    """F1(N) = .9 - .25 / N up to 32 votes, from 300 items that differ in level and in gain."""
    ks, n = (1, 2, 4, 8, 16, 32), 300
    level = rng.beta(1.8, 0.2, (n, 1))
    correct = level - level * rng.uniform(0, 5 / 9, (n, 1)) / np.array(ks)
    draws = Resamples.of(range(n), seed=trial, resamples=400)
    labels = np.tile([-1, 0], n // 2)
    curve = VoteCurve(ks, labels, correct, (True,) * 6, 0.0, draws, np.zeros_like(correct))
    fit = fit_votes(ks, [curve.score(k).f1 for k in ks], curve.samples())
    yield "fit_votes: c", holds(fit.parameters["c"], 0.9)
    yield "fit_votes: b", holds(fit.parameters["b"], 1.0)


def vote_law(rng: np.random.Generator, trial: int) -> Hits:
    """200 items with rates Beta(1.2, .6), 16 votes each."""
    from scipy.special import betainc, betaln

    right = rng.binomial(16, rng.beta(1.2, 0.6, 200))
    fit = fit_vote_law(right, np.full(200, 16), resamples=400, seed=trial)
    yield "vote law: a", holds(fit.a, 1.2)
    yield "vote law: b", holds(fit.b, 0.6)
    yield "vote law: limit of the majority", holds(fit.limit, 1 - betainc(1.2, 0.6, 0.5))
    truth = 1 - np.exp(betaln(1.2, 0.6 + 1000) - betaln(1.2, 0.6))
    yield "vote law: pass@1000 from 16 votes", holds(fit.pass_at(1000), truth)


def adaptive(rng: np.random.Generator, trial: int) -> Hits:
    """Adaptive voting on 150 items of 3 steps and 16 votes; truth from 5 000 items."""
    found = _adaptive(rng, 150, trial)
    yield "adaptive N: votes saved", holds(found.saved, TRUTH["saved"])
    yield "adaptive N: change of F1", holds(found.change, TRUTH["change"])


def matched(rng: np.random.Generator, trial: int) -> Hits:
    """4 verified solutions against 12 of self-consistency on 150 problems; truth from 5 000."""
    found = _matched(rng, 150)
    ours, plain = found.accuracy[4, 2], found.accuracy[12, 0]
    gap = mean_difference(plain, ours, Resamples.of(range(150), seed=trial))
    yield "compute-matched gain", holds(gap, TRUTH["gain"])


def _adaptive(rng: np.random.Generator, n: int, seed: int):
    labels = np.where(rng.random(n) < 0.5, -1, rng.integers(0, 3, n))
    rate = rng.beta(6, 2, (n, 3))
    rate[np.flatnonzero(labels >= 0), labels[labels >= 0]] = rng.beta(2, 6, (labels >= 0).sum())
    votes = (rng.random((n, 3, 16)) < rate[..., None]).astype(float)
    return replay_adaptive(votes.tolist(), labels.tolist(), range(n), risk=0.05, seed=seed)


def _matched(rng: np.random.Generator, n: int):
    problems = []
    for rate in rng.beta(1, 1, n):
        right = rng.random(12) < rate
        votes = rng.random((12, 2)) < np.where(right, 0.8, 0.3)[:, None]
        wrong = rng.integers(0, 3, 12)
        problems.append(
            [
                VerifiedSolution("a" if r else f"b{w}", bool(r), tuple(map(float, v)))
                for r, w, v in zip(right, wrong, votes, strict=True)
            ]
        )
    return compute_matched(problems, [4, 12], [2], 1.0)


TRUTH: dict[str, float] = {}


def fill_truth(n: int = 5_000) -> None:
    """The truths that have no closed form, from many items."""
    rng = np.random.default_rng(12345)
    big = _adaptive(rng, n, 0)
    TRUTH["saved"], TRUTH["change"] = big.saved.value, big.change.value
    wide = _matched(rng, n)
    TRUTH["gain"] = float((wide.accuracy[4, 2] - wide.accuracy[12, 0]).mean())


ROWS: dict[str, Trial] = {
    f.__name__: f
    for f in (cluster_bootstrap, tests, seeds, chinchilla, projection, joint, prediction, isoflop)
    + (envelope, power_law, vote_curve_fit, vote_law, adaptive, matched)
} | coverage_scores.ROWS


def measure(name: str, sets: int, seed: int = 0) -> dict[str, float]:
    """Share of `sets` simulated data sets in which each interval of a row holds the truth."""
    if name in ("adaptive", "matched") and not TRUTH:
        fill_truth()
    hits: dict[str, list[bool]] = {}
    for trial in range(sets):
        for row, hit in ROWS[name](np.random.default_rng((seed, trial)), trial):
            hits.setdefault(row, []).append(bool(hit))
    return {row: sum(found) / len(found) for row, found in hits.items()}  # a bin may be empty


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals on simulated data.")
    parser.add_argument("rows", nargs="*", help=f"grid, or any of {', '.join(ROWS)}")
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="other simulated data")
    given = parser.parse_args()
    if given.rows != ["grid"] and (unknown := set(given.rows) - set(ROWS)):
        parser.error(f"unknown row {sorted(unknown)[0]}; rows are {', '.join(ROWS)}")
    if given.rows == ["grid"]:
        return coverage_grid.print_table(given.sets, given.seed)
    for name in given.rows or ROWS:
        start = time.perf_counter()
        for row, share in measure(name, given.sets, given.seed).items():
            mark = "" if 0.93 <= share <= 0.97 or "MDE" in row else "  outside 93-97 %"
            print(f"{row:58s} {share:6.1%}{mark}", flush=True)
        print(f"  {given.sets} data sets in {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
