"""The table on the terminal, and the same as JSON.

The JSON object (`SCHEMA` counts its versions; keys are only added within one):

    schema, benchmark, data, model, scorer, readout, mode, n, full, seed, identity
    n_asked               votes that were asked for; n is 1 where all of them would be the same
    missing_as            what a solution without a verdict counts: "wrong" or "excluded"
    missing_share         share of the solutions without a verdict at n votes: some step that it needs
                          was judged by none of them
    n_items, n_problems   solutions that are scored, and their different problems
    rejected              ["file:line: reason", ...] rows that could not be read
    notes                 ["file:line: what", ...] peculiarities of rows that are scored
    lost                  [{"id", "subset", "reason"}, ...] solutions without any judgement; they have
                          no verdict
    missing               solutions whose votes are not all stored (after --regrade): not counted
    rationales, generated_tokens, forced_tokens, none_share
    none                  {reason: count}, code {outcome: count}
    unread                {kind: count} of what stands where no verdict could be read
    quoted                control tokens spelled by problems, steps, outputs and rationales, which were
                          read as plain text
    seconds               of all attempts; the only number that differs from run to run
    overall               {measure: {"value", "low", "high"}} of all solutions with all n votes
    scores                [{"group", "k", "n_items", "n_error", "n_problems", "missing_share",
                          "step_missing_share" (of all labelled steps; null unless full), "measures": {name: {"value",
                          "low", "high"}}}, ...] for every group and every k from 1 to n; null where a number is
                          undefined. Names and groups are those of `jprm.experiments.benchmark.measures`.
    predictions           [{"id", "subset", "first_error", "predicted", "rewards"}, ...]: truth, first
                          error said by all n votes (0-based, -1 for none, null without a verdict), and
                          the mean reward of every step that counts (null: nobody judged it)
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jprm.evaluate import Interval, finite, interval_row, trivial_baselines
from jprm.experiments.benchmark.judged import Account, JudgedRow
from jprm.experiments.benchmark.measures import OVERALL, Score
from jprm.formats import benchmark
from jprm.jobs import write_atomic
from jprm.report import Column, Table, columns, print_table
from jprm.terminal import terminal
from jprm.verify import ONE_VOTE, first_error, mean_reward

SCHEMA = 1
GROUP = "solutions: group | n: n_items | no verdict: missing_share% | "
OF_STEPS = columns(
    GROUP + "PRM-Score: prm_score*% | F1 of right: step_f1*% | F1 of flawed: step_negative_f1*% | "
    "first error acc: error_acc*% | AUC: step_auc*%"
)
COLUMNS = {  # of the table by benchmark; those that no row has are left out
    "processbench": columns(
        GROUP + "error acc: error_acc*% | correct acc: correct_acc*% | F1: f1*% | mean F1: average_f1*% | "
        "binary F1: solution_negative_f1*%"
    ),
    "prmbench": OF_STEPS,
    "socratic-prmbench": OF_STEPS,
    "mr-math": columns(
        GROUP + "step macro F1: step_macro_f1*% | step AUC: step_auc*% | solution macro F1: solution_macro_f1*% | "
        "solution AUC: solution_auc*%"
    ),
}
CURVES = ("f1", "average_f1", "prm_score", "step_macro_f1")
MOST_SHOWN = 10


@dataclass(frozen=True)
class Result:
    """All that is reported of an evaluation.

    about: the keys of the JSON object below `schema`, such as `benchmark` and `n`. solutions: each with its rewards and
    rationales. scores: of every group of solutions at every number of votes. account: what the rationales cost.
    rejected, notes: "file:line: what" of rows. missing: how many solutions lack votes. seconds: of all attempts.
    """

    about: Mapping[str, Any]
    solutions: Sequence[JudgedRow]
    scores: Sequence[Score]
    account: Account
    rejected: Sequence[str]
    notes: Sequence[str]
    missing: int
    seconds: float

    @property
    def lost(self) -> list[JudgedRow]:
        """Solutions that have no judgement."""
        return [solution for solution in self.solutions if solution.lost]

    @property
    def complete(self) -> bool:
        """Whether every row of the file is judged."""
        return not (self.rejected or self.lost or self.missing)

    @property
    def overall(self) -> Score:
        """The numbers of all solutions with all votes: `overall.measures["f1"]` is an interval."""
        wanted = OVERALL, self.about["n"]
        [score] = [score for score in self.scores if (score.group, score.k) == wanted]
        return score

    def to_json(self) -> dict[str, Any]:
        """The JSON object described at the top of this file."""
        account = asdict(self.account)
        return dict(self.about) | {
            "schema": SCHEMA,
            "n_items": len(self.solutions),
            "n_problems": len({s.item.problem.id for s in self.solutions}),
            "rejected": list(self.rejected),
            "notes": list(self.notes),
            "lost": [{**_row(s), "reason": s.lost} for s in self.lost],
            "missing": self.missing,
            **account,
            "none_share": finite(self.account.none_share),
            "seconds": self.seconds,
            "missing_share": self.overall.missing_share,
            "overall": _score(self.overall)["measures"],
            "scores": [_score(score) for score in self.scores],
            "predictions": [_prediction(solution) for solution in self.solutions],
        }


def write_json(path: Path, result: Result) -> None:
    """Writes the JSON object described above. Raises UserError where it cannot."""
    write_atomic(path, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n")


def _row(solution: JudgedRow) -> dict[str, Any]:
    return {"id": solution.item.name, "subset": solution.item.truth.subset}


def _score(score: Score) -> dict[str, Any]:
    numbers = {name: _interval(found) for name, found in score.measures.items()}
    return asdict(score) | {"measures": numbers}


def _interval(found: Interval) -> dict[str, float | None]:
    return {name: finite(value) for name, value in asdict(found).items()}


def _prediction(solution: JudgedRow) -> dict[str, Any]:
    truth = {**_row(solution), "first_error": solution.item.truth.first_error}
    if solution.rewards is None:
        return truth | {"predicted": None, "rewards": None}
    means = [mean_reward([None if math.isnan(r) else float(r) for r in step]) for step in solution.rewards]
    return truth | {"predicted": first_error(means), "rewards": means}


def print_result(result: Result, console: Console | None = None) -> None:
    """Prints the table for people."""
    console = console or terminal(soft_wrap=True)
    about, account, n = result.about, result.account, result.about["n"]
    if last := [score for score in result.scores if score.k == n]:
        print_table(score_table(last, about["benchmark"], f"{about['benchmark']}, {n} votes"), console)
        if n > 1:
            console.print("\n".join(_curves(result.scores, n, columns_of(about["benchmark"]))))
        if benchmark[about["benchmark"]].first_error_only:
            console.print(f"overall F1 of predictors that read nothing: {_trivial(result.solutions)}")
    console.print(
        f"{len(result.solutions)} solutions, {account.rationales} rationales, "
        f"{account.generated_tokens} tokens generated and {account.forced_tokens} forced, "
        f"{result.seconds:.1f} s"
    )
    if n < about["n_asked"]:
        console.print(f"{n} vote instead of {about['n_asked']}: {ONE_VOTE}")
    console.print(_missing(result))
    console.print(f"rationales without a verdict: {100 * account.none_share:.1f} %{_counts(account.none)}")
    if account.unread:
        console.print(f"in the place of a verdict{_counts(account.unread)}")
    if account.quoted:
        console.print(
            f"control tokens spelled by texts of others: {account.quoted}, read as plain text "
            "(quirks.reference=true makes tokens of them)"
        )
    if account.code:
        console.print(f"code{_counts(account.code)}")
    _print_some(console, "rows rejected", result.rejected)
    _print_some(console, "rows with a peculiarity, scored all the same", result.notes)
    lost = [f"{s.item.name}: {s.lost}" for s in result.lost]
    _print_some(console, "solutions lost: they have no verdict", lost)
    if result.missing:
        console.print(
            f"{result.missing} solutions are not in this table: their votes are not all "
            "stored; the same command without --regrade samples them"
        )


def score_table(scores: Sequence[Score], layout: str, title: str) -> Table:
    """A row for every group of solutions, with the measures of the benchmark that there are."""
    rows = []
    for score in scores:
        row: dict[str, Any] = {"group": score.group, "n_items": score.n_items, "missing_share": score.missing_share}
        for name, found in score.measures.items():
            row |= interval_row(name, found)
        rows.append(row)
    return Table(title, [column for column in columns_of(layout) if any(column.key in row for row in rows)], rows)


def columns_of(layout: str) -> tuple[Column, ...]:
    """The columns of a benchmark's table; a user's layout has those of the published one that asks for the same."""
    return COLUMNS.get(layout) or COLUMNS["processbench" if benchmark[layout].first_error_only else "prmbench"]


def _curves(scores: Sequence[Score], n: int, shown: Sequence[Column]) -> list[str]:
    """A line for each of `CURVES` that the benchmark shows: the measure at powers of two up to n votes."""
    ks = sorted({*(2**e for e in range(n.bit_length()) if 2**e <= n), n})
    lines = []
    for column in (column for column in shown if column.key in CURVES):
        by_k = {s.k: s.measures[column.key] for s in scores if s.group == OVERALL and column.key in s.measures}
        if by_k:
            points = (" ".join(filter(None, column.shown(interval_row(column.key, by_k[k])))) or "-" for k in ks)
            said = ", ".join(f"{point} at {k}" for point, k in zip(points, ks, strict=True))
            lines.append(f"overall {column.heading} by votes: {said}")
    return lines


def _missing(result: Result) -> str:
    """How many solutions have no verdict, and what becomes of them."""
    score = result.overall
    silent = round(score.missing_share * score.n_items)
    counts = "counted as wrong" if result.about["missing_as"] == "wrong" else "left out"
    text = f"without a verdict: {silent} of {score.n_items} solutions, {counts}"
    if score.step_missing_share is not None:
        text += f"; of the labelled steps {100 * score.step_missing_share:.1f} %"
    return text


def _trivial(solutions: Sequence[JudgedRow]) -> str:
    truths = [solution.item.truth for solution in solutions]
    labels = [-1 if t.first_error is None else t.first_error for t in truths]
    found = trivial_baselines(labels, [len(t.steps) for t in truths])
    percents = {name: "-" if math.isnan(score.f1) else f"{100 * score.f1:.1f}" for name, score in found.items()}
    return ", ".join(f"{name} {percent}" for name, percent in percents.items())


def _counts(counts: Mapping[str, int]) -> str:
    return ": " + ", ".join(f"{name} {count}" for name, count in counts.items()) if counts else ""


def _print_some(console: Console, what: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(f"{len(lines)} {what}", style="bold")
    for line in lines[:MOST_SHOWN]:
        console.print(f"  {line}")
    if len(lines) > MOST_SHOWN:
        console.print(f"  and {len(lines) - MOST_SHOWN} more (all of them are in --json FILE)")
