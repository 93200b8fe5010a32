"""What a gate before the critic keeps of its gain, and at what part of its rewritings.

Of two gains: `accuracy`, the mean over a problem's solutions, which every call may raise, and `chosen`, the solution
that best-of-N hands out, which a call for a problem that is solved already cannot. All gates are read off the rows of
the critic without one: they only end its turns earlier (`jprm.search.behind`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.evaluate import Resamples, interval_row, ratio_interval, share_interval
from jprm.experiments.applications.refined import calls_of, pool_accuracy
from jprm.search import Choosing, Gate, correctness, fit_gate, open_turns

Rows = Sequence[dict[str, Any]]
METRICS = ("accuracy", "chosen")
ENOUGH = 0.9  # of the gain
NO_CONFIDENCE = 2.0  # above every agreement
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, NO_CONFIDENCE)
BELOW = tuple(round(-2 + 0.2 * i, 1) for i in range(21))  # standardised scores


def family(dev: Rows) -> list[Gate]:
    """The paper's gate, then all that may be chosen; their scale is that of development problems."""
    paper = fit_gate(dev)
    return [paper] + [
        dataclasses.replace(paper, whose=whose, confidence=confidence, below=below)
        for whose in ("majority", "best")
        for confidence in CONFIDENCES
        for below in BELOW
    ]


def gate_rows(rows: Rows, dev: Rows) -> list[dict[str, Any]]:
    """The paper's gate, the one chosen for each metric, and a curve of simple ones, on `rows`.

    Chosen is the gate with the fewest calls among those that keep nine tenths of the gain on the
    development problems `dev`. The curve ("gate_curve") has the gates without a condition on the
    votes. Where no scale can be fitted there is one row that says why.
    """
    try:
        gates = family(dev)
    except UserError as error:
        return [{"figure": "gate", "gate": f"none ({error})", "metric": ""}]
    resamples = Resamples.of([row["problem_id"] for row in rows])
    test, chosen_on, made = Turns.of(rows), Turns.of(dev), []
    for metric in METRICS:
        chosen = choose(chosen_on, gates, metric)
        named = [("gate", "paper", gates[0]), ("gate", "chosen on dev", chosen)]
        open_to_votes = [gate for gate in gates[1:] if gate.confidence == NO_CONFIDENCE]
        named += [("gate_curve", f"{gate.whose} below", gate) for gate in open_to_votes]
        for figure, name, gate in named:
            gains, calls = test.behind(gate, metric)
            row = {"figure": figure, "gate": name, "metric": metric, "whose": gate.whose}
            row |= {"below": gate.below, "confidence": gate.confidence, "n_problems": len(rows)}
            row |= interval_row("kept", ratio_interval(*gains, resamples))
            made.append(row | interval_row("calls", share_interval(*calls, resamples)))
    return made


def choose(dev: Turns, gates: Sequence[Gate], metric: str) -> Gate:
    """The gate with the fewest calls that keeps enough of the gain; the first where none does."""
    best, fewest = gates[0], np.inf
    for gate in gates:
        (mine, every), (calls, _) = dev.behind(gate, metric)
        if mine.mean() >= ENOUGH * every.mean() and calls.mean() < fewest:
            best, fewest = gate, calls.mean()
    return best


Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Turns:
    """A critic's rows without a gate: by turn [P, T + 1], each metric and the calls until then."""

    rows: Rows
    metrics: dict[str, np.ndarray]
    calls: np.ndarray

    @classmethod
    def of(cls, rows: Rows) -> Turns:
        """From the rows of problems that all had as many turns, or were lost."""
        turns = range(len(max((row["pools"] for row in rows), key=len, default=[])))
        accuracy = [pool_accuracy(rows, turn) for turn in turns]
        chosen = [correctness(rows, Choosing(pool=turn)) for turn in turns]
        metrics = {"accuracy": np.stack(accuracy, axis=1), "chosen": np.stack(chosen, axis=1)}
        return cls(rows, metrics, np.stack([calls_of(rows, turn) for turn in turns], axis=1))

    def behind(self, gate: Gate, metric: str) -> tuple[Pair, Pair]:
        """(gain behind the gate, without it), (calls behind it, without it), each [P]."""
        at = np.arange(len(self.rows))
        last = np.array([open_turns(row, gate) for row in self.rows])
        value = self.metrics[metric]
        return ((value[at, last] - value[:, 0], value[:, -1] - value[:, 0]), (self.calls[at, last], self.calls[:, -1]))
