"""From stored votes to numbers: a vote curve per cell, the rows of `results.jsonl`, paired comparisons, best-of-N."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jprm.evaluate import (
    BestOfNAccuracy,
    Missing,
    ScoredCandidate,
    VoteCurve,
    best_of_n,
    finite,
    interval_of,
    interval_row,
)
from jprm.experiments.sweep.cells import Cell
from jprm.experiments.sweep.curves import curve_of
from jprm.grade import united
from jprm.jobs import Failure, Stages
from jprm.scaling import Fit
from jprm.search import aggregate
from jprm.tasks.benchmark import Item, load_items
from jprm.tasks.vote_store import step_rewards
from jprm.tasks.votes import load_rationales
from jprm.verify import ONE_VOTE
from jprm.worlds.base import World

MISSING_AS = {"wrong": "counted as wrong", "excluded": "left out"}  # solutions without a verdict


@dataclass(frozen=True)
class Measured:
    """A finished cell: its curve over votes, what it cost, and the stages from which this was read."""

    cell: Cell
    stages: Stages
    curve: VoteCurve
    rows: tuple[dict[str, Any], ...]
    fit: Fit


def measure(stages: Stages, cell: Cell) -> Measured:
    """The numbers of a cell whose votes are finished."""
    curve = curve_of(stages, cell.votes, cell.config.evaluate.missing)
    return Measured(cell, stages, curve.votes, tuple(_rows(stages, cell, curve.points)), curve.fit)


# Ways to choose among solutions: their names for readers, and in `jprm.evaluate.best_of_n`.
METHODS = {"pass@k": "pass", "verifier": "best", "weighted vote": "weighted", "majority": "majority"}


def best_of_candidates(stages: Stages, candidates: Cell) -> BestOfNAccuracy | None:
    """Choosing among the policy's samples with the verifier's score (the least step reward), by majority, by luck.

    None where the votes on the samples are not finished.
    """
    if not stages[candidates.votes].done:
        return None
    votes, evaluate = candidates.votes, candidates.config.evaluate
    world, readout = candidates.verifier.world.world, votes.sampling.readout
    items = {item.solution.id: item for item in load_items(stages[votes.benchmark])}
    rationales = load_rationales(stages[votes])

    def score(solution: str) -> float | None:
        return aggregate(step_rewards(rationales[solution], votes.n_votes, readout), "min")

    drawn = [(row["problem_id"], row["solutions"]) for row in stages[votes.benchmark].summary["drawn"]]
    ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= evaluate.candidates]
    return best_by(score, items, drawn, world, ks, evaluate.missing)


def best_by(
    score: Callable[[str], float | None],
    items: Mapping[str, Item],
    drawn: Sequence[tuple[str, Sequence[str]]],
    world: World,
    ks: Sequence[int],
    missing: Missing,
) -> BestOfNAccuracy:
    """Accuracy of the candidate with the highest score among k of those that were drawn for a problem.

    score: of a solution id. items: the candidates that have the form of a solution, by id; others have no answer and no
    score. drawn: a problem id and the ids of its candidates; equal texts have one id.
    """

    def candidate(solution: str) -> ScoredCandidate:
        if (item := items.get(solution)) is None:
            return ScoredCandidate(None, False, None)
        return ScoredCandidate(world.answer(item.solution.steps), bool(item.correct_answer), score(solution))

    problems = [[candidate(solution) for solution in solutions] for _, solutions in drawn]
    return best_of_n(united(problems), ks, problem_ids=[problem for problem, _ in drawn], seed=0, missing=missing)


def best_of_n_rows(choosing: Sequence[tuple[Cell, BestOfNAccuracy]]) -> list[dict[str, Any]]:
    """A row per cell and number of candidates: the accuracy of each way to choose, and the gain over the majority."""
    rows = []
    for cell, best in choosing:
        for k in best.ks:
            row = _names(cell) | {"n_votes": cell.votes.n_votes, "candidates": k}
            row |= {"missing_share": best.missing_share("best", k), "missing_as": best.missing_as}
            for method in METHODS.values():
                row |= interval_row(method, best.interval(method, k))
            rows.append(row | interval_row("gain", best.gain("best", "majority", k)))
    return rows


def _names(cell: Cell) -> dict[str, Any]:
    """The columns that say which cell a row is of."""
    sampling, verifier = cell.sampling, cell.verifier
    return {
        "cell": cell.name,
        "variant": cell.variant,
        "benchmark": cell.votes.benchmark.name,
        "model": verifier.size,
        "train_examples": verifier.examples,
        "mode": sampling.mode,
        "style": verifier.style,
        "code": sampling.execution,
        "labels": verifier.rule,
        "filtered": verifier.filtered,
        "seed": verifier.seed,
        **dict(cell.values),
    }


def _rows(stages: Stages, cell: Cell, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from jprm.models import decode_flops

    votes, verifier, config = cell.votes, cell.verifier, cell.config
    trained, sampled = stages[verifier].summary, stages[votes].summary
    generated = sampled["generated_tokens"] + sampled["forced_tokens"]
    context = config.verify.context_tokens // 2
    flops = decode_flops(verifier.base.config, context, 1) * generated
    rows = []
    votes_shown = {*map(config.verify.draws, config.votes_shown)}
    for point in points:
        if point["n_votes"] not in votes_shown:
            continue
        share = point["n_votes"] / votes.n_votes
        rows.append(
            _names(cell)
            | {"model_params": trained["params"], "train_examples_kept": trained["filter"]["kept"]}
            | {"n_votes": point["n_votes"]}
            | {name: finite(point[name]) for name in ("f1", "f1_low", "f1_high", "error_acc", "correct_acc")}
            | {
                "n_items": point["n_items"],
                "none_share": sampled["none"] / max(1, sampled["rationales"]),
                "missing_share": point["missing_share"],
                "missing_as": point["missing_as"],
                "tokens": round(generated * share),
                "flops": flops * share,
                "train_flops": trained["flops"],
                "train_loss": trained["loss"],
                "held_out_loss": trained["held_out_loss"],
                "seconds": round(stages[votes].seconds * share, 3),
            }
        )
    return rows


def one_vote_note(measured: Sequence[Measured]) -> str:
    """Why cells have one vote where more were asked for; "" where none was cut."""
    greedy = [m for m in measured if m.cell.config.verify.n_votes > m.cell.votes.n_votes]
    return f"verify.temperature = 0: {ONE_VOTE}" if greedy else ""


def failed_row(cell: Cell, failure: Failure) -> dict[str, Any]:
    """What is known of a cell without a result: which cell it is, and why."""
    reason = {"status": failure.status, "reason": failure.reason}
    return reason | _names(cell) | {"n_votes": cell.votes.n_votes, "f1": None}


def f1_of(row: dict[str, Any]) -> str:
    """The F1 of a row with its interval, for readers; "n/a" of a benchmark with one class."""
    found = interval_of(row, "f1")
    return "n/a" if found is None else str(found)
