"""From stored votes to numbers: a vote curve per cell, the rows of `results.jsonl`, paired comparisons, best-of-N."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jprm.evaluate import BestOfN, Candidate, Interval, VoteCurve, best_of_n, finite
from jprm.grade import united
from jprm.pipeline.benchmark import Item, load_items
from jprm.pipeline.cells import Cell, code_mode
from jprm.pipeline.curves import curve_of
from jprm.pipeline.lab import Failure, Lab
from jprm.pipeline.votes import Votes, load_rationales
from jprm.records import Rationale
from jprm.scaling import Fit
from jprm.search import aggregate
from jprm.verify import ONE_VOTE, mean_reward

MISSING_AS = {"wrong": "counted as wrong", "excluded": "left out"}  # solutions without a verdict
Rewards = list[list[float | None]]  # [steps][votes]


@dataclass(frozen=True)
class Measured:
    """A finished cell: its curve over votes and what it cost, and the laboratory of its configuration."""

    cell: Cell
    lab: Lab
    curve: VoteCurve
    rows: tuple[dict[str, Any], ...]
    fit: Fit


def measure(lab: Lab, cell: Cell) -> Measured:
    """The numbers of a cell whose votes are finished; `lab` is seen under the cell's configuration."""
    curve = curve_of(lab, cell.votes)
    return Measured(cell, lab, curve.votes, tuple(_rows(lab, cell, curve.points)), curve.fit)


def rewards_of(rationales: list[Rationale], n_votes: int, readout: str) -> Rewards:
    """Rewards [steps][votes] of one solution; None where a vote gave none. Ends where all votes said No."""
    judged = 1 + max(rationale.step for rationale in rationales)
    table: Rewards = [[None] * n_votes for _ in range(judged)]
    for rationale in rationales:
        table[rationale.step][rationale.vote] = rationale.verdict.reward(readout)  # type: ignore[arg-type]
    return table


def best_of_candidates(lab: Lab, candidates: Cell | None) -> BestOfN | None:
    """Choosing among the policy's samples, where the votes on them are finished."""
    if candidates is None:
        return None
    view = lab.at(candidates.config)
    return measure_best_of_n(view, candidates.votes) if view.stage(candidates.votes).done else None


def measure_best_of_n(lab: Lab, votes: Votes) -> BestOfN:
    """Choosing among the policy's samples: with the verifier's score (least step reward), by majority, by luck."""
    items = {item.solution.id: item for item in load_items(lab.stage(votes.benchmark))}
    rationales = load_rationales(lab.stage(votes))
    problems, ids = [], []
    for drawn in lab.stage(votes.benchmark).summary["drawn"]:
        problems.append([_candidate(lab, votes, items.get(s), rationales) for s in drawn["solutions"]])
        ids.append(drawn["problem_id"])
    ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= lab.config.evaluate.candidates]
    missing = lab.config.evaluate.missing
    return best_of_n(united(problems), ks, problem_ids=ids, seed=0, missing=missing)


def _candidate(lab: Lab, votes: Votes, item: Item | None, rationales: dict[str, list[Rationale]]) -> Candidate:
    if item is None:  # a sample without the form of a solution has no answer and is not judged
        return Candidate(None, False, None)
    table = rewards_of(rationales[item.solution.id], votes.n_votes, lab.config.verify.readout)
    score = aggregate([mean_reward(step) for step in table], "min")
    return Candidate(lab.world.answer(item.solution.steps), bool(item.correct_answer), score)


def _rows(lab: Lab, cell: Cell, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from jprm.models import decode_flops

    votes = cell.votes
    verifier = votes.verifier
    trained, sampled = lab.stage(verifier).summary, lab.stage(votes).summary
    generated = sampled["generated_tokens"] + sampled["forced_tokens"]
    context = lab.config.verify.context_tokens // 2
    flops = decode_flops(lab.model_config(verifier.size), context, 1) * generated
    rows = []
    votes_shown = {*map(lab.config.verify.draws, lab.config.evaluate.votes_shown)}
    for point in points:
        if point["n_votes"] not in votes_shown:
            continue
        share = point["n_votes"] / votes.n_votes
        rows.append(
            {
                "cell": cell.name,
                "variant": cell.variant,
                "benchmark": votes.benchmark.name,
                "model": verifier.size,
                "model_params": trained["params"],
                "train_examples": verifier.examples,
                "train_examples_kept": trained["filter"]["kept"],
                "n_votes": point["n_votes"],
                "mode": votes.mode,
                "style": verifier.style,
                "code": code_mode(verifier.style, votes.execution),
                "labels": verifier.labels,
                "filtered": verifier.filtered,
                "f1": finite(point["f1"]),
                "f1_low": finite(point["f1_low"]),
                "f1_high": finite(point["f1_high"]),
                "error_acc": finite(point["error_acc"]),
                "correct_acc": finite(point["correct_acc"]),
                "n_items": point["n_items"],
                "none_share": sampled["none"] / max(1, sampled["rationales"]),
                "missing_share": point["missing_share"],
                "missing_as": point["missing_as"],
                "tokens": round(generated * share),
                "flops": flops * share,
                "train_flops": trained["flops"],
                "train_loss": trained["loss"],
                "held_out_loss": trained["held_out_loss"],
                "seconds": round(lab.stage(votes).seconds * share, 3),
                "seed": verifier.seed,
                **dict(cell.values),
            }
        )
    return rows


def one_vote_note(measured: Sequence[Measured]) -> str:
    """Why cells have one vote where more were asked for; "" where none was cut."""
    greedy = [m for m in measured if m.cell.config.verify.n_votes > m.cell.votes.n_votes]
    return f"verify.temperature = 0: {ONE_VOTE}" if greedy else ""


def failed_row(cell: Cell, failure: Failure) -> dict[str, Any]:
    """What is known of a cell without a result: what it is, and why."""
    votes = cell.votes
    verifier = votes.verifier
    return {
        "status": failure.status,
        "reason": failure.reason,
        "cell": cell.name,
        "variant": cell.variant,
        "benchmark": votes.benchmark.name,
        "model": verifier.size,
        "train_examples": verifier.examples,
        "n_votes": votes.n_votes,
        "mode": votes.mode,
        "style": verifier.style,
        "code": code_mode(verifier.style, votes.execution),
        "labels": verifier.labels,
        "filtered": verifier.filtered,
        "f1": None,
        "seed": verifier.seed,
        **dict(cell.values),
    }


def f1_of(row: dict[str, Any]) -> str:
    """The F1 of a row with its interval, for readers; "n/a" of a benchmark with one class."""
    if row["f1"] is None:
        return "n/a"
    ends = [math.nan if row[f"f1_{end}"] is None else row[f"f1_{end}"] for end in ("low", "high")]
    return str(Interval(row["f1"], *ends))
