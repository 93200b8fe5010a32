"""The same compute, spent otherwise: votes that stop early, and solutions against verifications.

Both are read off votes that are stored already; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jprm.pipeline.benchmark import load_items
from jprm.pipeline.lab import Lab
from jprm.pipeline.policy import policy_base
from jprm.pipeline.table import Measured, Rewards, rewards_of
from jprm.pipeline.votes import Votes, load_rationales
from jprm.scaling import (
    AdaptiveVoting,
    ComputeMatched,
    Matched,
    VerifiedSolution,
    compute_matched,
    replay_adaptive,
)

RISKS = (0.0, 0.05)


@dataclass(frozen=True)
class Stopped:
    """Adaptive voting of a main cell at one risk."""

    cell: str
    benchmark: str
    seed: int
    chain: bool  # its votes can only be stopped whole: the saving is an upper bound
    result: AdaptiveVoting

    def __str__(self) -> str:
        saved, change = self.result.saved, self.result.change
        most = "at most " if self.chain else ""
        return (
            f"adaptive votes on {self.benchmark} (seed {self.seed}), risk {self.result.risk:g}: {most}"
            f"{saved.value:.0%} [{saved.low:.0%}, {saved.high:.0%}] of {self.result.n_max} votes saved, "
            f"F1 {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
        )


@dataclass(frozen=True)
class Spent:
    """Self-consistency and the verifier at equal compute; budgets in units of one solution.

    `solution_tokens`, `verification_tokens` are means per solution and per vote on one, forced ones included.
    """

    table: ComputeMatched
    frontier: tuple[Matched, ...]
    solution_tokens: float
    verification_tokens: float

    def lines(self) -> list[str]:
        """The ratio, and the gain at each budget that pays for a verification."""
        lines = [
            f"a verification costs {self.table.ratio:.2f} solutions ({self.verification_tokens:.0f} tokens "
            f"against {self.solution_tokens:.0f})"
        ]
        for at in self.frontier:
            if at.verifier is None or at.gain is None:
                lines.append(f"compute of {at.budget:g} solutions: pays for no verification")
                continue
            lines.append(
                f"compute of {at.budget:g} solutions: self-consistency {at.self_consistency}, verifier {at.verifier}, "
                f"gain {at.gain.value:+.3f} [{at.gain.low:+.3f}, {at.gain.high:+.3f}]"
            )
        return lines


def stopped_early(lab: Lab, main: Measured) -> list[Stopped]:
    """What stopping early would have saved a cell, at each risk.

    A vote is for a step where its reward is at least 1/2. With the read-out "vote" that is its verdict; with the
    others it is the verdict which it thinks the likelier, and the one by which a solution's last step was chosen.
    """
    votes = main.cell.votes
    items = [
        item
        for item in load_items(lab.stage(votes.benchmark))
        if item.solution.first_error is not None
    ]
    rationales = load_rationales(lab.stage(votes))
    readout = lab.config.verify.readout
    tables = [
        rounded(rewards_of(rationales[item.solution.id], votes.n_votes, readout)) for item in items
    ]
    labels = [item.solution.first_error for item in items]
    ids = [item.problem.id for item in items]
    return [
        Stopped(
            main.cell.name,
            votes.benchmark.name,
            votes.benchmark.seed,
            votes.mode == "chain",
            replay_adaptive(tables, labels, ids, risk=risk),  # type: ignore[arg-type]
        )
        for risk in RISKS
    ]


def solutions_or_votes(lab: Lab, votes: Votes) -> Spent | None:
    """The candidates' votes read as S solutions with V verifications each; None where no solution was judged.

    The ratio is that of the tokens, times that of the parameters where policy and verifier differ in size. Budgets go
    up to the stored solutions, since beyond them self-consistency could not spend its share.
    """
    items = {item.solution.id: item for item in load_items(lab.stage(votes.benchmark))}
    rationales = load_rationales(lab.stage(votes))
    if not rationales:
        return None
    readout, silent = lab.config.verify.readout, (None,) * votes.n_votes
    problems, ids = [], []
    for drawn in lab.stage(votes.benchmark).summary["drawn"]:
        solutions = []
        for name in drawn["solutions"]:
            if name not in items:  # without the form of a solution: no answer, nothing judged
                solutions.append(VerifiedSolution(None, False, silent))
                continue
            item, table = items[name], rewards_of(rationales[name], votes.n_votes, readout)
            answer = lab.world.answer(item.solution.steps)
            solutions.append(VerifiedSolution(answer, bool(item.correct_answer), whole(table)))
        problems.append(solutions)
        ids.append(drawn["problem_id"])
    texts = ["".join(items[name].solution.steps) for name in rationales]
    solution = sum(len(lab.tokenizer.encode(text)) for text in texts) / len(texts)
    summary = lab.stage(votes).summary
    written = summary["generated_tokens"] + summary["forced_tokens"]
    verification = written / (len(rationales) * votes.n_votes)
    policy, verifier = policy_base(lab, votes.benchmark.seed), votes.verifier
    larger = _parameters(lab, verifier) / _parameters(lab, policy)
    fewest = min(len(solutions) for solutions in problems)
    table = compute_matched(
        problems,
        range(1, fewest + 1),
        range(1, votes.n_votes + 1),
        verification / solution * larger,
        problem_ids=ids,
    )
    budgets = [float(b) for b in range(1, fewest + 1)]
    return Spent(table, tuple(table.frontier(budgets)), solution, verification)


def rounded(table: Rewards) -> Rewards:
    """Votes of 1 and 0 from rewards [steps][votes]; None stays."""
    return [[None if r is None else float(r >= 0.5) for r in step] for step in table]


def whole(table: Rewards) -> tuple[float | None, ...]:
    """What each vote says of the whole solution: 1 where it accepts every step that it judged, None without any."""
    return tuple(map(_accepts, zip(*table, strict=True)))


def _accepts(rewards: Sequence[float | None]) -> float | None:
    judged = [r for r in rewards if r is not None]
    return float(min(judged) >= 0.5) if judged else None


def _parameters(lab: Lab, task) -> int:
    return lab.stage(task).summary["params"]
