"""The same compute, spent otherwise: votes that stop early, and solutions against verifications.

Both are read off votes that are stored already; nothing is sampled.
"""

from dataclasses import dataclass

import numpy as np

from jprm.evaluate import AdaptiveVoting, ComputeMatched, Matched, VerifiedSolution, compute_matched, replay_adaptive
from jprm.experiments.sweep.cells import Cell
from jprm.experiments.sweep.table import Measured
from jprm.grade import united
from jprm.jobs import Stages
from jprm.tasks.benchmark import Benchmark, load_items, load_known
from jprm.tasks.settings import VoteMode
from jprm.tasks.vote_store import RATIONALES, stream_rewards
from jprm.tasks.votes import Votes
from jprm.ties import below
from jprm.verify import first_error

RISKS = (0.0, 0.05)


@dataclass(frozen=True)
class Stopped:
    """Adaptive voting of a main cell at one risk."""

    benchmark: str
    seed: int
    mode: VoteMode  # a chain can only be stopped whole: there the saving is an upper bound
    result: AdaptiveVoting


@dataclass(frozen=True)
class Spent:
    """Self-consistency and the verifier at equal compute; budgets in units of one solution.

    `solution_tokens`, `verification_tokens` are means per solution and per vote on one, forced ones included.
    """

    table: ComputeMatched
    frontier: tuple[Matched, ...]
    solution_tokens: float
    verification_tokens: float

    @property
    def verdict(self) -> str:
        """Which of the two is better at which budget, in a sentence."""
        paid = [at for at in self.frontier if at.gain is not None]
        kinds = {
            "self-consistency beats the verifier": [at for at in paid if at.gain and at.gain.high < 0],
            "the verifier beats self-consistency": [at for at in paid if at.gain and at.gain.low > 0],
        }
        told = [f"{who} at {', '.join(f'{at.budget:g}' for at in at_)}" for who, at_ in kinds.items() if at_]
        if not paid:
            return "At equal compute, no budget pays for a verification."
        if not told:
            told = [f"self-consistency and the verifier are not told apart at up to {paid[-1].budget:g}"]
        last = f"at {paid[-1].budget:g} the verifier gains {format(paid[-1].gain, '+.3f')}"
        return f"At equal compute, {' and '.join(told)} solutions' worth; {last}."


def stopped_early(main: Measured) -> list[Stopped]:
    """What stopping early would have saved a cell, at each risk.

    A vote is for a step where its reward is at least 1/2. With the read-out "vote" that is its verdict; with the
    others the verdict that it thinks the likelier, which is also what ended the judging of a solution.
    """
    votes, stages = main.cell.votes, main.stages
    items, labels = load_known(stages[votes.benchmark])
    tables = _votes_for(stages, votes)
    return [
        Stopped(
            *main.cell.set_key,
            main.cell.sampling.mode,
            replay_adaptive(
                [tables[item.solution.id] for item in items],
                labels,
                [item.problem.id for item in items],
                risk=risk,
                missing=main.cell.config.evaluate.missing,
            ),
        )
        for risk in RISKS
    ]


def candidates_at_equal_compute(stages: Stages, candidates: Cell | None) -> Spent | None:
    """The candidates' votes read as S solutions with V verifications each; None where they are not finished.

    The ratio is that of the tokens, times that of the parameters where policy and verifier differ in size. Budgets go
    up to the stored solutions, since beyond them self-consistency could not spend its share.
    """
    if candidates is None or not stages[candidates.votes].done:
        return None
    votes, verifier = candidates.votes, candidates.verifier
    benchmark, world = votes.benchmark, verifier.world
    assert isinstance(benchmark, Benchmark) and benchmark.policy
    sampled, items = stages[votes].summary, {i.solution.id: i for i in load_items(stages[benchmark])}
    tables, silent = _votes_for(stages, votes), (None,) * votes.n_votes
    if not tables:
        return None
    found = {
        name: VerifiedSolution(
            world.world.answer(items[name].solution.steps), bool(items[name].correct_answer), whole(table)
        )
        for name, table in tables.items()
    }
    formless = VerifiedSolution(None, False, silent)  # no answer, and nothing was judged
    drawn = stages[benchmark].summary["drawn"]
    problems = [[found.get(name, formless) for name in row["solutions"]] for row in drawn]
    texts = ["".join(items[name].solution.steps) for name in tables]
    solution = sum(len(benchmark.policy.model.tokenizer.encode(text)) for text in texts) / len(texts)
    written = sampled["generated_tokens"] + sampled["forced_tokens"]
    verification = written / (len(tables) * votes.n_votes)
    larger = stages[verifier].summary["params"] / stages[benchmark.policy.model].summary["params"]
    budgets = range(1, 1 + min(map(len, problems)))
    table = compute_matched(
        united(problems),
        budgets,
        range(1, 1 + votes.n_votes),
        verification / solution * larger,
        problem_ids=[row["problem_id"] for row in drawn],
        missing=candidates.config.evaluate.missing,
    )
    return Spent(table, tuple(table.frontier(budgets)), solution, verification)


def whole(table: np.ndarray) -> tuple[float | None, ...]:
    """What each vote says of a solution, from votes [steps, V]: 1 where it accepts every step, 0 where it rejects one
    before the first that it did not judge, else None."""
    verdicts = (first_error([None if np.isnan(vote) else vote for vote in column]) for column in table.T)
    return tuple(None if verdict is None else float(verdict < 0) for verdict in verdicts)


def _votes_for(stages: Stages, votes: Votes) -> dict[str, np.ndarray]:
    """Votes of 1 and 0 [steps, votes] by solution, nan where one gave none."""
    path = stages[votes].file(RATIONALES)
    return {
        name: np.where(np.isnan(table), np.nan, ~below(table, 0.5))
        for name, table in stream_rewards(path, votes.n_votes, votes.sampling.readout)
    }
